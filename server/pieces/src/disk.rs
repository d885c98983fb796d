//! The file system that a cache lies on: how much is on it, what may run there at once, and whether it says what is in
//! memory.
use rustix::{fd::AsFd, fs::fstatfs};
use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::Semaphore;

/// Jobs of a cache that run at once on the blocking pool, which has 512 threads: a disk that hangs takes no more of it.
const JOBS: usize = 64;

#[derive(Debug)]
pub(crate) struct Disk {
    jobs: Semaphore,
    /// Bytes of all files that are there, including those without a name that somebody reads from.
    bytes: AtomicU64,
    /// There is no disk to wait for (tmpfs).
    memory: AtomicBool,
    /// Whether RWF_NOWAIT is understood; believed until it is not.
    tells: AtomicBool,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            jobs: Semaphore::new(JOBS),
            bytes: AtomicU64::new(0),
            memory: AtomicBool::new(false),
            tells: AtomicBool::new(true),
        }
    }

    /// Runs what may block, on the blocking pool. It runs to its end even if nobody waits for it any more.
    ///
    /// # Errors
    /// What it says itself, or that it broke off.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let _place = self.jobs.acquire().await.map_err(io::Error::other)?;
        tokio::task::spawn_blocking(job).await.map_err(io::Error::other)?
    }

    /// Learns what kind of file system this is.
    pub(crate) fn look_at(&self, folder: impl AsFd) -> io::Result<()> {
        // tmpfs and ramfs, by the magic numbers of statfs(2).
        let magic = fstatfs(folder)?.f_type as u64 & 0xffff_ffff;
        self.memory
            .store(matches!(magic, 0x0102_1994 | 0x8584_58f6), Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn is_memory(&self) -> bool {
        self.memory.load(Ordering::Relaxed)
    }

    pub(crate) fn tells(&self) -> bool {
        self.is_memory() || self.tells.load(Ordering::Relaxed)
    }

    pub(crate) fn cannot_tell(&self) {
        self.tells.store(false, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn add(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn subtract(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}
