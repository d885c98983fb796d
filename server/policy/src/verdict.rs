//! What a chain decided, and how it shows in the answer.
use crate::{
    Effort, Request,
    decision::{HeaderChange, MediaType},
    dependence::{Dependence, forbid_storing},
    site_headers::HeaderRules,
};
use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use smallvec::SmallVec;
use std::{
    ops::Deref,
    slice,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use wasmserve_files::{Missing, Place, SitePath};

/// The chain's decision. Its header changes, and what caches may do, apply to every answer it leads to: [`Verdict::apply`].
#[derive(Debug)]
pub struct Verdict {
    pub outcome: Outcome,
    /// What the chain established, for the log.
    pub facts: Vec<(String, String)>,
    /// Bytes of body a second.
    pub pace: Option<u64>,
    /// In the order of the chain.
    pub(crate) changes: Vec<Arc<[HeaderChange]>>,
    /// How many of `changes`, from the first, are not of the operator's ring.
    pub(crate) alike: usize,
    /// What the answer depends on, as far as caches are concerned.
    pub(crate) dependences: SmallVec<[Arc<Dependence>; 2]>,
    /// When the request arrived.
    pub arrived: SystemTime,
    /// How the policies came to it.
    pub effort: Effort,
    /// Whose policy ended the chain; `None`: it came to its end.
    pub(crate) ended_by: Option<Standing>,
}

/// What a verdict on a kept decision does to heads.
pub struct Lasting<'a> {
    verdict: &'a Verdict,
    /// Of the configuration: before the chain's changes, and after them.
    rules: [&'a HeaderRules; 2],
}

/// What was done to a head. It holds the changes themselves, so that no others can be taken for them.
#[derive(Debug)]
pub struct Applied {
    changes: Vec<Arc<[HeaderChange]>>,
    alike: usize,
    dependences: SmallVec<[Arc<Dependence>; 2]>,
    rules: [Option<Arc<[HeaderChange]>>; 2],
}

/// Whose word a policy's is, where a chain has two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Of the operator's ring.
    Operator,
    /// A later word goes before an earlier one.
    Alike,
}

#[derive(Debug)]
pub enum Outcome {
    Proceed(Mapping),
    Respond(Response),
    Fault(Fault),
}

#[derive(Debug)]
pub struct Mapping {
    pub targets: Targets,
    pub place: Option<Place>,
    pub missing: Option<Missing>,
}

/// Candidates, most wanted first; never none.
#[derive(Debug)]
pub enum Targets {
    /// The request's path: no policy mapped it.
    Path(SitePath),
    Mapped(Vec<SitePath>),
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A policy failed. The log has named it; the client learns the status and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// 500 or 503.
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
}

impl Lasting<'_> {
    /// What was done, to be kept.
    pub fn applied(&self) -> Applied {
        Applied {
            changes: self.verdict.changes.clone(),
            alike: self.verdict.alike,
            dependences: self.verdict.dependences.clone(),
            rules: self.rules.map(|rules| rules.shared().clone()),
        }
    }

    /// Whether it is what was done: by the very same changes, and by equal dependences.
    pub fn is(&self, applied: &Applied) -> bool {
        let verdict = self.verdict;
        let same = |a: &Option<Arc<[HeaderChange]>>, b: &Option<Arc<[HeaderChange]>>| match (a, b) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        };
        let [before, after] = &applied.rules;
        verdict.alike == applied.alike
            && verdict.changes.len() == applied.changes.len()
            && verdict
                .changes
                .iter()
                .zip(&applied.changes)
                .all(|(a, b)| Arc::ptr_eq(a, b))
            && verdict.dependences == applied.dependences
            && same(self.rules[0].shared(), before)
            && same(self.rules[1].shared(), after)
    }
}

impl Mapping {
    fn to(targets: Targets) -> Self {
        Self {
            targets,
            place: None,
            missing: None,
        }
    }
}

impl Deref for Targets {
    type Target = [SitePath];

    fn deref(&self) -> &[SitePath] {
        match self {
            Self::Path(path) => slice::from_ref(path),
            Self::Mapped(paths) => paths,
        }
    }
}

impl Verdict {
    /// A request proceeds as it is.
    pub(crate) fn proceed(request: &Request) -> Self {
        let targets = Targets::Path(request.path.clone());
        Self::of(request, Outcome::Proceed(Mapping::to(targets)))
    }

