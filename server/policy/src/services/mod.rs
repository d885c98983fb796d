//! Services that policies and observers may import when the operator grants them: key-value pairs, token buckets, outbound
//! requests.
//!
//! What they keep belongs to a site: never shared with another one, kept when the site's chain is loaded anew, forgotten
//! with the process. In the order of a call: `calls` (the imports, as the guest calls them), `backend` (the seam behind
//! which another machine could stand), `embedded` (this process's memory: `pairs` and `tokens`); `http`.
//!
//! Nothing that came from a service can be asked again, so no decision that used one is kept. While a guest is configured
//! there are no services: what they said would be the same in every decision.
mod backend;
mod calls;
mod embedded;
mod http;
mod pairs;
mod tokens;

pub use backend::Bucket;
pub(crate) use http::Outbound;
pub use http::{HttpGrant, Origin, OriginHost};

use crate::{Grants, KeyValueGrant};
use backend::Backend;
use embedded::Embedded;
use http::HttpClient;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::Semaphore;

/// What the services of one site may hold, whatever its policies are granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceBudget {
    /// Bytes of key-value pairs, with what it takes to keep them.
    pub pair_bytes: usize,
    /// Key-value pairs. Expired ones and the least recently used ones go first.
    pub pairs: usize,
    /// Token buckets that are not full. Full ones are forgotten; when there are as many that are not, `take` fails.
    pub token_buckets: usize,
    /// Outbound requests under way at once.
    pub requests: usize,
}

impl Default for ServiceBudget {
    fn default() -> Self {
        Self {
            pair_bytes: 16 << 20,
            pairs: 100_000,
            token_buckets: 100_000,
            requests: 32,
        }
    }
}

/// What one policy or observer finds when it calls its services.
pub(crate) struct Services {
    /// The name of the policy: buckets of its own go by it.
    pub policy: Arc<str>,
    pub key_value: Option<KeyValueGrant>,
    http: Option<Arc<HttpClient>>,
    site: Arc<SiteServices>,
}

impl Services {
    /// What is granted to a policy whose calls end after `wall`. The error is one line for the operator.
    pub fn new(policy: &str, grants: &Grants, wall: Duration, site: Arc<SiteServices>) -> Result<Arc<Self>, String> {
        let http = grants.http.as_ref();
        let http = http
            .map(|grant| HttpClient::new(grant, wall, site.clone()))
            .transpose()?;
        Ok(Arc::new(Self {
            policy: policy.into(),
            key_value: grants.key_value.clone(),
            http,
            site,
        }))
    }

    /// Whether the files that it was made from hold what they held.
    pub fn is_current(&self) -> bool {
        self.http.as_ref().is_none_or(|http| http.is_current())
    }

    /// The outbound requests of one call.
    pub fn outbound(&self) -> Outbound {
        Outbound::new(self.http.clone())
    }

    fn backend(&self) -> &dyn Backend {
        &self.site.embedded
    }
}

/// What the services of one site hold.
pub(crate) struct SiteServices {
    embedded: Embedded,
    /// Outbound requests that may be under way, and a turn for each.
    turns: Mutex<(usize, Arc<Semaphore>)>,
}

impl SiteServices {
    fn new(budget: &ServiceBudget) -> Self {
        Self {
            embedded: Embedded::new(budget),
            turns: Mutex::new((budget.requests, Arc::new(Semaphore::new(budget.requests)))),
        }
    }

    /// From now on, no more than this.
    pub fn limit(&self, budget: &ServiceBudget) {
        self.embedded.limit(budget);
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.0 != budget.requests {
            *turns = (budget.requests, Arc::new(Semaphore::new(budget.requests)));
        }
    }

    fn turns(&self) -> Arc<Semaphore> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// The sites of a process, by name.
#[derive(Default)]
pub(crate) struct Sites(Mutex<HashMap<Arc<str>, Weak<SiteServices>>>);

impl Sites {
    /// What the services of a site hold: the same for as long as anything that is loaded for the site lives. `budget` is
    /// for a site that has none yet: one that is served keeps its own until what is loaded takes its place.
    pub fn of(&self, site: &Arc<str>, budget: &ServiceBudget) -> Arc<SiteServices> {
        let mut sites = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(services) = sites.get(site).and_then(Weak::upgrade) {
            return services;
        }
        // Now and then, what no site uses any more is swept out.
        if sites.len() == sites.capacity() {
            sites.retain(|_, services| services.strong_count() > 0);
        }
        let services = Arc::new(SiteServices::new(budget));
        sites.insert(site.clone(), Arc::downgrade(&services));
        services
    }
}
