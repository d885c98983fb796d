//! Plugins by reference: published to a real registry, fetched by one command, served from the local store alone.
use std::{fs, io::Write, net::TcpListener, os::unix::fs::PermissionsExt, path::PathBuf};
use support::{Certificate, Hosting, Launch, Nginx, Registry, Server, project, server_binary, tool};

/// One site whose chain is this, a store of its own, and these keys of `[server.registry]`.
fn configure(hosting: &Hosting, registry: &str, chain: &str) {
    hosting.configure(
        &format!("[server.registry]\nstore = \"store\"\n{registry}"),
        &format!("[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"www\"\n{chain}"),
    );
}

fn hosting(registry: &str, chain: &str) -> Hosting {
    let hosting = Hosting::new().file("www/index.html", "home");
    configure(&hosting, registry, chain);
    hosting
}

fn policy(reference: &str) -> String {
    format!("[[site.policy]]\nplugin = \"{reference}\"\n")
}

/// A command over the configuration that has to end well; what it printed.
#[track_caller]
fn run(hosting: &Hosting, command: &str, arguments: &[&str]) -> String {
    let ran = launch(hosting, command, arguments).run_to_end();
    assert!(ran.status.success(), "{command}: {}", ran.log);
    ran.log
}

fn launch(hosting: &Hosting, command: &str, arguments: &[&str]) -> Launch {
    let launch = Launch::bare().arguments([command]).arguments(arguments.iter().copied());
    launch.arguments(["--config"]).arguments([hosting.at("wasmserve.toml")])
}

#[track_caller]
fn refused(hosting: &Hosting, command: &str, says: &str) -> String {
    let log = launch(hosting, command, &[]).refusal();
    assert!(log.contains(says), "{says}: {log}");
    log
}

#[track_caller]
fn decides(server: &Server) {
    let response = server.get("/");
    assert_eq!(response.status, 200, "{}", server.log());
    assert_eq!(
        response.header("x-content-type-options"),
        Some("nosniff"),
        "{}",
        server.log()
    );
}

/// The plugins in the store.
fn stored(hosting: &Hosting) -> Vec<PathBuf> {
    let entries = fs::read_dir(hosting.at("store/plugins-1")).expect("something was fetched");
    let files = entries.map(|entry| entry.expect("the folder can be read").path());
    files
        .filter(|file| file.extension().is_some_and(|extension| extension == "wasm"))
        .collect()
}

