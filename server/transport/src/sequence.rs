//! [`Sequence`]: parts in order, given to the HTTP library piece by piece, at a pace where there is one.
use crate::{
    body::Part,
    chunk::Chunk,
    delivery::Delivery,
    file::{File, Task},
    ledger::{Fault, Ledger, Place},
    pace::{Allowance, Pace},
    tally::Tally,
};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::{
    io,
    num::NonZeroU64,
    sync::Arc,
    task::{Context, Poll, ready},
    vec,
};

/// The end of the last span, which completes what `sendfile` sends of a body.
const END: u64 = 16 * 1024;

/// Longer file parts are handed over in several chunks, so that lengths fit `usize` anywhere. How much of a chunk leaves
/// at a time is the connection's business.
const LONGEST_SPAN: u64 = 1 << 30;

/// The parts of a body that is not all in memory, or may not leave at once.
pub(crate) struct Sequence {
    /// The part in hand; none when the body is at its end.
    current: Option<Part>,
    /// Whether the part in hand is a file part that is to be copied however the connection delivers.
    small: bool,
    rest: vec::IntoIter<Part>,
    /// Where the part in hand came from, and what comes before the rest.
    pieces: Option<Part>,
    /// Bytes still to come, when all parts have a length.
    length: Option<u64>,
    delivery: Option<Delivery>,
    /// A read under way and how many bytes it is for.
    reading: Option<(usize, Task<Bytes>)>,
    /// Whether any part is of a file: what becomes of its chunks has to be known then.
    has_file: bool,
    /// Whether the kernel may be given all files of the body: it is one or the other, because the end of the last span
    /// makes up for all of them.
    lends: bool,
    /// The files that `sendfile` was given, each once.
    lent: Vec<Arc<dyn File>>,
    /// What a stream gave beyond what the pace allowed.
    surplus: Bytes,
    pace: Option<Pace>,
    allowance: Option<Box<dyn Allowance>>,
    tally: Option<Arc<Tally>>,
    /// Whether the last chunk that was asked for has to wait until the client took an earlier one.
    waits_for_client: bool,
}

impl Sequence {
    pub fn new(current: Option<Part>, rest: Vec<Part>, delivery: Option<Delivery>) -> Self {
        let length = current
            .iter()
            .chain(&rest)
            .try_fold(0_u64, |sum, part| sum.checked_add(part.length()?));
        let mut files = current.iter().chain(&rest).filter_map(Part::file).peekable();
        let has_file = files.peek().is_some();
        let lends = files.all(|file| file.is_lendable());
        let mut body = Self {
            small: current.as_ref().is_some_and(Part::is_small_file),
            current,
            rest: rest.into_iter(),
            pieces: None,
            length,
            delivery,
            reading: None,
            has_file,
            lends,
            lent: Vec::new(),
            surplus: Bytes::new(),
            pace: None,
            allowance: None,
            tally: None,
            waits_for_client: false,
        };
        body.settle();
        body
    }

    /// See [`Body::pace`](crate::Body::pace).
    pub fn pace(&mut self, rate: NonZeroU64) {
        self.pace = Some(Pace::new(rate));
        self.tally();
    }

    /// See [`Body::allowed_by`](crate::Body::allowed_by).
    pub fn allowed_by(&mut self, allowance: Box<dyn Allowance>) {
        self.allowance = Some(allowance);
    }

    /// What is told of the end of the body, by a tally that has told nobody yet.
    pub fn tell(&mut self, tally: Arc<Tally>) {
        if self.current.is_none() {
            tally.exhaust();
        }
        self.tally = Some(tally);
    }

    /// See [`Body::waits_for_client`](crate::Body::waits_for_client).
    pub fn waits_for_client(&self) -> bool {
        self.waits_for_client
    }

    /// What counts the bytes of the body, if anything does yet.
    pub fn counted(&self) -> Option<&Arc<Tally>> {
        self.tally.as_ref()
    }

    pub fn ledger(&self) -> Option<Arc<Ledger>> {
        self.delivery.as_ref().map(|delivery| delivery.ledger().clone())
    }

    pub fn tally(&mut self) -> &Arc<Tally> {
        let ended = self.current.is_none();
        let delivery = &self.delivery;
        self.tally.get_or_insert_with(|| {
            let tally = Tally::new(delivery.as_ref().map(|delivery| delivery.ledger().clone()));
            if ended {
                tally.exhaust();
            }
            tally
        })
    }

    /// Moves on to the next part that has bytes, or to the end.
    fn settle(&mut self) {
        while self.current.as_ref().is_some_and(|part| part.length() == Some(0)) {
            self.next_part();
        }
        if self.current.is_none()
            && let Some(tally) = &self.tally
        {
            tally.exhaust();
        }
    }

