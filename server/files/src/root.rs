//! Roots: the directories that everything is opened beneath.
//!
//! A root is opened from its path and used as a descriptor; the path is looked up again at most a second late, so that a
//! deployment that flips a link or moves a directory into place is seen.
use crate::{
    beneath::{self, Method, Patience},
    device,
    lane::{self, Lanes, NotRun},
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
    hash::{BuildHasher, Hash, Hasher, RandomState},
    path::{Path, PathBuf},
    sync::{
        Arc, LazyLock, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

/// How often the kernel is asked whether it can name a place without waiting before its no is believed. Beside 10,000
/// mounts and unmounts a second about one answer in ten is a wrong no; asking takes a microsecond.
const ATTEMPTS: usize = 8;

/// How late a change in the file system is seen.
pub(crate) const FRESH: Duration = Duration::from_secs(1);

/// Jobs of one root that open and look things up on one device at once, and how many more may wait before the answer
/// is 503.
const OPENERS: usize = 32;
const QUEUE: usize = 1024;

/// What tells bases apart: what is found from one directory under one root's options is the same however it was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BaseKey {
    pub(crate) root: usize,
    directory: Identity,
    /// A hash of both, made once for all that are looked up beneath it.
    hash: u64,
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
    path: PathBuf,
    pub(crate) options: RootOptions,
    pub(crate) method: Method,
    /// By the device that a job is expected to wait for, so that a disk that hangs somewhere beneath the root is not felt
    /// beside it.
    openers: Lanes,
    /// The number of the device that the directory was last seen on.
    device: AtomicU64,
    /// The one that was opened last.
    base: ArcSwap<Known>,
}

/// What is known of a root's own directory.
#[derive(Debug)]
struct Known {
    /// Held by the pool for as long as there is room.
    base: Weak<Base>,
    key: Option<BaseKey>,
    opened: Instant,
}

/// The number of one more root of the process.
pub(crate) fn new_number() -> usize {
    static NUMBERS: AtomicUsize = AtomicUsize::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}

impl BaseKey {
    fn new(root: usize, directory: Identity) -> Self {
        static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let hash = KEY.hash_one((root, directory));
        Self { root, directory, hash }
    }

    /// Of a root that is no directory.
    pub(crate) fn of_store(root: usize) -> Self {
        Self::new(root, Identity { device: 0, inode: 0 })
    }
}

impl Hash for BaseKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl Base {
    fn new(root: usize, method: Method, handle: OwnedFd) -> Result<Self> {
        let stat = Stat::of(&handle, Freshness::Known)?;
        if stat.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let key = BaseKey::new(root, stat.identity);
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

    fn device(&self) -> u64 {
        self.key.directory.device
    }
}

impl AsFd for Base {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

impl Root {
    /// Opens the root. Blocks.
    pub(crate) fn new(pool: &Pool, name: String, path: PathBuf, options: RootOptions, method: Method) -> Result<Self> {
        let root = Self {
            number: new_number(),
            name,
            path,
            options,
            method,
            openers: Lanes::new(OPENERS, QUEUE),
            device: AtomicU64::new(0),
            base: ArcSwap::from_pointee(Known {
                base: Weak::new(),
                key: None,
                opened: Instant::now(),
            }),
        };
        root.open(pool, Patience::AsLongAsItTakes)?;
        Ok(root)
    }

    /// Runs a job on the root's share of the blocking pool; `device` is the one that it is expected to wait for.
    ///
    /// # Errors
    /// [`Trouble::Busy`] when as many wait already as may.
    pub(crate) async fn elsewhere<T: Send + 'static>(
        &self,
        device: u64,
        job: impl FnOnce() -> std::result::Result<T, Trouble> + Send + 'static,
    ) -> std::result::Result<T, Trouble> {
        self.run(device, job).await.unwrap_or_else(|not_run| {
            let error: &dyn std::error::Error = &not_run;
            tracing::warn!(root = self.name, error, "cannot look a file up now");
            Err(Trouble::Busy)
        })
    }

    async fn run<T: Send + 'static>(
        &self,
        device: u64,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> std::result::Result<T, NotRun> {
        let of_root = self.openers.of(device).enter().await?;
        let of_device = match device::openers(device) {
            Some(openers) => Some(openers.enter().await?),
            None => None,
        };
        lane::run([Some(of_root), of_device], job).await
    }

    /// The device that looking `path` up would wait for: the one that holds the longest part of the path which the kernel
    /// can name without waiting. A directory that something is mounted on is always such a part. Where the kernel cannot
    /// tell (step by step; a link that it has not read yet) it is the device before that. Never blocks.
    pub(crate) fn device_ahead(&self, base: &Base, path: &str) -> u64 {
        let device_of = |part: &str| {
            let located = self
                .method
                .locate(base.as_fd(), part, self.options.symlinks, Patience::Never)?;
            Stat::of(&located.handle, Freshness::Known).map(|stat| stat.identity.device)
        };
        let ends: Vec<usize> = path
            .match_indices('/')
            .map(|(end, _)| end)
            .chain([path.len()])
            .collect();
        let (mut device, mut known) = (base.device(), 0);
        while known < ends.len() {
            // What is beneath something unknown is unknown: halving finds the longest part in a few steps, however many
            // segments a client sent.
            let mut unknown = ends.len();
            while known < unknown {
                let middle = (known + unknown) / 2;
                match device_of(&path[..ends[middle]]) {
                    Ok(seen) => (device, known) = (seen, middle + 1),
                    Err(_) => unknown = middle,
                }
            }
            let Some(&end) = ends.get(known) else { break };
            // The kernel says the same when something was mounted, anywhere, while it looked. Believed once, that would
            // let one more than may wait for a disk, and in the lane of another.
            let mut asked = (0..ATTEMPTS).map(|_| device_of(&path[..end]));
            match asked.find(|seen| *seen != Err(Errno::AGAIN)) {
                Some(Ok(seen)) => (device, known) = (seen, known + 1),
                Some(Err(_)) | None => break,
            }
        }
        device
    }

    /// The device that the root's own directory was last seen on.
    pub(crate) fn device(&self) -> u64 {
        self.device.load(Ordering::Relaxed)
    }

    /// The root's own directory, at most [`FRESH`] old.
    ///
    /// # Errors
    /// EAGAIN when looking it up would block and `patience` is short; whatever opening it says.
    pub(crate) fn base(&self, pool: &Pool, patience: Patience) -> Result<Arc<Base>> {
        match self.base.load().base.upgrade().filter(|base| base.is_fresh()) {
            Some(base) => Ok(base),
            None => self.open(pool, patience),
        }
    }

    /// What tells the root's own directory apart, when it was looked up less than [`FRESH`] before `now`.
    pub(crate) fn fresh_key(&self, now: Instant) -> Option<BaseKey> {
        let known = self.base.load();
        known.key.filter(|_| now < known.opened + FRESH)
    }

    fn open(&self, pool: &Pool, patience: Patience) -> Result<Arc<Base>> {
        let mut handle = self.method.open_directory(&self.path, patience)?;
        if let Some(within) = &self.options.within {
            handle = self.descend(handle.as_fd(), within, patience)?;
        }
        let fresh = Arc::new(Base::new(self.number, self.method, handle)?);
        self.device.store(fresh.device(), Ordering::Relaxed);
        self.base.store(Arc::new(Known {
            base: Arc::downgrade(&fresh),
            key: Some(fresh.key),
            opened: fresh.opened,
        }));
        pool.hold_root(self.number, &fresh);
        Ok(fresh)
    }

    /// The directory that a policy confined the search to. Each segment is opened beneath the one before it: who owns a
    /// directory on the way can make a link to elsewhere in that directory, and to nowhere else.
    pub(crate) fn place(&self, base: &Base, segments: &str, patience: Patience) -> Result<Base> {
        let handle = self.descend(base.as_fd(), segments, patience)?;
        Base::new(self.number, self.method, handle)
    }

    /// A directory beneath another, segment by segment.
    fn descend(&self, from: BorrowedFd<'_>, segments: &str, patience: Patience) -> Result<OwnedFd> {
        let mut handle: Option<OwnedFd> = None;
        for segment in segments.split('/').filter(|segment| !segment.is_empty()) {
            let above = handle.as_ref().map_or(from, OwnedFd::as_fd);
            handle = Some(
                self.method
                    .locate(above, segment, self.options.symlinks, patience)?
                    .handle,
            );
        }
        handle.ok_or(Errno::INVAL)
    }

    /// The path that it is opened from.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The number that everything which is kept of this root is kept under.
    pub(crate) fn number(&self) -> usize {
        self.number
    }
}