    pub(crate) fn of(request: &Request, outcome: Outcome) -> Self {
        Self {
            outcome,
            facts: Vec::new(),
            pace: None,
            changes: Vec::new(),
            dependences: SmallVec::new(),
            arrived: request.arrived,
            effort: Effort::default(),
            ended_by: None,
            alike: 0,
        }
    }

    /// What the verdict does to heads, when that is the same whenever it is done: to be compared with what another one did.
    /// `None`: it does nothing, it depends on the moment, or policies ran for it, whose decision nobody may come to again.
    pub fn lasting<'a>(&'a self, before: &'a HeaderRules, after: &'a HeaderRules) -> Option<Lasting<'a>> {
        let changes_nothing =
            self.changes.is_empty() && self.dependences.is_empty() && before.is_empty() && after.is_empty();
        let depends_on_moment = || self.dependences.iter().any(|on| on.until.is_some());
        let is_kept = matches!(self.outcome, Outcome::Proceed(_)) && self.effort.ran == 0;
        (is_kept && !changes_nothing && !depends_on_moment()).then_some(Lasting {
            verdict: self,
            rules: [before, after],
        })
    }

    /// Applies the chain's header changes, then sharing. `media_type` is that of the content (of a 304: of what it stands
    /// for); without one, that of `Content-Type` as it was before. To be called once, last, on every answer, whoever gave
    /// it.
    pub fn apply(&self, status: StatusCode, media_type: Option<&str>, headers: &mut HeaderMap) {
        self.apply_at(SystemTime::now, status, media_type, headers);
    }

    /// The same, with the configuration's own changes before and after those of the chain. Those before are a tenant's
    /// where there are two rings, so an answer of the operator's ring goes without them. What sharing demands is last all
    /// the same.
    pub fn apply_between(
        &self,
        before: &HeaderRules,
        after: &HeaderRules,
        status: StatusCode,
        media_type: Option<&str>,
        headers: &mut HeaderMap,
    ) {
        if self.ended_by != Some(Standing::Operator) {
            before.apply(status, headers);
        }
        if after.is_empty() {
            return self.apply(status, media_type, headers);
        }
        self.change(status, media_type, headers);
        after.apply(status, headers);
        self.share(SystemTime::now, headers);
    }

    /// The same at another moment: what limits freshness is counted from when the answer is made, because policies and
    /// files may have taken their time since the request arrived.
    pub fn apply_at(
        &self,
        now: impl FnOnce() -> SystemTime,
        status: StatusCode,
        media_type: Option<&str>,
        headers: &mut HeaderMap,
    ) {
        if self.changes.is_empty() && self.dependences.is_empty() && !matches!(self.outcome, Outcome::Fault(_)) {
            return;
        }
        self.change(status, media_type, headers);
        self.share(now, headers);
    }

    fn change(&self, status: StatusCode, media_type: Option<&str>, headers: &mut HeaderMap) {
        let own = match media_type {
            Some(_) => None,
            None => headers.get(header::CONTENT_TYPE).cloned(),
        };
        let media_type = media_type.or_else(|| own.as_ref()?.to_str().ok());
        // Read once, for all changes.
        let media_type = media_type.and_then(MediaType::of);
        for (at, changes) in self.changes.iter().enumerate() {
            for change in changes.iter() {
                // A tenant that calls the content something else does not evade what the operator says of that.
                let called = || {
                    headers
                        .get_all(header::CONTENT_TYPE)
                        .iter()
                        .filter_map(|called| MediaType::of(called.to_str().ok()?))
                };
                let is_called = || at >= self.alike && called().any(|called| change.applies(status, Some(called)));
                if change.applies(status, media_type) || is_called() {
                    change.apply(headers);
                }
            }
        }
    }

    /// What downstream caches may do with it.
    fn share(&self, now: impl FnOnce() -> SystemTime, headers: &mut HeaderMap) {
        let mut dependence = Dependence::default();
        for other in &self.dependences {
            dependence.join(other);
        }
        let seconds = || now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        dependence.apply(seconds, headers);
        if let Outcome::Fault(_) = self.outcome {
            forbid_storing(headers);
        }
    }
}
