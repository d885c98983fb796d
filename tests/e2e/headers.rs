//! Header changes: in order, for the outcomes and types they are meant for, on whatever the chain leads to.
use support::{Chain, Fields, Launch, Policy, Server, Tree};

fn tree() -> Tree {
    Tree::new()
        .file("page.html", "<p>page")
        .file("image.png", "png")
        .file("folder/index.html", "index")
        .file("404.html", "nothing here")
}

fn changes(lines: &str) -> Policy {
    Policy::guest("probe").config(&format!("headers = {lines:?}"))
}

fn under(tree: &Tree, chain: &Chain) -> Server {
    Launch::new(tree).plugins(chain).start()
}

#[test]
fn changes_are_applied_in_the_order_of_the_chain() {
    let tree = tree();
    let chain = Chain::new([
        changes("set | X-A | first\nappend | X-B | 1\nset | X-C | gone\nremove | X-D |"),
        changes("set | x-a | second\nappend | X-B | 2\nremove | x-c |\nset | X-D | kept"),
    ]);
    let response = under(&tree, &chain).get("/page.html");
    assert_eq!(response.header("x-a"), Some("second"));
    assert_eq!(response.members("x-b"), ["1", "2"]);
    assert_eq!(response.header("x-c"), None);
    assert_eq!(response.header("x-d"), Some("kept"));
}

#[test]
fn the_servers_own_fields_may_be_changed_where_they_describe_no_file() {
    let tree = tree();
    let chain = Chain::new([changes(
        "set | Content-Type | text/x-test\nset | Server | other\nset | Cache-Control | no-store\nappend | Vary | X-Any",
    )]);
    let response = under(&tree, &chain).get("/page.html");
    assert_eq!(response.header("content-type"), Some("text/x-test"));
    assert_eq!(response.header("server"), Some("other"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    assert!(response.members("vary").contains(&"x-any".to_owned()), "{response:?}");
}

/// Every kind of answer that a chain can lead to, with the outcome that it counts as.
#[test]
fn changes_apply_to_every_answer_by_its_outcome() {
    let tree = tree();
    let chain = Chain::new([
        changes(
            "set | X-Always | 1\nset | X-Found | 1 | found\nset | X-Redirected | 1 | redirected\n\
             set | X-Missing | 1 | missing\nset | X-Failed | 1 | failed\nset | X-Two | 1 | found missing",
        ),
        Policy::guest("misbehaving").config("behaviour = \"trap\"\nonly = \"/trap\""),
        Policy::guest("probe").config("only = \"/forbidden\"\nrespond = \"403\""),
        Policy::guest("probe")
            .config("only = \"/moved\"\nrespond = \"302\"\nresponse-headers = \"Location: /page.html\""),
        Policy::guest("probe").config("only = \"/gone\"\nrespond = \"410\""),
        Policy::guest("probe").config("only = \"/made\"\nrespond = \"201\""),
        Policy::guest("probe").config("only = \"/app\"\nmissing = \"200 /page.html\""),
    ]);
    let server = under(&tree, &chain);
    let etag = server
        .get("/page.html")
        .header("etag")
        .expect("a file has an entity tag")
        .to_owned();
    let cases: &[(&str, &str, Fields<'_>, u16, &str)] = &[
        ("GET", "/page.html", &[], 200, "x-found"),
        ("HEAD", "/page.html", &[], 200, "x-found"),
        ("GET", "/page.html", &[("Range", "bytes=0-1")], 206, "x-found"),
        ("GET", "/page.html", &[("If-None-Match", &etag)], 304, "x-found"),
        ("GET", "/app", &[], 200, "x-found"),
        ("GET", "/made", &[], 201, "x-found"),
        ("GET", "/folder", &[], 301, "x-redirected"),
        ("GET", "/moved", &[], 302, "x-redirected"),
        ("GET", "/nothing", &[], 404, "x-missing"),
        ("GET", "/gone", &[], 410, "x-missing"),
        ("GET", "/page.html", &[("If-Match", "\"other\"")], 412, "x-failed"),
        ("GET", "/page.html", &[("Range", "bytes=1000-")], 416, "x-failed"),
        ("POST", "/page.html", &[], 405, "x-failed"),
        ("GET", "/forbidden", &[], 403, "x-failed"),
        ("GET", "/trap", &[], 500, "x-failed"),
    ];
    for (method, target, headers, status, outcome) in cases {
        let response = server.request(method, target, headers);
        assert_eq!(response.status, *status, "{method} {target}: {response:?}");
        assert_eq!(
            response.header("x-always"),
            Some("1"),
            "{method} {target}: {response:?}"
        );
        for name in ["x-found", "x-redirected", "x-missing", "x-failed"] {
            assert_eq!(
                response.header(name).is_some(),
                name == *outcome,
                "{method} {target} {name}: {response:?}"
            );
        }
        let two = matches!(*outcome, "x-found" | "x-missing");
        assert_eq!(
            response.header("x-two").is_some(),
            two,
            "{method} {target}: {response:?}"
        );
    }
}

#[test]
fn changes_apply_by_media_type() {
    let tree = tree();
    let chain = Chain::new([changes(
        "set | X-Html | 1 | | text/html\nset | X-Image | 1 | | image/*\nset | X-Either | 1 | | TEXT/HTML image/png\n\
         set | X-Other | 1 | | application/pdf",
    )]);
    let server = under(&tree, &chain);
    let etag = server
        .get("/page.html")
        .header("etag")
        .expect("a file has an entity tag")
        .to_owned();
    for (target, headers, html) in [
        ("/page.html", vec![], true),
        // A 304 counts as what it stands for.
        ("/page.html", vec![("If-None-Match", etag.as_str())], true),
        ("/page.html", vec![("Range", "bytes=0-1")], true),
        ("/folder/", vec![], true),
        ("/image.png", vec![], false),
    ] {
        let response = server.request("GET", target, &headers);
        assert_eq!(
            response.header("x-html").is_some(),
            html,
            "{target} {headers:?}: {response:?}"
        );
        assert_eq!(
            response.header("x-image").is_some(),
            !html,
            "{target} {headers:?}: {response:?}"
        );
        assert_eq!(
            response.header("x-either"),
            Some("1"),
            "{target} {headers:?}: {response:?}"
        );
        assert_eq!(response.header("x-other"), None, "{target} {headers:?}: {response:?}");
    }
}

/// A later policy's failure must not take away what an earlier one added.
#[test]
fn a_failing_policy_does_not_undo_the_changes_before_it() {
    let tree = tree();
    let chain = Chain::new([
        changes("set | X-Frame-Options | DENY"),
        Policy::guest("misbehaving")
            .settings("limits = { running = \"20ms\" }")
            .config("behaviour = \"endless_loop\""),
    ]);
    let response = under(&tree, &chain).get("/page.html");
    assert_eq!(
        (response.status, response.header("x-frame-options")),
        (503, Some("DENY")),
        "{response:?}"
    );
}
