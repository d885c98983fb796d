use super::*;
use wasmserve_plugin::testing::{self, Question, configure, fail_counters};

const LIMITS: (&str, &str) = (
    "limits",
    r#"[{"name": "client", "by": "client", "requests": 3, "per": "30s"}]"#,
);

fn from(address: &str) -> testing::Request {
    testing::Request::get("/a")
        .now(1000)
        .client(address.parse::<std::net::IpAddr>().unwrap())
}

fn status(policy: &RateLimit, request: &testing::Request) -> u16 {
    match request.decide(policy).unwrap() {
        Decision::Proceed(_) => 200,
        Decision::Respond(response) => response.status,
    }
}

/// The named field of a decision.
fn field(decision: &Decision, name: &str) -> Option<String> {
    let fields: Vec<(&String, &String)> = match decision {
        Decision::Proceed(changes) => changes
            .headers
            .iter()
            .map(|change| (&change.name, &change.value))
            .collect(),
        Decision::Respond(response) => response
            .headers
            .iter()
            .map(|header| (&header.name, &header.value))
            .collect(),
    };
    fields
        .into_iter()
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.clone())
}

#[test]
fn so_many_and_no_more_until_time_has_passed() {
    let policy: RateLimit = configure([LIMITS]).unwrap();
    let request = from("192.0.2.1");
    for (remaining, full) in [(2, 10), (1, 20), (0, 30)] {
        let decision = request.decide(&policy).unwrap();
        assert_eq!(
            field(&decision, RATE_LIMIT_POLICY).as_deref(),
            Some("\"client\";q=3;w=30")
        );
        assert_eq!(
            field(&decision, RATE_LIMIT),
            Some(format!("\"client\";r={remaining};t={full}"))
        );
    }
    let refused = request.decide(&policy).unwrap();
    assert!(matches!(&refused, Decision::Respond(response) if response.status == 429));
    assert_eq!(field(&refused, "Retry-After").as_deref(), Some("10"));
    assert_eq!(field(&refused, RATE_LIMIT).as_deref(), Some("\"client\";r=0;t=30"));
    assert_eq!(field(&refused, "Cache-Control").as_deref(), Some("no-store"));
    assert_eq!(status(&policy, &request.clone().now(1009)), 429);
    assert_eq!(status(&policy, &request.clone().now(1010)), 200);
    assert_eq!(status(&policy, &request.now(1010)), 429);
}