    fn next_part(&mut self) {
        self.current = self.pieces.take().or_else(|| self.rest.next());
        self.small = self.current.as_ref().is_some_and(Part::is_small_file);
    }

    /// Waits until more may be handed over, and says how much at most.
    fn poll_allowance(&mut self, context: &mut Context<'_>) -> Poll<u64> {
        let allowed = match &mut self.allowance {
            Some(allowance) => ready!(allowance.poll(context, self.length.unwrap_or(u64::MAX))),
            None => u64::MAX,
        };
        let Some(pace) = &mut self.pace else {
            return Poll::Ready(allowed);
        };
        // What lies in the HTTP library's buffers would leave in one burst when a slow client catches up.
        if self
            .tally
            .as_ref()
            .is_some_and(|tally| !tally.is_flushed_to(0, context.waker()))
        {
            self.waits_for_client = true;
            return Poll::Pending;
        }
        pace.poll(context).map(|piece| piece.min(allowed))
    }

    /// The next chunk of the part in hand, at most `most` bytes; `None` at its end.
    fn poll_chunk(&mut self, context: &mut Context<'_>, most: u64) -> Poll<Result<Option<Chunk>, Fault>> {
        if !self.surplus.is_empty() {
            let bytes = self.surplus.split_to(least(self.surplus.len(), most));
            return Poll::Ready(Ok(Some(Chunk::bytes(bytes, self.tally.clone()))));
        }
        match &mut self.current {
            None => Poll::Ready(Ok(None)),
            Some(Part::Bytes(bytes)) => {
                let bytes = bytes.split_to(least(bytes.len(), most));
                Poll::Ready(Ok(Some(Chunk::bytes(bytes, self.tally.clone()))))
            }
            Some(Part::Stream(source)) => match ready!(source(context)) {
                None => {
                    self.next_part();
                    Poll::Ready(Ok(None))
                }
                Some(Err(error)) => Poll::Ready(Err(Fault::Source(error.kind()))),
                Some(Ok(mut bytes)) => {
                    self.surplus = bytes.split_off(least(bytes.len(), most));
                    Poll::Ready(Ok(Some(Chunk::bytes(bytes, self.tally.clone()))))
                }
            },
            Some(Part::Pieces { .. }) => self.poll_piece(context).map_ok(|()| None),
            Some(Part::Span { .. }) => self.poll_span(context, most).map_ok(Some),
        }
    }

