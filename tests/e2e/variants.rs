//! Precompressed siblings: `.br`, `.zst` and `.gz` beside a file, chosen by Accept-Encoding (RFC 9110, section 12.5.3).
use support::{Launch, Server, Tree};

/// Content that tells which variant it is; nothing here decompresses.
fn tree() -> Tree {
    Tree::new()
        .file("page.html", "identity")
        .file("page.html.br", "brotli")
        .file("page.html.gz", "gzip")
        .file("page.html.zst", "zstandard")
        .file("only.txt.gz", "gzip")
}

fn server(tree: &Tree) -> Server {
    Launch::new(tree).start()
}

#[test]
fn the_wanted_variant_is_sent() {
    let tree = tree();
    let server = server(&tree);
    for (accepted, coding, content) in [
        (None, None, "identity"),
        (Some(""), None, "identity"),
        (Some("identity"), None, "identity"),
        (Some("gzip"), Some("gzip"), "gzip"),
        (Some("GZIP"), Some("gzip"), "gzip"),
        (Some("x-gzip"), Some("gzip"), "gzip"),
        (Some("br"), Some("br"), "brotli"),
        (Some("zstd"), Some("zstd"), "zstandard"),
        (Some("br;q=0.1, gzip;q=0.9"), Some("gzip"), "gzip"),
        (Some("br;q=0, gzip"), Some("gzip"), "gzip"),
        (Some("gzip;q=0"), None, "identity"),
        (Some("*;q=0, gzip"), Some("gzip"), "gzip"),
        (Some("deflate"), None, "identity"),
        (Some("identity;q=0, gzip"), Some("gzip"), "gzip"),
    ] {
        let headers: Vec<_> = accepted.map(|value| ("Accept-Encoding", value)).into_iter().collect();
        let response = server.request("GET", "/page.html", &headers);
        assert_eq!(
            (response.status, response.text()),
            (200, content),
            "{accepted:?}: {response:?}"
        );
        assert_eq!(response.header("content-encoding"), coding, "{accepted:?}");
        assert_eq!(
            response.header("content-type"),
            Some("text/html; charset=utf-8"),
            "{accepted:?}"
        );
        assert!(
            response.members("vary").contains(&"accept-encoding".to_owned()),
            "{accepted:?}: {response:?}"
        );
    }
}

#[test]
fn each_variant_has_its_own_validators_and_ranges() {
    let tree = tree();
    let server = server(&tree);
    let coded = server.request("GET", "/page.html", &[("Accept-Encoding", "br")]);
    let plain = server.get("/page.html");
    let etag = coded.header("etag").expect("a file has an entity tag");
    assert_ne!(Some(etag), plain.header("etag"));
    let again = [("Accept-Encoding", "br"), ("If-None-Match", etag)];
    let response = server.request("GET", "/page.html", &again);
    assert_eq!(response.status, 304, "{response:?}");
    assert!(
        response.members("vary").contains(&"accept-encoding".to_owned()),
        "{response:?}"
    );
    // The other variant's tag says nothing about this one.
    let response = server.request("GET", "/page.html", &[("If-None-Match", etag)]);
    assert_eq!((response.status, response.text()), (200, "identity"));
    let ranged = [("Accept-Encoding", "br"), ("Range", "bytes=0-2")];
    let response = server.request("GET", "/page.html", &ranged);
    assert_eq!((response.status, response.text()), (206, "bro"));
    assert_eq!(response.header("content-range"), Some("bytes 0-2/6"));
}

#[test]
fn a_variant_is_a_file_of_its_own_too() {
    let tree = tree();
    let server = server(&tree);
    let response = server.request("GET", "/page.html.gz", &[("Accept-Encoding", "gzip")]);
    assert_eq!(
        (response.status, response.text(), response.header("content-encoding")),
        (200, "gzip", None)
    );
    assert_eq!(
        server
            .request("GET", "/only.txt", &[("Accept-Encoding", "gzip")])
            .status,
        404,
        "a variant of nothing"
    );
}

#[test]
fn what_nobody_accepts() {
    let tree = tree();
    let response = server(&tree).request("GET", "/page.html", &[("Accept-Encoding", "deflate, identity;q=0")]);
    assert_eq!(response.status, 406, "{response:?}");
}
