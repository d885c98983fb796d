//! Mass hosting: each folder of `sites.directory` is a host, found when it is first asked for.
use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    os::unix::fs::symlink,
    time::{Duration, Instant},
};
use support::{Hosting, Server, eventually, project};

/// A directory with some tenants, under these lines of `[sites]`.
fn tenants(hosts: &[&str], sites: &str) -> Hosting {
    let mut hosting = Hosting::new().guest("probe");
    for host in hosts {
        hosting = hosting.file(&format!("tenants/{host}/public/index.html"), format!("of {host}"));
    }
    hosting.config(&format!("[sites]\ndirectory = \"tenants\"\n{sites}\n"))
}

/// The probe's module and manifest as a tenant's own plugin.
fn own_plugin(hosting: &Hosting, host: &str, manifest: &str) {
    let source = project().join("tests/guests/probe");
    let module = fs::read(source.join("probe.wasm")).expect("the guests are built: cargo xtask test");
    hosting.write(&format!("tenants/{host}/plugins/own/own.wasm"), module);
    let manifest = format!("name = \"own\"\nversion = \"1\"\nartefact = \"own.wasm\"\n{manifest}\n");
    hosting.write(&format!("tenants/{host}/plugins/own/plugin.toml"), manifest);
}

/// A `site.toml` that runs the tenant's own probe.
fn own_policy(config: &str) -> String {
    format!("[[policy]]\nplugin = \"plugins/own\"\n[policy.config]\n{config}\n")
}

#[track_caller]
fn becomes(server: &Server, host: &str, target: &str, status: u16) {
    eventually(&format!("{host} answers {status}"), || {
        server.get_from(host, target).status == status
    });
}

#[test]
fn each_folder_is_a_host_that_is_found_without_a_restart() {
    let hosting = tenants(&["a.example.org", "b.example.org"], "");
    let server = hosting.start();
    for host in ["a.example.org", "b.example.org"] {
        assert_eq!(server.get_from(host, "/").text(), format!("of {host}"));
    }
    assert_eq!(server.get_from("A.Example.org.:80", "/").text(), "of a.example.org");
    for host in ["c.example.org", "example.org", "localhost", "..", "a.example.org.b"] {
        let status = server.get_from(host, "/").status;
        assert!([400, 421].contains(&status), "{host}: {status}");
    }
    hosting.write("tenants/c.example.org/public/index.html", "new");
    becomes(&server, "c.example.org", "/", 200);
    assert_eq!(server.get_from("c.example.org", "/").text(), "new");
    fs::remove_dir_all(hosting.at("tenants/b.example.org")).expect("a folder");
    becomes(&server, "b.example.org", "/", 421);
    assert_eq!(server.get_from("a.example.org", "/").status, 200);
}

#[test]
fn a_site_goes_before_a_tenant_and_a_wildcard_after_it() {
    let hosting = tenants(
        &["own.example.org", "taken.example.org"],
        "[[site]]\nname = \"exact\"\nhosts = [\"taken.example.org\"]\nroot = \"exact\"\n\
         [[site]]\nname = \"rest\"\nhosts = [\"*.example.org\"]\nroot = \"rest\"\n",
    )
    .file("exact/index.html", "exact")
    .file("rest/index.html", "rest");
    let server = hosting.start();
    for (host, expected) in [
        ("own.example.org", "of own.example.org"),
        ("taken.example.org", "exact"),
        ("other.example.org", "rest"),
    ] {
        assert_eq!(server.get_from(host, "/").text(), expected, "{host}");
    }
    assert_eq!(server.get_from("elsewhere.org", "/").status, 421);
}

