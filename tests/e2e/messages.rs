//! Messages that two readers could read in two ways (RFC 9112, section 11.2): answered at most once, and never the request
//! that is hidden in them. Bodies that nobody asked for.
use std::time::Duration;
use support::{Chain, Launch, Policy, Server, Tree};

const HIDDEN: &str = "the-hidden-request-was-answered";

fn tree() -> Tree {
    Tree::new().file("file.txt", "content").file("hidden.txt", HIDDEN)
}

/// What these bytes lead to, and how many responses that is.
fn answers(server: &Server, bytes: &str) -> (String, usize) {
    let text = String::from_utf8_lossy(&server.raw(bytes)).into_owned();
    let count = text.matches("HTTP/1.1 ").count();
    (text, count)
}

const HIDDEN_REQUEST: &str = "GET /hidden.txt HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn a_message_with_two_lengths_is_answered_once() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let length = HIDDEN_REQUEST.len();
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n".to_owned(),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n"),
        format!("Content-Length: 0, {length}\r\n"),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Transfer-Encoding: identity, chunked, identity\r\n".to_owned(),
        "Transfer-Encoding: xchunked\r\n".to_owned(),
        "Transfer-Encoding: \x0bchunked\r\n".to_owned(),
        "Transfer-Encoding : chunked\r\n".to_owned(),
        "Transfer-Encoding:\r\n chunked\r\n".to_owned(),
        "Content-Length : 5\r\n".to_owned(),
        "Content-Length: +0\r\n".to_owned(),
        "Content-Length: -0\r\n".to_owned(),
        "Content-Length: 0x0\r\n".to_owned(),
        "Content-Length: 0 0\r\n".to_owned(),
        "Content-Length: 99999999999999999999999\r\n".to_owned(),
    ] {
        let request = format!("POST /file.txt HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n0\r\n\r\n{HIDDEN_REQUEST}");
        let (text, count) = answers(&server, &request);
        assert!(count <= 1, "{fields:?} was answered {count} times: {text}");
        assert!(!text.contains(HIDDEN), "{fields:?}: {text}");
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 501"),
            "{fields:?}: {text}"
        );
    }
}

#[test]
fn malformed_chunks_hide_nothing() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    for chunks in [
        "g\r\n",
        "-1\r\n",
        "0x1\r\na\r\n0\r\n\r\n",
        "ffffffffffffffffff\r\n",
        "1\r\nab\r\n0\r\n\r\n",
        "1;\n\r\na\r\n0\r\n\r\n",
        " 1\r\na\r\n0\r\n\r\n",
        "1\ra\r\n0\r\n\r\n",
    ] {
        let head = "GET /file.txt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
        let (text, count) = answers(&server, &format!("{head}{chunks}{HIDDEN_REQUEST}"));
        assert!(count <= 2, "{chunks:?}: {text}");
        assert!(!text.contains(HIDDEN), "{chunks:?}: {text}");
    }
}

#[test]
fn malformed_heads_are_refused() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    for head in [
        "GET /file.txt HTTP/1.1\r\nHost: localhost\r\nX-Test: a\r\n folded\r\n\r\n",
        "GET /file.txt HTTP/1.1\r\nHost: localhost\r\nX-Test: a\0b\r\n\r\n",
        "GET /file.txt HTTP/1.1\r\nHost: localhost\r\nX Test: a\r\n\r\n",
        "GET /file.txt HTTP/1.1\r\nHost: localhost\r\n: a\r\n\r\n",
        "GET /file.txt HTTP/1.1\r\nHost: localhost\r\nno-colon\r\n\r\n",
        "GET /file.txt HTTP/1.1\r\n Host: localhost\r\n\r\n",
        "GET  /file.txt  HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /file.txt\r\n\r\n",
        "GET /file .txt HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /file.txt HTTP/9.9\r\nHost: localhost\r\n\r\n",
        "GET /file.txt HTTX/1.1\r\nHost: localhost\r\n\r\n",
        "G\u{7f}T /file.txt HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}\u{3}",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\0\0\0\0\r\n\r\n",
    ] {
        let (text, count) = answers(&server, head);
        assert!(count <= 1 && !text.contains("content\n"), "{head:?}: {text}");
        assert!(
            text.is_empty() || text.starts_with("HTTP/1.1 4") || text.starts_with("HTTP/1.1 5"),
            "{head:?}: {text}"
        );
    }
    assert_eq!(server.get("/file.txt").text(), "content");
}

