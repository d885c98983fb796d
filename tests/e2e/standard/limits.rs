//! Policies with services: rate-limit, canary.
use std::thread;
use support::{Chain, Launch, Policy, Tree, eventually, pattern};

/// No refill within a test: exactly so many are admitted, however many ask at once.
#[test]
fn never_more_than_the_limit_under_64_clients() {
    const LIMIT: usize = 100;
    const CLIENTS: usize = 64;
    const REQUESTS: usize = 10;
    let tree = Tree::new().file("index.html", "home").file("free.txt", "free");
    let chain = Chain::new([Policy::standard("rate-limit").settings("grants = [\"counters\"]").config(&format!(
        "limits = [{{ name = \"all\", by = \"site\", requests = {LIMIT}, per = \"100000h\", prefixes = [\"/index.html\"] }}]"
    ))]);
    let server = Launch::new(&tree).plugins(&chain).start();
    let count = || {
        let mut connection = server.connect();
        let statuses = (0..REQUESTS).map(|_| connection.request("GET", "/index.html", &[]).status);
        let statuses: Vec<u16> = statuses.collect();
        assert!(
            statuses.iter().all(|status| [200, 429].contains(status)),
            "{statuses:?}"
        );
        statuses.into_iter().filter(|status| *status == 200).count()
    };
    let admitted: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(count)).collect();
        clients
            .into_iter()
            .map(|client| client.join().expect("a client that ends"))
            .sum()
    });
    assert_eq!(admitted, LIMIT);
    let refused = server.get("/index.html");
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(
        refused
            .header("retry-after")
            .is_some_and(|seconds| seconds.parse::<u64>().is_ok_and(|seconds| seconds > 0))
    );
    let policy = refused.header("ratelimit-policy").unwrap_or_default();
    assert!(policy.starts_with("\"all\";q=100;w="), "{refused:?}");
    assert!(
        refused
            .header("ratelimit")
            .is_some_and(|left| left.starts_with("\"all\";r=0;t=")),
        "{refused:?}"
    );
    assert_eq!(server.get("/free.txt").status, 200);
}

#[test]
fn a_client_is_told_what_is_left() {
    let tree = Tree::new().file("index.html", "home");
    let limit = "limits = [{ name = \"client\", by = \"client\", requests = 2, per = \"100000h\" }]";
    let chain = Chain::new([Policy::standard("rate-limit")
        .settings("grants = [\"counters\"]")
        .config(limit)]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for left in [1, 0] {
        let response = server.get("/");
        assert_eq!((response.status, response.text()), (200, "home"));
        let told = response.header("ratelimit").unwrap_or_default();
        assert!(told.starts_with(&format!("\"client\";r={left};t=")), "{response:?}");
        assert!(
            response.members("cache-control").contains(&"private".to_owned()),
            "{response:?}"
        );
    }
    assert_eq!(server.get("/").status, 429);

    let settings = "grants = [\"counters\", \"sharing\"]";
    let shared = Chain::new([Policy::standard("rate-limit")
        .settings(settings)
        .config(&format!("{limit}\nshared = true"))]);
    let server = Launch::new(&tree).plugins(&shared).start();
    let response = server.get("/");
    assert!(
        !response.members("cache-control").contains(&"private".to_owned()),
        "{response:?}"
    );
    assert_eq!(response.header("ratelimit"), None, "a cache would tell others");
}

#[test]
fn without_the_grant_the_server_does_not_start() {
    let chain = Chain::new([Policy::standard("rate-limit")
        .config("limits = [{ name = \"client\", by = \"client\", requests = 2, per = \"1h\" }]")]);
    let refusal = Launch::new(&Tree::new()).plugins(&chain).refusal();
    assert!(refusal.contains("counters"), "{refusal}");
}

#[test]
fn a_visitor_stays_with_a_version() {
    let tree = Tree::new()
        .file("index.html", "old")
        .file("next/index.html", "new")
        .file("files/a", "a file");
    let chain =
        Chain::new([Policy::standard("canary").config("percent = 50\ndirectory = \"/next\"\nexcept = [\"/files/\"]")]);
    let server = Launch::new(&tree).plugins(&chain).start();
    let mut seen = std::collections::BTreeSet::new();
    // Each is one of two: all of 64 alike happens once in 2^63.
    for _ in 0..64 {
        let first = server.get("/");
        let set = first.header("set-cookie").expect("a cookie").to_owned();
        let cookie = set.split(';').next().expect("a name and a value").to_owned();
        let expected = if cookie == "version=canary" { "new" } else { "old" };
        assert_eq!(first.text(), expected, "{set}");
        let again = server.request("GET", "/", &[("Cookie", &cookie)]);
        assert_eq!((again.text(), again.header("set-cookie")), (expected, None));
        assert!(
            again.members("cache-control").contains(&"private".to_owned()),
            "{again:?}"
        );
        seen.insert(cookie);
    }
    assert_eq!(seen.len(), 2, "{seen:?}");
    let file = server.get("/files/a");
    assert_eq!((file.text(), file.header("set-cookie")), ("a file", None));
}

/// The meter adds up what was sent, and the policy reads the sum.
#[test]
fn a_tenant_beyond_its_bytes_is_refused() {
    let tree = Tree::new()
        .file("alice/file.bin", pattern(1, 3000))
        .file("bob/file.bin", pattern(2, 100));
    let settings = "key-value = { buckets = [\"usage\"] }";
    let common = "by = \"path\"\nper = \"month\"\n";
    let chain = Chain::new([
        Policy::standard("quota")
            .settings(settings)
            .config(&format!("{common}bytes = \"2KiB\"")),
        Policy::standard("quota/meter")
            .observing()
            .settings(settings)
            .config(common),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    assert_eq!(server.get("/alice/file.bin").status, 200);
    // What is not there is nobody's.
    assert_eq!(server.get("/bob/none").status, 404);
    eventually("the bytes are counted", || server.get("/alice/file.bin").status == 429);
    let refused = server.get("/alice/");
    let seconds: u64 = refused
        .header("retry-after")
        .and_then(|text| text.parse().ok())
        .expect("seconds");
    assert!(
        refused.status == 429 && (1..=31 * 86_400).contains(&seconds),
        "{seconds}"
    );
    assert_eq!(server.get("/bob/file.bin").status, 200);
}
