//! The options of serving, as they are typed. Their texts are the manual.

use crate::{
    config::units::{duration, size},
    net::{NetOptions, Tls, TlsError, activity::Deadlines},
    observe::LogFormat,
    site::SiteOptions,
    watch::{
        RecordOptions, Recording, Secret, Watch,
        record::{file, redact::Rule},
    },
};
use clap::{Args, ValueEnum};
use http::StatusCode;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tracing_subscriber::EnvFilter;
use wasmserve_files::{Compression, Dotfiles, FilesOptions, Listings, RootOptions, SitePath, Symlinks};
use wasmserve_transport::Sendfile;

/// The name of the one site that the command line describes.
const SITE: &str = "default";

/// The name of its one root.
const ROOT: &str = "default";

#[derive(Clone, Debug, Args)]
pub struct ServeOptions {
    /// Folder whose files are served
    #[arg(long, short, default_value = ".", value_name = "DIR", help_heading = "Files")]
    root: PathBuf,

    /// Address and port to listen on; may be given several times
    ///
    /// Such as 127.0.0.1:8080, 0.0.0.0:80 or [::]:80 (all addresses, IPv4 too). Port 0 lets the system choose. Each
    /// address is printed to standard output, one a line, once connections are accepted.
    #[arg(
        long,
        short,
        default_value = "127.0.0.1:8080",
        value_name = "ADDR",
        value_parser = listen_address,
        help_heading = "Connections"
    )]
    listen: Vec<SocketAddr>,

    /// Certificate of this server, and those that lead from it to one that clients trust, in PEM: speaks HTTPS
    ///
    /// With HTTP/2 where the client offers it. The file and its key are never served.
    #[arg(long, requires = "tls_key", value_name = "FILE", help_heading = "Connections")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)
    #[arg(long, requires = "tls_cert", value_name = "FILE", help_heading = "Connections")]
    tls_key: Option<PathBuf>,

    /// Folder with the plugins that decide every request
    ///
    /// With a plugins.toml in it, that file lists them in order; otherwise every *.wasm of the folder runs in the order of
    /// names, with NAME.toml as its configuration. If any cannot be run, nothing is served. Without this option no
    /// plugin is asked and every file beneath the root is served to everyone.
    #[arg(long, short, value_name = "DIR", help_heading = "Policy")]
    plugins: Option<PathBuf>,

    /// List the entries of folders that have no index file
    #[arg(long, help_heading = "Files")]
    listing: bool,

    /// Name of the file that stands for its folder; may be given several times, most wanted first
    #[arg(long, default_value = "index.html", value_name = "NAME", help_heading = "Files")]
    index: Vec<String>,

    /// Page that is sent with an error status, such as 404=/404.html; may be given several times
    ///
    /// Looked up in the folder of the request, then in the root.
    #[arg(long = "error-page", value_name = "STATUS=PATH", value_parser = error_page, help_heading = "Files")]
    error_pages: Vec<(StatusCode, SitePath)>,

    /// Page that is sent with 200 when nothing is there: that of a single-page application, such as /index.html
    #[arg(long, value_name = "PATH", value_parser = site_path, help_heading = "Files")]
    fallback: Option<SitePath>,

    /// Whether names that begin with a dot are served; what is beneath /.well-known/ always is
    #[arg(long, default_value = "hide", value_name = "RULE", help_heading = "Files")]
    dotfiles: DotfilesRule,

    /// Whether symbolic links are followed; never to outside of the root
    #[arg(long, default_value = "beneath", value_name = "RULE", help_heading = "Files")]
    symlinks: SymlinksRule,

    /// Do not send the siblings page.html.br, .zst and .gz of page.html to clients that accept them
    #[arg(long, help_heading = "Files")]
    no_precompressed: bool,

    /// Compress texts while they are sent, where no such sibling is there
    ///
    /// Costs CPU for every response, and tells secrets by their length in pages that hold one beside something that a
    /// client chose (BREACH).
    #[arg(long, help_heading = "Files")]
    compress: bool,

    /// Most bytes of a file that a connection holds in memory: 4KiB to 16MiB
    #[arg(long, default_value = "64KiB", value_name = "SIZE", value_parser = chunk_size, help_heading = "Files")]
    chunk_size: usize,

    /// To which clients the kernel copies the content of files by itself (sendfile)
    ///
    /// A response is completed only after the client has acknowledged what was sent so and the file is still the same.
    #[arg(long, default_value = "remote", value_name = "RULE", help_heading = "Files")]
    sendfile: SendfileRule,
    /// Unix socket that answers operators: health, sites, and why a request is answered as it is
    ///
    /// Only its owner can connect (mode 0600). One that a dead server left behind is replaced. [default: admin.sock in the
    /// folder that RUNTIME_DIRECTORY names, as systemd sets it; otherwise none]
    #[arg(long, value_name = "SOCKET", help_heading = "Operators")]
    admin: Option<PathBuf>,

    /// File with a secret: a request whose header field Wasmserve-Debug has it explains itself
    ///
    /// At least 16 visible characters, such as `openssl rand -hex 16` prints. The answer then has the header fields
    /// Wasmserve-Explain and Server-Timing, and the log has the whole account under the id in Wasmserve-Trace. Without
    /// this option the header field means nothing; plugins never see it.
    #[arg(long, value_name = "FILE", help_heading = "Operators")]
    debug_secret_file: Option<PathBuf>,

    /// File that real requests and what is decided about them are recorded to, for `wasmserve replay`
    ///
    /// Lines of JSON, for its owner alone (mode 0600). Nobody waits for it: what cannot be written in time is dropped and
    /// counted.
    #[arg(long, value_name = "FILE", help_heading = "Operators")]
    record: Option<PathBuf>,

    /// Size at which the recording becomes FILE.1, in place of an older one, and another is begun
    #[arg(long, default_value = "64MiB", value_name = "SIZE", value_parser = record_limit, requires = "record", help_heading = "Operators")]
    record_limit: u64,

    /// Record one request of so many
    #[arg(
        long,
        default_value = "1",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..),
        requires = "record",
        help_heading = "Operators"
    )]
    record_one_in: u64,

    /// What is recorded as it is, as a digest, or not at all; may be given several times, the last for a name wins
    ///
    /// header:NAME, cookie:NAME, query:NAME (a parameter) or client, then =keep, =hash or =drop; the name * is every other
    /// one. Unless told otherwise, digests stand for the values of cookies and of queries, for Authorization, Referer and
    /// for header fields whose names speak of keys, tokens and the like. What is not kept cannot be replayed.
    #[arg(long, value_name = "RULE", requires = "record", help_heading = "Operators")]
    record_redact: Vec<Rule>,

    /// How log lines are written, to standard error
    #[arg(long, default_value = "text", value_name = "FORMAT", help_heading = "Log")]
    log_format: LogFormat,

    /// What is logged: a level, then exceptions by target
    ///
    /// Levels are error, warn, info, debug, trace and off. "info,access=off" leaves the access log out; its lines have the
    /// target "access". Queries are never logged: links carry secrets in them.
    #[arg(long, default_value = "info", value_name = "FILTER", value_parser = filter, help_heading = "Log")]
    log: String,

    /// How long responses may take to finish after SIGINT or SIGTERM; a second signal ends at once
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = duration, help_heading = "Connections")]
    drain_timeout: Duration,

    /// How long a connection may wait for its next request
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = positive, help_heading = "Connections")]
    idle_timeout: Duration,

    /// How long a request's head may take from its first byte to its last, and how long a TLS handshake
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = positive, help_heading = "Connections")]
    head_timeout: Duration,

    /// How long a client may take no byte of its response
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = positive, help_heading = "Connections")]
    stall_timeout: Duration,

    /// Connections open at once; more wait until one ends [default: what the limit of open files allows]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Connections")]
    max_connections: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DotfilesRule {
    /// They are not there
    Hide,
    /// They are served like any other
    Serve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SymlinksRule {
    /// Followed while they are relative and stay beneath the root
    Beneath,
    /// What they name is not there
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SendfileRule {
    /// To those on other machines
    Remote,
    /// Also to those on this machine, who may then be given changes that are made to a file in place after it was sent
    /// to them and before they read it
    Always,
    /// To none: all files are read
    Off,
}
/// The folder that systemd makes for a unit (`RuntimeDirectory=`).
const RUNTIME_DIRECTORY: &str = "RUNTIME_DIRECTORY";

/// A request line and header fields beyond this are refused with 431. As nginx: four buffers of 8 KiB.
const HEAD_SIZE: usize = 32 * 1024;

/// How long a client that is still sending is read from after its last response.
const LINGER: Duration = Duration::from_secs(5);

// === impl ServeOptions ===

impl ServeOptions {
    pub fn site(&self) -> SiteOptions {
        SiteOptions {
            name: SITE.into(),
            files: self.files(),
            plugins: self.plugins.clone(),
        }
    }

    fn files(&self) -> FilesOptions {
        let mut files = FilesOptions::new(&self.root);
        files
            .protected
            .extend(self.tls_cert.iter().chain(&self.tls_key).cloned());
        files.compression = self.compress.then(Compression::default);
        files.protected.extend(self.secrets());
        let defaults = RootOptions::new(&self.root);
        let root = RootOptions {
            symlinks: match self.symlinks {
                SymlinksRule::Beneath => Symlinks::Beneath,
                SymlinksRule::Deny => Symlinks::Deny,
            },
            dotfiles: match self.dotfiles {
                DotfilesRule::Hide => Dotfiles::Hide,
                DotfilesRule::Serve => Dotfiles::Serve,
            },
            index: self.index.clone(),
            listing: if self.listing { Listings::On } else { Listings::Off },
            precompressed: if self.no_precompressed {
                Vec::new()
            } else {
                defaults.precompressed
            },
            error_pages: self.error_pages.clone(),
            fallback: self.fallback.clone(),
            ..defaults
        };
        files.roots = vec![(ROOT.to_owned(), root)];
        files
    }

    /// # Errors
    /// A certificate or key that cannot be used.
    pub fn net(&self) -> Result<NetOptions, TlsError> {
        let files = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        Ok(NetOptions {
            tls: files
                .map(|(certificate, key)| Tls::load(certificate, key))
                .transpose()?,
            chunk_size: self.chunk_size,
            sendfile: match self.sendfile {
                SendfileRule::Remote => Sendfile::Remote,
                SendfileRule::Always => Sendfile::Always,
                SendfileRule::Off => Sendfile::Off,
            },
            head_size: HEAD_SIZE,
            deadlines: Deadlines {
                idle: self.idle_timeout,
                head: self.head_timeout,
                linger: LINGER,
            },
            stall: self.stall_timeout,
        })
    }

    /// Where operators ask.
    pub fn admin(&self) -> Option<PathBuf> {
        let runtime = || {
            let folders = std::env::var_os(RUNTIME_DIRECTORY)?;
            // systemd separates several with colons (systemd.exec(5)).
            let first = std::env::split_paths(&folders).next()?;
            (!first.as_os_str().is_empty()).then(|| first.join("admin.sock"))
        };
        self.admin.clone().or_else(runtime)
    }

    /// What is watched of requests.
    ///
    /// # Errors
    /// When the secret's file has none, or when nothing can be recorded.
    pub fn watch(&self) -> Result<Watch, anyhow::Error> {
        let record = self.record.clone().map(|file| RecordOptions {
            file,
            limit: self.record_limit,
            one_in: self.record_one_in,
            rules: self.record_redact.clone(),
        });
        Ok(Watch {
            debug: self.debug_secret_file.as_deref().map(Secret::read).transpose()?,
            record: record.map(Recording::start).transpose()?,
        })
    }

    /// What must not be served, beside configuration and plugins.
    fn secrets(&self) -> impl Iterator<Item = PathBuf> {
        let recordings = self.record.iter().flat_map(|file| [file.clone(), file::before(file)]);
        self.debug_secret_file.clone().into_iter().chain(recordings)
    }

    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout
    }

    pub fn max_connections(&self) -> Option<usize> {
        self.max_connections.and_then(|count| usize::try_from(count).ok())
    }

    pub fn log_format(&self) -> LogFormat {
        self.log_format
    }

    pub fn log_filter(&self) -> EnvFilter {
        EnvFilter::new(&self.log)
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:80 or [::]:80".into())
}

fn chunk_size(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(bytes) if (4 << 10..=16 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("must be between 4KiB and 16MiB".into()),
    }
}

fn record_limit(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes >= 64 << 10 => Ok(bytes),
        _ => Err("must be 64KiB or more".into()),
    }
}

fn error_page(text: &str) -> Result<(StatusCode, SitePath), String> {
    let (status, path) = text
        .split_once('=')
        .ok_or("must be a status and a path, such as 404=/404.html")?;
    match status.parse::<StatusCode>() {
        Ok(status) if status.is_client_error() || status.is_server_error() => Ok((status, site_path(path)?)),
        _ => Err(format!("{status:?} is not an error status: 400 to 599")),
    }
}

fn site_path(text: &str) -> Result<SitePath, String> {
    SitePath::from_decoded(text).map_err(|error| format!("the path {error}"))
}

fn positive(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than nothing".into()),
        some => Ok(some),
    }
}

/// Checks a filter; it is kept as text because it cannot be cloned.
fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}
