//! [`HostPattern`]: which hosts are meant.
use std::str::FromStr;

/// A host name or address, or `*.` and a name for every host beneath it (not for the name itself), as
/// [`Request::host`](crate::Request::host) gives hosts: lower case, no port, no final dot.
///
/// ```
/// # use wasmserve_plugin::HostPattern;
/// let pattern: HostPattern = "*.example.com".parse().unwrap();
/// assert_eq!(pattern.beneath("alice.example.com"), Some("alice"));
/// assert!(pattern.matches("a.b.example.com") && !pattern.matches("example.com"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This host alone.
    Exactly(String),
    /// Every host whose name ends so, after a dot.
    Beneath(String),
}

impl FromStr for HostPattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pattern, name): (fn(String) -> Self, _) = match text.strip_prefix("*.") {
            Some(name) => (Self::Beneath, name),
            None => (Self::Exactly, text),
        };
        let address = name.starts_with('[') && name.ends_with(']');
        let fits =
            |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_') || (address && b"[]:".contains(&byte));
        if name.is_empty() || name.split('.').any(str::is_empty) || !name.bytes().all(|byte| byte == b'.' || fits(byte))
        {
            return Err(
                "is no host: expected a name in lower case such as \"example.com\", without scheme, port and path, \
                 or \"*.example.com\" for every host beneath it",
            );
        }
        Ok(pattern(name.to_owned()))
    }
}

impl HostPattern {
    /// Whether it stands for this host.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exactly(name) => name == host,
            Self::Beneath(_) => self.beneath(host).is_some(),
        }
    }

    /// What `*` stands for in this host, dots included; `None` when the pattern has none, or is not the host's.
    pub fn beneath<'a>(&self, host: &'a str) -> Option<&'a str> {
        match self {
            Self::Exactly(_) => None,
            Self::Beneath(name) => host
                .strip_suffix(name.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .filter(|rest| !rest.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_hosts() {
        for (pattern, host, expected) in [
            ("example.com", "example.com", true),
            ("example.com", "a.example.com", false),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", true),
            ("*.example.com", "example.com", false),
            ("*.example.com", ".example.com", false),
            ("*.example.com", "badexample.com", false),
            ("*.example.com", "example.com.evil.org", false),
            ("[::1]", "[::1]", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("localhost", "localhost", true),
        ] {
            let parsed: HostPattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(host), expected, "{pattern} {host}");
        }
    }

    #[test]
    fn what_is_no_host() {
        for text in [
            "",
            "*",
            "*.",
            "Example.com",
            "example.com.",
            "example..com",
            "https://example.com",
            "example.com:80",
            "example.com/",
            "a.*.com",
            "*example.com",
            "::1",
        ] {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
