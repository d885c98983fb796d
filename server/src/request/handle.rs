//! The way of a request, from its head to an answer.
//!
//! Policy comes before the file system: a refused request learns nothing about which files exist. Whatever the chain
//! leads to, its header changes apply to it, the server's own 404 and 500 included.

use super::{
    framing,
    refusal::{ALLOW, Refusal},
    target::{Host, Scheme, Target},
};
use crate::{
    limits::{Admitted, Over, Visitor},
    net::tls::Secured,
    observe::{Meter, meters, traces::Passage},
    site::{Logged, Site},
    sites::{Sites, UnknownHost},
    watch::{Recording, Watch, debug},
};
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};
use wasmserve_files::{Answer, Content, Found, Lookup, Part, Place, SitePath, answer, answer::SERVER};
use wasmserve_policy::{Effort, Mapping, Outcome, Request, Response, Step, Verdict};

/// A request's head and what the connection knows about it.
pub struct Arrival {
    pub head: Parts,
    /// `None` on a Unix socket. IPv4-mapped addresses are given as IPv4.
    pub client: Option<IpAddr>,
    /// How the client asked, as far as this server is told.
    pub scheme: Scheme,
    /// What the connection speaks, which is what the target has to name: another than `scheme` behind a proxy.
    pub spoken: Scheme,
    /// What the connection agreed on, when it speaks TLS.
    pub secured: Option<Arc<Secured>>,
    pub noted: Noted,
    pub at: SystemTime,
}

/// Whether it is noted what each policy does, for a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Noted {
    Yes,
    #[default]
    No,
}

/// What a request led to.
pub struct Reply {
    pub answer: Answer,
    /// Who gave it; `None` when no site was asked.
    pub site: Option<Arc<Site>>,
    /// What was decided about; `None` when the request was refused before that.
    pub request: Option<Arc<Request>>,
    /// What the chain established, for the log.
    pub facts: Vec<(String, String)>,
    /// Bytes of body a second.
    pub pace: Option<u64>,
    /// Held until the last byte of the answer is sent.
    pub admitted: Admitted,
    pub answering: Answering,
    /// What policies decided; `None` when none were asked.
    pub judged: Option<Judged>,
    /// Whose counters count it.
    pub meter: &'static Meter,
    pub logged: Logged,
}

/// A chain's verdict in a word, for the access log, and what it took.
#[derive(Debug)]
pub struct Judged {
    /// `proceed`, `respond` or `fault`.
    pub verdict: &'static str,
    pub effort: Effort,
    /// What each policy did, where it was noted.
    pub passages: Vec<Passage>,
}

/// Whether a client gets its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    Given,
    /// The connection ends instead.
    Withheld,
}

/// Answers a request.
pub async fn handle(sites: &Sites, watch: &Watch, visitor: &Visitor, mut arrival: Arrival) -> Reply {
    let asked = match visitor.ask(&arrival.head, arrival.client) {
        Ok(asked) => asked,
        Err(over) => return Reply::refused(&Refusal::Over(over)),
    };
    if debug::asked(watch.debug.as_ref(), &mut arrival.head.headers) {
        // On the heap: hardly any request asks for it.
        return Box::pin(debug::traced(sites, arrival)).await;
    }
    if let Some(narrator) = watch.narrator {
        return Box::pin(narrator.answer(sites, arrival)).await;
    }
    let noted = arrival.noted;
    let (site, request) = match question(sites, arrival).await {
        Ok(Some((site, request))) => (site, Arc::new(request)),
        Ok(None) => return Reply::undecided(capabilities()),
        Err(refusal) => return Reply::refused(&refusal),
    };
    let admitted = match visitor.enter(&site.account, asked) {
        Ok(admitted) => admitted,
        Err(over) => return Reply::over_budget(site, request, over),
    };
    let (verdict, passages) = match (watch.record.as_ref().filter(|recording| recording.is_due()), noted) {
        (None, Noted::No) => (site.chain.decide(&request).await, Vec::new()),
        // On the heap, so that a request which is not recorded does not carry the room for it.
        (recording, noted) => Box::pin(decide_noting(recording, noted, &site, &request)).await,
    };
    let answer = carry_out(&site, &request, &verdict).await;
    let mut reply = Reply::judged(site, request, verdict, answer, admitted);
    if let Some(judged) = &mut reply.judged {
        judged.passages = passages;
    }
    reply
}

