//! What policies did, by their names, of all sites and generations together.
//!
//! A chain counts from nothing when it is loaded. What those did that serve no more is kept here, so that what is told of a
//! policy never becomes less: whoever computes rates of it would take that for a restart.

use crate::{
    observe::meter::{OTHERS, SITES},
    site::Site,
    sites::Sites,
};
use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};
use wasmserve_policy::Counts;

/// A site's and a policy's name.
pub type Name = (Arc<str>, String);

/// Of policies that serve no more.
#[derive(Default)]
pub struct Retired(Mutex<BTreeMap<Name, Counts>>);

// === impl Retired ===

impl Retired {
    /// Takes over what the chains did that another generation has no more.
    pub fn retire(&self, before: &Sites, now: &Sites) {
        let kept: HashSet<_> = now.iter().map(|site| Arc::as_ptr(&site.chain)).collect();
        let gone = before.iter().filter(|site| !kept.contains(&Arc::as_ptr(&site.chain)));
        for site in gone {
            self.retire_site(site);
        }
    }

    /// Takes over what the chain of one site did.
    pub fn retire_site(&self, site: &Site) {
        let mut retired = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, counts) in of_site(site) {
            let name = match retired.contains_key(&name) || retired.len() < SITES {
                true => name,
                false => (OTHERS.into(), OTHERS.into()),
            };
            retired.entry(name).or_default().add(&counts);
        }
    }

    /// Everything, with what the chains did that serve now.
    pub fn with(&self, sites: &Sites) -> BTreeMap<Name, Counts> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, counts) in sites.iter().flat_map(|site| of_site(site)) {
            all.entry(name).or_default().add(&counts);
        }
        all
    }
}

fn of_site(site: &Site) -> impl Iterator<Item = (Name, Counts)> {
    let policies = site.chain.policies().into_iter().zip(site.chain.counts());
    policies.map(|(policy, counts)| ((site.name.clone(), policy.name), counts))
}
