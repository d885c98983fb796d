//! Preconditions: whether a request still wants what it would get (RFC 9110, section 13).
//!
//! For GET and HEAD alone; the other methods that are answered select no representation (section 13.2.1).
use crate::Representation;
use crate::date::HttpDate;
use crate::etag::{EntityTag, EntityTags, Strength};
use crate::fields::{self, Singleton};
use http::{HeaderMap, header};

/// What the preconditions of a request say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition {
    /// All hold, or there are none.
    Holds,
    /// If-None-Match or If-Modified-Since fails: the client has it already (304).
    NotModified,
    /// If-Match or If-Unmodified-Since fails: the client meant something else (412).
    Failed,
}

/// Evaluates the preconditions in the order of section 13.2.2; If-Range has its own function.
pub fn evaluate(headers: &HeaderMap, representation: &Representation) -> Precondition {
    let current = Validators::of(representation);
    // Step 1; step 2 only without If-Match.
    if let Some(field) = fields::combined(headers, &header::IF_MATCH) {
        if !current.listed(&field, EntityTag::matches_strongly) {
            return Precondition::Failed;
        }
    } else if let (Some(date), Some(modified)) = (date(headers, &header::IF_UNMODIFIED_SINCE), current.modified)
        && modified > date
    {
        return Precondition::Failed;
    }
    // Step 3; step 4 only without If-None-Match.
    if let Some(field) = fields::combined(headers, &header::IF_NONE_MATCH) {
        if current.listed(&field, EntityTag::matches_weakly) {
            return Precondition::NotModified;
        }
    } else if let (Some(date), Some(modified)) = (date(headers, &header::IF_MODIFIED_SINCE), current.modified)
        && modified <= date
    {
        return Precondition::NotModified;
    }
    Precondition::Holds
}

/// Whether Range may be honoured: there is no If-Range, or it names exactly this representation (section 13.1.5).
///
/// A value that is neither an entity tag nor a date, and a repeated field, name nothing: the whole is sent, which is never
/// wrong.
pub fn if_range_holds(headers: &HeaderMap, representation: &Representation) -> bool {
    let current = Validators::of(representation);
    match fields::singleton(headers, &header::IF_RANGE) {
        Singleton::Absent => true,
        Singleton::Repeated => false,
        Singleton::One(value) => match (EntityTag::parse(value), current.tag) {
            (Some(tag), Some(current)) => tag.matches_strongly(&current),
            (Some(_), None) => false,
            // A date must be a strong validator (section 8.8.2.2), which asks that the file did not change twice within
            // its second. The weak tag of a file that has not rested says that it may have.
            (None, tag) => {
                let strong = tag.is_some_and(|tag| tag.strength == Strength::Strong);
                strong && current.modified.is_some() && HttpDate::parse(value) == current.modified
            }
        },
    }
}

/// What the representation is now.
struct Validators<'a> {
    tag: Option<EntityTag<'a>>,
    modified: Option<HttpDate>,
}

impl<'a> Validators<'a> {
    fn of(representation: &'a Representation) -> Self {
        Self {
            tag: EntityTag::parse(representation.etag.as_bytes()),
            modified: representation.modified.and_then(HttpDate::new),
        }
    }

    /// Whether `field` is `*` or lists the tag. A malformed list lists nothing: If-Match then fails and If-None-Match
    /// holds, both on the safe side.
    fn listed(&self, field: &[u8], matches: fn(&EntityTag<'a>, &EntityTag<'_>) -> bool) -> bool {
        match EntityTags::parse(field) {
            None => false,
            Some(EntityTags::Any) => true,
            Some(EntityTags::List(tags)) => self.tag.is_some_and(|own| tags.iter().any(|tag| matches(&own, tag))),
        }
    }
}

/// A date that counts: one valid HTTP-date. Anything else is to be ignored (sections 13.1.3 and 13.1.4).
fn date(headers: &HeaderMap, name: &header::HeaderName) -> Option<HttpDate> {
    match fields::singleton(headers, name) {
        Singleton::One(value) => HttpDate::parse(value),
        Singleton::Absent | Singleton::Repeated => None,
    }
}
