use super::*;
use wasmserve_plugin::testing::{self, Question, configure};

const ORIGINS: (&str, &str) = ("origins", r#"["https://app.example.com", "https://*.example.org"]"#);

fn preflight(origin: &str) -> testing::Request {
    testing::Request::new("OPTIONS", "/a")
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "GET")
}

fn names(decision: Decision) -> Vec<(String, String)> {
    match decision {
        Decision::Proceed(changes) => changes
            .headers
            .into_iter()
            .map(|change| (change.name, change.value))
            .collect(),
        Decision::Respond(response) => response
            .headers
            .into_iter()
            .map(|header| (header.name, header.value))
            .collect(),
    }
}

#[test]
fn allowed_origins_read_and_others_do_not() {
    let policy: Cors = configure([ORIGINS, ("credentials", "true"), ("expose", r#"["ETag", "X-A"]"#)]).unwrap();
    for (origin, allowed) in [
        (Some("https://app.example.com"), true),
        (Some("https://a.example.org"), true),
        (Some("https://example.org"), false),
        (Some("https://evil.org"), false),
        (Some("null"), false),
        (None, false),
    ] {
        let request = match origin {
            Some(origin) => testing::Request::get("/a").header("Origin", origin),
            None => testing::Request::get("/a"),
        };
        let expected: Decision = match origin {
            Some(origin) if allowed => proceed()
                .header(ALLOW_ORIGIN, origin)
                .header(ALLOW_CREDENTIALS, "true")
                .header("Access-Control-Expose-Headers", "ETag, X-A")
                .into(),
            _ => proceed().into(),
        };
        assert_eq!(request.decide(&policy), Ok(expected), "{origin:?}");
        assert_eq!(request.asked(), [Question::Method, Question::Header("origin".into())]);
    }
}

#[test]
fn preflights_are_answered() {
    let policy: Cors = configure([
        ORIGINS,
        ("methods", r#"["GET", "PUT"]"#),
        ("headers", r#"["Authorization", "X-A"]"#),
        ("max-age", "600"),
    ])
    .unwrap();
    let decision = preflight("https://app.example.com").decide(&policy).unwrap();
    assert!(matches!(&decision, Decision::Respond(response) if response.status == 204 && response.body.is_empty()));
    let expected = [
        ("Access-Control-Allow-Methods", "GET, PUT"),
        ("Access-Control-Allow-Headers", "Authorization, X-A"),
        ("Access-Control-Max-Age", "600"),
        (ALLOW_ORIGIN, "https://app.example.com"),
    ];
    assert_eq!(
        names(decision),
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    assert_eq!(preflight("https://evil.org").decide(&policy), Ok(deny(403).into()));
    // An OPTIONS that is no preflight is somebody else's.
    let options = testing::Request::new("OPTIONS", "/a").header("Origin", "https://evil.org");
    assert_eq!(options.decide(&policy), Ok(proceed().into()));
}

#[test]
fn for_every_origin_none_is_asked() {
    let policy: Cors = configure([("origins", r#"["*"]"#)]).unwrap();
    let request = testing::Request::get("/a").header("Origin", "https://a.example");
    assert_eq!(request.decide(&policy), Ok(proceed().header(ALLOW_ORIGIN, "*").into()));
    assert_eq!(request.asked(), [Question::Method]);
    assert!(
        names(preflight("https://a.example").decide(&policy).unwrap()).contains(&(ALLOW_ORIGIN.into(), "*".into()))
    );
}

#[test]
fn only_beneath_the_prefixes() {
    let policy: Cors = configure([("origins", r#"["*"]"#), ("prefixes", r#"["/fonts/"]"#)]).unwrap();
    for (path, shared) in [
        ("/fonts/a.woff2", true),
        ("/fonts", true),
        ("/fontsy", false),
        ("/", false),
    ] {
        let decision = testing::Request::get(path).decide(&policy).unwrap();
        assert_eq!(!names(decision).is_empty(), shared, "{path}");
    }
}

#[test]
fn mistakes_in_the_configuration() {
    for (configuration, named) in [
        (&[][..], "origins"),
        (&[("origins", "[]")], "`origins`"),
        (&[("origins", r#"["https://a.example/"]"#)], "`origins`"),
        (&[("origins", "https://a.example")], "`origins`"),
        (&[("origins", r#"["*", "https://a.example"]"#)], "`origins`"),
        (&[("origins", r#"["*"]"#), ("credentials", "true")], "`credentials`"),
        (&[("origins", r#"["null"]"#), ("credentials", "true")], "`credentials`"),
        (
            &[ORIGINS, ("headers", r#"["*"]"#), ("credentials", "true")],
            "`headers`",
        ),
        (&[ORIGINS, ("headers", r#"["X A"]"#)], "`headers`"),
        (&[ORIGINS, ("methods", "[]")], "`methods`"),
        (&[ORIGINS, ("methods", r#"["GET\n"]"#)], "`methods`"),
        (&[ORIGINS, ("max-age", "ten")], "`max-age`"),
        (&[ORIGINS, ("prefixes", r#"["a"]"#)], "`prefixes`"),
        (&[ORIGINS, ("origin", "*")], "`origin`"),
    ] {
        let error = configure::<Cors>(configuration.iter().copied()).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(named)),
            "{configuration:?}: {error:?}"
        );
    }
}
