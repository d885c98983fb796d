//! Roots: the directories that everything is opened beneath.
//!
//! A root is opened from its path and used as a descriptor; the path is looked up again at most a second late, so that a
//! deployment that flips a link or moves a directory into place is seen.
use crate::{
    beneath::{self, Method, Patience},
    lane::Lane,
    options::RootOptions,
    pool::Pool,
    stat::{Freshness, Identity, Stat},
    trouble::Trouble,
};
use arc_swap::ArcSwap;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::FileType,
    io::{Errno, Result},
};
use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How late a change in the file system is seen.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// Jobs of one root that open and look things up at once, and how many more may wait before the answer is 503.
const OPENERS: usize = 32;
const QUEUE: usize = 1024;

/// What tells bases apart: what is found from one directory under one root's options is the same however it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BaseKey {
    root: usize,
    directory: Identity,
}

/// A directory that confines a search: nothing outside it is reached from it.
#[derive(Debug)]
pub(crate) struct Base {
    handle: OwnedFd,
    pub(crate) key: BaseKey,
    /// The directories that it is in, itself first; only where paths are walked step by step.
    pub(crate) trail: Vec<Identity>,
    opened: Instant,
}

#[derive(Debug)]
pub(crate) struct Root {
    /// Among all of the process, so that nothing is ever found beneath another site's root.
    number: usize,
    pub(crate) name: String,
    pub(crate) options: RootOptions,
    pub(crate) method: Method,
    lane: Lane,
    /// Held by the pool for as long as there is room.
    base: ArcSwap<Weak<Base>>,
}

impl Base {
    fn new(root: usize, method: Method, handle: OwnedFd) -> Result<Self> {
        let stat = Stat::of(&handle, Freshness::Known)?;
        if stat.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let key = BaseKey {
            root,
            directory: stat.identity,
        };
        let trail = match method {
            Method::Kernel { .. } => Vec::new(),
            Method::Steps => beneath::ancestors(handle.as_fd())?,
        };
        Ok(Self {
            handle,
            key,
            trail,
            opened: Instant::now(),
        })
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.opened.elapsed() < FRESH
    }
}

impl AsFd for Base {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Root {
    /// Opens the root. Blocks.
    pub(crate) fn new(pool: &Pool, name: String, options: RootOptions, method: Method) -> Result<Self> {
        static NUMBERS: AtomicUsize = AtomicUsize::new(0);
        let root = Self {
            number: NUMBERS.fetch_add(1, Ordering::Relaxed),
            name,
            options,
            method,
            lane: Lane::new(OPENERS, QUEUE),
            base: ArcSwap::from_pointee(Weak::new()),
        };
        root.open(pool, Patience::AsLongAsItTakes)?;
        Ok(root)
    }

    /// Runs a job on the root's share of the blocking pool.
    ///
    /// # Errors
    /// [`Trouble::Busy`] when as many wait already as may.
    pub(crate) async fn elsewhere<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> std::result::Result<T, Trouble> + Send + 'static,
    ) -> std::result::Result<T, Trouble> {
        self.lane.run(job).await.unwrap_or_else(|not_run| {
            let error: &dyn std::error::Error = &not_run;
            tracing::warn!(root = self.name, error, "cannot look a file up now");
            Err(Trouble::Busy)
        })
    }

    /// The root's own directory, at most [`FRESH`] old.
    ///
    /// # Errors
    /// EAGAIN when looking it up would block and `patience` is short; whatever opening it says.
    pub(crate) fn base(&self, pool: &Pool, patience: Patience) -> Result<Arc<Base>> {
        match self.base.load().upgrade().filter(|base| base.is_fresh()) {
            Some(base) => Ok(base),
            None => self.open(pool, patience),
        }
    }

    fn open(&self, pool: &Pool, patience: Patience) -> Result<Arc<Base>> {
        let handle = self.method.open_directory(&self.options.path, patience)?;
        let fresh = Arc::new(Base::new(self.number, self.method, handle)?);
        self.base.store(Arc::new(Arc::downgrade(&fresh)));
        pool.hold_root(self.number, &fresh);
        Ok(fresh)
    }

    /// The directory that a policy confined the search to. Each segment is opened beneath the one before it: who owns a
    /// directory on the way can make a link to elsewhere in that directory, and to nowhere else.
    pub(crate) fn place(&self, base: &Base, segments: &str, patience: Patience) -> Result<Base> {
        let mut handle: Option<OwnedFd> = None;
        for segment in segments.split('/').filter(|segment| !segment.is_empty()) {
            let above = handle.as_ref().map_or(base.as_fd(), OwnedFd::as_fd);
            handle = Some(
                self.method
                    .locate(above, segment, self.options.symlinks, patience)?
                    .handle,
            );
        }
        Base::new(self.number, self.method, handle.ok_or(Errno::INVAL)?)
    }
}
