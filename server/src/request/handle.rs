//! The way of a request, from its head to an answer.
//!
//! In the order of events: the connection is asked whether it may ask ([`begin`]), the head says whose resource it is
//! ([`host`]), the site's policies decide ([`ask`]), and a file is found ([`look`]). Each stage is done at once where nothing
//! has to be waited for; what has to be is [`Waiting`], which goes on with the next stage.
//!
//! Policy comes before the file system: a refused request learns nothing about which files exist. Whatever the chain
//! leads to, its header changes apply to it, the server's own 404 and 500 included.

use super::{
    framing, redirect,
    refusal::{ALLOW, Refusal},
    target::{Host, Scheme, Target},
};
use crate::{
    limits::{Admitted, Counted, Over, Visitor},
    net::tls::Secured,
    observe::{Meter, meters, traces::Passage},
    site::{Logged, Site},
    sites::{Sites, UnknownHost},
    watch::{Narrator, Recording, Watch, debug},
};
use http::{HeaderMap, Method, StatusCode, header, request::Parts};
use std::{
    any::Any,
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};
use wasmserve_files::{Action, Answer, Content, Found, Lookup, Place, Selected, SitePath, answer, answer::SERVER};
use wasmserve_policy::{Effort, Lasting, Mapping, Outcome, Request, Response, Undecided, Verdict};

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

/// How far a request came without waiting for anything.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all requests are answered at once, and nobody keeps a step"
)]
pub enum Step {
    Answered(Reply),
    /// The same, of a request that no site was asked about, as it came.
    Unasked(Box<Arrival>, Box<Reply>),
    Waits(Box<Waiting>),
}

/// A request that has to wait, and what was done about it so far.
pub enum Waiting {
    /// It is to be told how it is decided: by every policy.
    Told(Arrival, Teller, Option<Counted>),
    /// To be sent on, where its host is a site's.
    Https { arrival: Arrival, port: u16 },
    /// For the site of its host.
    Site(Arrival, Host, Option<Counted>),
    /// For the policies of its site.
    Verdict(Asked, Undecided),
    /// As that, and it is written down what they do: for a trace, for a recording, or for both.
    Noted(Asked, Noted, Recorded),
    /// For a file.
    Answer(Asked, Verdict),
}

/// Whether a request is one of those that are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    Yes,
    No,
}

/// Who tells how a request is decided.
#[derive(Clone, Copy, Debug)]
pub enum Teller {
    /// The answer: [`debug::traced`].
    Answer,
    Narrator(Narrator),
}

/// A request that its site is asked about.
pub struct Asked {
    site: Arc<Site>,
    request: Arc<Request>,
    admitted: Admitted,
    /// What each policy did, where it was noted.
    passages: Vec<Passage>,
}

/// What a request is answered by.
#[derive(Clone, Copy)]
pub struct Server<'a> {
    pub sites: &'a Sites,
    pub watch: &'a Watch,
    pub visitor: &'a Visitor,
    /// When the request was read: what was looked up before is too old from a second later on.
    pub now: Instant,
}

/// Answers a request as far as that can be done at once. Nearly all end here: the site is loaded, the policies' decisions
/// are kept and the file is open.
#[inline]
pub fn begin(server: Server<'_>, mut arrival: Arrival) -> Step {
    let asked = match server.visitor.ask(&arrival.head, arrival.client) {
        Ok(asked) => asked,
        Err(over) => return Step::refused(arrival, &Refusal::Over(over)),
    };
    if debug::asked(server.watch.debug.as_ref(), &mut arrival.head.headers) {
        return Step::waits(Waiting::Told(arrival, Teller::Answer, asked));
    }
    if let Some(narrator) = server.watch.narrator {
        return Step::waits(Waiting::Told(arrival, Teller::Narrator(narrator), asked));
    }
    let host = match host(&arrival) {
        Ok(Some(host)) => host,
        Ok(None) => return Step::unasked(arrival, Reply::undecided(capabilities())),
        Err(refusal) => return Step::refused(arrival, &refusal),
    };
    match server.sites.of_host_known(&host.name) {
        Some(Ok(site)) => ask(server, arrival, site, host, asked),
        Some(Err(nobody)) => Step::refused(arrival, &nobody.into()),
        None => Step::waits(Waiting::Site(arrival, host, asked)),
    }
}

