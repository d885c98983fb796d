//! The one place where what went wrong becomes a status and a few words.
//!
//! What a client is told never depends on which files exist or which policy failed.

use super::{FramingError, TargetError};
use crate::{
    limits::Over,
    sites::{NoSite, UnknownHost},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use std::time::Duration;
use wasmserve_files::{Answer, Content, PathError};
use wasmserve_policy::Fault;

/// Why a request gets none of the site's files.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Refused before any policy is asked.
    #[error("the request {0}")]
    Framing(#[from] FramingError),
    /// Refused before any policy is asked.
    #[error("the request {0}")]
    Target(#[from] TargetError),
    /// Refused before any policy is asked: there is no canonical path to ask about.
    #[error("the path {0}")]
    Path(#[from] PathError),
    /// Refused before any policy is asked: there is no site to ask for one.
    #[error("the host is no site's")]
    UnknownHost(UnknownHost),
    /// Refused before any policy is asked: the site's could not be loaded; the log has said why.
    #[error("the site cannot be served now")]
    Unready { retry_after: Duration },
    /// Refused before any policy is asked: the client or the site has used up what it may use.
    #[error("a budget is spent")]
    Over(Over),
    /// Refused before any policy is asked: the connection was made for another site, and may lack what this one demands.
    #[error("the connection's certificate is not that of the host")]
    OtherCertificate,
    /// A policy failed; the log has named it.
    #[error("a policy failed")]
    Fault {
        status: StatusCode,
        retry_after: Option<Duration>,
    },
}

/// What this server does, whatever the path.
pub const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

// === impl Refusal ===

impl Refusal {
    /// Status, headers and a line of text.
    pub fn answer(&self) -> Answer {
        let status = self.status();
        let mut answer = text(status, &format!("{status}\n"));
        if let Self::Target(_) | Self::Framing(_) = self {
            // Whoever is in front may have read the request in another way, and what follows it too.
            answer
                .headers
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Self::Target(TargetError::Connect) = self {
            answer.headers.insert(header::ALLOW, ALLOW);
        }
        if let Self::Over(over) = self {
            answer
                .headers
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            if over.ends_connection() {
                answer
                    .headers
                    .insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        }
        if let Some(after) = self.retry_after() {
            // Rounded up: a client that comes back too early costs another fault.
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            answer.headers.insert(header::RETRY_AFTER, seconds.into());
        }
        answer
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unready { retry_after } => Some(*retry_after),
            Self::Over(over) => over.retry_after(),
            Self::Fault { retry_after, .. } => *retry_after,
            Self::Framing(_) | Self::Target(_) | Self::Path(_) | Self::UnknownHost(_) | Self::OtherCertificate => None,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Framing(FramingError::UnknownCoding) => StatusCode::NOT_IMPLEMENTED,
            Self::Target(TargetError::Connect) => StatusCode::METHOD_NOT_ALLOWED,
            // RFC 9110, section 7.4: this server does not answer for that scheme.
            Self::Target(TargetError::OtherScheme) => StatusCode::MISDIRECTED_REQUEST,
            // The client may ask again by another connection (RFC 9110, section 15.5.20).
            Self::OtherCertificate => StatusCode::MISDIRECTED_REQUEST,
            Self::Target(_) => StatusCode::BAD_REQUEST,
            Self::UnknownHost(UnknownHost::Misdirected | UnknownHost::Close) => StatusCode::MISDIRECTED_REQUEST,
            Self::UnknownHost(UnknownHost::NotFound) => StatusCode::NOT_FOUND,
            Self::Over(Over::Target) => StatusCode::URI_TOO_LONG,
            Self::Over(Over::Fields) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Over(Over::Client { .. }) => StatusCode::TOO_MANY_REQUESTS,
            Self::Over(Over::Site(_)) | Self::Unready { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Path(PathError::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Path(_) => StatusCode::BAD_REQUEST,
            Self::Fault { status, .. } => *status,
        }
    }
}

impl From<&Fault> for Refusal {
    fn from(fault: &Fault) -> Self {
        Self::Fault {
            status: fault.status,
            retry_after: fault.retry_after,
        }
    }
}

impl From<NoSite> for Refusal {
    fn from(none: NoSite) -> Self {
        match none {
            NoSite::Unknown(answer) => Self::UnknownHost(answer),
            NoSite::Unready(unready) => Self::Unready {
                retry_after: unready.retry_after,
            },
        }
    }
}

/// A few words. `nosniff`, so that they are never taken for a page.
fn text(status: StatusCode, words: &str) -> Answer {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
    let fields: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, TEXT),
        (header::CONTENT_LENGTH, words.len().into()),
        (header::X_CONTENT_TYPE_OPTIONS, NOSNIFF),
    ];
    Answer {
        status,
        headers: HeaderMap::from_iter(fields),
        media_type: Some("text/plain".into()),
        content: Content::of(words.to_owned()),
    }
}
