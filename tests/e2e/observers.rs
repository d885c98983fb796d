//! Observers are told of finished exchanges, in batches, and nobody waits for them.
use std::time::Instant;
use support::{Chain, Launch, Policy, Server, Tree, eventually};

const COMMON: &str = "key-value = { buckets = [\"common\"] }";

fn observer() -> Policy {
    Policy::guest("observer")
        .observing()
        .settings(&format!("grants = [\"logging\"]\n{COMMON}"))
}

/// Answers what the observer wrote down.
fn reader() -> Policy {
    Policy::guest("services").settings(&format!("grants = [\"counters\"]\n{COMMON}"))
}

fn observed(tree: &Tree, policies: impl IntoIterator<Item = Policy>) -> (Chain, Server) {
    let chain = Chain::new(policies.into_iter().chain([observer()]));
    let server = Launch::new(tree).plugins(&chain).start();
    (chain, server)
}

/// What the observer wrote down under a key, once it did.
#[track_caller]
fn written(server: &Server, key: &str) -> String {
    let mut found = String::new();
    eventually(&format!("{key} is written down"), || {
        found = server.get(&format!("/common/get/{key}")).text().to_owned();
        found != "None"
    });
    found
}

/// Exchanges of all batches that the log tells of.
fn told(server: &Server) -> usize {
    let log = server.log();
    let counts = log.lines().filter_map(|line| {
        let (_, rest) = line.split_once("told of ")?;
        rest.split(' ').next()?.parse::<usize>().ok()
    });
    counts.sum()
}

#[test]
fn an_exchange_is_told_with_all_that_is_known_and_the_facts_that_are_read() {
    let tree = Tree::new();
    let facts = Policy::guest("probe").config("facts = \"user=ada\\ntenant=blue\"");
    let (_chain, server) = observed(&tree, [facts, reader()]);
    server.get("/take/a/1/1");
    let written = written(&server, "_take_a_1_1");
    for expected in [
        "http GET /take/a/1/1 Some(\\\"127.0.0.1\\\") 200 16 Ending::Completed",
        "[(\\\"user\\\", \\\"ada\\\")]",
        "recent=true",
    ] {
        assert!(written.contains(expected), "{expected}: {written}");
    }
    assert!(!written.contains("blue"), "{written}");
}

#[test]
fn refused_requests_are_told_without_a_path() {
    let tree = Tree::new();
    let (_chain, server) = observed(&tree, [reader()]);
    assert_eq!(server.get("/a%2fb").status, 400);
    eventually("it is told", || told(&server) >= 1);
    // The key is the path, which is empty.
    let keys = written(&server, "");
    assert!(keys.contains(" 400 "), "{keys}");
}

#[test]
fn a_client_that_goes_away_aborted_the_exchange() {
    let tree = Tree::new().file("large.bin", vec![7; 64 << 20]);
    let (_chain, server) = observed(&tree, [reader().config("only = \"/common/\"")]);
    let mut connection = server.connect();
    connection.send(b"GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.take(10_000).expect("the beginning");
    drop(connection);
    let written = written(&server, "_large.bin");
    assert!(
        written.contains("200") && written.contains("Ending::Aborted"),
        "{written}"
    );
}

#[test]
fn an_error_or_a_trap_loses_a_batch_and_no_more() {
    let tree = Tree::new();
    let (_chain, server) = observed(&tree, [reader()]);
    for (path, reason) in [("/err", "an error of its own"), ("/trap", "unreachable")] {
        server.get(path);
        let line = server.logged(reason);
        assert!(
            line.contains("an observer failed") && line.contains("observer-"),
            "{line}"
        );
    }
    server.get("/take/after/1/1");
    assert!(written(&server, "_take_after_1_1").contains("/take/after/1/1"));
}

#[test]
fn an_instance_lasts_from_batch_to_batch() {
    let tree = Tree::new();
    let (_chain, server) = observed(&tree, [reader()]);
    server.get("/take/first/1/1");
    written(&server, "_take_first_1_1");
    server.get("/take/second/1/1");
    let second = written(&server, "_take_second_1_1");
    assert!(!second.contains("batches=1\""), "{second}");
}

#[test]
fn an_observer_that_never_ends_slows_nobody_and_is_cut_off() {
    let tree = Tree::new();
    let (_chain, server) = observed(&tree, [reader()]);
    server.get("/loop");
    let mut connection = server.connect();
    for _ in 0..200 {
        assert_eq!(connection.request("GET", "/take/a/1/1", &[]).status, 200);
    }
    let line = server.logged("an observer failed");
    assert!(line.contains("ran for more than"), "{line}");
    server.get("/take/after/1/1");
    written(&server, "_take_after_1_1");
}

#[test]
fn what_an_observer_cannot_keep_up_with_is_dropped_and_counted() {
    let tree = Tree::new();
    let chain = Chain::new([
        reader(),
        observer().settings(&format!(
            "grants = [\"logging\"]\n{COMMON}\nlimits = {{ running = \"8s\", wall = \"8s\" }}"
        )),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    server.get("/loop");
    let mut connection = server.connect();
    // Bytes that wait are bounded, too: some 1,000 of these.
    let long = format!("/{}", vec!["x".repeat(200); 19].join("/"));
    for _ in 0..2500 {
        connection.request("GET", &long, &[]);
    }
    let line = server.logged("an observer cannot keep up");
    assert!(line.contains("lost="), "{line}");
}

#[test]
fn a_graceful_stop_tells_what_is_left() {
    let tree = Tree::new();
    let (_chain, mut server) = observed(&tree, [reader()]);
    let mut connection = server.connect();
    for _ in 0..300 {
        connection.request("GET", "/take/a/1/1", &[]);
    }
    drop(connection);
    let began = Instant::now();
    server.ask_to_stop();
    assert!(server.ended().success());
    eventually("the log is read", || told(&server) == 300);
    assert!(began.elapsed() < support::PATIENCE);
}

#[test]
fn what_is_no_observer_is_refused_and_what_is_one_is_no_policy() {
    let tree = Tree::new();
    for (chain, expected) in [
        (
            Chain::new([reader(), Policy::guest("probe").observing()]),
            "is no observer: list it as [[policy]] in plugins.toml",
        ),
        (
            Chain::new([Policy::guest("observer")]),
            "is no policy: list it as [[observer]] in plugins.toml",
        ),
        (
            Chain::new([reader(), Policy::guest("observer").observing().settings(COMMON)]),
            "imports wasi:logging/logging@0.1.0-draft, which is not granted: add \"logging\" to its grants",
        ),
        (
            Chain::new([reader(), observer().config("refuse = \"its own words\"")]),
            "cannot be configured: its own words",
        ),
        (
            Chain::new([reader(), observer().settings("grants = [\"sharing\"]")]),
            "`sharing` is for policies",
        ),
        (
            Chain::new([reader(), observer().settings("evidence = \"never\"")]),
            "unknown key `evidence` in [[observer]]",
        ),
    ] {
        let log = Launch::new(&tree).plugins(&chain).refusal();
        assert!(log.contains(expected), "{expected}: {log}");
    }
}

#[test]
fn check_prints_observers() {
    let tree = Tree::new();
    let chain = Chain::new([reader(), observer()]);
    let checked = Launch::check(&tree).plugins(&chain).run_to_end();
    assert!(checked.status.success(), "{}", checked.log);
    for line in ["observer observer-1", "contract   wasmserve:policy/observing@0.1.0"] {
        assert!(checked.log.contains(line), "{line}: {}", checked.log);
    }
}