/// Asks a site's policies.
// Inlined, as what follows: a request is some hundred bytes, and would be copied at each call.
#[inline(always)]
fn ask(server: Server<'_>, arrival: Arrival, site: Arc<Site>, host: Host, counted: Option<Counted>) -> Step {
    let path = match path(server.sites, &arrival, &host) {
        Ok(path) => path,
        Err(refusal) => return Step::refused(arrival, &refusal),
    };
    let noted = arrival.noted;
    let request = Arc::new(request(&site, arrival, host, path));
    let admitted = match server.visitor.enter(&site.account, counted) {
        Ok(admitted) => admitted,
        Err(over) => return Step::Answered(Reply::over_budget(site, request, over)),
    };
    let asked = Asked {
        site,
        request,
        admitted,
        passages: Vec::new(),
    };
    let recorded = match server.watch.record.as_ref().is_some_and(Recording::is_due) {
        true => Recorded::Yes,
        false => Recorded::No,
    };
    if (noted, recorded) != (Noted::No, Recorded::No) {
        return Step::waits(Waiting::Noted(asked, noted, recorded));
    }
    match asked.site.chain.decide_known(&asked.request) {
        Ok(verdict) => look(server.now, asked, verdict),
        Err(undecided) => Step::waits(Waiting::Verdict(asked, undecided)),
    }
}

/// Looks for what a verdict leads to.
#[inline(always)]
fn look(now: Instant, asked: Asked, verdict: Verdict) -> Step {
    match answer_known(now, &asked.site, &asked.request, &verdict) {
        Some(answer) => Step::Answered(asked.reply(verdict, answer)),
        None => Step::waits(Waiting::Answer(asked, verdict)),
    }
}

/// What a verdict leads to, when that is known already; `None`: it has to be waited for.
fn answer_known(now: Instant, site: &Site, request: &Request, verdict: &Verdict) -> Option<Answer> {
    match &verdict.outcome {
        Outcome::Proceed(mapping) => {
            let selected = site.files.open_known(&lookup(request, mapping), now)?;
            answer_file(site, request, verdict, &selected)
        }
        Outcome::Respond(response) => {
            let answer = respond(response);
            // It may have a page of the operator's.
            (!is_error(answer.status)).then(|| finished(site, request, verdict, answer))
        }
        Outcome::Fault(_) => None,
    }
}

/// The answer with a file that is open; `None`: it is an error, which may have a page of the operator's. The head of what is
/// asked for again and again is kept with the changes of decisions that are kept.
fn answer_file(site: &Site, request: &Request, verdict: &Verdict, selected: &Selected) -> Option<Answer> {
    let (method, headers) = (&request.method, &request.headers);
    let rules = &site.spec.headers;
    let lasting = verdict
        .lasting(&rules.first, &rules.last)
        .filter(|_| !site.files.compresses());
    let alike = |lasting: &Lasting<'_>, by: &dyn Any| by.downcast_ref().is_some_and(|applied| lasting.is(applied));
    if let Some(lasting) = &lasting
        && let Some(answer) = selected.answer_changed(method, headers, |by| alike(lasting, by))
    {
        return Some(answer);
    }
    let answer = selected.answer(method, headers);
    if is_error(answer.status) {
        return None;
    }
    let is_get = Action::of(method) == Action::Get;
    let answer = finished(site, request, verdict, answer);
    if let Some(lasting) = lasting.filter(|_| is_get) {
        selected.keep_changed(&answer, || Box::new(lasting.applied()));
    }
    Some(answer)
}

