//! Debian's registry of OCI artifacts, which plugins are published to and fetched from.
use crate::{PATIENCE, project, server_binary, tool};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A running registry on a port of loopback. Stopped when dropped.
pub struct Registry {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

/// What was taken for a free port may be another's a moment later.
const ATTEMPTS: usize = 5;

impl Registry {
    /// Starts it. `more` are lines of its configuration (YAML): further keys of `http`, indented, then others.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    #[track_caller]
    pub fn start(more: &str) -> Self {
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().expect("the machine has room for temporary files");
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
            let address = free.expect("loopback has free ports");
            let at = folder.path().display();
            let configuration = format!(
                "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {at}/data }} }}\n\
                 http:\n  addr: \"{address}\"\n{more}\n"
            );
            let file = folder.path().join("config.yml");
            fs::write(&file, configuration).expect("the folder is writable");
            let mut process = Command::new("docker-registry")
                .arg("serve")
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("docker-registry is installed: run `cargo xtask setup`");
            if listens(&mut process, address) {
                return Self {
                    process,
                    address,
                    _folder: folder,
                };
            }
        }
        panic!("the registry does not start");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `oci://127.0.0.1:PORT/team/NAME`.
    pub fn reference(&self, name: &str) -> String {
        format!("oci://{}/team/{name}", self.address)
    }

    /// Publishes a standard plugin with further arguments, and returns the reference that pins it.
    #[track_caller]
    pub fn publish(&self, plugin: &str, name: &str, arguments: &[&str]) -> String {
        let folder = project().join("plugins").join(plugin);
        let (folder, target) = (folder.to_string_lossy().into_owned(), self.reference(name));
        let given = ["publish", &folder, &target];
        let binary = server_binary();
        let ran = tool::run(project(), &binary.to_string_lossy(), given.iter().chain(arguments)).success();
        let pinned = String::from_utf8(ran.stdout).expect("a reference is text");
        pinned.trim().to_owned()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Waits until it listens; `false` when it ends instead.
fn listens(process: &mut Child, address: SocketAddr) -> bool {
    let start = Instant::now();
    loop {
        if let Ok(Some(_)) = process.try_wait() {
            return false;
        }
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        assert!(start.elapsed() < PATIENCE, "the registry does not listen");
        thread::sleep(Duration::from_millis(20));
    }
}
