//! Token buckets in memory. A bucket that is full is as good as one that was never used, so full ones may be forgotten;
//! others never are: a limit that could be reset by naming many other keys would be none.
use super::backend::{Taken, Unavailable};
use siphasher::sip128::{Hasher128, SipHasher13};
use std::{
    collections::{BTreeSet, HashMap},
    hash::{BuildHasher, Hash, RandomState},
    time::Instant,
};

/// The token buckets of a site.
pub(super) struct TokenBuckets {
    most: usize,
    began: Instant,
    hasher: SipHasher13,
    buckets: HashMap<Name, TokenBucket>,
    /// When each is full again.
    by_full: BTreeSet<(u64, Name)>,
}

/// A keyed hash of policy and key: keys are often secret, as long as clients like, and not needed again.
type Name = u128;

/// A moment, in nanoseconds since the process knows this site.
type Moment = u64;

#[derive(Clone, Copy)]
struct TokenBucket {
    capacity: u64,
    refill: f64,
    /// Tokens at the moment `at`.
    level: f64,
    at: Moment,
}

const SECOND: f64 = 1e9;

/// What rounding may leave missing. Whoever is granted a token in spite of it leaves that much less behind, so that in the
/// long run no more are granted than the rate allows.
pub(crate) const ROUNDING: f64 = 1e-9;

impl TokenBucket {
    fn level(&self, now: Moment) -> f64 {
        let gained = now.saturating_sub(self.at) as f64 / SECOND * self.refill;
        (self.level + gained).min(self.capacity as f64)
    }

    fn full_at(&self) -> Moment {
        let missing = self.capacity as f64 - self.level;
        self.at.saturating_add(until(missing, self.refill, SECOND))
    }
}

/// How long it takes to gain what is missing: rounded up, in parts of a second.
fn until(missing: f64, refill: f64, parts: f64) -> u64 {
    if missing <= ROUNDING {
        return 0;
    }
    // Without any refill it is infinite, which becomes the largest number.
    (missing / refill * parts - ROUNDING).ceil() as u64
}

impl Taken {
    /// What a bucket says that now has so many tokens.
    pub(crate) fn leaving(level: f64, granted: bool, capacity: u64, refill: f64) -> Self {
        Self {
            granted,
            remaining: (level + ROUNDING) as u64,
            retry_after: until(1.0 - level, refill, 1e3),
            full_after: until(capacity as f64 - level, refill, 1e3),
        }
    }
}

impl TokenBuckets {
    pub fn new(most: usize) -> Self {
        let keys = RandomState::new();
        Self {
            most,
            began: Instant::now(),
            hasher: SipHasher13::new_with_keys(keys.hash_one(0_u8), keys.hash_one(1_u8)),
            buckets: HashMap::new(),
            by_full: BTreeSet::new(),
        }
    }

    pub fn limit(&mut self, most: usize) {
        self.most = most;
    }

    pub fn take(
        &mut self,
        policy: &str,
        key: &str,
        capacity: u64,
        refill: f64,
        now: Instant,
    ) -> Result<Taken, Unavailable> {
        let now = u64::try_from(now.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX);
        let name = self.name(policy, key);
        let before = self.buckets.get(&name).copied();
        if before.is_none() {
            self.make_room(now)?;
        }
        let mut bucket = match before {
            Some(bucket) if (bucket.capacity, bucket.refill) == (capacity, refill) => bucket,
            // What it gained until now, it gained at the rate it had.
            Some(bucket) => TokenBucket {
                capacity,
                refill,
                level: bucket.level(now).min(capacity as f64),
                at: now,
            },
            None => TokenBucket {
                capacity,
                refill,
                level: capacity as f64,
                at: now,
            },
        };
        let (level, settled) = (bucket.level(now), bucket);
        let granted = level >= 1.0 - ROUNDING;
        (bucket.level, bucket.at) = (if granted { level - 1.0 } else { level }, now);
        // Who is refused changes nothing, so that asking often does not add up what rounding leaves.
        let after = if granted { bucket } else { settled };
        if let Some(before) = before {
            self.by_full.remove(&(before.full_at(), name));
        }
        self.by_full.insert((after.full_at(), name));
        self.buckets.insert(name, after);
        Ok(Taken::leaving(bucket.level, granted, capacity, refill))
    }

    fn name(&self, policy: &str, key: &str) -> Name {
        let mut hasher = self.hasher;
        (policy, key).hash(&mut hasher);
        hasher.finish128().as_u128()
    }

