//! The seam between services and what keeps their data.
use async_trait::async_trait;
use std::{sync::Arc, time::Duration};

/// Bytes of a key of a pair.
pub(crate) const MAX_KEY: usize = 1 << 10;
/// Bytes that a pair is taken to need beside its key and value: entries of two maps and two trees in memory, about; four
/// entries of sorted sets and a hash in Redis.
pub(crate) const OVERHEAD: usize = 320;
/// What one answer to "which keys are there" may hold, and how many pairs are looked at for it: other buckets' pairs lie
/// between them, and nobody else is served meanwhile.
pub(crate) const PAGE_KEYS: usize = 256;
pub(crate) const PAGE_BYTES: usize = 32 << 10;
pub(crate) const PAGE_LOOKS: usize = 1024;

/// What the backend of a site may keep for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of pairs, with what it takes to keep them.
    pub pair_bytes: usize,
    /// Pairs. Expired ones and the least recently used ones go first.
    pub pairs: usize,
    /// Token buckets that are not full.
    pub token_buckets: usize,
}

/// Where the key-value pairs and token buckets of a site are kept. Each operation is atomic.
#[async_trait]
pub trait Backend: Send + Sync {
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

/// Why an operation could not be done, for the guest: nothing of it says where the data is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub String);

impl Unavailable {
    pub(crate) fn key_too_long() -> Self {
        Self(format!("the key is longer than {MAX_KEY} bytes"))
    }

    pub(crate) fn no_room() -> Self {
        Self("there is no room for a value of this size".into())
    }

    pub(crate) fn no_number() -> Self {
        Self("the value is not a number in decimal digits".into())
    }

    pub(crate) fn overflow() -> Self {
        Self("the sum is larger than 64 bits hold".into())
    }

    pub(crate) fn no_token_bucket(in_use: u64) -> Self {
        Self(format!(
            "{in_use} token buckets of this site are in use, and none of them is full"
        ))
    }
}

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
pub struct Page {
    pub keys: Vec<String>,
    /// Where to go on; `None`: there are no more.
    pub cursor: Option<u64>,
}

/// What became of one `take`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub granted: bool,
    /// Whole tokens that are left.
    pub remaining: u64,
    /// Milliseconds until there is a token; `u64::MAX`: never.
    pub retry_after: u64,
    /// Milliseconds until the bucket is full; `u64::MAX`: never.
    pub full_after: u64,
}
