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
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

/// Requests that are let in at once, of each listener; more wait.
const REQUESTS: usize = 16;

/// Connections that have not shown yet that they may come in, of each listener. When there are more, the first ones end.
const LOBBY: usize = 32;

/// Bytes of a request line and header fields.
const HEAD_SIZE: usize = 16 * 1024;

/// From the connection to the last byte of its answer. A request that is explained may run a whole chain of slow policies.
const WHOLE: Duration = Duration::from_secs(60);

/// For a request's head.
const HEAD_TIME: Duration = Duration::from_secs(10);

const BACK_OFF: Duration = Duration::from_millis(100);

/// What answers operators.
pub struct Counter {
    pub desk: Arc<Desk>,
    pub guard: Guard,
}

/// What the connections of one listener share.
struct Rooms {
    lobby: Arc<Lobby>,
    desk: Arc<Semaphore>,
}

/// One connection: in the lobby, and then at the desk until it ends.
struct Visit {
    via: Via,
    waiting: Waiting,
    desk: Arc<Semaphore>,
    place: OnceLock<OwnedSemaphorePermit>,
}

/// Answers until the process ends: while the server stops, too. The socket is removed when the future is dropped.
pub async fn serve(socket: Socket, counter: Arc<Counter>) {
    let rooms = Rooms::new();
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => answer(stream, rooms.enter(Via::Socket), &counter),
            Err(error) => back_off(&error).await,
        }
    }
}

/// As [`serve`], to those who show a token.
pub async fn serve_tcp(listener: TcpListener, counter: Arc<Counter>) {
    let rooms = Rooms::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => answer(stream, rooms.enter(Via::Tcp), &counter),
            Err(error) => back_off(&error).await,
        }
    }
}

async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "cannot accept admin connections");
    sleep(BACK_OFF).await;
}

fn answer(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, visit: Visit, counter: &Arc<Counter>) {
    let counter = counter.clone();
    tokio::spawn(async move {
        tokio::select! {
            ended = timeout(WHOLE, connection(stream, &visit, counter)) => {
                if ended.is_err() {
                    tracing::info!("an admin connection was given up after {WHOLE:?}");
                }
            }
            () = visit.waiting.told_to_leave() => {
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

// === impl Rooms ===

impl Rooms {
    fn new() -> Self {
        Self {
            lobby: Lobby::new(LOBBY),
            desk: Arc::new(Semaphore::new(REQUESTS)),
        }
    }

    fn enter(&self, via: Via) -> Visit {
        Visit {
            via,
            waiting: self.lobby.enter(),
            desk: self.desk.clone(),
            place: OnceLock::new(),
        }
    }
}

// === impl Visit ===

impl Visit {
    /// From the lobby to a place at the desk, which it has until its answer is sent.
    async fn come_in(&self) {
        self.waiting.come_in();
        let place = self.desk.clone().acquire_owned().await;
        // A connection has one request.
        let _ = self.place.set(place.expect("the semaphore is never closed"));
    }
}

// === impl Counter ===

impl Counter {
    /// Whoever may not come in learns nothing of what is asked for.
    async fn serve(&self, visit: &Visit, request: Request<Incoming>) -> api::Answered {
        let via = visit.via;
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
