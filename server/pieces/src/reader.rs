//! Reading a range of an object: piece by piece, from disk where it is there, fetched where it is not, and straight from
//! the store where nothing can be kept.
use crate::{
    cache::{Claim, Inner},
    counts::add,
    flight::Outcome,
    key::Object,
    origin::Chunks,
    segment::{Located, Span},
    shelf::Asking,
};
use bytes::Bytes;
use futures_util::StreamExt;
use std::{collections::VecDeque, io, ops::Range, sync::Arc};

/// What comes next of a range.
#[derive(Debug)]
pub enum Part {
    /// On local disk, and in memory a moment ago.
    Local(Span),
    /// From the store.
    Bytes(Bytes),
}

/// Reads a range in order. Dropping it stops what nobody else waits for.
pub struct Reader {
    inner: Arc<Inner>,
    object: Object,
    /// What is still to be read.
    left: Range<u64>,
    /// Pieces that this one has had fetched and not read yet, in order.
    own: VecDeque<Range<u64>>,
    /// The piece behind the last one that was seen to.
    seen: u64,
    /// Pieces that are seen to ahead of the one that is read.
    ahead: u64,
    /// Where nothing can be kept: bytes from the store.
    direct: Option<Direct>,
    /// Alive as long as this is.
    token: Arc<()>,
}

struct Direct {
    chunks: Chunks,
    left: u64,
}

/// A piece that is evicted or damaged each time that it was fetched is read without keeping it in the end.
const ATTEMPTS: usize = 3;

// === impl Reader ===

impl Reader {
    pub(crate) fn new(inner: Arc<Inner>, object: Object, range: Range<u64>) -> Self {
        Self {
            inner,
            left: range.start.min(object.size)..range.end.min(object.size),
            object,
            own: VecDeque::new(),
            seen: 0,
            ahead: 0,
            direct: None,
            token: Arc::new(()),
        }
    }

    /// Bytes that are still to come.
    pub fn remaining(&self) -> u64 {
        self.left.end.saturating_sub(self.left.start)
    }

    /// The next part, never empty; `None` when all was read.
    ///
    /// # Errors
    /// What the store says. What the disk says is never an error: then the store is asked.
    pub async fn next(&mut self) -> io::Result<Option<Part>> {
        if self.direct.is_some() {
            return self.next_direct().await.map(Some);
        }
        if self.remaining() == 0 {
            return Ok(None);
        }
        let piece = u64::from(self.inner.options.piece);
        let index = self.left.start / piece;
        self.own.retain(|pieces| pieces.end > index);
        for _ in 0..ATTEMPTS {
            let fetched = self.own.iter().any(|pieces| pieces.contains(&index));
            let asking = if fetched { Asking::First } else { Asking::Again };
            let wanted = index..(index + self.ahead.max(1)).min(self.end());
            let waiter = match self.inner.claim(&self.object, wanted, asking, &self.token) {
                Claim::Here(place) => {
                    self.read_ahead(index);
                    if let Some(place) = self.usable(index, place).await {
                        self.count(fetched);
                        return Ok(Some(self.take(&place, index, fetched)));
                    }
                    continue;
                }
                Claim::Started { waiter, pieces } => {
                    self.seen = self.seen.max(pieces.end);
                    self.own.push_front(pieces);
                    waiter
                }
                Claim::Joined(waiter) => {
                    if !fetched {
                        add(&self.inner.counters.joined, 1);
                    }
                    waiter
                }
                Claim::Bypass => break,
            };
            self.read_ahead(index);
            match waiter.outcome().await {
                Outcome::Done(place) => {
                    self.count(true);
                    return Ok(Some(self.take(&place, index, true)));
                }
                Outcome::Failed(failure) => return Err(failure.into()),
                Outcome::Abandoned => {}
                Outcome::Bypass => break,
            }
        }
        self.begin_direct(index).await?;
        self.next_direct().await.map(Some)
    }

    fn count(&self, missed: bool) {
        let counters = &self.inner.counters;
        add(if missed { &counters.misses } else { &counters.hits }, 1);
    }

    /// The piece behind the last one that is wanted.
    fn end(&self) -> u64 {
        self.left.end.div_ceil(u64::from(self.inner.options.piece))
    }

    /// Has more pieces fetched when half of those that were are used up. Nothing ahead of the first piece, and twice as
    /// much with each that was read: a seek costs one piece, a long read few requests.
    fn read_ahead(&mut self, index: u64) {
        let from = self.seen.max(index + 1);
        let until = (index + 1 + self.ahead).min(self.end());
        if from >= until || from - index - 1 > self.ahead / 2 {
            return;
        }
        let begun = self.inner.prefetch(&self.object, from..until, &self.token);
        self.seen = begun.as_ref().map_or(until, |pieces| pieces.end);
        self.own.extend(begun);
    }

    /// The piece, if it can be read: checked when this process has not seen it before, and brought into memory.
    async fn usable(&mut self, index: u64, place: Located) -> Option<Located> {
        let piece = u64::from(self.inner.options.piece);
        let within =
            self.left.start - index * piece..self.left.end.min(index * piece + u64::from(place.length)) - index * piece;
        let read = if place.verified {
            let span = place.span(within.start, within.end - within.start);
            let length = usize::try_from(span.length()).expect("a piece fits in memory");
            span.load(span.offset(), length).await
        } else {
            let unseen = place.clone();
            self.inner.disk.run(move || unseen.check(|_| Ok(()))).await
        };
        let key = self.object.piece(index);
        match read {
            Ok(()) => {
                if !place.verified {
                    self.inner.verified(&key, &place);
                }
                Some(place)
            }
            Err(error) => {
                self.inner.damaged(&key, &place, &error);
                None
            }
        }
    }

    fn take(&mut self, place: &Located, index: u64, fetched: bool) -> Part {
        let from = self.left.start - index * u64::from(self.inner.options.piece);
        let length = (u64::from(place.length) - from).min(self.remaining());
        self.left.start += length;
        self.ahead = (self.ahead * 2).clamp(1, self.inner.options.read_ahead.into());
        if !fetched {
            add(&self.inner.counters.hit_bytes, length);
        }
        Part::Local(place.span(from, length))
    }

    /// Asks the store for what is not here, up to the next piece that is.
    async fn begin_direct(&mut self, index: u64) -> io::Result<()> {
        let piece = u64::from(self.inner.options.piece);
        let here = self.inner.next_here(&self.object, index + 1, self.end());
        let until = here.saturating_mul(piece).min(self.left.end);
        let range = self.left.start..until;
        add(&self.inner.counters.fetches, 1);
        let fetched = self.object.origin.fetch(range.clone()).await;
        let chunks = fetched.inspect_err(|_| add(&self.inner.counters.failed_fetches, 1))?;
        self.direct = Some(Direct {
            chunks,
            left: range.end - range.start,
        });
        Ok(())
    }

    async fn next_direct(&mut self) -> io::Result<Part> {
        let Some(direct) = &mut self.direct else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let bytes = loop {
            match direct.chunks.next().await.transpose()? {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => break bytes,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        };
        let length = bytes.len() as u64;
        let Some(left) = direct.left.checked_sub(length) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the store sent more than it was asked for",
            ));
        };
        direct.left = left;
        if left == 0 {
            self.direct = None;
        }
        self.left.start += length;
        add(&self.inner.counters.fetched_bytes, length);
        add(&self.inner.counters.bypassed_bytes, length);
        Ok(Part::Bytes(bytes))
    }
}
