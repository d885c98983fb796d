//! Segments: files that hold pieces one behind the other, and spans of them.
//!
//! A byte that somebody may read is never written again, and no file is made shorter: a segment goes as a whole, by
//! unlinking it, so that whoever holds its descriptor keeps reading the right bytes.
use crate::{disk::Disk, index::Class};
use bytes::Bytes;
use rustix::{
    fd::{AsFd, BorrowedFd},
    io::{Errno, ReadWriteFlags, preadv2},
};
use std::{
    fmt,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use xxhash_rust::xxh3::Xxh3;

/// Bytes that a segment takes beside its pieces and their entries: the header, and the last block of each file.
pub(crate) const OVERHEAD: u64 = 2 * 4096 + crate::index::ENTRY as u64;

/// One page is looked at every so many bytes to tell whether a range is in memory: as much as Linux reads ahead.
const PROBE_EVERY: u64 = 128 << 10;

/// Bytes read at once while a piece is checked.
const CHECK: usize = 256 << 10;

/// A file of pieces. Its bytes count as used until the last who reads from it lets go.
pub(crate) struct Segment {
    pub(crate) id: u64,
    pub(crate) class: Class,
    /// Taken by `drop` alone.
    data: Option<File>,
    /// Bytes on disk that are laid to it, index included.
    charge: AtomicU64,
    disk: Arc<Disk>,
}

/// Where a piece is.
#[derive(Clone)]
pub(crate) struct Located {
    pub(crate) segment: Arc<Segment>,
    pub(crate) offset: u64,
    pub(crate) length: u32,
    pub(crate) sum: u64,
    /// Whether this process has seen its checksum hold.
    pub(crate) verified: bool,
}

/// Bytes on local disk that never change: `offset .. offset + length` of a file that this holds open.
#[derive(Clone)]
pub struct Span {
    segment: Arc<Segment>,
    offset: u64,
    length: u64,
}

// === impl Segment ===

impl Segment {
    pub(crate) fn new(id: u64, class: Class, data: File, charge: u64, disk: &Arc<Disk>) -> Self {
        disk.add(charge);
        Self {
            id,
            class,
            data: Some(data),
            charge: AtomicU64::new(charge),
            disk: Arc::clone(disk),
        }
    }

    pub(crate) fn charge(&self) -> u64 {
        self.charge.load(Ordering::Relaxed)
    }

    /// Now that it is known what it takes.
    pub(crate) fn recharge(&self, charge: u64) {
        self.disk.add(charge);
        self.disk.subtract(self.charge.swap(charge, Ordering::Relaxed));
    }

    fn data(&self) -> &File {
        self.data
            .as_ref()
            .expect("the file is there until the segment is dropped")
    }

    /// Blocks.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.data().write_all_at(bytes, offset)
    }

    /// Blocks.
    fn read(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        self.data().read_exact_at(&mut buffer, offset)?;
        Ok(buffer)
    }

    /// Reads what can be had without waiting; 0 when that is nothing or cannot be told.
    fn read_now(&self, buffer: &mut [u8], offset: u64) -> usize {
        if self.disk.is_memory() {
            return self.data().read_at(buffer, offset).unwrap_or(0);
        }
        if !self.disk.tells() {
            return 0;
        }
        let buffers = &mut [io::IoSliceMut::new(buffer)];
        match preadv2(self.data(), buffers, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => read,
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.disk.cannot_tell();
                0
            }
            // Reading says it again.
            Err(_) => 0,
        }
    }

    /// Whether the bytes seem to be in memory. Never blocks; a wrong answer costs time and nothing else.
    fn is_cached(&self, offset: u64, length: u64) -> bool {
        if self.disk.is_memory() {
            return true;
        }
        let Some(last) = offset
            .saturating_add(length)
            .checked_sub(1)
            .filter(|last| *last >= offset)
        else {
            return true;
        };
        let mut byte = [0];
        let mut probe = |at| self.read_now(&mut byte, at) == 1;
        let mut at = offset;
        while at < last {
            if !probe(at) {
                return false;
            }
            at += PROBE_EVERY;
        }
        probe(last)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.disk.subtract(self.charge());
        // The last descriptor of a file without a name frees its blocks, which may wait for the disk.
        if let (Ok(runtime), Some(data)) = (tokio::runtime::Handle::try_current(), self.data.take()) {
            runtime.spawn_blocking(move || drop(data));
        }
    }
}

impl fmt::Debug for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} segment {}", self.class, self.id)
    }
}

// === impl Located ===

impl Located {
    /// Reads all of the piece and compares its checksum, giving the bytes to `each` in order. Blocks.
    ///
    /// # Errors
    /// What the disk says; `InvalidData` when it is not what was written.
    pub(crate) fn check(&self, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut sum = Xxh3::new();
        let mut done = 0;
        while done < self.length as usize {
            let bytes = self
                .segment
                .read(self.offset + done as u64, CHECK.min(self.length as usize - done))?;
            sum.update(&bytes);
            each(&bytes)?;
            done += bytes.len();
        }
        if sum.digest() == self.sum {
            Ok(())
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "its checksum is another"))
        }
    }

    /// A part of the piece, which is within it.
    pub(crate) fn span(&self, from: u64, length: u64) -> Span {
        debug_assert!(from + length <= u64::from(self.length));
        Span {
            segment: Arc::clone(&self.segment),
            offset: self.offset + from,
            length,
        }
    }
}

// === impl Span ===

impl Span {
    /// Where it begins in the file of its descriptor.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// In bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether [`is_cached`](Self::is_cached) can be believed: not on every file system.
    pub fn tells_what_is_cached(&self) -> bool {
        self.segment.disk.tells()
    }

    /// Whether bytes `offset .. offset + length` of the file seem to be in memory, so that sendfile would not wait.
    pub fn is_cached(&self, offset: u64, length: u64) -> bool {
        self.segment.is_cached(offset, length)
    }

    /// Brings bytes `offset .. offset + length` of the file into memory.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn load(&self, offset: u64, length: usize) -> io::Result<()> {
        if self.is_cached(offset, length as u64) {
            return Ok(());
        }
        self.read(offset, length).await.map(drop)
    }

    /// Reads bytes `offset .. offset + length` of the file: those that are not in memory on the blocking pool.
    ///
    /// # Errors
    /// What the disk says.
    pub async fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; length];
        let read = self.segment.read_now(&mut buffer, offset);
        if read == length {
            return Ok(buffer.into());
        }
        let segment = Arc::clone(&self.segment);
        let fill = move || {
            segment
                .data()
                .read_exact_at(&mut buffer[read..], offset + read as u64)?;
            Ok(buffer.into())
        };
        self.segment.disk.run(fill).await
    }
}

impl AsFd for Span {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.segment.data().as_fd()
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} + {}", self.segment, self.offset, self.length)
    }
}
