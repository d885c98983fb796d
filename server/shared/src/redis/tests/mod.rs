//! Against a real Redis, each test with one of its own.
mod conformance;
mod faults;

use super::{Endpoint, Redis, RedisOptions, RedisSite};
use crate::Bounds;
use std::{
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// How long anything may take before a test calls it hung.
const PATIENCE: Duration = Duration::from_secs(180);

const BOUNDS: Bounds = Bounds {
    pair_bytes: 16 << 20,
    pairs: 100_000,
    token_buckets: 100_000,
};

/// A Redis on a Unix socket. Killed when dropped.
struct Server {
    child: Child,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let child = spawn(&folder, &arguments);
        Self {
            child,
            folder,
            arguments,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// Options under which no operation of a test takes too long.
    fn options(&self) -> RedisOptions {
        let endpoint: Endpoint = format!("unix:{}", self.socket().display()).parse().unwrap();
        RedisOptions {
            timeout: PATIENCE,
            ..RedisOptions::new(endpoint)
        }
    }

    fn site(&self, name: &str, bounds: &Bounds) -> RedisSite {
        RedisSite::new(Redis::new(Arc::new(self.options())), name.into(), bounds)
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn start_again(&mut self) {
        self.child = spawn(&self.folder, &self.arguments);
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

fn spawn(folder: &TempDir, arguments: &[String]) -> Child {
    let socket = folder.path().join("redis.sock");
    let _ = std::fs::remove_file(&socket);
    let mut child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(&socket)
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: run `cargo xtask setup`");
    let start = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        assert!(child.try_wait().unwrap().is_none(), "redis-server does not start");
        assert!(start.elapsed() < PATIENCE, "redis-server does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    child
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
