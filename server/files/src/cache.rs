//! Open files, files in memory, and names where nothing is, kept for those who ask next. Bounded by descriptors and bytes;
//! whoever is not asked for is let go of after a while, so that deleted files give their space back.
use crate::{entry::Entry, options::CacheOptions, pool::CacheCounts, root::BaseKey, striped::Striped};
use quick_cache::{
    Equivalent, Weighter,
    sync::{self, DefaultLifecycle},
};
use std::{
    hash::{Hash, Hasher, RandomState},
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// How long a descriptor that nobody asks for is kept. Whatever is asked for is looked at again every second.
const UNUSED: Duration = Duration::from_secs(10);

/// What an entry costs beside descriptors and content: metadata, a prepared head and the key's own allocation, roughly.
const OVERHEAD: u64 = 1536;

pub(crate) struct Cache {
    entries: Arc<Entries>,
    sweeper: Once,
    lookups: Striped<Lookups>,
}

/// How lookups ended.
#[derive(Debug, Default)]
struct Lookups {
    /// What was kept was fresh enough.
    hits: AtomicU64,
    misses: AtomicU64,
}

/// Hashed with a key of this process: clients choose the paths.
type Entries = sync::Cache<Key, Arc<Entry>, Weigher, RandomState>;

/// The directory that the path was looked up in (two places of one path have nothing in common), and the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) base: BaseKey,
    pub(crate) path: Box<str>,
}

/// The same, borrowed.
pub(crate) struct Asked<'a> {
    pub(crate) base: BaseKey,
    pub(crate) path: &'a str,
}

#[derive(Clone)]
struct Weigher {
    /// What one descriptor weighs, so that the whole capacity is reached at the most descriptors that may be held.
    descriptor: u64,
}

// === impl Cache ===

impl Cache {
    pub(crate) fn new(options: &CacheOptions) -> Self {
        let descriptors = options.descriptors as u64;
        let weigher = Weigher {
            descriptor: options.bytes.checked_div(descriptors).unwrap_or(u64::MAX).max(1),
        };
        let capacity = if descriptors == 0 { 0 } else { options.bytes };
        let hash = RandomState::new();
        let entries = Entries::with(
            options.descriptors,
            capacity,
            weigher,
            hash,
            DefaultLifecycle::default(),
        );
        Self {
            entries: Arc::new(entries),
            sweeper: Once::new(),
            lookups: Striped::default(),
        }
    }

    pub(crate) fn get(&self, base: BaseKey, path: &str) -> Option<Arc<Entry>> {
        self.entries.get(&Asked { base, path })
    }

    pub(crate) fn insert(&self, base: BaseKey, path: &str, entry: Arc<Entry>) {
        self.start_sweeping();
        self.entries.insert(
            Key {
                base,
                path: path.into(),
            },
            entry,
        );
    }

    /// The entry in place of `stale`; made by `load` once, however many ask meanwhile.
    pub(crate) async fn replace<E>(
        &self,
        base: BaseKey,
        path: &str,
        stale: Option<&Arc<Entry>>,
        load: impl Future<Output = Result<Arc<Entry>, E>>,
    ) -> Result<Arc<Entry>, E> {
        self.start_sweeping();
        let key = Key {
            base,
            path: path.into(),
        };
        if let Some(stale) = stale {
            self.entries.remove_if(&key, |entry| Arc::ptr_eq(entry, stale));
        }
        self.entries.get_or_insert_async(&key, load).await
    }

    /// So many lookups found what they could use.
    pub(crate) fn note_hits(&self, count: u64) {
        self.lookups.own().hits.fetch_add(count, Relaxed);
    }

    /// A lookup had to go to the file system.
    pub(crate) fn note_miss(&self) {
        self.lookups.own().misses.fetch_add(1, Relaxed);
    }

    pub(crate) fn counts(&self) -> CacheCounts {
        let sum = |count: fn(&Lookups) -> &AtomicU64| self.lookups.iter().map(|own| count(own).load(Relaxed)).sum();
        CacheCounts {
            hits: sum(|lookups| &lookups.hits),
            misses: sum(|lookups| &lookups.misses),
            entries: self.entries.len(),
        }
    }

    /// Lets go of everything; downloads keep what they have.
    pub(crate) fn clear(&self) {
        self.entries.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn start_sweeping(&self) {
        self.sweeper.call_once(|| {
            let entries = Arc::downgrade(&self.entries);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(UNUSED / 2).await;
                    let Some(entries) = entries.upgrade() else { return };
                    // Closing thousands of files takes a while.
                    let sweep =
                        move || entries.retain(|_, entry| entry.checked().elapsed() < UNUSED.max(entry.valid()));
                    if tokio::task::spawn_blocking(sweep).await.is_err() {
                        return;
                    }
                }
            });
        });
    }
}

// === impl Key ===

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Asked {
            base: self.base,
            path: &self.path,
        }
        .hash(state);
    }
}

impl Hash for Asked<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.base.hash(state);
        // What is before it is of one length, so nothing has to mark its end.
        state.write(self.path.as_bytes());
    }
}

impl Equivalent<Key> for Asked<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.base == key.base && self.path == &*key.path
    }
}

impl Weighter<Key, Arc<Entry>> for Weigher {
    fn weight(&self, key: &Key, entry: &Arc<Entry>) -> u64 {
        let bytes = OVERHEAD + key.path.len() as u64 + entry.bytes() as u64;
        bytes.max(self.descriptor.saturating_mul(entry.descriptors() as u64))
    }
}
