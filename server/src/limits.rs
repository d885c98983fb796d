//! What sites and clients may use of the server: so that one is not felt by the others.
//!
//! In the order of events: a connection is counted as its client's ([`clients`]) before anything of it is read; each of its
//! requests is counted as its client's, then as its site's ([`account`]), before any policy is asked; the content of its
//! answer waits for the site's turn on the line ([`line`]). All of it outlives reloads: only the budgets are replaced.
//! How much processor time and how many calls policies may use is the business of the crate `policy`.

pub mod account;
pub mod clients;
pub mod line;
pub mod rate;
pub mod visitor;

pub use account::{Account, Admitted, SiteBudget, Spent};
pub use clients::{ClientBudget, Counted};
pub use rate::{Bucket, Rate};
pub use visitor::{Over, Visitor};

use clients::Clients;
use http::request::Parts;
use line::Line;
use std::{
    collections::HashMap,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use wasmserve_policy::Crowd;

/// What all sites and clients of a process use.
#[derive(Debug, Default)]
pub struct Limits {
    pub clients: Clients,
    line: Arc<Line>,
    accounts: Mutex<HashMap<Arc<str>, Weak<Account>>>,
    pub(crate) head: HeadLimits,
    /// Who shares the processors.
    pub crowd: Arc<Crowd>,
}

/// What a request's head may have, beside the bytes that the HTTP library counts.
#[derive(Debug)]
pub(crate) struct HeadLimits {
    target: AtomicUsize,
    fields: AtomicUsize,
}

/// Bytes of a request's target, and header fields, unless said otherwise.
pub const TARGET_SIZE: usize = 8 * 1024;
pub const HEADER_FIELDS: usize = 100;

// === impl Limits ===

impl Limits {
    /// What holds for the whole server from now on.
    pub fn set(&self, bandwidth: Option<NonZeroU64>, client: ClientBudget) {
        self.line.set_rate(bandwidth);
        self.clients.set_budget(client);
    }

    /// The longest target and the most header fields of requests from now on.
    pub fn set_head(&self, target: usize, fields: usize) {
        self.head.target.store(target, Relaxed);
        self.head.fields.store(fields, Relaxed);
    }

    /// The account of a site: the same one as long as anybody has it. A new one has this budget; one that is in use keeps
    /// its own until whoever asks for it serves ([`Account::set_budget`]).
    pub fn account(&self, name: &Arc<str>, budget: &SiteBudget) -> Arc<Account> {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = accounts.get(name).and_then(Weak::upgrade) {
            return known;
        }
        if accounts.len() == accounts.capacity() {
            accounts.retain(|_, account| account.strong_count() > 0);
        }
        let account = Account::new(name.clone(), self.line.clone(), budget.clone());
        accounts.insert(name.clone(), Arc::downgrade(&account));
        account
    }
}

// === impl HeadLimits ===

impl Default for HeadLimits {
    fn default() -> Self {
        Self {
            target: AtomicUsize::new(TARGET_SIZE),
            fields: AtomicUsize::new(HEADER_FIELDS),
        }
    }
}

impl HeadLimits {
    /// # Errors
    /// When the target is too long, or there are too many fields.
    pub fn check(&self, head: &Parts) -> Result<(), Over> {
        let target = head.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.target.load(Relaxed) {
            return Err(Over::Target);
        }
        match head.headers.len() > self.fields.load(Relaxed) {
            true => Err(Over::Fields),
            false => Ok(()),
        }
    }
}
