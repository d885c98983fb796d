//! Stopping: downloads under way are finished, new connections are not begun.
use rustix::process::Signal;
use std::net::TcpStream;
use support::{Connection, Launch, Server, Tree, client::request_head, eventually, pattern};

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
fn without_downloads_it_stops_by_itself() {
    let tree = tree();
    let mut server = Launch::new(&tree).start();
    let _silent = server.connect();
    server.ask_to_stop();
    let status = server.ended();
    assert!(status.success(), "{status}");
}

/// Starts a download that nobody reads on, and asks the server to stop.
fn stopping_with_a_stalled_download(drain: &str) -> (Tree, Server, Connection) {
    let tree = Tree::new().sparse("large.bin", 1 << 30);
    let server = Launch::new(&tree).arguments(["--drain-timeout", drain]).start();
    let mut stalled = server.connect();
    stalled.send(request_head("GET", "/large.bin", &[]));
    assert_eq!(stalled.try_head().expect("a head comes").status, 200);
    server.ask_to_stop();
    eventually("no new connection is accepted", || {
        TcpStream::connect(server.address()).is_err()
    });
    (tree, server, stalled)
}

#[test]
fn downloads_are_not_waited_for_without_end() {
    let (_tree, mut server, _stalled) = stopping_with_a_stalled_download("1s");
    server.ended();
}

#[test]
fn a_second_signal_ends_at_once() {
    let (_tree, mut server, _stalled) = stopping_with_a_stalled_download("1h");
    assert!(server.is_running(), "a download is under way");
    server.ask_to_stop();
    server.ended();
}
