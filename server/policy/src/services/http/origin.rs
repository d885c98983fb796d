//! Where a request goes: scheme, host and port, in one form.
use std::{fmt, net::IpAddr, str::FromStr};

/// A server that outbound requests may be made to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Origin {
    pub tls: bool,
    pub host: OriginHost,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OriginHost {
    Address(IpAddr),
    /// Lower case, without a final dot.
    Name(String),
}

impl Origin {
    /// The origin of a URL. `None`: it has none that could be reached.
    pub(super) fn of(uri: &http::Uri) -> Option<Self> {
        let tls = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = OriginHost::of(authority.host())?;
        let port = match authority.port() {
            Some(port) => port.as_str().parse().ok()?,
            None if authority.as_str().ends_with(':') => return None,
            None => default_port(tls),
        };
        (port != 0).then_some(Self { tls, host, port })
    }
}

impl OriginHost {
    fn of(host: &str) -> Option<Self> {
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if let Ok(address) = literal.unwrap_or(host).parse::<IpAddr>() {
            return Some(Self::Address(address));
        }
        let name = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        // What ends in a number is read as an address by resolvers, in forms that `parse` does not know (127.1, 0x7f.1).
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_name = !last.is_empty() && !last.starts_with(|c: char| c.is_ascii_digit());
        (is_name && name.len() <= 253 && name.bytes().all(fits)).then_some(Self::Name(name))
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// `https://host`, `http://host:port`, or either without the scheme, which then is `https`.
impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let uri: Option<http::Uri> = whole.parse().ok();
        let bare = uri.filter(|uri| uri.path_and_query().is_none_or(|path| path == "/") && !whole.ends_with('/'));
        bare.as_ref().and_then(Self::of).ok_or_else(|| {
            format!("{text:?} is not a server: it has a scheme, a host and perhaps a port, such as \"https://api.example.org\"")
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "https://" } else { "http://" })?;
        match &self.host {
            OriginHost::Address(IpAddr::V6(address)) => write!(f, "[{address}]")?,
            OriginHost::Address(address) => write!(f, "{address}")?,
            OriginHost::Name(name) => f.write_str(name)?,
        }
        if self.port != default_port(self.tls) {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_have_one_form() {
        for (text, expected) in [
            ("https://api.example.org", Some("https://api.example.org")),
            ("api.example.org", Some("https://api.example.org")),
            ("api.example.org:8443", Some("https://api.example.org:8443")),
            ("HTTP://API.example.org.:80", Some("http://api.example.org")),
            ("http://127.0.0.1:8080", Some("http://127.0.0.1:8080")),
            ("https://[::1]:443", Some("https://[::1]")),
            ("https://user@api.example.org", None),
            ("https://api.example.org/", None),
            ("https://api.example.org/path", None),
            ("https://api.example.org?query", None),
            ("ftp://api.example.org", None),
            ("https://", None),
            ("https://api.example.org:0", None),
            ("https://api.example.org:99999", None),
            ("http://127.1", None),
            ("http://0x7f.1", None),
            ("http://2130706433", None),
            ("*.example.org", None),
            ("", None),
        ] {
            let origin = text.parse::<Origin>().ok().map(|origin| origin.to_string());
            assert_eq!(origin.as_deref(), expected, "{text}");
        }
    }
}
