//! The options of serving, as they are typed. Their texts are the manual.

use crate::{
    config::units::{duration, size},
    net::{NetOptions, activity::Deadlines},
    observe::LogFormat,
    site::SiteOptions,
};
use clap::Args;
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use tracing_subscriber::EnvFilter;

/// The name of the one site that the command line describes.
const SITE: &str = "default";

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
        help_heading = "Connections"
    )]
    listen: Vec<SocketAddr>,

    /// Folder with the plugins that decide every request
    ///
    /// With a plugins.toml in it, that file lists them in order; otherwise every *.wasm of the folder runs in the order of
    /// names, with NAME.toml as its configuration. If any cannot be run, nothing is served. Without this option no
    /// plugin is asked and every file beneath the root is served to everyone.
    #[arg(long, short, value_name = "DIR", help_heading = "Policy")]
    plugins: Option<PathBuf>,

    /// Most bytes of a file that a connection holds in memory: 4KiB to 16MiB
    #[arg(long, default_value = "64KiB", value_name = "SIZE", value_parser = chunk_size, help_heading = "Files")]
    chunk_size: usize,

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

    /// How long a request's head may take from its first byte to its last
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = positive, help_heading = "Connections")]
    head_timeout: Duration,

    /// How long a client may take no byte of its response
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = positive, help_heading = "Connections")]
    stall_timeout: Duration,

    /// Connections open at once; more wait until one ends [default: what the limit of open files allows]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Connections")]
    max_connections: Option<u32>,
}

/// A request line and header fields beyond this are refused with 431. As nginx: four buffers of 8 KiB.
const HEAD_SIZE: usize = 32 * 1024;

/// How long a client that is still sending is read from after its last response.
const LINGER: Duration = Duration::from_secs(5);

// === impl ServeOptions ===

impl ServeOptions {
    pub fn site(&self) -> SiteOptions {
        SiteOptions {
            name: SITE.into(),
            root: self.root.clone(),
            plugins: self.plugins.clone(),
        }
    }

    pub fn net(&self) -> NetOptions {
        NetOptions {
            chunk_size: self.chunk_size,
            head_size: HEAD_SIZE,
            deadlines: Deadlines {
                idle: self.idle_timeout,
                head: self.head_timeout,
                stall: self.stall_timeout,
                linger: LINGER,
            },
        }
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

fn chunk_size(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(bytes) if (4 << 10..=16 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("must be between 4KiB and 16MiB".into()),
    }
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
