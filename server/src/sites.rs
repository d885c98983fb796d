//! All sites of a process in one generation: which of them a host belongs to.
//!
//! In the order of events: [`hosts`] (whose a host is), [`tenants`] (sites that are loaded when they are asked for), [`load`] (from a configuration to sites that are ready; what did
//! not change is taken over from the generation before). A generation is never changed: a reload makes the next one, and
//! requests that are under way end on theirs.

pub mod hosts;
pub mod load;
pub mod tenants;

pub use hosts::{HostPattern, Hosts};
pub use load::{LoadErrors, Loader, SiteError};
pub use tenants::{Tenants, Unready};

use crate::{net::tls::TlsFiles, site::Site};
use std::{collections::HashSet, sync::Arc};

/// The sites of one generation.
pub struct Sites {
    /// Counts the generations that served, from 1.
    pub generation: u64,
    pub unknown_host: UnknownHost,
    /// In the order of the configuration.
    sites: Vec<Arc<Site>>,
    hosts: Hosts<Arc<Site>>,
    tenants: Option<Arc<Tenants>>,
    observed: bool,
}

/// Why a request has no site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoSite {
    /// The host is nobody's.
    Unknown(UnknownHost),
    /// It is a tenant's, who cannot be served now.
    Unready(Unready),
}

/// The answer to a request for a host that is no site's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnknownHost {
    /// 421 (RFC 9110, section 15.5.20): this server has nothing to say for that name.
    #[default]
    Misdirected,
    /// 404.
    NotFound,
    /// None: the connection ends.
    Close,
}

// === impl Sites ===

impl Sites {
    pub fn new(generation: u64, unknown_host: UnknownHost, sites: Vec<Arc<Site>>) -> Self {
        let mut hosts = Hosts::default();
        for site in &sites {
            for pattern in &site.spec.hosts {
                hosts.insert(pattern.clone(), site.clone());
            }
        }
        Self {
            generation,
            unknown_host,
            observed: sites.iter().any(|site| !site.chain.observers().is_empty()),
            sites,
            hosts,
            tenants: None,
        }
    }

    /// The same, with tenants beside them.
    #[must_use]
    pub fn with_tenants(self, tenants: Option<Arc<Tenants>>) -> Self {
        let observe = |tenants: &Arc<Tenants>| tenants.ring().is_some_and(|ring| !ring.observers().is_empty());
        Self {
            observed: self.observed || tenants.as_ref().is_some_and(observe),
            tenants,
            ..self
        }
    }

    pub fn tenants(&self) -> Option<&Arc<Tenants>> {
        self.tenants.as_ref()
    }

    /// Whether any of them has observers.
    pub fn are_observed(&self) -> bool {
        self.observed
    }

    /// The site of a host, in the form that [`crate::request::Host`] gives it; empty: of a request that names none. A
    /// tenant is as exact a name as that of a site, which goes before it; wildcards come after both.
    ///
    /// # Errors
    /// When the host is nobody's, or a tenant's that cannot be served now.
    pub async fn of_host(&self, host: &str) -> Result<Arc<Site>, NoSite> {
        match self.of_host_known(host) {
            Some(known) => known,
            // On the heap: a tenant that is in use is ready but once a second.
            None => Box::pin(self.of_tenant(host)).await,
        }
    }

    /// As [`Sites::of_host`], when nothing has to be waited for; `None`: a tenant's folder may have to be looked for.
    pub fn of_host_known(&self, host: &str) -> Option<Result<Arc<Site>, NoSite>> {
        if let Some(tenants) = &self.tenants
            && !host.is_empty()
            && self.hosts.find_exact(host).is_none()
        {
            return tenants.ready(host).map(Ok);
        }
        Some(self.of_configured(host))
    }

    async fn of_tenant(&self, host: &str) -> Result<Arc<Site>, NoSite> {
        if let Some(tenants) = &self.tenants
            && let Some(site) = tenants.find(host).await.map_err(NoSite::Unready)?
        {
            return Ok(site);
        }
        self.of_configured(host)
    }

    fn of_configured(&self, host: &str) -> Result<Arc<Site>, NoSite> {
        let site = self.hosts.find(host).ok_or(NoSite::Unknown(self.unknown_host))?;
        Ok(site.clone())
    }

    /// The certificate that a host is asked for with; `None`: the server's. A tenant has one of its own where they are
    /// ordered, otherwise that of the site whose wildcard covers its host.
    pub fn tls_of(&self, host: &str) -> Option<&Arc<TlsFiles>> {
        if let Some(tenants) = &self.tenants
            && let Some(files) = &tenants.rules().tls
            && self.hosts.find_exact(host).is_none()
            && tenants.last_knew(host)
        {
            return Some(files);
        }
        self.hosts.find(host)?.spec.tls.as_ref()
    }

    /// Whether a host is that of a tenant for whom certificates are ordered.
    pub async fn has_tenant(&self, host: &str) -> bool {
        match &self.tenants {
            Some(tenants) if tenants.rules().tls.is_some() && self.hosts.find_exact(host).is_none() => {
                tenants.may_be_there(host).await
            }
            _ => false,
        }
    }

    /// The site that a host is certainly of, without loading or looking at anything. A tenant that is not ready has none:
    /// what is asked of it is nothing for the site whose wildcard covers its host.
    pub fn certainly_of(&self, host: &str) -> Option<Arc<Site>> {
        if let Some(tenants) = &self.tenants
            && !host.is_empty()
            && self.hosts.find_exact(host).is_none()
        {
            if let Some(site) = tenants.ready(host) {
                return Some(site);
            }
            if !tenants.certainly_lacks(host) {
                return None;
            }
        }
        self.hosts.find(host).cloned()
    }

    /// What each site may use from now on, when this generation is the one that serves. Tenants see to it themselves.
    pub fn apply_budgets(&self) {
        for site in &self.sites {
            site.account.set_budget(&site.spec.budget);
        }
    }

    /// All that are loaded, tenants last.
    pub fn all(&self) -> Vec<Arc<Site>> {
        let mut all = self.sites.clone();
        all.extend(self.tenants.iter().flat_map(|tenants| tenants.loaded()));
        all
    }

    /// Those that are loaded all the time, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Site>> {
        self.sites.iter()
    }

    /// How many of them another generation has too, with the same chain, kept decisions and files.
    pub fn shared_with(&self, other: &Self) -> usize {
        let others: HashSet<*const Site> = other.sites.iter().map(Arc::as_ptr).collect();
        self.sites
            .iter()
            .filter(|site| others.contains(&Arc::as_ptr(site)))
            .count()
    }

    pub fn len(&self) -> usize {
        self.sites.len()
    }

    pub fn is_empty(&self) -> bool {
        self.sites.is_empty()
    }
}