#[test]
fn nothing_but_the_public_folder_is_served_however_a_tenant_links() {
    let hosting = tenants(&["a.org", "b.org"], "")
        .file("tenants/b.org/secret.txt", "of b alone")
        .file("tenants/b.org/site.toml", "")
        .file("tenants/a.org/site.toml", "")
        .file("outside.txt", "the operator's");
    let public = hosting.at("tenants/a.org/public");
    for (name, target) in [
        ("up", "../site.toml"),
        ("sideways", "../../b.org/secret.txt"),
        ("folder", "../../b.org/public"),
        ("absolute", hosting.at("outside.txt").to_str().expect("UTF-8")),
        ("etc", "/etc"),
    ] {
        symlink(target, public.join(name)).expect("a link");
    }
    symlink("a.org", hosting.at("tenants/alias.org")).expect("a link");
    // A root that is a link leads nowhere else either.
    fs::create_dir(hosting.at("tenants/c.org")).expect("a folder");
    symlink("../b.org", hosting.at("tenants/c.org/public")).expect("a link");
    fs::create_dir_all(hosting.at("tenants/d.org/releases/1")).expect("a folder");
    hosting.write("tenants/d.org/releases/1/index.html", "released");
    symlink("releases/1", hosting.at("tenants/d.org/public")).expect("a link");
    let server = hosting.start();
    for path in [
        "/up",
        "/sideways",
        "/folder/index.html",
        "/absolute",
        "/etc/hostname",
        "/../site.toml",
        "/%2e%2e/site.toml",
        "/site.toml",
    ] {
        let response = server.get_from("a.org", path);
        assert!([400, 404].contains(&response.status), "{path}: {response:?}");
    }
    assert_eq!(server.get_from("alias.org", "/").status, 421);
    server.logged("alias.org");
    assert_eq!(server.get_from("c.org", "/secret.txt").status, 503);
    assert_eq!(server.get_from("c.org", "/").status, 503);
    assert_eq!(server.get_from("d.org", "/").text(), "released");
}

#[test]
fn a_tenant_says_what_the_operator_allows_and_nothing_else() {
    let hosting = tenants(&["good.org", "bad.org", "links.org", "plain.org"], "listing = true\n")
        .file("tenants/good.org/public/other.html", "other")
        .file(
            "tenants/good.org/site.toml",
            "index = [\"other.html\"]\nlisting = false\n",
        )
        .file(
            "tenants/bad.org/site.toml",
            "index = [\"other.html\"]\nsymlinks = \"beneath\"\nlisting = 3\n[[policy]]\nplugin = \"/etc/x.wasm\"\n",
        )
        .file("tenants/plain.org/public/folder/file.txt", "");
    symlink("../good.org/site.toml", hosting.at("tenants/links.org/site.toml")).expect("a link");
    let server = hosting.start();
    assert_eq!(server.get_from("good.org", "/").text(), "other");
    assert!(server.get_from("plain.org", "/folder/").text().contains("file.txt"));
    let refused = server.get_from("bad.org", "/");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("30")));
    assert_eq!(server.get_from("links.org", "/").status, 503);
    for line in [
        "bad.org/site.toml:2:1",
        "bad.org/site.toml:3:11",
        "bad.org/site.toml:4:3",
    ] {
        server.logged(line);
    }
    server.logged("symbolic link");
    // The operator's check shows the same, and is not a failure of the operator's.
    let checked = support::Launch::bare()
        .arguments(["check", "--config"])
        .arguments([hosting.at("wasmserve.toml")])
        .run_to_end();
    assert!(checked.status.success(), "{}", checked.log);
    for part in [
        "4 tenants in ",
        "2 of them cannot be served",
        "tenant bad.org: ",
        "site.toml:2:1",
        "tenant links.org",
    ] {
        assert!(checked.log.contains(part), "no {part}: {}", checked.log);
    }
    // Mended, it is served.
    hosting.write("tenants/bad.org/site.toml", "");
    becomes(&server, "bad.org", "/", 200);
    // And a mistake is noticed while it is loaded.
    hosting.write("tenants/good.org/site.toml", "index = 1\n");
    becomes(&server, "good.org", "/", 503);
    assert_eq!(
        server.get_from("plain.org", "/folder/").status,
        200,
        "nobody else feels it"
    );
}

