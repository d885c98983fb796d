//! What a chain decides: who has the last word, where files are looked up, and what is sent in their place.
use std::time::{Duration, Instant};
use support::{Chain, Launch, Policy, Tree, client::request_head, eventually};

fn tree() -> Tree {
    Tree::new()
        .file("file.txt", "the file")
        .file("other.txt", "the other file")
        .file("404.html", "nothing here")
        .file("app.html", "the application")
        .file("tenants/north/file.txt", "north's file")
        .file("tenants/south/file.txt", "south's file")
}

fn probe(config: &str) -> Policy {
    Policy::guest("probe").config(config)
}

#[test]
fn a_policy_may_answer_itself() {
    let tree = tree();
    let chain = Chain::of(
        "probe",
        "respond = \"403\"\nbody = \"no\"\nresponse-headers = \"Content-Type: text/plain\\nX-Test: 1\\nX-Test: 2\"",
    );
    let server = Launch::new(&tree).plugins(&chain).start();
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        let response = server.request(method, "/file.txt", &[]);
        assert_eq!((response.status, response.text()), (403, "no"), "{method}");
        assert_eq!(response.header("content-length"), Some("2"));
        assert_eq!(response.header_values("x-test"), ["1", "2"]);
    }
    let mut connection = server.connect();
    let head = connection.request("HEAD", "/file.txt", &[]);
    assert_eq!(
        (head.status, head.header("content-length")),
        (403, Some("2")),
        "its length is told, its body not sent"
    );
    assert_eq!(connection.request("GET", "/file.txt", &[]).text(), "no");
}

#[test]
fn a_policys_answer_may_have_no_content() {
    let tree = tree();
    let chain = Chain::of("probe", "respond = \"204\"");
    let server = Launch::new(&tree).plugins(&chain).start();
    let mut connection = server.connect();
    for _ in 0..2 {
        let response = connection.request("GET", "/file.txt", &[]);
        assert_eq!(
            (response.status, response.header("content-length")),
            (204, None),
            "RFC 9110, section 8.6"
        );
    }
}

