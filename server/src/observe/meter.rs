//! What is counted of requests, connections and reloads: for metrics and the status page.
//!
//! One for the process, as the log is. A request adds to the counters of its thread, without a lock and without memory of
//! its own; whoever wants to know adds the threads up. A site's counters belong to its name, so that they outlive reloads;
//! the first [`SITES`] names have their own, all later ones share those of `(others)`: however many hosts come and go, the
//! room is bounded.

use super::policies::Retired;
use http::StatusCode;
use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};
use wasmserve_files::Striped;
use wasmserve_policy::Ending;

/// Sites with counters of their own: some 1 KiB each for every two processors.
pub const SITES: usize = 1000;

/// The site of requests for sites beyond the bound.
pub const OTHERS: &str = "(others)";

/// The site of requests that were none's: refused before they could be.
pub const NOBODY: &str = "(none)";

/// Upper bounds of the classes of a histogram, in microseconds. A further class has everything beyond.
pub const BOUNDS: [u64; 15] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    10_000_000,
];

const CLASSES: usize = BOUNDS.len() + 1;

/// Statuses by their hundreds; at 0: exchanges that got none.
pub const STATUSES: usize = 6;

/// Everything that is counted beside the log.
pub struct Meters {
    pub started: Instant,
    pub started_at: SystemTime,
    /// Requests whose head was read.
    begun: Striped<AtomicU64>,
    nobody: &'static Meter,
    others: &'static Meter,
    sites: Mutex<HashMap<Arc<str>, &'static Meter>>,
    pub connections: ConnectionCounters,
    pub reloads: ReloadCounters,
    /// Of policies that serve no more.
    pub retired: Retired,
    draining: AtomicBool,
}

/// The counters of one site.
pub struct Meter {
    pub site: Arc<str>,
    counts: Striped<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    statuses: [AtomicU64; STATUSES],
    aborted: AtomicU64,
    failed: AtomicU64,
    bytes: AtomicU64,
    head: Histogram,
    whole: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    classes: [AtomicU64; CLASSES],
    microseconds: AtomicU64,
}

/// One exchange that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Exchange {
    pub status: Option<StatusCode>,
    pub ending: Ending,
    /// Of body, handed to the connection.
    pub bytes: u64,
    /// From the first byte of the request to the head of its answer; `None`: there was none.
    pub head: Option<Duration>,
    /// To the end.
    pub whole: Duration,
}

/// What a site's counters came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub statuses: [u64; STATUSES],
    pub aborted: u64,
    pub failed: u64,
    pub bytes: u64,
    pub head: Times,
    pub whole: Times,
}

/// How long things took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many took so long: not cumulated.
    pub classes: [u64; CLASSES],
    pub microseconds: u64,
}

/// Connections and handshakes since the start.
#[derive(Debug, Default)]
pub struct ConnectionCounters {
    accepted: AtomicU64,
    ended: AtomicU64,
    handshakes: AtomicU64,
    handshakes_failed: AtomicU64,
    unaccepted: AtomicU64,
}

/// A connection that is open; dropping it counts its end.
#[derive(Debug)]
pub struct Open(());

/// Reloads since the start, and how the last one went.
#[derive(Debug, Default)]
pub struct ReloadCounters {
    done: AtomicU64,
    refused: AtomicU64,
    last: Mutex<Option<LastReload>>,
}

/// The last reload.
#[derive(Clone, Debug)]
pub struct LastReload {
    pub at: SystemTime,
    /// Why nothing changed; empty: it was done.
    pub errors: Vec<String>,
}

static METERS: LazyLock<Meters> = LazyLock::new(|| Meters {
    started: Instant::now(),
    started_at: SystemTime::now(),
    begun: Striped::default(),
    nobody: Meter::leak(NOBODY.into()),
    others: Meter::leak(OTHERS.into()),
    sites: Mutex::default(),
    connections: ConnectionCounters::default(),
    reloads: ReloadCounters::default(),
    retired: Retired::default(),
    draining: AtomicBool::new(false),
});

/// Those of this process.
pub fn meters() -> &'static Meters {
    &METERS
}

// === impl Meters ===

