//! What one connection owes its client: which span bytes were handed to the HTTP library, shown, sent and dropped.
//!
//! Bytes of all spans of a connection are numbered in the order in which they were handed over (their *position*).
//! Four marks move over that line, `advanced <= sent <= exposed <= handed`:
//! - `handed`: given to the HTTP library as chunks;
//! - `exposed`: somebody looked at the placeholder that stands for them;
//! - `sent`: the kernel took the file's bytes;
//! - `advanced`: the HTTP library was told so and let go of them.
//!
//! Four rules make a copied placeholder end the connection before a byte of it leaves (decision 0006 argues it):
//! 1. Letting go of bytes that were not sent is a fault. Whoever copies and lets go (flattening) is caught here.
//! 2. A write must show, by address and in order, every byte between `sent` and `exposed`. Whoever copies and does not
//!    let go has looked, and must therefore show the real placeholder in every write until the bytes are sent.
//! 3. Real bytes may be written only between chunks, never inside one. Whoever copies part of a chunk is caught here.
//! 4. A write begins with all sent bytes let go of. Whoever keeps a copy and writes it as well is caught here.
//!
//! A fault is for ever: nothing is written on that connection any more.
use crate::{file::File, region};
use std::{
    collections::VecDeque,
    fmt,
    io::{self, IoSlice},
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Waker,
};

/// Why a connection was ended by this crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A placeholder was copied: an HTTP library or a wrapper around the connection reads bytes that only the kernel
    /// may read. Give such connections [`Delivery`](crate::Delivery) of real bytes.
    #[error("file bytes that only the kernel may read were copied; give this kind of connection real bytes")]
    Copied,
    /// A placeholder was written that does not stand for the bytes that are due.
    #[error("a placeholder was written out of its place")]
    Misplaced,
    /// A chunk was dropped unsent and the connection went on: a body longer than its Content-Length.
    #[error("file bytes were dropped before they were sent; is the body longer than its Content-Length?")]
    Dropped,
    /// The file became shorter while it was sent.
    #[error("the file became shorter while it was sent")]
    Shrunk,
    /// The file is no longer what it was when it was opened.
    #[error("the file changed while it was sent")]
    Changed,
    /// The file could not be read.
    #[error("the file could not be read: {0}")]
    Unreadable(io::ErrorKind),
    /// The source of a body failed.
    #[error("the source of the body failed: {0}")]
    Source(io::ErrorKind),
    /// The client took nothing for as long as the stall limit.
    #[error("the client took nothing for the whole stall limit")]
    Stalled,
}

impl Fault {
    /// What a failed read of `file` means.
    pub(crate) fn of_reading(file: &dyn File, error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Shrunk,
            _ if file.unchanged().is_err() => Self::Changed,
            kind => Self::Unreadable(kind),
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        let kind = match fault {
            Fault::Copied | Fault::Misplaced | Fault::Dropped | Fault::Changed => io::ErrorKind::Other,
            Fault::Shrunk => io::ErrorKind::UnexpectedEof,
            Fault::Unreadable(kind) | Fault::Source(kind) => kind,
            Fault::Stalled => io::ErrorKind::TimedOut,
        };
        io::Error::new(kind, fault)
    }
}

/// A chunk's part of a file.
struct Segment {
    file: Arc<dyn File>,
    positions: Range<u64>,
    /// Offset in the file of the first position.
    offset: u64,
    /// Offset at which the part of the body ends that the chunk is from: how far reading ahead may go.
    until: u64,
    place: Place,
}

/// Where in a body a span stands.
#[derive(Clone)]
pub(crate) enum Place {
    Within,
    /// It completes what `sendfile` sends of the body: read, not sent by the kernel, and its last piece only after the
    /// kernel let go of all these files (and its own), unchanged.
    End(Arc<[Arc<dyn File>]>),
}

/// The bytes of one file that are to be sent next.
pub(crate) struct Run {
    pub file: Arc<dyn File>,
    pub offset: u64,
    pub length: u64,
    /// Position of the first byte.
    pub position: u64,
    /// See [`Segment::until`].
    pub until: u64,
    pub place: Place,
}

/// What a write is to do, after its buffers were found to be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    /// Real bytes: this many buffers from the front (empty ones included), and how many span bytes stand after them.
    Real {
        buffers: usize,
        then: u64,
    },
    /// This many span bytes.
    Span(u64),
}

#[derive(Default)]
struct State {
    fault: Option<Fault>,
    handed: u64,
    exposed: u64,
    sent: u64,
    advanced: u64,
    /// Segments not wholly sent, in order; together they are exactly the positions from `sent` (or before) to `handed`.
    queue: VecDeque<Segment>,
    /// The task that drives the connection.
    driver: Option<Waker>,
    /// The socket is gone or refused to go on; what is dropped from now on is no fault.
    closed: bool,
}

