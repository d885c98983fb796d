//! What HTTP says about what was found: status, header fields and which bytes to send. Pure.
//!
//! In this order: the method ([`Action`]), what was found, then for a representation the [`plan()`] and its head.
//! Header fields of the connection (Date, Connection) are the server's; those of policies come after.
use crate::multipart::Boundary;
use crate::plan::{ALLOW, Action, Plan, plan};
use crate::range::{self, ByteRange};
use crate::{Content, Found, Listing, Part, Parts, Representation, Selected, date::HttpDate};
use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

/// A response, before policies change its header fields. HEAD is answered like GET; whoever sends it leaves the body out.
pub struct Answer {
    pub status: StatusCode,
    /// With Content-Length when the length is known and the status allows one.
    pub headers: HeaderMap,
    /// The media type of the content without parameters, of ranges and of a 304 that of what they stand for; `None` when
    /// there is no content.
    pub media_type: Option<Arc<str>>,
    pub content: Content,
}

/// Answers a request for what was found.
///
/// The method comes first, so that a method that is not served learns nothing of what exists.
pub fn answer(method: &Method, headers: &HeaderMap, found: Found) -> Answer {
    let action = Action::of(method);
    match action {
        Action::Get | Action::Head => {}
        Action::Options => return allowing(empty(StatusCode::NO_CONTENT)),
        Action::Refuse => return allowing(message(StatusCode::METHOD_NOT_ALLOWED)),
    }
    match found {
        Found::File(selected) => file(action, headers, &selected),
        Found::Listing(listing) => listed(listing),
        Found::Redirect(location) => slash(&location),
        Found::Elsewhere { status, location } => redirect(status, location),
        // A single-page fallback is a representation of the resource like any other.
        Found::Missing {
            page: Some(page),
            status: StatusCode::OK,
        } => file(action, headers, &page),
        Found::Missing {
            page: Some(page),
            status,
        } => error_page(status, &page),
        Found::Missing { page: None, status } => message(status),
        Found::Failed { status, retry_after } => failed(status, retry_after),
    }
}

/// `Server`: the name without a version, which would only tell which holes to try. All answers of this crate have it, and
/// others should; a policy may change or remove it.
pub const SERVER: HeaderValue = HeaderValue::from_static("wasmserve");

/// The head of a 200 with all of a representation: the same for all who ask, so that it is made once.
#[derive(Debug)]
pub(crate) struct Head {
    headers: HeaderMap,
    media_type: Option<Arc<str>>,
    /// Whether it was changed before: what nobody asks for twice needs no second head.
    was_changed: AtomicBool,
    changed: ArcSwapOption<Changed>,
    /// Whether that served anybody since [`Head::rest`].
    was_used: AtomicBool,
}

/// A head that somebody changed, for the next one who would change it in the same way.
#[derive(Debug)]
struct Changed {
    by: Box<dyn Any + Send + Sync>,
    headers: HeaderMap,
}

/// Length, type, entity tag and modification time, which is empty when it cannot be sent. In one piece of memory, because a
/// server of many files has to fetch what it sends of each, and the counters of what is shared, from afar.
fn values(representation: &Representation) -> [HeaderValue; 4] {
    let modified = representation.modified.and_then(HttpDate::new).map(HttpDate::to_header);
    let length = representation.length.to_string();
    let parts = [
        length.as_bytes(),
        representation.content_type.as_bytes(),
        representation.etag.as_bytes(),
        modified.as_ref().map_or(&[][..], HeaderValue::as_bytes),
    ];
    let text = Bytes::from(parts.concat());
    let mut at = 0;
    parts.map(|part| {
        let value = text.slice(at..at + part.len());
        at += part.len();
        HeaderValue::from_maybe_shared(value).expect("it was a field value before")
    })
}

impl Head {
    pub(crate) fn of(representation: &Representation) -> Self {
        let [length, content_type, etag, modified] = values(representation);
        let mut headers = HeaderMap::with_capacity(12);
        headers.insert(header::CONTENT_LENGTH, length);
        headers.insert(header::CONTENT_TYPE, content_type);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
        // That of the bytes that follow (section 8.4).
        if let Some(coding) = representation.coding {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
        }
        headers.insert(header::ETAG, etag);
        headers.insert(header::ACCEPT_RANGES, BYTES);
        if !modified.is_empty() {
            headers.insert(header::LAST_MODIFIED, modified);
        }
        vary(&mut headers, representation);
        // Here, because a clone has no room for one more, and would have to grow.
        headers.insert(header::SERVER, SERVER);
        Self {
            headers,
            media_type: essence(&representation.content_type),
            was_changed: AtomicBool::new(false),
            changed: ArcSwapOption::empty(),
            was_used: AtomicBool::new(false),
        }
    }

