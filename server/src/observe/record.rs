//! The record of one exchange. It rides in the response's body, so that it is complete when the body ends: after the last
//! byte, or when the client went away. However an exchange ends, it leaves exactly one line in the access log, is counted
//! once, and its site's observers are told once.

mod span;

use super::{
    access::{self, Entry, PolicyPart},
    meter::{Exchange, Meter, meters},
    traces::Traced,
};
use crate::{
    net::tls::Secured,
    request::{Host, Judged, Reply, target::Scheme},
    site::{Logged, Site},
    sites::Sites,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version, header, request::Parts};
use std::{
    borrow::Cow,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use wasmserve_policy::{Ending, Finished, Request};

/// What is known of an exchange so far.
pub struct Record {
    arrived: Instant,
    scheme: Scheme,
    version: Version,
    /// The site, when it has observers.
    observed: Option<Arc<Site>>,
    asked: Asked,
    client: Option<IpAddr>,
    /// What the connection agreed on, when it speaks TLS.
    secured: Option<Arc<Secured>>,
    status: Option<StatusCode>,
    /// From the request's first byte to its answer's head.
    head: Option<Duration>,
    judged: Option<Judged>,
    facts: Vec<(String, String)>,
    meter: &'static Meter,
    logged: Logged,
    /// What it is a part of, when it is traced.
    pub traced: Option<Box<Traced>>,
    /// Bytes of body that were handed to the connection.
    pub bytes: u64,
    pub ending: Ending,
    /// Why it was not completed, as far as that is known.
    pub abort: Option<&'static str>,
}

/// What was asked for, as far as anybody came to tell.
enum Asked {
    Nothing,
    /// The request was not decided about, or is not yet.
    Head(Box<Head>),
    Request(Arc<Request>),
}

/// Of a request's head as it was sent.
struct Head {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
}

// === impl Record ===

impl Record {
    /// Begins with a request of which this is known, and whose first byte `arrived` then.
    pub fn begin(
        version: Version,
        client: Option<IpAddr>,
        scheme: Scheme,
        secured: Option<Arc<Secured>>,
        arrived: Instant,
    ) -> Self {
        meters().begin();
        Self {
            arrived,
            scheme,
            version,
            observed: None,
            asked: Asked::Nothing,
            client,
            secured,
            status: None,
            head: None,
            judged: None,
            facts: Vec::new(),
            meter: meters().nobody(),
            logged: Logged::Yes,
            traced: None,
            bytes: 0,
            ending: Ending::Aborted,
            abort: None,
        }
    }

    /// What is asked for by a request that no site is asked about, or not yet.
    pub fn asked(&mut self, head: &Parts) {
        self.asked = Asked::Head(Box::new(Head {
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(header::HOST).cloned(),
        }));
    }

    /// What its site is asked about.
    pub fn asks(&mut self, request: &Arc<Request>) {
        self.asked = Asked::Request(request.clone());
    }

    /// Finds the site whose observers are told of a request that no site answers: one that is refused, or whose client
    /// leaves before. The site that answers goes before it.
    pub fn of_site(&mut self, sites: &Sites) {
        if sites.are_observed() {
            let host = Host::parse(self.host()).unwrap_or_default();
            self.observe(sites.certainly_of(&host.name));
        }
    }

    fn observe(&mut self, site: Option<Arc<Site>>) {
        self.observed = site.filter(|site| !site.chain.observers().is_empty());
    }

    /// Takes over what was decided and will be sent.
    pub fn decided(&mut self, reply: &mut Reply) {
        self.status = Some(reply.answer.status);
        self.head = Some(self.arrived.elapsed());
        if let Some(request) = reply.request.take() {
            self.asked = Asked::Request(request);
        }
        if let Some(site) = reply.site.take() {
            self.observe(Some(site));
        }
        self.judged = reply.judged.take();
        self.facts = std::mem::take(&mut reply.facts);
        self.meter = reply.meter;
        self.logged = reply.logged;
    }

    fn host(&self) -> &str {
        match &self.asked {
            Asked::Nothing => "",
            Asked::Head(head) => head
                .host
                .as_ref()
                .and_then(|host| host.to_str().ok())
                .unwrap_or_default(),
            Asked::Request(request) => &request.host,
        }
    }

    fn request(&self) -> Option<&Request> {
        match &self.asked {
            Asked::Request(request) => Some(request),
            Asked::Nothing | Asked::Head(_) => None,
        }
    }

    fn method(&self) -> Option<&Method> {
        match &self.asked {
            Asked::Nothing => None,
            Asked::Head(head) => Some(&head.method),
            Asked::Request(request) => Some(&request.method),
        }
    }

    /// Canonical; as sent when the request was refused because it is not.
    pub fn path(&self) -> &str {
        match &self.asked {
            Asked::Nothing => "",
            Asked::Head(head) => head.uri.path(),
            Asked::Request(request) => request.path.as_str(),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let duration = self.arrived.elapsed();
        self.meter.count(&Exchange {
            status: self.status,
            ending: self.ending,
            bytes: self.bytes,
            head: self.head,
            whole: duration,
        });
        if self.logged == Logged::Yes {
            access::write(|| self.entry(duration));
        }
        if let Some(traced) = self.traced.take() {
            self.trace(*traced, duration);
        }
        self.tell(duration);
    }
}

impl Record {
    fn entry(&self, duration: Duration) -> Entry<'_> {
        let request = self.request();
        let headers = request.map(|request| &request.headers);
        Entry {
            time: SystemTime::now(),
            client: self.client,
            site: request.map(|request| &*request.site),
            method: self.method().map(Method::as_str),
            scheme: Some(self.scheme.as_str()),
            host: self.host(),
            path: Some(self.path()),
            protocol: Some(protocol(self.version)),
            status: self.status.map(|status| status.as_u16()),
            bytes: self.bytes,
            duration,
            head: self.head,
            ending: self.ending,
            abort: self.abort_reason(),
            policy: self.judged.as_ref().map(|judged| PolicyPart {
                verdict: judged.verdict,
                by: judged.effort.decided_by(),
                ran: judged.effort.ran,
                kept: judged.effort.reused,
                spent: judged.effort.spent,
            }),
            tls: self.secured.as_deref().map_or(&[], |secured| &secured.facts),
            facts: &self.facts,
            referer: field(headers, &header::REFERER).map(without_query),
            user_agent: field(headers, &header::USER_AGENT),
        }
    }

    fn abort_reason(&self) -> Option<&'static str> {
        match self.ending {
            Ending::Completed => None,
            Ending::Aborted | Ending::Failed => self.abort.or(Some("client-left")),
        }
    }

    fn tell(&mut self, duration: Duration) {
        let Some(site) = self.observed.take() else { return };
        site.chain.observers().observe(Finished {
            arrived: SystemTime::now()
                .checked_sub(duration)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            duration,
            site: site.name.clone(),
            host: self.host().to_owned(),
            scheme: self.scheme.as_str(),
            method: self.method().map(Method::to_string).unwrap_or_default(),
            path: self
                .request()
                .map_or_else(String::new, |request| request.path.to_string()),
            client: self.client,
            status: self.status.map_or(0, |status| status.as_u16()),
            body_bytes: self.bytes,
            ending: self.ending,
            facts: std::mem::take(&mut self.facts),
        });
    }
}

