//! What the files of all sites of a process share: the room for what is kept open and in memory, and what is never served.
//!
//! Nothing that is found for one site is ever given to another: whatever is kept is kept under the number of its root,
//! which no other root of the process has.
use crate::{
    CacheOptions,
    cache::{Cache, Key},
    protect::Protected,
    root::Base,
    siblings::Looked,
    store::Stores,
};
use arc_swap::ArcSwap;
use quick_cache::sync;
use std::{
    collections::HashSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// One for the whole process.
pub struct Pool {
    pub(crate) cache: Cache,
    /// Directories that policies placed requests in, by the base of their root and their path in it.
    pub(crate) directories: sync::Cache<Key, Arc<Base>>,
    /// Directories that files were found in, and when they last changed. Holds no descriptors.
    pub(crate) names: sync::Cache<Key, Looked>,
    /// The directories of roots, by their number. A site that nobody asks for keeps no descriptor.
    roots: sync::Cache<usize, Arc<Base>>,
    protected: ArcSwap<Protected>,
    /// Held by whoever changes the set, so that nothing is lost when two do.
    changing: Mutex<()>,
    /// Opens the stores that roots are in.
    pub(crate) stores: Option<Arc<dyn Stores>>,
}

/// What the cache of open files did since the start, and what it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheCounts {
    /// Lookups that found what was kept, at most a second old.
    pub hits: u64,
    /// Lookups that asked the file system.
    pub misses: u64,
    /// Open files, and names where nothing is.
    pub entries: usize,
}

/// Descriptors of directories that policies placed requests in.
const PLACES: usize = 128;

/// Directories of which is kept when they last changed.
const DIRECTORIES: usize = 1024;

/// Descriptors of roots.
const ROOTS: usize = 128;

impl Pool {
    /// `protected`: files and directories that are never served, however they are reached. Blocks.
    pub fn new(cache: &CacheOptions, protected: Vec<PathBuf>) -> Arc<Self> {
        Self::with_stores(cache, protected, None)
    }

    /// As [`Pool::new`], for roots in stores too.
    pub fn with_stores(cache: &CacheOptions, protected: Vec<PathBuf>, stores: Option<Arc<dyn Stores>>) -> Arc<Self> {
        Arc::new(Self {
            stores,
            cache: Cache::new(cache),
            directories: sync::Cache::new(PLACES),
            names: sync::Cache::new(DIRECTORIES),
            roots: sync::Cache::new(ROOTS),
            protected: ArcSwap::from_pointee(Protected::new(protected)),
            changing: Mutex::default(),
        })
    }

    /// Replaces the files and directories that are never served; what is being sent goes on. Blocks.
    pub fn protect(&self, paths: Vec<PathBuf>) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace_protected(paths);
    }

    /// Adds to them. Blocks.
    pub fn protect_also(&self, mut paths: Vec<PathBuf>) {
        if paths.is_empty() {
            return;
        }
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let protected = self.protected.load();
        let known: HashSet<&PathBuf> = protected.paths().iter().collect();
        paths.retain(|path| !known.contains(path));
        if !paths.is_empty() {
            paths.extend_from_slice(protected.paths());
            self.replace_protected(paths);
        }
    }

    /// What the cache of open files did.
    pub fn counts(&self) -> CacheCounts {
        self.cache.counts()
    }

    /// Of what is never served now.
    pub(crate) fn generation(&self) -> u64 {
        self.protected.load().generation()
    }

    /// The cache on local disk of what is in stores, if there is one.
    pub fn disk_cache(&self) -> Option<&wasmserve_pieces::Cache> {
        self.stores.as_ref()?.disk_cache()
    }

    pub(crate) fn protected(&self) -> Arc<Protected> {
        self.protected.load_full()
    }

    /// Keeps the directory of a root open for the next request.
    pub(crate) fn hold_root(&self, number: usize, base: &Arc<Base>) {
        self.roots.insert(number, Arc::clone(base));
    }

    /// Closes the directories of roots that are gone.
    pub(crate) fn forget_roots(&self, numbers: &[usize]) {
        for number in numbers {
            self.roots.remove(number);
        }
        self.directories.retain(|key, _| !numbers.contains(&key.base.root));
        self.names.retain(|key, _| !numbers.contains(&key.base.root));
    }

    fn replace_protected(&self, paths: Vec<PathBuf>) {
        if self.protected.load().paths() == paths {
            return;
        }
        self.protected.store(Arc::new(Protected::new(paths)));
        // What the former set allowed is not used again either way: this gives the descriptors back.
        self.cache.clear();
    }
}
