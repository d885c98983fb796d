//! All sites of a process in one generation: which of them a host belongs to.
//!
//! In the order of events: [`hosts`] (whose a host is), [`load`] (from a configuration to sites that are ready; what did
//! not change is taken over from the generation before). A generation is never changed: a reload makes the next one, and
//! requests that are under way end on theirs.

pub mod hosts;
pub mod load;

pub use hosts::{HostPattern, Hosts};
pub use load::{LoadErrors, Loader, SiteError};

use crate::{
    request::{Scheme, Target},
    site::Site,
};
use futures_util::future::join_all;
use http::request::Parts;
use std::{collections::HashSet, sync::Arc, time::Duration};

/// The sites of one generation.
pub struct Sites {
    /// Counts the generations that served, from 1.
    pub generation: u64,
    pub unknown_host: UnknownHost,
    /// In the order of the configuration.
    sites: Vec<Arc<Site>>,
    hosts: Hosts<Arc<Site>>,
    /// Whether any of them has observers.
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
        let observed = sites.iter().any(|site| !site.chain.observers().is_empty());
        Self {
            generation,
            unknown_host,
            sites,
            hosts,
            observed,
        }
    }

    /// The site of a host, in the form that [`crate::request::Host`] gives it; empty: of a request that names none.
    pub fn of_host(&self, host: &str) -> Option<&Arc<Site>> {
        self.hosts.find(host)
    }

    /// The site that a request is for, if any site has observers: they are told of what is refused, too.
    pub fn observed(&self, head: &Parts, scheme: Scheme) -> Option<&Arc<Site>> {
        if !self.observed {
            return None;
        }
        match Target::of(head, scheme) {
            Ok(Target::Resource { host, .. }) => self.of_host(&host.name),
            Ok(Target::Server) | Err(_) => None,
        }
    }

    /// Waits until all observers were told what there was to tell, but no longer than `limit`.
    pub async fn drain_observers(&self, limit: Duration) {
        let observers = self.sites.iter().map(|site| site.chain.observers());
        let drained = observers.filter(|observers| !observers.is_empty());
        join_all(drained.map(|observers| observers.drain(limit))).await;
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
