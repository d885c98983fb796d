//! Connections: kept, pipelined, half-closed, idle and slow.
use rustix::process::Signal;
use std::time::Duration;
use support::{Launch, Tree, client::request_head, pattern};

fn tree() -> Tree {
    Tree::new()
        .file("a.txt", "aaa")
        .file("b.txt", "bb")
        .file("large.bin", pattern(7, 8 << 20))
}

#[test]
fn a_connection_serves_many_requests() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let mut connection = server.connect();
    for _ in 0..50 {
        assert_eq!(connection.request("GET", "/a.txt", &[]).text(), "aaa");
        assert_eq!(connection.request("HEAD", "/b.txt", &[]).status, 200);
        assert_eq!(connection.request("GET", "/nothing", &[]).status, 404);
        assert_eq!(connection.request("GET", "/%2e%2e/", &[]).status, 400);
    }
}

#[test]
fn a_client_may_ask_for_the_end() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let mut connection = server.connect();
    let response = connection.request("GET", "/a.txt", &[("Connection", "close")]);
    assert_eq!((response.text(), response.header("connection")), ("aaa", Some("close")));
    assert!(connection.is_ended());
}

#[test]
fn http_1_0_ends_unless_asked_to_stay() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let answer = server.raw("GET /a.txt HTTP/1.0\r\n\r\n");
    assert!(answer.ends_with(b"aaa"));
    let mut connection = server.connect();
    for _ in 0..2 {
        connection.send("GET /a.txt HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let head = connection.take(12).expect("an answer comes");
        assert!(head.ends_with(b" 200"), "{}", String::from_utf8_lossy(&head));
        // Only its framing matters here: read to the end of the content.
        let mut rest = Vec::new();
        while !rest.ends_with(b"\r\n\r\naaa") {
            rest.extend(connection.take(1).expect("the answer is complete"));
        }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let large = pattern(7, 8 << 20);
    let mut connection = server.connect();
    let one = [
        request_head("GET", "/a.txt", &[]),
        request_head("HEAD", "/large.bin", &[]),
        request_head("GET", "/large.bin", &[("Range", "bytes=100-199")]),
        request_head("GET", "/nothing", &[]),
        request_head("GET", "/b.txt", &[]),
    ]
    .concat();
    connection.send(one.repeat(20));
    for _ in 0..20 {
        assert_eq!(connection.response_to("GET").text(), "aaa");
        assert_eq!(connection.response_to("HEAD").header("content-length"), Some("8388608"));
        assert_eq!(connection.response_to("GET").body, large[100..200]);
        assert_eq!(connection.response_to("GET").status, 404);
        assert_eq!(connection.response_to("GET").text(), "bb");
    }
}

/// Several large files in a row on one connection: not a byte of one in another.
#[test]
fn pipelined_downloads_do_not_mix() {
    let names = ["one", "two", "three"];
    let contents: Vec<Vec<u8>> = (0..3).map(|seed| pattern(seed, 3 << 20)).collect();
    let tree = names
        .iter()
        .zip(&contents)
        .fold(Tree::new(), |tree, (name, content)| tree.file(name, content));
    let server = Launch::new(&tree).start();
    let mut connection = server.connect();
    for name in names {
        connection.send(request_head("GET", &format!("/{name}"), &[]));
    }
    for content in &contents {
        assert!(connection.response_to("GET").body == *content, "another file's bytes");
    }
}

#[test]
fn a_client_that_finished_sending_gets_its_answer() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let mut connection = server.connect();
    connection.send(request_head("GET", "/large.bin", &[]));
    connection.finish_sending();
    assert!(connection.response_to("GET").body == pattern(7, 8 << 20));
    assert!(connection.is_ended());
}

#[test]
fn a_connection_that_says_nothing_costs_nobody() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let silent: Vec<_> = (0..200).map(|_| server.connect()).collect();
    let halves: Vec<_> = (0..200)
        .map(|_| {
            let mut connection = server.connect();
            connection.send("GET /a.txt HTTP/1.1\r\nHost: loc");
            connection
        })
        .collect();
    assert_eq!(server.get("/a.txt").text(), "aaa");
    drop((silent, halves));
    assert_eq!(server.get("/a.txt").text(), "aaa");
}

#[test]
fn a_paused_client_goes_on_where_it_stopped() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let mut connection = server.connect();
    connection.send(request_head("GET", "/large.bin", &[]));
    let head = connection.try_head().expect("a head comes");
    assert_eq!(head.status, 200);
    std::thread::sleep(Duration::from_millis(300));
    assert!(connection.take(8 << 20).expect("the rest comes") == pattern(7, 8 << 20));
}

