//! Byte ranges: what a Range field asks for, of a representation whose length is known (RFC 9110, section 14).
use crate::fields::{self, Singleton};
use http::{HeaderMap, HeaderValue, header};
use std::fmt;

/// The most ranges that one request may name; a Range field with more is ignored and the whole is sent, as section 14.2
/// allows against floods. Clients that page through documents ask for tens.
///
/// Below it a flood gains nothing: after coalescing, ranges neither overlap nor lie closer together than
/// [`SMALLEST_FRAME`], so that all parts with their framing are never longer than the whole and one frame.
pub const MAX_RANGES: usize = 200;

/// Ranges with a gap smaller than this are sent as one: a shorter gap costs less than the framing of another part
/// (section 15.3.7.2). Bytes; the shortest framing that [`crate::multipart`] makes is longer.
pub const SMALLEST_FRAME: u64 = 80;

/// Bytes `first ..= last` of a representation; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRange {
    pub first: u64,
    pub last: u64,
}

impl ByteRange {
    /// Bytes; at least one, at most the representation's length.
    pub fn length(&self) -> u64 {
        self.last - self.first + 1
    }

    /// The value of Content-Range (section 14.4) for a representation of `complete` bytes.
    pub fn content_range(&self, complete: u64) -> HeaderValue {
        header_value(format_args!("bytes {}-{}/{complete}", self.first, self.last))
    }
}

/// The value of Content-Range when no range could be given (section 15.5.17).
pub fn unsatisfied_range(complete: u64) -> HeaderValue {
    header_value(format_args!("bytes */{complete}"))
}

fn header_value(text: fmt::Arguments<'_>) -> HeaderValue {
    HeaderValue::try_from(text.to_string()).expect("digits and ASCII punctuation are a valid field value")
}

/// What a Range field comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requested {
    /// No Range field, or one that is ignored: unknown unit, malformed, repeated, a flood, of an empty representation.
    Whole,
    One(ByteRange),
    /// At least two, coalesced, in the order in which they were asked for.
    Several(Vec<ByteRange>),
    /// Well formed, and nothing of it lies within the representation (416).
    Unsatisfiable,
}

/// Reads the Range field of a GET for a representation of `length` bytes.
pub fn requested(headers: &HeaderMap, length: u64) -> Requested {
    // Range is no list: a second line makes it malformed, and what is malformed may be ignored (section 14.2).
    let Singleton::One(value) = fields::singleton(headers, &header::RANGE) else {
        return Requested::Whole;
    };
    // An empty representation has no range to give. Clients that send Range with every request are better served with its
    // no bytes than with a 416, and section 14.2 lets a server ignore Range; nginx and Go do the same.
    let Some(end) = length.checked_sub(1) else {
        return Requested::Whole;
    };
    let Some(specs) = parse(value) else {
        return Requested::Whole;
    };
    let ranges = coalesce(specs.into_iter().filter_map(|spec| spec.within(end)));
    match ranges[..] {
        [] => Requested::Unsatisfiable,
        [range] => Requested::One(range),
        _ => Requested::Several(ranges),
    }
}

/// One element of a range set (section 14.1.1). Numbers too large for 64 bits stand at the largest: they are beyond the end
/// of any file either way.
#[derive(Clone, Copy)]
enum Spec {
    From(u64),
    Between(u64, u64),
    Suffix(u64),
}

impl Spec {
    fn parse(text: &[u8]) -> Option<Self> {
        let hyphen = text.iter().position(|b| *b == b'-')?;
        let (first, last) = (&text[..hyphen], &text[hyphen + 1..]);
        match (first, last) {
            ([], suffix) => Some(Self::Suffix(number(suffix)?)),
            (first, []) => Some(Self::From(number(first)?)),
            (first, last) => {
                let spec = Self::Between(number(first)?, number(last)?);
                // An int-range whose last-pos is less than its first-pos is invalid, and with it the set.
                is_ordered(first, last).then_some(spec)
            }
        }
    }

    /// The bytes meant, of a representation whose last byte is `end`; `None` when the spec is not satisfiable: an int-range
    /// that begins beyond the end, a suffix of no bytes (section 14.1.2).
    fn within(self, end: u64) -> Option<ByteRange> {
        match self {
            Self::From(first) => (first <= end).then_some(ByteRange { first, last: end }),
            Self::Between(first, last) => (first <= end).then(|| ByteRange {
                first,
                last: last.min(end),
            }),
            Self::Suffix(0) => None,
            Self::Suffix(suffix) => Some(ByteRange {
                first: end.saturating_sub(suffix - 1),
                last: end,
            }),
        }
    }
}

/// The range set of a valid `bytes=` value that names no more than [`MAX_RANGES`].
fn parse(value: &[u8]) -> Option<Vec<Spec>> {
    let equals = value.iter().position(|b| *b == b'=')?;
    let (unit, set) = (&value[..equals], &value[equals + 1..]);
    // Unit names are case-insensitive (section 14.1); one that is not understood must be ignored (section 14.2).
    if !unit.eq_ignore_ascii_case(b"bytes") {
        return None;
    }
    let mut specs = Vec::new();
    for element in fields::elements(set) {
        if specs.len() == MAX_RANGES {
            return None;
        }
        specs.push(Spec::parse(element)?);
    }
    (!specs.is_empty()).then_some(specs)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        Some(number.saturating_mul(10).saturating_add(digit))
    })
}

/// Whether one decimal number is at most another. Compared as text, which knows no largest number.
fn is_ordered(smaller: &[u8], larger: &[u8]) -> bool {
    let significant = |digits: &[u8]| {
        digits
            .iter()
            .position(|b| *b != b'0')
            .map_or(0, |zeros| digits.len() - zeros)
    };
    let (a, b) = (significant(smaller), significant(larger));
    (a, &smaller[smaller.len() - a..]) <= (b, &larger[larger.len() - b..])
}

/// Joins ranges that overlap, touch or lie closer than [`SMALLEST_FRAME`]. A joined range stands where the first of its
/// members was asked for (section 15.3.7.2).
fn coalesce(ranges: impl Iterator<Item = ByteRange>) -> Vec<ByteRange> {
    let mut by_position: Vec<(usize, ByteRange)> = ranges.enumerate().collect();
    by_position.sort_by_key(|(_, range)| range.first);
    let mut joined: Vec<(usize, ByteRange)> = Vec::with_capacity(by_position.len());
    for (asked, range) in by_position {
        match joined.last_mut() {
            Some((first_asked, before)) if range.first.saturating_sub(before.last) <= SMALLEST_FRAME => {
                *first_asked = asked.min(*first_asked);
                before.last = range.last.max(before.last);
            }
            _ => joined.push((asked, range)),
        }
    }
    joined.sort_by_key(|(asked, _)| *asked);
    joined.into_iter().map(|(_, range)| range).collect()
}