    /// Forgets full buckets: two for each new one, so that they become fewer.
    fn make_room(&mut self, now: Moment) -> Result<(), Unavailable> {
        for _ in 0..2 {
            let Some((_, name)) = self.by_full.first().filter(|(full_at, _)| *full_at <= now) else {
                break;
            };
            self.buckets.remove(name);
            self.by_full.pop_first();
        }
        if self.buckets.len() < self.most {
            return Ok(());
        }
        Err(Unavailable::no_token_bucket(self.buckets.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Clock(Instant);

    impl Clock {
        fn at(&self, milliseconds: u64) -> Instant {
            self.0 + Duration::from_millis(milliseconds)
        }
    }

    fn buckets(most: usize) -> (TokenBuckets, Clock) {
        let buckets = TokenBuckets::new(most);
        let clock = Clock(buckets.began);
        (buckets, clock)
    }

    fn taken(granted: bool, remaining: u64, retry_after: u64, full_after: u64) -> Result<Taken, Unavailable> {
        Ok(Taken {
            granted,
            remaining,
            retry_after,
            full_after,
        })
    }

    /// A faster rate was counted from the last take on, when the bucket had filled slowly until now.
    #[test]
    fn another_rate_counts_from_now_on() {
        let (mut buckets, clock) = buckets(10);
        let mut take = |at, capacity, refill| {
            let taken = buckets.take("policy", "key", capacity, refill, clock.at(at)).unwrap();
            (taken.granted, taken.remaining)
        };
        for left in (0..4).rev() {
            assert_eq!(take(0, 4, 0.001), (true, left));
        }
        assert_eq!(take(10_000, 4, 100.0), (false, 0));
        assert_eq!(take(10_011, 4, 100.0), (true, 0));
        assert_eq!(take(10_061, 4, 100.0), (true, 3), "it gained five, and holds four");
        // What is more than the new capacity is gone.
        assert_eq!(take(10_100, 2, 0.0), (true, 1));
        assert_eq!(take(99_000, 4, 0.0), (true, 0));
        assert_eq!(take(99_000, 4, 0.0), (false, 0));
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let (mut buckets, clock) = buckets(10);
        for (at, expected) in [
            (0, taken(true, 2, 0, 500)),
            (0, taken(true, 1, 0, 1000)),
            (0, taken(true, 0, 500, 1500)),
            (0, taken(false, 0, 500, 1500)),
            (499, taken(false, 0, 1, 1001)),
            (500, taken(true, 0, 500, 1500)),
            (60_000, taken(true, 2, 0, 500)),
        ] {
            assert_eq!(buckets.take("p", "k", 3, 2.0, clock.at(at)), expected, "at {at} ms");
        }
    }

    #[test]
    fn a_bucket_without_refill_never_fills() {
        let (mut buckets, clock) = buckets(10);
        assert_eq!(
            buckets.take("p", "k", 1, 0.0, clock.at(0)),
            taken(true, 0, u64::MAX, u64::MAX)
        );
        let later = clock.at(u64::from(u32::MAX));
        assert_eq!(
            buckets.take("p", "k", 1, 0.0, later),
            taken(false, 0, u64::MAX, u64::MAX)
        );
    }

    #[test]
    fn policies_have_buckets_of_their_own() {
        let (mut buckets, clock) = buckets(10);
        for (policy, key) in [("a", "bc"), ("ab", "c"), ("a", "b")] {
            assert!(buckets.take(policy, key, 1, 0.0, clock.at(0)).unwrap().granted);
            assert!(!buckets.take(policy, key, 1, 0.0, clock.at(0)).unwrap().granted);
        }
    }

    #[test]
    fn only_full_buckets_are_forgotten() {
        let (mut buckets, clock) = buckets(2);
        assert!(buckets.take("p", "a", 2, 1.0, clock.at(0)).unwrap().granted);
        assert!(buckets.take("p", "b", 2, 0.0, clock.at(0)).unwrap().granted);
        // Neither is full: a third cannot be had, and the two are what they were.
        assert!(buckets.take("p", "c", 2, 1.0, clock.at(999)).is_err());
        assert_eq!(buckets.take("p", "b", 2, 0.0, clock.at(999)).unwrap().remaining, 0);
        // The first is full now, and so it makes no difference whether it is known.
        assert!(buckets.take("p", "c", 2, 1.0, clock.at(1000)).unwrap().granted);
        assert!(!buckets.take("p", "b", 2, 0.0, clock.at(1000)).unwrap().granted);
        assert!(buckets.take("p", "d", 2, 1.0, clock.at(1500)).is_err());
        assert_eq!(buckets.buckets.len(), 2);
        assert_eq!(buckets.by_full.len(), 2);
    }

    #[test]
    fn another_capacity_takes_away_and_adds_nothing_at_once() {
        let (mut buckets, clock) = buckets(10);
        assert_eq!(buckets.take("p", "k", 10, 1.0, clock.at(0)).unwrap().remaining, 9);
        assert_eq!(buckets.take("p", "k", 3, 1.0, clock.at(0)).unwrap().remaining, 2);
        assert_eq!(buckets.take("p", "k", 10, 1.0, clock.at(0)).unwrap().remaining, 1);
    }

    /// The slow reference: every grant is remembered, and a bucket is filled millisecond by millisecond.
    #[test]
    fn random_takes_are_as_the_reference_says() {
        let mut seed = 11_u64;
        let mut random = |below: u64| {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        for _ in 0..50 {
            let (mut buckets, clock) = buckets(10);
            // Thousandths of a token: rates are whole tokens a second, so a millisecond adds a whole number of them.
            let (capacity, refill) = (1 + random(20), random(50));
            let (mut level, mut now) = (capacity * 1000, 0);
            for _ in 0..500 {
                for _ in 0..random(60) {
                    now += 1;
                    level = (level + refill).min(capacity * 1000);
                }
                let granted = level >= 1000;
                level -= if granted { 1000 } else { 0 };
                let retry_after = match (1000_u64.saturating_sub(level), refill) {
                    (0, _) => 0,
                    (_, 0) => u64::MAX,
                    (missing, refill) => missing.div_ceil(refill),
                };
                let taken = buckets.take("p", "k", capacity, refill as f64, clock.at(now)).unwrap();
                assert_eq!((taken.granted, taken.remaining), (granted, level / 1000), "at {now} ms");
                // Rounded up, once in a while from just above a whole number.
                assert!(taken.retry_after.abs_diff(retry_after) <= 1, "{taken:?} {retry_after}");
            }
        }
    }
}
