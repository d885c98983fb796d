//! Random bodies through random writers. A writer that does what hyper does delivers every byte; one that does anything
//! else with a placeholder delivers right bytes as far as it gets, and never the whole.
mod support;

use bytes::{Buf, Bytes};
use http_body::Body as _;
use hyper::rt::{Read, ReadBuf, Write};
use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
};
use support::*;
use tokio::{io::AsyncReadExt, net::UnixStream};
use wasmserve_transport::{Body, Chunk, Connection, Ended, Part, Summary, accept};

/// Ways of getting placeholders wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Misdeed {
    /// Copies all buffers into one and writes that.
    Gather,
    /// Copies a chunk, lets go of it and queues the copy.
    Flatten,
    /// Looks at buffers and leaves the last span out of the write.
    Hide,
    /// Begins some bytes further on.
    Skip,
    /// Copies the first bytes of a chunk and shows the rest.
    CopyFront,
    /// Shows the first bytes of a chunk and copies the rest.
    CopyBack,
    /// Writes the beginning of a chunk twice.
    Twice,
    /// Drops a chunk.
    Drop,
    /// Lets go of one byte more than was written.
    Overrun,
    /// Writes bytes that it copied in an earlier turn.
    Remember,
}

const MISDEEDS: [Misdeed; 10] = [
    Misdeed::Gather,
    Misdeed::Flatten,
    Misdeed::Hide,
    Misdeed::Skip,
    Misdeed::CopyFront,
    Misdeed::CopyBack,
    Misdeed::Twice,
    Misdeed::Drop,
    Misdeed::Overrun,
    Misdeed::Remember,
];

struct Writer {
    connection: Connection<UnixStream>,
    body: Body,
    queue: VecDeque<Chunk>,
    random: Random,
    /// Done once, at some point, when the front of the queue is a span.
    misdeed: Option<Misdeed>,
    remembered: Vec<u8>,
}

