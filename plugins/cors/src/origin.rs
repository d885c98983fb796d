//! Origins, as browsers write them (RFC 6454, section 6.2): `https://example.com`, `http://localhost:8000`, `null`.
use std::str::FromStr;
use wasmserve_plugin::HostPattern;

/// Who may read.
pub enum Origins {
    Any,
    These(Vec<AllowedOrigin>),
}

/// An origin, or every origin whose host lies beneath a domain.
#[derive(Debug, PartialEq, Eq)]
pub enum AllowedOrigin {
    /// That of sandboxed frames and local files.
    Null,
    Of {
        scheme: String,
        host: HostPattern,
        port: Option<u16>,
    },
}

impl FromStr for AllowedOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "null" {
            return Ok(Self::Null);
        }
        let expected = "is no origin: expected a scheme, a host and perhaps a port, without a path, such as \
                        \"https://app.example.com\", \"https://*.example.com\" or \"http://localhost:8000\"";
        let (scheme, host, port) = parts(text).ok_or(expected)?;
        let default = matches!((scheme, port), ("http", Some(80)) | ("https", Some(443)));
        if default {
            return Err("names the port that its scheme has anyway: browsers leave it out, so it would never match");
        }
        Ok(Self::Of {
            scheme: scheme.to_owned(),
            host: host.parse().map_err(|_| expected)?,
            port,
        })
    }
}

impl AllowedOrigin {
    /// Whether this is the origin that a browser sent.
    pub fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Null => origin == "null",
            Self::Of { scheme, host, port } => parts(origin).is_some_and(|(sent_scheme, sent_host, sent_port)| {
                sent_scheme == scheme && sent_port == *port && !sent_host.contains('*') && host.matches(sent_host)
            }),
        }
    }
}

/// Scheme, host and port.
fn parts(origin: &str) -> Option<(&str, &str, Option<u16>)> {
    let (scheme, authority) = origin.split_once("://")?;
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'+' | b'-' | b'.');
    if scheme.is_empty() || !scheme.bytes().all(fits) || authority.contains(['/', '?', '#', '@', ',', ' ']) {
        return None;
    }
    // An IPv6 address has colons of its own, within brackets.
    let after_address = authority.rfind(']').map_or(0, |at| at + 1);
    match authority[after_address..].rfind(':') {
        None => Some((scheme, authority, None)),
        Some(at) => {
            let (host, port) = authority.split_at(after_address + at);
            let port = &port[1..];
            let number: u16 = port.parse().ok()?;
            (number.to_string() == port).then_some((scheme, host, Some(number)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_and_who_they_allow() {
        for (allowed, origin, expected) in [
            ("https://example.com", "https://example.com", true),
            ("https://example.com", "http://example.com", false),
            ("https://example.com", "https://example.com:8443", false),
            ("https://example.com", "https://example.com.evil.org", false),
            ("https://example.com", "https://evil.org/https://example.com", false),
            ("https://example.com", "https://a@example.com", false),
            ("https://example.com", "https://example.com, https://evil.org", false),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://badexample.com", false),
            ("https://*.example.com", "https://*.example.com", false),
            ("https://*.example.com:8443", "https://a.example.com:8443", true),
            ("https://*.example.com", "https://evil.org/.example.com", false),
            ("https://*.example.com", "https://evil.org#.example.com", false),
            ("http://localhost:8000", "http://localhost:8000", true),
            ("http://localhost:8000", "http://localhost:08000", false),
            ("http://[::1]:8000", "http://[::1]:8000", true),
            ("http://[::1]", "http://[::1]", true),
            ("null", "null", true),
            ("https://example.com", "null", false),
            ("https://example.com", "", false),
        ] {
            let parsed: AllowedOrigin = allowed.parse().unwrap();
            assert_eq!(parsed.matches(origin), expected, "{allowed} {origin}");
        }
    }

    #[test]
    fn what_is_no_origin() {
        for text in [
            "",
            "*",
            "example.com",
            "https://",
            "https://example.com/",
            "https://Example.com",
            "HTTPS://example.com",
            "https://example.com:443",
            "http://a:80",
            "https://a.*.com",
            "https://a:b",
            "https://*",
            "https://a b",
        ] {
            assert!(text.parse::<AllowedOrigin>().is_err(), "{text}");
        }
    }
}
