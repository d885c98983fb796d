//! What HTTP says about what was found: status, header fields and which bytes to send. Pure.
use crate::{Content, Found};
use http::{HeaderMap, Method, StatusCode};

/// A response, before policies change its header fields. HEAD is answered like GET; whoever sends it leaves the body out.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// The media type of what a 304 stands for too; `None` when there is no content.
    pub media_type: Option<String>,
    pub content: Content,
}

/// Plans the answer to a request for what was found.
pub fn answer(_method: &Method, _headers: &HeaderMap, _found: Found) -> Answer {
    todo!()
}