#[test]
fn the_operators_ring_runs_first_and_has_the_last_word() {
    let hosting = tenants(
        &["a.org", "b.org"],
        "allow = [\"policy\", \"headers\"]\n\
         [sites.headers]\nset = { x-config = \"operator\" }\n\
         [sites.own-policies]\nestablishes = [\"tier\"]\nreads = [\"user\"]\n\
         [[sites.policy]]\nplugin = \"probe\"\nname = \"first\"\n[sites.policy.config]\n\
         facts = \"user=ada\"\nheaders = \"set | x-ring | operator\\nset | x-host | operator\"\n\
         ask = \"site\"\nanswers-header = \"x-site\"\n",
    );
    own_plugin(
        &hosting,
        "a.org",
        "[facts]\nestablishes = [\"tier\"]\nreads = [\"user\"]\n",
    );
    hosting.write(
        "tenants/a.org/site.toml",
        own_policy(
            "ask = \"fact user\"\nanswers-header = \"x-user\"\nfacts = \"tier=gold\"\n\
             headers = \"set | x-ring | tenant\\nremove | x-host | \\nset | x-own | tenant\\nset | x-config | tenant\"\n\
             respond = \"\"\n",
        ) + "[headers]\nset = { x-first = \"tenant\", x-own = \"overruled\", x-config = \"tenant\" }\n",
    );
    let server = hosting.start();
    let response = server.get_from("a.org", "/");
    assert_eq!(response.status, 200, "{response:?}\n{}", server.log());
    for (name, expected) in [
        ("x-ring", Some("operator")),
        ("x-host", Some("operator")),
        ("x-config", Some("operator")),
        ("x-own", Some("tenant")),
        ("x-first", Some("tenant")),
        ("x-user", Some("some(ada)")),
        ("x-site", Some("a.org")),
    ] {
        assert_eq!(response.header(name), expected, "{name}");
    }
    let other = server.get_from("b.org", "/");
    assert_eq!(other.header("x-ring"), Some("operator"));
    assert_eq!((other.header("x-own"), other.header("x-site")), (None, Some("b.org")));
    // Errors too.
    let missing = server.get_from("a.org", "/none");
    assert_eq!((missing.status, missing.header("x-ring")), (404, Some("operator")));
}

/// Half of a `site.toml` may be a whole one without the policy that guards the site: it is not read while it is written.
#[test]
fn a_file_is_not_read_while_it_is_written() {
    let hosting = tenants(&["a.org"], "allow = [\"policy\", \"headers\"]\n");
    own_plugin(&hosting, "a.org", "");
    let guarded = |version: u32| {
        let headers = format!("[headers]\nset = {{ x-version = \"{version}\" }}\n");
        (headers, own_policy("respond = \"403\""))
    };
    let write = |version: u32| {
        let (headers, policy) = guarded(version);
        hosting.write("tenants/a.org/site.toml", headers + &policy);
    };
    write(0);
    let server = hosting.start();
    let seen = |version: u32| {
        let response = server.get_from("a.org", "/");
        assert_eq!(response.status, 403, "{response:?}");
        response.header("x-version") == Some(&version.to_string())
    };
    assert!(seen(0));
    // A machine that stands still between two pieces is as good as a writer who does: then it is tried again.
    let round = |version: u32| {
        let (headers, policy) = guarded(version);
        let mut file = fs::File::create(hosting.at("tenants/a.org/site.toml")).expect("our folder");
        let (mut pause, mut written) = (Duration::ZERO, Instant::now());
        file.write_all(headers.as_bytes()).expect("our file");
        let begun = Instant::now();
        let mut statuses = BTreeSet::new();
        while begun.elapsed() < Duration::from_secs(4) {
            statuses.insert(server.get_from("a.org", "/").status);
            pause = pause.max(written.elapsed());
            file.write_all(b"# more\n").expect("our file");
            written = Instant::now();
            std::thread::sleep(Duration::from_millis(50));
        }
        file.write_all(policy.as_bytes()).expect("our file");
        pause = pause.max(written.elapsed());
        drop(file);
        let unharmed = statuses == BTreeSet::from([403]);
        assert!(unharmed || pause > Duration::from_millis(800), "{statuses:?}");
        eventually("the whole is read", || {
            let response = server.get_from("a.org", "/");
            response.status == 403 && response.header("x-version") == Some(&version.to_string())
        });
        unharmed
    };
    assert!((1..6).any(round), "half of a file was read each time");
    // One that comes anew is waited for; what is there for a while is taken.
    write(9);
    eventually("it is read", || seen(9));
}