impl Meters {
    /// The counters of a site. To be asked when a site is loaded, not for every request.
    pub fn of_site(&self, name: &Arc<str>) -> &'static Meter {
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = sites.get(name) {
            return meter;
        }
        if sites.len() >= SITES {
            return self.others;
        }
        // Never given back, and bounded: so a request holds no count on it.
        let meter = Meter::leak(name.clone());
        sites.insert(name.clone(), meter);
        meter
    }

    /// The counters of requests that were refused before any site could be asked.
    pub fn nobody(&self) -> &'static Meter {
        self.nobody
    }

    /// All there are, those of no site first.
    pub fn all(&self) -> Vec<&'static Meter> {
        let sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = vec![self.nobody, self.others];
        all.extend(sites.values());
        all
    }

    /// A request's head was read.
    pub fn begin(&self) {
        self.begun.own().fetch_add(1, Relaxed);
    }

    /// Requests whose head was read and whose answer has not ended, when so many have ended.
    pub fn under_way(&self, ended: u64) -> u64 {
        let begun: u64 = self.begun.iter().map(|count| count.load(Relaxed)).sum();
        begun.saturating_sub(ended)
    }

    /// The server stops: it is not ready for more.
    pub fn drain(&self) {
        self.draining.store(true, Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }
}

// === impl Meter ===

impl Meter {
    fn leak(site: Arc<str>) -> &'static Self {
        Box::leak(Box::new(Self {
            site,
            counts: Striped::default(),
        }))
    }

    /// Counts an exchange.
    pub fn count(&self, exchange: &Exchange) {
        let counters = self.counts.own();
        let class = exchange.status.map_or(0, |status| usize::from(status.as_u16() / 100));
        counters.statuses[if class < STATUSES { class } else { 0 }].fetch_add(1, Relaxed);
        match exchange.ending {
            Ending::Completed => {}
            Ending::Aborted => {
                counters.aborted.fetch_add(1, Relaxed);
            }
            Ending::Failed => {
                counters.failed.fetch_add(1, Relaxed);
            }
        }
        counters.bytes.fetch_add(exchange.bytes, Relaxed);
        if let Some(head) = exchange.head {
            counters.head.count(head);
        }
        counters.whole.count(exchange.whole);
    }

    /// Everything so far.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for counters in self.counts.iter() {
            for (total, count) in totals.statuses.iter_mut().zip(&counters.statuses) {
                *total += count.load(Relaxed);
            }
            totals.aborted += counters.aborted.load(Relaxed);
            totals.failed += counters.failed.load(Relaxed);
            totals.bytes += counters.bytes.load(Relaxed);
            counters.head.add_to(&mut totals.head);
            counters.whole.add_to(&mut totals.whole);
        }
        totals
    }
}

// === impl Histogram ===

impl Histogram {
    fn count(&self, time: Duration) {
        let microseconds = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let class = BOUNDS.partition_point(|bound| *bound < microseconds);
        self.classes[class].fetch_add(1, Relaxed);
        self.microseconds.fetch_add(microseconds, Relaxed);
    }

    fn add_to(&self, times: &mut Times) {
        for (total, count) in times.classes.iter_mut().zip(&self.classes) {
            *total += count.load(Relaxed);
        }
        times.microseconds += self.microseconds.load(Relaxed);
    }
}

// === impl Totals, Times ===

impl Totals {
    pub fn requests(&self) -> u64 {
        self.statuses.iter().sum()
    }

    pub fn add(&mut self, other: &Self) {
        self.combine(other, u64::wrapping_add);
    }

    /// What came since an earlier look at the same counters.
    pub fn since(mut self, earlier: &Self) -> Self {
        self.combine(earlier, u64::saturating_sub);
        self
    }

    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        for (own, other) in self.statuses.iter_mut().zip(other.statuses) {
            *own = with(*own, other);
        }
        self.aborted = with(self.aborted, other.aborted);
        self.failed = with(self.failed, other.failed);
        self.bytes = with(self.bytes, other.bytes);
        self.head.combine(&other.head, with);
        self.whole.combine(&other.whole, with);
    }
}

impl Times {
    fn combine(&mut self, other: &Self, with: fn(u64, u64) -> u64) {
        for (own, other) in self.classes.iter_mut().zip(other.classes) {
            *own = with(*own, other);
        }
        self.microseconds = with(self.microseconds, other.microseconds);
    }

