//! A decision that has been checked: what a policy returned, in types that cannot say anything malformed.
//!
//! The rules are those that `wit/guest.wit` lists. Nothing is repaired: what breaks one is a fault of the policy.
use crate::{Grants, bindings::exports::wasmserve::policy::guest, dependence::is_reserved};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::LOCATION};
use std::{collections::BTreeSet, num::NonZeroU64, sync::Arc};
use wasmserve_files::{Missing, Place, SitePath};

/// Header changes of one decision; more is not a policy but a flood.
const MAX_HEADERS: usize = 128;
/// Bytes of names and values of them together: what common clients and proxies take as a whole head.
const MAX_HEADER_BYTES: usize = 64 << 10;
const MAX_PATHS: usize = 32;
const MAX_FACTS: usize = 64;
const MAX_FACT_BYTES: usize = 16 << 10;
const MAX_BODY: usize = 256 << 10;

/// What a policy decided.
#[derive(Debug, PartialEq)]
pub(crate) enum Decision {
    Proceed(Changes),
    Respond(Respond),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Changes {
    pub paths: Vec<SitePath>,
    pub place: Option<Place>,
    pub missing: Option<Missing>,
    pub headers: Arc<[HeaderChange]>,
    pub facts: Vec<(String, String)>,
    pub sharing: Sharing,
    pub pace: Option<NonZeroU64>,
}

#[derive(Debug, PartialEq)]
pub(crate) struct Respond {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub sharing: Sharing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sharing {
    Derived,
    Allowed,
}

#[derive(Debug, PartialEq)]
pub(crate) struct HeaderChange {
    pub operation: Operation,
    pub name: HeaderName,
    when: guest::Outcomes,
    types: Vec<MediaRange>,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Operation {
    Set(HeaderValue),
    Append(HeaderValue),
    Remove,
}

/// `text/html`, or `image/*`.
#[derive(Debug, PartialEq)]
struct MediaRange {
    kind: String,
    /// `None`: every one.
    subtype: Option<String>,
}

/// A media type that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MediaType<'a> {
    kind: &'a str,
    subtype: &'a str,
}

/// What one policy may say.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub roots: BTreeSet<String>,
    pub establishes: BTreeSet<String>,
    pub grants: Grants,
}

/// Why a decision was refused.
#[derive(Debug, thiserror::Error)]
#[error("malformed decision: {0}")]
pub(crate) struct Malformed(pub String);

macro_rules! malformed {
    ($($message:tt)*) => { return Err(Malformed(format!($($message)*))) };
}

impl Decision {
    pub fn check(decision: guest::Decision, rules: &Rules) -> Result<Self, Malformed> {
        match decision {
            guest::Decision::Proceed(changes) => Ok(Self::Proceed(Changes::check(changes, rules)?)),
            guest::Decision::Respond(response) => Ok(Self::Respond(Respond::check(response, rules)?)),
        }
    }
}

impl Changes {
    fn check(changes: guest::Changes, rules: &Rules) -> Result<Self, Malformed> {
        let pace = match changes.pace.map(NonZeroU64::new) {
            Some(None) => malformed!("a pace of 0 bytes a second never ends"),
            Some(pace) => pace,
            None => None,
        };
        let (mut headers, mut missing) = (changes.headers, None);
        if let Some(written) = changes.missing {
            missing = Some(check_missing(&written, &mut headers)?);
        }
        Ok(Self {
            paths: check_paths(&changes.paths)?,
            place: changes.place.map(|place| check_place(place, rules)).transpose()?,
            missing,
            headers: check_changes(headers)?,
            facts: check_facts(changes.facts, rules)?,
            sharing: check_sharing(changes.sharing, rules)?,
            pace,
        })
    }
}

impl Respond {
    fn check(response: guest::Response, rules: &Rules) -> Result<Self, Malformed> {
        let status = match response.status {
            // These need a file that was selected, which a policy does not have.
            status @ (206 | 304 | 416) => malformed!("status {status} needs a file"),
            status @ 200..=599 => StatusCode::from_u16(status).map_err(|e| Malformed(e.to_string()))?,
            status => malformed!("status {status} is not within 200 to 599"),
        };
        if matches!(response.status, 204 | 205) && !response.body.is_empty() {
            malformed!("status {status} with a body");
        }
        if response.body.len() > MAX_BODY {
            malformed!(
                "a body of {} bytes; at most {MAX_BODY} are allowed",
                response.body.len()
            );
        }
        check_amount(response.headers.iter().map(|h| (h.name.len(), h.value.len())))?;
        let mut headers = HeaderMap::with_capacity(response.headers.len());
        for header in response.headers {
            headers.append(
                check_name(&header.name, Reserved::Always)?,
                check_value(&header.name, &header.value)?,
            );
        }
        let sharing = check_sharing(response.sharing, rules)?;
        Ok(Self {
            status,
            headers,
            body: response.body.into(),
            sharing,
        })
    }
}

// === impl HeaderChange ===

impl HeaderChange {
    /// Whether the change applies to an answer of this status and media type (without parameters).
    pub fn applies(&self, status: StatusCode, media_type: Option<MediaType<'_>>) -> bool {
        let outcome = match status.as_u16() {
            200..=299 | 304 => guest::Outcomes::FOUND,
            300..=399 => guest::Outcomes::REDIRECTED,
            404 | 410 => guest::Outcomes::MISSING,
            _ => guest::Outcomes::FAILED,
        };
        let when = self.when == guest::Outcomes::empty() || self.when.contains(outcome);
        when && (self.types.is_empty() || media_type.is_some_and(|of| self.types.iter().any(|range| range.covers(of))))
    }

