//! One request from hyper to the spine, and its answer back.

use super::{
    activity::{Activity, UnderWay},
    body::{Sending, body},
    connection::Server,
    listener::Answers,
    origin::{Asker, Origin},
};
use crate::{
    limits::Visitor,
    observe::{Record, traces},
    request::{
        Answering, Arrival, Noted, Reply, Scheme, Step, Waiting,
        handle::{self, begin},
        redirect,
    },
    sites::Sites,
};
use arc_swap::Guard;
use http::{HeaderValue, Method, Request, Response, Version, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant, SystemTime},
};
use tokio::time::timeout;
use wasmserve_files::Content;
use wasmserve_transport::{Body, Delivery};

/// Nobody reads request bodies, but a connection can be used again only behind them: up to so many bytes are read and
/// thrown away, for so long. Beyond that the connection ends with the response.
const DISCARDED_BYTES: u64 = 64 * 1024;
const DISCARDED_FOR: Duration = Duration::from_secs(5);

/// What becomes of the connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    KeepAlive,
    Close,
}

/// Why a request gets no answer at all: the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the host is no site's")]
pub struct Unanswered;

/// What the requests of a connection have in common.
pub(super) struct Link {
    pub server: Arc<Server>,
    pub activity: Arc<Activity>,
    pub delivery: Delivery,
    pub visitor: Arc<Visitor>,
    pub origin: Origin,
}

/// The answer to one request of a connection. Nearly all are there at once; for the others the room to wait is on the heap.
pub(super) enum Exchanging {
    Done(Option<Answered>),
    UnderWay(Pin<Box<dyn Future<Output = Answered> + Send>>),
}

type Answered = Result<Response<Body>, Unanswered>;

/// An exchange whose answer is being made.
struct Opened {
    record: Record,
    under_way: UnderWay,
    afterwards: Afterwards,
    head_only: bool,
}

/// Answers one request of a connection.
pub(super) fn exchange(link: &Arc<Link>, request: Request<Incoming>) -> Exchanging {
    let under_way = link.activity.begin();
    let (mut head, unread) = request.into_parts();
    name_host(&mut head);
    let afterwards = discard(&head, unread, &link.activity);
    let origin = &link.origin;
    let Asker { client, scheme } = origin.asker(&head.headers);
    let mut opened = Opened {
        record: Record::begin(head.version, client, scheme, origin.secured.clone(), under_way.since),
        under_way,
        afterwards,
        head_only: head.method == Method::HEAD,
    };
    opened.record.traced = traces::begin(&head.headers, origin.is_proxy());
    let arrival = Arrival {
        head,
        client,
        scheme,
        spoken: origin.scheme(),
        secured: origin.secured.clone(),
        noted: match opened.record.traced {
            Some(_) => Noted::Yes,
            None => Noted::No,
        },
        at: SystemTime::now(),
    };
    let sites = link.server.sites.load();
    let first = first(link, &sites, arrival);
    match opened.note(&sites, first) {
        Ok(reply) => Exchanging::Done(Some(opened.end(link, &sites, reply))),
        Err(waiting) => {
            let (link, sites) = (link.clone(), Guard::into_inner(sites));
            Exchanging::UnderWay(Box::pin(opened.wait(link, sites, waiting)))
        }
    }
}

/// The first step of a request, by what its listener is for.
fn first(link: &Link, sites: &Sites, arrival: Arrival) -> Step {
    if link.origin.scheme() == Scheme::Http
        && let Some(answer) = redirect::challenge(&link.server.acme.challenges, &arrival.head)
    {
        return Step::unasked(arrival, Reply::undecided(answer));
    }
    match link.origin.answers() {
        Answers::RedirectToHttps { port } if !redirect::is_acme(&arrival.head) => {
            Step::waits(Waiting::Https { arrival, port })
        }
        _ => begin(asked_of(link, sites), arrival),
    }
}

fn asked_of<'a>(link: &'a Link, sites: &'a Sites) -> handle::Server<'a> {
    handle::Server {
        sites,
        watch: &link.server.watch,
        visitor: &link.visitor,
        now: Instant::now(),
    }
}

// === impl Opened ===

