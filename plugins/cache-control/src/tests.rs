use super::*;
use wasmserve_plugin::testing::{self, Question, configure};

fn changes(policy: &CacheControl, path: &str) -> Vec<HeaderChange> {
    let request = testing::Request::get(path);
    let Decision::Proceed(changes) = request.decide(policy).unwrap() else {
        panic!("responds");
    };
    assert_eq!(request.asked(), [Question::Path]);
    changes.headers
}

fn found(value: &str) -> HeaderChange {
    HeaderChange::set(CACHE_CONTROL, value).when(Outcomes::FOUND)
}

const RULES: &str = r#"[
    {"paths": ["/downloads/**"], "value": "public, max-age=60"},
    {"paths": ["/**/*.json"], "types": ["application/json"], "value": "no-store"},
    {"types": ["image/*", "font/woff2"], "value": "public, max-age=3600"}
]"#;

/// An application's page in the place of a file that is gone.
fn page_instead() -> HeaderChange {
    found("no-cache").types(["text/html"])
}

#[test]
fn rules_are_set_from_the_last_to_the_first() {
    let policy: CacheControl = configure([("rules", RULES), ("default", "no-cache"), ("errors", "no-store")]).unwrap();
    let errors = HeaderChange::set(CACHE_CONTROL, "no-store").when(Outcomes::MISSING | Outcomes::FAILED);
    let images = found("public, max-age=3600").types(["image/*", "font/woff2"]);
    let json = found("no-store").types(["application/json"]);
    let downloads = found("public, max-age=60");
    let default = found("no-cache");
    for (path, expected) in [
        ("/a.html", vec![errors.clone(), default.clone(), images.clone()]),
        (
            "/a.json",
            vec![errors.clone(), default.clone(), images.clone(), json.clone()],
        ),
        (
            "/downloads/a.json",
            vec![errors.clone(), default, images, json, downloads],
        ),
        (
            "/assets/app.3f9a1c7b.js",
            vec![errors, found(IMMUTABLE), page_instead()],
        ),
    ] {
        assert_eq!(changes(&policy, path), expected, "{path}");
    }
}

#[test]
fn nothing_is_said_unless_configured() {
    let policy: CacheControl = configure([]).unwrap();
    assert_eq!(changes(&policy, "/a.html"), []);
    assert_eq!(changes(&policy, "/app.3f9a1c7b.js"), [found(IMMUTABLE), page_instead()]);
}

#[test]
fn what_is_immutable_can_be_named() {
    let policy: CacheControl = configure([("immutable", r#"["/assets/**"]"#), ("fingerprints", "false")]).unwrap();
    assert_eq!(
        changes(&policy, "/assets/index-DiwrgTda.js"),
        [found(IMMUTABLE), page_instead()]
    );
    assert_eq!(changes(&policy, "/app.3f9a1c7b.js"), []);
}

#[test]
fn mistakes_in_the_configuration() {
    for (key, text) in [
        ("default", "maxage=60"),
        ("errors", ""),
        ("immutable", r#"["assets"]"#),
        ("fingerprints", "hex"),
        ("rules", r#"[{"value": "no-cache"}]"#),
        ("rules", r#"[{"paths": ["/a**"], "value": "no-cache"}]"#),
        ("rules", r#"[{"types": ["*/*"], "value": "no-cache"}]"#),
        (
            "rules",
            r#"[{"types": ["text/html; charset=utf-8"], "value": "no-cache"}]"#,
        ),
        ("rules", r#"[{"types": ["text/html"], "value": "cache"}]"#),
        ("rules", r#"[{"types": ["text/html"]}]"#),
        ("rule", "[]"),
    ] {
        let error = configure::<CacheControl>([(key, text)]).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(&format!("`{key}`"))),
            "{key}={text}: {error:?}"
        );
    }
}
