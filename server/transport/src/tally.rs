//! What became of a body: how many of its bytes were handed to the kernel, and how it ended.
//!
//! An HTTP library drops a body when it has taken the last chunk, long before that chunk is written. So the record is
//! shared by the body and its chunks, and the report is made when the last of them is gone: once, however it ended.
use crate::ledger::{Fault, Ledger};
use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
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

/// Who is told of the end.
pub(crate) trait Report: Send + Sync {
    fn ended(&mut self, summary: Summary);
}

pub(crate) struct Tally<R: Report + ?Sized = dyn Report> {
    /// Bytes in chunks that the HTTP library took; of these, those that were handed on and those that were lost.
    handed: AtomicU64,
    sent: AtomicU64,
    lost: AtomicU64,
    /// The body gave its last byte.
    exhausted: AtomicBool,
    /// Whether anybody waits: where nobody does, no lock is taken.
    waits: AtomicBool,
    /// Its faults are those of this body too.
    ledger: Option<Arc<Ledger>>,
    slow: Mutex<Slow>,
    /// Last, so that what is told lies here and not in an allocation of its own.
    report: R,
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
    /// Somebody who asked to be told when the tally was there already.
    report: Option<Box<dyn FnOnce(Summary) + Send>>,
    /// Who waits for the bytes in flight to come down to how many.
    waiting: Option<(u64, Waker)>,
}

impl Report for () {
    fn ended(&mut self, _: Summary) {}
}

/// Called once. The lock is never taken: it lets what is told belong to one thread at a time.
impl<F: FnOnce(Summary) + Send> Report for Mutex<Option<F>> {
    fn ended(&mut self, summary: Summary) {
        if let Some(report) = self.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            report(summary);
        }
    }
}

impl Tally {
    /// The faults of `ledger` are those of this body too.
    pub fn new(ledger: Option<Arc<Ledger>>) -> Arc<Self> {
        Arc::new(Tally::with(ledger, ()))
    }

    /// As [`Tally::new`], and calls `report` at the end.
    pub fn reporting(ledger: Option<Arc<Ledger>>, report: impl FnOnce(Summary) + Send + 'static) -> Arc<Self> {
        Arc::new(Tally::with(ledger, Mutex::new(Some(report))))
    }

    /// To be told too.
    pub fn set_report(&self, report: Box<dyn FnOnce(Summary) + Send>) {
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
        self.sent.fetch_add(count, SeqCst);
        self.wake();
    }

    /// `count` bytes were let go of without that.
    pub fn lose(&self, count: u64) {
        self.lost.fetch_add(count, SeqCst);
        self.wake();
    }

    fn wake(&self) {
        // Either this sees that somebody waits, or who begins to wait sees what was counted just now: both do one before the
        // other, in an order that all threads agree on.
        if !self.waits.load(SeqCst) {
            return;
        }
        let mut slow = self.slow();
        if let Some((limit, waker)) = slow.waiting.take() {
            if self.in_flight() <= limit {
                self.waits.store(false, SeqCst);
                waker.wake();
            } else {
                slow.waiting = Some((limit, waker));
            }
        }
    }

    /// Bytes that the HTTP library has and did not let go of.
    fn in_flight(&self) -> u64 {
        self.handed.load(SeqCst) - self.sent.load(SeqCst) - self.lost.load(SeqCst)
    }

    /// Whether at most `limit` bytes are in flight; else `waker` is woken when that is so.
    pub fn is_flushed_to(&self, limit: u64, waker: &Waker) -> bool {
        let mut slow = self.slow();
        self.waits.store(true, SeqCst);
        let flushed = self.in_flight() <= limit;
        self.waits.store(!flushed, SeqCst);
        slow.waiting = (!flushed).then(|| (limit, waker.clone()));
        flushed
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: Report> Tally<R> {
    fn with(ledger: Option<Arc<Ledger>>, report: R) -> Self {
        Self {
            handed: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            exhausted: AtomicBool::new(false),
            waits: AtomicBool::new(false),
            ledger,
            slow: Mutex::default(),
            report,
        }
    }
}

impl<R: Report + ?Sized> Drop for Tally<R> {
    fn drop(&mut self) {
        let sent = *self.sent.get_mut();
        let slow = self.slow.get_mut().unwrap_or_else(PoisonError::into_inner);
        let failure = slow
            .failure
            .or_else(|| self.ledger.as_ref().and_then(|ledger| ledger.fault()));
        let ended = if *self.exhausted.get_mut() && sent == *self.handed.get_mut() {
            Ended::Completed
        } else {
            failure.map_or(Ended::Aborted, Ended::Failed)
        };
        let summary = Summary { sent, ended };
        let other = slow.report.take();
        self.report.ended(summary);
        if let Some(report) = other {
            report(summary);
        }
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
