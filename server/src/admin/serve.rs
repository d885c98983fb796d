//! Connections of the admin listener. One request each; every size and every time is bounded.

use super::{Socket, api};
use crate::net::Server;
use http_body_util::Full;
use hyper::{Request, body::Bytes, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::UnixStream,
    sync::Semaphore,
    time::{sleep, timeout},
};

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 16;

/// Bytes of a request line and header fields.
const HEAD_SIZE: usize = 16 * 1024;

/// From the connection to the last byte of its answer. A request that is explained may run a whole chain of slow policies.
const WHOLE: Duration = Duration::from_secs(60);

/// For a request's head.
const HEAD_TIME: Duration = Duration::from_secs(10);

const BACK_OFF: Duration = Duration::from_millis(100);

/// Answers until the process ends: while the server stops, too. The socket is removed when the future is dropped.
pub async fn serve(socket: Socket, server: Arc<Server>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let permit = room
            .clone()
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        match socket.listener.accept().await {
            Ok((stream, _)) => {
                let server = server.clone();
                tokio::spawn(async move {
                    if timeout(WHOLE, connection(stream, server)).await.is_err() {
                        tracing::info!("an admin connection was given up after {WHOLE:?}");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(path = %socket.path().display(), %error, "cannot accept admin connections");
                sleep(BACK_OFF).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, server: Arc<Server>) {
    let service = service_fn(|request: Request<Incoming>| {
        let server = server.clone();
        async move { Ok::<http::Response<Full<Bytes>>, Infallible>(api::answer(&server, request).await) }
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
