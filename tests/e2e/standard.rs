//! The standard policies over sockets; what each key of their configuration does is tested beside them.
mod fields;
mod guards;
mod links;
mod mapping;
mod rules;
mod tokens;

use support::{Chain, Launch, Policy, Response, Tree, password_hash, tool};

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

/// `alice` and her password in base64, as RFC 7617 wants them.
const ALICE: (&str, &str) = ("Authorization", "Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==");

/// The three standard policies in their order, alice admitted, and further policies around them.
fn guarded(before: Option<Policy>, after: Option<Policy>) -> Chain {
    let users = format!(
        "prefixes = [\"/private/\"]\nrealm = \"Staff\"\nusers = {{ alice = \"{}\" }}",
        password_hash("correct horse")
    );
    let standard = [
        Policy::standard("security-headers"),
        Policy::standard("clean-urls"),
        Policy::standard("basic-auth").config(&users),
    ];
    Chain::new(before.into_iter().chain(standard).chain(after))
}

#[track_caller]
fn assert_refused(response: &Response) {
    assert_eq!(response.status, 401, "{response:?}");
    let challenge = response
        .header("www-authenticate")
        .expect("a 401 says how to ask (RFC 9110, section 15.5.2)");
    assert!(challenge.starts_with("Basic realm=\"Staff\""), "{challenge}");
    assert!(
        !String::from_utf8_lossy(&response.body).contains("SECRET"),
        "{response:?}"
    );
    for name in ["etag", "last-modified", "accept-ranges", "location"] {
        assert_eq!(response.header(name), None, "tells of a file: {response:?}");
    }
    assert_eq!(
        response.header("x-content-type-options"),
        Some("nosniff"),
        "{response:?}"
    );
}

#[test]
fn a_private_prefix_gives_nothing_without_the_password() {
    let tree = tree();
    let chain = guarded(None, None);
    let server = Launch::new(&tree).plugins(&chain).start();
    let expected = server.get("/private/secret.html").stable_headers();
    for target in [
        "/private/secret.html",
        "/private/secret",
        "/private/",
        "/private",
        "/private/nothing",
        "/%70rivate/secret.html",
        "/private/secret.html?x=/public",
        "http://localhost/private/secret.html",
    ] {
        let response = server.get(target);
        assert_refused(&response);
        assert_eq!(
            response.stable_headers(),
            expected,
            "{target} differs from what is there"
        );
    }
    for method in ["HEAD", "POST", "OPTIONS", "DELETE"] {
        assert_refused(&server.request(method, "/private/secret.html", &[]));
    }
    for condition in [
        ("Range", "bytes=0-5"),
        ("If-None-Match", "*"),
        ("Accept-Encoding", "gzip"),
    ] {
        assert_refused(&server.request("GET", "/private/secret.html", &[condition]));
    }
    for value in [
        "Basic YWxpY2U6d3Jvbmc=",         // alice:wrong
        "Basic Ym9iOmNvcnJlY3QgaG9yc2U=", // bob:correct horse
        "Basic YWxpY2U6",                 // alice:
        "Basic YWxpY2U=",                 // alice
        "Basic OmNvcnJlY3QgaG9yc2U=",     // :correct horse
        "Basic !!!",
        "Basic",
        "Bearer YWxpY2U6Y29ycmVjdCBob3JzZQ==",
        "YWxpY2U6Y29ycmVjdCBob3JzZQ==",
    ] {
        assert_refused(&server.request("GET", "/private/secret.html", &[("Authorization", value)]));
    }
    // Whoever sends two is asked again: which of them counts?
    let twice = [ALICE, ("Authorization", "Basic YWxpY2U6d3Jvbmc=")];
    assert_refused(&server.request("GET", "/private/secret.html", &twice));
    for target in [
        "//private/secret.html",
        "/public/../private/secret.html",
        "/private%2fsecret.html",
        "/./private/",
    ] {
        assert_eq!(server.get(target).status, 400, "{target}");
    }
    for target in ["/about", "/privateer", "/privateer.html"] {
        let response = server.get(target);
        assert_eq!(response.status, 200, "{target}: {response:?}");
        assert!(
            !response.members("cache-control").contains(&"private".to_owned()),
            "{target}: {response:?}"
        );
    }
}

#[test]
fn the_password_opens_what_it_is_for() {
    let tree = tree();
    let chain = guarded(
        None,
        Some(Policy::guest("probe").config("ask = \"fact user\"\nanswers-header = \"X-User\"")),
    );
    let server = Launch::new(&tree).plugins(&chain).start();
    for _ in 0..3 {
        let response = server.request("GET", "/private/secret", &[ALICE]);
        assert_eq!((response.status, response.text()), (200, "SECRET"));
        assert_eq!(
            response.header("x-user"),
            Some("some(alice)"),
            "later policies know who it is"
        );
        assert!(
            response.members("cache-control").contains(&"private".to_owned()),
            "{response:?}"
        );
        // What one was given is not what another gets.
        assert_refused(&server.get("/private/secret"));
    }
    assert_eq!(server.request("GET", "/private/none", &[ALICE]).status, 404);
    server.logged("alice");
}

/// A guard looks at what a request is mapped to as well: no mapping leads around it.
#[test]
fn mapping_does_not_lead_around_the_guard() {
    let tree = tree();
    for paths in [
        "/private/secret.html",
        "/about.html\\n/private/secret.html",
        "/none\\n/private/",
        "/private",
    ] {
        let chain = guarded(
            Some(Policy::guest("probe").config(&format!("paths = \"{paths}\""))),
            None,
        );
        let server = Launch::new(&tree).plugins(&chain).start();
        assert_refused(&server.get("/public"));
    }
}

#[test]
fn curl_and_wget_know_the_password() {
    let tree = tree();
    let chain = guarded(None, None);
    let server = Launch::new(&tree).plugins(&chain).start();
    let folder = tempfile::tempdir().expect("the machine has room for temporary files");
    let url = server.url("/private/secret.html");
    let curl = tool::run(
        folder.path(),
        "curl",
        ["-fsS", "-u", "alice:correct horse", url.as_str()],
    )
    .success();
    assert_eq!(curl.stdout, b"SECRET");
    let wget = [
        "-q",
        "-O",
        "-",
        "--user=alice",
        "--password=correct horse",
        url.as_str(),
    ];
    assert_eq!(tool::run(folder.path(), "wget", wget).success().stdout, b"SECRET");
    assert_eq!(
        tool::run(folder.path(), "curl", ["-fsS", "-u", "alice:wrong", url.as_str()]).code,
        Some(22)
    );
}