    /// How many.
    pub fn len(&self) -> u64 {
        self.classes.iter().sum()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The time within which this part (0 to 1) of them ended, in microseconds, as near as the classes tell: in between,
    /// they are taken to lie evenly. `None`: there were none.
    pub fn quantile(&self, part: f64) -> Option<u64> {
        let wanted = (self.len() as f64 * part).ceil().max(1.0) as u64;
        let (mut below, mut lower) = (0, 0);
        for (class, count) in self.classes.iter().enumerate() {
            // Of the last class nothing is known but its lower bound.
            let upper = BOUNDS.get(class).copied().unwrap_or(lower);
            if below + count >= wanted {
                let within = (wanted - below) as f64 / *count as f64;
                return Some(lower + ((upper - lower) as f64 * within) as u64);
            }
            (below, lower) = (below + count, upper);
        }
        None
    }
}

// === impl ConnectionCounters ===

impl ConnectionCounters {
    /// A connection was accepted.
    pub fn open(&'static self) -> Open {
        self.accepted.fetch_add(1, Relaxed);
        Open(())
    }

    pub fn handshake(&self, went_well: bool) {
        let counter = match went_well {
            true => &self.handshakes,
            false => &self.handshakes_failed,
        };
        counter.fetch_add(1, Relaxed);
    }

    /// A connection could not be accepted.
    pub fn unaccepted(&self) {
        self.unaccepted.fetch_add(1, Relaxed);
    }

    /// Accepted so far; open now.
    pub fn accepted(&self) -> (u64, u64) {
        // In this order, so that no end is counted whose begin is not.
        let ended = self.ended.load(Relaxed);
        let accepted = self.accepted.load(Relaxed);
        (accepted, accepted.saturating_sub(ended))
    }

    /// Done; failed.
    pub fn handshakes(&self) -> (u64, u64) {
        (self.handshakes.load(Relaxed), self.handshakes_failed.load(Relaxed))
    }

    pub fn not_accepted(&self) -> u64 {
        self.unaccepted.load(Relaxed)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        meters().connections.ended.fetch_add(1, Relaxed);
    }
}

// === impl ReloadCounters ===

impl ReloadCounters {
    /// A reload has ended; no errors: it was done.
    pub fn note(&self, errors: Vec<String>) {
        let counter = if errors.is_empty() { &self.done } else { &self.refused };
        counter.fetch_add(1, Relaxed);
        let last = LastReload {
            at: SystemTime::now(),
            errors,
        };
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(last);
    }

    /// Done; refused.
    pub fn counts(&self) -> (u64, u64) {
        (self.done.load(Relaxed), self.refused.load(Relaxed))
    }

    pub fn last(&self) -> Option<LastReload> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exchange(status: u16, microseconds: u64) -> Exchange {
        Exchange {
            status: StatusCode::from_u16(status).ok(),
            ending: Ending::Completed,
            bytes: 10,
            head: Some(Duration::from_micros(microseconds)),
            whole: Duration::from_micros(microseconds * 2),
        }
    }

    #[test]
    fn what_is_counted_adds_up() {
        let meter = Meter::leak("test".into());
        for (status, microseconds) in [(200, 50), (204, 100), (404, 101), (503, 20_000_000), (999, 1)] {
            meter.count(&exchange(status, microseconds));
        }
        meter.count(&Exchange {
            status: None,
            ending: Ending::Aborted,
            bytes: 0,
            head: None,
            whole: Duration::MAX,
        });
        let totals = meter.totals();
        assert_eq!(totals.statuses, [2, 0, 2, 0, 1, 1]);
        assert_eq!((totals.requests(), totals.bytes, totals.aborted), (6, 50, 1));
        // A bound belongs to the class beneath it.
        assert_eq!(totals.head.classes[..2], [3, 1]);
        assert_eq!(totals.head.classes[CLASSES - 1], 1);
        assert_eq!((totals.head.len(), totals.whole.len()), (5, 6));
        assert_eq!(totals.since(&totals), Totals::default());
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_class() {
        let mut times = Times::default();
        assert_eq!(times.quantile(0.5), None);
        times.classes[0] = 50;
        times.classes[3] = 50;
        for (part, expected) in [(0.0, 2), (0.25, 50), (0.5, 100), (0.75, 750), (1.0, 1000)] {
            assert_eq!(times.quantile(part), Some(expected), "{part}");
        }
        times = Times::default();
        times.classes[CLASSES - 1] = 1;
        assert_eq!(times.quantile(0.99), BOUNDS.last().copied());
    }

    #[test]
    fn a_name_has_one_meter() {
        let (first, second) = (meters().of_site(&"a".into()), meters().of_site(&"a".into()));
        assert!(std::ptr::eq(first, second));
        assert!(!std::ptr::eq(first, meters().of_site(&"b".into())));
    }
}
