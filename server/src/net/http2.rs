//! HTTP/2: its settings, and an end for clients that do not take what they asked for.
//!
//! What a connection may cost is bounded: [`STREAMS`] at once, each with at most two chunks of [`CHUNK_SIZE`] in memory.
//! A client that takes nothing of one stream while it takes from others (its window for that stream is closed, so that
//! the connection itself is never blocked) has that stream reset after the stall limit. The order of events of a stream:
//! hyper hands it to [`Streams`], which gives it a [`Progress`] and a clock; within it the response's body is made a
//! [`Followed`], which tells the progress whose turn it is.

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
use tokio::time::{Instant, sleep};
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

/// A client that is not there any more, while a response is being made: it is asked every so often.
const PING_EVERY: Duration = Duration::from_secs(30);
const PONG_WITHIN: Duration = Duration::from_secs(20);

/// What connections are served with. `head_size`: the most bytes of a request's fields, as they count for
/// SETTINGS_MAX_HEADER_LIST_SIZE; beyond: 431. `total`: how long a request may take to the last byte of its answer.
pub fn builder(head_size: usize, stall: Duration, total: Option<Duration>) -> http2::Builder<Streams> {
    let mut http = http2::Builder::new(Streams { stall, total });
    http.timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS_WAITING)
        .max_local_error_reset_streams(RESETS_CAUSED)
        .max_header_list_size(u32::try_from(head_size).unwrap_or(u32::MAX))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(CHUNK_SIZE)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PONG_WITHIN);
    http
}

/// Runs the streams of a connection, each in a task of its own.
#[derive(Clone, Debug)]
pub struct Streams {
    /// How long a client may take no byte of a response.
    stall: Duration,
    /// How long a request may take to the last byte of its answer.
    total: Option<Duration>,
}

tokio::task_local! {
    static PROGRESS: Arc<Progress>;
}

impl<S: Future<Output = ()> + Send + 'static> Executor<S> for Streams {
    fn execute(&self, stream: S) {
        let progress = Arc::<Progress>::default();
        let Self { stall, total } = *self;
        tokio::spawn(PROGRESS.scope(progress.clone(), async move {
            tokio::select! {
                biased;
                () = stream => {}
                // Dropping the stream resets it; the connection goes on.
                () = sleep(total.unwrap_or_default()), if total.is_some() => {
                    tracing::info!("a stream was given up: it took longer than total-timeout");
                }
                () = progress.stalled(stall) => tracing::info!("a stream was given up: its client took nothing"),
            }
        }));
    }
}

/// How far a stream's response is. Without a meter it has not begun.
#[derive(Debug, Default)]
struct Progress(Mutex<State>);

#[derive(Clone, Debug, Default)]
struct State {
    meter: Option<Meter>,
    turn: Turn,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Turn {
    /// The request is being decided, or the file read.
    #[default]
    Server,
    /// To take what it was given.
    Client,
}

// === impl Progress ===

impl Progress {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes that the client took, when it is its turn to take more.
    fn awaited(&self) -> Option<u64> {
        let state = self.state();
        let sent = state.meter.as_ref()?.sent()?;
        (state.turn == Turn::Client).then_some(sent)
    }

    /// Ends when the client has let the server wait for the whole limit, or a fourth longer.
    async fn stalled(&self, limit: Duration) {
        let mut seen = None;
        let mut since = Instant::now();
        loop {
            sleep(limit / 4).await;
            let awaited = self.awaited();
            if awaited.is_none() || awaited != seen {
                (seen, since) = (awaited, Instant::now());
            } else if since.elapsed() >= limit {
                return;
            }
        }
    }
}

/// A body that tells its stream's [`Progress`] whose turn it is. The HTTP library asks for a chunk only when the client
/// has room for it.
pub struct Followed {
    body: Body,
    progress: Option<Arc<Progress>>,
}

impl Followed {
    /// To be called in the task of a stream.
    pub fn new(mut body: Body) -> Self {
        let progress = PROGRESS.try_with(Arc::clone).ok();
        if let Some(progress) = &progress {
            *progress.state() = State {
                meter: Some(body.meter()),
                turn: Turn::Client,
            };
        }
        Self { body, progress }
    }
}

impl HttpBody for Followed {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Chunk>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Some(progress) = &self.progress {
            progress.state().turn = if polled.is_ready() || self.body.waits_for_client() {
                Turn::Client
            } else {
                Turn::Server
            };
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
        tokio::spawn(builder(32 * 1024, stall, None).serve_connection(io, service));
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
}