#[test]
fn clients_are_counted_by_their_network() {
    let policy: RateLimit = configure([
        (
            "limits",
            r#"[{"name": "a", "by": "client", "requests": 1, "per": "1h"}]"#,
        ),
        ("ipv4-prefix", "24"),
        ("exempt", r#"["10.0.0.0/8"]"#),
    ])
    .unwrap();
    for (address, expected) in [
        ("192.0.2.1", 200),
        ("192.0.2.255", 429),
        ("192.0.3.1", 200),
        ("2001:db8:0:1::1", 200),
        ("2001:db8:0:1:ffff::2", 429),
        ("2001:db8:0:2::1", 200),
        ("10.0.0.1", 200),
        ("10.0.0.1", 200),
    ] {
        assert_eq!(status(&policy, &from(address)), expected, "{address}");
    }
    let socket = testing::Request::get("/").client(None).now(1000);
    assert_eq!((status(&policy, &socket), status(&policy, &socket)), (200, 429));
}

#[test]
fn whom_a_limit_counts() {
    for (by, requests) in [
        ("site", vec![(from("192.0.2.1"), 200), (from("192.0.2.2"), 429)]),
        (
            "fact:user",
            vec![
                (from("192.0.2.1").fact("user", "alice"), 200),
                (from("192.0.2.2").fact("user", "alice"), 429),
                (from("192.0.2.1").fact("user", "bob"), 200),
                (from("192.0.2.1"), 200),
                (from("192.0.2.1"), 429),
                // A name that looks like an address is not that client.
                (from("192.0.2.9").fact("user", "client 192.0.2.1"), 200),
            ],
        ),
        (
            "header:X-Api-Key",
            vec![
                (from("192.0.2.1").header("X-Api-Key", "k"), 200),
                (from("192.0.2.2").header("x-api-key", "k"), 429),
                (from("192.0.2.1").header("X-Api-Key", "ü".repeat(300)), 200),
                (from("192.0.2.1").header("X-Api-Key", "ü".repeat(301)), 429),
                (from("192.0.2.1"), 200),
            ],
        ),
    ] {
        let limits = format!(r#"[{{"name": "a", "by": "{by}", "requests": 1, "per": "1h"}}]"#);
        let policy: RateLimit = configure([("limits", &*limits.leak())]).unwrap();
        for (place, (request, expected)) in requests.iter().enumerate() {
            assert_eq!(status(&policy, request), *expected, "{by} number {place}");
        }
    }
}

#[test]
fn several_limits_and_the_first_that_refuses() {
    let limits = r#"[
        {"name": "downloads", "by": "client", "requests": 1, "per": "10s", "prefixes": ["/files/"]},
        {"name": "all", "by": "client", "requests": 60, "per": "1m", "burst": 2}
    ]"#;
    let policy: RateLimit = configure([("limits", limits)]).unwrap();
    let files = testing::Request::get("/files/a").now(1000);
    let decision = files.decide(&policy).unwrap();
    assert_eq!(
        field(&decision, RATE_LIMIT_POLICY).as_deref(),
        Some("\"downloads\";q=1;w=10, \"all\";q=2;w=2")
    );
    assert_eq!(
        field(&decision, RATE_LIMIT).as_deref(),
        Some("\"downloads\";r=0;t=10, \"all\";r=1;t=1")
    );
    let refused = files.decide(&policy).unwrap();
    assert_eq!(
        field(&refused, RATE_LIMIT_POLICY).as_deref(),
        Some("\"downloads\";q=1;w=10")
    );
    // What is mapped to a prefix counts as well.
    let mapped = testing::Request::get("/a").targets(["/a", "/files/a"]).now(1000);
    assert_eq!(status(&policy, &mapped), 429);
    let page = testing::Request::get("/page").now(1000);
    assert_eq!((status(&policy, &page), status(&policy, &page)), (200, 429));
}

#[test]
fn what_is_not_limited_takes_no_token_and_asks_little() {
    let limits = r#"[{"name": "a", "by": "client", "requests": 1, "per": "1h", "prefixes": ["/files/"]}]"#;
    let policy: RateLimit = configure([("limits", limits)]).unwrap();
    let request = testing::Request::get("/page");
    assert_eq!(request.decide(&policy), Ok(proceed().into()));
    assert_eq!(request.asked(), [Question::Path, Question::Targets]);
}

#[test]
fn shared_answers_tell_no_client_what_is_left_to_another() {
    let policy: RateLimit = configure([LIMITS, ("shared", "true")]).unwrap();
    let decision = from("192.0.2.1").decide(&policy);
    assert_eq!(decision, Ok(proceed().sharing(Sharing::Allowed).into()));
}

#[test]
fn without_buckets_nobody_or_everybody_is_admitted() {
    for (unavailable, expected) in [("refuse", 503), ("allow", 200)] {
        let policy: RateLimit = configure([LIMITS, ("unavailable", unavailable)]).unwrap();
        fail_counters("too many buckets");
        assert_eq!(status(&policy, &from("192.0.2.1")), expected, "{unavailable}");
    }
}

#[test]
fn mistakes_in_the_configuration() {
    let limit = |changed: &str| {
        let limit = format!(r#"{{"name": "a", "by": "client", "requests": 1, "per": "1h", {changed}}}"#);
        limit.replace(
            r#""name": "a", "#,
            if changed.contains("\"name\"") {
                ""
            } else {
                r#""name": "a", "#
            },
        )
    };
    for limits in [
        "[]".to_owned(),
        r#"[{"name": "a", "by": "client", "requests": 0, "per": "1h"}]"#.to_owned(),
        r#"[{"name": "a", "by": "client", "requests": 1, "per": "soon"}]"#.to_owned(),
        r#"[{"name": "a", "by": "client", "requests": 1, "per": "0s"}]"#.to_owned(),
        r#"[{"name": "a", "by": "moon", "requests": 1, "per": "1h"}]"#.to_owned(),
        r#"[{"name": "a", "by": "fact:shoe", "requests": 1, "per": "1h"}]"#.to_owned(),
        r#"[{"name": "a", "by": "header:", "requests": 1, "per": "1h"}]"#.to_owned(),
        r#"[{"name": "a b", "by": "client", "requests": 1, "per": "1h"}]"#.to_owned(),
        format!("[{}]", limit(r#""burst": 0"#)),
        format!("[{}]", limit(r#""prefixes": []"#)),
        format!("[{}]", limit(r#""window": 1"#)),
        format!("[{}, {}]", limit(r#""burst": 1"#), limit(r#""burst": 1"#)),
    ] {
        let error = configure::<RateLimit>([("limits", &*limits.clone().leak())]).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains("`limits`")),
            "{limits}: {error:?}"
        );
    }
    for (key, text) in [
        ("ipv4-prefix", "33"),
        ("ipv6-prefix", "0"),
        ("exempt", r#"["a"]"#),
        ("unavailable", "wait"),
        ("limit", "[]"),
    ] {
        let error = configure::<RateLimit>([LIMITS, (key, text)]).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(&format!("`{key}`"))),
            "{key}={text}: {error:?}"
        );
    }
}
