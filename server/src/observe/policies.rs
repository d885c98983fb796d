//! What policies did, by their names, of all sites and generations together.
//!
//! A chain counts from nothing when it is loaded. What those did that serve no more is kept here, so that what is told of a
//! policy never becomes less: whoever computes rates of it would take that for a restart. That is so for the operator's ring
//! of tenants too, however many of them are loaded and forgotten.

use crate::{observe::meter::OTHERS, site::Site, sites::Sites};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};
use wasmserve_policy::Counts;

/// A site's and a policy's name.
pub type Name = (Arc<str>, String);

/// Of policies that serve no more.
#[derive(Debug, Default)]
pub struct Retired(Mutex<BTreeMap<Name, Counts>>);

// === impl Retired ===

impl Retired {
    /// Takes over what the chains did that another generation has no more. Before that one serves, so that nothing of it is
    /// missing for a moment.
    pub fn retire(&self, before: &Sites, now: &Sites) {
        let now = now.all();
        let kept: HashSet<_> = now.iter().map(|site| Arc::as_ptr(&site.chain)).collect();
        let before = before.all();
        for site in before.iter().filter(|site| !kept.contains(&Arc::as_ptr(&site.chain))) {
            self.retire_site(site);
        }
    }

    /// Takes over what the chain of one site did, once.
    pub fn retire_site(&self, site: &Site) {
        // Under the lock: whoever adds everything up finds a chain here or among those that serve, never in both.
        let mut retired = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if site.chain.retire() {
            add(&mut retired, site);
        }
    }

    /// Everything, with what the chains did that serve now, tenants' included.
    pub fn with(&self, sites: &Sites) -> BTreeMap<Name, Counts> {
        let retired = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = retired.clone();
        for site in sites.all().iter().filter(|site| !site.chain.is_retired()) {
            add(&mut all, site);
        }
        all
    }
}

/// Adds what the chain of a site did. A site goes by the name of its meter, which is bounded; a tenant's own policies, which
/// are called what tenants like, go by one name.
fn add(all: &mut BTreeMap<Name, Counts>, site: &Site) {
    for (at, (policy, counts)) in site.chain.names().zip(site.chain.counts()).enumerate() {
        let policy = match site.chain.is_tenants(at) {
            true => OTHERS,
            false => policy,
        };
        let name = (site.meter.site.clone(), policy.to_owned());
        all.entry(name).or_default().add(&counts);
    }
}