    /// When it applies, for someone to read; empty: always.
    pub fn conditions(&self) -> String {
        let names = [
            (guest::Outcomes::FOUND, "found"),
            (guest::Outcomes::REDIRECTED, "redirected"),
            (guest::Outcomes::MISSING, "missing"),
            (guest::Outcomes::FAILED, "failed"),
        ];
        let when = names
            .into_iter()
            .filter(|(outcome, _)| self.when.contains(*outcome))
            .map(|(_, name)| name.to_owned());
        let types = self
            .types
            .iter()
            .map(|range| format!("{}/{}", range.kind, range.subtype.as_deref().unwrap_or("*")));
        let all: Vec<String> = when.chain(types).collect();
        if all.is_empty() {
            String::new()
        } else {
            format!(" (when {})", all.join(", "))
        }
    }

    /// Bytes of its texts.
    pub fn text_length(&self) -> usize {
        let value = match &self.operation {
            Operation::Set(value) | Operation::Append(value) => value.len(),
            Operation::Remove => 0,
        };
        let types: usize = self
            .types
            .iter()
            .map(|t| t.kind.len() + t.subtype.as_ref().map_or(0, String::len) + 48)
            .sum();
        self.name.as_str().len() + value + types
    }

    pub fn apply(&self, headers: &mut HeaderMap) {
        match &self.operation {
            Operation::Set(value) => {
                headers.insert(self.name.clone(), value.clone());
            }
            Operation::Append(value) => {
                headers.append(self.name.clone(), value.clone());
            }
            Operation::Remove => {
                headers.remove(&self.name);
            }
        }
    }
}

impl<'a> MediaType<'a> {
    /// Without its parameters. `None`: it is none.
    pub fn of(text: &'a str) -> Option<Self> {
        let bare = text.split(';').next().unwrap_or_default().trim();
        let (kind, subtype) = bare.split_once('/')?;
        Some(Self { kind, subtype })
    }
}

impl MediaRange {
    fn covers(&self, of: MediaType<'_>) -> bool {
        // What tells most of them apart first: `application/` is the beginning of many.
        self.subtype.as_ref().is_none_or(|s| s.eq_ignore_ascii_case(of.subtype))
            && self.kind.eq_ignore_ascii_case(of.kind)
    }