/// Decides for a request that is recorded, traced or both.
async fn decide_noting(
    recording: Option<&Recording>,
    noted: Noted,
    site: &Site,
    request: &Arc<Request>,
) -> (Verdict, Vec<Passage>) {
    let begun = Instant::now();
    let mut passages = Vec::new();
    let mut note = |steps: &[Step]| {
        if noted == Noted::Yes {
            passages = Passage::of(begun, steps);
        }
    };
    let verdict = match recording {
        Some(recording) => recording.decide(site, request, &mut note).await,
        None => {
            let (verdict, steps) = site.chain.decide_noting(request, Arc::default()).await;
            note(&steps);
            verdict
        }
    };
    (verdict, passages)
}

/// What a verdict leads to: the file, the policy's own answer or an error, with the chain's header changes.
pub(crate) async fn carry_out(site: &Site, request: &Request, verdict: &Verdict) -> Answer {
    let answer = match &verdict.outcome {
        Outcome::Proceed(mapping) => serve(site, request, mapping).await,
        Outcome::Respond(response) => respond(site, request, response).await,
        Outcome::Fault(fault) => with_error_page(site, None, request, Refusal::from(fault).answer()).await,
    };
    let mut answer = site.files.compress(&request.headers, answer);
    answer.headers.insert(header::SERVER, SERVER);
    let headers = &site.spec.headers;
    verdict.apply_between(
        &headers.first,
        &headers.last,
        answer.status,
        answer.media_type.as_deref(),
        &mut answer.headers,
    );
    answer
}

/// Who is asked, and what: a request with one host, which is that site's, and a canonical path. `None` for `OPTIONS *`,
/// which is about no path.
pub(crate) async fn question(sites: &Sites, arrival: Arrival) -> Result<Option<(Arc<Site>, Request)>, Refusal> {
    framing::check(&arrival.head.headers)?;
    let (host, path, query) = match Target::of(&arrival.head, arrival.spoken)? {
        Target::Server => return Ok(None),
        Target::Resource { host, path, query } => (host, path, query.map(str::to_owned)),
    };
    let site = sites.of_host(&host.name).await?;
    let secured = arrival.secured.as_deref();
    if secured.is_some_and(|secured| !secured.is_for(sites.tls_of(&host.name), &host.name)) {
        return Err(Refusal::OtherCertificate);
    }
    let facts = secured.map_or_else(Vec::new, |secured| secured.facts.clone());
    let Host { name: host, .. } = host;
    let path = SitePath::from_uri(path)?;
    let Arrival {
        head: Parts { method, headers, .. },
        client,
        scheme,
        at: arrived,
        ..
    } = arrival;
    let request = Request {
        method,
        path,
        query,
        headers,
        scheme: scheme.as_str(),
        host,
        site: site.name.clone(),
        client,
        arrived,
        facts,
    };
    Ok(Some((site, request)))
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
    let has_page = matches!(found, Found::Missing { page: Some(_), .. });
    let mut answer = answer(&request.method, &request.headers, found);
    if answer.content.is_remote() && request.method == Method::GET {
        // On the heap: files of this machine should not carry the room for it.
        answer = Box::pin(site.files.begin(&lookup, answer)).await;
    }
    if has_page {
        answer
    } else {
        with_error_page(site, lookup.place, request, answer).await
    }
}

