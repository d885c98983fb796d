//! Entity tags: their making, reading and comparing (RFC 9110, section 8.8.3).
use crate::coding::Coding;
use crate::fields;
use crate::store::ObjectVersion;
use http::HeaderValue;
use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Whether two equal tags promise equal bytes or only equal meaning (section 8.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    Strong,
    Weak,
}

/// An entity tag as it stands in a field value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntityTag<'a> {
    pub strength: Strength,
    /// What stands between the quotes.
    pub opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    /// Reads a value that is one entity tag and nothing else.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        Self::read(value).and_then(|(tag, rest)| rest.is_empty().then_some(tag))
    }

    /// Reads the tag that `value` begins with; gives what follows it.
    fn read(value: &'a [u8]) -> Option<(Self, &'a [u8])> {
        // "W/" is case-sensitive (section 8.8.3).
        let (strength, value) = match value.strip_prefix(b"W/") {
            Some(rest) => (Strength::Weak, rest),
            None => (Strength::Strong, value),
        };
        let value = value.strip_prefix(b"\"")?;
        let end = value.iter().position(|b| *b == b'"')?;
        let opaque = &value[..end];
        let is_etagc = |b: &u8| matches!(b, 0x21 | 0x23..=0x7e | 0x80..=0xff);
        opaque
            .iter()
            .all(is_etagc)
            .then_some((Self { strength, opaque }, &value[end + 1..]))
    }

    /// Equal and both strong (section 8.8.3.2).
    pub fn matches_strongly(&self, other: &EntityTag<'_>) -> bool {
        self.matches_weakly(other) && self.strength == Strength::Strong && other.strength == Strength::Strong
    }

    /// Equal but for their strength (section 8.8.3.2).
    pub fn matches_weakly(&self, other: &EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }
}

/// What the value of If-Match or If-None-Match lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntityTags<'a> {
    /// `*`
    Any,
    List(Vec<EntityTag<'a>>),
}

impl<'a> EntityTags<'a> {
    /// Reads `*` or a list of entity tags; `None` when any part of it is neither, for then nobody knows what the rest of
    /// it was meant to say.
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let mut rest = fields::trim(value);
        if rest == b"*" {
            return Some(Self::Any);
        }
        let mut tags = Vec::new();
        loop {
            // Empty elements are to be accepted (section 5.6.1.2). A tag may hold commas, so nothing is split at them.
            while let [b' ' | b'\t' | b',', after @ ..] = rest {
                rest = after;
            }
            if rest.is_empty() {
                return Some(Self::List(tags));
            }
            let (tag, after) = EntityTag::read(rest)?;
            tags.push(tag);
            rest = fields::trim(after);
            if !rest.is_empty() && rest[0] != b',' {
                return None;
            }
        }
    }
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    /// Bytes.
    pub length: u64,
    /// In the finest unit the file system keeps.
    pub modified: SystemTime,
    /// `None` leaves it out, for sites that several machines serve from copies of the same files.
    pub inode: Option<u64>,
}

/// A file must have rested this long before its modification time names one state of it: the coarsest time stamps in use
/// are FAT's, which count in two seconds. Linux's own advance with the timer tick, 1 to 10 ms.
pub const SETTLED_AFTER: Duration = Duration::from_secs(2);

impl FileState {
    /// The entity tag of the file's representation in `coding`, seen at `observed`.
    ///
    /// Strong: length, modification time in nanoseconds and inode change when the bytes do. Weak while the modification
    /// time is less than [`SETTLED_AFTER`] from `observed`, because a second write within the same tick of the file
    /// system's clock could leave all three as they are (section 8.8.1). The text in quotes is the same either way, so
    /// that If-None-Match holds across the change from weak to strong. Who sets a modification time back by hand after
    /// changing bytes in place, keeping the length, keeps the tag too.
    pub fn entity_tag(&self, coding: Coding, observed: SystemTime) -> HeaderValue {
        let mut tag = String::with_capacity(64);
        if self.strength(observed) == Strength::Weak {
            tag.push_str("W/");
        }
        let (before, since) = match self.modified.duration_since(UNIX_EPOCH) {
            Ok(since) => ("", since),
            Err(error) => ("-", error.duration()),
        };
        write!(
            tag,
            "\"{before}{:x}.{:x}-{:x}",
            since.as_secs(),
            since.subsec_nanos(),
            self.length
        )
        .expect("writing to a string cannot fail");
        if let Some(inode) = self.inode {
            write!(tag, "-{:x}", disguise(inode)).expect("writing to a string cannot fail");
        }
        if coding != Coding::Identity {
            tag.push('-');
            tag.push_str(coding.token());
        }
        tag.push('"');
        HeaderValue::try_from(tag).expect("hexadecimal digits, dots, hyphens and coding names are visible ASCII")
    }

    pub(crate) fn strength(&self, observed: SystemTime) -> Strength {
        let distance = observed
            .duration_since(self.modified)
            .unwrap_or_else(|error| error.duration());
        if distance < SETTLED_AFTER {
            Strength::Weak
        } else {
            Strength::Strong
        }
    }
}

/// The entity tag of an object's representation in `coding`: the object's own, strong where that is strong, so that all
/// servers of one store say the same. In a coding its name is added, because a store that makes tags of content alone gives
/// one tag to a file and to a sibling with the same bytes. A store that gives none, or none that can be sent, has a weak one
/// made of time and length.
pub(crate) fn of_object(version: &ObjectVersion, coding: Coding) -> HeaderValue {
    let given = version.etag.as_deref().unwrap_or_default();
    let quoted = format!("\"{given}\"");
    // Some stores leave the quotes out.
    let tag = EntityTag::parse(given.as_bytes()).or_else(|| EntityTag::parse(quoted.as_bytes()));
    let mut value = Vec::with_capacity(given.len() + 16);
    match tag.filter(|tag| !tag.opaque.is_empty()) {
        Some(tag) => {
            if tag.strength == Strength::Weak {
                value.extend_from_slice(b"W/");
            }
            value.push(b'"');
            value.extend_from_slice(tag.opaque);
        }
        None => {
            let since = version.modified.duration_since(UNIX_EPOCH).unwrap_or_default();
            value.extend_from_slice(format!("W/\"{:x}-{:x}", since.as_millis(), version.length).as_bytes());
        }
    }
    if coding != Coding::Identity {
        value.push(b'-');
        value.extend_from_slice(coding.token().as_bytes());
    }
    value.push(b'"');
    HeaderValue::from_bytes(&value).expect("bytes that an entity tag may hold a field value may hold too")
}

/// Different inodes stay different (each step can be undone), but their order and number are not told to every client.
fn disguise(inode: u64) -> u64 {
    // The finalizer of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
    let mut x = inode.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