#[test]
fn a_plugin_goes_to_a_registry_and_comes_back() {
    let registry = Registry::start("");
    let pinned = registry.publish("security-headers", "headers:1.0", &[]);
    assert!(pinned.contains("/team/headers:1.0@sha256:"), "{pinned}");
    // The same plugin is the same artifact.
    assert_eq!(registry.publish("security-headers", "headers:1.0", &[]), pinned);
    let hosting = hosting("", &policy(&pinned));
    // Nothing asks a registry but the command that is for it.
    refused(&hosting, "check", "is not in the local store");
    assert!(!hosting.at("store").exists());
    let entry = run(&hosting, "fetch", &[&registry.reference("headers:1.0")]);
    assert!(entry.contains(&format!("plugin = \"{pinned}\"")), "{entry}");
    assert!(run(&hosting, "fetch", &[]).contains(&pinned));
    assert_eq!(stored(&hosting).len(), 1);
    let mode = |path: &str| {
        fs::metadata(hosting.at(path))
            .expect("it is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode("store/plugins-1"), 0o700);
    // Named as it names itself.
    let checked = run(&hosting, "check", &[]);
    assert!(
        checked.contains("1. security-headers") && checked.contains(&pinned),
        "{checked}"
    );
    let printed = run(&hosting, "check", &["--print-config"]);
    assert!(printed.contains(&format!("plugin = \"{pinned}\"")), "{printed}");
    decides(&hosting.start());
    // The registry is gone, and nobody notices.
    drop(registry);
    let server = hosting.start();
    decides(&server);
    server.reload(2);
    decides(&server);
    run(&hosting, "fetch", &[]);
}

#[test]
fn what_is_not_pinned_is_told_how() {
    let reference = "oci://127.0.0.1:9/team/headers:1.0";
    let hosting = hosting("", &policy(reference));
    let log = refused(&hosting, "check", "is not pinned");
    assert!(log.contains(&format!("wasmserve fetch {reference}")), "{log}");
    assert!(log.contains("wasmserve.toml:11:"), "{log}");
    let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    configure(&hosting, "", &(policy(reference) + &format!("digest = \"{digest}\"\n")));
    refused(&hosting, "check", "is not in the local store");
    refused(&hosting, "fetch", "cannot be fetched: 127.0.0.1:9 cannot be reached");
    configure(
        &hosting,
        "",
        &(policy(&format!("{reference}@{digest}")) + &format!("digest = \"{}\"\n", digest.replace('e', "f"))),
    );
    refused(&hosting, "check", "two different things");
}

#[test]
fn what_the_operators_own_file_is_can_be_pinned_too() {
    let module = project().join("plugins/security-headers/security-headers.wasm");
    let bytes = fs::read(&module).expect("the plugins are built");
    let hosting = Hosting::new().file("www/index.html", "home").file("own.wasm", &bytes);
    let sum = tool::run(project(), "sha256sum", [&module]).success();
    let sum = String::from_utf8_lossy(&sum.stdout)[..64].to_owned();
    let pinned = |sum: &str| policy("file:own.wasm") + &format!("digest = \"sha256:{sum}\"\n");
    configure(&hosting, "", &pinned(&sum));
    decides(&hosting.start());
    configure(&hosting, "", &pinned(&sum.chars().rev().collect::<String>()));
    refused(&hosting, "check", "and it is pinned to sha256:");
}

#[test]
fn a_changed_store_is_refused_and_mended_by_fetching() {
    let registry = Registry::start("");
    let hosting = hosting("", &policy(&registry.publish("security-headers", "headers:1", &[])));
    run(&hosting, "fetch", &[]);
    let server = hosting.start();
    let [file] = &stored(&hosting)[..] else {
        panic!("one plugin")
    };
    let mut appended = fs::OpenOptions::new().append(true).open(file).expect("it is ours");
    appended.write_all(b"\0").expect("there is room");
    refused(&hosting, "check", "does not hold what its name says");
    server.reload_in_vain("does not hold what its name says");
    decides(&server);
    run(&hosting, "fetch", &[]);
    run(&hosting, "check", &[]);
    // Nor when it can be read by others, or is what a link leads to.
    fs::set_permissions(file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    refused(&hosting, "check", "open to others");
    fs::set_permissions(file, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let elsewhere = hosting.at("elsewhere.wasm");
    fs::rename(file, &elsewhere).expect("the folder is writable");
    std::os::unix::fs::symlink(&elsewhere, file).expect("the folder is writable");
    refused(&hosting, "check", "cannot be used");
}

#[test]
fn a_store_is_never_served() {
    let registry = Registry::start("");
    let pinned = registry.publish("security-headers", "headers:1", &[]);
    let hosting = hosting("", &policy(&pinned));
    run(&hosting, "fetch", &[]);
    fs::rename(hosting.at("store"), hosting.at("www/store")).expect("the folder is writable");
    let site = format!(
        "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"www\"\n{}",
        policy(&pinned)
    );
    hosting.configure("[server.registry]\nstore = \"www/store\"\n", &site);
    refused(&hosting, "check", "lies beneath the served folder");
}

#[test]
fn a_registry_that_does_not_answer_keeps_the_old_generation() {
    let registry = Registry::start("");
    let hosting = hosting("", &policy(&registry.publish("security-headers", "headers:1", &[])));
    run(&hosting, "fetch", &[]);
    let server = hosting.start();
    // Accepts, and never says a word.
    let silent = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    let address = silent.local_addr().expect("it is bound");
    let digest = format!("sha256:{}", "0".repeat(64));
    let chain = policy(&format!("oci://{address}/team/headers@{digest}"));
    configure(&hosting, "", &chain);
    server.reload_in_vain("is not in the local store");
    decides(&server);
    configure(&hosting, "fetch = \"load\"\ntimeout = \"100ms\"", &chain);
    server.reload_in_vain("cannot be fetched");
    decides(&server);
    drop(silent);
    // Where it answers, loading is enough.
    let pinned = registry.publish("clean-urls", "urls:1", &[]);
    configure(&hosting, "fetch = \"load\"", &policy(&pinned));
    server.reload(2);
    assert_eq!(stored(&hosting).len(), 2);
}

#[test]
fn a_signature_that_is_asked_for_has_to_be_there() {
    let registry = Registry::start("");
    let folder = tempfile::tempdir().expect("there is room");
    let minisign = |arguments: &[&str]| tool::run(folder.path(), "minisign", arguments.iter().copied()).success();
    let key = |name: &str| {
        let (public, secret) = (format!("{name}.pub"), format!("{name}.key"));
        minisign(&["-G", "-W", "-p", &public, "-s", &secret]);
        let text = fs::read_to_string(folder.path().join(public)).expect("minisign wrote it");
        text.lines().nth(1).expect("the second line is the key").to_owned()
    };
    let (ours, other) = (key("ours"), key("other"));
    let plugin = project().join("plugins/security-headers");
    let file = folder.path().join("headers.wasm");
    let publish = |from: &str, to: &str, more: &[&str]| {
        let arguments = [&["publish", from, to], more].concat();
        tool::run(folder.path(), &server_binary().to_string_lossy(), arguments).success()
    };
    publish(&plugin.to_string_lossy(), &file.to_string_lossy(), &[]);
    minisign(&["-S", "-s", "ours.key", "-m", "headers.wasm"]);
    let target = registry.reference("headers:signed");
    let signed = publish("headers.wasm", &target, &["--signature", "headers.wasm.minisig"]);
    let signed = String::from_utf8_lossy(&signed.stdout).trim().to_owned();
    let unsigned = registry.publish("security-headers", "headers:unsigned", &[]);
    let keys = |key: &str| format!("public-keys = [\"{key}\"]");
    let hosting = hosting(&keys(&ours), &policy(&signed));
    run(&hosting, "fetch", &[]);
    decides(&hosting.start());
    // Another key, for all or for this one.
    configure(&hosting, &keys(&other), &policy(&signed));
    refused(&hosting, "check", "is not signed by the key");
    refused(&hosting, "fetch", "is not signed by the key");
    configure(
        &hosting,
        &keys(&ours),
        &(policy(&signed) + &format!("public-key = \"{other}\"\n")),
    );
    refused(&hosting, "check", "is not signed by the key");
    configure(
        &hosting,
        &keys(&other),
        &(policy(&signed) + &format!("public-key = \"{ours}\"\n")),
    );
    run(&hosting, "check", &[]);
    // The same bytes, and nobody's word for them; what is refused is not kept.
    configure(&hosting, &keys(&ours), &policy(&unsigned));
    refused(&hosting, "fetch", "has no signature");
    refused(&hosting, "check", "is not in the local store");
    // On a web server the signature lies beside the file.
    let www = folder.path().display().to_string();
    let nginx = Nginx::start(|_| String::new(), |_| format!("root {www};"));
    let sum = tool::run(folder.path(), "sha256sum", ["headers.wasm"]).success();
    let sum = String::from_utf8_lossy(&sum.stdout)[..64].to_owned();
    let url = format!("{}@sha256:{sum}", nginx.url("/headers.wasm"));
    configure(&hosting, &keys(&ours), &policy(&url));
    run(&hosting, "fetch", &[]);
    drop(nginx);
    decides(&hosting.start());
    configure(&hosting, &keys(&other), &policy(&url));
    refused(&hosting, "check", "has no signature");
}

#[test]
fn a_manifest_from_elsewhere_asks_and_the_operator_answers() {
    let registry = Registry::start("");
    let pinned = registry.publish("basic-auth", "auth:1", &[]);
    let config = "[site.policy.config]\nprefixes = [\"/\"]\nusers = {}\n";
    let hosting = hosting("", &(policy(&pinned) + config));
    let entry = run(&hosting, "fetch", &[&pinned]);
    refused(&hosting, "check", "asks for what nothing here allows it");
    // What `fetch` printed is what is missing.
    let words = [
        "limits = {",
        "running = \"1s\"",
        "memory = \"64MiB\"",
        "establishes = [\"user\"]",
    ];
    for word in words {
        assert!(entry.contains(word), "{word}: {entry}");
    }
    let allowed: String = entry
        .lines()
        .filter(|line| line.starts_with("limits") || line.starts_with("establishes") || line.starts_with("reads"))
        .map(|line| format!("{line}\n"))
        .collect();
    configure(&hosting, "", &(policy(&pinned) + &allowed + config));
    assert_eq!(hosting.start().get("/").status, 401);
    // Less than it asks for is the operator's to say, too.
    configure(
        &hosting,
        "",
        &(policy(&pinned) + &allowed.replace("64MiB", "32MiB") + config),
    );
    let checked = run(&hosting, "check", &[]);
    assert!(checked.contains("memory 32.0 MiB"), "{checked}");
}

#[test]
fn tenants_may_name_what_the_operator_lists() {
    let registry = Registry::start("");
    let pinned = registry.publish("security-headers", "shared/headers:1", &[]);
    let hosting = Hosting::new();
    for host in ["good.org", "evil.org", "loose.org"] {
        hosting.write(&format!("tenants/{host}/public/index.html"), host);
    }
    let site = |reference: &str| format!("[[policy]]\nplugin = \"{reference}\"\n");
    hosting.write("tenants/good.org/site.toml", site(&pinned));
    hosting.write(
        "tenants/evil.org/site.toml",
        site(&pinned.replace("/shared/", "/others/")),
    );
    hosting.write(
        "tenants/loose.org/site.toml",
        site(pinned.split_once('@').expect("it is pinned").0),
    );
    let configure = |own: &str| {
        hosting.configure(
            "[server.registry]\nstore = \"store\"\nfetch = \"load\"\n",
            &format!("[sites]\ndirectory = \"tenants\"\nallow = [\"policy\"]\n[sites.own-policies]\n{own}"),
        );
    };
    configure("");
    let checked = run(&hosting, "check", &[]);
    assert!(
        checked.contains("tenant good.org") && checked.contains("not from where plugins may come"),
        "{checked}"
    );
    configure(&format!("registries = [\"{}\"]\n", registry.reference("shared/")));
    // A tenant's request makes nobody ask a registry, not even where loading does.
    let server = hosting.start();
    assert_eq!(server.get_from("good.org", "/").status, 503);
    server.logged("is not in the local store");
    assert!(!hosting.at("store").exists());
    let fetched = run(&hosting, "fetch", &[]);
    assert!(!fetched.contains("tenant good.org"), "{fetched}");
    assert!(
        fetched.contains("tenant evil.org") && fetched.contains("not from where plugins may come"),
        "{fetched}"
    );
    assert!(
        fetched.contains("tenant loose.org") && fetched.contains("is not pinned"),
        "{fetched}"
    );
    assert_eq!(stored(&hosting).len(), 1);
    drop(registry);
    let server = hosting.start();
    let response = server.get_from("good.org", "/");
    assert_eq!(
        (response.status, response.header("x-content-type-options")),
        (200, Some("nosniff")),
        "{}",
        server.log()
    );
    for host in ["evil.org", "loose.org"] {
        assert_eq!(server.get_from(host, "/").status, 503);
    }
}

#[test]
fn credentials_are_used_and_never_told() {
    let folder = tempfile::tempdir().expect("there is room");
    let users = folder.path().join("users");
    // ann:secret
    fs::write(
        &users,
        "ann:$2b$04$oMoxnpDQiVFm.0kGCDiWJOwft1KDehi8/UeFKG/3nXDpwE54ZDgym\n",
    )
    .expect("there is room");
    let registry = Registry::start(&format!(
        "auth: {{ htpasswd: {{ realm: r, path: {} }} }}",
        users.display()
    ));
    let hosting = hosting("credentials = \"auth.json\"", "");
    let auth = |pair: &str| format!("{{\"auths\":{{\"{}\":{{\"auth\":\"{pair}\"}}}}}}", registry.address());
    hosting.write("auth.json", auth("YW5uOnNlY3JldA=="));
    let config = hosting.at("wasmserve.toml").display().to_string();
    let pinned = registry.publish("security-headers", "headers:1", &["--config", &config]);
    configure(&hosting, "credentials = \"auth.json\"", &policy(&pinned));
    let mut told = run(&hosting, "fetch", &[]) + &run(&hosting, "check", &["--print-config"]);
    fs::remove_dir_all(hosting.at("store")).expect("it is ours");
    hosting.write("auth.json", auth("YW5uOndyb25n"));
    told += &refused(&hosting, "fetch", "does not accept the credentials");
    for secret in ["YW5u", "secret", "wrong"] {
        assert!(!told.contains(secret), "{secret}: {told}");
    }
    configure(&hosting, "", &policy(&pinned));
    refused(&hosting, "fetch", "wants to know who asks");
}

#[test]
fn a_private_registry_has_a_certificate_of_its_own() {
    let certificate = Certificate::new();
    certificate.openssl("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE -keyout own.key -out own.pem");
    let (cert, key) = (certificate.at("own.pem"), certificate.at("own.key"));
    let tls = format!("  tls: {{ certificate: {}, key: {} }}", cert.display(), key.display());
    let registry = Registry::start(&tls);
    let trusting = format!("plain-http = []\nca-file = \"{}\"", cert.display());
    let hosting = hosting(&trusting, "");
    let config = hosting.at("wasmserve.toml").display().to_string();
    let pinned = registry.publish("security-headers", "headers:1", &["--config", &config]);
    configure(&hosting, "plain-http = []", &policy(&pinned));
    refused(&hosting, "fetch", "certificate");
    configure(&hosting, &trusting, &policy(&pinned));
    run(&hosting, "fetch", &[]);
    decides(&hosting.start());
}

#[test]
fn a_chain_without_a_configuration_has_its_store_where_data_is() {
    let registry = Registry::start("");
    let pinned = registry.publish("security-headers", "headers:1", &[]);
    let hosting = Hosting::new()
        .file("www/index.html", "home")
        .file("plugins/plugins.toml", format!("[[policy]]\nplugin = \"{pinned}\"\n"));
    let launch = |command: &[&str]| {
        let launch = Launch::bare()
            .arguments(command.iter().copied())
            .arguments(["--plugins"]);
        let launch = launch
            .arguments([hosting.at("plugins")])
            .arguments(["--root"])
            .arguments([hosting.at("www")]);
        launch.variable("XDG_DATA_HOME", hosting.at("data"))
    };
    let fetched = launch(&["fetch"]).run_to_end();
    assert!(fetched.status.success(), "{}", fetched.log);
    assert!(hosting.at("data/wasmserve/plugins-1").is_dir());
    drop(registry);
    decides(&launch(&["--listen", "127.0.0.1:0"]).start());
}
