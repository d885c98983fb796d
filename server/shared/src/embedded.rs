//! A [`Backend`] in this process's memory. Nothing of it waits for anything but a short lock.
use super::{
    backend::{Backend, Bounds, Bucket, Page, Taken, Unavailable},
    pairs::Pairs,
    tokens::TokenBuckets,
};
use async_trait::async_trait;
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// The pairs and token buckets of one site.
pub struct Embedded {
    pairs: Mutex<Pairs>,
    tokens: Mutex<TokenBuckets>,
}

impl Embedded {
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            pairs: Mutex::new(Pairs::new(bounds.pair_bytes, bounds.pairs)),
            tokens: Mutex::new(TokenBuckets::new(bounds.token_buckets)),
        }
    }

    /// From now on, no more than this.
    pub fn limit(&self, bounds: &Bounds) {
        self.pairs().limit(bounds.pair_bytes, bounds.pairs, Instant::now());
        self.tokens().limit(bounds.token_buckets);
    }

    fn pairs(&self) -> MutexGuard<'_, Pairs> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tokens(&self) -> MutexGuard<'_, TokenBuckets> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Backend for Embedded {
    async fn get(&self, bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        Ok(self.pairs().get(&bucket.name, key, Instant::now()).map(<[u8]>::to_vec))
    }

    async fn set(&self, bucket: &Bucket, key: &str, value: Vec<u8>) -> Result<(), Unavailable> {
        self.pairs().set(bucket, key, value, Instant::now())
    }

    async fn delete(&self, bucket: &Bucket, key: &str) -> Result<(), Unavailable> {
        self.pairs().delete(&bucket.name, key);
        Ok(())
    }

    async fn exists(&self, bucket: &Bucket, key: &str) -> Result<bool, Unavailable> {
        Ok(self.pairs().get(&bucket.name, key, Instant::now()).is_some())
    }

    async fn keys(&self, bucket: &Bucket, cursor: Option<u64>) -> Result<Page, Unavailable> {
        Ok(self.pairs().keys(&bucket.name, cursor, Instant::now()))
    }

    async fn increment(&self, bucket: &Bucket, key: &str, delta: u64) -> Result<u64, Unavailable> {
        self.pairs().increment(bucket, key, delta, Instant::now())
    }

    async fn take(&self, policy: &str, key: &str, capacity: u64, refill: f64) -> Result<Taken, Unavailable> {
        let mut tokens = self.tokens();
        // Read under the lock, so that time never goes backwards from one take to the next.
        tokens.take(policy, key, capacity, refill, Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

    const BOUNDS: Bounds = Bounds {
        pair_bytes: 16 << 20,
        pairs: 100_000,
        token_buckets: 100_000,
    };

    /// Asks from 64 threads at once, and gives how many were granted and how long it took.
    fn rush(embedded: &Embedded, capacity: u64, refill: f64) -> (u64, f64) {
        let (granted, begin) = (AtomicU64::new(0), Barrier::new(64));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    begin.wait();
                    for _ in 0..200 {
                        let taken = runtime
                            .handle()
                            .block_on(embedded.take("policy", "key", capacity, refill));
                        granted.fetch_add(u64::from(taken.unwrap().granted), Relaxed);
                    }
                });
            }
        });
        (granted.into_inner(), began.elapsed().as_secs_f64())
    }

    #[test]
    fn no_more_are_admitted_than_the_limit_says_from_64_threads() {
        for capacity in [1, 100, 5000] {
            let embedded = Embedded::new(&BOUNDS);
            assert_eq!(rush(&embedded, capacity, 0.0).0, capacity);
        }
        let embedded = Embedded::new(&BOUNDS);
        let (granted, seconds) = rush(&embedded, 10, 1000.0);
        assert!(granted >= 10, "{granted}");
        assert!(granted as f64 <= 10.0 + seconds * 1000.0, "{granted} in {seconds} s");
    }

    #[test]
    fn no_increment_is_lost_from_64_threads() {
        let embedded = Embedded::new(&BOUNDS);
        let bucket = Bucket {
            name: super::super::backend::BucketName::Own("policy".into()),
            time_to_live: None,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        runtime
                            .handle()
                            .block_on(embedded.increment(&bucket, "key", 3))
                            .unwrap();
                    }
                });
            }
        });
        let value = runtime.block_on(embedded.get(&bucket, "key")).unwrap();
        assert_eq!(value.as_deref(), Some(&b"19200"[..]));
    }
}
