//! What one site may use at once and in a time, and what it uses.

use super::{
    clients::Counted,
    line::{Line, Seat, Turn},
    rate::{Bucket, Rate},
};
use std::{
    num::{NonZeroU32, NonZeroU64},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What one site may use. `None`: no limit.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteBudget {
    /// Connections whose last request was for the site.
    pub connections: Option<usize>,
    /// Requests under way, until the last byte of their answers is sent.
    pub requests: Option<usize>,
    /// Requests in a time.
    pub rate: Option<Rate>,
    /// Requests that may come at once.
    pub burst: Option<NonZeroU32>,
    /// Bytes of content a second.
    pub bandwidth: Option<NonZeroU64>,
    /// Its part of the server's `bandwidth` when that is used up, beside those of others.
    pub weight: NonZeroU32,
}

/// What a site uses. It outlives reloads under the name of the site.
#[derive(Debug)]
pub struct Account {
    name: Arc<str>,
    line: Arc<Line>,
    state: Mutex<State>,
    /// Whether anything of its budget has a limit: without, nothing is counted and no lock taken.
    limited: AtomicBool,
    connections: AtomicUsize,
    requests: AtomicUsize,
}

#[derive(Debug)]
struct State {
    budget: SiteBudget,
    bucket: Bucket,
    /// Its place on the line, once it needs one.
    seat: Option<Arc<Seat>>,
    /// Refusals that no line of the log told of yet, and when one did last.
    untold: u64,
    told: Option<Instant>,
}

/// Over budget: which one, and when it is worth trying again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spent {
    pub budget: &'static str,
    pub retry_after: Duration,
}

/// A request that is counted until this is dropped, with its answer's bandwidth.
#[derive(Debug, Default)]
pub struct Admitted {
    account: Option<Arc<Account>>,
    /// Its client's count of it.
    client: Option<Counted>,
}

/// A connection that is counted as a site's until this is dropped.
#[derive(Debug)]
pub struct Belonging(Arc<Account>);

/// When what others hold may have been given back.
const SOON: Duration = Duration::from_secs(1);

/// A site that is over its budget is told of so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

// === impl SiteBudget ===

impl Default for SiteBudget {
    fn default() -> Self {
        Self {
            connections: None,
            requests: None,
            rate: None,
            burst: None,
            bandwidth: None,
            weight: NonZeroU32::MIN,
        }
    }
}

impl SiteBudget {
    fn has_limit(&self) -> bool {
        self.connections.is_some() || self.requests.is_some() || self.rate.is_some() || self.bandwidth.is_some()
    }
}

// === impl Account ===

impl Account {
    pub fn new(name: Arc<str>, line: Arc<Line>, budget: SiteBudget) -> Arc<Self> {
        Arc::new(Self {
            name,
            line,
            limited: AtomicBool::new(budget.has_limit()),
            state: Mutex::new(State {
                budget,
                bucket: Bucket::new(Instant::now()),
                seat: None,
                untold: 0,
                told: None,
            }),
            connections: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
        })
    }

    /// What it may use from now on.
    pub fn set_budget(&self, budget: &SiteBudget) {
        let mut state = self.state();
        if let Some(seat) = &state.seat {
            seat.change(budget.weight, budget.bandwidth);
        }
        state.budget = budget.clone();
        self.limited.store(budget.has_limit(), Relaxed);
    }

    /// Whether there is anything to count.
    pub fn is_limited(&self) -> bool {
        self.limited.load(Relaxed) || self.line.is_limited()
    }

    /// Counts a request of a connection that belongs to it.
    ///
    /// # Errors
    /// When a budget is spent.
    pub fn begin(self: &Arc<Self>) -> Result<Admitted, Spent> {
        let mut state = self.state();
        if let Some(most) = state.budget.requests
            && self.requests.load(Relaxed) >= most
        {
            return Err(self.refuse(&mut state, "requests", SOON));
        }
        if let Some(rate) = state.budget.rate {
            let burst = state.budget.burst.unwrap_or_else(|| rate.usual_burst());
            if let Err(wait) = state.bucket.take(rate, burst, Instant::now()) {
                return Err(self.refuse(&mut state, "rate", wait));
            }
        }
        self.requests.fetch_add(1, Relaxed);
        Ok(Admitted {
            account: Some(self.clone()),
            client: None,
        })
    }

