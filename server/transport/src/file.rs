//! [`File`]: what this crate asks of an open file. Reading without making a worker wait for the disk is the business of
//! whoever opened it.
use bytes::Bytes;
use rustix::fd::AsFd;
use std::{
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// Reading that is under way. Dropping it abandons the result.
pub type Reading<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// An open regular file that stands for one version of its content.
pub trait File: AsFd + Send + Sync + 'static {
    /// Refuses when the file is no longer the version that it was when it was opened. Must not block; asked after every
    /// piece that was sent and before a body is completed.
    fn unchanged(&self) -> io::Result<()>;

    /// Whether the kernel may be given the file at all: where nobody can tell whether `sendfile` would wait (a file system
    /// of the network or of a process), bytes are read instead.
    fn is_lendable(&self) -> bool;

    /// Whether its bytes can never change, whoever does what: then a body needs no end that asks whether they did, and parts
    /// of it may come one after the other ([`Part::Pieces`](crate::Part::Pieces)).
    fn is_immutable(&self) -> bool {
        false
    }

    /// Whether `offset .. offset + length` seems to be in the page cache, so that `sendfile` would not wait for a disk.
    /// Must not block. A wrong answer costs time only.
    fn is_cached(&self, offset: u64, length: u64) -> bool;

    /// Brings `offset .. offset + length` into the page cache.
    fn load(self: Arc<Self>, offset: u64, length: usize) -> Reading<()>;

    /// Reads `length` bytes, of the version that was opened or not at all; fewer only at the end of the file.
    fn read(self: Arc<Self>, offset: u64, length: usize) -> Reading<Bytes>;
}

/// How much is waited for at a time when pages are not cached.
pub(crate) const WINDOW: u64 = 1024 * 1024;

/// A [`Reading`] that can be printed.
pub(crate) struct Task<T>(Reading<T>);

impl<T> Task<T> {
    pub fn new(reading: Reading<T>) -> Self {
        Self(reading)
    }

    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        self.0.as_mut().poll(context)
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task")
    }
}
