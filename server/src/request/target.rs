//! Where a request is aimed: the host it names, and the path, not decoded yet.
//!
//! hyper checks neither. RFC 9112, sections 3.2 and 3.3, and RFC 9110, section 7.2, say what has to be refused, because
//! two readings of one request are how a cache or a proxy in front is made to disagree with this server.

use http::{HeaderMap, HeaderValue, Method, Uri, Version, header, request::Parts, uri::Authority};
use std::{cell::RefCell, net::Ipv6Addr, sync::Arc};

/// What a request asks about.
#[derive(Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// `OPTIONS *`: the server itself (RFC 9112, section 3.2.4).
    Server,
    Resource {
        host: Host,
        /// Percent-encoded as sent, beginning with `/`.
        path: &'a str,
        /// Raw, without `?`.
        query: Option<&'a str>,
    },
}

/// The host that a request names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// Lower case, without port or final dot; an IPv6 address in brackets and in the form of RFC 5952. Empty when an
    /// HTTP/1.0 client named none.
    pub name: Arc<str>,
    pub port: Option<u16>,
}

/// Why a target was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("has no Host")]
    MissingHost,
    #[error("has more than one Host")]
    RepeatedHost,
    #[error("has a Host that is not a host and a port")]
    MalformedHost,
    #[error("has a Host that disagrees with its target")]
    DisagreeingHost,
    #[error("has user information in its target")]
    UserInformation,
    #[error("has a target that is neither a path nor a URI of this server")]
    MalformedTarget,
    #[error("asks for a scheme that this connection does not speak")]
    OtherScheme,
    #[error("asks for a tunnel")]
    Connect,
}

/// How the client reaches this server: what a connection is, not what a request says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

// === impl Target ===

impl<'a> Target<'a> {
    /// Reads the request line and Host of a request that came by `scheme`. In HTTP/2 the authority of the target is what
    /// names the host, and Host is there only without one (RFC 9113, section 8.3.1).
    ///
    /// # Errors
    /// When they do not name one resource of one host, or when this server does not do what is asked.
    pub fn of(head: &'a Parts, scheme: Scheme) -> Result<Self, TargetError> {
        if head.method == Method::CONNECT {
            return Err(TargetError::Connect);
        }
        let named = host_field(&head.headers, head.version)?;
        match (head.uri.scheme_str(), head.uri.authority()) {
            (None, None) if head.version == Version::HTTP_2 && named.is_none() => Err(TargetError::MissingHost),
            (None, None) => Self::origin_form(&head.method, &head.uri, named.unwrap_or_default()),
            (Some(asked), Some(authority)) => {
                let host = host_of(scheme, asked, authority, named)?;
                Self::origin_form(&head.method, &head.uri, host)
            }
            // The authority form belongs to CONNECT alone (RFC 9112, section 3.2.3).
            _ => Err(TargetError::MalformedTarget),
        }
    }

    fn origin_form(method: &Method, uri: &'a Uri, host: Host) -> Result<Self, TargetError> {
        match uri.path() {
            "*" if method == Method::OPTIONS => Ok(Self::Server),
            path if path.starts_with('/') => Ok(Self::Resource {
                host,
                path,
                query: uri.query(),
            }),
            _ => Err(TargetError::MalformedTarget),
        }
    }
}

/// The host of `http://host/path`: every server has to accept it (RFC 9112, section 3.2.2).
fn host_of(scheme: Scheme, asked: &str, authority: &Authority, named: Option<Host>) -> Result<Host, TargetError> {
    if authority.as_str().contains('@') {
        return Err(TargetError::UserInformation);
    }
    let host = Host::parse(authority.as_str()).ok_or(TargetError::MalformedTarget)?;
    if !asked.eq_ignore_ascii_case(scheme.as_str()) {
        return Err(TargetError::OtherScheme);
    }
    if named.is_some_and(|named| !named.is_same(&host, scheme)) {
        return Err(TargetError::DisagreeingHost);
    }
    Ok(host)
}

/// The Host field. HTTP/1.1 has to send it, even beside an absolute target; HTTP/1.0 did not have it.
fn host_field(headers: &HeaderMap, version: Version) -> Result<Option<Host>, TargetError> {
    // Looking at a few names costs less than hashing one.
    let mut fields = headers.iter().filter(|(name, _)| *name == header::HOST);
    let Some((_, value)) = fields.next() else {
        return if version != Version::HTTP_11 {
            Ok(None)
        } else {
            Err(TargetError::MissingHost)
        };
    };
    if fields.next().is_some() {
        return Err(TargetError::RepeatedHost);
    }
    remembered(value).map(Some).ok_or(TargetError::MalformedHost)
}

