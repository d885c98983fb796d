//! The admin socket of a server, beside its root, asked over connections of their own.
use crate::{Chain, Launch, PATIENCE, Server, Tree, client::exchange, eventually};
use std::{
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

/// A server with an admin socket, which is there.
#[track_caller]
pub fn serving(tree: &Tree, chain: &Chain, more: &[&str]) -> (Server, PathBuf) {
    let socket = tree.outside("admin.sock");
    let server = Launch::new(tree)
        .plugins(chain)
        .arguments(["--admin"])
        .arguments([&socket])
        .arguments(more.iter().copied())
        .start();
    eventually("the admin socket is there", || socket.exists());
    (server, socket)
}

/// What these very bytes lead to.
#[track_caller]
pub fn raw(socket: &Path, bytes: &str) -> String {
    let stream = UnixStream::connect(socket).expect("the server listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout that is not zero is valid");
    exchange(stream, bytes.as_bytes())
}

/// The head and the body of an answer.
#[track_caller]
pub fn get(socket: &Path, path: &str) -> String {
    raw(socket, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
}