#[test]
fn a_head_that_never_ends_is_not_waited_for() {
    let tree = tree();
    let server = Launch::new(&tree).arguments(["--head-timeout", "1s"]).start();
    let mut silent = server.connect();
    silent.send("GET /a.txt HTTP/1.1\r\nHost: loc");
    let answer = String::from_utf8_lossy(&silent.rest()).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // Nor is one that comes a byte at a time: the time counts from its first byte (Slowloris).
    let mut dripping = server.connect();
    dripping.send("GET /a.txt HTTP/1.1\r\nX-Drip: ");
    let drops = (0..100).take_while(|_| {
        std::thread::sleep(Duration::from_millis(100));
        dripping.try_send("x").is_ok()
    });
    assert!(drops.count() < 100, "ten seconds of dripping were waited for");
}

#[test]
fn an_idle_connection_is_ended() {
    let tree = tree();
    let server = Launch::new(&tree).arguments(["--idle-timeout", "1s"]).start();
    let mut fresh = server.connect();
    let mut used = server.connect();
    assert_eq!(used.request("GET", "/a.txt", &[]).text(), "aaa");
    assert!(used.is_ended() && fresh.is_ended());
}

#[test]
fn a_connection_that_rested_goes_on_where_it_was() {
    let tree = tree();
    let server = Launch::new(&tree)
        .arguments(["--idle-timeout", "60s", "--head-timeout", "60s"])
        .start();
    let rest = || std::thread::sleep(Duration::from_millis(1200));
    let mut fresh = server.connect();
    let mut used = server.connect();
    let mut half = server.connect();
    let mut body = server.connect();
    assert_eq!(used.request("GET", "/a.txt", &[]).text(), "aaa");
    half.send("GET /a.txt HTTP/1.1\r\nHo");
    // What is sent of the body looks like a request.
    body.send("GET /a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 44\r\n\r\nGET /a.txt HTTP/1.1\r\nHost: ");
    assert_eq!(body.response_to("GET").text(), "aaa");
    rest();
    assert_eq!(fresh.request("GET", "/a.txt", &[]).text(), "aaa");
    // A head larger than what is read at first, and two requests at once.
    let large = "x".repeat(6000);
    let head = request_head("GET", "/a.txt", &[("X-Large", &large)]);
    used.send([head.clone(), head].concat());
    assert_eq!(used.response_to("GET").text(), "aaa");
    assert_eq!(used.response_to("GET").text(), "aaa");
    half.send("st: localhost\r\n\r\n");
    assert_eq!(half.response_to("GET").text(), "aaa");
    body.send("localhost\r\n\r\n\r\n\r\n");
    assert_eq!(body.request("GET", "/a.txt", &[]).text(), "aaa");
}

#[test]
fn a_rest_prolongs_nothing() {
    let tree = tree();
    let server = Launch::new(&tree).arguments(["--idle-timeout", "2s"]).start();
    let mut fresh = server.connect();
    let mut used = server.connect();
    assert_eq!(used.request("GET", "/a.txt", &[]).text(), "aaa");
    assert!(used.is_ended() && fresh.is_ended());
    let mut resting = server.connect();
    std::thread::sleep(Duration::from_millis(1200));
    server.signal(Signal::TERM);
    assert!(resting.is_ended(), "nor does it keep a server that stops");
}

#[test]
fn a_client_that_takes_nothing_is_not_waited_for() {
    let tree = Tree::new().sparse("large.bin", 1 << 30);
    let server = Launch::new(&tree).arguments(["--stall-timeout", "1s"]).start();
    let mut stalled = server.connect();
    stalled.send(request_head("GET", "/large.bin", &[]));
    assert_eq!(stalled.try_head().expect("a head comes").status, 200);
    let path = tree.at("large.bin").to_string_lossy().into_owned();
    let connections = || {
        let open = support::process::open_files(server.pid());
        assert!(open.iter().filter(|file| **file == path).count() <= 2, "{open:?}");
        open.iter().filter(|file| file.starts_with("socket:")).count()
    };
    let with_it = connections();
    support::eventually("its connection is closed", || connections() < with_it);
    assert!(stalled.count_rest() < 1 << 30);
}

#[test]
fn more_connections_than_allowed_wait_their_turn() {
    let tree = tree();
    let server = Launch::new(&tree).arguments(["--max-connections", "2"]).start();
    let mut first = server.connect();
    let mut second = server.connect();
    assert_eq!(first.request("GET", "/a.txt", &[]).text(), "aaa");
    assert_eq!(second.request("GET", "/a.txt", &[]).text(), "aaa");
    let mut third = server.connect();
    third.send(request_head("GET", "/b.txt", &[]));
    assert!(third.is_silent_for(Duration::from_millis(300)));
    drop(first);
    assert_eq!(third.response_to("GET").text(), "bb");
}
