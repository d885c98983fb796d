//! What a cache counts, and how it complains.
use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// What happened since the start, and how full it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Pieces that were there when they were asked for.
    pub hits: u64,
    /// Pieces that were fetched for who asked, or were being fetched for somebody else.
    pub misses: u64,
    /// Of the misses, those that waited for somebody else's fetch.
    pub joined: u64,
    /// Bytes given out that were there.
    pub hit_bytes: u64,
    /// Bytes that came from stores, kept or not.
    pub fetched_bytes: u64,
    /// Of these, bytes given out without being kept: the disk failed, or had no room.
    pub bypassed_bytes: u64,
    /// Requests to stores.
    pub fetches: u64,
    /// Requests to stores that failed.
    pub failed_fetches: u64,
    /// Pieces that were evicted, and their bytes.
    pub evicted: u64,
    pub evicted_bytes: u64,
    /// Bytes that were copied to outlive their segment.
    pub moved_bytes: u64,
    /// Pieces that could not be read, or were not what was written.
    pub damaged: u64,
    /// Times that the disk failed: no pieces were kept for a while.
    pub troubles: u64,
    /// Pieces that are there now.
    pub pieces: u64,
    /// Bytes on disk now, those included that were evicted while somebody reads them.
    pub bytes: u64,
    /// Bytes on disk that there may be.
    pub capacity: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// The counters of [`Counts`].
        #[derive(Default)]
        pub(crate) struct Counters { $(pub(crate) $name: AtomicU64),* }

        impl Counters {
            pub(crate) fn read(&self) -> Counts {
                Counts { $($name: self.$name.load(Relaxed),)* ..Counts::default() }
            }
        }
    };
}

counters!(
    hits,
    misses,
    joined,
    hit_bytes,
    fetched_bytes,
    bypassed_bytes,
    fetches,
    failed_fetches,
    evicted,
    evicted_bytes,
    moved_bytes,
    damaged,
    troubles
);

pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}

/// One line in the log, and silence for a while.
#[derive(Default)]
pub(crate) struct Complaint(Mutex<Option<Instant>>);

const SILENCE: Duration = Duration::from_secs(60);

impl Complaint {
    /// Whether it is time for one.
    pub(crate) fn is_due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let due = last.is_none_or(|last| last.elapsed() >= SILENCE);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}