/// The line of a head that could not be read: no policy was asked, and nothing in it is known. `status` is what it was
/// answered with, if with anything.
pub fn unreadable(status: Option<StatusCode>, client: Option<IpAddr>) {
    let exchange = Exchange {
        status,
        ending: Ending::Failed,
        bytes: 0,
        head: None,
        whole: Duration::ZERO,
    };
    meters().begin();
    meters().nobody().count(&exchange);
    access::write(|| Entry {
        time: SystemTime::now(),
        client,
        site: None,
        method: None,
        scheme: None,
        host: "",
        path: None,
        protocol: None,
        status: status.map(|status| status.as_u16()),
        bytes: 0,
        duration: Duration::ZERO,
        head: None,
        ending: Ending::Failed,
        abort: Some("unreadable"),
        policy: None,
        tls: &[],
        facts: &[],
        referer: None,
        user_agent: None,
    });
}

/// As requests of that version are written.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

fn field<'a>(headers: Option<&'a HeaderMap>, name: &HeaderName) -> Option<Cow<'a, str>> {
    let value = headers?.get(name)?;
    Some(String::from_utf8_lossy(value.as_bytes()))
}

/// A page that a client came from, without what may be a secret in it.
fn without_query(url: Cow<'_, str>) -> Cow<'_, str> {
    match url.find(['?', '#']) {
        None => url,
        Some(end) => match url {
            Cow::Borrowed(url) => Cow::Borrowed(&url[..end]),
            Cow::Owned(mut url) => {
                url.truncate(end);
                Cow::Owned(url)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_query_of_any_page_is_told() {
        for (given, expected) in [
            ("https://a.example/x?token=1", "https://a.example/x"),
            ("https://a.example/x#token=1?", "https://a.example/x"),
            ("https://a.example/x", "https://a.example/x"),
            ("", ""),
        ] {
            assert_eq!(without_query(given.into()), expected);
            assert_eq!(without_query(given.to_owned().into()), expected);
        }
    }
}
