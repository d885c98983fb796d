//! Whether a policy may run now: its breaker and its site's budget are asked before, and told after.
//!
//! Decisions that are kept never come here: they are answered whatever is open or spent. Nor do runs of an operator, which
//! explain or compare.
use crate::{
    Fault, Health, LastFailure,
    breaker::{Breaker, Change, Ending, Leave, Network, Refusal},
    budget::{Account, Spent},
    complaints::{Complaint, Complaints},
    failure::Failure,
    policy::Policy,
    questions::Circumstances,
    running::Meter,
};
use http::StatusCode;
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::SemaphorePermit;

/// Failures that are written in full, of each while.
const FAILURES: u32 = 10;
/// Requests that were refused without a run: the breaker's own lines say more.
const REFUSALS: u32 = 1;

/// What one policy has to remember of its runs.
pub(crate) struct Gate {
    breaker: Mutex<Breaker>,
    /// The breaker has nothing to remember. Nearly always, so that runs need no lock.
    calm: AtomicBool,
    failures: Mutex<Complaints>,
    refusals: Mutex<Complaints>,
    last_failure: Mutex<Option<LastFailure>>,
}

/// A run that was let in. Dropping it ends the run.
pub(crate) struct Admission<'a> {
    policy: &'a Policy,
    account: &'a Account,
    pub meter: Meter,
    leave: Leave,
    client: Network,
    /// When anyone asks what it used.
    begun: Option<Instant>,
    ending: Option<Ending>,
    _call: SemaphorePermit<'a>,
}

/// Why a policy was not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Breaker(Refusal),
    Budget(Spent),
}

// === impl Gate ===

impl Gate {
    pub fn new(now: Instant) -> Self {
        Self {
            breaker: Mutex::new(Breaker::new(now)),
            calm: AtomicBool::new(true),
            failures: Mutex::new(Complaints::new(FAILURES)),
            refusals: Mutex::new(Complaints::new(REFUSALS)),
            last_failure: Mutex::new(None),
        }
    }

    pub fn health(&self) -> Health {
        let breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let (breaker, kept_out) = breaker.state(Instant::now());
        let last_failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        Health {
            breaker,
            kept_out,
            last_failure: last_failure.clone(),
        }
    }

    fn admit(&self, client: Network) -> (Result<Leave, Refusal>, Option<Change>) {
        if self.calm.load(Relaxed) {
            return (Ok(Leave::Run), None);
        }
        let now = Instant::now();
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if breaker.is_calm(now) {
            self.calm.store(true, Relaxed);
            return (Ok(Leave::Run), None);
        }
        breaker.admit(client, now)
    }

    fn ended(&self, leave: Leave, client: Network, ending: Ending) -> Option<Change> {
        if ending != Ending::Burnt && self.calm.load(Relaxed) {
            return None;
        }
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if ending == Ending::Burnt {
            self.calm.store(false, Relaxed);
        }
        breaker.ended(leave, client, ending, Instant::now())
    }
}

// === impl Admission ===

impl Admission<'_> {
    /// The run has come to its end.
    pub fn ended<T>(mut self, outcome: &Result<T, Failure>) {
        self.ending = Some(match outcome {
            Ok(_) => Ending::Well,
            Err(_) if self.meter.burnt() => Ending::Burnt,
            // It waited in vain, and says nothing of what it would have used.
            Err(Failure::Busy | Failure::TooSlow(_) | Failure::Lost) => Ending::Unknown,
            Err(_) => Ending::Well,
        });
    }
}

impl Drop for Admission<'_> {
    fn drop(&mut self) {
        // Whoever leaves before the end has burnt as much.
        let ending = self.ending.unwrap_or(match self.meter.burnt() {
            true => Ending::Burnt,
            false => Ending::Unknown,
        });
        if ending == Ending::Burnt {
            self.policy.counters.burnt();
        }
        if let Some(begun) = self.begun {
            self.account.charge(self.meter.used(begun));
        }
        if let Some(change) = self.policy.gate.ended(self.leave, self.client, ending) {
            self.policy.tell_of(change);
        }
    }
}

// === impl Refused ===

