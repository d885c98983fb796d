//! Reading header fields: repeated lines, single values, list elements (RFC 9110, section 5).
use http::{HeaderMap, header::HeaderName};
use std::borrow::Cow;

/// The combined value of a list-based field: its lines in order, joined with `, ` (section 5.3). `None`: not sent.
pub(crate) fn combined<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Cow<'a, [u8]>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?.as_bytes();
    let Some(second) = lines.next() else {
        return Some(Cow::Borrowed(first));
    };
    let mut joined = first.to_vec();
    for line in std::iter::once(second).chain(lines) {
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(line.as_bytes());
    }
    Some(Cow::Owned(joined))
}

/// How often a field that is no list was sent (section 5.5: more than one line of it is an error of the sender).
pub(crate) enum Singleton<'a> {
    Absent,
    One(&'a [u8]),
    Repeated,
}

pub(crate) fn singleton<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Singleton<'a> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (None, _) => Singleton::Absent,
        (Some(line), None) => Singleton::One(trim(line.as_bytes())),
        (Some(_), Some(_)) => Singleton::Repeated,
    }
}

/// The elements of a comma-separated list whose elements hold no quoted commas, without optional white space and without
/// empty elements (section 5.6.1.2).
pub(crate) fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|b| *b == b',')
        .map(trim)
        .filter(|element| !element.is_empty())
}

/// Without leading and trailing optional white space: space and tab (section 5.6.3).
pub(crate) fn trim(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}
