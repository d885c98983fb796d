//! [`Body`]: what an HTTP library is given as the body of a response.
use crate::{
    chunk::Chunk,
    delivery::Delivery,
    file::File,
    ledger::Ledger,
    pace::Allowance,
    sequence::Sequence,
    tally::{Meter, Summary, Tally},
};
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use std::{
    fmt, io, mem,
    num::NonZeroU64,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// A source of chunks whose number is not known ahead; `None` ends it. Not called again after `None` or an error.
pub type Source = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> + Send>;

/// A source of parts; `None` ends it. Not called again after `None` or an error.
pub type Pieces = Box<dyn FnMut(&mut Context<'_>) -> Poll<Option<io::Result<Part>>> + Send>;

/// A piece of a body.
pub enum Part {
    Bytes(Bytes),
    /// Bytes `offset .. offset + length` of a file, read through this descriptor while they are sent.
    Span {
        file: Arc<dyn File>,
        offset: u64,
        length: u64,
    },
    Stream(Source),
    /// Bytes, and spans of immutable files, of which it is known when the client is ready for them: this many bytes
    /// together, or it is a fault.
    Pieces {
        source: Pieces,
        length: u64,
    },
}

/// File parts up to this length are read and sent as real bytes, in one `sendmsg` with the head. At 60 kB that costs a
/// fifth more than `sendfile` alone, and less than `sendfile` and waiting for its acknowledgement.
const SMALL: u64 = 64 * 1024;

/// A response body. Made by [`Delivery::body`], which knows whether the connection understands spans; bytes in memory
/// need no such knowledge (`Body::from`).
pub struct Body(Kind);

enum Kind {
    /// Bytes in memory that leave at once: what most bodies are. An HTTP library moves bodies about, so this is small.
    Whole {
        bytes: Bytes,
        /// Whose faults are those of the body too.
        ledger: Option<Arc<Ledger>>,
        tally: Option<Arc<Tally>>,
    },
    Sequence(Box<Sequence>),
}

impl Part {
    /// In bytes; `None` for a stream.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Span { length, .. } | Self::Pieces { length, .. } => Some(*length),
            Self::Stream(_) => None,
        }
    }

    pub(crate) fn file(&self) -> Option<&dyn File> {
        match self {
            Self::Span { file, .. } => Some(&**file),
            Self::Bytes(_) | Self::Stream(_) | Self::Pieces { .. } => None,
        }
    }

    pub(crate) fn is_small_file(&self) -> bool {
        matches!(self, Self::Span { length, .. } if *length <= SMALL)
    }
}

impl Body {
    /// A body without bytes.
    pub fn empty() -> Self {
        Self::whole(Bytes::new(), None)
    }

    pub(crate) fn new(parts: impl IntoIterator<Item = Part>, delivery: &Delivery) -> Self {
        let mut parts = parts.into_iter();
        let ledger = || Some(delivery.ledger().clone());
        match (parts.next(), parts.next()) {
            (None, _) => Self::whole(Bytes::new(), ledger()),
            (Some(Part::Bytes(bytes)), None) => Self::whole(bytes, ledger()),
            (first, second) => {
                // Collecting nothing allocates nothing.
                let rest = second.into_iter().chain(parts).collect();
                let sequence = Sequence::new(first, rest, Some(delivery.clone()));
                Self(Kind::Sequence(Box::new(sequence)))
            }
        }
    }

    fn whole(bytes: Bytes, ledger: Option<Arc<Ledger>>) -> Self {
        Self(Kind::Whole {
            bytes,
            ledger,
            tally: None,
        })
    }

    /// Limits the rate to this many bytes per second, at most 50 ms worth of them at once.
    pub fn pace(mut self, rate: NonZeroU64) -> Self {
        self.sequence().pace(rate);
        self
    }

    /// Sends no more than it is allowed to.
    pub fn allowed_by(mut self, allowance: impl Allowance + 'static) -> Self {
        self.sequence().allowed_by(Box::new(allowance));
        self
    }

    /// Calls `report` once, when the last byte was handed on or can no longer be. It is called from a drop and must not
    /// block.
    pub fn on_end(mut self, report: impl FnOnce(Summary) + Send + 'static) -> Self {
        match &mut self.0 {
            Kind::Whole { tally: Some(tally), .. } => tally.set_report(Box::new(report)),
            Kind::Whole { bytes, ledger, tally } => {
                let new = Tally::reporting(ledger.take(), report);
                if bytes.is_empty() {
                    new.exhaust();
                }
                *tally = Some(new);
            }
            Kind::Sequence(sequence) => match sequence.counted() {
                Some(tally) => tally.set_report(Box::new(report)),
                None => sequence.tell(Tally::reporting(sequence.ledger(), report)),
            },
        }
        self
    }

    /// How far the body is, for somebody who does not have it in hand.
    pub fn meter(&mut self) -> Meter {
        Meter::of(match &mut self.0 {
            Kind::Whole { bytes, ledger, tally } => tally.get_or_insert_with(|| {
                let tally = Tally::new(ledger.take());
                if bytes.is_empty() {
                    tally.exhaust();
                }
                tally
            }),
            Kind::Sequence(sequence) => sequence.tally(),
        })
    }

    /// Why a body that was asked for a chunk has none yet: because the client did not take enough of what it was given, or
    /// because of the file, the source or the pace.
    pub fn waits_for_client(&self) -> bool {
        match &self.0 {
            Kind::Whole { .. } => false,
            Kind::Sequence(sequence) => sequence.waits_for_client(),
        }
    }

    /// The body as one whose bytes may have to wait.
    fn sequence(&mut self) -> &mut Sequence {
        if let Kind::Whole { bytes, ledger, tally } = &mut self.0 {
            // Empty ones have ended, which a tally has been told.
            let part = (!bytes.is_empty()).then(|| Part::Bytes(mem::take(bytes)));
            let mut sequence = Sequence::new(part, Vec::new(), None);
            sequence.tell(tally.take().unwrap_or_else(|| Tally::new(ledger.take())));
            self.0 = Kind::Sequence(Box::new(sequence));
        }
        match &mut self.0 {
            Kind::Sequence(sequence) => sequence,
            Kind::Whole { .. } => unreachable!("it was made a sequence"),
        }
    }
}

// === impl Body ===

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::whole(bytes, None)
    }
}

impl http_body::Body for Body {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        match &mut self.get_mut().0 {
            Kind::Whole { bytes, .. } if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole { bytes, tally, .. } => {
                let chunk = Chunk::bytes(mem::take(bytes), tally.clone());
                if let Some(tally) = tally {
                    tally.exhaust();
                    tally.hand(chunk.remaining() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Kind::Sequence(sequence) => sequence.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Whole { bytes, .. } => bytes.is_empty(),
            Kind::Sequence(sequence) => sequence.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole { bytes, .. } => SizeHint::with_exact(bytes.len() as u64),
            Kind::Sequence(sequence) => sequence.size_hint(),
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = match &self.0 {
            Kind::Whole { tally, .. } => tally.as_ref(),
            Kind::Sequence(sequence) => sequence.counted(),
        };
        f.debug_struct("Body")
            .field("length", &http_body::Body::size_hint(self).exact())
            .field("tally", &tally)
            .finish_non_exhaustive()
    }
}
