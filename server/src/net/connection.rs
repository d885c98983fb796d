//! One connection: its handshake where TLS is spoken, then HTTP by hyper over the transport, watched, until either side is
//! done.

use super::{
    activity::{Activity, Deadlines, Stage},
    exchange::{Unanswered, exchange},
    http2::{self, Followed, Streams},
    refused::turn_away,
    stop::Stop,
    tls::{Protocol, Tls},
    watched::Watched,
};
use crate::{
    limits::{HEADER_FIELDS, Limits, Visitor},
    observe::{meters, record},
    request::Scheme,
    sites::Sites,
    watch::Watch,
};
use arc_swap::ArcSwap;
use http::{Response, StatusCode};
use hyper::{
    Request,
    body::Incoming,
    rt::{Read, Write},
    server::conn::{http1, http2 as hyper_http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};
use tokio::{net::TcpStream, time::timeout};
use wasmserve_transport::{Body, Delivery, Fault, Options, Sendfile, accept, guard};

/// How connections are served.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// Without it connections are plain HTTP/1.1.
    pub tls: Option<Tls>,
    /// The most bytes of a file that a connection holds in memory.
    pub chunk_size: usize,
    /// To whom the kernel copies file bytes.
    pub sendfile: Sendfile,
    /// The most bytes of a request line and header fields; beyond: 431.
    pub head_size: usize,
    /// The most header fields of a request; beyond: 431.
    pub header_fields: usize,
    pub deadlines: Deadlines,
    /// How long a client may take no byte of its response.
    pub stall: Duration,
}

/// What every connection shares.
pub struct Server {
    /// The current generation: what every request that begins now is answered by.
    pub sites: ArcSwap<Sites>,
    pub watch: Watch,
    /// What sites and clients use.
    pub limits: Arc<Limits>,
    /// What connections that begin now are served by.
    protocols: ArcSwap<Protocols>,
}

/// How a connection is served from its beginning to its end.
struct Protocols {
    options: NetOptions,
    http1: http1::Builder,
    http2: hyper_http2::Builder<Streams>,
}

/// What the requests of a connection have in common.
#[derive(Clone)]
struct Link {
    server: Arc<Server>,
    protocols: Arc<Protocols>,
    activity: Arc<Activity>,
    delivery: Delivery,
    visitor: Arc<Visitor>,
    client: Option<IpAddr>,
}

// === impl Server ===

impl Server {
    pub fn new(sites: Arc<Sites>, watch: Watch, limits: Arc<Limits>, options: NetOptions) -> Arc<Self> {
        Arc::new(Self {
            sites: ArcSwap::new(sites),
            watch,
            limits,
            protocols: ArcSwap::from_pointee(Protocols::new(options)),
        })
    }

    /// How connections that begin from now on are served.
    pub fn set_options(&self, options: NetOptions) {
        self.protocols.store(Arc::new(Protocols::new(options)));
    }

    /// What clients call connections that begin now.
    pub fn scheme(&self) -> Scheme {
        self.protocols.load().scheme()
    }
}

// === impl Protocols ===

impl Protocols {
    fn new(options: NetOptions) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .max_header_size(options.head_size)
            // A client may say that it has sent everything and still wait for its answer (RFC 9112, section 9.6).
            .half_close(true)
            // hyper queues chunks of a body up to this size: about one, where its default is 400 KiB.
            .max_buf_size(options.head_size)
            // See `activity`: one clock for all deadlines.
            .header_read_timeout(None);
        // The HTTP library has room for as many without asking for memory.
        if options.header_fields > HEADER_FIELDS {
            http1.max_headers(options.header_fields);
        }
        let http2 = http2::builder(options.head_size, options.stall, options.deadlines.total);
        Self { options, http1, http2 }
    }

    fn scheme(&self) -> Scheme {
        match self.options.tls {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }

    fn transport(&self, protocol: Protocol) -> Options {
        let chunk_size = self.options.chunk_size;
        Options {
            stall: Some(self.options.stall),
            chunk_size: match protocol {
                Protocol::Http1 => chunk_size,
                Protocol::Http2 => chunk_size.min(http2::CHUNK_SIZE),
            },
            sendfile: self.options.sendfile,
        }
    }
}

