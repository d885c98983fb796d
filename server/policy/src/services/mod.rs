//! Services that policies and observers may import when the operator grants them: key-value pairs and token buckets.
//!
//! What they keep belongs to a site: never shared with another one, kept when the site's chain is loaded anew, forgotten
//! with the process. In the order of a call: `calls` (the imports, as the guest calls them), `backend` (the seam behind
//! which another machine could stand), `embedded` (this process's memory: `pairs` and `tokens`).
//!
//! Nothing that came from a service can be asked again, so no decision that used one is kept. While a guest is configured
//! there are no services: what they said would be the same in every decision.
mod backend;
mod calls;
mod embedded;
mod pairs;
mod tokens;

pub use backend::Bucket;

use crate::grants::KeyValueGrant;
use backend::Backend;
use embedded::Embedded;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

/// What the services of one site may hold, whatever its policies are granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceBudget {
    /// Bytes of key-value pairs, with what it takes to keep them.
    pub pair_bytes: usize,
    /// Key-value pairs. Expired ones and the least recently used ones go first.
    pub pairs: usize,
    /// Token buckets that are not full. Full ones are forgotten; when there are as many that are not, `take` fails.
    pub token_buckets: usize,
}

impl Default for ServiceBudget {
    fn default() -> Self {
        Self {
            pair_bytes: 16 << 20,
            pairs: 100_000,
            token_buckets: 100_000,
        }
    }
}

/// What one policy or observer finds when it calls its services.
pub(crate) struct Services {
    /// The name of the policy: buckets of its own go by it.
    pub policy: Arc<str>,
    pub key_value: Option<KeyValueGrant>,
    site: Arc<SiteServices>,
}

impl Services {
    pub fn new(policy: &str, key_value: Option<KeyValueGrant>, site: Arc<SiteServices>) -> Arc<Self> {
        Arc::new(Self {
            policy: policy.into(),
            key_value,
            site,
        })
    }

    fn backend(&self) -> &dyn Backend {
        &self.site.embedded
    }
}

/// What the services of one site hold.
pub(crate) struct SiteServices {
    embedded: Embedded,
}

impl SiteServices {
    /// From now on, no more than this.
    pub fn limit(&self, budget: &ServiceBudget) {
        self.embedded.limit(budget);
    }
}

/// The sites of a process, by name.
#[derive(Default)]
pub(crate) struct Sites(Mutex<HashMap<Arc<str>, Weak<SiteServices>>>);

impl Sites {
    /// What the services of a site hold: the same for as long as anything that is loaded for the site lives.
    pub fn of(&self, site: &Arc<str>) -> Arc<SiteServices> {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(services) = sites.get(site).and_then(Weak::upgrade) {
            return services;
        }
        // Now and then, what no site uses any more is swept out.
        if sites.len() == sites.capacity() {
            sites.retain(|_, services| services.strong_count() > 0);
        }
        let services = Arc::new(SiteServices {
            embedded: Embedded::new(&ServiceBudget::default()),
        });
        sites.insert(site.clone(), Arc::downgrade(&services));
        services
    }
}
