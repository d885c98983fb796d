//! The way of a request, from its head to an answer.
//!
//! Policy comes before the file system: a refused request learns nothing about which files exist. Whatever the chain
//! leads to, its header changes apply to it, the server's own 404 and 500 included.

use super::{
    refusal::{ALLOW, Refusal},
    target::{Host, SCHEME, Target},
};
use crate::site::Site;
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use std::{net::IpAddr, sync::Arc, time::SystemTime};
use wasmserve_files::{Answer, Content, Lookup, Part, SitePath, answer};
use wasmserve_policy::{Mapping, Outcome, Request, Response, Verdict};

/// A request's head and what the connection knows about it.
pub struct Arrival {
    pub head: Parts,
    /// `None` on a Unix socket. IPv4-mapped addresses are given as IPv4.
    pub client: Option<IpAddr>,
    pub at: SystemTime,
}

/// What a request led to.
pub struct Reply {
    pub answer: Answer,
    /// What was decided about; `None` when the request was refused before that.
    pub request: Option<Arc<Request>>,
    /// What the chain established, for the log.
    pub facts: Vec<(String, String)>,
    /// Bytes of body a second.
    pub pace: Option<u64>,
}

/// `Server`: the name without a version, which would only tell which holes to try. A policy may change or remove it.
const SERVER: HeaderValue = HeaderValue::from_static("wasmserve");

/// Answers a request.
pub async fn handle(site: &Site, arrival: Arrival) -> Reply {
    let request = match question(site, arrival) {
        Ok(Some(request)) => Arc::new(request),
        Ok(None) => return Reply::undecided(capabilities()),
        Err(refusal) => return Reply::undecided(refusal.answer()),
    };
    let verdict = site.chain.decide(&request).await;
    let mut answer = match &verdict.outcome {
        Outcome::Proceed(mapping) => serve(site, &request, mapping).await,
        Outcome::Respond(response) => respond(response),
        Outcome::Fault(fault) => Refusal::from(fault).answer(),
    };
    answer.headers.insert(header::SERVER, SERVER);
    verdict.apply(answer.status, answer.media_type.as_deref(), &mut answer.headers);
    let Verdict { facts, pace, .. } = verdict;
    Reply {
        answer,
        request: Some(request),
        facts,
        pace,
    }
}

/// What the chain is asked: a request with one host and a canonical path. `None` for `OPTIONS *`, which is about no path.
fn question(site: &Site, arrival: Arrival) -> Result<Option<Request>, Refusal> {
    let (host, path, query) = match Target::of(&arrival.head)? {
        Target::Server => return Ok(None),
        Target::Resource { host, path, query } => (host, SitePath::from_uri(path)?, query.map(str::to_owned)),
    };
    let Host { name: host, .. } = host;
    let Arrival {
        head: Parts { method, headers, .. },
        client,
        at: arrived,
    } = arrival;
    let site = site.name.clone();
    Ok(Some(Request {
        method,
        path,
        query,
        headers,
        scheme: SCHEME,
        host,
        site,
        client,
        arrived,
        facts: Vec::new(),
    }))
}

/// The first candidate that exists, and what HTTP says about it.
async fn serve(site: &Site, request: &Request, mapping: &Mapping) -> Answer {
    let lookup = Lookup {
        path: &request.path,
        query: request.query.as_deref(),
        targets: &mapping.targets,
        place: mapping.place.as_ref(),
        missing: mapping.missing.as_ref(),
        headers: &request.headers,
    };
    let found = site.files.open(&lookup).await;
    answer(&request.method, &request.headers, found)
}

/// A policy's own answer.
fn respond(response: &Response) -> Answer {
    let media_type = response
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let content = if response.body.is_empty() {
        Vec::new()
    } else {
        vec![Part::Bytes(response.body.clone())]
    };
    Answer {
        status: response.status,
        headers: response.headers.clone(),
        media_type: media_type.map(str::to_owned),
        content: Content::Parts(content),
    }
}

/// `OPTIONS *`: what every path allows.
fn capabilities() -> Answer {
    let headers = HeaderMap::from_iter([(header::ALLOW, ALLOW)]);
    Answer {
        status: StatusCode::NO_CONTENT,
        headers,
        media_type: None,
        content: Content::Parts(Vec::new()),
    }
}

// === impl Reply ===

impl Reply {
    /// An answer that no policy was asked about.
    fn undecided(mut answer: Answer) -> Self {
        answer.headers.insert(header::SERVER, SERVER);
        Self {
            answer,
            request: None,
            facts: Vec::new(),
            pace: None,
        }
    }
}
