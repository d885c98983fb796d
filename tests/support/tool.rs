//! Real clients: curl, wget and others, which `cargo xtask setup` installs.
use crate::PATIENCE;
use std::{
    ffi::OsStr,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// What a program did.
#[derive(Debug)]
pub struct Ran {
    /// Exit status; `None` when it was killed.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

/// Runs a client in a folder, without the proxies and settings of the user's.
///
/// # Panics
/// When the program is not installed, or does not end within [`PATIENCE`].
#[track_caller]
pub fn run<A: AsRef<OsStr>>(folder: &Path, program: &str, arguments: impl IntoIterator<Item = A>) -> Ran {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .env("HOME", folder)
        .env("LC_ALL", "C.UTF-8");
    for name in [
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(name);
    }
    let mut child = match command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => panic!("{program} does not start ({error}): run `cargo xtask setup`"),
    };
    let stdout = collect(child.stdout.take().expect("it was piped just above"));
    let stderr = collect(child.stderr.take().expect("it was piped just above"));
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the process is ours to wait for") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!(
                "{program} does not end: {}",
                String::from_utf8_lossy(&stderr.join().unwrap_or_default())
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    Ran {
        code: status.code(),
        stdout: stdout.join().expect("reading a pipe does not panic"),
        stderr: String::from_utf8_lossy(&stderr.join().expect("reading a pipe does not panic")).into_owned(),
    }
}

impl Ran {
    /// Panics, showing what the program said, unless it ended well.
    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        );
        self
    }
}

fn collect(mut stream: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A stream that breaks has given what it had.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}
