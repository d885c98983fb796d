use super::*;
use crate::{
    config::print::print,
    net::{
        ListenAddress,
        listener::{Answers, ForwardedField},
    },
    sites::{HostPattern, UnknownHost},
};
use std::{fs, time::Duration};
use wasmserve_files::{Coding, Compression, Dotfiles, Growing, Listings, Location, Machines, RootOptions, Symlinks};

/// A folder with a plugin, a folder of plugins and this `wasmserve.toml`.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, content: &str| fs::write(folder.path().join(name), content).expect("a file");
    for name in ["plugins", "guard"] {
        fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    write("plugins/b.wasm", "");
    write("guard/guard.wasm", "");
    let manifest = "name = \"guard\"\nversion = \"1\"\nartefact = \"guard.wasm\"\n[facts]\nestablishes = [\"user\"]\n";
    write("guard/plugin.toml", manifest);
    write("wasmserve.toml", text);
    folder
}

fn read(folder: &tempfile::TempDir) -> Result<Configuration, ConfigErrors> {
    Configuration::read(&folder.path().join("wasmserve.toml"))
}

/// What is wrong, one a line, without the folder's own path.
fn wrong(text: &str) -> String {
    let folder = folder(text);
    let errors = read(&folder).expect_err("an error").to_string();
    errors.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn a_certificate_that_is_demanded_is_demanded_everywhere() {
    let text = |listener: &str, demand: &str| {
        format!(
            "[server]\ntls-cert = \"c\"\ntls-key = \"k\"\n[[listener]]\naddress = \"127.0.0.1:443\"\n\
                 [[listener]]\n{listener}\n{SITE}[site.tls]\nclient-ca = \"ca\"\nclient-certificates = \"{demand}\"\n"
        )
    };
    let open = "address = \"127.0.0.1:80\"\ntls = false";
    let told = wrong(&text(open, "required"));
    assert!(
        told.starts_with("wasmserve.toml:6:1: 127.0.0.1:80 speaks plain HTTP, and site `a` demands"),
        "{told}"
    );
    for (listener, demand) in [
        (open, "optional"),
        ("address = \"127.0.0.1:80\"\nredirect = \"https\"", "required"),
        ("address = \"127.0.0.1:80\"", "required"),
        (
            "address = \"127.0.0.1:80\"\ntls = false\ntrusted = [\"10.0.0.1\"]",
            "required",
        ),
        ("address = \"unix:http.sock\"", "required"),
    ] {
        let folder = folder(&text(listener, demand));
        assert!(read(&folder).is_ok(), "{listener} {demand}: {:?}", read(&folder));
    }
}

const SITE: &str = "[[site]]\nname = \"a\"\nhosts = [\"a\"]\nroot = \".\"\n";

/// Every key that there is.
const WHOLE: &str = r#"
        [server]
        listen = ["127.0.0.1:80", "[::1]:0", "[::1]:0"]
        tls-cert = "tls/cert.pem"
        tls-key = "tls/key.pem"
        tls-client-ca = "tls/ca.pem"
        drain-delay = "4s"
        idle-timeout = "1m 30s"
        head-timeout = "2s"
        stall-timeout = "3s"
        drain-timeout = "0s"
        max-connections = 5
        chunk-size = "5KiB"
        cached-files = 6
        cache-memory = "1000003B"
        unknown-host = 404
        log = "info,access=off"
        log-format = "json"
        total-timeout = "unlimited"
        head-size = "16KiB"
        header-fields = 50
        target-size = "4KiB"
        bandwidth = "100MiB/s"
        client = { connections = 7, rate = "50/s", burst = 9, exempt = ["10.0.0.0/8", "::1"] }
        sendfile = "off"
        admin = "run/admin.sock"
        debug-secret-file = "/secret"
        [server.record]
        file = "record.jsonl"
        limit = "1MiB"
        one-in = 10
        redact = ["client=drop", "header:x-team=keep"]

        [server.registry]
        store = "store"
        fetch = "load"
        public-keys = ["RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"]
        credentials = "auth.json"
        ca-file = "tls/registry.pem"
        plain-http = ["registry.lan:5000", "[::1]:5000"]
        timeout = "5s"
        size = "1MiB"

        [[listener]]
        address = "0.0.0.0:80"
        redirect = "https"
        redirect-port = 8443
        [[listener]]
        address = "unix:run/http.sock"
        mode = "600"
        tls = false
        trusted = ["10.0.0.0/8", "2001:db8::1", "unix"]
        proxy-protocol = true
        forwarded = "x-forwarded-for"
        [[listener]]
        address = "systemd:https"

        [defaults]
        index = ["start.html"]
        listing = true
        fallback = "/app.html"
        plugins = "plugins"
        budget = { evidence = "7MiB" }

        [[site]]
        name = "first"
        hosts = ["First.Example.", "*.first.example"]
        root = "one"
        symlinks = "deny"
        dotfiles = "serve"
        precompressed = ["gzip"]
        error-pages = { 404 = "/404.html", 503 = "/busy.html" }
        fallback = ""
        media-types = { md = "text/markdown" }
        default-media-type = "text/plain"
        machines = "several"
        growing = "continue"
        compress = true
        compress-up-to = "1MiB"
        compress-from = "1B"
        resolver = "steps"

        [[site]]
        name = "second"
        hosts = ["*"]
        [site.roots.other]
        path = "/other"
        listing = false
        [site.roots.default]
        path = "two"
        [[site.policy]]
        plugin = "guard"
        name = "door"
        grants = ["logging", "counters"]
        key-value = { buckets = ["shared"], time-to-live = "1h" }
        shadow = { plugin = "plugins/b.wasm", one-in = 2 }
        isolation = "reuse"
        evidence = "never"
        limits = { running = "1ms" }
        config = { users = { ada = "hash" }, number = 1.5 }
        [site.tls]
        client-ca = "tls/others.pem"
        client-certificates = "optional"
        [site.budget]
        evidence = "8MiB"
        concurrent = 9
        processor = "200ms"
        connections = 11
        requests = 12
        rate = "30/min"
        burst = 13
        bandwidth = "1MiB/s"
        weight = 14
        [site.headers]
        remove = ["Server"]
        set = { x-a = "b" }
        append = { link = "</c>" }
        [site.services]
        counters = { buckets = 9 }

        [sites]
        directory = "/tenants"
        root = "web"
        forget-after = "1h"
        loaded = 5
        allow = ["policy", "index"]
        listing = false
        [[sites.policy]]
        plugin = "guard"
        [sites.budget]
        rate = "unlimited"
        [sites.own-policies]
        grants = ["logging"]
        establishes = ["tier"]
        reads = ["user"]
        limits = { running = "5ms" }
        most = 2
        size = "2MiB"
        registries = ["oci://registry.lan:5000/shared/", "https://plugins.example.org/"]
    "#;

#[test]
fn every_key_comes_to_what_it_says() {
    let folder = folder(WHOLE);
    let read = read(&folder).expect("a configuration");
    let server = &read.server;
    assert_eq!(server.listen.len(), 3);
    assert_eq!(server.idle_timeout, Duration::from_secs(90));
    let listeners: Vec<_> = read.listeners().into_iter().skip(3).collect();
    let [redirecting, proxied, passed] = &listeners[..] else {
        panic!("{} listeners", listeners.len())
    };
    assert_eq!(redirecting.answers, Answers::RedirectToHttps { port: 8443 });
    let socket = ListenAddress::Unix(folder.path().join("run/http.sock"));
    assert_eq!((&proxied.address, proxied.mode), (&socket, 0o600));
    assert_eq!(proxied.proxies.forwarded, Some(ForwardedField::XForwardedFor));
    assert!(proxied.proxies.proxy_protocol && proxied.proxies.trusted.unix);
    assert_eq!(proxied.proxies.trusted.networks.len(), 2);
    let securities = listeners.iter().map(|listener| listener.security);
    let expected = [Security::Plain, Security::Plain, Security::Tls];
    assert_eq!(securities.collect::<Vec<_>>(), expected);
    assert_eq!(passed.address, ListenAddress::Systemd("https".into()));
    assert_eq!((server.max_connections, server.cache.descriptors), (Some(5), 6));
    assert_eq!((server.cache.bytes, server.chunk_size), (1_000_003, 5 << 10));
    assert_eq!(
        (server.unknown_host, &*server.log),
        (UnknownHost::NotFound, "info,access=off")
    );
    assert_eq!((server.total_timeout, server.head_size), (None, 16 << 10));
    assert_eq!((server.header_fields, server.target_size), (50, 4 << 10));
    assert_eq!(server.bandwidth.map(|bytes| bytes.get()), Some(100 << 20));
    assert_eq!(
        (
            server.client.exempt.len(),
            server.client.connections.map(|count| count.get())
        ),
        (2, Some(7))
    );
    let tenants = read.tenants.as_ref().expect("tenants");
    assert_eq!((&*tenants.root, tenants.loaded, tenants.own.most), ("web", 5, 2));
    assert!(tenants.allow.contains("policy") && !tenants.allow.contains("listing"));
    let operators = &server.operators;
    assert_eq!(operators.admin, Some(folder.path().join("run/admin.sock")));
    let record = operators.record.as_ref().expect("a recording");
    assert_eq!((record.limit, record.one_in, record.rules.len()), (1 << 20, 10, 2));
    for secret in [Path::new("/secret"), &folder.path().join("record.jsonl")] {
        assert!(read.protected().contains(&secret.to_owned()), "{}", secret.display());
    }
    let [first, second] = &read.sites[..] else {
        panic!("{} sites", read.sites.len())
    };
    assert_eq!(
        first.hosts,
        [
            HostPattern::Exact("first.example".into()),
            HostPattern::Beneath("first.example".into())
        ]
    );
    let root = &first.files.roots[0].1;
    assert_eq!(root.location, Location::Directory(folder.path().join("one")));
    assert_eq!((root.symlinks, root.dotfiles), (Symlinks::Deny, Dotfiles::Serve));
    assert_eq!(
        (&*root.index, root.listing),
        (&["start.html".to_owned()][..], Listings::On)
    );
    assert_eq!((root.machines, root.growing), (Machines::Several, Growing::Continue));
    assert_eq!((&*root.precompressed, &root.fallback), (&[Coding::Gzip][..], &None));
    assert_eq!(root.error_pages.len(), 2);
    assert_eq!(root.media_types.of("x.md"), "text/markdown; charset=utf-8");
    assert_eq!(root.media_types.of("x.unknown"), "text/plain; charset=utf-8");
    let compression = Compression {
        shortest: 1,
        longest: 1 << 20,
    };
    assert_eq!(first.files.compression, Some(compression));
    assert_eq!(
        (&*first.chain.policies[0].name, first.chain.budget.evidence),
        ("b", 7 << 20)
    );

    let roots: Vec<_> = second.files.roots.iter().map(|(name, root)| (&**name, root)).collect();
    assert_eq!((roots[0].0, roots[1].0), ("default", "other"));
    assert_eq!((roots[0].1.listing, roots[1].1.listing), (Listings::On, Listings::Off));
    assert_eq!(roots[1].1.location, Location::Directory("/other".into()));
    assert_eq!(first.tls, None, "it has the server's");
    let tls = second.tls.as_ref().expect("what it asks of clients is its own");
    assert_eq!(tls.certificate, folder.path().join("tls/cert.pem"));
    let clients = tls.clients.as_ref().expect("they are asked");
    assert_eq!(clients.authorities, folder.path().join("tls/others.pem"));
    assert_eq!(clients.demand, Demand::Optional);
    let budget = &second.chain.budget;
    assert_eq!((budget.evidence, budget.concurrent), (8 << 20, 9));
    assert_eq!(budget.processor, Some(std::time::Duration::from_millis(200)));
    let [door] = &second.chain.policies[..] else {
        panic!("{} policies", second.chain.policies.len())
    };
    assert_eq!((&*door.name, door.limits.running), ("door", Duration::from_millis(1)));
    assert!(door.establishes.contains("user"));
    assert!(door.grants.logging && door.grants.counters && door.grants.key_value.is_some());
    assert_eq!(door.shadow.as_ref().map(|shadow| shadow.one_in), Some(2));
    assert_eq!(second.chain.budget.services.token_buckets, 9);
    for source in [
        "wasmserve.toml",
        "plugins",
        "plugins/b.wasm",
        "guard/plugin.toml",
        "guard/guard.wasm",
        "tls/key.pem",
        "tls/ca.pem",
        "tls/others.pem",
    ] {
        assert!(read.sources.contains(&folder.path().join(source)), "{source}");
    }
}

#[test]
fn what_is_printed_comes_to_the_same() {
    for text in [WHOLE, SITE] {
        let original = folder(text);
        let original = (read(&original).expect("a configuration"), original);
        let printed = print(&original.0);
        fs::write(original.1.path().join("wasmserve.toml"), &printed).expect("a file");
        let again = read(&original.1).unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
        assert_eq!(again.server, original.0.server);
        assert_eq!(again.sites, original.0.sites, "{printed}");
    }
}

#[test]
fn without_any_key_a_root_is_what_it_is_by_flags() {
    let folder = folder(SITE);
    let read = read(&folder).expect("a configuration");
    assert_eq!(read.server, ServerSettings::default());
    assert_eq!(
        read.sites[0].files.roots,
        [("default".to_owned(), RootOptions::new(folder.path().join(".")))]
    );
    assert!(read.sites[0].chain.policies.is_empty());
}

#[test]
fn a_chain_is_inherited_replaced_or_given_up() {
    for (site, expected) in [
        ("", &["b"][..]),
        ("policy = []", &[]),
        ("plugins = \"plugins\"", &["b"]),
        (
            "[[site.policy]]\nplugin = \"guard\"\n[[site.policy]]\nplugin = \"plugins/b.wasm\"",
            &["guard", "b"],
        ),
    ] {
        let folder = folder(&format!("[defaults]\nplugins = \"plugins\"\n{SITE}{site}\n"));
        let read = read(&folder).expect("a configuration");
        let policies = read.sites[0].chain.policies.iter();
        assert_eq!(
            policies.map(|policy| &*policy.name).collect::<Vec<_>>(),
            expected,
            "{site}"
        );
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, expected) in [
        (
            "",
            "wasmserve.toml: has no site: there is nothing to serve\n    hint: add a [[site]] with `name`, `hosts` and `root`",
        ),
        (
            "[site]\n",
            "wasmserve.toml:1:1: `site` must be a list of tables, each begun by [[site]], not table",
        ),
        (
            "[[site]]\nhosts = []\n",
            "wasmserve.toml:1:1: [[site]] has no key `name`\n\
                 wasmserve.toml:1:1: [[site]] has no `hosts`: nobody could reach it\n    \
                 hint: hosts = [\"example.org\", \"*.example.org\"], or [\"*\"] for every host that is no other site's\n\
                 wasmserve.toml:1:1: [[site]] needs either `root` or `roots`\n    \
                 hint: root = \"DIR\", or [site.roots.NAME] tables with a `path` each",
        ),
        (
            &format!("[server]\nlisten = []\n{SITE}"),
            "wasmserve.toml:1:1: `listen` names no address: nobody could connect",
        ),
        (
            &format!("[server]\nlisten = [\"[::]:80\", \"[::]:80\", \"x\"]\n{SITE}"),
            "wasmserve.toml:2:22: `listen`: [::]:80 is listened on twice\n\
                 wasmserve.toml:2:33: `listen`: must be an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:80 or [::]:80",
        ),
        (
            &format!("{SITE}plugins = \"plugins\"\n[[site.policy]]\nplugin = \"guard\"\n"),
            "wasmserve.toml:5:11: `plugins` and [[policy]] tables are two ways to say the same: give one of them",
        ),
        (
            "[[site]]\nname = \"a\"\nhosts = [\"a\"]\n[site.roots.x]\npath = \"x\"\n[site.roots.y]\nlisting = true\n",
            "wasmserve.toml:1:1: none of the `roots` is named `default`: that is where paths are looked up\n\
                 wasmserve.toml:6:1: [roots.y] has no key `path`",
        ),
        (
            &format!("{SITE}error-pages = {{ 200 = \"/x\", 404 = \"x\", 500 = 1 }}\nprecompressed = [\"bro\"]\n"),
            "wasmserve.toml:5:17: `error-pages`: \"200\" is not an error status: 400 to 599\n\
                 wasmserve.toml:5:35: `error-pages`: the path does not begin with a slash\n\
                 wasmserve.toml:5:46: `500` must be a string, not integer\n\
                 wasmserve.toml:6:18: `precompressed`: there is no coding \"bro\"\n    hint: did you mean `br`?",
        ),
        (
            &format!("{SITE}media-types = {{ \".md\" = \"text/x\", md = \"text\" }}\ndefault-media-type = \"text\"\n"),
            "wasmserve.toml:5:25: `media-types`: \".md\" is not an extension: give it without a leading dot and without a slash\n\
                 wasmserve.toml:5:40: `media-types`: \"text\" is not a media type such as \"text/html\" or \"text/html; charset=utf-8\"\n\
                 wasmserve.toml:6:22: `default-media-type`: \"text\" is not a media type such as \"text/html\" or \"text/html; charset=utf-8\"",
        ),
        (
            &format!("{SITE}listings = true\n[defaults]\nroot = \"x\"\n"),
            "wasmserve.toml:5:1: unknown key `listings` in [[site]]\n    hint: did you mean `listing`?\n\
                 wasmserve.toml:7:1: unknown key `root` in [defaults]",
        ),
    ] {
        let wrong = wrong(text);
        assert!(
            wrong.starts_with(expected),
            "{text}\nsaid:\n{wrong}\nexpected:\n{expected}"
        );
    }
}

/// A plugin that thousands of sites name is told once.
#[test]
fn what_two_sites_have_in_common_is_told_once() {
    let site =
        |name: &str| format!("[[site]]\nname = \"{name}\"\nhosts = [\"{name}\"]\nroot = \".\"\nplugins = \"none\"\n");
    assert_eq!(
        wrong(&[site("a"), site("b")].concat()),
        "none: cannot be read: no such file or directory"
    );
}