/// Serves a connection until it ends: by the client, by a deadline, or by `stop` after the response under way.
pub async fn serve(server: Arc<Server>, stream: TcpStream, peer: SocketAddr, mut stop: Stop) {
    let _open = meters().connections.open();
    let protocols = server.protocols.load_full();
    let Ok(visitor) = Visitor::arrive(&server.limits, Some(peer.ip())) else {
        return turn_away(stream, protocols.scheme()).await;
    };
    let Some(tls) = &protocols.options.tls else {
        let (io, delivery) = accept(stream, protocols.transport(Protocol::Http1));
        let link = Link::new(server, protocols, delivery, visitor, peer);
        return http1(link, io, peer, stop).await;
    };
    let handshake = timeout(protocols.options.deadlines.head, tls.accept(stream));
    let (stream, protocol) = tokio::select! {
        biased;
        () = stop.requested() => return,
        shaken = handshake => {
            meters().connections.handshake(matches!(shaken, Ok(Ok(_))));
            match shaken {
                Ok(Ok(secured)) => secured,
                Ok(Err(error)) => return tracing::info!(%peer, %error, "a TLS handshake failed"),
                Err(_) => return note_given_up("the rest of a TLS handshake", peer),
            }
        }
    };
    let (io, delivery) = guard(TokioIo::new(stream), protocols.transport(protocol));
    let link = Link::new(server, protocols, delivery, visitor, peer);
    match protocol {
        Protocol::Http1 => http1(link, io, peer, stop).await,
        Protocol::Http2 => http2(link, io, peer, stop).await,
    }
}

async fn http1<I: Read + Write + Unpin>(link: Link, io: I, peer: SocketAddr, stop: Stop) {
    let io = Watched::new(io, link.activity.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let link = link.clone();
        link.exchange(request)
    });
    let connection = pin!(link.protocols.http1.serve_connection(io, service));
    drive(&link, connection, http1::Connection::graceful_shutdown, peer, stop).await;
}

async fn http2<I: Read + Write + Unpin>(link: Link, io: I, peer: SocketAddr, stop: Stop) {
    let io = Watched::multiplexed(io, link.activity.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let link = link.clone();
        async move { Ok::<_, Unanswered>(link.exchange(request).await?.map(Followed::new)) }
    });
    let connection = pin!(link.protocols.http2.serve_connection(io, service));
    drive(
        &link,
        connection,
        hyper_http2::Connection::graceful_shutdown,
        peer,
        stop,
    )
    .await;
}

/// Polls a connection until it ends.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    link: &Link,
    mut connection: Pin<&mut C>,
    shut_down: fn(Pin<&mut C>),
    peer: SocketAddr,
    mut stop: Stop,
) {
    let mut expired = pin!(link.activity.expired(&link.protocols.options.deadlines));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => return note_end(ended, peer, link.client),
            stage = expired.as_mut() => return note_expiry(stage, peer),
            () = link.visitor.ended() => return,
            () = stop.requested(), if !stopping => {
                stopping = true;
                shut_down(connection.as_mut());
            }
        }
    }
}

// === impl Link ===

impl Link {
    fn new(
        server: Arc<Server>,
        protocols: Arc<Protocols>,
        delivery: Delivery,
        visitor: Arc<Visitor>,
        peer: SocketAddr,
    ) -> Self {
        Self {
            server,
            protocols,
            activity: Activity::new(),
            delivery,
            visitor,
            client: Some(peer.ip().to_canonical()),
        }
    }

    async fn exchange(self, request: Request<Incoming>) -> Result<Response<Body>, Unanswered> {
        let Self {
            server,
            activity,
            delivery,
            visitor,
            client,
            protocols,
        } = self;
        let scheme = protocols.scheme();
        exchange(server, activity, delivery, visitor, client, scheme, request).await
    }
}

fn note_end(ended: hyper::Result<()>, peer: SocketAddr, client: Option<IpAddr>) {
    let Err(error) = ended else { return };
    if is_stall(&error) {
        note_given_up("the client to take more of a response", peer);
    } else if error.is_parse() {
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
        Stage::Exchange => "the end of a response, which took longer than total-timeout",
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
