//! The real server over a temporary tree.
use crate::{Chain, Connection, Fields, PATIENCE, Response, Tree, server_binary};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How a server is started: on a free port of loopback, as a user would, by its command line alone.
pub struct Launch {
    command: Command,
}

/// A running server. Killed when dropped.
pub struct Server {
    child: Child,
    address: SocketAddr,
    log: Arc<Log>,
}

/// A server that refused to start.
#[derive(Debug)]
pub struct Refusal {
    pub status: ExitStatus,
    /// What it printed on both streams.
    pub log: String,
}

/// Everything a process printed, line by line, on either stream.
#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    /// Streams that ended.
    ended: usize,
}

impl Launch {
    /// Over a tree, without plugins.
    pub fn new(tree: &Tree) -> Self {
        Self::at(&tree.root())
    }

    /// Over any folder.
    pub fn at(root: &Path) -> Self {
        Self::bare()
            .arguments(["--listen", "127.0.0.1:0", "--root"])
            .arguments([root])
    }

    /// `check` in the place of serving.
    pub fn check(tree: &Tree) -> Self {
        Self::bare().arguments(["check", "--root"]).arguments([tree.root()])
    }

    /// Without any arguments.
    pub fn bare() -> Self {
        let mut command = Command::new(server_binary());
        // What a developer's shell sets must not change what a test sees.
        command
            .env_remove("RUST_LOG")
            .env_remove("RUST_BACKTRACE")
            .env_remove("RUNTIME_DIRECTORY")
            // Without these, no code is kept on disk.
            .env_remove("HOME")
            .env_remove("XDG_CACHE_HOME")
            .env_remove("CACHE_DIRECTORY")
            .env("NO_COLOR", "1");
        Self { command }
    }

    /// Under a chain of guests.
    pub fn plugins(self, chain: &Chain) -> Self {
        self.plugins_at(&chain.folder())
    }

    /// Under the plugins of any folder.
    pub fn plugins_at(self, folder: &Path) -> Self {
        self.arguments(["--plugins"]).arguments([folder])
    }

    pub fn arguments<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.command.args(arguments.into_iter().map(Into::into));
        self
    }

    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// By another program, which is to run the server in its place: `sh -c 'ulimit -n 64; exec "$0" "$@"'`.
    pub fn through<A: Into<OsString>>(mut self, program: impl IntoIterator<Item = A>) -> Self {
        let mut program = program.into_iter().map(Into::into);
        let mut command = Command::new(program.next().expect("a program has a name"));
        command
            .args(program)
            .arg(self.command.get_program())
            .args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = self.command.get_current_dir() {
            command.current_dir(folder);
        }
        self.command = command;
        self
    }

    pub fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// With no more than so many descriptors.
    pub fn descriptors(self, limit: u64) -> Self {
        self.through(["sh", "-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")])
    }

    /// Starts the server and waits until it listens.
    #[track_caller]
    pub fn start(self) -> Server {
        let (mut child, log) = self.spawn();
        let found = log.wait(PATIENCE, |line| {
            let (_, url) = line.split_once("listening on http")?;
            let (_, address) = url.split_once("://")?;
            let end = address.find(|c: char| !(c.is_ascii_digit() || ".:[]abcdef".contains(c)));
            address[..end.unwrap_or(address.len())].parse().ok()
        });
        let Some(address) = found else {
            let _ = child.kill();
            let status = child.wait();
            panic!("the server does not listen ({status:?}):\n{}", log.text());
        };
        Server { child, address, log }
    }

    /// Runs a server that refuses to start, or a command that ends by itself, to its end.
    #[track_caller]
    pub fn run_to_end(self) -> Refusal {
        let (mut child, log) = self.spawn();
        let status = wait(&mut child, PATIENCE);
        log.wait_for_end();
        let Some(status) = status else {
            let _ = child.kill();
            let _ = child.wait();
            panic!("still running after {PATIENCE:?}:\n{}", log.text());
        };
        Refusal {
            status,
            log: log.text(),
        }
    }

    /// Runs a server that must not start, and returns what it said.
    #[track_caller]
    pub fn refusal(self) -> String {
        let refusal = self.run_to_end();
        assert!(
            !refusal.status.success(),
            "it ended as if all were well:\n{}",
            refusal.log
        );
        assert!(
            !refusal.log.contains("listening on"),
            "it listened first:\n{}",
            refusal.log
        );
        assert!(
            !refusal.log.contains("panicked"),
            "a panic is no error message:\n{}",
            refusal.log
        );
        refusal.log
    }

    fn spawn(mut self) -> (Child, Arc<Log>) {
        let has = |option: &str| self.command.get_args().any(|argument| argument == option);
        if kernel_copies() && has("--root") && !has("--sendfile") {
            self.command.args(["--sendfile", "always"]);
        }
        let mut child = self
            .command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server was built");
        let log = Arc::new(Log::default());
        log.follow(child.stdout.take().expect("it was piped just above"));
        log.follow(child.stderr.take().expect("it was piped just above"));
        (child, log)
    }
}

