//! What caches may do with an answer follows from what the policies asked (`sharing`).
use support::{Chain, Fields, Launch, Policy, Response, Tree};

fn tree() -> Tree {
    Tree::new()
        .file("file.txt", "content")
        .file("folder/index.html", "index")
}

/// The answer to a request for the file under policies with these configurations.
#[track_caller]
fn answer(policies: &[&str]) -> Response {
    let tree = tree();
    let chain = Chain::new(policies.iter().map(|config| Policy::guest("probe").config(config)));
    Launch::new(&tree).plugins(&chain).start().get("/file.txt")
}

fn ask(questions: &str) -> String {
    format!("ask = {questions:?}")
}

const PUBLIC: &str = "headers = \"set | Cache-Control | public, max-age=3600, s-maxage=7200\"";

#[test]
fn questions_that_every_cache_knows_leave_no_trace() {
    let response = answer(&[
        PUBLIC,
        &ask("method\npath\ntargets\nquery\nquery-parameter a\nscheme\nhost\nsite"),
    ]);
    assert_eq!(
        response.members("cache-control"),
        ["public", "max-age=3600", "s-maxage=7200"],
        "{response:?}"
    );
    let vary = response.members("vary");
    assert!(vary.iter().all(|member| member == "accept-encoding"), "{response:?}");
}

#[test]
fn headers_that_were_asked_for_are_varied_on() {
    let response = answer(&[&ask(
        "header Accept-Language\nheader-values x-test\nheader accept-language",
    )]);
    let mut vary = response.members("vary");
    vary.retain(|member| member != "accept-encoding");
    vary.sort();
    assert_eq!(vary, ["accept-language", "x-test"], "each once: {response:?}");
    assert!(
        !response.members("cache-control").contains(&"private".to_owned()),
        "{response:?}"
    );
}

#[test]
fn what_depends_on_the_client_is_private() {
    for question in [
        "header Authorization",
        "header-values authorization",
        "header Cookie",
        "cookie session",
        "client-address",
        "client-within 10.0.0.0/8",
        "now",
    ] {
        let response = answer(&[PUBLIC, &ask(question)]);
        let directives = response.members("cache-control");
        assert!(directives.contains(&"private".to_owned()), "{question}: {response:?}");
        assert!(
            !directives.iter().any(|d| d == "public" || d.starts_with("s-maxage")),
            "{question}: {response:?}"
        );
        // The order of the policies makes no difference, nor does a later one undo it.
        let response = answer(&[&ask(question), PUBLIC]);
        assert!(
            !response.members("cache-control").contains(&"public".to_owned()),
            "{question}: {response:?}"
        );
    }
}

#[test]
fn a_fact_is_as_private_as_what_it_came_from() {
    let read = ask("fact user");
    let private = answer(&[
        "ask = \"cookie session\"\nfacts = \"user=alice\"\nsharing = \"\"",
        &read,
    ]);
    assert!(
        private.members("cache-control").contains(&"private".to_owned()),
        "{private:?}"
    );
    let public = answer(&["ask = \"path\"\nfacts = \"user=alice\"", &read]);
    assert!(
        !public.members("cache-control").contains(&"private".to_owned()),
        "{public:?}"
    );
}

#[test]
fn a_moment_limits_freshness() {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let response = answer(&[PUBLIC, &ask(&format!("before {}", now + 100))]);
    let age: u64 = response
        .members("cache-control")
        .iter()
        .find_map(|directive| directive.strip_prefix("max-age=")?.parse().ok())
        .unwrap_or_else(|| panic!("no max-age: {response:?}"));
    assert!(age < 100, "fresh beyond the moment: {response:?}");
    // A moment that has passed limits nothing any more.
    let response = answer(&[PUBLIC, &ask("before 1")]);
    assert!(
        response.members("cache-control").contains(&"max-age=3600".to_owned()),
        "{response:?}"
    );
}

#[test]
fn it_holds_for_every_status() {
    let tree = tree();
    let chain = Chain::new([
        Policy::guest("probe").config("ask = \"cookie session\\nheader X-Test\""),
        Policy::guest("probe")
            .config("only = \"/denied\"\nrespond = \"403\"\nresponse-headers = \"Cache-Control: public\""),
        Policy::guest("misbehaving").config("behaviour = \"trap\"\nonly = \"/trap\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    let etag = server
        .get("/file.txt")
        .header("etag")
        .expect("a file has an entity tag")
        .to_owned();
    let cases: &[(&str, Fields<'_>, u16)] = &[
        ("/file.txt", &[], 200),
        ("/file.txt", &[("If-None-Match", &etag)], 304),
        ("/file.txt", &[("Range", "bytes=0-1")], 206),
        ("/folder", &[], 301),
        ("/nothing", &[], 404),
        ("/denied", &[], 403),
        ("/trap", &[], 500),
    ];
    for (target, headers, status) in cases {
        let response = server.request("GET", target, headers);
        assert_eq!(response.status, *status, "{target}: {response:?}");
        let directives = response.members("cache-control");
        assert!(
            directives.iter().any(|d| d == "private" || d == "no-store") && !directives.contains(&"public".to_owned()),
            "{target}: {response:?}"
        );
    }
}

#[test]
fn allowed_sharing_leaves_no_trace() {
    let tree = tree();
    let chain = Chain::new([
        Policy::guest("probe").config(PUBLIC),
        Policy::guest("probe")
            .settings("grants = [\"sharing\"]")
            .config("ask = \"client-address\\nheader X-Test\\nnow\"\nsharing = \"allowed\""),
    ]);
    let response = Launch::new(&tree).plugins(&chain).start().get("/file.txt");
    assert!(
        response.members("cache-control").contains(&"public".to_owned()),
        "{response:?}"
    );
    assert!(!response.members("vary").contains(&"x-test".to_owned()), "{response:?}");
}
