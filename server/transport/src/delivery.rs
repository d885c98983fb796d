//! [`Delivery`]: how a connection takes the bytes of files. Decided once, when the connection is made.
use crate::{
    body::{Body, Part},
    ledger::Ledger,
};
use std::sync::Arc;

/// What makes the bodies of one connection.
///
/// Comes only from [`accept`](crate::accept), [`guard`](crate::guard) or [`Delivery::copies`], so that a body with spans
/// cannot be made for a connection that does not understand them.
#[derive(Clone, Debug)]
pub struct Delivery {
    ledger: Arc<Ledger>,
    way: Way,
    chunk_size: usize,
}

/// What may wait together with the chunk behind it: the lines before a part of a multipart body.
const PART_HEAD: u64 = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// The kernel copies from file to socket.
    Spans,
    /// File bytes are read and given to a connection that serves one body at a time: HTTP/1.1 to a client of this kernel.
    Reads,
    /// The same, where the connection may be shared: TLS, HTTP/2.
    Copies,
    /// The same, to somebody who may keep all chunks before he lets go of the first.
    Collected,
}

impl Delivery {
    /// How many bytes of a file are read at a time when they are copied, unless said otherwise.
    pub const CHUNK_SIZE: usize = 64 * 1024;

    /// For whoever reads bodies without a connection of this crate. How much is in memory at a time is up to the reader.
    pub fn copies(chunk_size: usize) -> Self {
        Self::with(Arc::default(), Way::Collected, chunk_size)
    }

    pub(crate) fn copies_with(ledger: Arc<Ledger>, chunk_size: usize) -> Self {
        Self::with(ledger, Way::Copies, chunk_size)
    }

    pub(crate) fn reads_with(ledger: Arc<Ledger>, chunk_size: usize) -> Self {
        Self::with(ledger, Way::Reads, chunk_size)
    }

    pub(crate) fn spans_with(ledger: Arc<Ledger>, chunk_size: usize) -> Self {
        Self::with(ledger, Way::Spans, chunk_size)
    }

    fn with(ledger: Arc<Ledger>, way: Way, chunk_size: usize) -> Self {
        Self {
            ledger,
            way,
            chunk_size: chunk_size.max(1),
        }
    }

    /// The body of a response on this connection: `parts` in order.
    pub fn body(&self, parts: impl IntoIterator<Item = Part>) -> Body {
        Body::new(parts, self)
    }

    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// The ledger to hand spans to, if the connection understands them.
    pub(crate) fn spans(&self) -> Option<&Arc<Ledger>> {
        (self.way == Way::Spans).then_some(&self.ledger)
    }

    /// The ledger of a connection that is one body's alone.
    pub(crate) fn alone(&self) -> Option<&Arc<Ledger>> {
        matches!(self.way, Way::Spans | Way::Reads).then_some(&self.ledger)
    }

    pub(crate) fn chunk_size(&self) -> usize {
        self.chunk_size
    }

    /// How many bytes may be in the HTTP library's buffers when the next chunk is read.
    ///
    /// Hardly any where one body has the connection: a chunk is read when the socket is likely to take it at once, so that
    /// its bytes are in the processor's caches when the kernel copies them on. Those of 100 clients that are each read one
    /// chunk ahead are not, and take twice the memory.
    pub(crate) fn buffered(&self) -> u64 {
        match self.way {
            Way::Spans | Way::Reads => PART_HEAD,
            // Records or frames are made of the next chunk while the client takes the last.
            Way::Copies => self.chunk_size as u64,
            Way::Collected => u64::MAX,
        }
    }
}
