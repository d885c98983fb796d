//! What the policies of one site use together, against its [`Budget`]: calls under way, and processor time.
//!
//! Processor time is a site's, whatever is loaded for it: a tenant that touches its `site.toml` has no more of it than before.
use crate::Budget;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// How long a call waits for another of its site to end.
const WAIT: Duration = Duration::from_millis(250);
/// Seconds of processor time that a site may save up, and owe.
const BURST: u32 = 2;

/// Over budget, and when that may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    Calls,
    Processor { again: Duration },
}

pub(crate) struct Account {
    calls: Semaphore,
    /// `None`: no limit.
    processor: Option<Processor>,
}

/// The processor time of a site, and how much of it one generation may use a second.
struct Processor {
    per_second: Duration,
    bucket: Arc<Mutex<Bucket>>,
}

/// The processor time of all sites that have a limit of it, by name. It outlives what is loaded for them: one is forgotten
/// when nothing is loaded and its bucket is full, which is what a new one would be.
#[derive(Default)]
pub(crate) struct Processors(Mutex<HashMap<Arc<str>, Arc<Mutex<Bucket>>>>);

/// Processor time that is left: a token bucket, which may be overdrawn because what a call uses is known at its end.
#[derive(Clone, Debug)]
struct Bucket {
    per_second: Duration,
    /// Negative: owed.
    nanoseconds: i128,
    last: Instant,
}

// === impl Account ===

impl Account {
    /// Of a site in one generation.
    pub fn new(site: &Arc<str>, budget: &Budget, processors: &Processors) -> Self {
        Self {
            calls: Semaphore::new(budget.concurrent.min(Semaphore::MAX_PERMITS)),
            processor: budget.processor.map(|per_second| Processor {
                per_second,
                bucket: processors.of(site, per_second, Instant::now()),
            }),
        }
    }

    /// From now on the site has processor time as this generation says.
    pub fn begin_generation(&self) {
        if let Some(processor) = &self.processor {
            processor.bucket().change(processor.per_second, Instant::now());
        }
    }

    /// Waits for a moment when too many calls are under way.
    pub async fn begin(&self) -> Result<SemaphorePermit<'_>, Spent> {
        if let Some(processor) = &self.processor {
            processor.bucket().look(Instant::now())?;
        }
        match self.calls.try_acquire() {
            Ok(permit) => Ok(permit),
            // On the heap: a call that need not wait does not carry the room for it.
            Err(_) => match Box::pin(timeout(WAIT, self.calls.acquire())).await {
                Ok(Ok(permit)) => Ok(permit),
                // The semaphore is never closed.
                Ok(Err(_)) | Err(_) => Err(Spent::Calls),
            },
        }
    }

    /// Whether anyone asks what calls use.
    pub fn counts_time(&self) -> bool {
        self.processor.is_some()
    }

    /// Takes what a call has used.
    pub fn charge(&self, used: Duration) {
        if let Some(processor) = &self.processor {
            processor.bucket().charge(used, Instant::now());
        }
    }
}

// === impl Processor ===

impl Processor {
    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Processors ===

impl Processors {
    /// That of a site; full when it has none yet.
    fn of(&self, site: &Arc<str>, per_second: Duration, now: Instant) -> Arc<Mutex<Bucket>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = known.get(site) {
            return bucket.clone();
        }
        // Now and then, what is as good as new is swept out.
        if known.len() == known.capacity() {
            known.retain(|_, bucket| {
                let mut state = bucket.lock().unwrap_or_else(PoisonError::into_inner);
                Arc::strong_count(bucket) > 1 || !state.is_full(now)
            });
        }
        let bucket = Arc::new(Mutex::new(Bucket::new(per_second, now)));
        known.insert(site.clone(), bucket.clone());
        bucket
    }
}

// === impl Bucket ===

impl Bucket {
    fn new(per_second: Duration, now: Instant) -> Self {
        let mut bucket = Self {
            per_second,
            nanoseconds: 0,
            last: now,
        };
        bucket.nanoseconds = bucket.most();
        bucket
    }

    fn most(&self) -> i128 {
        nanoseconds(self.per_second.saturating_mul(BURST))
    }

    /// Another rate from now on. What is owed is owed, as far as anyone may owe.
    fn change(&mut self, per_second: Duration, now: Instant) {
        self.fill(now);
        self.per_second = per_second;
        self.nanoseconds = self.nanoseconds.clamp(-self.most(), self.most());
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.fill(now);
        self.nanoseconds >= self.most()
    }

    fn fill(&mut self, now: Instant) {
        let passed = nanoseconds(now.saturating_duration_since(self.last));
        let more = passed.saturating_mul(nanoseconds(self.per_second)) / 1_000_000_000;
        self.nanoseconds = self.nanoseconds.saturating_add(more).min(self.most());
        self.last = self.last.max(now);
    }

