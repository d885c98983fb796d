//! Connections of the admin listener. One request each; every size and every time is bounded.

use super::{Desk, Guard, Socket, Via, api, login, page};
use http_body_util::Full;
use hyper::{Request, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, io, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

/// Connections at once, of each listener; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;

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

/// Answers until the process ends: while the server stops, too. The socket is removed when the future is dropped.
pub async fn serve(socket: Socket, counter: Arc<Counter>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = enter(&room).await;
        match socket.listener.accept().await {
            Ok((stream, _)) => answer(stream, Via::Socket, &counter, permit),
            Err(error) => back_off(&error).await,
        }
    }
}

/// As [`serve`], to those who show a token.
pub async fn serve_tcp(listener: TcpListener, counter: Arc<Counter>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = enter(&room).await;
        match listener.accept().await {
            Ok((stream, _)) => answer(stream, Via::Tcp, &counter, permit),
            Err(error) => back_off(&error).await,
        }
    }
}

async fn enter(room: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    let permit = room.clone().acquire_owned().await;
    permit.expect("the semaphore is never closed")
}

async fn back_off(error: &io::Error) {
    tracing::warn!(%error, "cannot accept admin connections");
    sleep(BACK_OFF).await;
}

fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    via: Via,
    counter: &Arc<Counter>,
    permit: OwnedSemaphorePermit,
) {
    let counter = counter.clone();
    tokio::spawn(async move {
        if timeout(WHOLE, connection(stream, via, counter)).await.is_err() {
            tracing::info!("an admin connection was given up after {WHOLE:?}");
        }
        drop(permit);
    });
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin, via: Via, counter: Arc<Counter>) {
    let service = service_fn(|request: Request<Incoming>| {
        let counter = counter.clone();
        async move { Ok::<http::Response<Full<Bytes>>, Infallible>(counter.serve(via, request).await) }
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

// === impl Counter ===

impl Counter {
    /// Whoever may not come in learns nothing of what is asked for.
    async fn serve(&self, via: Via, request: Request<Incoming>) -> api::Answered {
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
            Ok(()) => api::answer(&self.desk, request).await,
            Err(refused) => login::refuse(refused, &request),
        }
    }
}
