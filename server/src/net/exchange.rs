//! One request from hyper to the spine, and its answer back.

use super::{
    activity::Activity,
    body::{Sending, body},
    connection::Server,
    listener::Answers,
    origin::{Asker, Origin},
};
use crate::{
    limits::Visitor,
    observe::{Record, traces},
    request::{Answering, Arrival, Noted, Reply, Scheme, handle, redirect},
};
use http::{HeaderValue, Method, Request, Response, Version, header, request::Parts};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use std::{sync::Arc, time::Duration, time::SystemTime};
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

/// Answers one request of a connection.
pub async fn exchange(
    server: Arc<Server>,
    activity: Arc<Activity>,
    delivery: Delivery,
    visitor: Arc<Visitor>,
    origin: &Origin,
    request: Request<Incoming>,
) -> Result<Response<Body>, Unanswered> {
    let under_way = activity.begin();
    let (mut head, unread) = request.into_parts();
    name_host(&mut head);
    let afterwards = discard(&head, unread, activity);
    let Asker { client, scheme } = origin.asker(&head.headers);
    let mut record = Record::begin(&head, client, scheme, origin.secured.clone(), under_way.since);
    record.traced = traces::begin(&head.headers, origin.is_proxy());
    let head_only = head.method == Method::HEAD;

    let sites = server.sites.load_full();
    record.of_site(&sites);
    let arrival = Arrival {
        head,
        client,
        scheme,
        spoken: origin.scheme(),
        secured: origin.secured.clone(),
        noted: match record.traced {
            Some(_) => Noted::Yes,
            None => Noted::No,
        },
        at: SystemTime::now(),
    };
    let challenge = match origin.scheme() {
        Scheme::Http => redirect::challenge(&server.acme.challenges, &arrival.head),
        Scheme::Https => None,
    };
    let mut reply = match (challenge, origin.answers()) {
        (Some(answer), _) => Reply::undecided(answer),
        (None, Answers::RedirectToHttps { port }) if !redirect::is_acme(&arrival.head) => {
            redirect::to_https(&sites, &arrival, port).await
        }
        _ => handle(&sites, &server.watch, &visitor, arrival).await,
    };

    if reply.site.is_none() {
        // A tenant may have been loaded meanwhile, or be known of for the first time.
        record.of_site(&sites);
    }
    if reply.answering == Answering::Withheld {
        // Of HTTP/2 too the whole connection: an error would end this request alone.
        visitor.end();
        return Err(Unanswered);
    }
    record.decided(&mut reply);
    if head_only {
        reply.answer.content = Content::Parts(Vec::new());
    }
    if afterwards == Afterwards::Close {
        reply
            .answer
            .headers
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    let sending = Sending {
        pace: reply.pace,
        admitted: reply.admitted,
    };
    let mut response = Response::new(body(&delivery, reply.answer.content, sending, record, under_way));
    *response.status_mut() = reply.answer.status;
    *response.headers_mut() = reply.answer.headers;
    Ok(response)
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
fn discard(head: &Parts, body: Incoming, activity: Arc<Activity>) -> Afterwards {
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