impl Refused {
    fn fault(self) -> Fault {
        let again = match self {
            Self::Breaker(refusal) => refusal.again(),
            Self::Budget(Spent::Processor { again }) => again,
            Self::Budget(Spent::Calls) => Duration::from_secs(1),
        };
        Fault {
            status: StatusCode::SERVICE_UNAVAILABLE,
            retry_after: Some(again),
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::Breaker(Refusal::Open { .. }) => "its breaker is open: its runs burnt their time",
            Self::Breaker(Refusal::Client { .. }) => "runs for this client burnt their time",
            Self::Budget(Spent::Calls) => "the site has too many calls under way: budget `concurrent`",
            Self::Budget(Spent::Processor { .. }) => "the site has used up its processor time: budget `processor`",
        }
    }
}

// === impl Policy ===

impl Policy {
    /// Lets a run begin, or says why not.
    pub async fn admit<'a>(
        &'a self,
        account: &'a Account,
        circumstances: &Circumstances,
    ) -> Result<Admission<'a>, Refused> {
        let call = account.begin().await.map_err(Refused::Budget)?;
        let client = Network::of(circumstances.request.client);
        let (leave, change) = self.gate.admit(client);
        if let Some(change) = change {
            self.tell_of(change);
        }
        Ok(Admission {
            policy: self,
            account,
            meter: self.meter(),
            leave: leave.map_err(Refused::Breaker)?,
            client,
            begun: account.counts_time().then(Instant::now),
            ending: None,
            _call: call,
        })
    }

    /// Counts a refusal, writes it to the log, and makes the fault that the client sees.
    pub fn refuse(self: &Arc<Self>, refused: Refused, circumstances: &Circumstances) -> Fault {
        match refused {
            Refused::Breaker(Refusal::Open { .. }) => self.counters.refused(),
            Refused::Breaker(Refusal::Client { .. }) => self.counters.throttled(),
            Refused::Budget(_) => self.counters.over_budget(),
        }
        let fault = refused.fault();
        if self.may_complain(|gate| &gate.refusals, "requests were refused without a run of a policy") {
            tracing::warn!(
                policy = %self.spec.name,
                digest = %self.digest(),
                site = %self.site,
                status = fault.status.as_u16(),
                path = %circumstances.request.path,
                client = circumstances.request.client.map(tracing::field::display),
                reason = refused.reason(),
                "a policy is not run"
            );
        }
        fault
    }

    /// Writes the one log line of a failure, unless there were many, and makes the fault that the client sees.
    pub fn report(self: &Arc<Self>, failure: &Failure, circumstances: &Circumstances) -> Fault {
        let fault = failure.fault();
        let last = LastFailure::now(failure.to_string());
        *self.gate.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
        if self.may_complain(|gate| &gate.failures, "a policy failed more often than is written") {
            tracing::error!(
                policy = %self.spec.name,
                digest = %self.digest(),
                site = %self.site,
                status = fault.status.as_u16(),
                path = %circumstances.request.path,
                // As strings, which the log quotes: what a guest says makes neither lines nor fields of its own.
                reason = failure.to_string(),
                backtrace = failure.place(),
                "a policy failed"
            );
        }
        fault
    }

    /// Whether to write one more line of a kind. When not, a line says later how many there were.
    fn may_complain(self: &Arc<Self>, kind: fn(&Gate) -> &Mutex<Complaints>, summary: &'static str) -> bool {
        let sum = move |policy: &Self| kind(&policy.gate).lock().unwrap_or_else(PoisonError::into_inner).sum();
        let next = kind(&self.gate)
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next(Instant::now());
        if let Complaint::LeaveOutAndSum { after } = next {
            let policy = Arc::downgrade(self);
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                if let Some(policy) = policy.upgrade() {
                    let count = sum(&policy);
                    tracing::warn!(policy = %policy.spec.name, digest = %policy.digest(), site = %policy.site, count, "{summary}");
                }
            });
        }
        next == Complaint::Write
    }

    fn tell_of(&self, change: Change) {
        let (policy, site, digest) = (self.spec.name.as_str(), &*self.site, self.digest());
        match change {
            Change::Opened { rest } => {
                self.counters.opened();
                let seconds = rest.as_secs();
                tracing::error!(
                    policy,
                    site,
                    digest,
                    breaker = "open",
                    seconds,
                    "a policy burns its time for many clients: for a while only its kept decisions are answered"
                );
            }
            Change::HalfOpened => {
                tracing::warn!(policy, site, digest, breaker = "half-open", "a policy is tried again");
            }
            Change::Closed => {
                tracing::info!(policy, site, digest, breaker = "closed", "a policy is run again");
            }
        }
    }
}
