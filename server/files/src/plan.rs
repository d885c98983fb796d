//! What to answer to a request for a representation: numbers only, no file needed.
use crate::Representation;
use crate::precondition::{self, Precondition};
use crate::range::{self, ByteRange, Requested};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// The value of Allow: what can be asked of any file.
pub const ALLOW: HeaderValue = HeaderValue::from_static("GET, HEAD, OPTIONS");

/// The outcome of method, preconditions and range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// 200 with every byte.
    Whole,
    /// 206 with one range.
    Part(ByteRange),
    /// 206 as multipart/byteranges; at least two ranges, none touching another, in the order to be sent.
    Parts(Vec<ByteRange>),
    /// 304
    NotModified,
    /// 412
    PreconditionFailed,
    /// 416
    RangeNotSatisfiable,
}

impl Plan {
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Whole => StatusCode::OK,
            Self::Part(_) | Self::Parts(_) => StatusCode::PARTIAL_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::RangeNotSatisfiable => StatusCode::RANGE_NOT_SATISFIABLE,
        }
    }
}

/// What the server does with a method, before anything is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// GET.
    Get,
    /// HEAD: the head of a GET, without a body (RFC 9110, section 9.3.2).
    Head,
    /// OPTIONS: 204 and Allow (section 9.3.7).
    Options,
    /// 405 and Allow (section 15.5.6).
    Refuse,
}

impl Action {
    pub fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::OPTIONS => Self::Options,
            _ => Self::Refuse,
        }
    }
}

/// Decides in the order of RFC 9110, section 13.2.2, what a GET or HEAD is given of a representation.
///
/// Range is defined for GET alone (section 14.2): a HEAD has the head of the GET without Range.
pub fn plan(action: Action, headers: &HeaderMap, representation: &Representation) -> Plan {
    if !is_conditional(headers) {
        return Plan::Whole;
    }
    match precondition::evaluate(headers, representation) {
        Precondition::Failed => return Plan::PreconditionFailed,
        Precondition::NotModified => return Plan::NotModified,
        Precondition::Holds => {}
    }
    if action != Action::Get || !precondition::if_range_holds(headers, representation) {
        return Plan::Whole;
    }
    match range::requested(headers, representation.length) {
        Requested::Whole => Plan::Whole,
        Requested::One(range) => Plan::Part(range),
        Requested::Several(ranges) => Plan::Parts(ranges),
        Requested::Unsatisfiable => Plan::RangeNotSatisfiable,
    }
}

/// Whether a field is there that this module looks at. Most requests have none; one look at each name costs less than
/// looking six names up.
fn is_conditional(headers: &HeaderMap) -> bool {
    headers
        .keys()
        .map(|name| name.as_str())
        .any(|name| name.starts_with("if-") || name == "range")
}
