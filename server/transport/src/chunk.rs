//! A piece of a body in the HTTP library's hands: real bytes, or a span that only the kernel reads.
use crate::{
    ledger::{Fault, Ledger},
    region,
    tally::Tally,
};
use bytes::{Buf, Bytes};
use std::{io::IoSlice, ops::Range, sync::Arc};

/// The data of [`Body`](crate::Body)'s frames.
///
/// A span shows a placeholder of its length. Only the [`Connection`](crate::Connection) that it was made for can send
/// what it stands for; see the crate's documentation for what happens when anything else tries.
#[derive(Debug)]
pub struct Chunk {
    content: Content,
    tally: Option<Arc<Tally>>,
}

#[derive(Debug)]
enum Content {
    Bytes(Bytes),
    Span(Span),
}

/// Positions of the connection's span bytes.
#[derive(Debug)]
struct Span {
    ledger: Arc<Ledger>,
    positions: Range<u64>,
}

impl Chunk {
    pub(crate) fn bytes(bytes: Bytes, tally: Option<Arc<Tally>>) -> Self {
        Self {
            content: Content::Bytes(bytes),
            tally,
        }
    }

    pub(crate) fn span(ledger: Arc<Ledger>, positions: Range<u64>, tally: Option<Arc<Tally>>) -> Self {
        Self {
            content: Content::Span(Span { ledger, positions }),
            tally,
        }
    }

    /// Whether the kernel is to copy the bytes.
    pub fn is_span(&self) -> bool {
        matches!(self.content, Content::Span(_))
    }
}

// === impl Chunk ===

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Span(span) => span.length(),
        }
    }

    fn chunk(&self) -> &[u8] {
        match &self.content {
            Content::Bytes(bytes) => bytes,
            Content::Span(span) => span.show(),
        }
    }

    fn chunks_vectored<'a>(&'a self, target: &mut [IoSlice<'a>]) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.chunks_vectored(target),
            Content::Span(span) => span.show_all(target),
        }
    }

    fn advance(&mut self, count: usize) {
        let handed_on = match &mut self.content {
            Content::Bytes(bytes) => {
                bytes.advance(count);
                true
            }
            // The fault ends the connection at its next write; `Buf` has no way to refuse here.
            Content::Span(span) => span.advance(count).is_ok(),
        };
        if let Some(tally) = &self.tally {
            if handed_on {
                tally.advance(count as u64)
            } else {
                tally.lose(count as u64)
            }
        }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        let lost = self.remaining() as u64;
        if lost == 0 {
            return;
        }
        if let Content::Span(span) = &self.content {
            span.ledger.abandon();
        }
        if let Some(tally) = &self.tally {
            tally.lose(lost);
        }
    }
}

// === impl Span ===

impl Span {
    fn length(&self) -> usize {
        (self.positions.end - self.positions.start) as usize
    }

    /// The placeholder, or its beginning where it is longer than a slice can be; whoever asks must write it as it is.
    fn show(&self) -> &'static [u8] {
        let slice = region::slice(self.positions.clone());
        self.ledger.expose(self.positions.start + slice.len() as u64);
        slice
    }

    /// The placeholder in slices, as much of it as there is room for.
    fn show_all(&self, target: &mut [IoSlice<'_>]) -> usize {
        let mut start = self.positions.start;
        let mut count = 0;
        while start < self.positions.end && count < target.len() {
            let slice = region::slice(start..self.positions.end);
            target[count] = IoSlice::new(slice);
            start += slice.len() as u64;
            count += 1;
        }
        if count > 0 {
            self.ledger.expose(start);
        }
        count
    }

    fn advance(&mut self, count: usize) -> Result<(), Fault> {
        assert!(count <= self.length(), "advanced past the end of a span");
        let positions = self.positions.start..self.positions.start + count as u64;
        self.positions.start = positions.end;
        self.ledger.advance(positions)
    }
}
