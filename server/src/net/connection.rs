//! One connection: HTTP/1.1 by hyper over a watched socket, until either side is done.

use super::{
    activity::{Activity, Deadlines, Stage},
    exchange::exchange,
    stop::Stop,
    watched::Watched,
};
use crate::{observe::record, site::Site};
use http::StatusCode;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::Arc,
};
use tokio::net::TcpStream;

/// How connections are served.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// The most bytes of a file that a connection holds in memory.
    pub chunk_size: usize,
    /// The most bytes of a request line and header fields; beyond: 431.
    pub head_size: usize,
    pub deadlines: Deadlines,
}

/// What every connection shares.
pub struct Server {
    pub site: Arc<Site>,
    pub options: NetOptions,
    http: http1::Builder,
}

// === impl Server ===

impl Server {
    pub fn new(site: Arc<Site>, options: NetOptions) -> Arc<Self> {
        let mut http = http1::Builder::new();
        http.max_header_size(options.head_size)
            // A client may say that it has sent everything and still wait for its answer (RFC 9112, section 9.6).
            .half_close(true)
            // hyper queues chunks of a body up to this size: about one, where its default is 400 KiB.
            .max_buf_size(options.head_size)
            // See `activity`: one clock for all deadlines.
            .header_read_timeout(None);
        Arc::new(Self { site, options, http })
    }
}

/// Serves a connection until it ends: by the client, by a deadline, or by `stop` after the response under way.
pub async fn serve(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, mut stop: Stop) {
    let activity = Activity::new();
    let client = Some(peer.ip().to_canonical());
    // The place where a connection's stream and the bodies that it carries are chosen.
    let io = Watched::new(TokioIo::new(stream), activity.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let (server, activity) = (server.clone(), activity.clone());
        async move { Ok::<_, Infallible>(exchange(server, activity, client, request).await) }
    });
    let mut connection = pin!(server.http.serve_connection(io, service));
    let mut expired = pin!(activity.expired(&server.options.deadlines));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return note_end(ended, peer, client),
            stage = expired.as_mut() => return note_expiry(stage, peer),
            () = stop.requested(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn note_end(ended: hyper::Result<()>, peer: SocketAddr, client: Option<IpAddr>) {
    let Err(error) = ended else { return };
    if error.is_parse() {
        tracing::info!(%peer, error = %Chain(&error), "a request could not be read");
        record::unreadable(refused_with(&error), client);
    } else {
        tracing::debug!(%peer, error = %Chain(&error), "a connection broke");
    }
}

/// What hyper answers to a head that it cannot read. It closes without a word on the preface of an HTTP/2 connection.
fn refused_with(error: &hyper::Error) -> Option<StatusCode> {
    if error.is_parse_version_h2() {
        None
    } else if error.is_parse_too_large() {
        // A request line alone too: what is left of a head's limit counts for both.
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
    } else {
        Some(StatusCode::BAD_REQUEST)
    }
}

fn note_expiry(stage: Stage, peer: SocketAddr) {
    let waited_for = match stage {
        Stage::Idle | Stage::Linger => return,
        Stage::Head => "the rest of a request's head",
        Stage::Exchange => "the client to take more of a response",
    };
    tracing::info!(%peer, waited_for, "a connection was given up");
}

/// An error with its causes on one line.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
