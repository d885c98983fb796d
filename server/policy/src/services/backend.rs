//! The seam between services and what keeps their data.
use std::{sync::Arc, time::Duration};
use wasmtime_wasi::async_trait;

/// Where the key-value pairs and token buckets of a site are kept. Each operation is atomic.
#[async_trait]
pub(crate) trait Backend: Send + Sync {
    async fn get(&self, bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, Unavailable>;
    /// Makes or replaces a pair, whose time to live begins anew.
    async fn set(&self, bucket: &Bucket, key: &str, value: Vec<u8>) -> Result<(), Unavailable>;
    async fn delete(&self, bucket: &Bucket, key: &str) -> Result<(), Unavailable>;
    async fn exists(&self, bucket: &Bucket, key: &str) -> Result<bool, Unavailable>;
    /// Some of the keys from a cursor on.
    async fn keys(&self, bucket: &Bucket, cursor: Option<u64>) -> Result<Page, Unavailable>;
    /// Adds to a number in decimal digits, and gives the sum. A pair that is made lives as one that was set; one that is
    /// there keeps its end, so that what is counted is counted for a fixed time.
    async fn increment(&self, bucket: &Bucket, key: &str, delta: u64) -> Result<u64, Unavailable>;
    /// Takes a token. `capacity` is at least 1, `refill` (tokens a second) finite and not negative.
    async fn take(&self, policy: &str, key: &str, capacity: u64, refill: f64) -> Result<Taken, Unavailable>;
}

/// Why an operation could not be done, for the guest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub String);

/// A bucket of key-value pairs, as a guest holds it.
#[derive(Clone, Debug)]
pub struct Bucket {
    pub name: BucketName,
    /// Pairs that are made through it are forgotten after so long.
    pub time_to_live: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum BucketName {
    /// Of one policy.
    Own(Arc<str>),
    /// Of all whom the operator granted the name.
    Shared(Arc<str>),
}

/// Keys of a bucket.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub keys: Vec<String>,
    /// Where to go on; `None`: there are no more.
    pub cursor: Option<u64>,
}

/// What became of one `take`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub granted: bool,
    /// Whole tokens that are left.
    pub remaining: u64,
    /// Milliseconds until there is a token; `u64::MAX`: never.
    pub retry_after: u64,
    /// Milliseconds until the bucket is full; `u64::MAX`: never.
    pub full_after: u64,
}
