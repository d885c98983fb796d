//! Debian's Redis behind the server, and a line to it that can be made slow.
use crate::PATIENCE;
use std::{
    fs,
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A running Redis on a Unix socket, which keeps nothing on disk. Killed when dropped.
pub struct Redis {
    child: Child,
    folder: TempDir,
    arguments: Vec<String>,
}

impl Redis {
    /// Starts it, with more options of its command line.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    #[track_caller]
    pub fn start<A: ToString>(arguments: impl IntoIterator<Item = A>) -> Self {
        let folder = tempfile::tempdir().expect("the machine has room for temporary files");
        let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.to_string()).collect();
        Self {
            child: spawn(folder.path(), &arguments),
            folder,
            arguments,
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }

    /// As a `url` of a configuration.
    pub fn url(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// SIGKILL: all that it kept is gone.
    pub fn kill(&mut self) {
        self.child.kill().expect("the process is ours");
        self.child.wait().expect("the process is ours to wait for");
    }

    #[track_caller]
    pub fn start_again(&mut self) {
        self.child = spawn(self.folder.path(), &self.arguments);
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // It may be killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[track_caller]
fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let socket = folder.join("redis.sock");
    // One that was killed left its socket behind.
    let _ = fs::remove_file(&socket);
    let mut child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
        .arg(&socket)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed: run `cargo xtask setup`");
    let start = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        let ended = child.try_wait().expect("the process is ours to wait for");
        assert!(ended.is_none(), "redis-server does not start: {ended:?}");
        assert!(start.elapsed() < PATIENCE, "redis-server does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    child
}

/// A Unix socket that leads to another one, each answer of which is held back for a time. Its connections end with their
/// clients, and its threads with the test.
pub struct SlowLine {
    folder: TempDir,
    delay: Arc<AtomicU64>,
}

impl SlowLine {
    /// Leads to a socket, without delay at first.
    pub fn to(target: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("the machine has room for temporary files");
        let listener = UnixListener::bind(folder.path().join("slow.sock")).expect("the folder is writable");
        let delay = Arc::new(AtomicU64::new(0));
        let held = delay.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&target) else {
                    continue;
                };
                pass_on(&client, &server, Arc::default());
                pass_on(&server, &client, held.clone());
            }
        });
        Self { folder, delay }
    }

    /// As a `url` of a configuration.
    pub fn url(&self) -> String {
        format!("unix:{}", self.folder.path().join("slow.sock").display())
    }

    /// From now on, answers come so much later.
    pub fn delay(&self, delay: Duration) {
        self.delay
            .store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }
}

/// Copies from one end to the other on a thread of its own, until either is closed.
fn pass_on(from: &UnixStream, to: &UnixStream, delay: Arc<AtomicU64>) {
    let mut from = from.try_clone().expect("there are descriptors");
    let mut to = to.try_clone().expect("there are descriptors");
    thread::spawn(move || {
        let mut buffer = [0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            thread::sleep(Duration::from_millis(delay.load(Relaxed)));
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
        let _ = from.shutdown(std::net::Shutdown::Both);
    });
}
