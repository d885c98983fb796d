//! The options of the access log and of the admin listener over TCP, as they are typed.

use crate::{
    config::{AdminListener, values::listen_address},
    observe::{AccessOptions, Destination, access::Format},
};
use clap::Args;
use std::{net::SocketAddr, path::PathBuf};

#[derive(Clone, Debug, Args)]
pub struct ObservingOptions {
    /// Where the access log goes: log (into the log below), stdout, off, or a file
    ///
    /// A file is opened anew on SIGUSR1, so that it can be moved away. Nobody waits for it: lines that cannot be written in
    /// time are dropped and counted. With stdout nothing else is printed there; the addresses are in the log then.
    #[arg(long, default_value = "log", value_name = "WHERE", help_heading = "Log")]
    access_log: Destination,

    /// How lines are written to a file or to standard output
    #[arg(long, default_value = "json", value_name = "FORMAT", help_heading = "Log")]
    access_log_format: Format,

    /// Address and port that answer operators over TCP, beside the socket; needs --admin-token-file
    ///
    /// Plain HTTP: keep it on loopback, or behind a proxy that speaks TLS.
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = listen_address,
        requires = "admin_token_file",
        help_heading = "Operators"
    )]
    admin_listen: Option<SocketAddr>,

    /// File with the token that operators show over TCP
    ///
    /// At least 16 visible characters, such as `openssl rand -hex 32` prints; as `Authorization: Bearer TOKEN`, or typed
    /// into the page.
    #[arg(long, value_name = "FILE", requires = "admin_listen", help_heading = "Operators")]
    admin_token_file: Option<PathBuf>,

    /// Name by which operators reach the admin listener, other than localhost and addresses; may be given several times
    #[arg(long, value_name = "HOST", help_heading = "Operators")]
    admin_host: Vec<String>,

    /// Count requests for each site by itself in the metrics: as many series as there are sites, up to 1000
    #[arg(long, help_heading = "Operators")]
    metrics_by_site: bool,
}

// === impl ObservingOptions ===

impl ObservingOptions {
    pub fn access(&self) -> AccessOptions {
        AccessOptions {
            destination: self.access_log.clone(),
            format: self.access_log_format,
        }
    }

    pub fn listener(&self) -> Option<AdminListener> {
        let given = self.admin_listen.zip(self.admin_token_file.clone());
        given.map(|(address, token_file)| AdminListener { address, token_file })
    }

    pub fn hosts(&self) -> Vec<String> {
        self.admin_host.clone()
    }

    pub fn metrics_by_site(&self) -> bool {
        self.metrics_by_site
    }
}
