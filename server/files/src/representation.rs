//! What HTTP knows of a file before any byte of it is read (RFC 9110, section 8).
use crate::coding::Coding;
use crate::etag::{self, FileState, Strength};
use crate::store::ObjectVersion;
use http::HeaderValue;
use std::time::SystemTime;

/// The metadata of a selected representation.
#[derive(Clone, Debug)]
pub struct Representation {
    /// Bytes.
    pub length: u64,
    /// Last-Modified is made from it. Before 1970 and after 9999 there is none to be made.
    pub modified: Option<SystemTime>,
    /// An entity tag in quotes, `W/` before it when weak.
    pub etag: HeaderValue,
    /// Content-Type, charset included.
    pub content_type: HeaderValue,
    /// Content-Encoding: `br`, `zstd`, `gzip`; `None` for identity.
    pub coding: Option<&'static str>,
    /// Whether Accept-Encoding was looked at to choose it, so that every answer carries `Vary: Accept-Encoding`.
    pub negotiated: bool,
}

impl Representation {
    /// Of a file in `state`, whose bytes are in `coding`, seen at `observed`.
    ///
    /// `content_type` is that of the file without its coding. A modification time in the future is left out: Last-Modified
    /// must not be later than Date (RFC 9110, section 8.8.2.1), and one that moved with the clock would validate nothing.
    pub fn of_file(
        state: &FileState,
        content_type: HeaderValue,
        coding: Coding,
        negotiated: bool,
        observed: SystemTime,
    ) -> Self {
        Self {
            length: state.length,
            modified: Some(state.modified).filter(|modified| *modified <= observed),
            etag: state.entity_tag(coding, observed),
            content_type,
            coding: (coding != Coding::Identity).then(|| coding.token()),
            negotiated,
        }
    }

    /// Whether [`of_file`](Self::of_file) would say the same now, of a file in the same state, coding and type: a weak
    /// entity tag becomes strong, and a time in the future comes.
    pub(crate) fn is_still(&self, state: &FileState, negotiated: bool, observed: SystemTime) -> bool {
        let is_strong = !self.etag.as_bytes().starts_with(b"W/");
        self.negotiated == negotiated
            && is_strong == (state.strength(observed) == Strength::Strong)
            && self.modified.is_some() == (state.modified <= observed)
    }

    /// Of a version of an object, whose bytes are in `coding` by its name, or in that it is stored with.
    pub fn of_object(
        version: &ObjectVersion,
        content_type: HeaderValue,
        coding: Coding,
        negotiated: bool,
        observed: SystemTime,
    ) -> Self {
        Self {
            length: version.length,
            modified: Some(version.modified).filter(|modified| *modified <= observed),
            etag: etag::of_object(version, coding),
            content_type,
            coding: match coding {
                Coding::Identity => version.coding,
                _ => Some(coding.token()),
            },
            negotiated,
        }
    }
}
