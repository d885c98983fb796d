//! A site: what is decided about its requests, and its files.

use crate::{net::tls::TlsFiles, observe::Meter, sites::HostPattern};
use std::sync::Arc;
use wasmserve_files::{Files, FilesOptions};
use wasmserve_policy::{Chain, ChainSpec};

/// What answers the requests for some hosts: loaded, checked and ready.
pub struct Site {
    pub name: Arc<str>,
    pub chain: Arc<Chain>,
    pub files: Arc<Files>,
    /// Of all sites of this name, in whatever generation.
    pub meter: &'static Meter,
    /// What it was loaded from.
    pub spec: Arc<SiteSpec>,
}

/// What a site is made of: resolved, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteSpec {
    pub hosts: Vec<HostPattern>,
    /// The bounds of the cache and what is never served are those of all sites: see [`wasmserve_files::Pool`].
    pub files: FilesOptions,
    /// The certificate that its hosts are asked for with; `None`: the server's.
    pub tls: Option<Arc<TlsFiles>>,
    /// With the site's name. No policies: every file is served to everyone.
    pub chain: ChainSpec,
    pub logged: Logged,
}

/// Whether exchanges leave a line in the access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Logged {
    #[default]
    Yes,
    No,
}

// === impl SiteSpec ===

impl SiteSpec {
    /// The name that logs and errors use; no two sites have the same.
    pub fn name(&self) -> &Arc<str> {
        &self.chain.site
    }
}