    /// Another second begins: a changed head that served nobody in the last makes room for another.
    pub(crate) fn rest(&self) {
        let was_used = self.was_used.swap(false, Relaxed);
        if !was_used && self.changed.load().is_some() {
            self.changed.store(None);
        }
    }

    fn answer(&self, status: StatusCode, parts: impl Into<Parts>) -> Answer {
        self.answer_with(&self.headers, status, parts)
    }

    fn answer_with(&self, headers: &HeaderMap, status: StatusCode, parts: impl Into<Parts>) -> Answer {
        Answer {
            status,
            headers: headers.clone(),
            media_type: self.media_type.clone(),
            content: Content::Parts(parts.into()),
        }
    }
}

const BYTES: HeaderValue = HeaderValue::from_static("bytes");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const ACCEPT_ENCODING: HeaderValue = HeaderValue::from_static("Accept-Encoding");

fn allowing(mut answer: Answer) -> Answer {
    answer.headers.insert(header::ALLOW, ALLOW);
    answer
}

/// A representation in full, in part, or what its preconditions say instead.
fn file(action: Action, headers: &HeaderMap, selected: &Selected) -> Answer {
    let representation = &*selected.representation;
    let plan = plan(action, headers, representation);
    let status = plan.status();
    let mut answer = match plan {
        Plan::Whole => return whole(status, selected),
        // A 206 has all that the 200 would have (section 15.3.7), also after If-Range: media players and download tools
        // look at the type, and section 15.3.7 only asks to leave it out to save bytes.
        Plan::Part(range) => {
            let mut answer = selected.head.answer(status, span(selected, range));
            answer.headers.insert(header::CONTENT_LENGTH, range.length().into());
            answer
                .headers
                .insert(header::CONTENT_RANGE, range.content_range(representation.length));
            return answer;
        }
        Plan::Parts(ranges) => return several(status, selected, &ranges),
        // A 304 updates what a cache keeps: the validator and Vary, and no metadata that the cache has (section 15.4.5).
        Plan::NotModified => {
            let mut answer = empty(status);
            answer.headers.insert(header::ETAG, representation.etag.clone());
            answer.media_type = selected.head.media_type.clone();
            answer
        }
        Plan::PreconditionFailed => message(status),
        Plan::RangeNotSatisfiable => {
            let mut answer = message(status);
            answer
                .headers
                .insert(header::CONTENT_RANGE, range::unsatisfied_range(representation.length));
            answer.headers.insert(header::ACCEPT_RANGES, BYTES);
            answer
        }
    };
    vary(&mut answer.headers, representation);
    answer
}

/// All bytes of what was selected, with the type and coding they have.
fn whole(status: StatusCode, selected: &Selected) -> Answer {
    selected.head.answer(status, selected.parts())
}

impl Selected {
    /// As [`answer`] for the file.
    pub fn answer(&self, method: &Method, headers: &HeaderMap) -> Answer {
        answer(method, headers, Found::File(self.clone()))
    }

    /// The 200 with all of the file, and with the head that was kept of [`Selected::keep_changed`] if that is of one who
    /// changed it as `alike` says. `None`: there is none, or the request is to be answered in another way.
    pub fn answer_changed(
        &self,
        method: &Method,
        headers: &HeaderMap,
        alike: impl FnOnce(&dyn Any) -> bool,
    ) -> Option<Answer> {
        let kept = self.head.changed.load();
        let changed = kept.as_ref().filter(|changed| alike(&*changed.by))?;
        let action = Action::of(method);
        let is_whole = matches!(action, Action::Get | Action::Head)
            && matches!(plan(action, headers, &self.representation), Plan::Whole);
        if is_whole && !self.head.was_used.load(Relaxed) {
            self.head.was_used.store(true, Relaxed);
        }
        is_whole.then(|| self.head.answer_with(&changed.headers, StatusCode::OK, self.parts()))
    }

    /// Keeps the head of an answer that sends all of the file with 200, which `by` says how it was changed. Only for the
    /// first who changes it for the second time; until the file changes, or a second passes in which it served nobody.
    pub fn keep_changed(&self, answer: &Answer, by: impl FnOnce() -> Box<dyn Any + Send + Sync>) {
        if answer.status != StatusCode::OK || !self.head.was_changed.swap(true, Relaxed) {
            return;
        }
        if self.head.changed.load().is_none() {
            let (by, headers) = (by(), answer.headers.clone());
            self.head.changed.store(Some(Arc::new(Changed { by, headers })));
        }
    }

