//! The Host header field (RFC 9112, section 3.2): requests that leave doubt about whom they are for are refused.
use support::{Chain, Launch, Server, Tree};

fn server(tree: &Tree, chain: &Chain) -> Server {
    Launch::new(tree).plugins(chain).start()
}

/// A policy that says which host it was told.
fn chain() -> Chain {
    Chain::of("probe", "ask = \"host\"\nrespond = \"echo\"")
}

#[test]
fn a_host_is_given_in_one_form() {
    let (tree, chain) = (Tree::new(), chain());
    let server = server(&tree, &chain);
    for (host, told) in [
        ("example.org", "example.org"),
        ("EXAMPLE.org", "example.org"),
        ("example.org:8080", "example.org"),
        ("example.org.", "example.org"),
        ("Example.Org.:80", "example.org"),
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:8080", "[::1]"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ] {
        let response = server.request("GET", "/", &[("Host", host)]);
        assert_eq!(response.status, 200, "{host}: {response:?}");
        assert_eq!(response.text().trim_end(), told, "{host}");
    }
}

#[test]
fn doubtful_hosts_are_refused() {
    let (tree, chain) = (Tree::new(), chain());
    let server = server(&tree, &chain);
    let heads = [
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example\r\nHost: a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user:pass@a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example/path\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: http://a.example\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:port\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.example:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: b.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\nHost: a.example:81\r\n\r\n",
        "GET http://user@a.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n",
        "GET http://a.example/ HTTP/1.1\r\n\r\n",
    ];
    for head in heads {
        let answer = String::from_utf8_lossy(&server.raw(head)).into_owned();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{head:?}: {answer}");
    }
}

#[test]
fn an_absolute_target_names_the_host_again() {
    let (tree, chain) = (Tree::new(), chain());
    let server = server(&tree, &chain);
    for target in ["http://a.example/", "http://A.example/", "HTTP://a.example/path?query"] {
        let response = server.request("GET", target, &[("Host", "a.example")]);
        assert_eq!(
            (response.status, response.text()),
            (200, "a.example\n"),
            "{target}: {response:?}"
        );
    }
}

/// HTTP/1.0 knows no Host (RFC 9112, section 3.2 binds HTTP/1.1 clients only).
#[test]
fn http_1_0_is_answered_without_a_host() {
    let tree = Tree::new().file("file.txt", "content");
    let server = Launch::new(&tree).start();
    let answer = String::from_utf8_lossy(&server.raw("GET /file.txt HTTP/1.0\r\n\r\n")).into_owned();
    assert!(
        answer.starts_with("HTTP/1.") && answer.contains(" 200 ") && answer.ends_with("content"),
        "{answer}"
    );
}