    fn check(range: &str) -> Result<Self, Malformed> {
        let token = |text: &str| !text.is_empty() && text.bytes().all(is_token);
        match range.split_once('/') {
            Some((kind, "*")) if token(kind) && kind != "*" => Ok(Self {
                kind: kind.into(),
                subtype: None,
            }),
            Some((kind, subtype)) if token(kind) && token(subtype) && !range.contains('*') => Ok(Self {
                kind: kind.into(),
                subtype: Some(subtype.into()),
            }),
            _ => malformed!("{range:?} is not a media type such as \"text/html\" or \"image/*\""),
        }
    }
}

/// RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

// === the rules ===

/// Which header fields a policy must leave alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reserved {
    /// Those of the connection and the message.
    Always,
    /// Those that describe the file as well.
    WithFile,
}

fn check_name(name: &str, reserved: Reserved) -> Result<HeaderName, Malformed> {
    let Ok(parsed) = HeaderName::from_bytes(name.as_bytes()) else {
        malformed!("{name:?} is not a header name");
    };
    let text = parsed.as_str();
    let connection = [
        "connection",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ]
    .contains(&text);
    let message = ["content-length", "content-range", "date"].contains(&text);
    if connection || message || text.starts_with("proxy-") {
        malformed!("the header {text} is the server's");
    }
    let file = ["content-encoding", "etag", "last-modified", "accept-ranges"].contains(&text);
    if file && reserved == Reserved::WithFile {
        malformed!("the header {text} describes the file and is the server's");
    }
    Ok(parsed)
}

fn check_value(name: &str, value: &str) -> Result<HeaderValue, Malformed> {
    // RFC 9110, section 5.5: a field value neither begins nor ends with whitespace.
    let padded = value.starts_with([' ', '\t']) || value.ends_with([' ', '\t']);
    match HeaderValue::from_bytes(value.as_bytes()) {
        Ok(parsed) if !padded => Ok(parsed),
        _ => malformed!("{value:?} is not a value for the header {name:?}"),
    }
}

fn check_amount(sizes: impl ExactSizeIterator<Item = (usize, usize)>) -> Result<(), Malformed> {
    if sizes.len() > MAX_HEADERS {
        malformed!("{} header fields; at most {MAX_HEADERS} are allowed", sizes.len());
    }
    let bytes: usize = sizes.map(|(name, value)| name + value).sum();
    if bytes > MAX_HEADER_BYTES {
        malformed!("{bytes} bytes of header fields; at most {MAX_HEADER_BYTES} are allowed");
    }
    Ok(())
}

pub(crate) fn check_changes(changes: Vec<guest::HeaderChange>) -> Result<Arc<[HeaderChange]>, Malformed> {
    // Most decisions have none.
    if changes.is_empty() {
        return Ok(Arc::from([]));
    }
    check_amount(changes.iter().map(|c| (c.name.len(), c.value.len())))?;
    changes.into_iter().map(check_change).collect()
}

fn check_change(change: guest::HeaderChange) -> Result<HeaderChange, Malformed> {
    let name = check_name(&change.name, Reserved::WithFile)?;
    if name == http::header::VARY && change.operation != guest::HeaderOperation::Append {
        malformed!("Vary can only be appended to");
    }
    let operation = match change.operation {
        guest::HeaderOperation::Set => Operation::Set(check_value(&change.name, &change.value)?),
        guest::HeaderOperation::Append => Operation::Append(check_value(&change.name, &change.value)?),
        guest::HeaderOperation::Remove => Operation::Remove,
    };
    if change.types.len() > MAX_HEADERS {
        malformed!(
            "{} media types for one header change; at most {MAX_HEADERS} are allowed",
            change.types.len()
        );
    }
    let types = change
        .types
        .iter()
        .map(|range| MediaRange::check(range))
        .collect::<Result<_, _>>()?;
    Ok(HeaderChange {
        operation,
        name,
        when: change.when,
        types,
    })
}

