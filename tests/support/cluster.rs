//! Several servers as one: HAProxy in front, three servers from copies of one configuration, a Redis and an S3 behind them.
//! What runs is `server/docs/example/cluster`, file by file.
use crate::{Moto, PATIENCE, project, server_binary};
use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The servers, by the names of their folders and in the balancer's configuration.
pub const SERVERS: [&str; 3] = ["one", "two", "three"];

/// Everything that runs. Ended when dropped.
pub struct Cluster {
    folder: PathBuf,
    port: u16,
    redis: Child,
    store: Moto,
    servers: Vec<Child>,
    balancer: Child,
}

impl Cluster {
    /// Starts all of it in a folder, which is made or cleared of what an earlier one left; `port` is the balancer's, 0 for
    /// a free one. What `prepare` writes into the folder of files is put into the bucket.
    ///
    /// # Panics
    /// When Redis, HAProxy or moto are not installed, or something does not start.
    pub fn start(folder: &Path, port: u16, prepare: impl FnOnce(&Path)) -> Self {
        let _ = fs::remove_dir_all(folder);
        let example = project().join("server/docs/example/cluster");
        copy(&example, folder);
        symlink(project().join("plugins"), folder.join("plugins")).expect("the folder is writable");
        for server in SERVERS {
            fs::create_dir_all(folder.join(server).join("run")).expect("the folder is writable");
            let file = folder.join(server).join("wasmserve.toml");
            fs::copy(example.join("wasmserve.toml"), file).expect("the folder is writable");
        }
        prepare(&folder.join("www"));
        let redis = spawn(folder, "redis.log", Command::new("redis-server").arg("redis.conf"));
        wait_for("redis", || UnixStream::connect(folder.join("redis.sock")).is_ok());
        let store = Moto::start("files").expect("several servers have their files in a store");
        fill(&store, &folder.join("www"), "www");
        let servers = SERVERS.iter().map(|server| serve(folder, &store, server)).collect();
        let port = match port {
            0 => free_port(),
            port => port,
        };
        let mut haproxy = Command::new("/usr/sbin/haproxy");
        let haproxy = haproxy.args(["-db", "-f", "haproxy.cfg"]).env("PORT", port.to_string());
        let cluster = Self {
            balancer: spawn(folder, "haproxy.log", haproxy),
            folder: folder.to_owned(),
            port,
            redis,
            store,
            servers,
        };
        cluster.wait_until_up(SERVERS.len());
        cluster
    }

    /// Where the balancer listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Process ids by name, for someone to look at.
    pub fn processes(&self) -> Vec<(&'static str, u32)> {
        let servers = SERVERS.into_iter().zip(self.servers.iter().map(Child::id));
        let behind = [("redis", self.redis.id()), ("store", self.store.process())];
        [("haproxy", self.balancer.id())]
            .into_iter()
            .chain(behind)
            .chain(servers)
            .collect()
    }

    /// SIGKILL for one of the servers.
    pub fn kill(&mut self, server: usize) {
        self.servers[server].kill().expect("the process is ours");
        self.servers[server].wait().expect("the process is ours to wait for");
    }

    /// SIGTERM for one of the servers, and waits until it has ended.
    pub fn stop(&mut self, server: usize) {
        let child = &mut self.servers[server];
        rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM)
            .expect("the process is ours");
        child.wait().expect("the process is ours to wait for");
    }

    /// Starts one of the servers anew, and waits until the balancer knows.
    pub fn start_again(&mut self, server: usize) {
        self.servers[server] = serve(&self.folder, &self.store, SERVERS[server]);
        self.wait_until_up(SERVERS.len());
    }

    /// What the balancer counted: attempts that were made anew at the same or at another server.
    pub fn retried(&self) -> u64 {
        let of = |column: &str| -> u64 {
            self.statistics(column)
                .iter()
                .filter_map(|n| n.parse::<u64>().ok())
                .sum()
        };
        of("wretr") + of("wredis")
    }

    /// Waits until the balancer sends requests to so many servers.
    pub fn wait_until_up(&self, count: usize) {
        wait_for("the balancer", || {
            let up = self.statistics("status");
            up.iter().filter(|status| status.starts_with("UP")).count() == count
        });
    }

    /// A column of the balancer's statistics, for each server.
    fn statistics(&self, column: &str) -> Vec<String> {
        let mut text = String::new();
        let asked = UnixStream::connect(self.folder.join("haproxy.sock")).and_then(|mut stream| {
            stream.write_all(b"show stat\n")?;
            stream.read_to_string(&mut text)
        });
        if asked.is_err() {
            return Vec::new();
        }
        let mut lines = text.lines();
        let header = lines.next().unwrap_or_default().trim_start_matches("# ");
        let Some(at) = header.split(',').position(|name| name == column) else {
            return Vec::new();
        };
        lines
            .filter(|line| {
                SERVERS
                    .iter()
                    .any(|server| line.starts_with(&format!("servers,{server},")))
            })
            .filter_map(|line| line.split(',').nth(at).map(str::to_owned))
            .collect()
    }

    /// Whether the balancer still runs: whoever presses Ctrl-C ends everything.
    pub fn is_running(&mut self) -> bool {
        matches!(self.balancer.try_wait(), Ok(None))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in [&mut self.balancer, &mut self.redis]
            .into_iter()
            .chain(&mut self.servers)
        {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Puts the files of a folder into the bucket.
fn fill(store: &Moto, folder: &Path, prefix: &str) {
    for entry in fs::read_dir(folder).expect("the example is there").flatten() {
        let key = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => fill(store, &entry.path(), &key),
            false => {
                let content = fs::read(entry.path()).expect("it was just copied");
                store.put(&key, &content, &[]);
            }
        }
    }
}

fn serve(folder: &Path, store: &Moto, server: &str) -> Child {
    let home = folder.join(server);
    let mut command = Command::new(server_binary());
    command
        .args(["--config", "wasmserve.toml"])
        .env("NO_COLOR", "1")
        .env("XDG_CACHE_HOME", folder.join("cache"))
        .env("AWS_ENDPOINT", format!("http://{}", store.address()))
        .env("AWS_ACCESS_KEY_ID", "example")
        .env("AWS_SECRET_ACCESS_KEY", "example");
    let child = spawn(&home, "log", &mut command);
    wait_for(server, || UnixStream::connect(home.join("run/http.sock")).is_ok());
    child
}

/// Starts a program in a folder, with what it says in a file there.
fn spawn(folder: &Path, log: &str, command: &mut Command) -> Child {
    let log = fs::File::options().create(true).append(true).open(folder.join(log));
    let log = log.expect("the folder is writable");
    let error = log.try_clone().expect("there are descriptors");
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(error)
        .spawn()
        .unwrap_or_else(|error| {
            let program = command.get_program().display();
            panic!("{program} does not start ({error}): run `cargo xtask cluster`, which installs what is missing")
        })
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let start = Instant::now();
    while !there() {
        assert!(start.elapsed() < PATIENCE, "{what} is not there: see its log");
        thread::sleep(Duration::from_millis(20));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the folder is writable");
    for entry in fs::read_dir(from).expect("the example is there").flatten() {
        let target = to.join(entry.file_name());
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("the folder is writable")),
        }
    }
}

/// A port that was free a moment ago; HAProxy cannot be asked for one.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}
