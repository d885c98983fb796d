//! For whom a proxy asks: `Forwarded` (RFC 7239) and `X-Forwarded-For`, read from the right.
//!
//! Each proxy adds what it sees at the end, so only the end is known: the address that connected to the last trusted proxy
//! is the client, and what is to the left of it is the client's own word. An element that cannot be read, or that hides
//! its address (`for=unknown`, `for=_hidden`), is a client without an address, never somebody else's.

use super::listener::{ForwardedField, Trusted};
use crate::request::Scheme;
use http::{HeaderMap, HeaderName, header};
use std::net::{IpAddr, SocketAddr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// More elements than this are not looked at: the client is unknown.
const MOST: usize = 64;

/// Who asks, by the word of trusted proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// `None` when it is hidden.
    pub client: Option<IpAddr>,
    /// `None` when they do not say.
    pub scheme: Option<Scheme>,
}

/// One hop: who connected to the proxy that wrote it, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Element {
    client: Option<IpAddr>,
    scheme: Option<Scheme>,
}

/// What a trusted peer says of its client; `None` when it says nothing.
pub fn named(field: ForwardedField, headers: &HeaderMap, trusted: &Trusted) -> Option<Named> {
    match field {
        ForwardedField::Forwarded => {
            let text = joined(headers, &header::FORWARDED)?;
            let found = match is_balanced(&text) {
                true => walk(split(&text, ',').map(|text| element(text).unwrap_or_default()), trusted),
                // A quote that a client opened makes its own word of what proxies added.
                false => Element::default(),
            };
            Some(Named {
                client: found.client,
                scheme: found.scheme,
            })
        }
        ForwardedField::XForwardedFor => {
            // Written by the peer alone, whatever came before.
            let proto = joined(headers, &X_FORWARDED_PROTO);
            let scheme = proto.and_then(|text| scheme(text.rsplit(',').next().unwrap_or_default().trim()));
            let client = joined(headers, &X_FORWARDED_FOR);
            if client.is_none() && scheme.is_none() {
                return None;
            }
            let hop = |text: &str| Element {
                client: address(text.trim()),
                scheme: None,
            };
            let found = client.map(|text| walk(text.split(',').map(hop), trusted));
            Some(Named {
                client: found.and_then(|found| found.client),
                scheme,
            })
        }
    }
}

/// The rightmost element that is no trusted proxy's, or the leftmost of all.
fn walk(elements: impl Iterator<Item = Element>, trusted: &Trusted) -> Element {
    let elements: Vec<Element> = elements.take(MOST + 1).collect();
    if elements.len() > MOST {
        return Element::default();
    }
    let proxy = |element: &&Element| element.client.is_some_and(|client| trusted.includes(Some(client)));
    let client = elements.iter().rev().find(|element| !proxy(element));
    client.or(elements.first()).copied().unwrap_or_default()
}

/// All fields of a name as one (RFC 9110, section 5.3). What is not text hides whatever it is about.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or("?"))
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

/// The parts between separators that are not within quotes (RFC 9110, section 5.6.4).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c| {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        }
        c == separator && !quoted
    })
}

/// Whether every quote is closed.
fn is_balanced(text: &str) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for c in text.chars() {
        if escaped {
            escaped = false;
        } else if quoted && c == '\\' {
            escaped = true;
        } else if c == '"' {
            quoted = !quoted;
        }
    }
    !quoted
}

/// `for=192.0.2.7;proto=https`; `None` when it is malformed or says a thing twice.
fn element(text: &str) -> Option<Element> {
    let mut element = Element::default();
    let mut seen = Vec::new();
    for pair in split(text, ';').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        let (name, value) = (name.to_ascii_lowercase(), unquoted(value)?);
        match &*name {
            "for" => element.client = address(&value),
            "proto" => element.scheme = scheme(&value),
            _ => {}
        }
        if seen.contains(&name) {
            return None;
        }
        seen.push(name);
    }
    Some(element)
}

/// A token, or what a quoted string stands for.
fn unquoted(value: &str) -> Option<String> {
    let Some(rest) = value.strip_prefix('"') else {
        return (!value.is_empty() && !value.contains(['"', '\\', ' ', '\t'])).then(|| value.to_owned());
    };
    let mut text = String::new();
    let mut rest = rest.chars();
    loop {
        match rest.next()? {
            '"' => return rest.next().is_none().then_some(text),
            '\\' => text.push(rest.next()?),
            c => text.push(c),
        }
    }
}

/// An address, with a port or without: `192.0.2.7`, `192.0.2.7:80`, `2001:db8::7`, `[2001:db8::7]:80`.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || {
        text.strip_prefix('[')?
            .strip_suffix(']')?
            .parse::<std::net::Ipv6Addr>()
            .ok()
    };
    let plain = text.parse::<IpAddr>().ok();
    let found = plain
        .or_else(|| bracketed().map(IpAddr::from))
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    found.map(|address| address.to_canonical())
}