impl Writer {
    /// Writes until the body is over.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut space = [0; 16];
        // Reading is what tells the connection who drives it; nothing ever comes.
        let _ = Pin::new(&mut self.connection).poll_read(context, ReadBuf::new(&mut space).unfilled())?;
        loop {
            let room = 1 + self.random.below(6) as usize;
            while self.queue.len() < room && !self.body.is_end_stream() {
                match Pin::new(&mut self.body).poll_frame(context) {
                    Poll::Ready(Some(frame)) => self.queue.extend(frame?.into_data().ok()),
                    Poll::Ready(None) => break,
                    Poll::Pending if self.queue.is_empty() => return Poll::Pending,
                    Poll::Pending => break,
                }
            }
            if self.queue.is_empty() {
                return Pin::new(&mut self.connection).poll_flush(context);
            }
            let due = self
                .misdeed
                .filter(|_| self.queue[0].is_span() && self.random.one_in(3));
            let written = match due {
                None => ready!(self.poll_write(context))?,
                Some(misdeed) => {
                    self.misdeed = None;
                    match self.poll_misdeed(context, misdeed)? {
                        Poll::Ready(written) => written,
                        Poll::Pending => 0,
                    }
                }
            };
            self.let_go(written);
        }
    }

    /// As hyper does, but with any number of chunks.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut buffers = [IoSlice::new(&[]); 8];
        let mut count = 0;
        for chunk in &self.queue {
            count += chunk.chunks_vectored(&mut buffers[count..]);
        }
        Pin::new(&mut self.connection).poll_write_vectored(context, &buffers[..count])
    }

    fn poll_misdeed(&mut self, context: &mut Context<'_>, misdeed: Misdeed) -> io::Result<Poll<usize>> {
        let connection = Pin::new(&mut self.connection);
        let front = &mut self.queue[0];
        let middle = front.chunk().len() / 2;
        let written = match misdeed {
            Misdeed::Gather => {
                let all: Vec<u8> = self.queue.iter().flat_map(|chunk| chunk.chunk().to_vec()).collect();
                connection.poll_write(context, &all)
            }
            Misdeed::Flatten => {
                let copy = front.copy_to_bytes(front.remaining());
                self.queue.pop_front();
                return match connection.poll_write(context, &copy) {
                    Poll::Ready(Err(error)) => Err(error),
                    other => panic!("a flattened chunk was not refused: {other:?}"),
                };
            }
            Misdeed::Hide => {
                let shown: Vec<IoSlice<'_>> = self.queue.iter().map(|chunk| IoSlice::new(chunk.chunk())).collect();
                let last = self.queue.iter().rposition(Chunk::is_span).expect("the front is one");
                connection.poll_write_vectored(context, &shown[..last])
            }
            Misdeed::Skip => {
                connection.poll_write(context, &front.chunk()[middle.max(1).min(front.chunk().len() - 1)..])
            }
            Misdeed::CopyFront => {
                let (copied, shown) = front.chunk().split_at(middle.max(1));
                let copy = copied.to_vec();
                connection.poll_write_vectored(context, &[IoSlice::new(&copy), IoSlice::new(shown)])
            }
            Misdeed::CopyBack => {
                let (shown, copied) = front.chunk().split_at(middle);
                let copy = copied.to_vec();
                connection.poll_write_vectored(context, &[IoSlice::new(shown), IoSlice::new(&copy)])
            }
            Misdeed::Twice => {
                let shown = IoSlice::new(&front.chunk()[..middle.max(1)]);
                connection.poll_write_vectored(context, &[shown, shown])
            }
            Misdeed::Drop => {
                self.queue.pop_front();
                return Ok(Poll::Pending);
            }
            Misdeed::Overrun => {
                let spans: usize = self
                    .queue
                    .iter()
                    .take_while(|chunk| chunk.is_span())
                    .map(Buf::remaining)
                    .sum();
                let written = self.poll_write(context)?;
                if written.is_pending() || written == Poll::Ready(spans) {
                    // Nothing left to overrun into: another time.
                    self.misdeed = Some(misdeed);
                    return Ok(written);
                }
                return Ok(written.map(|written| written + 1));
            }
            Misdeed::Remember => {
                self.remembered = front.chunk().to_vec();
                let _ = Pin::new(&mut self.connection).poll_write(context, front.chunk())?;
                let remembered = std::mem::take(&mut self.remembered);
                Pin::new(&mut self.connection).poll_write(context, &remembered)
            }
        };
        match written {
            Poll::Ready(result) => result.map(Poll::Ready),
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn let_go(&mut self, mut count: usize) {
        while count > 0 {
            let Some(front) = self.queue.front_mut() else { return };
            let step = count.min(front.remaining());
            front.advance(step);
            count -= step;
            if !front.has_remaining() {
                self.queue.pop_front();
            }
        }
    }
}

/// Random parts, and the bytes they stand for.
fn random_parts(random: &mut Random, fixtures: &[Fixture]) -> (Vec<Part>, Vec<u8>) {
    let mut wanted = Vec::new();
    let mut parts = Vec::new();
    for _ in 0..1 + random.below(6) {
        let part = match random.below(5) {
            0 => {
                let length = random.below(5000) as usize;
                let bytes = Bytes::from(random.bytes(length));
                wanted.extend_from_slice(&bytes);
                Part::Bytes(bytes)
            }
            1 => {
                let pieces: Vec<Bytes> = (0..random.below(4))
                    .map(|n| Bytes::from(random.bytes(n as usize * 77)))
                    .collect();
                wanted.extend(pieces.iter().flatten());
                stream(pieces)
            }
            _ => {
                let fixture = &fixtures[random.below(fixtures.len() as u64) as usize];
                let total = fixture.content.len() as u64;
                let offset = random.below(total);
                let longest = if random.one_in(2) { 600_000 } else { 90_000 };
                let length = random.below(longest).min(total - offset);
                wanted.extend_from_slice(&fixture.content[offset as usize..][..length as usize]);
                fixture.span(offset, length)
            }
        };
        parts.push(part);
    }
    (parts, wanted)
}

struct Outcome {
    wanted: Vec<u8>,
    received: Vec<u8>,
    result: io::Result<()>,
    end: Summary,
    /// Whether the misdeed was done.
    misdone: bool,
}

async fn run(seed: u64, misdeed: Option<Misdeed>, fixtures: &[Fixture]) -> Outcome {
    let mut random = Random::new(seed);
    let (parts, wanted) = random_parts(&mut random, fixtures);
    let (near, mut far) = UnixStream::pair().unwrap();
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 4096 << random.below(8)).unwrap();
    let reader = {
        let mut random = Random::new(seed + 1);
        tokio::spawn(async move {
            let mut all = Vec::new();
            let mut piece = vec![0; 100_000];
            while let Ok(count @ 1..) = far.read(&mut piece[..1 + random.below(99_999) as usize]).await {
                all.extend_from_slice(&piece[..count]);
            }
            all
        })
    };
    let (connection, delivery) = accept(near, spans());
    let end = Arc::new(Mutex::new(Vec::new()));
    let ends = end.clone();
    let body = delivery
        .body(parts)
        .on_end(move |summary| ends.lock().unwrap().push(summary));
    let queue = VecDeque::new();
    let mut writer = Writer {
        connection,
        body,
        queue,
        random,
        misdeed,
        remembered: Vec::new(),
    };
    let result = within(poll_fn(|context| writer.poll(context))).await;
    let misdone = writer.misdeed != misdeed;
    drop((writer, delivery));
    let received = within(reader).await.unwrap();
    let ends = end.lock().unwrap();
    assert_eq!(ends.len(), 1, "the end is reported once");
    Outcome {
        wanted,
        received,
        result,
        end: ends[0],
        misdone,
    }
}

