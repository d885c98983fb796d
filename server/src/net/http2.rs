//! HTTP/2: its settings, and an end for clients that do not take what they asked for, or ask only to take it back.
//!
//! What a connection may cost is bounded: [`STREAMS`] at once, each with at most two chunks of [`CHUNK_SIZE`] in memory.
//! The order of events of a stream: hyper hands it to [`Streams`], which gives it a [`Progress`]; within it the response's
//! body is made a [`Followed`], which tells the progress whose turn it is. One clock a connection, [`Flow::watch`], looks at
//! all of them: decision 0030 says whom it ends.

use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::{rt::Executor, server::conn::http2};
use hyper_util::rt::TokioTimer;
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use wasmserve_transport::{Body, Chunk, Meter};

/// Streams of a connection at once. RFC 9113, section 6.5.2 advises no less than 100; nginx has 128.
const STREAMS: u32 = 100;

/// The most bytes of a file that are read at a time. A hundred streams whose clients take nothing hold 3.2 MiB.
pub const CHUNK_SIZE: usize = 16 * 1024;

/// What a client may send of a request's body before it is told to go on: nobody reads these.
const STREAM_WINDOW: u32 = 16 * 1024;
const CONNECTION_WINDOW: u32 = 64 * 1024;

/// Streams that a client began and reset before they were looked at, beyond which it is one that does nothing else
/// (CVE-2023-44487).
const RESETS_WAITING: usize = 20;

/// Resets that a client's errors caused, beyond which the connection ends.
const RESETS_CAUSED: usize = 256;

/// Streams that a client reset within so short a time of asking, unanswered, are of a flood when they are more than half
/// of so many: a browser that leaves a page resets dozens, and Envoy's limit is 500.
const YOUNG: Duration = Duration::from_secs(1);
const MANY: u64 = 200;

/// While the others of a connection were given so much, each of a hundred streams had two turns at least.
const ROUNDS: u64 = 2 * STREAMS as u64 * CHUNK_SIZE as u64;

/// What a connection is served with. `head_size`: the most bytes of a request's fields, as they count for
/// SETTINGS_MAX_HEADER_LIST_SIZE; beyond: 431. No PINGs: one would wait behind all
/// that a slow client has not taken yet, and a client that is gone is found by what it does not take.
pub fn builder(head_size: usize, flow: &Arc<Flow>) -> http2::Builder<Streams> {
    let mut http = http2::Builder::new(Streams(flow.clone()));
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS_WAITING)
        .max_local_error_reset_streams(RESETS_CAUSED)
        .max_header_list_size(u32::try_from(head_size).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(CHUNK_SIZE);
    http
}

/// Runs the streams of a connection, each in a task of its own.
#[derive(Clone, Debug)]
pub struct Streams(Arc<Flow>);

/// All streams of a connection.
#[derive(Debug)]
pub struct Flow {
    /// How long a client may take no byte of a response.
    stall: Duration,
    streams: Mutex<Known>,
    flooded: Notify,
}

#[derive(Debug, Default)]
struct Known {
    streams: Vec<Seen>,
    /// How many are kept before those that have ended are let go, between two looks.
    kept: usize,
    /// Bytes of bodies that all of them together were given.
    given: u64,
    begun: u64,
    /// Of these, those that were reset young and unanswered.
    reset: u64,
}

/// A stream, and what was last seen of it.
#[derive(Debug)]
struct Seen {
    progress: Arc<Progress>,
    awaited: Option<u64>,
    since: Instant,
    /// What all of them had been given by then.
    given: u64,
}

/// Why a connection is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its client takes nothing of what it asked for.
    Stalled,
    /// Its client asks only to take it back.
    Flooded,
}

tokio::task_local! {
    /// The stream of the task, and the connection that it is of.
    static STREAM: (Arc<Progress>, Arc<Flow>);
}