/// A policy's own answer. An error without a body gets the operator's page, as the server's own errors do.
async fn respond(site: &Site, request: &Request, response: &Response) -> Answer {
    let mut answer = Answer {
        status: response.status,
        headers: response.headers.clone(),
        // That of its Content-Type.
        media_type: None,
        content: Content::Parts(Vec::new()),
    };
    if response.body.is_empty() {
        return with_error_page(site, None, request, answer).await;
    }
    answer
        .headers
        .insert(header::CONTENT_LENGTH, response.body.len().into());
    answer.content = Content::Parts(vec![Part::Bytes(response.body.clone())]);
    answer
}

/// An error with the page that the operator chose for its status; any other answer as it is.
async fn with_error_page(site: &Site, place: Option<&Place>, request: &Request, plain: Answer) -> Answer {
    let status = plain.status;
    if !status.is_client_error() && !status.is_server_error() {
        return plain;
    }
    // On the heap: an answer that is no error should not carry the room for this.
    let Some(page) = Box::pin(site.files.error_page(status, place, &request.headers)).await else {
        return plain;
    };
    let found = Found::Missing {
        page: Some(page),
        status,
    };
    let mut shown = answer(&Method::GET, &request.headers, found);
    if shown.content.is_remote() && request.method == Method::GET && Box::pin(shown.content.begin()).await.is_err() {
        return plain;
    }
    // What the error says beyond its text, such as Retry-After or WWW-Authenticate.
    for name in plain.headers.keys() {
        // How its content was encoded is not how the page is.
        if name != header::CONTENT_ENCODING && !shown.headers.contains_key(name) {
            for value in plain.headers.get_all(name) {
                shown.headers.append(name, value.clone());
            }
        }
    }
    shown
}

/// `OPTIONS *`: what every path allows.
pub(crate) fn capabilities() -> Answer {
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
    /// An answer to what is refused before any policy is asked.
    pub(crate) fn refused(refusal: &Refusal) -> Self {
        let answering = match refusal {
            Refusal::UnknownHost(UnknownHost::Close) => Answering::Withheld,
            _ => Answering::Given,
        };
        Self {
            answering,
            ..Self::undecided(refusal.answer())
        }
    }

    /// An answer that a verdict led to.
    pub(crate) fn judged(
        site: Arc<Site>,
        request: Arc<Request>,
        verdict: Verdict,
        answer: Answer,
        admitted: Admitted,
    ) -> Self {
        let Verdict {
            facts,
            pace,
            outcome,
            effort,
            ..
        } = verdict;
        Self {
            answer,
            request: Some(request),
            facts,
            pace,
            admitted,
            answering: Answering::Given,
            judged: Some(Judged::new(&outcome, effort)),
            meter: site.meter,
            logged: site.spec.logged,
            site: Some(site),
        }
    }

    /// An answer that no policy was asked about.
    pub(crate) fn undecided(mut answer: Answer) -> Self {
        answer.headers.insert(header::SERVER, SERVER);
        Self {
            answer,
            site: None,
            request: None,
            facts: Vec::new(),
            pace: None,
            admitted: Admitted::default(),
            answering: Answering::Given,
            judged: None,
            meter: meters().nobody(),
            logged: Logged::Yes,
        }
    }

    /// An answer to a request that a site has no budget for; with the fields that its configuration sets on every answer.
    fn over_budget(site: Arc<Site>, request: Arc<Request>, over: Over) -> Self {
        let mut reply = Self::refused(&Refusal::Over(over));
        let headers = &site.spec.headers;
        for rules in [&headers.first, &headers.last] {
            rules.apply(reply.answer.status, &mut reply.answer.headers);
        }
        reply.request = Some(request);
        (reply.meter, reply.logged) = (site.meter, site.spec.logged);
        reply.site = Some(site);
        reply
    }
}

// === impl Judged ===

impl Judged {
    pub(crate) fn new(outcome: &Outcome, effort: Effort) -> Self {
        Self {
            verdict: match outcome {
                Outcome::Proceed(_) => "proceed",
                Outcome::Respond(_) => "respond",
                Outcome::Fault(_) => "fault",
            },
            effort,
            passages: Vec::new(),
        }
    }
}