fn check_paths(paths: &[String]) -> Result<Vec<SitePath>, Malformed> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    if paths.len() > MAX_PATHS {
        malformed!("{} paths; at most {MAX_PATHS} are allowed", paths.len());
    }
    paths.iter().map(|path| check_path(path)).collect()
}

fn check_path(path: &str) -> Result<SitePath, Malformed> {
    match SitePath::from_decoded(path) {
        Ok(path) => Ok(path),
        Err(error) => malformed!("the path {path:?} {error}"),
    }
}

fn check_place(place: guest::Place, rules: &Rules) -> Result<Place, Malformed> {
    if !rules.roots.contains(&place.root) {
        let known: Vec<&str> = rules.roots.iter().map(String::as_str).collect();
        malformed!("the site has no root {:?}, only: {}", place.root, known.join(", "));
    }
    Ok(Place {
        directory: check_path(&place.directory)?,
        root: place.root,
    })
}

/// Takes the `Location` of a redirect out of the header changes: it is of this redirect alone.
fn check_missing(missing: &guest::Missing, headers: &mut Vec<guest::HeaderChange>) -> Result<Missing, Malformed> {
    let status = match (missing.status, StatusCode::from_u16(missing.status)) {
        (200 | 404 | 410 | 301 | 302 | 303 | 307 | 308, Ok(status)) => status,
        (status, _) => malformed!(
            "status {status} for what is missing; only 200, 404, 410 and the redirects 301, 302, 303, 307 and 308 are \
             allowed"
        ),
    };
    if !status.is_redirection() {
        let paths = check_paths(&missing.paths)?;
        return Ok(Missing::Page { paths, status });
    }
    if !missing.paths.is_empty() {
        malformed!("status {status} for what is missing, with paths: a redirect shows no page");
    }
    let is_location = |change: &guest::HeaderChange| change.name.eq_ignore_ascii_case(LOCATION.as_str());
    let at = headers.iter().position(is_location);
    let Some(location) = at.map(|at| headers.remove(at)) else {
        malformed!("status {status} for what is missing needs a header change that sets Location");
    };
    let is_of_redirect = location.operation == guest::HeaderOperation::Set
        && location.when == guest::Outcomes::REDIRECTED
        && location.types.is_empty();
    if !is_of_redirect || headers.iter().any(is_location) {
        malformed!(
            "status {status} for what is missing needs one header change for Location, which sets it for the outcome \
             `redirected` and every type"
        );
    }
    if location.value.is_empty() {
        malformed!("status {status} for what is missing, with an empty Location");
    }
    let location = check_value(LOCATION.as_str(), &location.value)?;
    Ok(Missing::Redirect { status, location })
}

fn check_facts(facts: Vec<(String, String)>, rules: &Rules) -> Result<Vec<(String, String)>, Malformed> {
    if facts.is_empty() {
        return Ok(facts);
    }
    if facts.len() > MAX_FACTS {
        malformed!("{} facts; at most {MAX_FACTS} are allowed", facts.len());
    }
    let bytes: usize = facts.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > MAX_FACT_BYTES {
        malformed!("{bytes} bytes of facts; at most {MAX_FACT_BYTES} are allowed");
    }
    // The loader refuses reserved names in a manifest; asked again here, because every later policy trusts them.
    let foreign = |name: &String| is_reserved(name) || !rules.establishes.contains(name);
    if let Some((name, _)) = facts.iter().find(|(name, _)| foreign(name)) {
        malformed!("the fact {name:?} is not among those that the manifest establishes");
    }
    Ok(facts)
}

fn check_sharing(sharing: guest::Sharing, rules: &Rules) -> Result<Sharing, Malformed> {
    match sharing {
        guest::Sharing::Derived => Ok(Sharing::Derived),
        guest::Sharing::Allowed if rules.grants.sharing => Ok(Sharing::Allowed),
        guest::Sharing::Allowed => malformed!("allowed sharing is not granted: add \"sharing\" to its grants"),
    }
}
