//! Values that are typed alike on the command line and in files. Each says what is wrong in words for the one who typed it.

use super::units::size;
use http::StatusCode;
use std::net::SocketAddr;
use tracing_subscriber::EnvFilter;
use wasmserve_files::SitePath;

pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "must be an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:80 or [::]:80".into())
}

/// The most bytes of a file that a connection holds in memory.
pub fn chunk_size(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(bytes) if (4 << 10..=16 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("must be between 4KiB and 16MiB".into()),
    }
}

/// The most bytes of a request's head.
pub fn head_size(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        // Every connection may have so many in memory. hyper has no smaller buffer for HTTP/1 than 8 KiB.
        Ok(bytes) if (8 << 10..=1 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("must be between 8KiB and 1MiB".into()),
    }
}

/// The most bytes of a request's target.
pub fn target_size(text: &str) -> Result<usize, String> {
    match usize::try_from(size(text)?) {
        Ok(bytes) if (1 << 10..=1 << 20).contains(&bytes) => Ok(bytes),
        _ => Err("must be between 1KiB and 1MiB".into()),
    }
}

/// The size at which a recording is begun anew.
pub fn record_limit(text: &str) -> Result<u64, String> {
    match size(text)? {
        bytes if bytes >= 64 << 10 => Ok(bytes),
        _ => Err("must be 64KiB or more".into()),
    }
}

pub fn error_status(text: &str) -> Result<StatusCode, String> {
    match text.parse::<StatusCode>() {
        Ok(status) if status.is_client_error() || status.is_server_error() => Ok(status),
        _ => Err(format!("{text:?} is not an error status: 400 to 599")),
    }
}

pub fn site_path(text: &str) -> Result<SitePath, String> {
    SitePath::from_decoded(text).map_err(|error| format!("the path {error}"))
}

/// Checks a filter of the log; it is kept as text because it cannot be cloned.
pub fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}