    /// Takes the next of several pieces in hand. It is not asked for while as much waits for the client already as may: what a
    /// source gives may be large.
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        ready!(self.poll_client(context));
        let Some(Part::Pieces { source, length }) = &mut self.current else {
            unreachable!("the caller saw pieces");
        };
        let piece = match ready!(source(context)) {
            None => return Poll::Ready(Err(Fault::Shrunk)),
            Some(Err(error)) => return Poll::Ready(Err(Fault::Source(error.kind()))),
            Some(Ok(piece)) => piece,
        };
        let fits = match &piece {
            Part::Bytes(_) => true,
            Part::Span { file, .. } => file.is_immutable(),
            Part::Stream(_) | Part::Pieces { .. } => false,
        };
        let left = piece.length().and_then(|taken| length.checked_sub(taken));
        *length = match left {
            Some(left) if fits => left,
            _ => return Poll::Ready(Err(Fault::Source(io::ErrorKind::InvalidData))),
        };
        self.small = piece.is_small_file();
        self.pieces = self.current.replace(piece);
        Poll::Ready(Ok(()))
    }

    /// Waits until the client took so much of what it was given that more may be read for it.
    fn poll_client(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let buffered = self.delivery.as_ref().map_or(u64::MAX, Delivery::buffered);
        let waits = |tally: &Arc<Tally>| !tally.is_flushed_to(buffered, context.waker());
        if self.tally.as_ref().is_some_and(waits) {
            self.waits_for_client = true;
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn poll_span(&mut self, context: &mut Context<'_>, most: u64) -> Poll<Result<Chunk, Fault>> {
        if self.reading.is_none() && !self.small && self.may_lend() {
            match self.hand_span(context, most) {
                Some(chunk) => return Poll::Ready(Ok(chunk)),
                // What was begun with `sendfile` must end in a span, or nobody would ask whether the files changed.
                None if !self.lent.is_empty() => return Poll::Ready(Err(self.interrupted())),
                None => {}
            }
        }
        ready!(self.poll_client(context));
        let delivery = self.delivery.as_ref();
        let chunk_size = delivery.map_or(Delivery::CHUNK_SIZE, Delivery::chunk_size);
        let Some(Part::Span { file, offset, length }) = &mut self.current else {
            unreachable!("the caller saw a span");
        };
        let (count, task) = self.reading.get_or_insert_with(|| {
            let count = least(chunk_size, (*length).min(most));
            (count, Task::new(file.clone().read(*offset, count)))
        });
        let count = *count;
        let read = ready!(task.poll(context));
        self.reading = None;
        let bytes = read.map_err(|error| Fault::of_reading(&**file, &error))?;
        if bytes.len() != count {
            return Poll::Ready(Err(Fault::Shrunk));
        }
        (*offset, *length) = (*offset + count as u64, *length - count as u64);
        Poll::Ready(Ok(Chunk::bytes(bytes, self.tally.clone())))
    }

    /// Whether the kernel may be given the file in hand.
    fn may_lend(&self) -> bool {
        match self.current.as_ref().and_then(Part::file) {
            Some(file) if file.is_immutable() => file.is_lendable(),
            Some(_) | None => self.lends,
        }
    }

    /// Why a body that was begun with `sendfile` cannot go on with it: its connection failed, or it is asked for elsewhere.
    fn interrupted(&self) -> Fault {
        let ledger = self.delivery.as_ref().and_then(Delivery::spans);
        ledger.and_then(|ledger| ledger.fault()).unwrap_or(Fault::Misplaced)
    }

    /// Hands the next bytes of the span in hand to the kernel, where the connection understands that.
    fn hand_span(&mut self, context: &mut Context<'_>, most: u64) -> Option<Chunk> {
        let ledger = self.delivery.as_ref().and_then(Delivery::spans)?;
        let is_last = !self
            .rest
            .as_slice()
            .iter()
            .any(|part| matches!(part, Part::Span { .. }) && !part.is_small_file());
        let Some(Part::Span { file, offset, length }) = &mut self.current else {
            return None;
        };
        let until = offset.saturating_add(*length);
        let immutable = file.is_immutable();
        let end = if is_last && !immutable { END.min(most) } else { 0 };
        let within = *length > end;
        let (count, place) = if within {
            ((*length - end).min(most).min(LONGEST_SPAN), Place::Within)
        } else {
            (*length, Place::End(self.lent.as_slice().into()))
        };
        let positions = ledger.hand(context.waker(), file, *offset, count, until, place)?;
        // Only what was really handed over counts: a body that another connection asks for is read from its beginning.
        if within && !immutable && !self.lent.iter().any(|lent| Arc::ptr_eq(lent, file)) {
            self.lent.push(file.clone());
        }
        (*offset, *length) = (*offset + count, *length - count);
        Some(Chunk::span(ledger.clone(), positions, self.tally.clone()))
    }

    /// Nothing more comes. Where the connection is this body's alone and the client may not know how long the body is, it
    /// is reset: a client of HTTP/1.0 would take an orderly end for the end of the body.
    fn stop(&mut self, fault: Fault) {
        if let Some(tally) = &self.tally {
            tally.fail(fault);
        }
        if self.length.is_none()
            && let Some(ledger) = self.delivery.as_ref().and_then(Delivery::alone)
        {
            ledger.fail(fault);
        }
        (self.current, self.pieces, self.surplus, self.reading) = (None, None, Bytes::new(), None);
        self.rest = Vec::new().into_iter();
    }
}

fn least(length: usize, most: u64) -> usize {
    length.min(usize::try_from(most).unwrap_or(usize::MAX))
}

impl Sequence {
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        let body = self;
        body.waits_for_client = false;
        if body.has_file {
            body.tally();
        }
        while body.current.is_some() || !body.surplus.is_empty() {
            let most = ready!(body.poll_allowance(context));
            let chunk = match ready!(body.poll_chunk(context, most)) {
                Ok(chunk) => chunk,
                Err(fault) => {
                    body.stop(fault);
                    return Poll::Ready(Some(Err(fault.into())));
                }
            };
            let count = chunk.as_ref().map_or(0, |chunk| bytes::Buf::remaining(chunk) as u64);
            if body.surplus.is_empty() {
                body.settle();
            }
            let Some(chunk) = chunk.filter(|_| count > 0) else {
                continue;
            };
            if let Some(tally) = &body.tally {
                tally.hand(count);
            }
            if let Some(pace) = &mut body.pace {
                pace.sent(count);
            }
            if let Some(allowance) = &mut body.allowance {
                allowance.sent(count);
            }
            body.length = body.length.map(|length| length - count);
            return Poll::Ready(Some(Ok(Frame::data(chunk))));
        }
        Poll::Ready(None)
    }

    pub fn is_end_stream(&self) -> bool {
        self.current.is_none() && self.surplus.is_empty()
    }

    pub fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
