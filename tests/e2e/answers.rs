//! What a site's configuration says of all its answers: header fields, and pages for errors.
use std::{fs, os::unix::fs::symlink};
use support::Hosting;

#[test]
fn a_sites_fields_are_on_every_answer_after_the_policies() {
    let hosting = Hosting::new()
        .guest("probe")
        .file("root/file.txt", "content")
        .file("root/folder/index.html", "index")
        .config(
            r#"
            [defaults.headers]
            set = { x-inherited = "yes" }
            [[site]]
            name = "a"
            hosts = ["a.example"]
            root = "root"
            [site.headers]
            remove = ["Server", "x-policy"]
            set = { x-set = "site", cache-control = "public" }
            append = { x-list = "site" }
            [[site.policy]]
            plugin = "probe"
            [site.policy.config]
            ask = "cookie session"
            headers = "set | x-policy | yes\nset | x-set | policy\nappend | x-list | policy"
            [[site]]
            name = "b"
            hosts = ["b.example"]
            root = "root"
            "#,
        );
    let server = hosting.start();
    for (path, status) in [("/file.txt", 200), ("/folder", 301), ("/none", 404), ("/%00", 400)] {
        let response = server.get_from("a.example", path);
        assert_eq!(response.status, status, "{path}");
        if status == 400 {
            continue;
        }
        for (name, expected) in [
            ("x-set", Some("site")),
            ("server", None),
            ("x-policy", None),
            ("x-inherited", None),
        ] {
            assert_eq!(response.header(name), expected, "{path}: {name}");
        }
        assert_eq!(response.header_values("x-list"), ["policy", "site"], "{path}");
        // The answer depends on a cookie: that cannot be taken off.
        assert!(
            response.members("cache-control").contains(&"private".to_owned()),
            "{response:?}"
        );
        assert!(
            !response.members("cache-control").contains(&"public".to_owned()),
            "{response:?}"
        );
    }
    assert_eq!(
        server.get_from("b.example", "/file.txt").header("x-inherited"),
        Some("yes")
    );
}

#[test]
fn fields_that_are_the_servers_cannot_be_configured() {
    for (headers, expected) in [
        (
            "set = { Content-Length = \"1\" }",
            "the header content-length is the server's",
        ),
        ("remove = [\"ETag\"]", "the header etag describes the file"),
        ("set = { Vary = \"*\" }", "Vary can only be appended to"),
        ("set = { \"x y\" = \"1\" }", "is not a header name"),
        ("add = { x = \"1\" }", "unknown key `add`"),
    ] {
        let site = "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \".\"\n[site.headers]\n";
        let said = Hosting::new().config(&format!("{site}{headers}\n")).launch().refusal();
        assert!(said.contains(expected), "{headers}: {said}");
    }
}

#[test]
fn the_page_of_a_status_is_shown_whether_or_not_the_file_is_there() {
    let site = "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"www\"\n\
                error-pages = { 404 = \"/404.html\", 405 = \"/405.html\" }\n";
    let hosting = Hosting::new()
        .file("www/there.txt", "there")
        .file("www/404.html", "page of 404")
        .file("www/405.html", "page of 405")
        .config(site);
    let server = hosting.start();
    for (method, target, status, page) in [
        ("GET", "/gone.txt", 404, "page of 404"),
        ("POST", "/there.txt", 405, "page of 405"),
        ("POST", "/gone.txt", 405, "page of 405"),
    ] {
        let response = server.request(method, target, &[]);
        assert_eq!((response.status, response.text()), (status, page), "{method} {target}");
    }
}

#[test]
fn every_field_that_cannot_be_configured_is_told_with_its_place() {
    let site = "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \".\"\n[site.headers]\nremove = [\"X-A\", \"ETag\"]\n";
    let more = "[site.headers.set]\nX-B = \"b\"\nConnection = \"close\"\nX-C = \"a\\r\\nb\"\n[site.headers.append]\n\"x y\" = \"1\"\n";
    let said = Hosting::new().config(&format!("{site}{more}")).launch().refusal();
    for expected in [
        "wasmserve.toml:9:18: `headers`: the header etag describes the file",
        "wasmserve.toml:12:1: `headers`: the header connection is the server's",
        "wasmserve.toml:13:1: `headers`: \"a\\r\\nb\" is not a value",
        "wasmserve.toml:15:1: `headers`: \"x y\" is not a header name",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// The name of the page is the configuration's; what it names is looked up like any file.
#[test]
fn an_error_page_shows_nothing_that_is_not_served() {
    let site = |page: &str| {
        format!("[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\nerror-pages = {{ 404 = {page:?} }}\n")
    };
    let hosting = Hosting::new()
        .file("root/404.html", "the page")
        .file("root/.hidden", "SECRET")
        .file("outside.txt", "SECRET");
    hosting.configure("", &site("/404.html"));
    symlink("../outside.txt", hosting.at("root/link")).expect("a link");
    let server = hosting.start();
    let mut generation = 1;
    for (page, shown) in [
        ("/404.html", true),
        ("/.hidden", false),
        ("/link", false),
        ("/linked.toml", false),
        ("/none", false),
    ] {
        hosting.configure("", &site(page));
        let _ = fs::remove_file(hosting.at("root/linked.toml"));
        fs::hard_link(hosting.at("wasmserve.toml"), hosting.at("root/linked.toml")).expect("a link");
        generation += 1;
        server.reload(generation);
        let response = server.get("/missing");
        assert_eq!(response.status, 404, "{page}");
        assert_eq!(response.text().contains("the page"), shown, "{page}: {response:?}");
        assert!(
            !response.text().contains("SECRET") && !response.text().contains("[[site]]"),
            "{page}"
        );
    }
}
