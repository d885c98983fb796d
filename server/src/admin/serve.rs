//! Connections of the admin listener. One request each; every size and every time is bounded.

use super::{
    Desk, Guard, Socket, Via, api,
    lobby::{Lobby, Waiting},
    login, page,
};
use http_body_util::Full;
use hyper::{Request, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{
    convert::Infallible,
    future::pending,
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

/// Connections that are let in at once, of each listener; more wait.
const CONNECTIONS: usize = 16;

/// Connections over TCP that have not shown the token yet. When there are more, the first ones end.
const LOBBY: usize = 32;

/// Bytes of a request line and header fields.
const HEAD_SIZE: usize = 16 * 1024;

/// From the connection to the last byte of its answer. A request that is explained may run a whole chain of slow policies.
const WHOLE: Duration = Duration::from_secs(60);

/// For a request's head.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// For a connection that was accepted before the process ends: it may be on its way to an answer.
const LAST: Duration = Duration::from_secs(1);

const BACK_OFF: Duration = Duration::from_millis(100);

/// What answers operators.
pub struct Counter {
    pub desk: Arc<Desk>,
    pub guard: Guard,
    /// Each connection holds a receiver of it.
    visits: watch::Sender<()>,
}

/// One connection.
enum Visit {
    /// Whoever can connect to the socket is let in at once. Its place is held until it ends.
    Socket(#[expect(dead_code, reason = "dropping it gives the place back")] OwnedSemaphorePermit),
    Tcp(Stranger),
}

/// A connection over TCP: in the lobby, and from the moment that it shows the token at the desk, until it ends.
struct Stranger {
    waiting: Waiting,
    desk: Arc<Semaphore>,
    place: OnceLock<OwnedSemaphorePermit>,
}

/// Answers until the process ends: while the server stops, too. The socket is removed when the future is dropped.
pub async fn serve(socket: Socket, counter: Arc<Counter>) {
    let desk = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // More wait in the kernel's queue.
        let place = place(&desk).await;
        match socket.listener.accept().await {
            Ok((stream, _)) => answer(stream, Visit::Socket(place), &counter),
            Err(error) => back_off(&error).await,
        }
    }
}

/// As [`serve`], to those who show a token.
pub async fn serve_tcp(listener: TcpListener, counter: Arc<Counter>) {
    let (lobby, desk) = (Lobby::new(LOBBY), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let stranger = Stranger {
                    waiting: lobby.enter(),
                    desk: desk.clone(),
                    place: OnceLock::new(),
                };
                answer(stream, Visit::Tcp(stranger), &counter);
            }
            Err(error) => back_off(&error).await,
        }
    }
}

async fn place(desk: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let place = desk.clone().acquire_owned().await;
    place.expect("the semaphore is never closed")
}

async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "cannot accept admin connections");
    sleep(BACK_OFF).await;
}

fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, visit: Visit, counter: &Arc<Counter>) {
    let counter = counter.clone();
    let under_way = counter.visits.subscribe();
    tokio::spawn(async move {
        // Until it has ended.
        let _under_way = under_way;
        tokio::select! {
            ended = timeout(WHOLE, connection(stream, &visit, counter)) => {
                if ended.is_err() {
                    tracing::info!("an admin connection was given up after {WHOLE:?}");
                }
            }
            () = visit.told_to_leave() => {
                tracing::debug!("an admin connection that had shown nothing was ended for another one");
            }
        }
    });
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, visit: &Visit, counter: Arc<Counter>) {
    let service = service_fn(|request: Request<Incoming>| {
        let counter = counter.clone();
        async move { Ok::<http::Response<Full<Bytes>>, Infallible>(counter.serve(visit, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_header_size(HEAD_SIZE)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an admin connection broke");
    }
}

// === impl Visit ===

impl Visit {
    fn via(&self) -> Via {
        match self {
            Self::Socket(_) => Via::Socket,
            Self::Tcp(_) => Via::Tcp,
        }
    }

    /// It has shown what is needed.
    async fn come_in(&self) {
        if let Self::Tcp(stranger) = self {
            stranger.waiting.come_in();
            // A connection has one request.
            let _ = stranger.place.set(place(&stranger.desk).await);
        }
    }

    /// Ends when it has to make room for another one.
    async fn told_to_leave(&self) {
        match self {
            Self::Socket(_) => pending().await,
            Self::Tcp(stranger) => stranger.waiting.told_to_leave().await,
        }
    }
}

// === impl Counter ===

impl Counter {
    pub fn new(desk: Arc<Desk>, guard: Guard) -> Self {
        let visits = watch::Sender::new(());
        Self { desk, guard, visits }
    }

    /// Waits for the connections that there are, but not for long.
    pub async fn finish(&self) {
        if timeout(LAST, self.visits.closed()).await.is_err() {
            tracing::debug!("an admin connection was still open at the end");
        }
    }

    /// Whoever may not come in learns nothing of what is asked for.
    async fn serve(&self, visit: &Visit, request: Request<Incoming>) -> api::Answered {
        let via = visit.via();
        let checked = self.guard.check_origin(request.method(), request.headers());
        if let Err(refused) = checked {
            return api::problem(refused.status, refused.problem);
        }
        match (via, request.uri().path()) {
            (Via::Tcp, login::PATH) => return login::answer(&self.guard, request).await,
            // The form looks like the page behind it.
            (_, page::STYLE_PATH) => return page::style(),
            _ => {}
        }
        match self.guard.check_token(via, request.headers()) {
            Ok(()) => {
                visit.come_in().await;
                api::answer(&self.desk, request).await
            }
            Err(refused) => login::refuse(refused, &request),
        }
    }
}