/// Whether all servers of this run of tests are started with `--sendfile always`, so that the same tests say the same of
/// both ways to send files: the environment says `WASMSERVE_TEST_SENDFILE=always`.
pub fn kernel_copies() -> bool {
    std::env::var_os("WASMSERVE_TEST_SENDFILE").is_some_and(|rule| rule == "always")
}

/// What `wasmserve password` makes of a password.
pub fn password_hash(password: &str) -> String {
    let mut child = Command::new(server_binary())
        .arg("password")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the server was built");
    let mut input = child.stdin.take().expect("it was piped just above");
    writeln!(input, "{password}").expect("it reads a line");
    drop(input);
    let output = child.wait_with_output().expect("the process is ours to wait for");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .expect("a hash is text")
        .trim()
        .to_owned()
}

// === impl Server ===

impl Server {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `http://127.0.0.1:PORT` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn request(&self, method: &str, target: &str, headers: Fields<'_>) -> Response {
        self.connect().request(method, target, headers)
    }

    #[track_caller]
    pub fn get(&self, target: &str) -> Response {
        self.request("GET", target, &[])
    }

    /// What these very bytes lead to, until the server ends the connection.
    #[track_caller]
    pub fn raw(&self, bytes: impl AsRef<[u8]>) -> Vec<u8> {
        let mut connection = self.connect();
        // A server that refuses early may close before everything is sent.
        let _ = connection.try_send(bytes);
        connection.finish_sending();
        connection.rest()
    }

    /// Everything printed so far.
    pub fn log(&self) -> String {
        self.log.text()
    }

    /// Waits until a line with this text is printed, and returns the line.
    #[track_caller]
    pub fn logged(&self, text: &str) -> String {
        match self
            .log
            .wait(PATIENCE, |line| line.contains(text).then(|| line.to_owned()))
        {
            Some(line) => line,
            None => panic!("nothing with {text:?} was logged"),
        }
    }

    /// Asks the server to stop (SIGTERM), without waiting.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the process is alive");
    }

    /// Waits until the server ends by itself.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        wait(&mut self.child, PATIENCE).expect("the server does not end")
    }

    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.log.wait_for_end();
            eprintln!("--- the server's log ---\n{}--- end of the log ---", self.log.text());
        }
    }
}

// === impl Log ===

impl Log {
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let log = Arc::clone(self);
        thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                log.update(|state| state.lines.push(String::from_utf8_lossy(&line).into_owned()));
            }
            log.update(|state| state.ended += 1);
        });
    }

    fn update(&self, change: impl FnOnce(&mut LogState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn text(&self) -> String {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    fn wait_for_end(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.ended < 2);
    }

    /// The first thing found in a line, waiting for lines to come until both streams ended.
    fn wait<T>(&self, patience: Duration, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut seen = 0;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = state.lines[seen..].iter().find_map(|line| find(line)) {
                return Some(found);
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended == 2 || left.is_zero() {
                return None;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("the process is ours to wait for") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
