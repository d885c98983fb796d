//! Stopping: downloads under way are finished, new connections are not begun.
use rustix::process::Signal;
use std::net::TcpStream;
use support::{Launch, Tree, client::request_head, eventually, pattern};

const LENGTH: usize = 32 << 20;

fn tree() -> Tree {
    Tree::new()
        .file("large.bin", pattern(3, LENGTH))
        .file("file.txt", "content")
}

fn stops_gracefully_on(signal: Signal) {
    let tree = tree();
    let mut server = Launch::new(&tree).start();
    let mut download = server.connect();
    download.send(request_head("GET", "/large.bin", &[]));
    assert_eq!(download.try_head().expect("a head comes").status, 200);
    let mut idle = server.connect();
    assert_eq!(idle.request("GET", "/file.txt", &[]).text(), "content");
    server.signal(signal);
    eventually("no new connection is accepted", || {
        TcpStream::connect(server.address()).is_err()
    });
    assert!(idle.is_ended(), "an idle connection is closed at once");
    assert!(server.is_running(), "a download is under way");
    assert!(download.take(LENGTH).expect("the download ends well") == pattern(3, LENGTH));
    let status = server.ended();
    assert!(status.success(), "{status}");
}

#[test]
fn sigterm_lets_downloads_finish() {
    stops_gracefully_on(Signal::TERM);
}

#[test]
fn sigint_lets_downloads_finish() {
    stops_gracefully_on(Signal::INT);
}

#[test]
fn without_downloads_it_stops_at_once() {
    let tree = tree();
    let mut server = Launch::new(&tree).start();
    let _silent = server.connect();
    server.ask_to_stop();
    let status = server.ended();
    assert!(status.success(), "{status}");
}
