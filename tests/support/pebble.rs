//! Pebble, Let's Encrypt's small authority for tests, and its name server, to which every name leads to loopback.
use crate::{Certificate, PATIENCE, tool};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    thread,
    time::{Duration, Instant},
};

/// An authority that has not been started yet, and the ports that it asks servers on. Stopped when dropped.
pub struct Pebble {
    /// Holds its configuration and the certificate that it shows itself.
    folder: Certificate,
    port: u16,
    management: u16,
    names: u16,
    /// Where it looks for answers: a server under test listens there.
    pub http: u16,
    pub tls: u16,
    bound: bool,
    running: Vec<Child>,
}

/// Below the ports that the kernel gives away by itself: none of these is taken by chance between asking for it and using it.
const PORTS: (u16, u16) = (20_000, 32_000);

/// Whom it knows, and by which key.
const KEY_ID: &str = "kid-1";
const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

static NEXT: AtomicU16 = AtomicU16::new(0);

impl Pebble {
    /// Prepares one that refuses the name `refused.example`, and whose certificates are good for so long.
    pub fn new(good_for: Duration) -> Self {
        let folder = Certificate::new();
        // What it shows of itself leads to an authority that servers under test are told to trust.
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        folder.openssl(&format!(
            "req -x509 {key} -days 2 -subj /CN=Tests -keyout ca.key -out ca.pem"
        ));
        folder.openssl(&format!(
            "req -new {key} -subj /CN=localhost -keyout own.key -out own.csr"
        ));
        let extension = "basicConstraints=CA:FALSE\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n";
        fs::write(folder.at("own.ext"), extension).expect("the folder is writable");
        folder.openssl(
            "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile own.ext -out own.pem",
        );
        let [port, management, names, http, tls] = std::array::from_fn(|_| free_port());
        let configuration = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{port}", "managementListenAddress": "127.0.0.1:{management}",
                "certificate": "{}", "privateKey": "{}", "httpPort": {http}, "tlsPort": {tls}, "ocspResponderURL": "",
                "externalAccountBindingRequired": false, "domainBlocklist": ["refused.example"],
                "certificateValidityPeriod": {}}}}}"#,
            folder.at("own.pem").display(),
            folder.at("own.key").display(),
            good_for.as_secs(),
        );
        fs::write(folder.at("pebble.json"), configuration).expect("the folder is writable");
        Self {
            folder,
            port,
            management,
            names,
            http,
            tls,
            bound: false,
            running: Vec::new(),
        }
    }

    /// The same, for an authority that makes accounts only for those who have its key.
    #[must_use]
    pub fn with_binding(mut self) -> Self {
        let file = self.folder.at("pebble.json");
        let text = fs::read_to_string(&file).expect("it was written");
        let keys =
            format!(r#""externalAccountBindingRequired": true, "externalAccountMACKeys": {{"{KEY_ID}": "{KEY}"}}"#);
        let bound = text.replace(r#""externalAccountBindingRequired": false"#, &keys);
        assert_ne!(bound, text);
        fs::write(&file, bound).expect("the folder is writable");
        fs::write(self.folder.at("eab.key"), KEY).expect("the folder is writable");
        self.bound = true;
        self
    }

    /// Starts it, without any memory of what it did before.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    #[track_caller]
    pub fn start(&mut self) {
        let names = format!("127.0.0.1:{}", self.names);
        let mut server = Command::new("pebble-challtestsrv");
        server.args([
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-management",
            "",
        ]);
        self.spawn(server.args(["-dns01", &names]));
        let mut pebble = Command::new("pebble");
        pebble
            .arg("-config")
            .arg(self.folder.at("pebble.json"))
            .args(["-dnsserver", &names])
            // Its answers come at once; each authorization is asked for anew.
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0");
        self.spawn(&mut pebble);
        for port in [self.port, self.management] {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let deadline = Instant::now() + PATIENCE;
            while TcpStream::connect(address).is_err() {
                assert!(Instant::now() < deadline, "pebble does not listen on {address}");
                thread::sleep(Duration::from_millis(20));
            }
        }
        let root = format!("https://127.0.0.1:{}/roots/0", self.management);
        let authority = self.folder.at("ca.pem").display().to_string();
        let file = self.root().display().to_string();
        tool::run(
            Path::new("/"),
            "curl",
            ["-sSf", "--cacert", &authority, "-o", &file, &root],
        )
        .success();
    }

    fn spawn(&mut self, command: &mut Command) {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.running
            .push(child.expect("pebble is installed: run `cargo xtask setup`"));
    }

    pub fn stop(&mut self) {
        for mut child in self.running.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// `[acme]` of a server that asks it.
    pub fn config(&self) -> String {
        let plain = self.unbound_config();
        match self.bound {
            true => {
                let file = self.folder.at("eab.key");
                format!(
                    "{plain}eab-key-id = \"{KEY_ID}\"\neab-key-file = \"{}\"\n",
                    file.display()
                )
            }
            false => plain,
        }
    }

    /// Of a server that has no key.
    pub fn unbound_config(&self) -> String {
        format!(
            "[acme]\ndirectory = \"https://localhost:{}/dir\"\nagree-to-terms = true\nstorage = \"acme\"\nca-file = \"{}\"\n\
             contact = [\"mailto:admin@example.org\"]\n",
            self.port,
            self.folder.at("ca.pem").display()
        )
    }

    /// What its certificates lead to: another one after each start.
    pub fn root(&self) -> PathBuf {
        self.folder.at("root.pem")
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

fn free_port() -> u16 {
    let (first, end) = PORTS;
    let begin = u16::try_from(std::process::id() % u32::from(end - first)).expect("less than the ports there are");
    for _ in first..end {
        let next = (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % (end - first);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, first + next)).is_ok() {
            return first + next;
        }
    }
    panic!("no port is free");
}
