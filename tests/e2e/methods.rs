//! Which methods are answered, and that HEAD is GET without the body (RFC 9110, section 9).
use support::{Fields, Launch, Response, Server, Tree};

const PAGE: &str = "<!doctype html><title>page</title>\n";

fn server(tree: &Tree) -> Server {
    Launch::new(tree).start()
}

fn tree() -> Tree {
    Tree::new()
        .file("page.html", PAGE)
        .file("empty.txt", "")
        .directory("folder")
        .file("indexed/index.html", PAGE)
}

#[test]
fn get_sends_a_file() {
    let tree = tree();
    let response = server(&tree).get("/page.html");
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.text(), PAGE);
    assert_eq!(response.header("content-length"), Some(PAGE.len().to_string().as_str()));
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(response.header("accept-ranges"), Some("bytes"));
    for name in ["date", "etag", "last-modified"] {
        assert!(response.header(name).is_some(), "no {name}: {response:?}");
    }
}

#[test]
fn an_empty_file_is_a_file() {
    let tree = tree();
    let response = server(&tree).get("/empty.txt");
    assert_eq!(
        (response.status, response.header("content-length")),
        (200, Some("0")),
        "{response:?}"
    );
}

#[test]
fn what_is_not_there_is_not_found() {
    let tree = tree();
    let server = server(&tree);
    for path in [
        "/nothing",
        "/page.html/",
        "/page.html/more",
        "/nothing/",
        "/folder/nothing",
    ] {
        let response = server.get(path);
        assert_eq!(response.status, 404, "{path}: {response:?}");
        assert!(
            !response.text().contains("root"),
            "an answer names no folder of the machine: {response:?}"
        );
    }
}

#[test]
fn head_is_get_without_the_body() {
    let tree = tree();
    let server = server(&tree);
    let etag = server
        .get("/page.html")
        .header("etag")
        .expect("a file has an entity tag")
        .to_owned();
    let cases: &[(&str, Fields<'_>)] = &[
        ("/page.html", &[]),
        ("/empty.txt", &[]),
        ("/indexed/", &[]),
        ("/indexed", &[]),
        ("/folder/", &[]),
        ("/nothing", &[]),
        ("/page.html", &[("If-None-Match", &etag)]),
        ("/page.html", &[("If-Match", "\"other\"")]),
        ("/page.html", &[("If-Modified-Since", "Fri, 31 Dec 2100 23:59:59 GMT")]),
        ("/%2e%2e/", &[]),
    ];
    for (target, headers) in cases {
        let mut connection = server.connect();
        let head = connection.request("HEAD", target, headers);
        // A body after the first head would be read as the second.
        let get = connection.request("GET", target, headers);
        assert_eq!(head.status, get.status, "{target} {headers:?}");
        assert_eq!(head.stable_headers(), get.stable_headers(), "{target} {headers:?}");
    }
}

#[test]
fn options_lists_the_methods() {
    let tree = tree();
    let server = server(&tree);
    for target in ["/page.html", "*"] {
        let response = server.request("OPTIONS", target, &[]);
        assert!(matches!(response.status, 200 | 204), "{target}: {response:?}");
        assert_allow(&response);
    }
}

#[test]
fn other_methods_are_not_allowed() {
    let tree = tree();
    let server = server(&tree);
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "BREW", "get"] {
        let response = server.request(method, "/page.html", &[]);
        assert_eq!(response.status, 405, "{method}: {response:?}");
        assert_allow(&response);
        assert!(!response.text().contains("<title>page"), "{method}: {response:?}");
    }
    assert_eq!(
        std::fs::read_to_string(tree.at("page.html")).expect("the file is there"),
        PAGE
    );
}

#[test]
fn trace_reflects_nothing() {
    let tree = tree();
    let response = server(&tree).request("TRACE", "/page.html", &[("Cookie", "session=secret")]);
    assert!(!response.text().contains("secret"), "{response:?}");
}

#[test]
fn connect_opens_no_tunnel() {
    let tree = tree();
    let response = server(&tree).request("CONNECT", "localhost:22", &[]);
    assert!(matches!(response.status, 400 | 405), "{response:?}");
}

#[track_caller]
fn assert_allow(response: &Response) {
    let mut allowed = response.members("allow");
    allowed.sort();
    assert_eq!(allowed, ["get", "head", "options"], "{response:?}");
}