fn scheme(text: &str) -> Option<Scheme> {
    [Scheme::Http, Scheme::Https]
        .into_iter()
        .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn trusted() -> Trusted {
        let networks = ["10.0.0.0/8", "2001:db8:f::/48"].map(|text| text.parse().expect("a network"));
        Trusted {
            networks: networks.to_vec(),
            unix: true,
        }
    }

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::from_str(value).expect("a value");
            headers.append(HeaderName::from_static(name), value);
        }
        headers
    }

    /// The client, `hidden`, or `-` when nothing is said; and the scheme.
    fn told(field: ForwardedField, fields: &[(&'static str, &str)]) -> String {
        let Some(named) = named(field, &headers(fields), &trusted()) else {
            return "-".into();
        };
        let client = named.client.map_or("hidden".into(), |client| client.to_string());
        match named.scheme {
            Some(scheme) => format!("{client} {}", scheme.as_str()),
            None => client,
        }
    }

    #[test]
    fn forwarded_names_the_rightmost_that_is_no_proxy() {
        for (values, expected) in [
            (&["for=192.0.2.7"][..], "192.0.2.7"),
            (&["for=192.0.2.7;proto=https;by=10.0.0.1"], "192.0.2.7 https"),
            (&["For=\"192.0.2.7:4711\" ; Proto=HTTP"], "192.0.2.7 http"),
            (&["for=\"[2001:db8::7]:80\""], "2001:db8::7"),
            (&["for=\"[2001:db8::7]\""], "2001:db8::7"),
            (&["for=\"::ffff:192.0.2.7\""], "192.0.2.7"),
            // The client wrote the first; the scheme is that of the hop from the client.
            (
                &["for=10.9.9.9;proto=https, for=192.0.2.7;proto=http, for=10.0.0.2;proto=https"],
                "192.0.2.7 http",
            ),
            (&["for=1.2.3.4", "for=192.0.2.7", "for=10.0.0.2"], "192.0.2.7"),
            (&["for=10.0.0.3, for=10.0.0.2"], "10.0.0.3"),
            (&["for=\"a,b;for=1.2.3.4\";x=y, for=\"[2001:db8:f::1]\""], "hidden"),
            (&["for=1.2.3.4, for=unknown, for=10.0.0.2"], "hidden"),
            (&["for=_secret"], "hidden"),
            (&["for=1.2.3.4;for=192.0.2.7"], "hidden"),
            (&["for=1.2.3.4, for=\"192.0.2.7"], "hidden"),
            (&["for=1.2.3.4, for=\"192.0.2.7\"x"], "hidden"),
            (&["for=1.2.3.4, proto=https"], "hidden https"),
            (&["for=1.2.3.4, "], "hidden"),
            (&[""], "hidden"),
            (&[], "-"),
        ] {
            let fields: Vec<_> = values.iter().map(|value| ("forwarded", *value)).collect();
            assert_eq!(told(ForwardedField::Forwarded, &fields), expected, "{values:?}");
        }
    }

    #[test]
    fn x_forwarded_for_does_too() {
        let proto = ("x-forwarded-proto", "https");
        for (fields, expected) in [
            (&[("x-forwarded-for", "192.0.2.7")][..], "192.0.2.7"),
            (
                &[("x-forwarded-for", "1.2.3.4, 192.0.2.7,10.0.0.2"), proto],
                "192.0.2.7 https",
            ),
            (
                &[("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "192.0.2.7")],
                "192.0.2.7",
            ),
            (&[("x-forwarded-for", "192.0.2.7:4711")], "192.0.2.7"),
            (&[("x-forwarded-for", "[2001:db8::7]:80")], "2001:db8::7"),
            (&[("x-forwarded-for", "1.2.3.4, unknown")], "hidden"),
            (&[("x-forwarded-for", "1.2.3.4, 192.0.2.7 x")], "hidden"),
            (
                &[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "http, https")],
                "192.0.2.7 https",
            ),
            (
                &[("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "gopher")],
                "192.0.2.7",
            ),
            (&[proto], "hidden https"),
            // What the proxy does not write is the client's own word.
            (&[("forwarded", "for=1.2.3.4;proto=https")], "-"),
        ] {
            assert_eq!(told(ForwardedField::XForwardedFor, fields), expected, "{fields:?}");
        }
        assert_eq!(told(ForwardedField::Forwarded, &[("x-forwarded-for", "1.2.3.4")]), "-");
        let many = ["1.2.3.4"; MOST + 1].join(",");
        assert_eq!(
            told(ForwardedField::XForwardedFor, &[("x-forwarded-for", &many)]),
            "hidden"
        );
    }

    /// Chains of proxies that behave, behind whatever a client writes: the client is always the one that connected.
    #[test]
    fn nothing_that_a_client_writes_makes_it_another() {
        let client = "192.0.2.7";
        let lies = [
            "",
            "for=10.0.0.1",
            "for=1.2.3.4",
            "for=\"",
            "for=\"a\\",
            ",,;;",
            "for=\"1.2.3.4\", for=10.0.0.1",
            "\\",
            "for=1.2.3.4;x=\"",
            "for=1.2.3.4;x=\"\\",
            "for=1.2.3.4;x=\"\\\"",
            "for=\"1.2.3.4",
            "for=1.2.3.4;",
        ];
        for lie in lies {
            for honest in [
                ["for=192.0.2.7", "for=10.0.0.2"],
                ["for=\"192.0.2.7:9\"", "for=\"[2001:db8:f::1]\";by=\"x\""],
            ] {
                // Two fields, as proxies keep them apart, or one that each adds to.
                let apart = [("forwarded", lie), ("forwarded", honest[0]), ("forwarded", honest[1])];
                let joined = [lie, honest[0], honest[1]].join(", ");
                for fields in [&apart[..], &[("forwarded", &joined)]] {
                    let said = told(ForwardedField::Forwarded, fields);
                    // An unclosed quote may hide the client, and never gives it another address.
                    assert!(said == client || said == "hidden", "{lie:?}: {said}");
                }
            }
        }
        for lie in ["", "10.0.0.1", "1.2.3.4", "\"", ",,,", "10.0.0.1,10.0.0.1"] {
            let apart = [
                ("x-forwarded-for", lie),
                ("x-forwarded-for", "192.0.2.7"),
                ("x-forwarded-for", "10.0.0.2"),
            ];
            assert_eq!(told(ForwardedField::XForwardedFor, &apart), client, "{lie:?}");
        }
    }
}