/// Shared by a connection, its bodies and their chunks.
#[derive(Default)]
pub(crate) struct Ledger {
    state: Mutex<State>,
}

impl Ledger {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here panics half way through a change, so the state is whole even after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn fault(&self) -> Option<Fault> {
        self.state().fault
    }

    /// Ends the connection; the first fault is kept.
    pub fn fail(&self, fault: Fault) -> Fault {
        *self.state().fault.get_or_insert(fault)
    }

    /// Notes which task drives the connection; refuses when the connection has a fault.
    pub fn drive(&self, waker: &Waker) -> Result<(), Fault> {
        let mut state = self.state();
        if !state.is_driven_by(waker) {
            state.driver = Some(waker.clone());
        }
        state.fault.map_or(Ok(()), Err)
    }

    /// Hands `length` bytes of a file over as the positions that are returned, or `None` when the task that asks is not
    /// the one that drives the connection: then the bytes are on their way to somewhere else (an HTTP/2 stream, another
    /// connection) and must be real.
    pub fn hand(
        &self,
        waker: &Waker,
        file: &Arc<dyn File>,
        offset: u64,
        length: u64,
        until: u64,
        place: Place,
    ) -> Option<Range<u64>> {
        let mut state = self.state();
        if state.fault.is_some() || !state.is_driven_by(waker) {
            return None;
        }
        let positions = state.handed..state.handed + length;
        state.handed = positions.end;
        state.queue.push_back(Segment {
            file: file.clone(),
            positions: positions.clone(),
            offset,
            until,
            place,
        });
        Some(positions)
    }

    /// Somebody looks at the placeholder of bytes before `end`.
    pub fn expose(&self, end: u64) {
        let mut state = self.state();
        state.exposed = state.exposed.max(end);
    }

    /// The HTTP library lets go of `positions`; rule 1. Refused when they were not sent.
    pub fn advance(&self, positions: Range<u64>) -> Result<(), Fault> {
        let mut state = self.state();
        let right = positions.start == state.advanced && positions.end <= state.sent;
        state.advanced = positions.end;
        if right {
            Ok(())
        } else {
            Err(*state.fault.get_or_insert(Fault::Copied))
        }
    }

    /// Looks at the buffers of a write, all of them, before any byte of them leaves; rules 2 to 4.
    pub fn inspect(&self, buffers: &[IoSlice<'_>]) -> Result<Due, Fault> {
        let mut state = self.state();
        match state.inspect(buffers) {
            Ok(due) => Ok(due),
            Err(fault) => Err(*state.fault.get_or_insert(fault)),
        }
    }

    /// The next bytes to send, at most `limit`: from one file, without a gap, over as many chunks as that holds for.
    pub fn run(&self, limit: u64) -> Option<Run> {
        let state = self.state();
        let front = state.queue.front()?;
        let offset = front.offset + (state.sent - front.positions.start);
        let mut end = front.positions.end;
        for next in state.queue.iter().skip(1) {
            let follows = matches!((&front.place, &next.place), (Place::Within, Place::Within))
                && Arc::ptr_eq(&next.file, &front.file)
                && next.offset == front.offset + (next.positions.start - front.positions.start);
            if !follows || end - state.sent >= limit {
                break;
            }
            end = next.positions.end;
        }
        let length = (end - state.sent).min(limit);
        Some(Run {
            file: front.file.clone(),
            offset,
            length,
            position: state.sent,
            until: front.until,
            place: front.place.clone(),
        })
    }

    /// The kernel took `count` span bytes.
    pub fn credit(&self, count: u64) {
        let mut state = self.state();
        state.sent += count;
        while state
            .queue
            .front()
            .is_some_and(|front| front.positions.end <= state.sent)
        {
            state.queue.pop_front();
        }
    }

    /// The HTTP library drops a chunk with unsent bytes in it.
    pub fn abandon(&self) {
        let mut state = self.state();
        if !state.closed {
            state.fault.get_or_insert(Fault::Dropped);
        }
    }

    /// The connection is gone: lets go of files and task.
    pub fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.driver = None;
        state.queue.clear();
    }
}

impl State {
    /// Compares what wakers point to: a task, which lives as long as the waker that is kept. `Waker::will_wake` compares
    /// the tables of functions too, of which an optimized build may have several for one kind of task.
    fn is_driven_by(&self, waker: &Waker) -> bool {
        self.driver
            .as_ref()
            .is_some_and(|driver| driver.data() == waker.data() && !waker.data().is_null())
    }

