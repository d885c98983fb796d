//! A request that somebody describes, as a connection would hand it over: what is wrong with it is still in it.

use crate::request::{Arrival, Noted, Scheme};
use http::{HeaderName, HeaderValue, Method, Uri, header, request::Parts};
use std::{net::IpAddr, time::SystemTime};

/// What is asked about.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: Method,
    pub url: Uri,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub client: Option<IpAddr>,
}

/// The host of a request that names none.
const LOCALHOST: HeaderValue = HeaderValue::from_static("localhost");

// === impl Asked ===

impl Asked {
    /// As if it arrived now.
    pub fn arrival(&self) -> Arrival {
        // That of the URL, as if it came by a connection of that kind.
        let scheme = match self.url.scheme_str() {
            Some("https") => Scheme::Https,
            _ => Scheme::Http,
        };
        Arrival {
            head: self.head(),
            client: self.client.map(|client| client.to_canonical()),
            scheme,
            spoken: scheme,
            secured: None,
            noted: Noted::No,
            at: SystemTime::now(),
        }
    }

    fn head(&self) -> Parts {
        let (mut head, ()) = http::Request::new(()).into_parts();
        head.method = self.method.clone();
        head.uri = self.url.clone();
        for (name, value) in &self.headers {
            head.headers.append(name, value.clone());
        }
        if !head.headers.contains_key(header::HOST) {
            // As a client does it: the URL's host, without user information (RFC 9110, section 7.2).
            let authority = self.url.authority().map(|authority| authority.as_str());
            let host = authority.map(|text| text.rsplit_once('@').map_or(text, |(_, host)| host));
            let host = host.and_then(|host| HeaderValue::from_str(host).ok());
            head.headers.insert(header::HOST, host.unwrap_or(LOCALHOST));
        }
        head
    }
}

/// A request target as the server's parser reads it.
///
/// # Errors
/// What is wrong, in words for the one who typed it.
pub fn url(text: &str) -> Result<Uri, String> {
    text.parse().map_err(|error| {
        format!("{error}: must be a path such as /private/ or a URL such as http://example.org/private/")
    })
}

/// `Accept: text/html`.
///
/// # Errors
/// What is wrong, in words for the one who typed it.
pub fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("must be a name, a colon and a value, such as \"Accept: text/html\"")?;
    pair(name, value)
}

/// The name and the value of a field.
///
/// # Errors
/// What is wrong, in words for the one who typed it.
pub fn pair(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = name
        .parse()
        .map_err(|_| format!("{name:?} is not the name of a field"))?;
    let value = HeaderValue::from_bytes(value.trim_matches([' ', '\t']).as_bytes())
        .map_err(|_| "a value cannot have control characters in it")?;
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Host, Target, TargetError};

    #[test]
    fn hosts_come_from_the_url_or_the_field() {
        for (method, target, hosts, expected) in [
            ("GET", "/a", &[][..], Ok("localhost")),
            ("GET", "http://Example.org:81/a", &[], Ok("example.org")),
            ("GET", "/a", &["Host: example.org"], Ok("example.org")),
            ("GET", "/a", &["host: a", "Host: a"], Err(TargetError::RepeatedHost)),
            ("GET", "http://a/", &["Host: b"], Err(TargetError::DisagreeingHost)),
            ("GET", "http://user:password@a/", &[], Err(TargetError::UserInformation)),
            ("GET", "https://a/", &[], Err(TargetError::OtherScheme)),
            ("GET", "/a", &["Host:"], Err(TargetError::MalformedHost)),
            ("CONNECT", "a:80", &[], Err(TargetError::Connect)),
        ] {
            let asked = Asked {
                method: method.parse().expect("a method"),
                url: url(target).expect("a target"),
                headers: hosts.iter().map(|text| field(text).expect("a field")).collect(),
                client: None,
            };
            let head = asked.head();
            let host = Target::of(&head, Scheme::Http).map(|target| match target {
                Target::Resource {
                    host: Host { name, .. },
                    ..
                } => name.to_string(),
                Target::Server => String::new(),
            });
            assert_eq!(host, expected.map(str::to_owned), "{method} {target} {hosts:?}");
        }
    }

    #[test]
    fn fields_have_a_name_and_a_value() {
        for (text, expected) in [
            ("Accept: text/html", Some(("accept", "text/html"))),
            ("a:b:c", Some(("a", "b:c"))),
            ("a: \t", Some(("a", ""))),
            ("a", None),
            (": b", None),
            ("a b: c", None),
            ("a : c", None),
            ("a: b\r\nc: d", None),
        ] {
            let given = field(text).ok();
            let given = given.as_ref().map(|(name, value)| (name.as_str(), value.as_bytes()));
            assert_eq!(
                given,
                expected.map(|(name, value)| (name, value.as_bytes())),
                "{text:?}"
            );
        }
    }
}
