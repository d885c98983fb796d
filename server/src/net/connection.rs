//! One connection: its handshake where TLS is spoken, then HTTP by hyper over the transport, watched, until either side is
//! done.

use super::{
    activity::{Activity, Deadlines, Stage},
    exchange::{Link, Unanswered, exchange},
    http2::{self, Flow, Followed, Verdict},
    listener::{ListenerOptions, Security},
    origin::{Origin, Peer},
    proxy::{self, Peek},
    refused::turn_away,
    seldom::Seldom,
    stop::Stop,
    tls::{Protocol, Shaken, Tls},
    watched::Watched,
};
use crate::{
    acme::Acme,
    limits::{HEADER_FIELDS, Limits, Visitor},
    observe::{meters, record},
    sites::Sites,
    watch::Watch,
};
use arc_swap::ArcSwap;
use http::StatusCode;
use hyper::{
    Request,
    body::Incoming,
    rt::{Read, Write},
    server::conn::{http1, http2 as hyper_http2},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use std::{
    future::pending,
    io,
    net::IpAddr,
    pin::{Pin, pin},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};
use tokio::{
    io::AsyncRead,
    time::{sleep, timeout},
};
use wasmserve_transport::{Delivery, Fault, Options, Sendfile, Socket, accept, guard};

/// What the kernel queues of an encrypted connection beyond what is on its way: the rest waits where it can be seen.
const UNSENT: u32 = 128 * 1024;

/// How long after it is told to stop the server still waits for what a connection begins with: its PROXY header, its
/// handshake, the head of its first request. A client that has just connected has sent it, or is about to.
const ARRIVAL: Duration = Duration::from_secs(2);

/// How connections are served.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// What listeners that speak TLS speak it with.
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
    pub acme: Arc<Acme>,
    /// What connections that begin now are served by.
    protocols: ArcSwap<Protocols>,
}

/// How a connection is served from its beginning to its end.
struct Protocols {
    options: NetOptions,
    http1: http1::Builder,
}

/// A connection that may be served.
struct Admitted {
    server: Arc<Server>,
    protocols: Arc<Protocols>,
    visitor: Arc<Visitor>,
    origin: Origin,
    peer: Peer,
    stop: Stop,
}

// === impl Server ===

impl Server {
    pub fn new(
        sites: Arc<Sites>,
        watch: Watch,
        limits: Arc<Limits>,
        acme: Arc<Acme>,
        options: NetOptions,
    ) -> Arc<Self> {
        Arc::new(Self {
            sites: ArcSwap::new(sites),
            watch,
            limits,
            acme,
            protocols: ArcSwap::from_pointee(Protocols::new(options)),
        })
    }

    /// The certificates that are shown now.
    pub fn tls(&self) -> Option<Tls> {
        self.protocols.load().options.tls.clone()
    }

