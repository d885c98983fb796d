//! Preconditions (RFC 9110, section 13) through the whole server; the tables of their combinations are beside the rules.
use support::{Fields, Launch, Server, Tree, eventually};

/// Sun, 06 Nov 1994 08:49:37 GMT, the moment of RFC 9110's examples.
const MODIFIED: u64 = 784_111_777;
const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";
const CONTENT: &str = "the file's own content";

struct Case {
    server: Server,
    etag: String,
}

fn case(tree: &Tree) -> Case {
    let server = Launch::new(tree).start();
    let response = server.get("/file.txt");
    assert_eq!(response.header("last-modified"), Some(SAME), "{response:?}");
    let etag = response.header("etag").expect("a file has an entity tag").to_owned();
    assert!(
        etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2,
        "strong, in quotes: {etag}"
    );
    Case { server, etag }
}

fn tree() -> Tree {
    Tree::new().file("file.txt", CONTENT).modified("file.txt", MODIFIED)
}

#[test]
fn preconditions_decide_the_status() {
    let tree = tree();
    let Case { server, etag } = case(&tree);
    let weak = format!("W/{etag}");
    let among = format!("\"other\", {etag} , \"more\"");
    let cases: &[(Fields<'_>, u16)] = &[
        (&[("If-None-Match", &etag)], 304),
        (&[("If-None-Match", &weak)], 304),
        (&[("If-None-Match", &among)], 304),
        (&[("If-None-Match", "*")], 304),
        (&[("If-None-Match", "\"other\"")], 200),
        (&[("If-Modified-Since", SAME)], 304),
        (&[("If-Modified-Since", AFTER)], 304),
        (&[("If-Modified-Since", BEFORE)], 200),
        // Obsolete forms of the same moment (RFC 9110, section 5.6.7).
        (&[("If-Modified-Since", "Sunday, 06-Nov-94 08:49:37 GMT")], 304),
        (&[("If-Modified-Since", "Sun Nov  6 08:49:37 1994")], 304),
        (&[("If-Modified-Since", "yesterday")], 200),
        // If-None-Match decides alone (section 13.2.2, step 3).
        (&[("If-None-Match", "\"other\""), ("If-Modified-Since", AFTER)], 200),
        (&[("If-None-Match", &etag), ("If-Modified-Since", BEFORE)], 304),
        (&[("If-Match", &etag)], 200),
        (&[("If-Match", &among)], 200),
        (&[("If-Match", "*")], 200),
        (&[("If-Match", "\"other\"")], 412),
        // Strong comparison (section 13.1.1).
        (&[("If-Match", &weak)], 412),
        (&[("If-Unmodified-Since", SAME)], 200),
        (&[("If-Unmodified-Since", BEFORE)], 412),
        (&[("If-Unmodified-Since", "yesterday")], 200),
        (&[("If-Match", &etag), ("If-Unmodified-Since", BEFORE)], 200),
        (&[("If-Match", "\"other\""), ("If-None-Match", &etag)], 412),
        (&[("If-Match", &etag), ("If-None-Match", &etag)], 304),
    ];
    for (headers, status) in cases {
        let response = server.request("GET", "/file.txt", headers);
        assert_eq!(response.status, *status, "{headers:?}: {response:?}");
        assert_eq!(
            response.body == CONTENT.as_bytes(),
            *status == 200,
            "{headers:?}: {response:?}"
        );
    }
}

#[test]
fn not_modified_carries_the_validators_and_no_content() {
    let tree = tree();
    let Case { server, etag } = case(&tree);
    let mut connection = server.connect();
    let response = connection.request("GET", "/file.txt", &[("If-None-Match", &etag)]);
    assert_eq!(
        (response.status, response.header("etag")),
        (304, Some(etag.as_str())),
        "{response:?}"
    );
    assert!(response.header("date").is_some(), "{response:?}");
    for absent in ["content-encoding", "content-range", "transfer-encoding"] {
        assert_eq!(response.header(absent), None, "{response:?}");
    }
    assert_eq!(
        connection.request("GET", "/file.txt", &[]).text(),
        CONTENT,
        "the connection is still in step"
    );
}

#[test]
fn preconditions_of_what_is_not_there() {
    let tree = tree();
    let Case { server, .. } = case(&tree);
    for headers in [
        [("If-None-Match", "*")],
        [("If-Modified-Since", AFTER)],
        [("Range", "bytes=0-1")],
    ] {
        let response = server.request("GET", "/nothing", &headers);
        assert_eq!(response.status, 404, "{headers:?}: {response:?}");
    }
}

#[test]
fn if_range_sends_a_part_only_of_what_the_client_has() {
    let tree = tree();
    let Case { server, etag } = case(&tree);
    let weak = format!("W/{etag}");
    let cases = [
        (etag.as_str(), 206),
        ("\"other\"", 200),
        (&weak, 200),
        (SAME, 206),
        // Not "unmodified since": the very same date (RFC 9110, section 13.1.5).
        (AFTER, 200),
        (BEFORE, 200),
        ("yesterday", 200),
    ];
    for (validator, status) in cases {
        let response = server.request("GET", "/file.txt", &[("Range", "bytes=4-7"), ("If-Range", validator)]);
        assert_eq!(response.status, status, "{validator}: {response:?}");
        assert_eq!(
            response.text(),
            if status == 206 { "file" } else { CONTENT },
            "{validator}"
        );
    }
}

#[test]
fn another_content_has_another_entity_tag() {
    let tree = tree();
    let Case { server, etag } = case(&tree);
    // The same size, name and second; another file, as a deploy by renaming makes it.
    let tree = tree.file("next", "THE FILE'S OWN CONTENT").modified("next", MODIFIED);
    std::fs::rename(tree.at("next"), tree.at("file.txt")).expect("the tree is writable");
    eventually("the new file is seen", || {
        server.get("/file.txt").text() == "THE FILE'S OWN CONTENT"
    });
    let response = server.request("GET", "/file.txt", &[("If-None-Match", &etag)]);
    assert_eq!(response.status, 200, "{response:?}");
    assert_ne!(response.header("etag"), Some(etag.as_str()));
}