    fn look(&mut self, now: Instant) -> Result<(), Spent> {
        self.fill(now);
        if self.nanoseconds > 0 {
            return Ok(());
        }
        // With nothing a second, nothing ever comes: the longest wait is as good as any.
        let seconds = (1 - self.nanoseconds) / nanoseconds(self.per_second).max(1) + 1;
        let seconds = u64::try_from(seconds).unwrap_or(u64::MAX).min(60);
        Err(Spent::Processor {
            again: Duration::from_secs(seconds),
        })
    }

    fn charge(&mut self, used: Duration, now: Instant) {
        self.fill(now);
        // What many calls at once owe together is forgiven beyond the burst, so that a site is back within seconds.
        self.nanoseconds = self.nanoseconds.saturating_sub(nanoseconds(used)).max(-self.most());
    }
}

fn nanoseconds(time: Duration) -> i128 {
    i128::try_from(time.as_nanos()).unwrap_or(i128::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENTH: Duration = Duration::from_millis(100);

    /// A second, milliseconds that a call uses then, and seconds that the next one has to wait.
    type Step = (u64, u64, u64);

    #[test]
    fn processor_time_is_saved_owed_and_earned() {
        let cases: &[(&str, &[Step])] = &[
            ("a burst of two seconds' worth", &[(0, 199, 0), (0, 1, 1)]),
            ("what is owed is waited for", &[(0, 300, 2), (1, 0, 1), (2, 0, 0)]),
            ("no more is owed than was saved", &[(0, 100_000, 3), (3, 0, 0)]),
            ("no more is saved than a burst", &[(1000, 200, 1)]),
            (
                "as much as is earned",
                &[(1, 100, 0), (2, 100, 0), (3, 100, 0), (4, 199, 0), (4, 1, 1)],
            ),
        ];
        for (what, steps) in cases {
            let begin = Instant::now();
            let mut bucket = Bucket::new(TENTH, begin);
            for (second, used, wait) in *steps {
                let now = begin + Duration::from_secs(*second);
                bucket.charge(Duration::from_millis(*used), now);
                let expected = match wait {
                    0 => Ok(()),
                    seconds => Err(Spent::Processor {
                        again: Duration::from_secs(*seconds),
                    }),
                };
                assert_eq!(bucket.look(now), expected, "{what}, at {second}");
            }
        }
    }

    #[test]
    fn a_site_without_any_processor_time_runs_nothing() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Duration::ZERO, now);
        assert!(bucket.look(now + Duration::from_secs(1000)).is_err());
    }

    #[test]
    fn what_a_site_has_used_is_used_whatever_is_loaded_for_it_next() {
        let (processors, begin) = (Processors::default(), Instant::now());
        let of = |site: &str, now| processors.of(&site.into(), TENTH, now);
        let spent = of("a", begin);
        spent.lock().unwrap().charge(Duration::from_millis(300), begin);
        drop(spent);
        // Others come, so many that what is as good as new is swept out more than once.
        (0..1000).for_each(|other| drop(of(&other.to_string(), begin)));
        assert!(of("a", begin).lock().unwrap().look(begin).is_err(), "it is remembered");
        assert!(processors.0.lock().unwrap().len() < 1000, "nobody else is for ever");
        let later = begin + Duration::from_secs(10);
        (0..1000).for_each(|other| drop(of(&format!("later {other}"), later)));
        assert!(!processors.0.lock().unwrap().contains_key("a"), "until it owes nothing");
    }

    #[test]
    fn another_rate_forgives_nothing() {
        let begin = Instant::now();
        let mut bucket = Bucket::new(TENTH, begin);
        bucket.charge(Duration::from_millis(300), begin);
        bucket.change(TENTH * 2, begin);
        assert!(bucket.look(begin).is_err());
        assert!(
            bucket.look(begin + Duration::from_secs(1)).is_ok(),
            "it is earned sooner"
        );
        bucket.change(Duration::from_millis(1), begin + Duration::from_secs(1));
        bucket.charge(Duration::from_millis(2), begin + Duration::from_secs(1));
        assert!(
            bucket.look(begin + Duration::from_secs(1)).is_err(),
            "no more is saved than a burst of the new rate"
        );
    }

    #[tokio::test]
    async fn a_call_waits_for_a_moment_and_no_longer() {
        let budget = Budget {
            concurrent: 1,
            ..Budget::default()
        };
        let account = Account::new(&"a".into(), &budget, &Processors::default());
        let first = account.begin().await.unwrap();
        assert_eq!(account.begin().await.unwrap_err(), Spent::Calls);
        let (second, ()) = tokio::join!(account.begin(), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert!(second.is_ok());
    }
}