    /// Counts a connection.
    ///
    /// # Errors
    /// When the site has as many as it may have.
    pub fn connect(self: &Arc<Self>) -> Result<Belonging, Spent> {
        // Under the lock, so that two do not take the last one.
        let mut state = self.state();
        if let Some(most) = state.budget.connections
            && self.connections.load(Relaxed) >= most
        {
            return Err(self.refuse(&mut state, "connections", SOON));
        }
        self.connections.fetch_add(1, Relaxed);
        Ok(Belonging(self.clone()))
    }

    /// A part of its place on the line for one answer; `None`: there is nothing to wait for.
    fn turn(self: &Arc<Self>) -> Option<Turn> {
        let mut state = self.state();
        let (weight, bandwidth) = (state.budget.weight, state.budget.bandwidth);
        if bandwidth.is_none() && !self.line.is_limited() {
            return None;
        }
        let line = &self.line;
        let seat = state
            .seat
            .get_or_insert_with(|| Seat::new(line.clone(), weight, bandwidth));
        Some(Turn::new(seat.clone()))
    }

    fn refuse(&self, state: &mut State, budget: &'static str, retry_after: Duration) -> Spent {
        state.untold += 1;
        if state.told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            let refused = std::mem::take(&mut state.untold);
            state.told = Some(Instant::now());
            tracing::warn!(site = &*self.name, budget, refused, "a site is over its budget");
        }
        Spent { budget, retry_after }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Admitted ===

impl Admitted {
    /// The same, counted as its client's too.
    #[must_use]
    pub fn with(mut self, client: Option<Counted>) -> Self {
        self.client = client;
        self
    }

    /// What the answer's content has to wait for, if for anything.
    pub fn turn(&self) -> Option<Turn> {
        self.account.as_ref()?.turn()
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            account.requests.fetch_sub(1, Relaxed);
        }
    }
}

// === impl Belonging ===

impl Belonging {
    /// Whether it is to this site that the connection belongs.
    pub fn is_to(&self, account: &Arc<Account>) -> bool {
        Arc::ptr_eq(&self.0, account)
    }
}

impl Drop for Belonging {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(budget: SiteBudget) -> Arc<Account> {
        Account::new("a".into(), Arc::default(), budget)
    }

    #[test]
    fn what_is_under_way_is_counted_until_it_ends() {
        let account = account(SiteBudget {
            requests: Some(2),
            connections: Some(1),
            ..SiteBudget::default()
        });
        let first = account.begin().expect("the first");
        let _second = account.begin().expect("the second");
        let spent = account.begin().expect_err("a third");
        assert_eq!((spent.budget, spent.retry_after), ("requests", SOON));
        drop(first);
        assert!(account.begin().is_ok());
        let only = account.connect().expect("the first");
        assert_eq!(account.connect().expect_err("a second").budget, "connections");
        drop(only);
        assert!(account.connect().is_ok());
    }

    #[test]
    fn what_is_refused_for_another_reason_takes_nothing_of_the_rate() {
        let account = account(SiteBudget {
            requests: Some(1),
            rate: "1/h".parse().ok(),
            burst: NonZeroU32::new(2),
            ..SiteBudget::default()
        });
        let under_way = account.begin().expect("the first");
        (0..9).for_each(|_| assert_eq!(account.begin().expect_err("too many").budget, "requests"));
        drop(under_way);
        assert!(account.begin().is_ok(), "the second of the burst");
        let spent = account.begin().expect_err("a third");
        assert_eq!(spent.budget, "rate");
        assert!(spent.retry_after > Duration::from_secs(3500), "{spent:?}");
        account.set_budget(&SiteBudget::default());
        assert!(account.begin().is_ok(), "a reload lifts it");
    }

    #[test]
    fn only_who_is_limited_waits() {
        let free = account(SiteBudget::default());
        assert!(free.begin().expect("no limit").turn().is_none());
        free.set_budget(&SiteBudget {
            bandwidth: NonZeroU64::new(1000),
            ..SiteBudget::default()
        });
        assert!(free.begin().expect("no limit").turn().is_some());
    }
}
