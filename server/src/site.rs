//! A site: what is decided about its requests, and its files.

use crate::{
    limits::{Account, SiteBudget},
    net::tls::TlsFiles,
    observe::Meter,
    sites::HostPattern,
};
use std::sync::Arc;
use wasmserve_files::{Files, FilesOptions};
use wasmserve_policy::{Chain, ChainSpec, HeaderRules};

/// What answers the requests for some hosts: loaded, checked and ready.
pub struct Site {
    pub name: Arc<str>,
    pub chain: Arc<Chain>,
    pub files: Arc<Files>,
    /// What it uses of the server, against its budget.
    pub account: Arc<Account>,
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
    pub budget: SiteBudget,
    pub headers: SiteHeaders,
    pub logged: Logged,
}

/// Header fields of every answer of a site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SiteHeaders {
    /// Before the chain's: those of a tenant.
    pub first: HeaderRules,
    /// After the chain's: those of the operator.
    pub last: HeaderRules,
}

// === impl SiteHeaders ===

impl SiteHeaders {
    pub fn of_operator(last: HeaderRules) -> Self {
        Self {
            first: HeaderRules::default(),
            last,
        }
    }
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