// === impl Step, Waiting ===

impl Step {
    fn refused(arrival: Arrival, refusal: &Refusal) -> Self {
        Self::unasked(arrival, Reply::refused(refusal))
    }

    pub fn unasked(arrival: Arrival, reply: Reply) -> Self {
        Self::Unasked(Box::new(arrival), Box::new(reply))
    }

    pub fn waits(waiting: Waiting) -> Self {
        Self::Waits(Box::new(waiting))
    }
}

impl Waiting {
    /// Waits for what is next, and goes on from there.
    pub async fn go_on(self, server: Server<'_>) -> Step {
        match self {
            // Counted until it is answered.
            Self::Told(arrival, teller, _counted) => {
                let reply = match teller {
                    Teller::Answer => Box::pin(debug::traced(server.sites, arrival)).await,
                    Teller::Narrator(narrator) => Box::pin(narrator.answer(server.sites, arrival)).await,
                };
                Step::Answered(reply)
            }
            Self::Https { arrival, port } => {
                let reply = Box::pin(redirect::to_https(server.sites, &arrival, port)).await;
                Step::unasked(arrival, reply)
            }
            Self::Site(arrival, host, counted) => match server.sites.of_host(&host.name).await {
                Ok(site) => ask(server, arrival, site, host, counted),
                Err(nobody) => Step::refused(arrival, &nobody.into()),
            },
            Self::Verdict(asked, undecided) => {
                let verdict = asked.site.chain.decide_rest(undecided).await;
                look(Instant::now(), asked, verdict)
            }
            Self::Noted(mut asked, noted, recorded) => {
                let recording = server.watch.record.as_ref().filter(|_| recorded == Recorded::Yes);
                let noting = decide_noting(recording, noted, &asked.site, &asked.request);
                // On the heap, so that a request which is not recorded does not carry the room for it.
                let (verdict, passages) = Box::pin(noting).await;
                asked.passages = passages;
                look(Instant::now(), asked, verdict)
            }
            Self::Answer(asked, verdict) => {
                let answer = carry_out(&asked.site, &asked.request, &verdict).await;
                Step::Answered(asked.reply(verdict, answer))
            }
        }
    }

    /// What waits, while it is known by its head alone.
    pub fn arrival(&self) -> Option<&Arrival> {
        match self {
            Self::Told(arrival, ..) | Self::Https { arrival, .. } | Self::Site(arrival, ..) => Some(arrival),
            Self::Verdict(..) | Self::Noted(..) | Self::Answer(..) => None,
        }
    }

    /// What waits, once its site is asked about it.
    pub fn request(&self) -> Option<&Arc<Request>> {
        match self {
            Self::Told(..) | Self::Https { .. } | Self::Site(..) => None,
            Self::Verdict(asked, _) | Self::Noted(asked, ..) | Self::Answer(asked, _) => Some(&asked.request),
        }
    }
}

impl Asked {
    fn reply(self, verdict: Verdict, answer: Answer) -> Reply {
        let mut reply = Reply::judged(self.site, self.request, verdict, answer, self.admitted);
        if let Some(judged) = &mut reply.judged {
            judged.passages = self.passages;
        }
        reply
    }
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
    let mut note = |steps: &[wasmserve_policy::Step]| {
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
        Outcome::Respond(response) => {
            let answer = respond(response);
            match response.body.is_empty() {
                true => with_error_page(site, None, request, answer).await,
                false => answer,
            }
        }
        Outcome::Fault(fault) => {
            let mut answer = with_error_page(site, None, request, Refusal::from(fault).answer()).await;
            answer.headers.insert(header::SERVER, SERVER);
            answer
        }
    };
    finished(site, request, verdict, answer)
}

