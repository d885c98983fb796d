//! Debian's nginx beside the server: as a contestant in measurements, as a shared cache in front of it.
use crate::{PATIENCE, process};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// A running nginx with one server on a port of loopback. Stopped when dropped.
pub struct Nginx {
    master: Child,
    address: SocketAddr,
    _folder: TempDir,
}

/// What was taken for a free port may be another's a moment later.
const ATTEMPTS: usize = 5;

impl Nginx {
    /// Starts it. `http` are directives of the `http` block, `server` those of its one `server` block, without `listen`;
    /// both are told a folder that they may use.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    #[track_caller]
    pub fn start(http: impl Fn(&Path) -> String, server: impl Fn(&Path) -> String) -> Self {
        for _ in 0..ATTEMPTS {
            let folder = tempfile::tempdir().expect("the machine has room for temporary files");
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            let (at, http, server) = (folder.path().display(), http(folder.path()), server(folder.path()));
            let configuration = format!(
                "worker_processes auto; pid {at}/pid; error_log {at}/error.log; daemon off; user root;\n\
                 events {{ worker_connections 1024; }}\n\
                 http {{ access_log off; client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3;\n\
                 uwsgi_temp_path {at}/4; scgi_temp_path {at}/5;\n{http}\nserver {{ listen {address};\n{server}\n}} }}\n",
            );
            let file = folder.path().join("nginx.conf");
            fs::write(&file, configuration).expect("the folder is writable");
            let log = folder.path().join("error.log");
            let mut master = Command::new("/usr/sbin/nginx")
                .arg("-c")
                .arg(&file)
                .arg("-e")
                .arg(&log)
                .stdin(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("nginx is installed: run `cargo xtask setup`");
            if listens(&mut master, address) {
                return Self {
                    master,
                    address,
                    _folder: folder,
                };
            }
            let said = fs::read_to_string(&log).unwrap_or_default();
            assert!(said.contains("Address already in use"), "nginx does not start: {said}");
        }
        panic!("nginx finds no free port");
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT` and a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The master and its workers.
    pub fn processes(&self) -> Vec<u32> {
        [vec![self.master.id()], process::children(self.master.id())].concat()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // SIGTERM lets the master end its workers; killing it would leave them behind.
        let _ = kill_process(Pid::from_child(&self.master), Signal::TERM);
        let _ = self.master.wait();
    }
}

/// Waits until it listens; `false` when it ends instead.
fn listens(master: &mut Child, address: SocketAddr) -> bool {
    let start = Instant::now();
    loop {
        if let Ok(Some(_)) = master.try_wait() {
            return false;
        }
        if TcpStream::connect(address).is_ok() {
            return true;
        }
        assert!(start.elapsed() < PATIENCE, "nginx does not listen");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A port that was free a moment ago; nginx cannot be asked for one.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}
