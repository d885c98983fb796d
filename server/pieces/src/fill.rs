//! Fetching pieces: one request to the store for several that lie side by side, each made known when it is whole.
//!
//! A task of its own, so that a caller who leaves takes nothing from the others. It ends before the next piece when nobody
//! is left. In memory there is what was received and not yet written: [`BATCH`] bytes and a chunk.
use crate::{
    cache::{Inner, NoPlace, Reserved},
    counts::add,
    flight::{Flight, Outcome, Waiter},
    key::Object,
    origin::{Chunks, Failure},
    segment::Located,
};
use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use std::{
    collections::VecDeque,
    io,
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
};
use xxhash_rust::xxh3::Xxh3;

/// Bytes that are written at once: going to the blocking pool costs some 20 µs, writing as much some 100.
const BATCH: usize = 256 << 10;

/// A store that says nothing for so long has failed, whatever its own limits are.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Fill {
    inner: Arc<Inner>,
    object: Object,
    /// The piece that the first of the flights is for.
    next: u64,
    /// Of the pieces that are not there yet, in order.
    flights: VecDeque<Arc<Flight>>,
    /// Whoever began this, as long as he is there.
    reader: Weak<()>,
}

/// Why pieces are not fetched.
enum Stop {
    Failed(Failure),
    Bypass,
    Abandoned,
}

/// A piece that is being written.
struct Piece {
    reserved: Reserved,
    sum: Box<Xxh3>,
    written: u64,
}

impl Fill {
    /// Of the pieces from `index` on, one for each flight.
    pub(crate) fn new(
        inner: Arc<Inner>,
        object: Object,
        index: u64,
        flights: Vec<Arc<Flight>>,
        reader: Weak<()>,
    ) -> Self {
        Self {
            inner,
            object,
            next: index,
            flights: flights.into(),
            reader,
        }
    }

    /// A place among those who wait for the first piece.
    pub(crate) fn first(&self) -> Waiter {
        self.flights.front().expect("a fill begins with a piece").join()
    }

    pub(crate) fn pieces(&self) -> Range<u64> {
        self.next..self.next + self.flights.len() as u64
    }

    pub(crate) async fn run(mut self) {
        let end = match self.fill().await {
            Ok(()) => return,
            Err(Stop::Failed(failure)) => {
                add(&self.inner.counters.failed_fetches, 1);
                Outcome::Failed(failure)
            }
            Err(Stop::Bypass) => Outcome::Bypass,
            Err(Stop::Abandoned) => Outcome::Abandoned,
        };
        while self.land(end.clone()) {}
    }

    async fn fill(&mut self) -> Result<(), Stop> {
        let fetches = Arc::clone(&self.object.fetches);
        let _place = fetches.acquire().await.map_err(|_| Stop::Abandoned)?;
        if !self.is_wanted() {
            return Err(Stop::Abandoned);
        }
        let piece = self.inner.options.piece;
        let pieces = self.pieces();
        let range = self.object.bytes_of(pieces.start, piece).start..self.object.bytes_of(pieces.end - 1, piece).end;
        add(&self.inner.counters.fetches, 1);
        let mut chunks = in_time(self.object.origin.fetch(range)).await?;
        let mut rest = Bytes::new();
        while !self.flights.is_empty() {
            // Bytes first: a store that fails at once takes no place.
            if rest.is_empty() {
                rest = self.receive(&mut chunks).await?.ok_or_else(too_short)?;
            }
            if !self.is_wanted() {
                return Err(Stop::Abandoned);
            }
            let (reserved, place) = self.piece(&mut chunks, &mut rest).await?;
            reserved.publish(self.object.piece(self.next), place.clone());
            self.land(Outcome::Done(place));
        }
        Ok(())
    }