    /// How connections that begin from now on are served.
    pub fn set_options(&self, options: NetOptions) {
        self.protocols.store(Arc::new(Protocols::new(options)));
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
        Self { options, http1 }
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
///
/// A future has room for the largest thing that it waits for, as long as it lives. So that an idle connection takes little
/// memory, all but the plain one's own is on the heap while it is needed.
pub async fn serve<S>(server: Arc<Server>, options: Arc<ListenerOptions>, stream: S, peer: Peer, mut stop: Stop)
where
    S: Socket + AsyncRead + Peek + 'static,
{
    let _open = meters().connections.open();
    let protocols = server.protocols.load_full();
    let mut origin = Origin::new(peer, options.clone());
    if options.proxies.proxy_protocol {
        let header = Box::pin(handed_on(&mut origin, &stream));
        let header = timeout(protocols.options.deadlines.head, header);
        let handed_on = tokio::select! {
            biased;
            handed_on = header => handed_on,
            () = late(&mut stop) => return,
        };
        match handed_on {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return tracing::info!(%peer, %error, "a connection is not a proxy's"),
            Err(_) => return note_given_up("the rest of a PROXY header", peer),
        }
    }
    let Ok(visitor) = Visitor::arrive(&server.limits, origin.client) else {
        return Box::pin(turn_away(stream, options.security)).await;
    };
    let tls = protocols.options.tls.clone();
    let admitted = Admitted {
        server,
        protocols,
        visitor,
        origin,
        peer,
        stop,
    };
    match (options.security, tls) {
        (Security::Plain, _) => admitted.plain(stream).await,
        (Security::Tls, Some(tls)) => Box::pin(admitted.encrypted(stream, tls)).await,
        // A reload took the certificates away a moment ago.
        (Security::Tls, None) => {}
    }
}

/// Ends when the server was told to stop, and has waited for the beginning of a connection for long enough.
async fn late(stop: &mut Stop) {
    stop.requested().await;
    sleep(ARRIVAL).await;
}

/// Reads for whom a proxy connects.
async fn handed_on(origin: &mut Origin, stream: &impl Peek) -> io::Result<()> {
    if !origin.is_proxy() {
        return Err(io::Error::other("the peer is none of the trusted proxies"));
    }
    origin.hand_on(proxy::read(stream).await?);
    Ok(())
}

async fn http1<I: Read + Write + Unpin>(link: Arc<Link>, protocols: Arc<Protocols>, io: I, peer: Peer, mut stop: Stop) {
    let deadlines = &protocols.options.deadlines;
    let stop_asked = stop.asked();
    let mut io = Watched::new(io, link.activity.clone());
    loop {
        let service = service_fn(|request: Request<Incoming>| exchange(&link, request));
        // Not in this future, whose room is kept while the connection rests.
        let mut connection = Box::pin(protocols.http1.serve_connection(io, service));
        let shut_down = http1::Connection::graceful_shutdown;
        // hyper closes a connection at once that has not read anything yet, and a request on its way would be lost.
        let stopping = async {
            stop.requested().await;
            // Whether there was a request or not, it is time then.
            let _ = timeout(ARRIVAL, link.activity.used()).await;
        };
        match drive(
            &link,
            connection.as_mut(),
            shut_down,
            deadlines,
            pending(),
            peer,
            (stopping, &*stop_asked),
        )
        .await
        {
            Driven::Idle if link.activity.rest(deadlines) => {}
            Driven::Idle | Driven::Ended => return,
        }
        let parts = Pin::into_inner(connection).into_parts();
        io = parts.io;
        io.put_back(parts.read_buf);
        tokio::select! {
            biased;
            () = io.arrival() => {}
            stage = link.activity.expired(deadlines) => return note_expiry(stage, peer),
            () = link.visitor.ended() => return,
            () = stop.requested() => {}
        }
    }
}

async fn http2<I: Read + Write + Unpin>(link: Arc<Link>, protocols: Arc<Protocols>, io: I, peer: Peer, mut stop: Stop) {
    let io = Watched::multiplexed(io, link.activity.clone());
    let service = service_fn(|request: Request<Incoming>| {
        let exchange = exchange(&link, request);
        async move { Ok::<_, Unanswered>(exchange.await?.map(Followed::new)) }
    });
    let stop_asked = stop.asked();
    let options = &protocols.options;
    let flow = Flow::new(options.stall);
    let deadlines = Deadlines {
        rest: None,
        ..options.deadlines
    };
    let connection = pin!(http2::builder(options.head_size, &flow).serve_connection(io, service));
    let shut_down = hyper_http2::Connection::graceful_shutdown;
    drive(
        &link,
        connection,
        shut_down,
        &deadlines,
        flow.watch(),
        peer,
        (stop.requested(), &*stop_asked),
    )
    .await;
}

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driven {
    Ended,
    /// There was no request for long enough.
    Idle,
}

/// Polls a connection until it ends, its client has been waited for long enough, or there is a verdict on its client. When
/// `stop` ends, which it does not before its flag is set, the connection is shut down.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    link: &Link,
    mut connection: Pin<&mut C>,
    shut_down: fn(Pin<&mut C>),
    deadlines: &Deadlines,
    verdict: impl Future<Output = Verdict>,
    peer: Peer,
    (stop, stop_asked): (impl Future<Output = ()>, &AtomicBool),
) -> Driven {
    let (stop, ended) = (pin!(stop), pin!(link.visitor.ended()));
    let mut stop = Seldom::new(stop, stop_asked);
    let mut ended = Seldom::new(ended, link.visitor.ending());
    let mut expired = pin!(link.activity.expired(deadlines));
    let mut verdict = pin!(verdict);
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => note_end(ended, peer, link.origin.client),
            stage = expired.as_mut() => {
                if stage == Stage::Idle {
                    return Driven::Idle;
                }
                note_expiry(stage, peer);
            }
            () = &mut ended => {}
            verdict = verdict.as_mut() => note_verdict(verdict, peer),
            () = &mut stop, if !stopping => {
                stopping = true;
                shut_down(connection.as_mut());
                continue;
            }
        }
        return Driven::Ended;
    }
}

