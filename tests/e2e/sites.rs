//! Many sites in one `wasmserve.toml`: whose a request is, what each of them says, and what is wrong with a file.
use support::{Connection, Hosting, Launch, client::request_head};

/// A policy that says which site it was told, for the site's own chain.
const TELLS: &str =
    "[[site.policy]]\nplugin = \"probe\"\n[site.policy.config]\nask = \"site\"\nanswers-header = \"x-site\"\n";

/// Three sites whose hosts lie in each other, each with a root of its own.
fn three_sites() -> Hosting {
    let site = |name: &str, hosts: &str| {
        format!("[[site]]\nname = \"{name}\"\nhosts = [{hosts}]\nroot = \"{name}\"\n{TELLS}\n")
    };
    let sites = [
        site("one", r#""example.org", "127.0.0.1""#),
        site("all", r#""*.Example.org""#),
        site("deep", r#""*.deep.example.org", "named.example.org""#),
    ];
    Hosting::new()
        .guest("probe")
        .file("one/file.txt", "one")
        .file("all/file.txt", "all")
        .file("deep/file.txt", "deep")
        .file("one/secret.txt", "of one alone")
        .config(&sites.concat())
}

#[test]
fn a_host_belongs_to_its_exact_name_then_to_the_longest_wildcard() {
    let hosting = three_sites();
    let server = hosting.start();
    for (host, site) in [
        ("example.org", "one"),
        ("EXAMPLE.ORG.:8080", "one"),
        ("127.0.0.1:1", "one"),
        ("www.example.org", "all"),
        ("a.b.example.org.", "all"),
        ("deep.example.org", "all"),
        ("x.deep.example.org", "deep"),
        ("x.y.Deep.example.org:80", "deep"),
        ("named.example.org", "deep"),
    ] {
        let response = server.get_from(host, "/file.txt");
        assert_eq!((response.status, response.text()), (200, site), "{host}");
        assert_eq!(response.header("x-site"), Some(site), "{host}");
    }
    // One connection may ask for one site after the other: each request is its own.
    let mut connection = server.connect();
    for (host, site) in [
        ("example.org", "one"),
        ("named.example.org", "deep"),
        ("example.org", "one"),
    ] {
        let response = connection.request("GET", "/file.txt", &[("Host", host)]);
        assert_eq!(response.text(), site);
    }
    let absolute = connection.request("GET", "http://www.example.org/file.txt", &[("Host", "www.example.org")]);
    assert_eq!(absolute.text(), "all");
    for host in ["www.example.org", "x.deep.example.org"] {
        assert_eq!(server.get_from(host, "/secret.txt").status, 404, "{host}");
    }
}

#[test]
fn hosts_that_are_no_sites_are_misdirected() {
    let hosting = three_sites();
    let server = hosting.start();
    for host in ["localhost", "notexample.org", "org", "[::1]", "127.0.0.2"] {
        let response = server.get_from(host, "/file.txt");
        assert_eq!((response.status, response.header("x-site")), (421, None), "{host}");
    }
    let answer = String::from_utf8_lossy(&server.raw("GET /file.txt HTTP/1.0\r\n\r\n")).into_owned();
    assert!(answer.contains(" 421 "), "no host is no site's: {answer}");
}

#[test]
fn the_answer_to_unknown_hosts_is_the_operators_to_choose() {
    let site = "[[site]]\nname = \"one\"\nhosts = [\"example.org\"]\nroot = \"one\"\n";
    let hosting = Hosting::new().file("one/file.txt", "one");
    hosting.configure("unknown-host = 404", site);
    let server = hosting.start();
    assert_eq!(server.get_from("other.org", "/file.txt").status, 404);
    hosting.configure("unknown-host = \"close\"", site);
    let server = hosting.start();
    let mut connection = server.connect();
    assert_eq!(
        connection
            .request("GET", "/file.txt", &[("Host", "example.org")])
            .text(),
        "one"
    );
    connection.send(request_head("GET", "/file.txt", &[("Host", "other.org")]));
    assert!(connection.is_ended(), "not a byte of an answer");
    assert_eq!(server.get_from("example.org", "/file.txt").text(), "one");
}

#[test]
fn one_site_may_have_every_other_host() {
    let hosting = Hosting::new()
        .file("one/file.txt", "one")
        .file("rest/file.txt", "rest")
        .config(
            "[[site]]\nname = \"one\"\nhosts = [\"example.org\"]\nroot = \"one\"\n\
         [[site]]\nname = \"rest\"\nhosts = [\"*\", \"rest.org\"]\nroot = \"rest\"\n",
        );
    let server = hosting.start();
    for (host, site) in [
        ("example.org", "one"),
        ("other.org", "rest"),
        ("rest.org", "rest"),
        ("[::1]:1", "rest"),
    ] {
        assert_eq!(server.get_from(host, "/file.txt").text(), site, "{host}");
    }
    let answer = String::from_utf8_lossy(&server.raw("GET /file.txt HTTP/1.0\r\n\r\n")).into_owned();
    assert!(answer.ends_with("rest"), "{answer}");
}

#[test]
fn sites_inherit_what_they_do_not_say() {
    let hosting = Hosting::new()
        .guest("probe")
        .file("a/page.md", "# a")
        .file("a/.hidden", "hidden")
        .file("a/404.html", "a has no such page")
        .file("a/folder/start.html", "start")
        .file("b/page.md", "# b")
        .file("b/.hidden", "shown")
        .file("b/folder/file.txt", "listed")
        .config(
            r#"
            [defaults]
            index = ["start.html"]
            error-pages = { 404 = "/404.html" }
            media-types = { md = "text/x-markdown" }
            [[defaults.policy]]
            plugin = "probe"
            config = { headers = "set | x-from | defaults" }
            [[site]]
            name = "a"
            hosts = ["a.example"]
            root = "a"
            [[site]]
            name = "b"
            hosts = ["b.example"]
            root = "b"
            dotfiles = "serve"
            listing = true
            error-pages = {}
            policy = []
            "#,
        );
    let server = hosting.start();
    let a = |path| server.get_from("a.example", path);
    let b = |path| server.get_from("b.example", path);
    assert_eq!(
        a("/page.md").header("content-type"),
        Some("text/x-markdown; charset=utf-8")
    );
    assert_eq!(
        b("/page.md").header("content-type"),
        Some("text/x-markdown; charset=utf-8")
    );
    assert_eq!((a("/.hidden").status, b("/.hidden").text()), (404, "shown"));
    assert_eq!(a("/none").text(), "a has no such page");
    assert_ne!(b("/none").text(), "a has no such page");
    assert_eq!(a("/folder/").text(), "start");
    assert!(b("/folder/").text().contains("file.txt"), "it is listed");
    assert_eq!(a("/page.md").header("x-from"), Some("defaults"));
    assert_eq!(b("/page.md").header("x-from"), None, "it asks no policy");
}

#[test]
fn a_policy_places_requests_in_the_named_roots_of_its_site() {
    let hosting = Hosting::new()
        .guest("probe")
        .file("main/file.txt", "main")
        .file("tenants/north/file.txt", "north")
        .file("tenants/north/.dot", "dot")
        .config(
            r#"
            [[site]]
            name = "placed"
            hosts = ["placed.example"]
            [site.roots.default]
            path = "main"
            [site.roots.tenants]
            path = "tenants"
            dotfiles = "serve"
            [[site.policy]]
            plugin = "probe"
            [site.policy.config]
            only = "/placed"
            paths = "/file.txt"
            place = "tenants /north"
            "#,
        );
    let server = hosting.start();
    assert_eq!(server.get_from("placed.example", "/file.txt").text(), "main");
    assert_eq!(server.get_from("placed.example", "/placed").text(), "north");
}

/// The configuration, every plugin and their folders are never served, whichever site's root they lie beneath.
#[test]
fn no_site_serves_the_configuration_or_plugins_of_another() {
    let hosting = Hosting::new()
        .guest("probe")
        .file("one/plugins/plugins.toml", "[[policy]]\nplugin = \"copy.wasm\"\n")
        .file("one/file.txt", "one")
        .config(
            "[[site]]\nname = \"one\"\nhosts = [\"one.example\"]\nroot = \"one\"\nplugins = \"one/plugins\"\n\
             [[site]]\nname = \"whole\"\nhosts = [\"whole.example\"]\nroot = \".\"\n",
        );
    std::fs::copy(hosting.at("probe/probe.wasm"), hosting.at("one/plugins/copy.wasm")).expect("a guest is built");
    let server = hosting.start();
    let status = |host, path| server.get_from(host, path).status;
    assert_eq!(status("whole.example", "/one/file.txt"), 200);
    for path in ["/wasmserve.toml", "/one/plugins/plugins.toml", "/one/plugins/copy.wasm"] {
        assert_eq!(status("whole.example", path), 404, "{path}");
    }
    for path in ["/plugins/plugins.toml", "/plugins/copy.wasm"] {
        assert_eq!(status("one.example", path), 404, "{path}");
    }
}

/// The same decision of two sites is asked for twice: nothing that one of them was told answers the other.
#[test]
fn kept_decisions_are_of_one_site() {
    let hosting = three_sites();
    let server = hosting.start();
    for _ in 0..3 {
        for (host, site) in [("example.org", "one"), ("www.example.org", "all")] {
            assert_eq!(server.get_from(host, "/file.txt").header("x-site"), Some(site));
        }
    }
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let hosting = Hosting::new().config(
        "listens = []\nidle-timeout = \"0s\"\nunknown-host = 500\n\
         [[site]]\nname = \"one\"\nhosts = [\"a.example\", \"*.*\"]\nroots = {}\nlisting = \"on\"\n\
         [[site]]\nname = \"one\"\nhosts = [\"A.example.\"]\nroot = \"x\"\nindex = [\"a/b\"]\n\
         [[site.policy]]\nplugin = \"none\"\n\
         [site.budget]\nevidence = \"much\"\nmemory = \"1MiB\"\n\
         [pages]\n",
    );
    let log = hosting.launch().refusal();
    for line in [
        "wasmserve.toml:4:1: unknown key `listens` in [server]",
        "wasmserve.toml:5:16: `idle-timeout`: must be longer than nothing",
        "wasmserve.toml:6:16: `unknown-host` cannot be \"500\"",
        "wasmserve.toml:9:23: `hosts`: \"*.*\" is not a host",
        "wasmserve.toml:11:11: `listing` must be true or false, not string",
        "wasmserve.toml:13:8: two sites are named \"one\"",
        "wasmserve.toml:14:10: ",
        "wasmserve.toml:16:10: `index`: \"a/b\" is not a file name",
        "wasmserve.toml:18:10: there is no plugin `none`",
        "wasmserve.toml:20:12: `evidence`: \"much\" is not a size",
        "wasmserve.toml:21:1: unknown key `memory` in [budget]",
        "wasmserve.toml:22:2: unknown key `pages` in this file",
    ] {
        assert!(log.contains(line), "no {line:?} in:\n{log}");
    }
}

#[test]
fn two_sites_cannot_have_one_host() {
    for host in ["example.org", "*.example.org", "*"] {
        let site = |name: &str| format!("[[site]]\nname = \"{name}\"\nhosts = [\"{host}\"]\nroot = \".\"\n");
        let hosting = Hosting::new().config(&[site("one"), site("two")].concat());
        let log = hosting.launch().refusal();
        let said = format!("the host {host} is the site \"one\"'s already");
        assert!(log.contains(&said), "no {said:?} in:\n{log}");
    }
}

#[test]
fn sites_that_cannot_be_served_are_named() {
    let hosting = Hosting::new().guest("misbehaving").file("here/file.txt", "").config(
        "[[site]]\nname = \"rootless\"\nhosts = [\"a.example\"]\nroot = \"nowhere\"\n\
         [[site]]\nname = \"fine\"\nhosts = [\"b.example\"]\nroot = \"here\"\n\
         [[site]]\nname = \"broken\"\nhosts = [\"c.example\"]\nroot = \"here\"\n\
         [[site.policy]]\nplugin = \"misbehaving\"\nconfig = { behaviour = \"configure_fails\" }\n",
    );
    let log = hosting.launch().refusal();
    for said in [
        "site \"rootless\": ",
        "nowhere",
        "site \"broken\": ",
        "the key `colour` is missing",
    ] {
        assert!(log.contains(said), "no {said:?} in:\n{log}");
    }
    assert!(!log.contains("site \"fine\""), "{log}");
}

#[test]
fn flags_do_not_contradict_a_file() {
    let hosting = three_sites();
    for flag in [
        ["--root", "."],
        ["--listen", "127.0.0.1:0"],
        ["--plugins", "plugins"],
        ["--log", "debug"],
    ] {
        let log = hosting.launch().arguments(flag).refusal();
        assert!(log.contains("--config") && log.contains(flag[0]), "{flag:?}: {log}");
    }
}

#[test]
fn check_describes_every_site() {
    let hosting = three_sites();
    let ran = Launch::bare()
        .arguments(["check", "--config"])
        .arguments([hosting.at("wasmserve.toml")])
        .run_to_end();
    assert!(ran.status.success(), "{}", ran.log);
    for said in [
        "site one",
        "example.org, 127.0.0.1",
        "*.deep.example.org",
        "1. probe",
        "3 sites",
    ] {
        assert!(ran.log.contains(said), "no {said:?} in:\n{}", ran.log);
    }
}

/// A policy's error without content gets the page, and not the coding that the policy said its content had.
#[test]
fn a_page_is_not_encoded_as_what_it_stands_for() {
    let hosting = Hosting::new()
        .guest("probe")
        .file("root/gone.html", "it is gone")
        .config(
            "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\nerror-pages = { 410 = \"/gone.html\" }\n\
             [[site.policy]]\nplugin = \"probe\"\n[site.policy.config]\nrespond = \"410\"\n\
             response-headers = \"content-encoding: gzip\\nx-kept: yes\"\n",
        );
    let response = hosting.start().get("/");
    assert_eq!((response.status, response.text()), (410, "it is gone"));
    assert_eq!(response.header("content-encoding"), None);
    assert_eq!(response.header("x-kept"), Some("yes"));
}

#[test]
fn what_print_config_prints_is_the_same_configuration() {
    let hosting = three_sites();
    let printed = |file: &str| {
        let config = hosting.at(file);
        let ran = Launch::bare()
            .arguments(["check", "--print-config", "--config"])
            .arguments([config])
            .run_to_end();
        assert!(ran.status.success(), "{}", ran.log);
        ran.log
            .lines()
            .filter(|line| !line.contains(" INFO "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let first = printed("wasmserve.toml");
    hosting.write("printed/again.toml", &first);
    assert_eq!(printed("printed/again.toml"), first);
}

/// Thousands of sites are described in a bounded number of lines, and served.
#[test]
fn a_thousand_sites_start_and_are_told_apart() {
    let sites = (0..1000).map(|number| {
        format!(
            "[[site]]\nname = \"site-{number}\"\nhosts = [\"s{number}.example\"]\nroot = \"root\"\n\
             [[site.policy]]\nplugin = \"probe\"\nconfig = {{ headers = \"set | x-number | {number}\" }}\n"
        )
    });
    let hosting = Hosting::new()
        .guest("probe")
        .file("root/file.txt", "content")
        .config(&sites.collect::<String>());
    let server = hosting.start();
    for number in [0, 1, 499, 999] {
        let response = server.get_from(&format!("s{number}.example"), "/file.txt");
        assert_eq!(response.header("x-number"), Some(&*number.to_string()));
    }
    let ran = Launch::bare()
        .arguments(["check", "--config"])
        .arguments([hosting.at("wasmserve.toml")])
        .run_to_end();
    assert!(
        ran.status.success() && ran.log.lines().count() < 600,
        "{}",
        ran.log.lines().count()
    );
    assert!(ran.log.contains("and 800 more"), "{}", ran.log);
}

/// A request under way holds what it needs, however many sites share one pool of files.
#[test]
fn sites_of_one_root_keep_their_own_rules() {
    let hosting = Hosting::new()
        .file("root/.dot", "dot")
        .file("root/file.txt", "file")
        .config(
            "[[site]]\nname = \"strict\"\nhosts = [\"strict.example\"]\nroot = \"root\"\n\
         [[site]]\nname = \"open\"\nhosts = [\"open.example\"]\nroot = \"root\"\ndotfiles = \"serve\"\n\
         media-types = { txt = \"text/x-open\" }\n",
        );
    let server = hosting.start();
    let mut connection: Connection = server.connect();
    let mut get = |host, path| connection.request("GET", path, &[("Host", host)]);
    for _ in 0..2 {
        assert_eq!(get("open.example", "/.dot").status, 200);
        assert_eq!(get("strict.example", "/.dot").status, 404);
        assert_eq!(
            get("open.example", "/file.txt").header("content-type"),
            Some("text/x-open; charset=utf-8")
        );
        assert_eq!(
            get("strict.example", "/file.txt").header("content-type"),
            Some("text/plain; charset=utf-8")
        );
    }
}
