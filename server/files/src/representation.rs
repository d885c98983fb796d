//! What HTTP knows of a file before any byte of it is read (RFC 9110, section 8).
use http::HeaderValue;
use std::time::SystemTime;

/// The metadata of a selected representation.
#[derive(Clone, Debug)]
pub struct Representation {
    /// Bytes.
    pub length: u64,
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