    fn inspect(&self, buffers: &[IoSlice<'_>]) -> Result<Due, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        // Rule 4.
        if self.advanced != self.sent {
            return Err(Fault::Copied);
        }
        let mut segments = self.queue.iter().peekable();
        let mut position = self.sent;
        let mut due = Due::Nothing;
        let mut real_seen_after = false;
        for (index, buffer) in buffers.iter().enumerate().filter(|(_, buffer)| !buffer.is_empty()) {
            let Some(place) = region::place(buffer) else {
                // Rule 3.
                if segments
                    .peek()
                    .is_some_and(|segment| segment.positions.start < position)
                {
                    return Err(Fault::Copied);
                }
                match &mut due {
                    Due::Nothing => {
                        due = Due::Real {
                            buffers: index + 1,
                            then: 0,
                        }
                    }
                    Due::Real { buffers, then: 0 } => *buffers = index + 1,
                    Due::Real { .. } | Due::Span(_) => real_seen_after = true,
                }
                continue;
            };
            let end = position + buffer.len() as u64;
            let segment = segments
                .peek()
                .filter(|segment| end <= segment.positions.end)
                .ok_or(Fault::Misplaced)?;
            if place != region::place_of(position) {
                return Err(Fault::Misplaced);
            }
            if end == segment.positions.end {
                segments.next();
            }
            position = end;
            match &mut due {
                Due::Nothing => due = Due::Span(end - self.sent),
                Due::Span(length) | Due::Real { then: length, .. } if !real_seen_after => *length = end - self.sent,
                Due::Span(_) | Due::Real { .. } => {}
            }
        }
        // Rule 2.
        if position < self.exposed {
            Err(Fault::Copied)
        } else {
            Ok(due)
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Ledger")
            .field("fault", &state.fault)
            .field("handed", &state.handed)
            .field("exposed", &state.exposed)
            .field("sent", &state.sent)
            .field("advanced", &state.advanced)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reading;
    use bytes::Bytes;
    use region::slice;
    use std::{
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        task::Wake,
    };

    type Buffers<'a> = &'a [&'a [u8]];

    struct Empty(std::fs::File);

    impl rustix::fd::AsFd for Empty {
        fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl File for Empty {
        fn unchanged(&self) -> io::Result<()> {
            Ok(())
        }
        fn is_lendable(&self) -> bool {
            true
        }

        fn is_cached(&self, _offset: u64, _length: u64) -> bool {
            true
        }
        fn load(self: Arc<Self>, _offset: u64, _length: usize) -> Reading<()> {
            Box::pin(std::future::ready(Ok(())))
        }
        fn read(self: Arc<Self>, _offset: u64, _length: usize) -> Reading<Bytes> {
            Box::pin(std::future::ready(Ok(Bytes::new())))
        }
    }

    /// Stands for a task.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    fn task() -> Waker {
        Arc::new(Task::default()).into()
    }

    /// A connection to which two spans were handed, 0..100 and 100..250, from two places of one file.
    fn two_spans() -> Ledger {
        let task = task();
        let ledger = Ledger::default();
        let file: Arc<dyn File> = Arc::new(Empty(tempfile::tempfile().unwrap()));
        ledger.drive(&task).unwrap();
        assert_eq!(ledger.hand(&task, &file, 5000, 100, 5100, Place::Within), Some(0..100));
        assert_eq!(
            ledger.hand(&task, &file, 9000, 150, 9500, Place::Within),
            Some(100..250)
        );
        ledger
    }

    fn inspect(ledger: &Ledger, buffers: &[&[u8]]) -> Result<Due, Fault> {
        ledger.inspect(&buffers.iter().map(|buffer| IoSlice::new(buffer)).collect::<Vec<_>>())
    }

    const REAL: &[u8] = b"real";

    #[test]
    fn right_writes_say_what_is_due() {
        let real = |buffers, then| Ok(Due::Real { buffers, then });
        let cases: &[(Buffers<'_>, Result<Due, Fault>)] = &[
            (&[], Ok(Due::Nothing)),
            (&[b"", b""], Ok(Due::Nothing)),
            (&[REAL], real(1, 0)),
            (&[b"", REAL, b"", REAL, b""], real(4, 0)),
            (&[REAL, slice(0..100)], real(1, 100)),
            (&[REAL, slice(0..100), slice(100..250), REAL], real(1, 250)),
            (&[REAL, slice(0..100), REAL, slice(100..250)], real(1, 100)),
            (&[slice(0..100)], Ok(Due::Span(100))),
            (&[slice(0..40)], Ok(Due::Span(40))),
            (
                &[slice(0..40), b"", slice(40..100), slice(100..101)],
                Ok(Due::Span(101)),
            ),
            (&[slice(0..100), REAL, slice(100..250), REAL], Ok(Due::Span(100))),
        ];
        for (buffers, due) in cases {
            assert_eq!(inspect(&two_spans(), buffers), *due, "{buffers:?}");
        }
    }

    #[test]
    fn wrong_writes_are_faults_and_end_all_writing() {
        let copy = slice(0..250).to_vec();
        let cases: &[(Buffers<'_>, Fault)] = &[
            (&[slice(1..100)], Fault::Misplaced),
            (&[slice(100..250)], Fault::Misplaced),
            (&[slice(0..101)], Fault::Misplaced),
            (&[slice(0..100), slice(0..100)], Fault::Misplaced),
            (&[slice(0..100), slice(100..250), slice(250..251)], Fault::Misplaced),
            (&[slice(0..50), REAL], Fault::Copied),
            (&[slice(0..50), &copy[50..100]], Fault::Copied),
            (&[&copy[..50], slice(50..100)], Fault::Misplaced),
        ];
        for (buffers, fault) in cases {
            let ledger = two_spans();
            assert_eq!(inspect(&ledger, buffers), Err(*fault), "{buffers:?}");
            assert_eq!(inspect(&ledger, &[REAL]), Err(*fault));
            assert_eq!(ledger.drive(&task()), Err(*fault));
        }
    }

    #[test]
    fn what_was_looked_at_must_be_shown_until_it_is_sent() {
        let ledger = two_spans();
        assert_eq!(
            inspect(&ledger, &[REAL]),
            Ok(Due::Real { buffers: 1, then: 0 }),
            "nobody looked yet"
        );
        ledger.expose(100);
        assert_eq!(
            inspect(&ledger, &[REAL, slice(0..100)]),
            Ok(Due::Real { buffers: 1, then: 100 })
        );
        assert_eq!(inspect(&ledger, &[slice(0..100)]), Ok(Due::Span(100)));
        ledger.credit(30);
        ledger.advance(0..30).unwrap();
        assert_eq!(inspect(&ledger, &[slice(30..100)]), Ok(Due::Span(70)));
        assert_eq!(inspect(&ledger, &[slice(30..99)]), Err(Fault::Copied));
    }

    #[test]
    fn letting_go_goes_with_sending() {
        let ledger = two_spans();
        ledger.credit(30);
        assert_eq!(
            inspect(&ledger, &[slice(30..100)]),
            Err(Fault::Copied),
            "sent, and not let go of"
        );

        let ledger = two_spans();
        ledger.credit(30);
        assert_eq!(ledger.advance(0..31), Err(Fault::Copied));

        let ledger = two_spans();
        ledger.credit(150);
        assert_eq!(ledger.advance(100..150), Err(Fault::Copied), "out of order");

        let ledger = two_spans();
        ledger.abandon();
        assert_eq!(ledger.fault(), Some(Fault::Dropped));
        let ledger = two_spans();
        ledger.close();
        ledger.abandon();
        assert_eq!(ledger.fault(), None, "the connection went first");
    }

    #[test]
    fn runs_join_what_lies_together_in_a_file() {
        let ledger = Ledger::default();
        let file: Arc<dyn File> = Arc::new(Empty(tempfile::tempfile().unwrap()));
        let other: Arc<dyn File> = Arc::new(Empty(tempfile::tempfile().unwrap()));
        let task = task();
        ledger.drive(&task).unwrap();
        for (file, offset) in [(&file, 0), (&file, 10), (&file, 20), (&other, 30), (&other, 41)] {
            ledger.hand(&task, file, offset, 10, 100, Place::Within).unwrap();
        }
        let run = |limit| ledger.run(limit).map(|run| (run.offset, run.length, run.position));
        assert_eq!(run(1000), Some((0, 30, 0)));
        assert_eq!(run(15), Some((0, 15, 0)));
        ledger.credit(13);
        assert_eq!(run(1000), Some((13, 17, 13)));
        ledger.credit(17);
        assert_eq!(run(1000), Some((30, 10, 30)));
        ledger.credit(15);
        assert_eq!(run(1000), Some((46, 5, 45)));
        ledger.credit(5);
        assert_eq!(run(1000), None);
    }

    #[test]
    fn another_task_gets_nothing() {
        let ledger = two_spans();
        let file: Arc<dyn File> = Arc::new(Empty(tempfile::tempfile().unwrap()));
        assert_eq!(ledger.hand(&task(), &file, 0, 1, 1, Place::Within), None);
    }
}
