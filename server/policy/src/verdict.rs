//! What a chain decided, and how it shows in the answer.
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use std::time::Duration;
use wasmserve_files::SitePath;
pub use wasmserve_files::{Missing, Place};

/// The chain's decision. Its header changes, and what caches may do, apply to every answer it leads to: [`Verdict::apply`].
pub struct Verdict {
    pub outcome: Outcome,
    /// What the chain established, for the log.
    pub facts: Vec<(String, String)>,
    /// Bytes of body a second.
    pub pace: Option<u64>,
}

pub enum Outcome {
    Proceed(Mapping),
    Respond(Response),
    Fault(Fault),
}

pub struct Mapping {
    /// Never empty.
    pub targets: Vec<SitePath>,
    pub place: Option<Place>,
    pub missing: Option<Missing>,
}

pub struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A policy failed. The log has named it; the client learns the status and nothing else.
pub struct Fault {
    /// 500 or 503.
    pub status: StatusCode,
    pub retry_after: Option<Duration>,
}

impl Verdict {
    /// Applies the chain's header changes, then sharing. `media_type` is that of the content (of a 304: of what it stands
    /// for). To be called once, last, on every answer, whoever gave it.
    pub fn apply(&self, _status: StatusCode, _media_type: Option<&str>, _headers: &mut HeaderMap) {
        todo!()
    }
}