fn fixtures() -> Vec<Fixture> {
    vec![
        Fixture::random(700_000, 30),
        Fixture::random(80_000, 31),
        Fixture::random(131_072, 32),
    ]
}

#[tokio::test]
async fn whatever_the_parts_and_the_socket_all_bytes_arrive() {
    let fixtures = fixtures();
    for seed in 0..300 {
        let outcome = run(seed, None, &fixtures).await;
        outcome.result.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_same(&outcome.received, &outcome.wanted);
        assert_eq!(
            outcome.end,
            Summary {
                sent: outcome.wanted.len() as u64,
                ended: Ended::Completed
            },
            "seed {seed}"
        );
    }
    assert!(
        fixtures.iter().all(|fixture| Arc::strong_count(&fixture.file) == 1),
        "all files were let go of"
    );
}

#[tokio::test]
async fn whatever_is_done_to_a_placeholder_no_byte_of_it_arrives() {
    let fixtures = fixtures();
    for misdeed in MISDEEDS {
        let mut caught = 0;
        for seed in 1000..1100 {
            let outcome = run(seed, Some(misdeed), &fixtures).await;
            assert_prefix(&outcome.received, &outcome.wanted);
            match outcome.result {
                Err(error) => {
                    let text = error.to_string();
                    assert!(
                        text.contains("copied") || text.contains("placeholder") || text.contains("dropped"),
                        "{text}"
                    );
                    assert!(
                        matches!(outcome.end.ended, Ended::Failed(_)),
                        "{misdeed:?}, seed {seed}: {:?}",
                        outcome.end
                    );
                    caught += 1;
                }
                Ok(()) => {
                    assert_same(&outcome.received, &outcome.wanted);
                    assert_eq!(outcome.end.ended, Ended::Completed, "{misdeed:?}, seed {seed}");
                    assert!(
                        !outcome.misdone || misdeed == Misdeed::Overrun,
                        "{misdeed:?}, seed {seed} went unseen"
                    );
                }
            }
        }
        assert!(
            caught >= 10,
            "{misdeed:?} was caught only {caught} times: the test is weak"
        );
    }
}