/// A copy may rest in the middle for seconds. What says less than before is not believed so soon, whatever was there
/// meanwhile; what was taken away for good is.
#[test]
fn half_of_a_file_that_rests_loosens_nothing() {
    let hosting = tenants(&["a.org"], "allow = [\"policy\", \"headers\"]\n");
    own_plugin(&hosting, "a.org", "");
    let headers = "[headers]\nset = { x-version = \"1\" }\n";
    let policy = own_policy("respond = \"403\"");
    hosting.write("tenants/a.org/site.toml", headers.to_owned() + &policy);
    let server = hosting.start();
    assert_eq!(server.get_from("a.org", "/").status, 403, "{}", server.log());
    // What is told while the copy rests; an answer that came after eight seconds says nothing about a limit of ten.
    let told = |text: &str| {
        let mut file = fs::File::create(hosting.at("tenants/a.org/site.toml")).expect("our folder");
        let begun = Instant::now();
        file.write_all(text.as_bytes()).expect("our file");
        let mut statuses = BTreeSet::new();
        while begun.elapsed() < Duration::from_secs(4) {
            let status = server.get_from("a.org", "/").status;
            if begun.elapsed() < Duration::from_secs(8) {
                statuses.insert(status);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        statuses
    };
    for half in ["", headers, "[headers]\nset = { x-version = \"1\" }\n[[pol"] {
        let statuses = told(half);
        assert!(statuses.iter().all(|status| *status == 403), "{half:?}: {statuses:?}");
    }
    // What does not parse is refused in the end. It is not forgotten what was there before.
    becomes(&server, "a.org", "/", 503);
    let statuses = told(headers);
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
    hosting.write("tenants/a.org/site.toml", headers.to_owned() + &policy);
    becomes(&server, "a.org", "/", 403);
    fs::remove_file(hosting.at("tenants/a.org/site.toml")).expect("our file");
    becomes(&server, "a.org", "/", 200);
}

/// Of a tenant that nothing is known of, what is being written is served to nobody, however long that takes.
#[test]
fn what_is_written_without_an_end_is_not_served() {
    let hosting = tenants(&["a.org"], "allow = [\"headers\"]\n");
    hosting.write("tenants/a.org/site.toml", "[headers]\n");
    let server = hosting.start();
    let (done, ended) = std::sync::mpsc::channel::<()>();
    let file = hosting.at("tenants/a.org/site.toml");
    // Tells the longest time in which nothing was written.
    let writer = std::thread::spawn(move || {
        let (mut written, mut pause) = (Instant::now(), Duration::ZERO);
        loop {
            let file = fs::OpenOptions::new().append(true).open(&file);
            file.and_then(|mut file| file.write_all(b"# more\n")).expect("our file");
            pause = pause.max(written.elapsed());
            written = Instant::now();
            match ended.recv_timeout(Duration::from_millis(50)) {
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                _ => return pause,
            }
        }
    });
    let status = server.get_from("a.org", "/").status;
    done.send(()).expect("the writer goes on until it is told");
    let pause = writer.join().expect("our file");
    assert!(
        status == 503 || pause > Duration::from_millis(800),
        "{status}, {pause:?}"
    );
    becomes(&server, "a.org", "/", 200);
}

/// Who changes its own `site.toml` has no more processor time by that.
#[test]
fn a_tenants_reload_brings_no_processor_time() {
    let hosting = tenants(
        &["a.org"],
        "allow = [\"policy\", \"headers\"]\n[sites.budget]\nprocessor = \"1us\"\n",
    );
    own_plugin(&hosting, "a.org", "");
    let write = |version: usize| {
        let headers = format!("[headers]\nset = {{ x-version = \"{version}\" }}\n");
        // What is asked of the clock is not kept: each request needs a run.
        let policy = own_policy(&format!("ask = \"now\\nconfig v{version}\"\nrespond = \"echo\""));
        hosting.write("tenants/a.org/site.toml", headers + &policy);
    };
    write(0);
    let server = hosting.start();
    assert_eq!(server.get_from("a.org", "/").status, 200, "{}", server.log());
    // What is owed is earned within seconds. So each request before the reload takes what there is, and the first one after
    // it finds nothing, unless the machine stood still in between.
    let first_of = |version: usize| {
        write(version);
        let mut status = 0;
        eventually("the reload is served", || {
            let response = server.get_from("a.org", "/");
            status = response.status;
            response.header("x-version") == Some(&version.to_string())
        });
        status
    };
    assert!(
        (1..8).any(|version| first_of(version) == 503),
        "each reload brought processor time"
    );
}

/// What the operator's ring did for a tenant that nobody asks for any more is counted all the same.
#[test]
fn what_was_counted_is_not_forgotten_with_a_tenant() {
    let hosting = Hosting::new()
        .guest("probe")
        .file("tenants/a.org/public/index.html", "a");
    hosting.configure(
        "admin = \"admin.sock\"",
        "[sites]\ndirectory = \"tenants\"\nforget-after = \"1s\"\nallow = [\"policy\"]\n\
         [[sites.policy]]\nplugin = \"probe\"\nname = \"ring\"\nconfig = { ask = \"now\" }\n",
    );
    own_plugin(&hosting, "a.org", "");
    hosting.write("tenants/a.org/site.toml", own_policy("ask = \"now\""));
    let server = hosting.start();
    for _ in 0..5 {
        assert_eq!(server.get_from("a.org", "/").status, 200, "{}", server.log());
    }
    let runs = |policy: &str| {
        let metrics = super::metrics::get(&hosting.at("admin.sock"), "/metrics");
        let name = format!("wasmserve_policy_runs_total{{policy=\"{policy}\"}} ");
        let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
        count
            .unwrap_or_else(|| panic!("no {name}:\n{metrics}"))
            .parse::<u64>()
            .expect("a number")
    };
    assert_eq!((runs("ring"), runs("(others)")), (5, 5));
    let is_open = || {
        let open = support::process::open_files(server.pid());
        open.iter().any(|path| path.contains("/tenants/a.org"))
    };
    eventually("it is forgotten", || {
        // Never less, not for a moment.
        assert_eq!((runs("ring"), runs("(others)")), (5, 5));
        !is_open()
    });
    assert_eq!((runs("ring"), runs("(others)")), (5, 5));
    assert_eq!(server.get_from("a.org", "/").status, 200);
    assert_eq!(runs("ring"), 6);
    // Nor with a generation.
    server.reload(2);
    assert_eq!(runs("ring"), 6);
}

#[test]
fn everything_that_is_wrong_with_a_tenant_is_told() {
    let hosting = tenants(&["a.org"], "");
    let keys: String = (0..150).map(|key| format!("key-{key} = 1\n")).collect();
    hosting.write("tenants/a.org/site.toml", keys);
    let checked = support::Launch::bare()
        .arguments(["check", "--config"])
        .arguments([hosting.at("wasmserve.toml")])
        .run_to_end();
    for key in 0..150 {
        let place = format!("site.toml:{}:1: ", key + 1);
        assert!(checked.log.contains(&place), "no {place}: {}", checked.log);
    }
    // The log of a server has a part of it, and says so.
    let server = hosting.start();
    assert_eq!(server.get_from("a.org", "/").status, 503);
    let line = server.logged("further errors of this tenant");
    assert!(line.contains("more=130"), "{line}");
}

/// What the operator's policies answer themselves is nothing for a tenant's header changes.
#[test]
fn a_tenant_does_not_change_an_answer_of_the_operators_ring() {
    let ring = |respond: &str| {
        format!(
            "allow = [\"headers\"]\n[sites.headers]\nset = {{ x-config = \"operator\" }}\n\
             [[sites.policy]]\nplugin = \"probe\"\n[sites.policy.config]\nrespond = \"{respond}\"\nbody = \"on\"\n\
             response-headers = \"location: https://login.example/\\nset-cookie: session=1\"\n"
        )
    };
    for (respond, status) in [("302", 302), ("no number", 500), ("", 200)] {
        let hosting = tenants(&["a.org"], &ring(respond));
        hosting.write(
            "tenants/a.org/site.toml",
            "[headers]\nset = { location = \"https://evil.example/\", x-first = \"tenant\" }\nremove = [\"set-cookie\"]\n",
        );
        let server = hosting.start();
        let response = server.get_from("a.org", "/");
        assert_eq!(response.status, status, "{response:?}\n{}", server.log());
        assert_eq!(response.header("x-config"), Some("operator"));
        if status == 200 {
            assert_eq!(response.header("x-first"), Some("tenant"));
            continue;
        }
        assert_eq!(response.header("x-first"), None, "{response:?}");
        if status == 302 {
            assert_eq!(response.header("location"), Some("https://login.example/"));
            assert_eq!(response.header("set-cookie"), Some("session=1"));
        }
    }
}

/// What the operator's ring says of a media type holds for what a tenant calls so.
#[test]
fn a_tenant_does_not_evade_the_ring_by_naming_another_type() {
    let hosting = tenants(
        &["a.org"],
        "allow = [\"headers\"]\n[[sites.policy]]\nplugin = \"probe\"\n[sites.policy.config]\n\
         headers = \"set | x-csp | on | | text/html\"\n",
    )
    .file("tenants/a.org/public/plain.txt", "<script>")
    .file("tenants/a.org/site.toml", "");
    let server = hosting.start();
    assert_eq!(server.get_from("a.org", "/").header("x-csp"), Some("on"));
    assert_eq!(server.get_from("a.org", "/plain.txt").header("x-csp"), None);
    for called in ["text/html; charset=utf-8", "text/plain"] {
        hosting.write(
            "tenants/a.org/site.toml",
            format!("[headers]\nset = {{ content-type = {called:?} }}\n"),
        );
        eventually("it has another type", || {
            server.get_from("a.org", "/plain.txt").header("content-type") == Some(called)
        });
        let expected = called.starts_with("text/html").then_some("on");
        assert_eq!(server.get_from("a.org", "/plain.txt").header("x-csp"), expected);
        assert_eq!(server.get_from("a.org", "/").header("x-csp"), Some("on"), "{called}");
    }
}

/// A tenant's exchanges are nothing for the observers of the site whose wildcard covers its host, loaded or not.
#[test]
fn observers_of_a_wildcard_are_not_told_of_tenants() {
    let hosting = tenants(
        &["a.example.org", "b.example.org", "broken.example.org"],
        "[[site]]\nname = \"rest\"\nhosts = [\"*.example.org\"]\nroot = \"rest\"\n\
         [[site.observer]]\nplugin = \"observer\"\ngrants = [\"logging\"]\nkey-value = { buckets = [\"common\"] }\n",
    )
    .guest("observer")
    .file("rest/index.html", "rest");
    hosting.write("tenants/broken.example.org/site.toml", "index = 1\n");
    let server = hosting.start();
    for (host, status) in [
        ("a.example.org", 200),
        ("b.example.org", 200),
        ("broken.example.org", 503),
        ("broken.example.org", 503),
        ("a.example.org", 200),
    ] {
        assert_eq!(server.get_from(host, "/").status, status, "{host}");
    }
    // The observer fails at this one, behind whatever it was told of before.
    assert_eq!(server.get_from("other.example.org", "/err").status, 404);
    server.logged("an observer failed");
    let log = server.log();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("told of ")).collect();
    assert!(told.len() == 1 && told[0].contains("told of 1 exchanges"), "{told:?}");
}

#[test]
fn a_tenants_plugin_gets_what_the_operator_lists() {
    let sites = "allow = [\"policy\"]\n[sites.own-policies]\nmost = 1\nsize = \"1MiB\"\n";
    let hosting = tenants(
        &[
            "facts.org",
            "many.org",
            "grants.org",
            "missing.org",
            "garbage.org",
            "good.org",
        ],
        sites,
    );
    own_plugin(&hosting, "facts.org", "[facts]\nestablishes = [\"user\"]\n");
    hosting.write("tenants/facts.org/site.toml", own_policy(""));
    own_plugin(&hosting, "many.org", "");
    hosting.write("tenants/many.org/site.toml", own_policy("") + &own_policy(""));
    own_plugin(&hosting, "grants.org", "");
    hosting.write(
        "tenants/grants.org/site.toml",
        "[[policy]]\nplugin = \"plugins/own\"\ngrants = [\"logging\"]\n",
    );
    // Sources are never built.
    hosting.write(
        "tenants/missing.org/plugins/own/plugin.toml",
        "name = \"own\"\nversion = \"1\"\nartefact = \"own.wasm\"\n[build]\ncommand = [\"touch\", \"own.wasm\"]\nsources = [\"a\"]\n",
    );
    hosting.write("tenants/missing.org/site.toml", own_policy(""));
    own_plugin(&hosting, "garbage.org", "");
    hosting.write("tenants/garbage.org/plugins/own/own.wasm", "no module");
    hosting.write("tenants/garbage.org/site.toml", own_policy(""));
    own_plugin(&hosting, "good.org", "");
    hosting.write(
        "tenants/good.org/site.toml",
        own_policy("headers = \"set | x-own | yes\"\n"),
    );
    let server = hosting.start();
    for (host, problem) in [
        ("facts.org", "establishes the fact `user`"),
        ("many.org", "one policy too many"),
        ("grants.org", "unknown key `grants`"),
        ("missing.org", "never built here"),
        ("garbage.org", "neither a WebAssembly component"),
    ] {
        assert_eq!(server.get_from(host, "/").status, 503, "{host}");
        let line = server.logged(problem);
        assert!(line.contains(host), "{host}: {line}");
        assert_eq!(server.get_from("good.org", "/").header("x-own"), Some("yes"));
    }
    assert!(!hosting.at("tenants/missing.org/plugins/own/own.wasm").exists());
    // Another module in its place is noticed.
    own_plugin(&hosting, "garbage.org", "");
    becomes(&server, "garbage.org", "/", 200);
    hosting.write(
        "tenants/good.org/site.toml",
        own_policy("headers = \"set | x-own | changed\"\n"),
    );
    eventually("the change is served", || {
        server.get_from("good.org", "/").header("x-own") == Some("changed")
    });
}

/// A tenant whose `configure` never ends takes its own time alone.
#[test]
fn loading_a_tenant_holds_up_nobody_else() {
    let hosting = tenants(
        &["slow.org", "fast.org"],
        "allow = [\"policy\"]\n[sites.own-policies.limits]\nconfigure = \"5s\"\n",
    );
    let module = fs::read(project().join("tests/guests/misbehaving/misbehaving.wasm")).expect("the guests are built");
    hosting.write("tenants/slow.org/slow.wasm", module);
    hosting.write(
        "tenants/slow.org/site.toml",
        "[[policy]]\nplugin = \"slow.wasm\"\nlimits = { configure = \"1h\" }\n[policy.config]\nbehaviour = \"configure_loops\"\n",
    );
    let server = hosting.start();
    let mut waiting = server.connect();
    waiting.send(support::client::request_head("GET", "/", &[("Host", "slow.org")]));
    assert_eq!(server.get_from("fast.org", "/").status, 200);
    assert!(
        waiting.is_silent_for(Duration::from_millis(1)),
        "the other one was answered first"
    );
    let response = waiting.response_to("GET");
    assert_eq!(response.status, 503, "{response:?}");
}

#[test]
fn unused_tenants_are_forgotten_and_come_back() {
    let hosting = tenants(&["a.org", "b.org"], "forget-after = \"5s\"\n");
    let server = hosting.start();
    assert_eq!(server.get_from("a.org", "/").status, 200);
    let holds = || {
        let open = support::process::open_files(server.pid());
        open.iter().filter(|path| path.contains("/tenants/a.org")).count()
    };
    assert!(holds() > 0, "its folder is open while it is used");
    eventually("its folder is closed", || holds() == 0);
    assert_eq!(server.get_from("a.org", "/").status, 200);
}

#[test]
fn folders_that_are_no_hosts_are_ignored_with_a_line() {
    let hosting = tenants(&["a.org", "Upper.org", "with space", "b.org:80"], "");
    let server = hosting.start();
    for name in ["Upper.org", "with space", "b.org:80"] {
        let line = server.logged(name);
        assert!(line.contains("ignored"), "{line}");
    }
    assert_eq!(server.get_from("upper.org", "/").status, 421);
    assert_eq!(server.get_from("a.org", "/").status, 200);
}

/// A disk that is away for a while: who is nobody's host stays so, and who is one comes back with it.
#[test]
fn a_directory_that_is_gone_for_a_while_is_lived_with() {
    let hosting = tenants(&["a.org"], "");
    let server = hosting.start();
    assert_eq!(server.get_from("a.org", "/").status, 200);
    fs::rename(hosting.at("tenants"), hosting.at("away")).expect("a folder");
    becomes(&server, "a.org", "/", 503);
    server.get_from("unknown.org", "/");
    server.logged("its last known names hold");
    assert_eq!(server.get_from("unknown.org", "/").status, 421);
    fs::rename(hosting.at("away"), hosting.at("tenants")).expect("a folder");
    becomes(&server, "a.org", "/", 200);
    assert_eq!(server.get_from("unknown.org", "/").status, 421);
}

/// A hundred thousand hosts that are not there: none is remembered, none is looked up.
#[test]
fn a_flood_of_unknown_hosts_leaves_nothing_behind() {
    let hosting = tenants(&["a.org"], "");
    let server = hosting.start();
    let mut connection = server.connect();
    let mut ask = |number: usize| {
        let host = format!("{number}.unknown.example.org");
        assert_eq!(connection.request("GET", "/", &[("Host", &host)]).status, 421);
    };
    (0..2_000).for_each(&mut ask);
    let before = support::process::resident(server.pid());
    (2_000..20_000).for_each(&mut ask);
    let grown = support::process::resident(server.pid()).saturating_sub(before);
    assert!(grown < 16 << 20, "{grown} bytes for 18,000 hosts that nobody has");
    assert_eq!(server.get_from("a.org", "/").status, 200);
}

#[test]
fn the_operators_part_is_checked_when_it_is_read() {
    for (sites, expected) in [
        ("", "[sites] has no key `directory`"),
        ("directory = \"none\"", "the folder of tenants"),
        (
            "directory = \".\"\nroot = \"../x\"",
            "`root`: \"../x\" is not the name of a folder",
        ),
        (
            "directory = \".\"\nallow = [\"budget\"]",
            "\"budget\" is not a key that tenants can have",
        ),
        ("directory = \".\"\nforget = \"1s\"", "unknown key `forget`"),
        (
            "directory = \"tenants\"\n[[site]]\nname = \"a\"\nhosts = [\"a\"]\nroot = \".\"",
            "would serve tenants' folders",
        ),
        (
            "directory = \"tenants\"\n[[site]]\nname = \"a\"\nhosts = [\"a\"]\nroot = \"tenants/a.org/public\"",
            "would serve tenants' folders",
        ),
    ] {
        let hosting = Hosting::new()
            .file("tenants/a.org/public/index.html", "")
            .config(&format!("[sites]\n{sites}\n"));
        let said = hosting.launch().refusal();
        assert!(said.contains(expected), "{sites}: {said}");
    }
}

#[test]
fn a_reload_keeps_tenants_unless_their_rules_change() {
    let sites = "[[sites.policy]]\nplugin = \"probe\"\n[sites.policy.config]\nheaders = \"set | x-ring | VALUE\"\n";
    let hosting = tenants(&["a.org"], &sites.replace("VALUE", "one"));
    let server = hosting.start();
    assert_eq!(server.get_from("a.org", "/").header("x-ring"), Some("one"));
    server.reload(2);
    assert_eq!(server.get_from("a.org", "/").header("x-ring"), Some("one"));
    hosting.configure(
        "",
        &format!("[sites]\ndirectory = \"tenants\"\n{}", sites.replace("VALUE", "two")),
    );
    server.reload(3);
    assert_eq!(server.get_from("a.org", "/").header("x-ring"), Some("two"));
    // What was printed can be read again, and says the same.
    let printed = hosting.at("printed.toml");
    let check = |file: &std::path::Path| {
        let checked = support::Launch::bare()
            .arguments(["check", "--print-config", "--config"])
            .arguments([file])
            .run_to_end();
        assert!(checked.status.success(), "{}", checked.log);
        checked.log
    };
    let first = check(&hosting.at("wasmserve.toml"));
    fs::write(&printed, &first).expect("a file");
    assert_eq!(check(&printed), first);
}

/// The example of the documentation is one: it is checked, and served.
#[test]
fn the_example_of_the_documentation_is_served() {
    let example = project().join("server/docs/example.toml");
    let checked = support::Launch::bare()
        .arguments(["check", "--config"])
        .arguments([&example])
        .run_to_end();
    assert!(checked.status.success(), "{}", checked.log);
    assert!(
        checked.log.contains("1 tenants in ") && checked.log.contains("0 of them cannot"),
        "{}",
        checked.log
    );
    let text = fs::read_to_string(&example).expect("the example");
    let hosting = Hosting::new();
    symlink(project().join("server/docs/example"), hosting.at("example")).expect("a link");
    hosting.write("wasmserve.toml", text.replace("127.0.0.1:8080", "127.0.0.1:0"));
    let server = hosting.start();
    assert!(server.get_from("example.org", "/").text().contains("operator's own"));
    let tenant = server.get_from("alice.example.org", "/");
    assert!(tenant.text().contains("tenant's page"));
    assert_eq!(tenant.header("x-frame-options"), Some("DENY"));
    assert_eq!(tenant.header("x-content-type-options"), Some("nosniff"));
}
