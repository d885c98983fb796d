//! What is sent: bytes in memory, spans of open files, or a stream.
use crate::{
    beneath::Patience,
    buffer::Buffer,
    device::{Device, Nature},
    options::Growing,
    parts::Parts,
    stat::{Freshness, Stat},
    store::{Object, ObjectSpan, StoreError},
};
use bytes::Bytes;
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{Advice, FileType, fadvise},
    io::{Errno, ReadWriteFlags, pread, preadv2},
};
use std::{
    io,
    num::NonZeroU64,
    ops::DerefMut,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use wasmserve_pieces::Span;

/// An open regular file with the metadata read from its descriptor.
///
/// It stands for one version of the file. What is read is of that version, or reading fails: when the file was written to,
/// truncated or (under [`Growing::End`]) appended to since it was opened, so that no response mixes two versions.
/// Replacing or deleting the name changes nothing here.
///
/// The version is told by length and modification time, which a write sets when it begins: a file that is opened in the
/// middle of one has no version to speak of (its entity tag is weak). Whoever publishes by rename never shows one.
#[derive(Debug)]
pub struct OpenFile {
    /// `None` when the whole content is in memory.
    descriptor: Option<OwnedFd>,
    stat: Stat,
    device: Arc<Device>,
    growing: Growing,
    /// The whole content, of a small file that has rested.
    small: Option<Bytes>,
    /// Where the last read ended: the next one that begins there is part of a sequence.
    sequence: AtomicU64,
}

/// The file is no longer what it was when it was opened.
#[derive(Debug, thiserror::Error)]
#[error("the file {0} while it was being sent")]
pub struct Changed(&'static str);

/// What a sequential reader will want next, asked of the disk while it is busy with the last piece: Linux's own
/// read-ahead (128 KiB) does not see through reads that come from several threads.
const READ_AHEAD: u64 = 1 << 20;

/// One page of the page cache is looked at every so many bytes to tell whether a range is in it: as much as Linux reads
/// ahead by default, so that holes are rarely smaller. A probe takes about 0.7 µs, copying as much about 40 µs.
const PROBE_EVERY: u64 = 128 << 10;

/// Files up to this length are held in memory: a body that fits one write with its head, and most of a site's pages.
const SMALL: u64 = 16 << 10;

const NO_DESCRIPTOR: &str = "a file whose content is not in memory keeps its descriptor until it is dropped";

// === impl OpenFile ===

impl OpenFile {
    pub(crate) fn new(descriptor: OwnedFd, stat: Stat, device: Arc<Device>, growing: Growing) -> Self {
        Self {
            descriptor: Some(descriptor),
            stat,
            device,
            growing,
            small: None,
            sequence: AtomicU64::new(0),
        }
    }

    /// Bytes, when it was opened; nothing beyond them is ever read.
    pub fn length(&self) -> u64 {
        self.stat.length
    }

    /// The whole content, when it is held in memory.
    pub fn in_memory(&self) -> Option<&Bytes> {
        self.small.as_ref()
    }

    /// Whether the content is in memory if it should be: small, and at rest for long enough that no second write can hide
    /// behind the modification time.
    pub(crate) fn holds_what_it_may(&self) -> bool {
        self.small.is_some() || self.stat.length > SMALL || !self.stat.has_settled()
    }

    /// Reads the content of a small file into memory. Its descriptor is closed then, where that waits for nobody.
    ///
    /// # Errors
    /// EAGAIN when it changed meanwhile and, without patience, when reading would block. A file that cannot be read says
    /// so when it is sent.
    pub(crate) fn hold(&mut self, patience: Patience) -> rustix::io::Result<()> {
        if self.holds_what_it_may() {
            return Ok(());
        }
        let length = self.available(0, usize::MAX);
        let mut content = vec![0; length];
        match patience {
            Patience::Never => {
                if !matches!(self.read_cached(&mut content, 0), Ok(read) if read == length) {
                    return Err(Errno::AGAIN);
                }
            }
            Patience::AsLongAsItTakes => match self.fill(content, 0, 0) {
                Ok(filled) => content = filled,
                Err(_) => return Ok(()),
            },
        }
        if Stat::of(&*self, Freshness::Known)? != self.stat {
            return Err(Errno::AGAIN);
        }
        self.small = Some(content.into());
        if self.device.nature != Nature::Remote {
            self.descriptor = None;
        }
        Ok(())
    }

    pub(crate) fn has_descriptor(&self) -> bool {
        self.descriptor.is_some()
    }

    pub(crate) fn stat(&self) -> &Stat {
        &self.stat
    }

    /// Reads `length` bytes at `offset`, fewer only at the end of [`length`](Self::length) (none: at or past it). Never
    /// blocks the calling worker: what is not in the page cache is read on the blocking pool.
    ///
    /// # Errors
    /// What the file system says; [`Changed`] when the file is no longer what it was; `UnexpectedEof` when it gives fewer
    /// bytes than it promised.
    pub async fn read_at(self: &Arc<Self>, offset: u64, length: usize) -> io::Result<Bytes> {
        let length = self.available(offset, length);
        if length == 0 {
            return Ok(Bytes::new());
        }
        if let Some(small) = &self.small {
            let offset = usize::try_from(offset).expect("within a length that fits in memory");
            return Ok(small.slice(offset..offset + length));
        }
        let sequential = self.follows(offset, length);
        let mut buffer = Buffer::new(length);
        let filled = self.read_cached(&mut buffer, offset)?;
        if filled < length {
            buffer = self.fill_elsewhere(buffer, filled, offset, sequential).await?;
        }
        self.unchanged()?;
        Ok(buffer.filled())
    }

    /// Whether [`is_cached`](Self::is_cached) can be believed, and what [`load`](Self::load) brings in stays: not on a file
    /// system of the network or of a process, where any read may wait for somebody.
    pub fn tells_what_is_cached(&self) -> bool {
        match self.device.nature {
            Nature::Memory => true,
            Nature::Local => self.device.tells.load(Ordering::Relaxed),
            Nature::Remote => false,
        }
    }

    /// Whether the bytes at `offset .. offset + length` seem to be in memory, so that sendfile would not wait for the disk.
    /// Looks at one page in every 128 KiB; a wrong answer costs time and nothing else. Never blocks.
    pub fn is_cached(&self, offset: u64, length: u64) -> bool {
        if self.small.is_some() {
            return true;
        }
        let end = offset.saturating_add(length).min(self.stat.length);
        let Some(last) = end.checked_sub(1).filter(|last| *last >= offset) else {
            return true;
        };
        let mut byte = [0];
        let mut probe = |at| matches!(self.read_cached(&mut byte, at), Ok(1));
        let mut at = offset;
        while at < last {
            if !probe(at) {
                return false;
            }
            at += PROBE_EVERY;
        }
        probe(last)
    }

    /// Brings the bytes at `offset .. offset + length` into the page cache, for a sendfile that follows.
    ///
    /// # Errors
    /// As [`read_at`](Self::read_at).
    pub async fn load(self: &Arc<Self>, offset: u64, length: usize) -> io::Result<()> {
        let length = self.available(offset, length);
        if length == 0 || self.is_cached(offset, length as u64) {
            return Ok(());
        }
        let sequential = self.follows(offset, length);
        self.fill_elsewhere(Buffer::new(length), 0, offset, sequential).await?;
        self.unchanged()
    }

    /// Whether the file is still the version that was opened. Never blocks: on a network file system it is what this
    /// machine knows.
    ///
    /// # Errors
    /// [`Changed`].
    pub fn unchanged(&self) -> io::Result<()> {
        if !self.has_descriptor() {
            // What is in memory stays as it is.
            return Ok(());
        }
        let now = Stat::of(self, Freshness::Known)?;
        if self.stat.same_version(&now) {
            return Ok(());
        }
        let what = match now.length.cmp(&self.stat.length) {
            std::cmp::Ordering::Less => "was truncated",
            std::cmp::Ordering::Equal => "was written to",
            std::cmp::Ordering::Greater if self.growing == Growing::Continue => return Ok(()),
            std::cmp::Ordering::Greater => "grew",
        };
        Err(io::Error::other(Changed(what)))
    }

    /// How many of `length` bytes at `offset` there are.
    fn available(&self, offset: u64, length: usize) -> usize {
        let left = self.stat.length.saturating_sub(offset);
        usize::try_from(left).map_or(length, |left| left.min(length))
    }

    /// Reads what can be had without waiting; 0 when that is nothing or cannot be told.
    fn read_cached(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let read = if self.device.nature == Nature::Memory {
            pread(self, buffer, offset)
        } else if self.device.tells.load(Ordering::Relaxed) {
            preadv2(self, &mut [io::IoSliceMut::new(buffer)], offset, ReadWriteFlags::NOWAIT)
        } else {
            Ok(0)
        };
        match read {
            Ok(read) => Ok(read),
            Err(Errno::AGAIN | Errno::INTR) => Ok(0),
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                self.device.cannot_tell();
                Ok(0)
            }
            Err(errno) => Err(errno.into()),
        }
    }

    /// Whether a read begins where the last one ended.
    fn follows(&self, offset: u64, length: usize) -> bool {
        self.sequence.swap(offset + length as u64, Ordering::Relaxed) == offset
    }

    /// Reads the rest of a buffer on the blocking pool.
    async fn fill_elsewhere<B: DerefMut<Target = [u8]> + Send + 'static>(
        self: &Arc<Self>,
        buffer: B,
        filled: usize,
        offset: u64,
        sequential: bool,
    ) -> io::Result<B> {
        let file = Arc::clone(self);
        let fill = move || {
            if sequential {
                file.read_ahead(offset + buffer.len() as u64);
            }
            file.fill(buffer, filled, offset)
        };
        self.device.readers.run(fill).await?
    }

    /// Asks the disk for what a sequential reader wants next.
    fn read_ahead(&self, from: u64) {
        if let Some(ahead) = NonZeroU64::new(READ_AHEAD.min(self.stat.length - from)) {
            // Only a hint: whatever it says, reading says again.
            let _ = fadvise(self, from, Some(ahead), Advice::WillNeed);
        }
    }

    /// Reads the rest of a buffer. Blocks.
    fn fill<B: DerefMut<Target = [u8]>>(&self, mut buffer: B, mut filled: usize, offset: u64) -> io::Result<B> {
        while filled < buffer.len() {
            match pread(self, &mut buffer[filled..], offset + filled as u64) {
                Ok(0) => {
                    self.unchanged()?;
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                Ok(read) => filled += read,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(buffer)
    }
}

/// A file that is open already, wherever it is: nobody asks whether it may be served.
impl TryFrom<std::fs::File> for OpenFile {
    type Error = io::Error;

    /// Blocks. Refuses what is not a regular file.
    fn try_from(file: std::fs::File) -> io::Result<Self> {
        let stat = Stat::of(&file, Freshness::Asked)?;
        if stat.kind != FileType::RegularFile {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let device = Device::of(stat.identity.device, &file)?;
        Ok(Self::new(file.into(), stat, device, Growing::End))
    }
}

/// Only of a file that is not held in [memory](OpenFile::in_memory).
impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_ref().expect(NO_DESCRIPTOR).as_fd()
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        // Closing may wait for the server of a remote file system.
        if self.device.nature == Nature::Remote
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
            && let Some(descriptor) = self.descriptor.take()
        {
            let device = Arc::clone(&self.device);
            runtime.spawn(async move {
                // Whatever keeps it from running drops the descriptor, which closes it too.
                let _ = device.closers.run(move || drop(descriptor)).await;
            });
        }
    }
}

/// Bytes `offset .. offset + length` of a file.
#[derive(Clone, Debug)]
pub struct FileSpan {
    pub file: Arc<OpenFile>,
    pub offset: u64,
    pub length: u64,
}

impl FileSpan {
    /// Reads the next bytes, at most `most`, and moves past them; `None` when all were read.
    ///
    /// # Errors
    /// As [`OpenFile::read_at`], and `UnexpectedEof` when the span promises more than the file has: never fewer bytes than
    /// `length` and then `None`.
    pub async fn read_next(&mut self, most: usize) -> io::Result<Option<Bytes>> {
        // Whoever asks for nothing at a time would never come to the end.
        let length = usize::try_from(self.length).map_or(most, |left| left.min(most.max(1)));
        if self.length == 0 {
            return Ok(None);
        }
        let bytes = self.file.read_at(self.offset, length).await?;
        if bytes.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += length as u64;
        self.length -= length as u64;
        Ok(Some(bytes))
    }
}

/// Where the bytes of a representation are.
#[derive(Clone, Debug)]
pub enum Source {
    File(Arc<OpenFile>),
    Object(Arc<Object>),
}

impl Source {
    /// Bytes.
    pub fn length(&self) -> u64 {
        match self {
            Self::File(file) => file.length(),
            Self::Object(object) => object.version().length,
        }
    }

    pub fn file(&self) -> Option<&Arc<OpenFile>> {
        match self {
            Self::File(file) => Some(file),
            Self::Object(_) => None,
        }
    }

    /// Bytes `offset .. offset + length`.
    pub(crate) fn part(&self, offset: u64, length: u64) -> Part {
        match self {
            Self::File(file) => Part::File(FileSpan {
                file: Arc::clone(file),
                offset,
                length,
            }),
            Self::Object(object) => Part::Object(ObjectSpan::new(Arc::clone(object), offset, length)),
        }
    }
}

impl From<Arc<Object>> for Source {
    fn from(object: Arc<Object>) -> Self {
        Self::Object(object)
    }
}

impl From<Arc<OpenFile>> for Source {
    fn from(file: Arc<OpenFile>) -> Self {
        Self::File(file)
    }
}

/// A piece of a body whose length is known.
pub enum Part {
    Bytes(Bytes),
    File(FileSpan),
    Object(ObjectSpan),
}

impl Part {
    /// Bytes.
    pub(crate) fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(span) => span.length,
            Self::Object(span) => span.length(),
        }
    }

    /// Whether it is all of what it is a piece of.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Bytes(_) => true,
            Self::File(span) => span.offset == 0 && span.length == span.file.length(),
            Self::Object(span) => span.is_whole(),
        }
    }
}