    /// All of its bytes.
    fn parts(&self) -> Parts {
        match self.representation.length.checked_sub(1) {
            Some(last) => span(self, ByteRange { first: 0, last }).into(),
            None => Parts::None,
        }
    }
}

/// Ranges of what was selected, framed. The type that policies see is that of the file.
fn several(status: StatusCode, selected: &Selected, ranges: &[ByteRange]) -> Answer {
    let representation = &*selected.representation;
    let boundary = Boundary::new(representation, ranges);
    let frames = boundary.frames(representation, ranges).map(Part::Bytes);
    let framed = frames
        .zip(ranges)
        .flat_map(|(frame, range)| [frame, span(selected, *range)]);
    let parts: Vec<Part> = framed.chain([Part::Bytes(boundary.end())]).collect();
    let length: u64 = parts.iter().map(Part::length).sum();
    let mut answer = selected.head.answer(status, parts);
    answer.headers.insert(header::CONTENT_LENGTH, length.into());
    answer.headers.insert(header::CONTENT_TYPE, boundary.content_type());
    // That of the bytes within the frames is said there.
    answer.headers.remove(header::CONTENT_ENCODING);
    answer
}

/// A page in place of what is not there. It is no representation of the resource that was asked for, so preconditions and
/// ranges do not apply (section 13.2.1) and it carries no validators.
fn error_page(status: StatusCode, page: &Selected) -> Answer {
    let mut answer = whole(status, page);
    for validator in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
        answer.headers.remove(validator);
    }
    answer
}

fn listed(listing: Listing) -> Answer {
    let (content_type, content) = listing.into_content();
    let mut answer = Answer {
        status: StatusCode::OK,
        headers: named(),
        media_type: essence(&content_type),
        content,
    };
    answer.headers.insert(header::CONTENT_TYPE, content_type);
    answer.headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    // A page or JSON, as the client likes.
    answer.headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    answer
}

/// 301 like nginx and Apache: only GET and HEAD come here, so that the method cannot change on the way (which 308 is for).
fn slash(location: &str) -> Answer {
    // Whoever built the reference escaped what a field value cannot hold.
    match HeaderValue::try_from(location) {
        Ok(location) => redirect(StatusCode::MOVED_PERMANENTLY, location),
        Err(_) => message(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

fn redirect(status: StatusCode, location: HeaderValue) -> Answer {
    let mut answer = message(status);
    answer.headers.insert(header::LOCATION, location);
    answer
}

fn failed(status: StatusCode, retry_after: Option<Duration>) -> Answer {
    let mut answer = message(status);
    if let Some(wait) = retry_after {
        // In whole seconds (section 10.2.3), never earlier than was meant.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        answer.headers.insert(header::RETRY_AFTER, seconds.into());
    }
    if status == StatusCode::NOT_ACCEPTABLE {
        answer.headers.insert(header::VARY, ACCEPT_ENCODING);
    }
    answer
}

/// A line of text that says the status: nobody's page, and nothing about what went wrong.
fn message(status: StatusCode) -> Answer {
    let text = format!("{status}\n");
    let mut headers = named();
    headers.insert(header::CONTENT_LENGTH, text.len().into());
    headers.insert(header::CONTENT_TYPE, TEXT);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    Answer {
        status,
        headers,
        media_type: essence(&TEXT),
        content: Content::of(text),
    }
}

/// 204 and 304: no content, no Content-Length (section 8.6).
fn empty(status: StatusCode) -> Answer {
    Answer {
        status,
        headers: named(),
        media_type: None,
        content: Content::NONE,
    }
}

/// The head that every answer begins with.
fn named() -> HeaderMap {
    HeaderMap::from_iter([(header::SERVER, SERVER)])
}

/// Says that another Accept-Encoding might have had another answer (section 12.5.5), on every status.
fn vary(headers: &mut HeaderMap, representation: &Representation) {
    if representation.negotiated {
        headers.insert(header::VARY, ACCEPT_ENCODING);
    }
}

/// A media type without its parameters, in lower case.
fn essence(content_type: &HeaderValue) -> Option<Arc<str>> {
    let text = content_type.to_str().ok()?;
    Some(text.split(';').next()?.trim().to_ascii_lowercase().into())
}

fn span(selected: &Selected, range: ByteRange) -> Part {
    selected.source.part(range.first, range.length())
}
