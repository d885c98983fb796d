//! To which trace a request belongs: what its client says (W3C Trace Context), or a trace of its own.

use http::{HeaderMap, HeaderName};
use std::fmt;

/// 16 bytes that are not all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub(super) [u8; 16]);

/// 8 bytes that are not all zero.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SpanId(pub(super) [u8; 8]);

/// What a client says of the span that its request is a part of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parent {
    pub trace: TraceId,
    pub span: SpanId,
    pub sampled: bool,
    /// `tracestate`, for whoever reads the trace; empty when there is none, or too much.
    pub state: String,
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// As much of `tracestate` as everybody has to take (Trace Context, section 3.3.1.5).
const LONGEST_STATE: usize = 512;

/// The bit of the flags that says that the span is recorded.
const SAMPLED: u8 = 1;

// === impl Parent ===

impl Parent {
    /// Of a request's header fields; `None`: there is none, or none that is valid.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(TRACEPARENT).iter();
        let parent = Self::parse(given.next()?.as_bytes())?;
        // Two are none (section 3.2.2.5).
        if given.next().is_some() {
            return None;
        }
        let states = headers.get_all(TRACESTATE).iter();
        let states: Option<Vec<&str>> = states.map(|state| state.to_str().ok()).collect();
        let state = states.unwrap_or_default().join(",");
        Some(Self {
            state: if state.len() <= LONGEST_STATE {
                state
            } else {
                String::new()
            },
            ..parent
        })
    }

    /// `VERSION-TRACE-PARENT-FLAGS`, in lower-case hexadecimal. What later versions add behind that is passed over, but
    /// version 00 has nothing more, and version ff does not exist.
    fn parse(text: &[u8]) -> Option<Self> {
        let (own, more) = text.split_at_checked(55)?;
        let [version] = hex::<1>(&own[..2])?;
        let ends = match version {
            0 => more.is_empty(),
            0xff => false,
            _ => more.first().is_none_or(|next| *next == b'-'),
        };
        let is_framed = [2, 35, 52].into_iter().all(|at| own[at] == b'-');
        let (trace, span) = (hex::<16>(&own[3..35])?, hex::<8>(&own[36..52])?);
        let [flags] = hex::<1>(&own[53..])?;
        let is_valid = ends && is_framed && trace != [0; 16] && span != [0; 8];
        is_valid.then(|| Self {
            trace: TraceId(trace),
            span: SpanId(span),
            sampled: flags & SAMPLED != 0,
            state: String::new(),
        })
    }
}

/// The bytes that twice as many digits stand for.
fn hex<const BYTES: usize>(digits: &[u8]) -> Option<[u8; BYTES]> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; BYTES];
    let (pairs, rest) = digits.as_chunks::<2>();
    if pairs.len() != BYTES || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(*high)? << 4 | value(*low)?;
    }
    Some(bytes)
}

fn write_hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

// === impl TraceId, SpanId ===

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
    const SPAN: &str = "00f067aa0ba902b7";

    fn of(fields: &[(HeaderName, &str)]) -> Option<Parent> {
        let field =
            |(name, value): &(HeaderName, &str)| (name.clone(), HeaderValue::from_str(value).expect("a valid value"));
        // `FromIterator` would keep the last of each name.
        let mut headers = HeaderMap::new();
        for (name, value) in fields.iter().map(field) {
            headers.append(name, value);
        }
        Parent::of(&headers)
    }

    #[test]
    fn what_is_valid_is_taken_as_it_is() {
        for (text, sampled) in [
            (format!("00-{TRACE}-{SPAN}-01"), true),
            (format!("00-{TRACE}-{SPAN}-00"), false),
            (format!("00-{TRACE}-{SPAN}-03"), true),
            (format!("00-{TRACE}-{SPAN}-02"), false),
            (format!("01-{TRACE}-{SPAN}-01"), true),
            (format!("cc-{TRACE}-{SPAN}-01-what the future brings"), true),
        ] {
            let parent = of(&[(TRACEPARENT, &text)]).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(
                (parent.trace.to_string(), parent.span.to_string()),
                (TRACE.into(), SPAN.into())
            );
            assert_eq!(parent.sampled, sampled, "{text}");
        }
    }

    /// The cases of the specification's own test suite for the header field.
    #[test]
    fn what_is_not_valid_is_none() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            "00".into(),
            format!("ff-{TRACE}-{SPAN}-01"),
            format!("0-{TRACE}-{SPAN}-01"),
            format!("000-{TRACE}-{SPAN}-01"),
            format!(".0-{TRACE}-{SPAN}-01"),
            format!("00-{zeros}-{SPAN}-01"),
            format!("00-{TRACE}-{}-01", &zeros[..16]),
            format!("00-{}-{SPAN}-01", TRACE.to_uppercase()),
            format!("00-{TRACE}-{}-01", SPAN.to_uppercase()),
            format!("00-{TRACE}-{SPAN}-0A"),
            format!("00-{TRACE}-{SPAN}-1"),
            format!("00-{TRACE}-{SPAN}-001"),
            format!("00-{TRACE}-{SPAN}-01-more"),
            format!("00-{TRACE}-{SPAN}-01-"),
            format!("cc-{TRACE}-{SPAN}-01.more"),
            format!("00-{TRACE}{SPAN}-01-"),
            format!("00_{TRACE}_{SPAN}_01"),
            format!("00-{}-{SPAN}-01", &TRACE[1..]),
        ] {
            assert_eq!(of(&[(TRACEPARENT, &text)]), None, "{text}");
        }
        let valid = format!("00-{TRACE}-{SPAN}-01");
        assert_eq!(of(&[(TRACEPARENT, &valid), (TRACEPARENT, &valid)]), None, "two of them");
    }

    #[test]
    fn the_state_goes_with_its_parent_unless_it_is_too_long() {
        let valid = format!("00-{TRACE}-{SPAN}-01");
        let long = "x".repeat(LONGEST_STATE);
        for (states, expected) in [
            (&["a=1"][..], "a=1"),
            (&["a=1", "b=2"], "a=1,b=2"),
            (&[&long], &long),
            (&[&long, "b=2"], ""),
            (&[], ""),
        ] {
            let mut fields = vec![(TRACEPARENT, valid.as_str())];
            fields.extend(states.iter().map(|state| (TRACESTATE, *state)));
            assert_eq!(of(&fields).expect("a parent").state, expected);
        }
        assert_eq!(of(&[(TRACESTATE, "a=1")]), None, "alone it says nothing");
    }
}
