//! One connection: HTTP/1.1 by hyper over the transport, watched, until either side is done.

use super::{
    activity::{Activity, Deadlines, Stage},
    exchange::exchange,
    stop::Stop,
    watched::Watched,
};
use crate::{sites::Sites, watch::Watch};
use arc_swap::ArcSwap;
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use wasmserve_transport::{Fault, Options, Sendfile, accept};

/// How connections are served.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// The most bytes of a file that a connection holds in memory.
    pub chunk_size: usize,
    /// To whom the kernel copies file bytes.
    pub sendfile: Sendfile,
    /// The most bytes of a request line and header fields; beyond: 431.
    pub head_size: usize,
    pub deadlines: Deadlines,
    /// How long a client may take no byte of its response.
    pub stall: Duration,
}

/// What every connection shares.
pub struct Server {
    /// The current generation: what every request that begins now is answered by.
    pub sites: ArcSwap<Sites>,
    pub watch: Watch,
    /// What connections that begin now are served by.
    options: ArcSwap<NetOptions>,
}

// === impl Server ===

impl Server {
    pub fn new(sites: Arc<Sites>, watch: Watch, options: NetOptions) -> Arc<Self> {
        Arc::new(Self {
            sites: ArcSwap::new(sites),
            watch,
            options: ArcSwap::from_pointee(options),
        })
    }

    /// How connections that begin from now on are served.
    pub fn set_options(&self, options: NetOptions) {
        self.options.store(Arc::new(options));
    }
}

impl NetOptions {
    fn http(&self) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.max_header_size(self.head_size)
            // A client may say that it has sent everything and still wait for its answer (RFC 9112, section 9.6).
            .half_close(true)
            // hyper queues chunks of a body up to this size: about one, where its default is 400 KiB.
            .max_buf_size(self.head_size)
            // See `activity`: one clock for all deadlines.
            .header_read_timeout(None);
        http
    }
}

/// Serves a connection until it ends: by the client, by a deadline, or by `stop` after the response under way.
pub async fn serve(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, mut stop: Stop) {
    let options = server.options.load_full();
    let activity = Activity::new();
    let client = Some(peer.ip().to_canonical());
    let transport = Options {
        stall: Some(options.stall),
        chunk_size: options.chunk_size,
        sendfile: options.sendfile,
    };
    let (socket, delivery) = accept(stream, transport);
    let io = Watched::new(socket, activity.clone());
    let service = service_fn(|request: Request<Incoming>| {
        exchange(server.clone(), activity.clone(), delivery.clone(), client, request)
    });
    let mut connection = pin!(options.http().serve_connection(io, service));
    let mut expired = pin!(activity.expired(&options.deadlines));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return note_end(ended, peer),
            stage = expired.as_mut() => return note_expiry(stage, peer),
            () = stop.requested(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

fn note_end(ended: hyper::Result<()>, peer: SocketAddr) {
    let Err(error) = ended else { return };
    if is_stall(&error) {
        note_given_up("the client to take more of a response", peer);
    } else if error.is_parse() {
        tracing::info!(%peer, error = %Chain(&error), "a request could not be read");
    } else {
        tracing::debug!(%peer, error = %Chain(&error), "a connection broke");
    }
}

fn note_expiry(stage: Stage, peer: SocketAddr) {
    let waited_for = match stage {
        Stage::Idle | Stage::Linger | Stage::Exchange => return,
        Stage::Head => "the rest of a request's head",
    };
    note_given_up(waited_for, peer);
}

fn note_given_up(waited_for: &str, peer: SocketAddr) {
    tracing::info!(%peer, waited_for, "a connection was given up");
}

/// Whether the transport ended the connection because its client took nothing.
fn is_stall(error: &hyper::Error) -> bool {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let fault = cause
        .and_then(io::Error::get_ref)
        .and_then(|fault| fault.downcast_ref());
    fault == Some(&Fault::Stalled)
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
