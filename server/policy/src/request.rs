//! The request that is being decided, as the questions of the contract see it.
use http::{HeaderMap, Method};
use std::{net::IpAddr, sync::Arc, time::SystemTime};
use wasmserve_files::SitePath;

/// A request whose path and host have been checked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub path: SitePath,
    /// Raw, without `?`.
    pub query: Option<String>,
    pub headers: HeaderMap,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// Lower case, without port or final dot.
    pub host: Arc<str>,
    pub site: Arc<str>,
    /// `None` on a Unix socket. IPv4-mapped addresses are given as IPv4.
    pub client: Option<IpAddr>,
    pub arrived: SystemTime,
    /// What the server knows: names begin with `wasmserve.` or `tls.`.
    pub facts: Vec<(String, String)>,
}
