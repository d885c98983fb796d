//! Pieces of the disk cache in the transport's hands: the kernel copies them as it does files.

use bytes::Bytes;
use rustix::fd::{AsFd, BorrowedFd};
use std::{io, sync::Arc};
use wasmserve_files::Piece;
use wasmserve_pieces::Span;
use wasmserve_transport::{self as transport, Reading};

/// What a store's stream gave.
pub fn part(piece: Piece) -> transport::Part {
    match piece {
        Piece::Bytes(bytes) => transport::Part::Bytes(bytes),
        Piece::Local(span) => transport::Part::Span {
            offset: span.offset(),
            length: span.length(),
            file: Arc::new(Local(span)),
        },
    }
}

/// The file of a piece.
struct Local(Span);

impl AsFd for Local {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl transport::File for Local {
    fn unchanged(&self) -> io::Result<()> {
        Ok(())
    }

    fn is_immutable(&self) -> bool {
        true
    }

    fn is_lendable(&self) -> bool {
        self.0.tells_what_is_cached()
    }

    fn is_cached(&self, offset: u64, length: u64) -> bool {
        self.0.is_cached(offset, length)
    }

    fn load(self: Arc<Self>, offset: u64, length: usize) -> Reading<()> {
        Box::pin(async move { self.0.load(offset, length).await })
    }

    fn read(self: Arc<Self>, offset: u64, length: usize) -> Reading<Bytes> {
        Box::pin(async move { self.0.read(offset, length).await })
    }
}
