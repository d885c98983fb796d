//! What is sent: bytes in memory, spans of open files, or a stream.
use bytes::Bytes;
use std::{io, sync::Arc};

/// An open regular file with the metadata read from its descriptor.
pub struct OpenFile {}

impl OpenFile {
    /// Reads up to `length` bytes at `offset`, fewer only at the end of the file (empty: at or past it). Never blocks the
    /// calling worker: what is not in the page cache is read on the blocking pool.
    pub async fn read_at(self: &Arc<Self>, _offset: u64, _length: usize) -> io::Result<Bytes> {
        todo!()
    }
}

/// Bytes `offset .. offset + length` of a file.
#[derive(Clone)]
pub struct FileSpan {
    pub file: Arc<OpenFile>,
    pub offset: u64,
    pub length: u64,
}

/// A piece of a body whose length is known.
pub enum Part {
    Bytes(Bytes),
    File(FileSpan),
}

/// The body of an answer.
pub enum Content {
    /// Pieces in order; their lengths add up to Content-Length. Empty: no body.
    Parts(Vec<Part>),
    /// A body whose length is not known ahead (a listing, compression on the fly).
    Stream(std::pin::Pin<Box<dyn Stream + Send>>),
}

/// A source of chunks; `None` ends it.
pub trait Stream {
    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<io::Result<Bytes>>>;
}