/// [`Host::parse`] of a field. One request after the other names the same host, so each thread remembers the last.
fn remembered(value: &HeaderValue) -> Option<Host> {
    thread_local! {
        static LAST: RefCell<Option<(HeaderValue, Host)>> = const { RefCell::new(None) };
    }
    LAST.with_borrow_mut(|last| match last {
        Some((known, host)) if known.as_bytes() == value.as_bytes() => Some(host.clone()),
        _ => {
            let host = Host::parse(value.to_str().ok()?)?;
            // A value of its own: the other one is part of all that was received with it.
            *last = Some((HeaderValue::from_bytes(value.as_bytes()).ok()?, host.clone()));
            Some(host)
        }
    })
}

// === impl Scheme ===

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

// === impl Host ===

impl Host {
    /// `host`, `host:port` or `[IPv6]:port`. Stricter than RFC 3986 where it lets one name be written in two ways:
    /// percent-encoding, empty labels and anything but letters, digits, `-`, `_` and `.` are refused, so that a policy that
    /// compares hosts cannot be walked around.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']')?;
                let address: Ipv6Addr = address.parse().ok()?;
                let port = if rest.is_empty() {
                    None
                } else {
                    Some(rest.strip_prefix(':')?)
                };
                (format!("[{address}]").into(), port)
            }
            None => {
                let (name, port) = match text.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (text, None),
                };
                (registered_name(name)?, port)
            }
        };
        // An empty port is the default one (RFC 3986, section 3.2.3).
        let port = match port {
            None | Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => Some(digits.parse().ok()?),
            Some(_) => return None,
        };
        Some(Self { name, port })
    }

    fn is_same(&self, other: &Self, scheme: Scheme) -> bool {
        let port = |host: &Self| host.port.unwrap_or(scheme.default_port());
        self.name == other.name && port(self) == port(other)
    }
}