/// An answer with what every answer of a site is given last: compression, and changes of its head.
fn finished(site: &Site, request: &Request, verdict: &Verdict, answer: Answer) -> Answer {
    let mut answer = site.files.compress(&request.headers, answer);
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
    let Some(host) = host(&arrival)? else { return Ok(None) };
    let site = sites.of_host(&host.name).await?;
    let path = path(sites, &arrival, &host)?;
    let request = request(&site, arrival, host, path);
    Ok(Some((site, request)))
}

/// Whose resource is asked for. `None` for `OPTIONS *`.
fn host(arrival: &Arrival) -> Result<Option<Host>, Refusal> {
    framing::check(&arrival.head.headers)?;
    Ok(match Target::of(&arrival.head, arrival.spoken)? {
        Target::Server => None,
        Target::Resource { host, .. } => Some(host),
    })
}

/// Which resource is asked for, of a host that this connection may ask about.
fn path(sites: &Sites, arrival: &Arrival, host: &Host) -> Result<SitePath, Refusal> {
    let secured = arrival.secured.as_deref();
    if secured.is_some_and(|secured| !secured.is_for(sites.tls_of(&host.name), &host.name)) {
        return Err(Refusal::OtherCertificate);
    }
    Ok(SitePath::from_uri(arrival.head.uri.path())?)
}

/// The request as policies see it.
fn request(site: &Site, arrival: Arrival, host: Host, path: SitePath) -> Request {
    let Arrival {
        head,
        client,
        scheme,
        at: arrived,
        secured,
        ..
    } = arrival;
    Request {
        query: head.uri.query().map(str::to_owned),
        method: head.method,
        path,
        headers: head.headers,
        scheme: scheme.as_str(),
        host: host.name,
        site: site.name.clone(),
        client,
        arrived,
        facts: secured.map_or_else(Vec::new, |secured| secured.facts.clone()),
    }
}

fn lookup<'a>(request: &'a Request, mapping: &'a Mapping) -> Lookup<'a> {
    Lookup {
        path: &request.path,
        query: request.query.as_deref(),
        targets: &mapping.targets,
        place: mapping.place.as_ref(),
        missing: mapping.missing.as_ref(),
        headers: &request.headers,
    }
}

/// The first candidate that exists, and what HTTP says about it.
async fn serve(site: &Site, request: &Request, mapping: &Mapping) -> Answer {
    let lookup = lookup(request, mapping);
    let found = site.files.open(&lookup).await;
    let page_of = match &found {
        Found::Missing { page: Some(_), status } => Some(*status),
        _ => None,
    };
    let mut answer = answer(&request.method, &request.headers, found);
    if answer.content.is_remote() && request.method == Method::GET {
        // On the heap: files of this machine should not carry the room for it.
        answer = Box::pin(site.files.begin(&lookup, answer)).await;
    }
    // What is missing may be answered by another status, such as that of a method that nothing here has.
    if page_of == Some(answer.status) {
        answer
    } else {
        with_error_page(site, lookup.place, request, answer).await
    }
}

/// A policy's own answer. An error without a body gets the operator's page, as the server's own errors do.
fn respond(response: &Response) -> Answer {
    let mut answer = Answer {
        status: response.status,
        headers: response.headers.clone(),
        // That of its Content-Type.
        media_type: None,
        content: Content::NONE,
    };
    answer.headers.insert(header::SERVER, SERVER);
    if !response.body.is_empty() {
        answer
            .headers
            .insert(header::CONTENT_LENGTH, response.body.len().into());
        answer.content = Content::of(response.body.clone());
    }
    answer
}

fn is_error(status: StatusCode) -> bool {
    status.is_client_error() || status.is_server_error()
}

/// An error with the page that the operator chose for its status; any other answer as it is.
async fn with_error_page(site: &Site, place: Option<&Place>, request: &Request, plain: Answer) -> Answer {
    let status = plain.status;
    if !is_error(status) {
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
        content: Content::NONE,
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
