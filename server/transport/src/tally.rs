//! What became of a body: how many of its bytes were handed to the kernel, and how it ended.
//!
//! An HTTP library drops a body when it has taken the last chunk, long before that chunk is written. So the record is
//! shared by the body and its chunks, and the report is made when the last of them is gone: once, however it ended.
use crate::ledger::{Fault, Ledger};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::Waker,
};

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of it was handed over.
    Completed,
    /// The connection or stream went away first: the client left, or the server stopped.
    Aborted,
    /// This side could not go on.
    Failed(Fault),
}

/// The end of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Content bytes handed on: to the kernel on a connection of this crate without TLS, else to TLS or HTTP/2.
    pub sent: u64,
    pub ended: Ended,
}

pub(crate) type Report = Box<dyn FnOnce(Summary) + Send>;

#[derive(Default)]
pub(crate) struct Tally {
    /// Bytes in chunks that the HTTP library took; of these, those that were handed on and those that were lost.
    handed: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
    /// The body gave its last byte.
    exhausted: AtomicBool,
    slow: Mutex<Slow>,
}

/// Reads how far a body is, while it is in an HTTP library's hands; does not keep it alive.
#[derive(Clone, Debug)]
pub struct Meter(Weak<Tally>);

impl Meter {
    pub(crate) fn of(tally: &Arc<Tally>) -> Self {
        Self(Arc::downgrade(tally))
    }

    /// Bytes that were handed on; `None` when the body has ended.
    pub fn sent(&self) -> Option<u64> {
        Some(self.0.upgrade()?.sent.load(Relaxed))
    }
}

/// What is touched once per body, or only by paced bodies.
#[derive(Default)]
struct Slow {
    failure: Option<Fault>,
    report: Option<Report>,
    ledger: Option<Arc<Ledger>>,
    /// Who waits for the bytes in flight to come down to how many.
    waiting: Option<(u64, Waker)>,
}

impl Tally {
    /// The faults of `ledger` are those of this body too.
    pub fn new(ledger: Option<Arc<Ledger>>) -> Self {
        let tally = Self::default();
        tally.slow().ledger = ledger;
        tally
    }

    pub fn set_report(&self, report: Report) {
        self.slow().report = Some(report);
    }

    pub fn hand(&self, count: u64) {
        self.handed.fetch_add(count, Relaxed);
    }

    pub fn exhaust(&self) {
        self.exhausted.store(true, Relaxed);
    }

    pub fn fail(&self, fault: Fault) {
        self.slow().failure.get_or_insert(fault);
    }

    /// `count` bytes were handed on.
    pub fn advance(&self, count: u64) {
        self.sent.fetch_add(count, Relaxed);
        self.wake();
    }

    /// `count` bytes were let go of without that.
    pub fn lose(&self, count: u64) {
        self.lost.fetch_add(count, Relaxed);
        self.wake();
    }

    fn wake(&self) {
        let mut slow = self.slow();
        if let Some((limit, waker)) = slow.waiting.take() {
            if self.in_flight() <= limit {
                waker.wake();
            } else {
                slow.waiting = Some((limit, waker));
            }
        }
    }

    /// Bytes that the HTTP library has and did not let go of.
    fn in_flight(&self) -> u64 {
        self.handed.load(Relaxed) - self.sent.load(Relaxed) - self.lost.load(Relaxed)
    }

    /// Whether at most `limit` bytes are in flight; else `waker` is woken when that is so.
    pub fn is_flushed_to(&self, limit: u64, waker: &Waker) -> bool {
        let mut slow = self.slow();
        let flushed = self.in_flight() <= limit;
        slow.waiting = (!flushed).then(|| (limit, waker.clone()));
        flushed
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        let slow = self.slow.get_mut().unwrap_or_else(PoisonError::into_inner);
        let Some(report) = slow.report.take() else { return };
        let sent = self.sent.load(Relaxed);
        let failure = slow
            .failure
            .or_else(|| slow.ledger.as_ref().and_then(|ledger| ledger.fault()));
        let ended = if self.exhausted.load(Relaxed) && sent == self.handed.load(Relaxed) {
            Ended::Completed
        } else {
            failure.map_or(Ended::Aborted, Ended::Failed)
        };
        report(Summary { sent, ended });
    }
}

impl fmt::Debug for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tally")
            .field("handed", &self.handed)
            .field("sent", &self.sent)
            .field("exhausted", &self.exhausted)
            .finish_non_exhaustive()
    }
}