/// The body of an answer.
pub enum Content {
    /// Pieces in order; their lengths add up to Content-Length. Empty: no body.
    Parts(Parts),
    /// A body whose length is not known ahead (a listing, compression on the fly).
    Stream(std::pin::Pin<Box<dyn Stream + Send>>),
}

impl Content {
    /// No body.
    pub const NONE: Self = Self::Parts(Parts::None);

    /// Bytes in memory.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        Self::Parts(Parts::One(Part::Bytes(bytes.into())))
    }

    /// Whether bytes of it come from a store.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::Parts(parts) => parts.iter().any(|part| matches!(part, Part::Object(_))),
            Self::Stream(_) => false,
        }
    }

    /// Waits until the store, if there is one, has promised the first bytes that come from it: before the head of an answer
    /// is sent, what a store refuses can still be said by a status.
    ///
    /// # Errors
    /// As [`Store::read`](crate::store::Store::read).
    pub async fn begin(&mut self) -> Result<(), StoreError> {
        if let Self::Parts(parts) = self {
            for part in parts.iter_mut() {
                if let Part::Object(span) = part {
                    return span.begin().await;
                }
            }
        }
        Ok(())
    }
}

/// Reading that is under way.
pub(crate) type Reading<T> = std::pin::Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// A source of chunks; `None` ends it.
pub trait Stream {
    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<io::Result<Bytes>>>;

    /// As [`poll_next`](Self::poll_next), by whoever can use what is on local disk without reading it.
    fn poll_piece(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<io::Result<Piece>>> {
        let next = self.poll_next(context);
        next.map(|next| next.map(|bytes| bytes.map(Piece::Bytes)))
    }
}

/// What a stream gives.
#[derive(Debug)]
pub enum Piece {
    Bytes(Bytes),
    /// A part of a file of the disk cache.
    Local(Span),
}