/// They leave a line in the access log like every other request, though nothing of them could be read.
#[test]
fn unreadable_heads_are_logged() {
    let tree = tree();
    for (head, status) in [
        ("GET /file .txt HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), "400"),
        (
            format!("GET /file.txt HTTP/1.1\r\nX-Test: {}\r\n\r\n", "a".repeat(40_000)),
            "431",
        ),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(40_000)), "431"),
    ] {
        let server = Launch::new(&tree).start();
        server.raw(&head);
        let line = server.logged("outcome=\"unreadable\"");
        assert!(
            line.contains("access: ") && line.contains(&format!("status={status}")),
            "{line}"
        );
        assert!(line.contains("client=127.0.0.1") && !line.contains("file"), "{line}");
    }
    let server = Launch::new(&tree).start();
    server.raw("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let line = server.logged("outcome=\"unreadable\"");
    assert!(!line.contains("status="), "nothing was answered: {line}");
}

/// hyper takes a fragment off a target before anybody sees it, though RFC 9112, section 3.2 has none. The policies are asked
/// about what is served, so nothing is reached through it.
#[test]
fn a_fragment_in_a_target_is_seen_by_nobody() {
    let tree = tree();
    let chain = Chain::new([
        Policy::guest("probe").config("only = \"/hidden\"\nrespond = \"403\""),
        Policy::guest("probe").config("ask = \"path\\nquery\"\nanswers-header = \"X-Answers\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    let response = server.get("/file.txt#/hidden.txt?a");
    assert_eq!((response.status, response.text()), (200, "content"));
    assert_eq!(response.header("x-answers"), Some("/file.txt; none"));
    assert_eq!(server.get("/hidden.txt#/file.txt").status, 403);
    assert_eq!(server.get("/%23").status, 404, "an escaped one is part of a name");
}

#[test]
fn oversized_heads_are_refused() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let long = "a".repeat(1 << 20);
    let many: String = (0..10_000).map(|n| format!("X-{n}: 1\r\n")).collect();
    for head in [
        format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET /file.txt?{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET /file.txt HTTP/1.1\r\nHost: localhost\r\nX-Test: {long}\r\n\r\n"),
        format!("GET /file.txt HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"),
    ] {
        let (text, count) = answers(&server, &head);
        assert!(count <= 1, "{text}");
        // The refusal may be lost when the server closes while the rest is still being sent.
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(server.get("/file.txt").text(), "content");
}

#[test]
fn a_body_that_nobody_asked_for_is_not_a_request() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let length = HIDDEN_REQUEST.len();
    for method in ["GET", "POST", "OPTIONS", "BREW"] {
        for framed in [
            format!("Content-Length: {length}\r\n\r\n{HIDDEN_REQUEST}"),
            format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{HIDDEN_REQUEST}\r\n0\r\n\r\n"),
        ] {
            let mut connection = server.connect();
            connection.send(format!("{method} /file.txt HTTP/1.1\r\nHost: localhost\r\n{framed}"));
            let first = connection.response_to(method);
            assert!(matches!(first.status, 200 | 204 | 405), "{method}: {first:?}");
            assert!(
                !String::from_utf8_lossy(&first.body).contains(HIDDEN),
                "{method}: {first:?}"
            );
            // Then the connection is in step, or closed.
            let again = connection.try_send("GET /file.txt HTTP/1.1\r\nHost: localhost\r\n\r\n");
            if let (Ok(()), Ok(second)) = (again, connection.try_response_to("GET")) {
                assert_eq!((second.status, second.text()), (200, "content"), "{method}");
            }
        }
    }
}

/// The answer does not wait for a body that is not wanted, however large it claims to be.
#[test]
fn an_endless_body_is_not_read_to_its_end() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let mut connection = server.connect();
    connection.send("POST /file.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000000\r\n\r\n");
    let response = connection.response_to("POST");
    assert_eq!(response.status, 405, "{response:?}");
    let megabyte = vec![b'x'; 1 << 20];
    let sent = (0..256).take_while(|_| connection.try_send(&megabyte).is_ok()).count();
    assert!(sent < 256, "{sent} MiB of an unwanted body were read");
}

#[test]
fn a_body_is_not_invited_when_it_is_not_wanted() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let mut connection = server.connect();
    connection.send("POST /file.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let first = connection.try_head().expect("an answer comes without the body");
    assert_eq!(first.status, 405, "{first:?}");
}

#[test]
fn a_request_in_single_bytes_is_a_request() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let mut connection = server.connect();
    for byte in b"GET /file.txt HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        connection.send([*byte]);
        std::thread::sleep(Duration::from_micros(200));
    }
    assert_eq!(connection.response_to("GET").text(), "content");
}
