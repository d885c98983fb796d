//! Where pieces come from when they are not here.
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream::BoxStream};
use std::{io, ops::Range, sync::Arc};

/// One version of one object in its store.
pub trait Origin: Send + Sync + 'static {
    /// Reads bytes `range` of this version, and of no other: where the store has another one by now, that is an error,
    /// at once or within the stream. Retries are made behind this; an error ends the fetch.
    fn fetch(&self, range: Range<u64>) -> Fetching;
}

/// A fetch that has begun.
pub type Fetching = BoxFuture<'static, io::Result<Chunks>>;

/// The bytes of a range in order, in chunks of any length.
pub type Chunks = BoxStream<'static, io::Result<Bytes>>;

/// Why a fetch failed, told to all who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(Arc<io::Error>);

impl Failure {
    /// What the store, or whoever asked it, said.
    pub fn error(&self) -> &io::Error {
        &self.0
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        Self::new(failure.0.kind(), failure)
    }
}