// === impl Admitted ===

impl Admitted {
    async fn plain<S: Socket + AsyncRead + 'static>(self, stream: S) {
        let (io, delivery) = accept(stream, self.protocols.transport(Protocol::Http1));
        let (peer, stop, protocols, link) = self.link(delivery);
        http1(link, protocols, io, peer, stop).await;
    }

    /// From the handshake on.
    async fn encrypted<S: Socket + AsyncRead + 'static>(mut self, stream: S, tls: Tls) {
        let peer = self.peer;
        let sites = self.server.sites.load_full();
        let handshake = timeout(self.protocols.options.deadlines.head, tls.accept(&sites, stream));
        let (stream, protocol, secured) = tokio::select! {
            biased;
            shaken = handshake => {
                meters().connections.handshake(matches!(shaken, Ok(Ok(_))));
                match shaken {
                    Ok(Ok(Shaken::Client(stream, protocol, secured))) => (*stream, protocol, secured),
                    Ok(Ok(Shaken::Challenge)) => return tracing::debug!(%peer, "an authority saw the answer to its challenge"),
                    Ok(Err(error)) => return tracing::info!(%peer, %error, "a TLS handshake failed"),
                    Err(_) => return note_given_up("the rest of a TLS handshake", peer),
                }
            }
            () = late(&mut self.stop) => return,
        };
        drop(sites);
        // For HTTP/2 whose turn it is among streams is decided late then, and a slow client is seen to take something.
        if let Err(error) = SockRef::from(stream.get_ref().0).set_tcp_notsent_lowat(UNSENT) {
            tracing::trace!(%peer, %error, "the kernel queues what it likes");
        }
        self.origin.secured = Some(Arc::new(secured));
        let (io, delivery) = guard(TokioIo::new(stream), self.protocols.transport(protocol));
        let (peer, stop, protocols, link) = self.link(delivery);
        match protocol {
            Protocol::Http1 => http1(link, protocols, io, peer, stop).await,
            Protocol::Http2 => http2(link, protocols, io, peer, stop).await,
        }
    }

    fn link(self, delivery: Delivery) -> (Peer, Stop, Arc<Protocols>, Arc<Link>) {
        let link = Link {
            server: self.server,
            activity: Activity::new(),
            delivery,
            visitor: self.visitor,
            origin: self.origin,
        };
        (self.peer, self.stop, self.protocols, Arc::new(link))
    }
}

fn note_end(ended: hyper::Result<()>, peer: Peer, client: Option<IpAddr>) {
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

fn note_expiry(stage: Stage, peer: Peer) {
    let waited_for = match stage {
        Stage::Idle | Stage::Rest | Stage::Linger => return,
        Stage::Exchange => "the end of a response, which took longer than total-timeout",
        Stage::Head => "the rest of a request's head",
    };
    note_given_up(waited_for, peer);
}

fn note_verdict(verdict: Verdict, peer: Peer) {
    match verdict {
        Verdict::Stalled => note_given_up("the client to take more of a response", peer),
        Verdict::Flooded => tracing::info!(%peer, "a connection was ended: its client took back what it asked for"),
    }
}

fn note_given_up(waited_for: &str, peer: Peer) {
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
