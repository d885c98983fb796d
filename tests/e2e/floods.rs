//! HTTP/2 clients that ask for more than they take: what they cost, and that nobody else pays.
use std::{io, thread};
use support::{
    Certificate, Launch, Server, Tree,
    frames::{
        CONTINUATION, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING, RST_STREAM,
        SETTINGS, field, request,
    },
    process, tool,
};

fn start(certificate: &Certificate, tree: &Tree, more: &[&str]) -> Server {
    Launch::new(tree)
        .arguments(["--tls-cert"])
        .arguments([certificate.at("cert.pem")])
        .arguments(["--tls-key"])
        .arguments([certificate.at("key.pem")])
        .arguments(more.iter().copied())
        .start()
}

fn tree() -> Tree {
    Tree::new().file("file.txt", "content").sparse("large.bin", 1 << 30)
}

/// That another client is served, and that the server did not grow by what it was flooded with.
#[track_caller]
fn is_well(server: &Server, before: u64) {
    let url = format!("https://{}/file.txt", server.address());
    let ran = tool::run(std::path::Path::new("/"), "curl", ["-sSk", "--http2", &url]).success();
    assert_eq!(ran.stdout, b"content");
    let now = process::resident(server.pid());
    assert!(now < before + (64 << 20), "{before} became {now}");
}

/// Sends frames until the server takes no more of them, at most so many; whether it was so.
fn flood(frames: &mut Frames, most: u32, mut send: impl FnMut(&mut Frames, u32) -> io::Result<()>) -> bool {
    (0..most).any(|number| send(frames, number).is_err())
}

#[test]
fn requests_that_are_taken_back_end_the_connection() {
    let (certificate, tree) = (Certificate::new(), tree());
    let server = start(&certificate, &tree, &[]);
    let before = process::resident(server.pid());
    for path in ["/file.txt", "/large.bin"] {
        let mut frames = Frames::open(server.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
        flood(&mut frames, 20_000, |frames, number| {
            frames.get(2 * number + 1, path)?;
            // CANCEL (RFC 9113, section 7).
            frames.send(RST_STREAM, 0, 2 * number + 1, &8_u32.to_be_bytes())
        });
        frames.ends();
    }
    is_well(&server, before);
}

#[test]
fn fields_without_an_end_end_the_connection() {
    let (certificate, tree) = (Certificate::new(), tree());
    let server = start(&certificate, &tree, &[]);
    let before = process::resident(server.pid());
    let piece = field("x-long", &"x".repeat(8000));
    for fill in [&piece[..], &[]] {
        let mut frames = Frames::open(server.address(), &[]);
        frames
            .send(HEADERS, END_STREAM, 1, &request("/file.txt"))
            .expect("it listens");
        flood(&mut frames, 20_000, |frames, _| frames.send(CONTINUATION, 0, 1, fill));
        frames.ends();
    }
    is_well(&server, before);
    // One that is merely too long is answered.
    let mut frames = Frames::open(server.address(), &[]);
    let fields = [request("/file.txt"), piece.repeat(5)].concat();
    let (first, rest) = fields.split_at(16_000);
    frames.send(HEADERS, END_STREAM, 1, first).expect("it listens");
    let mut pieces = rest.chunks(16_000).peekable();
    while let Some(piece) = pieces.next() {
        let flags = if pieces.peek().is_none() { END_HEADERS } else { 0 };
        frames.send(CONTINUATION, flags, 1, piece).expect("it listens");
    }
    let answer = frames.until("an answer", |frame| [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind));
    assert_eq!(answer.kind, HEADERS);
}

/// The server answers each of these, and a client that does not read its answers is not read from either.
#[test]
fn frames_that_want_answers_are_not_queued_without_end() {
    let (certificate, tree) = (Certificate::new(), tree());
    let server = start(&certificate, &tree, &["--stall-timeout", "2s"]);
    let before = process::resident(server.pid());
    thread::scope(|scope| {
        for kind in [SETTINGS, PING] {
            let server = &server;
            scope.spawn(move || {
                let mut frames = Frames::open(server.address(), &[]);
                let payload = if kind == PING { vec![7; 8] } else { Vec::new() };
                // Some 17 MiB of answers that are not read: more than the sockets hold.
                let refused = flood(&mut frames, 1_000_000, |frames, _| frames.send(kind, 0, 0, &payload));
                assert!(refused, "it was given up");
            });
        }
    });
    is_well(&server, before);
}

#[test]
fn a_window_that_is_never_opened_is_not_waited_for() {
    let (certificate, tree) = (Certificate::new(), tree());
    let server = start(&certificate, &tree, &["--stall-timeout", "1s"]);
    // What is left of it can be reset.
    let mut frames = Frames::open(server.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    frames.get(1, "/large.bin").expect("it listens");
    let reset = frames.until("its stream is reset", |frame| frame.kind == RST_STREAM);
    assert_eq!(reset.stream, 1);
    server.logged("a stream was given up");
    // There is room for a part of it, and the rest is in the library's hands: the connection goes.
    let mut frames = Frames::open(server.address(), &[(INITIAL_WINDOW_SIZE, 3)]);
    frames.get(1, "/file.txt").expect("it listens");
    frames.ends();
    server.logged("the client to take more of a response");
}

#[test]
fn streams_beyond_the_limit_are_refused() {
    let (certificate, tree) = (Certificate::new(), tree());
    let server = start(&certificate, &tree, &[]);
    let mut frames = Frames::open(server.address(), &[(INITIAL_WINDOW_SIZE, 0)]);
    for number in 0..150 {
        frames.get(2 * number + 1, "/large.bin").expect("it listens");
    }
    let mut refused = 0;
    // REFUSED_STREAM (RFC 9113, section 7).
    while refused < 50 {
        let frame = frames.until("fifty are refused", |frame| frame.kind == RST_STREAM);
        assert_eq!(frame.payload, 7_u32.to_be_bytes());
        refused += 1;
    }
}