impl<S: Future<Output = ()> + Send + 'static> Executor<S> for Streams {
    fn execute(&self, stream: S) {
        let (flow, progress) = (self.0.clone(), Arc::<Progress>::default());
        flow.begin(&progress);
        tokio::spawn(STREAM.scope((progress.clone(), flow.clone()), async move {
            let begun = Instant::now();
            tokio::select! {
                biased;
                () = stream => if begun.elapsed() < YOUNG && !progress.state().whole {
                    flow.note_reset();
                },
                // Dropping the stream resets it; the connection goes on.
                () = progress.given_up.notified() => {
                    tracing::info!("a stream was given up: its client took nothing");
                }
            }
            progress.state().over = true;
        }));
    }
}

/// How far a stream's response is. Without a meter it has not begun.
#[derive(Debug, Default)]
struct Progress {
    state: Mutex<State>,
    given_up: Notify,
}

#[derive(Clone, Debug, Default)]
struct State {
    meter: Option<Meter>,
    turn: Turn,
    /// All of the response was given to the HTTP library.
    whole: bool,
    /// The task of the stream has ended: nobody can reset it any more.
    over: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    /// The request is being decided, or the file read.
    #[default]
    Server,
    /// To take what it was given.
    Client,
}

// === impl Flow ===

impl Flow {
    pub fn new(stall: Duration) -> Arc<Self> {
        Arc::new(Self {
            stall,
            streams: Mutex::default(),
            flooded: Notify::new(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Nothing that holds the lock can panic half-way.
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, progress: &Arc<Progress>) {
        let mut known = self.known();
        known.begun += 1;
        let given = known.given;
        if known.streams.len() >= known.kept {
            known.streams.retain(|seen| !seen.progress.is_ended());
            // Twice what is left, so that each is passed over only so often.
            known.kept = (2 * known.streams.len()).max(4 * STREAMS as usize);
        }
        known.streams.push(Seen {
            progress: progress.clone(),
            awaited: None,
            since: Instant::now(),
            given,
        });
    }

    fn give(&self, bytes: usize) {
        self.known().given += bytes as u64;
    }

    fn note_reset(&self) {
        let mut known = self.known();
        known.reset += 1;
        if known.begun >= MANY && known.reset * 2 > known.begun {
            self.flooded.notify_one();
        }
    }

    /// Ends when the connection is to be ended. Until then it gives up streams whose clients take nothing of them.
    pub async fn watch(&self) -> Verdict {
        let mut idle = Idle::default();
        loop {
            tokio::select! {
                biased;
                () = self.flooded.notified() => return Verdict::Flooded,
                () = sleep(self.stall / 4) => {}
            }
            if self.look(&mut idle) {
                return Verdict::Stalled;
            }
        }
    }

    /// Looks at all streams; whether nothing is left but to end the connection.
    fn look(&self, idle: &mut Idle) -> bool {
        let mut known = self.known();
        let (now, given) = (Instant::now(), known.given);
        known.streams.retain(|seen| !seen.progress.is_ended());
        let mut moved = given != idle.given;
        for seen in &mut known.streams {
            let awaited = seen.progress.awaited();
            if awaited.is_none() || awaited != seen.awaited {
                (seen.awaited, seen.since, seen.given) = (awaited, now, given);
                moved = true;
            }
        }
        if moved || known.streams.is_empty() {
            *idle = Idle {
                given,
                since: Some(now),
            };
        }
        let still = idle.since.is_some_and(|since| since + self.stall <= now);
        let mut stuck = false;
        for seen in &known.streams {
            // On a line that others share, a stream waits for its turn: only one that had it and did not use it is stalled.
            let had_its_turn = still || given - seen.given >= ROUNDS;
            if seen.awaited.is_some() && seen.since + self.stall <= now && had_its_turn {
                stuck |= seen.progress.state().over;
                seen.progress.given_up.notify_one();
            }
        }
        stuck && still
    }
}

/// Since when nothing moves.
#[derive(Debug, Default)]
struct Idle {
    given: u64,
    since: Option<Instant>,
}

// === impl Progress ===

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        // As above.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the client took, when it is its turn to take more.
    fn awaited(&self) -> Option<u64> {
        let state = self.state();
        let sent = state.meter.as_ref()?.sent()?;
        (state.turn == Turn::Client).then_some(sent)
    }

    /// Whether nothing of the response is left, here or in the HTTP library.
    fn is_ended(&self) -> bool {
        let state = self.state();
        match &state.meter {
            Some(meter) => meter.sent().is_none(),
            None => state.over,
        }
    }
}

/// A body that tells its stream's [`Progress`] whose turn it is. The HTTP library asks for a chunk only when the client
/// has room for it.
pub struct Followed {
    body: Body,
    stream: Option<(Arc<Progress>, Arc<Flow>)>,
}

impl Followed {
    /// To be called in the task of a stream.
    pub fn new(mut body: Body) -> Self {
        let stream = STREAM.try_with(Clone::clone).ok();
        if let Some((progress, _)) = &stream {
            let mut state = progress.state();
            state.meter = Some(body.meter());
            state.turn = Turn::Client;
            state.whole = body.is_end_stream();
        }
        Self { body, stream }
    }
}

impl HttpBody for Followed {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Some((progress, flow)) = &self.stream {
            let mut state = progress.state();
            state.turn = if polled.is_ready() || self.body.waits_for_client() {
                Turn::Client
            } else {
                Turn::Server
            };
            state.whole = matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
            drop(state);
            if let Poll::Ready(Some(Ok(frame))) = &polled {
                flow.give(frame.data_ref().map_or(0, bytes::Buf::remaining));
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt, Empty};
    use hyper::{Request, Response, body::Bytes, service::service_fn};
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use std::convert::Infallible;
    use wasmserve_transport::{Options, Part, guard};

    /// Longer than a client's window for a stream.
    const LENGTH: usize = 1 << 20;

    fn served(path: &str, stall: Duration) -> Part {
        if path == "/slow" {
            // The server's own slowness: longer than the limit.
            let mut left = 2;
            let mut pause = Box::pin(sleep(stall * 3));
            return Part::Stream(Box::new(move |context| {
                std::task::ready!(pause.as_mut().poll(context));
                pause = Box::pin(sleep(stall * 3));
                left -= 1;
                Poll::Ready((left > 0).then(|| Ok(Bytes::from_static(b"slow"))))
            }));
        }
        let mut left = LENGTH / CHUNK_SIZE;
        Part::Stream(Box::new(move |_| {
            let chunk = (left > 0).then(|| Ok(Bytes::from(vec![1; CHUNK_SIZE])));
            left = left.saturating_sub(1);
            Poll::Ready(chunk)
        }))
    }

    #[tokio::test]
    async fn a_stream_that_is_not_taken_is_reset_and_the_others_go_on() {
        let stall = Duration::from_millis(100);
        let (server, client) = tokio::io::duplex(64 * 1024);
        let (io, delivery) = guard(TokioIo::new(server), Options::default());
        let service = service_fn(move |request: Request<_>| {
            let _: &hyper::body::Incoming = request.body();
            let body = delivery.body([served(request.uri().path(), stall)]);
            async { Ok::<_, Infallible>(Response::new(Followed::new(body))) }
        });
        let flow = Flow::new(stall);
        tokio::spawn(builder(32 * 1024, &flow).serve_connection(io, service));
        tokio::spawn(async move { flow.watch().await });
        let (mut requests, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(64 * 1024)
            .handshake(TokioIo::new(client))
            .await
            .expect("a connection");
        tokio::spawn(connection);
        let mut get = |path: &str| {
            let request = Request::get(format!("http://test{path}")).body(Empty::<Bytes>::new());
            requests.send_request(request.expect("a request"))
        };
        let (not_taken, slow) = (get("/a"), get("/slow"));
        let mut not_taken = not_taken.await.expect("a head").into_body();
        let slow = tokio::spawn(async { slow.await.expect("a head").into_body().collect().await });
        for _ in 0..10 {
            let taken = get("/b").await.expect("a head").into_body().collect().await;
            assert_eq!(taken.expect("all of it").to_bytes().len(), LENGTH);
            sleep(stall / 2).await;
        }
        assert_eq!(slow.await.expect("no panic").expect("all of it").to_bytes(), "slow");
        let mut received = 0;
        let end = loop {
            match not_taken.frame().await {
                Some(Ok(frame)) => received += frame.into_data().map_or(0, |data| data.len()),
                end => break end,
            }
        };
        assert!(
            matches!(end, Some(Err(_))) && received < LENGTH,
            "{end:?} after {received}"
        );
    }
    /// A flow with one stream whose client has taken nothing since long ago, and the body that it takes nothing of.
    fn waiting(stall: Duration) -> (Arc<Flow>, Arc<Progress>, Body) {
        let flow = Flow::new(stall);
        let progress = Arc::<Progress>::default();
        flow.begin(&progress);
        let mut body = wasmserve_transport::Delivery::copies(CHUNK_SIZE).body([served("/", stall)]);
        *progress.state() = State {
            meter: Some(body.meter()),
            turn: Turn::Client,
            ..State::default()
        };
        let mut known = flow.known();
        known.streams[0].awaited = Some(0);
        known.streams[0].since -= stall * 2;
        drop(known);
        (flow, progress, body)
    }

    /// Whether the stream was given up.
    async fn is_given_up(progress: &Progress) -> bool {
        tokio::select! {
            biased;
            () = progress.given_up.notified() => true,
            () = std::future::ready(()) => false,
        }
    }

    #[tokio::test]
    async fn on_a_shared_line_only_who_had_a_turn_and_did_not_use_it_is_given_up() {
        let stall = Duration::from_secs(3600);
        let before = || Idle {
            given: 0,
            since: Some(Instant::now() - stall * 2),
        };
        // The others were given something, but a turn of each takes longer.
        let (flow, progress, _body) = waiting(stall);
        flow.give(CHUNK_SIZE);
        assert!(!flow.look(&mut before()));
        assert!(!is_given_up(&progress).await);
        // They had many turns.
        flow.give(usize::try_from(ROUNDS).expect("some MiB"));
        assert!(!flow.look(&mut before()));
        assert!(is_given_up(&progress).await);
        // Nothing moves at all.
        let (flow, progress, _body) = waiting(stall);
        assert!(!flow.look(&mut before()));
        assert!(is_given_up(&progress).await);
        // As long as it is the server's turn, nobody is waited for.
        let (flow, progress, _body) = waiting(stall);
        progress.state().turn = Turn::Server;
        assert!(!flow.look(&mut before()));
        assert!(!is_given_up(&progress).await);
        // What is left is with the HTTP library: only the connection can be ended.
        let (flow, progress, _body) = waiting(stall);
        progress.state().over = true;
        assert!(flow.look(&mut before()));
    }

    #[test]
    fn streams_that_have_ended_are_let_go_between_two_looks() {
        let flow = Flow::new(Duration::from_secs(3600));
        let open = Arc::<Progress>::default();
        flow.begin(&open);
        for _ in 0..100 * STREAMS {
            let progress = Arc::<Progress>::default();
            flow.begin(&progress);
            progress.state().over = true;
        }
        let known = flow.known();
        assert!(known.streams.len() <= 4 * STREAMS as usize, "{}", known.streams.len());
        assert!(known.streams.iter().any(|seen| Arc::ptr_eq(&seen.progress, &open)));
    }

    #[tokio::test]
    async fn a_client_that_takes_back_most_of_what_it_asks_is_a_flood() {
        let flow = Flow::new(Duration::from_secs(3600));
        for number in 1..=MANY {
            flow.begin(&Arc::default());
            if number % 2 == 0 {
                flow.note_reset();
            }
        }
        assert!(
            tokio::time::timeout(Duration::ZERO, flow.watch()).await.is_err(),
            "half of them"
        );
        flow.note_reset();
        assert_eq!(flow.watch().await, Verdict::Flooded);
    }
}