#[test]
fn the_first_answer_ends_the_chain() {
    let tree = tree();
    let chain = Chain::new([
        probe("respond = \"401\"\nbody = \"first\"\nonly = \"/file\""),
        Policy::guest("misbehaving").config("behaviour = \"trap\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    assert_eq!(server.get("/file.txt").status, 401);
    assert!(!server.log().contains("unreachable"), "a later policy was asked");
    assert_eq!(server.get("/other.txt").status, 500);
}

#[test]
fn the_first_candidate_that_exists_is_served() {
    let tree = tree();
    let chain = Chain::of(
        "probe",
        "paths = \"/nothing.txt\\n/nothing/at/all\\n/other.txt\\n/file.txt\"",
    );
    let server = Launch::new(&tree).plugins(&chain).start();
    let response = server.get("/asked.html");
    assert_eq!((response.status, response.text()), (200, "the other file"));
    assert_eq!(
        response.header("content-type"),
        Some("text/plain; charset=utf-8"),
        "of what is sent, not of what was asked"
    );
}

#[test]
fn later_mappings_replace_earlier_ones() {
    let tree = tree();
    let chain = Chain::new([
        probe("paths = \"/file.txt\"\nmissing = \"404 /404.html\""),
        probe("paths = \"/other.txt\"\nonly = \"/map\""),
        probe("paths = \"/nothing\"\nonly = \"/map/nothing\""),
        probe("missing = \"200 /app.html\"\nonly = \"/map/nothing/app\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (target, status, text) in [
        ("/x", 200, "the file"),
        ("/map/x", 200, "the other file"),
        ("/map/nothing", 404, "nothing here"),
        ("/map/nothing/app", 200, "the application"),
    ] {
        let response = server.get(target);
        assert_eq!((response.status, response.text()), (status, text), "{target}");
    }
}

#[test]
fn pages_for_what_is_missing() {
    let tree = tree();
    for (missing, status, text) in [
        ("404 /404.html", 404, "nothing here"),
        ("410 /404.html", 410, "nothing here"),
        ("200 /app.html", 200, "the application"),
        ("404 /none.html /404.html", 404, "nothing here"),
    ] {
        let chain = Chain::of("probe", &format!("missing = \"{missing}\""));
        let server = Launch::new(&tree).plugins(&chain).start();
        let response = server.get("/nothing");
        assert_eq!((response.status, response.text()), (status, text), "{missing}");
        assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
        let ranged = server.request("GET", "/nothing", &[("Range", "bytes=0-1")]);
        assert!(
            ranged.status == status || (status == 200 && ranged.status == 206),
            "{missing}: {ranged:?}"
        );
        assert_eq!(
            server.get("/file.txt").text(),
            "the file",
            "what exists is served as ever"
        );
    }
    let chain = Chain::of(
        "probe",
        "missing = \"302\"\nheaders = \"set|Location|/elsewhere?a=b|redirected|\"",
    );
    let server = Launch::new(&tree).plugins(&chain).start();
    let response = server.get("/nothing");
    let location = |response: &support::Response| response.header("location").map(str::to_owned);
    assert_eq!(
        (response.status, location(&response).as_deref(), response.text()),
        (302, Some("/elsewhere?a=b"), "302 Found\n")
    );
    assert_eq!(
        server.get("/file.txt").text(),
        "the file",
        "what exists is served as ever"
    );
    let folder = server.get("/tenants");
    assert_eq!(
        location(&folder).as_deref(),
        Some("tenants/"),
        "the server's own redirect: {folder:?}"
    );
    assert_eq!(server.request("POST", "/nothing", &[]).status, 405);
    drop(server);
    let chain = Chain::of("probe", "missing = \"404 /none.html\"");
    let response = Launch::new(&tree).plugins(&chain).start().get("/nothing");
    assert_eq!(response.status, 404, "no such page either: {response:?}");
}

/// A directory beneath a root is a confinement: one tenant's links do not lead to another's files.
#[test]
fn a_tenant_is_confined_to_its_directory() {
    let tree = tree()
        .link("tenants/north/theirs.txt", "../south/file.txt")
        .link("tenants/north/above.txt", "../../file.txt")
        .link("tenants/north/mine.txt", "file.txt");
    let chain = Chain::of("probe", "place = \"default /tenants/north\"");
    let server = Launch::new(&tree).plugins(&chain).start();
    assert_eq!(server.get("/file.txt").text(), "north's file");
    assert_eq!(server.get("/mine.txt").text(), "north's file");
    for target in ["/theirs.txt", "/above.txt", "/tenants/south/file.txt", "/other.txt"] {
        let response = server.get(target);
        assert!(matches!(response.status, 403 | 404), "{target}: {response:?}");
    }
    let nowhere = Chain::of("probe", "place = \"default /tenants/west\"");
    let response = Launch::new(&tree).plugins(&nowhere).start().get("/file.txt");
    assert_eq!(response.status, 404, "a tenant that is not there: {response:?}");
}

/// The slowest pace counts. That a body takes at least its time does not depend on the machine.
#[test]
fn a_response_is_not_faster_than_its_pace() {
    let tree = tree().file("paced.bin", vec![1; 300_000]);
    let chain = Chain::new([
        probe("pace = \"1000000000\""),
        probe("pace = \"200000\""),
        probe("pace = \"500000\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    let start = Instant::now();
    let response = server.get("/paced.bin");
    assert_eq!(response.body.len(), 300_000);
    // 1.5 s at 200,000 bytes a second; a burst of a third of that may be ahead.
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
}

#[test]
fn a_paced_client_that_leaves_is_forgotten() {
    let tree = tree().sparse("paced.bin", 10 << 20);
    let chain = Chain::of("probe", "pace = \"1000\"");
    let server = Launch::new(&tree).plugins(&chain).start();
    let before = support::process::descriptors(server.pid());
    for _ in 0..20 {
        let mut connection = server.connect();
        connection.send(request_head("GET", "/paced.bin", &[]));
        assert_eq!(connection.try_head().expect("a head comes").status, 200);
    }
    // One descriptor of the file may stay in a cache.
    eventually("its descriptors are closed", || {
        support::process::descriptors(server.pid()) <= before + 1
    });
}

/// Policy comes before the file system: a refused request learns nothing about which files exist.
#[test]
fn a_refusal_is_the_same_for_what_exists_and_what_does_not() {
    let tree = tree().directory("folder");
    let chain = Chain::of("probe", "respond = \"403\"\nbody = \"no\"");
    let server = Launch::new(&tree).plugins(&chain).start();
    let expected = server.get("/file.txt").stable_headers();
    for target in ["/nothing", "/folder", "/folder/", "/tenants"] {
        let response = server.get(target);
        assert_eq!(
            (response.status, response.stable_headers()),
            (403, expected.clone()),
            "{target}"
        );
    }
}

#[test]
fn a_path_that_is_not_canonical_reaches_no_policy() {
    let tree = tree();
    let chain = Chain::of("misbehaving", "behaviour = \"trap\"");
    let server = Launch::new(&tree).plugins(&chain).start();
    for target in [
        "/../file.txt",
        "/%2e%2e/file.txt",
        "//file.txt",
        "/a%2fb",
        "/%00",
        "/a\\b",
    ] {
        assert_eq!(server.get(target).status, 400, "{target}");
    }
    assert!(!server.log().contains("unreachable"), "a policy was asked");
}
