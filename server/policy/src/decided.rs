//! A decision that was made, with everything that has to come with it when it is used again.
use crate::{
    decision::{Changes, Decision, HeaderChange, Operation, Respond},
    dependence::Dependence,
    journal::Said,
    recorder::{Recorder, Unkept},
};
use http::{HeaderMap, HeaderName, header};
use std::{mem::size_of, sync::Arc};
use wasmserve_files::{Missing, SitePath};

/// Bytes of a body, and of log lines, of a decision that is kept.
const MAX_KEPT_BODY: usize = 64 << 10;
const MAX_KEPT_LOG: usize = 4 << 10;

#[derive(Debug, PartialEq)]
pub(crate) struct Decided {
    pub decision: Decision,
    /// Without what came through facts, which only the chain knows.
    pub dependence: Arc<Dependence>,
    /// Facts that were asked for.
    pub facts: Vec<String>,
    /// Written to the log each time the decision is used.
    pub said: Option<Arc<Said>>,
}

/// Why a decision is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    /// It asked something whose answer cannot be found again.
    #[error("it asked for {0}, which cannot be repeated")]
    Unrepeatable(&'static str),
    /// It asked, logged or answered more than is kept.
    #[error("it asked, logged or answered more than is kept")]
    TooLarge,
    /// It sets a cookie, which is one client's.
    #[error("it sets a cookie")]
    SetsCookie,
    /// It is a server error, which should end when its cause does.
    #[error("it is a server error")]
    ServerError,
}

impl NotKept {
    /// Whether a decision must not be used again.
    pub(crate) fn of(decided: &Decided, recorder: &Recorder) -> Option<Self> {
        match recorder.unkept {
            Some(Unkept::Unrepeatable(what)) => return Some(Self::Unrepeatable(what)),
            Some(Unkept::TooMuch) => return Some(Self::TooLarge),
            None => {}
        }
        let said = decided.said.as_deref();
        if said.is_some_and(|said| said.overflowed || said.bytes() > MAX_KEPT_LOG) {
            return Some(Self::TooLarge);
        }
        match &decided.decision {
            Decision::Proceed(changes) => changes.headers.iter().any(sets_cookie).then_some(Self::SetsCookie),
            Decision::Respond(response) if response.status.is_server_error() => Some(Self::ServerError),
            Decision::Respond(response) if response.headers.contains_key(header::SET_COOKIE) => Some(Self::SetsCookie),
            Decision::Respond(response) if response.body.len() > MAX_KEPT_BODY => Some(Self::TooLarge),
            Decision::Respond(_) => None,
        }
    }
}

fn sets_cookie(change: &HeaderChange) -> bool {
    change.name == header::SET_COOKIE && change.operation != Operation::Remove
}

impl Decided {
    /// Bytes that it takes in memory, about.
    pub fn weight(&self) -> usize {
        let decision = match &self.decision {
            Decision::Proceed(changes) => changes.weight(),
            Decision::Respond(response) => response.weight(),
        };
        let facts: usize = self.facts.iter().map(|fact| fact.len() + size_of::<String>()).sum();
        let dependence = size_of::<Dependence>() + self.dependence.vary.len() * (size_of::<HeaderName>() + 16);
        size_of::<Self>() + decision + facts + dependence + self.said.as_ref().map_or(0, |said| said.bytes())
    }
}

impl Changes {
    fn weight(&self) -> usize {
        let paths = |paths: &[SitePath]| -> usize { paths.iter().map(|path| path.as_str().len() + 16).sum() };
        let missing = match &self.missing {
            Some(Missing::Page { paths: pages, .. }) => paths(pages),
            Some(Missing::Redirect { location, .. }) => location.len(),
            None => 0,
        };
        let place = self
            .place
            .as_ref()
            .map_or(0, |place| place.root.len() + place.directory.as_str().len());
        let headers: usize = self
            .headers
            .iter()
            .map(|change| size_of::<HeaderChange>() + change.text_length())
            .sum();
        let facts: usize = self
            .facts
            .iter()
            .map(|(name, value)| name.len() + value.len() + 48)
            .sum();
        paths(&self.paths) + missing + place + headers + facts
    }
}

impl Respond {
    fn weight(&self) -> usize {
        let headers = |headers: &HeaderMap| -> usize {
            headers
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len() + 100)
                .sum()
        };
        self.body.len() + headers(&self.headers)
    }
}