impl Opened {
    /// Takes down what a step tells of the request. `Err`: it waits, and its client may leave before it is answered.
    #[inline(always)]
    fn note(&mut self, sites: &Sites, step: Step) -> Result<Reply, Box<Waiting>> {
        match step {
            Step::Answered(reply) => Ok(reply),
            Step::Unasked(arrival, reply) => {
                self.record.asked(&arrival.head);
                Ok(*reply)
            }
            Step::Waits(waiting) => {
                if let Some(arrival) = waiting.arrival() {
                    self.record.asked(&arrival.head);
                } else if let Some(request) = waiting.request() {
                    self.record.asks(request);
                }
                self.record.of_site(sites);
                Err(waiting)
            }
        }
    }

    async fn wait(mut self, link: Arc<Link>, sites: Arc<Sites>, mut waiting: Box<Waiting>) -> Answered {
        loop {
            let step = waiting.go_on(asked_of(&link, &sites)).await;
            match self.note(&sites, step) {
                Ok(reply) => return self.end(&link, &sites, reply),
                Err(next) => waiting = next,
            }
        }
    }

    #[inline(always)]
    fn end(mut self, link: &Link, sites: &Sites, mut reply: Reply) -> Answered {
        if reply.site.is_none() {
            // A tenant may have been loaded meanwhile, or be known of for the first time.
            self.record.of_site(sites);
        }
        if reply.answering == Answering::Withheld {
            // Of HTTP/2 too the whole connection: an error would end this request alone.
            link.visitor.end();
            return Err(Unanswered);
        }
        self.record.decided(&mut reply);
        let Reply {
            mut answer,
            pace,
            admitted,
            ..
        } = reply;
        if self.head_only {
            answer.content = Content::NONE;
        }
        if self.afterwards == Afterwards::Close {
            answer
                .headers
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let sending = Sending { pace, admitted };
        let body = body(&link.delivery, answer.content, sending, self.record, self.under_way);
        let mut response = Response::new(body);
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }
}

// === impl Exchanging ===

impl Future for Exchanging {
    type Output = Answered;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answered> {
        match self.get_mut() {
            Self::Done(answered) => match answered.take() {
                Some(answered) => Poll::Ready(answered),
                // As for every future that is polled after its end.
                None => panic!("an exchange was polled after its end"),
            },
            Self::UnderWay(exchange) => exchange.as_mut().poll(context),
        }
    }
}

/// The authority of a request without Host as Host, for policies, observers and the log: of HTTP/2 (RFC 9113, section
/// 8.3.1), or of HTTP/1.0 with a whole URL.
fn name_host(head: &mut Parts) {
    // A client of HTTP/1.1 has to send the field itself.
    if head.version != Version::HTTP_11
        && !head.headers.contains_key(header::HOST)
        && let Some(authority) = head.uri.authority()
        && !authority.as_str().contains('@')
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(header::HOST, host);
    }
}

/// Sees to the request's body while the answer is made and sent.
fn discard(head: &Parts, body: Incoming, activity: &Arc<Activity>) -> Afterwards {
    if body.is_end_stream() {
        return Afterwards::KeepAlive;
    }
    // In HTTP/2 nothing waits behind a body that nobody reads: it is reset.
    let otherwise = match head.version {
        Version::HTTP_2 => Afterwards::KeepAlive,
        _ => Afterwards::Close,
    };
    activity.leave_unread();
    // Who expects 100 (Continue) waits for leave to send; the answer comes instead of it (RFC 9110, section 10.1.1).
    let waits = head.headers.contains_key(header::EXPECT);
    if waits || body.size_hint().lower() > DISCARDED_BYTES {
        return otherwise;
    }
    let activity = activity.clone();
    tokio::spawn(async move {
        if let Ok(true) = timeout(DISCARDED_FOR, read_to_end(body)).await {
            activity.read_to_end();
        }
    });
    Afterwards::KeepAlive
}

/// Whether the end was reached within the bound.
async fn read_to_end(mut body: Incoming) -> bool {
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, |data| data.len() as u64);
        if read > DISCARDED_BYTES {
            return false;
        }
    }
    true
}
