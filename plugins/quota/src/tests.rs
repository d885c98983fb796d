use super::*;
use wasmserve_plugin::testing::{self, Question, configure};

/// 2026-11-20T12:34:56Z
const NOW: u64 = 1_795_178_096;

fn policy(configuration: &[(&'static str, &'static str)]) -> Result<Quota, String> {
    let common = [("by", "fact:tenant"), ("per", "month"), ("bytes", "1KiB")];
    let given = |key| configuration.iter().any(|(other, _)| *other == key);
    let common = common.into_iter().filter(|(key, _)| !given(*key));
    configure(common.chain(configuration.iter().copied()))
}

fn request(tenant: &str) -> testing::Request {
    testing::Request::get("/a").fact("tenant", tenant).now(NOW)
}

fn spend(key: &str, bytes: u64) {
    let bucket = Bucket::open("usage").expect("a bucket");
    bucket.increment(key, bytes).expect("a number");
}

fn status(decision: &Decision) -> u16 {
    match decision {
        Decision::Respond(response) => response.status,
        Decision::Proceed(_) => 200,
    }
}

#[test]
fn the_limit_is_reached_and_the_period_ends() {
    let policy = policy(&[]).unwrap();
    let decide = |now| request("alice").now(now).decide(&policy).unwrap();
    assert_eq!(status(&decide(NOW)), 200);
    spend("2026-11 alice", 1023);
    assert_eq!(status(&decide(NOW)), 200);
    spend("2026-11 alice", 1);
    let Decision::Respond(response) = decide(NOW) else {
        panic!("admitted beyond the limit");
    };
    let header = |name: &str| {
        response
            .headers
            .iter()
            .find(|header| header.name == name)
            .map(|header| &*header.value)
    };
    assert_eq!((response.status, header("Retry-After")), (429, Some("905104")));
    assert_eq!(header("Cache-Control"), Some("no-store"));
    // The next month, and the next tenant.
    assert_eq!(status(&decide(NOW + 905_104)), 200);
    assert_eq!(status(&request("bob").decide(&policy).unwrap()), 200);
}

#[test]
fn tenants_may_have_more_or_none_or_no_limit() {
    let policy = policy(&[("tenants", r#"{"big": "1MiB", "free": "unlimited", "closed": "0B"}"#)]).unwrap();
    for tenant in ["big", "free", "closed", "other"] {
        spend(&format!("2026-11 {tenant}"), 2048);
    }
    for (tenant, expected) in [("big", 200), ("free", 200), ("closed", 429), ("other", 429), ("", 200)] {
        assert_eq!(status(&request(tenant).decide(&policy).unwrap()), expected, "{tenant}");
    }
    let free = request("free");
    free.decide(&policy).unwrap();
    assert!(!free.asked().contains(&Question::Now), "what has no limit can be kept");
}

#[test]
fn only_what_is_beneath_a_prefix_is_limited() {
    let policy = policy(&[
        ("by", "path"),
        ("per", "day"),
        ("prefixes", r#"["/big/"]"#),
        ("status", "503"),
    ])
    .unwrap();
    spend("2026-11-20 big", 4096);
    for (path, expected) in [("/big/a", 503), ("/bigger/a", 200), ("/", 200)] {
        let request = testing::Request::get(path).now(NOW);
        assert_eq!(status(&request.decide(&policy).unwrap()), expected, "{path}");
    }
    // However the file is reached.
    let mapped = testing::Request::get("/big").targets(["/other"]).now(NOW);
    assert_eq!(status(&mapped.decide(&policy).unwrap()), 503);
}

#[test]
fn what_is_no_number_is_not_believed() {
    let bucket = Bucket::open("usage").unwrap();
    for (unavailable, expected) in [("refuse", 503), ("allow", 200)] {
        let policy = policy(&[("unavailable", unavailable)]).unwrap();
        bucket.set("2026-11 alice", "many").unwrap();
        assert_eq!(status(&request("alice").decide(&policy).unwrap()), expected);
    }
}

#[test]
fn mistakes_in_the_configuration() {
    for (key, value) in [
        ("by", "client"),
        ("per", "week"),
        ("bytes", "much"),
        ("tenants", r#"{"a": "1 of"}"#),
        ("prefixes", "[]"),
        ("status", "200"),
        ("unavailable", "perhaps"),
        ("byte", "1"),
    ] {
        let error = policy(&[(key, value)]).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(&format!("`{key}`"))),
            "{key}: {error:?}"
        );
    }
}
