//! What the policies of one site use together, against its [`Budget`]: calls under way, and processor time.
use crate::Budget;
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
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
    calls: Arc<Semaphore>,
    /// `None`: no limit.
    processor: Option<Mutex<Bucket>>,
}

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
    pub fn new(budget: &Budget, now: Instant) -> Self {
        Self {
            calls: Arc::new(Semaphore::new(budget.concurrent.min(Semaphore::MAX_PERMITS))),
            processor: budget
                .processor
                .map(|per_second| Mutex::new(Bucket::new(per_second, now))),
        }
    }

    /// Waits for a moment when too many calls are under way.
    pub async fn begin(&self) -> Result<OwnedSemaphorePermit, Spent> {
        if let Some(processor) = &self.processor {
            let mut bucket = processor.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.look(Instant::now())?;
        }
        match self.calls.clone().try_acquire_owned() {
            Ok(permit) => Ok(permit),
            Err(_) => match timeout(WAIT, self.calls.clone().acquire_owned()).await {
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
            let mut bucket = processor.lock().unwrap_or_else(PoisonError::into_inner);
            bucket.charge(used, Instant::now());
        }
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

    #[tokio::test]
    async fn a_call_waits_for_a_moment_and_no_longer() {
        let budget = Budget {
            concurrent: 1,
            ..Budget::default()
        };
        let account = Account::new(&budget, Instant::now());
        let first = account.begin().await.unwrap();
        assert_eq!(account.begin().await.unwrap_err(), Spent::Calls);
        let (second, ()) = tokio::join!(account.begin(), async {
            tokio::task::yield_now().await;
            drop(first);
        });
        assert!(second.is_ok());
    }
}
