//! Which site a host belongs to: the exact name, else the longest wildcard that covers it, else the default.
//!
//! Names are compared in the form that [`Host`] gives them: lower case, no port, no final dot. An address is a name like
//! any other, and no wildcard covers it.

use crate::request::Host;
use std::{collections::HashMap, fmt, net::Ipv4Addr, str::FromStr};

/// What a site says of the hosts that are its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This very host.
    Exact(Box<str>),
    /// `*.NAME`: every host beneath the name, however deep, but not the name itself.
    Beneath(Box<str>),
    /// `*`: every host that no other site has, and requests that name none.
    Any,
}

/// A table of hosts.
#[derive(Clone, Debug)]
pub struct Hosts<T> {
    exact: HashMap<Box<str>, T>,
    beneath: HashMap<Box<str>, T>,
    any: Option<T>,
}

// === impl HostPattern ===

impl FromStr for HostPattern {
    /// What is wrong, in words for the one who typed it.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (name, beneath) = match text.strip_prefix("*.") {
            Some(name) => (name, true),
            None => (text, false),
        };
        let refused = || format!("{text:?} is not a host: \"example.org\", \"*.example.org\", an address or \"*\"");
        if name.contains('*') {
            return Err(format!(
                "{}; a wildcard stands for whole labels at the beginning",
                refused()
            ));
        }
        if !name.is_ascii() {
            return Err(format!(
                "{}; write names of other alphabets in punycode (xn--)",
                refused()
            ));
        }
        let host = Host::parse(name).ok_or_else(refused)?;
        if host.port.is_some() || name.ends_with(':') {
            return Err(format!("{text:?} has a port: a site has its hosts on every port"));
        }
        match beneath {
            false => Ok(Self::Exact((*host.name).into())),
            true if is_address(&host.name) => Err(refused()),
            true => Ok(Self::Beneath((*host.name).into())),
        }
    }
}

/// Whether it could be an address, or the end of one: no top-level domain is a number.
fn is_address(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    name.starts_with('[') || last.bytes().all(|byte| byte.is_ascii_digit())
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Beneath(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str("*"),
        }
    }
}

// === impl Hosts ===

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            beneath: HashMap::new(),
            any: None,
        }
    }
}

impl<T> Hosts<T> {
    /// Gives a host away. The one who had it before, if any, has it no longer.
    pub fn insert(&mut self, pattern: HostPattern, whose: T) -> Option<T> {
        match pattern {
            HostPattern::Exact(name) => self.exact.insert(name, whose),
            HostPattern::Beneath(name) => self.beneath.insert(name, whose),
            HostPattern::Any => self.any.replace(whose),
        }
    }

    /// Whose a host is by its very name.
    pub fn find_exact(&self, host: &str) -> Option<&T> {
        self.exact.get(host)
    }

    /// Whose a host is; an empty one is that of a request that names none.
    pub fn find(&self, host: &str) -> Option<&T> {
        if let Some(exact) = self.exact.get(host) {
            return Some(exact);
        }
        // The longest first: the name without its first label, then without the first two.
        let mut beneath = host.match_indices('.').map(|(dot, _)| &host[dot + 1..]);
        let covered = beneath.find_map(|name| self.beneath.get(name));
        covered
            .filter(|_| host.parse::<Ipv4Addr>().is_err())
            .or(self.any.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn patterns_have_one_form() {
        for (text, expected) in [
            ("example.org", Some("example.org")),
            ("Example.ORG.", Some("example.org")),
            ("*.Example.org", Some("*.example.org")),
            ("*.example.org.", Some("*.example.org")),
            ("*", Some("*")),
            ("localhost", Some("localhost")),
            ("*.localhost", Some("*.localhost")),
            ("127.0.0.1", Some("127.0.0.1")),
            ("[0:0:0:0:0:0:0:1]", Some("[::1]")),
            ("xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("", None),
            ("*.", None),
            ("**", None),
            ("*example.org", None),
            ("www.*.org", None),
            ("*.*.org", None),
            ("example.org:80", None),
            ("example.org:", None),
            ("*.example.org:80", None),
            (".example.org", None),
            ("http://example.org", None),
            ("example.org/", None),
            ("b\u{fc}cher.example", None),
            ("*.0.0.1", None),
            ("*.[::1]", None),
        ] {
            let parsed = text.parse::<HostPattern>().ok().map(|pattern| pattern.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_exact_name_goes_before_the_longest_wildcard_before_the_default() {
        let mut hosts = Hosts::default();
        for text in [
            "example.org",
            "*.example.org",
            "*.a.example.org",
            "b.a.example.org",
            "127.0.0.1",
        ] {
            assert_eq!(hosts.insert(pattern(text), text), None);
        }
        for (host, expected) in [
            ("example.org", Some("example.org")),
            ("www.example.org", Some("*.example.org")),
            ("a.example.org", Some("*.example.org")),
            ("x.a.example.org", Some("*.a.example.org")),
            ("x.y.a.example.org", Some("*.a.example.org")),
            ("b.a.example.org", Some("b.a.example.org")),
            ("c.b.a.example.org", Some("*.a.example.org")),
            ("notexample.org", None),
            ("org", None),
            ("127.0.0.1", Some("127.0.0.1")),
            ("", None),
        ] {
            assert_eq!(hosts.find(host).copied(), expected, "{host:?}");
        }
        hosts.insert(pattern("*"), "*");
        for host in ["", "org", "notexample.org", "[::1]", "10.0.0.1"] {
            assert_eq!(hosts.find(host).copied(), Some("*"), "{host:?}");
        }
        assert_eq!(hosts.insert(pattern("EXAMPLE.org."), "again"), Some("example.org"));
    }

    /// What the rule says, for each pattern by itself: how well it fits, if at all.
    fn fit(pattern: &HostPattern, host: &str) -> Option<usize> {
        match pattern {
            HostPattern::Any => Some(0),
            HostPattern::Beneath(name) => {
                let label = host.strip_suffix(&**name)?.strip_suffix('.')?;
                (!label.is_empty()).then_some(1 + name.len())
            }
            HostPattern::Exact(name) => (**name == *host).then_some(usize::MAX),
        }
    }

    /// Random names of few labels, so that many patterns cover a host: the table finds what comparing with every pattern
    /// finds.
    #[test]
    fn the_table_agrees_with_comparing_every_pattern() {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for _ in 0..2000 {
            let mut name = |most: u64| {
                let labels: Vec<&str> = (0..=random(most))
                    .map(|_| ["a", "b", "ab"][random(3) as usize])
                    .collect();
                labels.join(".")
            };
            let mut patterns = vec![pattern(&name(3)), pattern(&name(3))];
            patterns.extend((0..4).map(|_| pattern(&format!("*.{}", name(3)))));
            let host = name(5);
            patterns.dedup();
            let mut hosts = Hosts::default();
            for pattern in &patterns {
                hosts.insert(pattern.clone(), pattern.clone());
            }
            let best = patterns.iter().filter(|pattern| fit(pattern, &host).is_some());
            let best = best.max_by_key(|pattern| fit(pattern, &host));
            assert_eq!(hosts.find(&host), best, "{host} of {patterns:?}");
        }
    }
}
