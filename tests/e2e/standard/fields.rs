//! Policies about header fields: cors, cache-control.
use support::{Chain, Launch, Policy, Tree};

#[test]
fn cors_lets_allowed_origins_read() {
    let tree = Tree::new().file("font.woff2", "font").file("private/a", "SECRET");
    let chain = Chain::new([
        Policy::standard("cors").config(
            "origins = [\"https://*.example.com\"]\nheaders = [\"Authorization\"]\ncredentials = true\nmax-age = 600",
        ),
        Policy::standard("basic-auth").config("prefixes = [\"/private/\"]"),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (origin, target, status, allowed) in [
        (Some("https://app.example.com"), "/font.woff2", 200, true),
        (Some("https://app.example.com"), "/none", 404, true),
        (Some("https://app.example.com"), "/private/a", 401, true),
        (Some("https://evil.org"), "/font.woff2", 200, false),
        (None, "/font.woff2", 200, false),
    ] {
        let headers: Vec<_> = origin.map(|origin| ("Origin", origin)).into_iter().collect();
        let response = server.request("GET", target, &headers);
        assert_eq!(response.status, status, "{origin:?} {target}: {response:?}");
        let expected = origin.filter(|_| allowed);
        assert_eq!(response.header("access-control-allow-origin"), expected, "{response:?}");
        assert_eq!(
            response.header("access-control-allow-credentials"),
            allowed.then_some("true")
        );
        if status != 401 {
            assert!(
                response.members("vary").contains(&"origin".to_owned()),
                "a cache would give one origin's answer to another: {response:?}"
            );
        }
    }
    let preflight = |origin| {
        let headers = [
            ("Origin", origin),
            ("Access-Control-Request-Method", "GET"),
            ("Access-Control-Request-Headers", "authorization"),
        ];
        server.request("OPTIONS", "/private/a", &headers)
    };
    // In front of the guard: a preflight carries no password.
    let answered = preflight("https://app.example.com");
    assert_eq!(answered.status, 204, "{answered:?}");
    for (name, value) in [
        ("access-control-allow-origin", "https://app.example.com"),
        ("access-control-allow-methods", "GET, HEAD"),
        ("access-control-allow-headers", "Authorization"),
        ("access-control-max-age", "600"),
    ] {
        assert_eq!(answered.header(name), Some(value), "{answered:?}");
    }
    let refused = preflight("https://evil.org");
    assert_eq!(refused.status, 403);
    assert_eq!(refused.header("access-control-allow-origin"), None, "{refused:?}");
}

#[test]
fn cache_control_goes_by_path_and_type() {
    let tree = Tree::new()
        .file("index.html", "home")
        .file("logo.png", "png")
        .file("files/logo.png", "png")
        .file("app.3f9a1c7b.js", "js")
        .file("assets/index-DiwrgTda.js", "js")
        .file("private/app.3f9a1c7b.js", "js");
    let rules = "default = \"no-cache\"\nerrors = \"no-store\"\nimmutable = [\"/assets/**\"]\nrules = [\n\
                 { paths = [\"/files/**\"], value = \"public, max-age=60\" },\n\
                 { types = [\"image/*\"], value = \"public, max-age=3600\" },\n]";
    let chain = Chain::new([
        Policy::standard("cache-control").config(rules),
        Policy::guest("probe").config("ask = \"cookie session\"\nonly = \"/private/\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    let year = "public, max-age=31536000, immutable";
    for (target, expected) in [
        ("/", "no-cache"),
        ("/logo.png", "public, max-age=3600"),
        ("/files/logo.png", "public, max-age=60"),
        ("/app.3f9a1c7b.js", year),
        ("/assets/index-DiwrgTda.js", year),
        ("/none", "no-store"),
        ("/none.3f9a1c7b.js", "no-store"),
    ] {
        let response = server.get(target);
        assert_eq!(response.header_values("cache-control").join(", "), expected, "{target}");
    }
    let of_a_cookie = server.get("/private/app.3f9a1c7b.js").members("cache-control");
    assert!(of_a_cookie.contains(&"private".to_owned()), "{of_a_cookie:?}");
    assert!(!of_a_cookie.contains(&"public".to_owned()), "{of_a_cookie:?}");
    let etag = server
        .get("/logo.png")
        .header("etag")
        .expect("a file has one")
        .to_owned();
    let unchanged = server.request("GET", "/logo.png", &[("If-None-Match", &etag)]);
    assert_eq!(
        (unchanged.status, unchanged.header("cache-control")),
        (304, Some("public, max-age=3600"))
    );
}