    /// Writes the next piece, and looks at the end of the stream behind the last one.
    async fn piece(&mut self, chunks: &mut Chunks, rest: &mut Bytes) -> Result<(Reserved, Located), Stop> {
        let key = self.object.piece(self.next);
        let bytes = self.object.bytes_of(self.next, self.inner.options.piece);
        let length = u32::try_from(bytes.end - bytes.start).expect("a piece is no longer than the option, an u32");
        let reserved = match self.inner.reserve(&key, length).await {
            Ok(reserved) => reserved,
            Err(NoPlace::Room) => return Err(Stop::Bypass),
            Err(NoPlace::Failed(error)) => return Err(self.disk_failed(&error)),
        };
        let mut piece = Piece {
            reserved,
            sum: Box::new(Xxh3::new()),
            written: 0,
        };
        let mut left = length as usize;
        while left > 0 {
            let (mut batch, mut gathered) = (Vec::new(), 0);
            while gathered < BATCH.min(left) {
                if rest.is_empty() {
                    *rest = self.receive(chunks).await?.ok_or_else(too_short)?;
                }
                let part = rest.split_to(rest.remaining().min(left - gathered));
                gathered += part.len();
                batch.push(part);
            }
            left -= gathered;
            piece = self.on_disk(move || piece.write(&batch)).await?;
        }
        if self.flights.len() == 1 && (!rest.is_empty() || self.receive(chunks).await?.is_some()) {
            return Err(failed(
                io::ErrorKind::InvalidData,
                "the store sent more than it was asked for",
            ));
        }
        self.on_disk(move || {
            let place = piece.reserved.place.enter(&key, piece.sum.digest())?;
            Ok((piece.reserved, place))
        })
        .await
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Stop> {
        let done = self.inner.disk.run(job).await;
        done.map_err(|error| self.disk_failed(&error))
    }

    fn disk_failed(&self, error: &io::Error) -> Stop {
        self.inner.pause(error);
        Stop::Bypass
    }

    /// The next bytes, never none; `None` at the end.
    async fn receive(&self, chunks: &mut Chunks) -> Result<Option<Bytes>, Stop> {
        loop {
            let next = in_time(async { chunks.next().await.transpose() }).await?;
            match next {
                Some(bytes) if bytes.is_empty() => {}
                Some(bytes) => {
                    add(&self.inner.counters.fetched_bytes, bytes.len() as u64);
                    return Ok(Some(bytes));
                }
                None => return Ok(None),
            }
        }
    }

    fn is_wanted(&self) -> bool {
        self.reader.strong_count() > 0 || self.flights.iter().any(|flight| flight.is_awaited())
    }

    /// Ends the next flight. False: there is none.
    fn land(&mut self, outcome: Outcome) -> bool {
        let Some(flight) = self.flights.pop_front() else {
            return false;
        };
        self.inner.land(&self.object.piece(self.next));
        self.next += 1;
        flight.end(outcome);
        true
    }
}

impl Drop for Fill {
    /// Where the runtime ends, or something broke off.
    fn drop(&mut self) {
        while self.land(Outcome::Abandoned) {}
    }
}

impl Piece {
    fn write(mut self, batch: &[Bytes]) -> io::Result<Self> {
        for bytes in batch {
            self.sum.update(bytes);
            let place = &self.reserved.place;
            place.segment.write(bytes, place.offset + self.written)?;
            self.written += bytes.len() as u64;
        }
        Ok(self)
    }
}

async fn in_time<T>(what: impl Future<Output = io::Result<T>>) -> Result<T, Stop> {
    match tokio::time::timeout(PATIENCE, what).await {
        Ok(done) => done.map_err(|error| Stop::Failed(error.into())),
        Err(_) => Err(failed(io::ErrorKind::TimedOut, "the store said nothing for a minute")),
    }
}

fn too_short() -> Stop {
    failed(
        io::ErrorKind::UnexpectedEof,
        "the store sent less than it was asked for",
    )
}

fn failed(kind: io::ErrorKind, what: &'static str) -> Stop {
    Stop::Failed(io::Error::new(kind, what).into())
}