/// A name of labels, in lower case and without the final dot.
fn registered_name(name: &str) -> Option<Arc<str>> {
    const LONGEST_NAME: usize = 253; // RFC 1035, section 2.3.4, as text
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.len() > LONGEST_NAME {
        return None;
    }
    let mut label_is_empty = true;
    for byte in name.bytes() {
        match byte {
            b'.' if label_is_empty => return None,
            b'.' => label_is_empty = true,
            b'-' | b'_' => label_is_empty = false,
            _ if byte.is_ascii_alphanumeric() => label_is_empty = false,
            _ => return None,
        }
    }
    (!label_is_empty).then(|| name.to_ascii_lowercase().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, uri: &str, version: Version, hosts: &[&str]) -> Parts {
        let mut request = http::Request::builder().method(method).uri(uri).version(version);
        for host in hosts {
            request = request.header(header::HOST, *host);
        }
        request
            .body(())
            .expect("a request that the http crate accepts")
            .into_parts()
            .0
    }

    #[test]
    fn hosts() {
        let host = |name: &str, port| {
            Some(Host {
                name: name.into(),
                port,
            })
        };
        for (text, expected) in [
            ("example.org", host("example.org", None)),
            ("EXAMPLE.Org:8080", host("example.org", Some(8080))),
            ("example.org.", host("example.org", None)),
            ("example.org.:80", host("example.org", Some(80))),
            ("example.org:", host("example.org", None)),
            ("localhost", host("localhost", None)),
            ("my_host-1", host("my_host-1", None)),
            ("127.0.0.1:65535", host("127.0.0.1", Some(65535))),
            ("[::1]", host("[::1]", None)),
            ("[::1]:8080", host("[::1]", Some(8080))),
            ("[0:0:0:0:0:0:0:1]:", host("[::1]", None)),
            ("[2001:DB8::1]", host("[2001:db8::1]", None)),
            ("", None),
            (".", None),
            ("..", None),
            ("example..org", None),
            (".example.org", None),
            ("example.org..", None),
            ("example.org:65536", None),
            ("example.org:+80", None),
            ("example.org:80:80", None),
            ("example.org:http", None),
            ("::1", None),
            ("[::1", None),
            ("[::1]8080", None),
            ("[::1]]", None),
            ("[fe80::1%25eth0]", None),
            ("[v1.a]", None),
            ("user@example.org", None),
            ("example.org/path", None),
            ("example.org, example.com", None),
            ("exam ple.org", None),
            ("ex%61mple.org", None),
            ("b\u{fc}cher.example", None),
        ] {
            assert_eq!(Host::parse(text), expected, "{text:?}");
        }
        assert_eq!(Host::parse(&"a".repeat(254)), None);
    }

    #[test]
    fn targets() {
        let (v10, v11) = (Version::HTTP_10, Version::HTTP_11);
        let ok = |name: &str, port, path: &'static str, query: Option<&'static str>| {
            Ok(Target::Resource {
                host: Host {
                    name: name.into(),
                    port,
                },
                path,
                query,
            })
        };
        for (method, uri, version, hosts, expected) in [
            ("GET", "/a", v11, &["h"][..], ok("h", None, "/a", None)),
            (
                "GET",
                "/a?q=1?2",
                v11,
                &["h:81"],
                ok("h", Some(81), "/a", Some("q=1?2")),
            ),
            ("GET", "/a?", v11, &["h"], ok("h", None, "/a", Some(""))),
            ("GET", "//h/a", v11, &["h"], ok("h", None, "//h/a", None)),
            ("GET", "/a", v10, &[], ok("", None, "/a", None)),
            ("GET", "/a", v10, &["h"], ok("h", None, "/a", None)),
            ("GET", "/a", v11, &[], Err(TargetError::MissingHost)),
            ("GET", "/a", v11, &["h", "h"], Err(TargetError::RepeatedHost)),
            ("GET", "/a", v10, &["h", "g"], Err(TargetError::RepeatedHost)),
            ("GET", "/a", v11, &[""], Err(TargetError::MalformedHost)),
            ("GET", "/a", v11, &["u@h"], Err(TargetError::MalformedHost)),
            ("GET", "/a", v10, &["h h"], Err(TargetError::MalformedHost)),
            ("GET", "http://h/a?b", v11, &["h"], ok("h", None, "/a", Some("b"))),
            ("GET", "http://h", v11, &["h"], ok("h", None, "/", None)),
            ("GET", "http://h:80/", v11, &["h"], ok("h", Some(80), "/", None)),
            ("GET", "http://H/", v11, &["h.:80"], ok("h", None, "/", None)),
            ("GET", "http://h/", v10, &[], ok("h", None, "/", None)),
            ("GET", "http://h/", v11, &[], Err(TargetError::MissingHost)),
            ("GET", "http://h/", v11, &["g"], Err(TargetError::DisagreeingHost)),
            ("GET", "http://h:81/", v11, &["h"], Err(TargetError::DisagreeingHost)),
            ("GET", "http://u:p@h/", v11, &["h"], Err(TargetError::UserInformation)),
            ("GET", "http://h..g/", v11, &["h"], Err(TargetError::MalformedTarget)),
            ("GET", "https://h/", v11, &["h"], Err(TargetError::OtherScheme)),
            ("GET", "h:80", v11, &["h"], Err(TargetError::MalformedTarget)),
            ("GET", "*", v11, &["h"], Err(TargetError::MalformedTarget)),
            ("OPTIONS", "*", v11, &["h"], Ok(Target::Server)),
            ("OPTIONS", "*", v11, &[], Err(TargetError::MissingHost)),
            ("OPTIONS", "/a", v11, &["h"], ok("h", None, "/a", None)),
            ("CONNECT", "h:80", v11, &["h"], Err(TargetError::Connect)),
        ] {
            assert_eq!(
                Target::of(&head(method, uri, version, hosts), Scheme::Http),
                expected,
                "{method} {uri} {hosts:?}"
            );
        }
    }

    #[test]
    fn targets_of_http_2_and_tls() {
        let host = |text: &str| Host::parse(text).expect("a host");
        let of = |uri: &str, hosts: &[&str], scheme| {
            let head = head("GET", uri, Version::HTTP_2, hosts);
            Target::of(&head, scheme).map(|target| match target {
                Target::Server => None,
                Target::Resource { host, .. } => Some(host),
            })
        };
        let (http, https) = (Scheme::Http, Scheme::Https);
        for (uri, hosts, scheme, expected) in [
            ("https://h/a", &[][..], https, Ok(Some(host("h")))),
            ("https://h:444/a", &[], https, Ok(Some(host("h:444")))),
            ("https://h/a", &["h:443"], https, Ok(Some(host("h")))),
            ("https://h/a", &["h:80"], https, Err(TargetError::DisagreeingHost)),
            ("https://h/a", &["g"], https, Err(TargetError::DisagreeingHost)),
            ("https://h/a", &["h", "h"], https, Err(TargetError::RepeatedHost)),
            ("https://u@h/a", &[], https, Err(TargetError::UserInformation)),
            ("http://h/a", &[], https, Err(TargetError::OtherScheme)),
            ("https://h/a", &[], http, Err(TargetError::OtherScheme)),
            ("/a", &["h"], https, Ok(Some(host("h")))),
            ("/a", &[], https, Err(TargetError::MissingHost)),
        ] {
            assert_eq!(of(uri, hosts, scheme), expected, "{uri} {hosts:?}");
        }
    }
}
