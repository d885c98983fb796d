//! Reading files without making a worker wait for the disk.
//!
//! Before bytes are sent or read on a worker, [`probe`] asks whether they are in the page cache. Those that are not are
//! brought in by [`read_ahead`] on the blocking pool. What remains possible: pages that are evicted between the probe
//! and the copy, microseconds later, and holes between two probed places ([`STRIDE`] apart); then the worker waits for
//! that one read of the disk.
use bytes::Bytes;
use rustix::{
    buffer::spare_capacity,
    fd::AsFd,
    fs::{Advice, fadvise, fstatfs},
    io::{Errno, ReadWriteFlags, pread, preadv2},
};
use std::{
    future::Future,
    io::{self, IoSliceMut},
    num::NonZeroU64,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::task::{JoinHandle, spawn_blocking};

/// An open regular file that can be shared between threads.
pub trait File: AsFd + Send + Sync + 'static {}

impl<F: AsFd + Send + Sync + 'static> File for F {}

/// Distance of probed places: four times the unit in which Linux reads ahead by default (`read_ahead_kb`). Files are read
/// and forgotten in order, so that holes are rarely smaller. A probe costs about 0.5 µs, sending a stride about 50 µs.
const STRIDE: u64 = 512 * 1024;

/// How much is waited for at a time when pages are not cached.
pub(crate) const WINDOW: u64 = 1024 * 1024;

/// How much the kernel is asked to bring in behind that, without waiting.
const AHEAD: u64 = 2 * 1024 * 1024;

/// `TMPFS_MAGIC` of `linux/magic.h`; a file system in memory that does not know RWF_NOWAIT.
const TMPFS: i64 = 0x0102_1994;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    Yes,
    No,
}

/// Whether the bytes are in the page cache, as far as single pages tell: the last one, and one in every [`STRIDE`] before
/// it. A file system that cannot say counts as [`Cached::No`].
pub(crate) fn probe(file: &dyn File, offset: u64, length: u64) -> Cached {
    let mut place = offset + length.saturating_sub(1);
    loop {
        let mut byte = [0];
        match preadv2(
            file.as_fd(),
            &mut [IoSliceMut::new(&mut byte)],
            place,
            ReadWriteFlags::NOWAIT,
        ) {
            // Zero is the end of the file: nothing to wait for, and the sender finds that out by itself.
            Ok(_) => {}
            Err(Errno::OPNOTSUPP) if fstatfs(file.as_fd()).is_ok_and(|fs| fs.f_type == TMPFS) => return Cached::Yes,
            Err(_) => return Cached::No,
        }
        match place.checked_sub(STRIDE) {
            Some(before) if before >= offset => place = before,
            _ => return Cached::Yes,
        }
    }
}

/// Brings `length` bytes (at most [`WINDOW`]) into the page cache and asks the kernel to go on to `until`. Blocks.
fn read_ahead(file: &dyn File, offset: u64, length: u64, until: u64) -> io::Result<()> {
    let wanted = until.saturating_sub(offset).min(length + AHEAD);
    // Advice only: what it does not bring in is read below.
    let _ = fadvise(file.as_fd(), offset, NonZeroU64::new(wanted), Advice::WillNeed);
    let mut scratch = vec![0; 64 * 1024];
    let (mut offset, mut left) = (offset, length);
    while left > 0 {
        let most = scratch.len().min(left.try_into().unwrap_or(usize::MAX));
        match pread(file.as_fd(), &mut scratch[..most], offset) {
            Ok(0) => break,
            Ok(count) => (offset, left) = (offset + count as u64, left - count as u64),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads `length` bytes, fewer only at the end of the file. Blocks unless the bytes are cached.
fn read(file: &dyn File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut content = Vec::with_capacity(length);
    while content.len() < length {
        let at = offset + content.len() as u64;
        match pread(file.as_fd(), spare_capacity(&mut content), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // A vector may have more room than was asked for.
    content.truncate(length);
    Ok(content.into())
}

/// Work on the blocking pool. Dropping it abandons the result, not the work.
#[derive(Debug)]
pub(crate) struct Task<T>(JoinHandle<io::Result<T>>);

impl<T: Send + 'static> Task<T> {
    fn start(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Self {
        Self(spawn_blocking(work))
    }

    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        Pin::new(&mut self.0)
            .poll(context)
            .map(|joined| joined.unwrap_or_else(|error| Err(io::Error::other(error))))
    }
}

/// [`read_ahead`] on the blocking pool.
pub(crate) fn start_read_ahead(file: Arc<dyn File>, offset: u64, length: u64, until: u64) -> Task<()> {
    Task::start(move || read_ahead(&*file, offset, length, until))
}

/// Reads `length` bytes on the blocking pool, fewer only at the end of the file.
pub(crate) fn start_read(file: Arc<dyn File>, offset: u64, length: usize, until: u64) -> Task<Bytes> {
    Task::start(move || {
        // Advice only, see above: sequential readers find the next pieces cached.
        let wanted = until.saturating_sub(offset).min(length as u64 + AHEAD);
        let _ = fadvise(file.as_fd(), offset, NonZeroU64::new(wanted), Advice::WillNeed);
        read(&*file, offset, length)
    })
}

/// Reads `length` bytes here and now when they are cached.
pub(crate) fn read_cached(file: &dyn File, offset: u64, length: usize) -> Option<io::Result<Bytes>> {
    (probe(file, offset, length as u64) == Cached::Yes).then(|| read(file, offset, length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Write};

    #[test]
    fn bytes_are_brought_into_the_page_cache() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&vec![7; 3_000_000]).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        if fstatfs(&file).unwrap().f_type != TMPFS {
            assert_eq!(probe(&file, 0, 3_000_000), Cached::No);
            assert!(read_cached(&file, 0, 100).is_none());
        }
        read_ahead(&file, 0, WINDOW, 3_000_000).unwrap();
        assert_eq!(probe(&file, 0, WINDOW), Cached::Yes);
        assert_eq!(probe(&file, 1, 0), Cached::Yes);
        let (start, length) = (10, 70_000);
        assert_eq!(read_cached(&file, start, length).unwrap().unwrap(), vec![7; length]);
    }

    #[test]
    fn a_read_ends_at_the_end_of_the_file() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"0123456789").unwrap();
        assert_eq!(read(&file, 4, 100).unwrap(), "456789");
        assert_eq!(read(&file, 4, 3).unwrap(), "456");
        assert_eq!(read(&file, 40, 3).unwrap(), "");
        assert_eq!(probe(&file, 40, 1000), Cached::Yes, "nothing is there to wait for");
    }

    #[test]
    fn a_file_system_that_cannot_say_counts_as_not_cached() {
        assert_eq!(probe(&fs::File::open("/proc/self/maps").unwrap(), 0, 10), Cached::No);
    }
}
