//! moto from PyPI: a whole S3 behind the server, as far as its users can tell. It keeps objects in memory.
//!
//! Where it cannot be installed, tests that need it fail, unless [`WITHOUT_S3`] says that this is known: a test that returns
//! early looks like one that passed.
use crate::{Certificate, Connection, Fields, PATIENCE, client::request_head, server_binary, tool};
use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

/// The environment variable that lets tests be left out where moto cannot be installed.
pub const WITHOUT_S3: &str = "WASMSERVE_TESTS_WITHOUT_S3";

/// Who asks. moto believes every signature, and refuses those who send none.
const SIGNED: (&str, &str) = (
    "Authorization",
    "AWS4-HMAC-SHA256 Credential=test-key-id/20261101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0",
);

/// A running moto with one bucket. Ended when dropped.
pub struct Moto {
    process: Child,
    address: SocketAddr,
    bucket: String,
}

/// Where `cargo xtask setup` installs it, beside the server that is tested.
pub fn program() -> PathBuf {
    let release = server_binary();
    let target = release.ancestors().nth(2).expect("a binary is in a folder of cargo's");
    target.join("test-peers/moto/bin/moto_server")
}

impl Moto {
    /// With a bucket of this name. `None`: it is not installed, and that is known.
    ///
    /// # Panics
    /// When it is not installed, or does not start.
    #[track_caller]
    pub fn start(bucket: &str) -> Option<Self> {
        let moto = Self::within(bucket, &[])?;
        moto.ask("PUT", "", &[], b"");
        Some(moto)
    }

    /// As [`Moto::start`], speaking TLS alone, with `store.pem` and `store-key.pem`, which `cert.pem` vouches for.
    #[track_caller]
    pub fn start_with(certificate: &Certificate, bucket: &str) -> Option<Self> {
        let (cert, key) = (certificate.at("store.pem"), certificate.at("store-key.pem"));
        let moto = Self::within(bucket, &[Path::new("-c"), &cert, Path::new("-k"), &key])?;
        moto.put_over_tls(certificate, "", "");
        Some(moto)
    }

    #[track_caller]
    fn within(bucket: &str, arguments: &[&Path]) -> Option<Self> {
        let program = program();
        if !program.exists() && std::env::var_os(WITHOUT_S3).is_some() {
            eprintln!("NOT TESTED ({WITHOUT_S3} is set): moto is not installed");
            return None;
        }
        let mut process = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", "0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("moto does not start ({error}): run `cargo xtask setup`, or set {WITHOUT_S3}=1 to leave it out")
            });
        let (sender, receiver) = mpsc::channel();
        let log = process.stderr.take().expect("it was piped just above");
        // Until it ends: whoever does not read what it says stops it.
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                let port = line
                    .split_once("Running on http")
                    .and_then(|(_, url)| url.rsplit(':').next()?.trim().parse().ok());
                if let Some(port) = port {
                    // Nobody waits for a second one.
                    let _ = sender.send(port);
                }
            }
        });
        let moto = match receiver.recv_timeout(PATIENCE) {
            Ok(port) => Self {
                process,
                address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
                bucket: bucket.to_owned(),
            },
            Err(_) => {
                let _ = process.kill();
                panic!("moto does not listen: {:?}", process.wait());
            }
        };
        Some(moto)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Puts an object; gives its Last-Modified in seconds since 1970.
    pub fn put(&self, key: &str, content: &[u8], fields: Fields<'_>) -> u64 {
        self.ask("PUT", key, fields, content);
        let modified = self.ask("HEAD", key, &[], b"");
        let date = httpdate::parse_http_date(&modified).expect("S3 says when an object was put");
        let since = date.duration_since(std::time::UNIX_EPOCH);
        since.expect("objects are younger than 1970").as_secs()
    }

    /// As [`Moto::put`], over TLS. Of no key: the bucket.
    pub fn put_over_tls(&self, certificate: &Certificate, key: &str, content: &str) {
        let url = format!("https://{}/{}/{key}", self.address, self.bucket);
        let signed = format!("{}: {}", SIGNED.0, SIGNED.1);
        let ca = certificate.at("cert.pem").display().to_string();
        let put = ["-sSf", "-X", "PUT", "-H", &signed, "-H", "Content-Type: text/plain"];
        let what = ["--data-binary", content, "--cacert", &ca, &url];
        tool::run(&std::env::temp_dir(), "curl", [&put[..], &what].concat()).success();
    }

    /// Gives the Last-Modified of the answer.
    fn ask(&self, method: &str, key: &str, fields: Fields<'_>, content: &[u8]) -> String {
        let escaped: String = key
            .bytes()
            .map(|byte| match byte {
                b'/' => "/".to_owned(),
                byte => format!("%{byte:02X}"),
            })
            .collect();
        let target = format!("/{}/{escaped}", self.bucket);
        let length = content.len().to_string();
        let own = [
            SIGNED,
            ("Content-Length", &length),
            ("Content-Type", "application/octet-stream"),
        ];
        let mut connection = Connection::open(self.address);
        connection.send(request_head(method, &target, &[fields, &own].concat()));
        connection.send(content);
        let response = connection.response_to(method);
        assert_eq!(response.status, 200, "{method} {key}: {response:?}");
        response.header("last-modified").unwrap_or_default().to_owned()
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
