//! The standard policies over sockets; what each key of their configuration does is tested beside them.
use support::{Chain, Launch, Policy, Tree};

fn tree() -> Tree {
    Tree::new()
        .file("index.html", "home")
        .file("about.html", "about")
        .file("blog/index.html", "blog")
        .file("blog/post.html", "post")
        .file("both.html", "the page")
        .file("both/index.html", "the directory")
        .file("style.css", "css")
        .file("private/secret.html", "SECRET")
        .file("private/index.html", "SECRET")
        .file("private.html", "SECRET")
        .file("privateer.html", "a ship")
        .file("a b.html", "spaced")
}

#[test]
fn security_headers_are_on_every_answer() {
    let tree = tree();
    let chain = Chain::new([
        Policy::standard("security-headers")
            .config("frame-options = \"DENY\"\ncontent-security-policy = \"default-src 'self'\""),
        Policy::guest("misbehaving").config("behaviour = \"trap\"\nonly = \"/trap\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    let etag = server
        .get("/about.html")
        .header("etag")
        .expect("a file has an entity tag")
        .to_owned();
    for (method, target, condition, status) in [
        ("GET", "/about.html", "", 200),
        ("HEAD", "/about.html", "", 200),
        ("GET", "/about.html", etag.as_str(), 304),
        ("GET", "/blog", "", 301),
        ("GET", "/none", "", 404),
        ("POST", "/about.html", "", 405),
        ("GET", "/trap", "", 500),
    ] {
        let headers = if condition.is_empty() {
            vec![]
        } else {
            vec![("If-None-Match", condition)]
        };
        let response = server.request(method, target, &headers);
        assert_eq!(response.status, status, "{method} {target}: {response:?}");
        assert_eq!(
            response.header("x-content-type-options"),
            Some("nosniff"),
            "{method} {target}: {response:?}"
        );
        assert_eq!(
            response.header("content-security-policy"),
            Some("default-src 'self'"),
            "{method} {target}"
        );
        assert!(
            response.header("referrer-policy").is_some(),
            "{method} {target}: {response:?}"
        );
        assert_eq!(
            response.header("strict-transport-security"),
            None,
            "not over http (RFC 6797, section 7.2)"
        );
    }
    assert_eq!(server.get("/about.html").header("x-frame-options"), Some("DENY"));
    let style = server.get("/style.css");
    assert_eq!(
        style.header("x-frame-options"),
        None,
        "not for what is no document: {style:?}"
    );
    assert!(
        !style.members("cache-control").contains(&"private".to_owned()),
        "every cache may keep it: {style:?}"
    );
}

#[test]
fn clean_urls_find_pages() {
    let tree = tree();
    let chain = Chain::new([Policy::standard("clean-urls")]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (target, content) in [
        ("/", "home"),
        ("/about", "about"),
        ("/about.html", "about"),
        ("/blog", "blog"),
        ("/blog/", "blog"),
        ("/blog/post", "post"),
        ("/both", "the page"),
        ("/both/", "the directory"),
        ("/style.css", "css"),
        ("/a%20b", "spaced"),
    ] {
        let response = server.get(target);
        assert_eq!(
            (response.status, response.text()),
            (200, content),
            "{target}: {response:?}"
        );
    }
    for target in ["/none", "/about/", "/style", "/about.html.html", "/index/x"] {
        assert_eq!(server.get(target).status, 404, "{target}");
    }
}

#[test]
fn clean_urls_may_redirect() {
    let tree = tree();
    let chain = Chain::new([Policy::standard("clean-urls").config("redirect = 308")]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (target, location) in [
        ("/about.html?a=1", "/about?a=1"),
        ("/blog/post.html", "/blog/post"),
        ("/index.html", "/"),
        ("/blog/index.html", "/blog/"),
        ("/a%20b.html", "/a%20b"),
    ] {
        let response = server.get(target);
        assert_eq!(
            (
                response.status,
                response.leads_to(target.split('?').next().unwrap_or_default()).as_str()
            ),
            (308, location),
            "{target}: {response:?}"
        );
    }
    assert_eq!(server.get("/about").text(), "about");
}
