//! All sites of a process in one generation: which of them a host belongs to.
//!
//! In the order of events: [`hosts`] (whose a host is), [`load`] (from a configuration to sites that are ready; what did
//! not change is taken over from the generation before). A generation is never changed: a reload makes the next one, and
//! requests that are under way end on theirs.

pub mod hosts;
pub mod load;

pub use hosts::{HostPattern, Hosts};
pub use load::{LoadErrors, Loader, SiteError};

use crate::site::Site;
use std::{collections::HashSet, sync::Arc};

/// The sites of one generation.
pub struct Sites {
    /// Counts the generations that served, from 1.
    pub generation: u64,
    pub unknown_host: UnknownHost,
    /// In the order of the configuration.
    sites: Vec<Arc<Site>>,
    hosts: Hosts<Arc<Site>>,
    observed: bool,
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
        }
    }

    /// Whether any of them has observers.
    pub fn are_observed(&self) -> bool {
        self.observed
    }

    /// The site of a host, in the form that [`crate::request::Host`] gives it; empty: of a request that names none.
    pub fn of_host(&self, host: &str) -> Option<&Arc<Site>> {
        self.hosts.find(host)
    }

    /// All of them, in the order of the configuration.
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
