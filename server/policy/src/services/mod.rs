//! Services that policies and observers may import when the operator grants them: key-value pairs, token buckets, outbound
//! requests.
//!
//! What they keep belongs to a site: never shared with another one, kept when the site's chain is loaded anew. `calls` are
//! the imports, as the guest calls them; what stands behind those of pairs and token buckets, this process's memory or a
//! Redis, is in the crate `wasmserve-shared`; `http` are outbound requests.
//!
//! Nothing that came from a service can be asked again, so no decision that used one is kept. While a guest is configured
//! there are no services: what they said would be the same in every decision.
mod calls;
mod http;

pub(crate) use http::Outbound;
pub use http::{HttpGrant, Origin, OriginHost};

use crate::{Grants, KeyValueGrant, budget::Processors};
use http::HttpClient;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::Semaphore;
use wasmserve_shared::{Backend, Bounds, Embedded, RedisOptions, RedisSite, redis::redises};

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
    /// Where pairs and token buckets are kept. `None`: in this process's memory.
    pub redis: Option<Arc<RedisOptions>>,
}

/// Whether sites keep what they share where they are told to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SharedState {
    #[default]
    AsConfigured,
    /// All of it in this process's memory: nothing that is tried here is felt by those who serve.
    InMemory,
}

impl Default for ServiceBudget {
    fn default() -> Self {
        Self {
            pair_bytes: 16 << 20,
            pairs: 100_000,
            token_buckets: 100_000,
            requests: 32,
            redis: None,
        }
    }
}

impl ServiceBudget {
    fn bounds(&self) -> Bounds {
        Bounds {
            pair_bytes: self.pair_bytes,
            pairs: self.pairs,
            token_buckets: self.token_buckets,
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
        match &self.site.kept {
            Kept::InMemory(embedded) => embedded,
            Kept::InRedis(site) => site,
        }
    }
}

/// What the services of one site hold.
pub(crate) struct SiteServices {
    kept: Kept,
    /// Outbound requests that may be under way, and a turn for each.
    turns: Mutex<(usize, Arc<Semaphore>)>,
}

/// Where pairs and token buckets are.
enum Kept {
    InMemory(Embedded),
    InRedis(RedisSite),
}

impl SiteServices {
    fn new(kept: Kept, requests: usize) -> Self {
        Self {
            kept,
            turns: Mutex::new((requests, Arc::new(Semaphore::new(requests)))),
        }
    }

    /// From now on, no more than this.
    pub fn limit(&self, budget: &ServiceBudget) {
        match &self.kept {
            Kept::InMemory(embedded) => embedded.limit(&budget.bounds()),
            Kept::InRedis(site) => site.limit(&budget.bounds()),
        }
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.0 != budget.requests {
            *turns = (budget.requests, Arc::new(Semaphore::new(budget.requests)));
        }
    }

    fn turns(&self) -> Arc<Semaphore> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

/// The sites of a process, by name and by where they keep what they share.
#[derive(Default)]
pub(crate) struct Sites {
    state: SharedState,
    known: Mutex<HashMap<Place, Weak<SiteServices>>>,
    /// What their plugins have left of it.
    pub processors: Processors,
}

type Place = (Arc<str>, Option<Arc<RedisOptions>>);

impl Sites {
    pub fn new(state: SharedState) -> Self {
        Self {
            state,
            ..Self::default()
        }
    }

    /// What the services of a site hold: the same for as long as anything that is loaded for the site lives. `budget` is
    /// for a site that has none yet: one that is served keeps its own until what is loaded takes its place.
    pub fn of(&self, site: &Arc<str>, budget: &ServiceBudget) -> Arc<SiteServices> {
        let redis = budget
            .redis
            .as_ref()
            .filter(|_| self.state == SharedState::AsConfigured);
        let place = (site.clone(), redis.cloned());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(services) = known.get(&place).and_then(Weak::upgrade) {
            return services;
        }
        // Now and then, what no site uses any more is swept out.
        if known.len() == known.capacity() {
            known.retain(|_, services| services.strong_count() > 0);
        }
        let kept = match redis {
            None => Kept::InMemory(Embedded::new(&budget.bounds())),
            Some(options) => Kept::InRedis(RedisSite::new(redises().of(options), site.clone(), &budget.bounds())),
        };
        let services = Arc::new(SiteServices::new(kept, budget.requests));
        known.insert(place, Arc::downgrade(&services));
        services
    }
}
