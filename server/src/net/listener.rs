//! What a listener is told to do: where it listens, what it speaks, and whom it believes about its clients.

use ipnet::IpNet;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Where connections come in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// Port 0 lets the system choose.
    Tcp(SocketAddr),
    /// `unix:PATH`: a Unix socket that the server makes.
    Unix(PathBuf),
    /// `systemd:NAME`: a socket that the process is started with (sd_listen_fds(3)), by its `FileDescriptorName=`.
    Systemd(String),
}

/// Everything about a listener. Two with the same address are the same listener, told something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    pub address: ListenAddress,
    /// Who may write to a Unix socket: the permission bits of its name.
    pub mode: u32,
    pub security: Security,
    pub answers: Answers,
    pub proxies: Proxies,
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// HTTP/1.1 as it is.
    Plain,
    Tls,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// The site of the host.
    Sites,
    /// 308 to the same URL by HTTPS on this port; what an ACME server asks for is the site's.
    RedirectToHttps { port: u16 },
}

/// Proxies in front of the server, and what they are believed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    /// Who they are.
    pub trusted: Trusted,
    /// Whether each connection begins with a header of the PROXY protocol. Then only the trusted may connect.
    pub proxy_protocol: bool,
    /// The header field in which they say whom they ask for. Only one: a proxy passes on what it does not know, so a field
    /// that it does not write is the client's own word.
    pub forwarded: Option<ForwardedField>,
}

/// Whose word about clients is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trusted {
    pub networks: Vec<IpNet>,
    /// Whoever can connect to a Unix socket.
    pub unix: bool,
}

/// How proxies name the client of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedField {
    /// RFC 7239.
    Forwarded,
    /// With X-Forwarded-Proto.
    XForwardedFor,
}

/// Who may write to a Unix socket unless told otherwise: the server's user and group.
pub const UNIX_MODE: u32 = 0o660;

// === impl ListenerOptions ===

impl ListenerOptions {
    /// A listener that answers for the sites and believes nobody.
    pub fn new(address: ListenAddress, security: Security) -> Self {
        Self {
            address,
            mode: UNIX_MODE,
            security,
            answers: Answers::Sites,
            proxies: Proxies::default(),
        }
    }
}

// === impl Trusted ===

impl Trusted {
    pub fn is_nobody(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }

    /// `peer`: none on a Unix socket.
    pub fn includes(&self, peer: Option<IpAddr>) -> bool {
        match peer {
            None => self.unix,
            Some(address) => {
                let address = address.to_canonical();
                self.networks.iter().any(|network| network.contains(&address))
            }
        }
    }
}

// === impl ListenAddress ===

impl ListenAddress {
    /// A Unix socket's path, from the folder that it is relative to.
    pub fn beneath(self, folder: &Path) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(folder.join(path)),
            other => other,
        }
    }

    /// Whether no two listeners can have it.
    pub fn is_exclusive(&self) -> bool {
        !matches!(self, Self::Tcp(address) if address.port() == 0)
    }
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl FromStr for ListenAddress {
    /// What is wrong, in words for the one who typed it.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // Of sun_path (unix(7)); with what the server needs to bind it privately first.
            const LONGEST: usize = 90;
            return match path.len() {
                0 => Err("unix: needs a path, such as unix:/run/wasmserve/http.sock".into()),
                1..=LONGEST => Ok(Self::Unix(path.into())),
                _ => Err(format!("the path of a Unix socket has at most {LONGEST} bytes")),
            };
        }
        if let Some(name) = text.strip_prefix("systemd:") {
            return match name.is_empty() {
                true => Err("systemd: needs a name, as FileDescriptorName= gives it, such as systemd:http".into()),
                false => Ok(Self::Systemd(name.into())),
            };
        }
        let wrong = "must be an IP address and a port, such as 127.0.0.1:8080, 0.0.0.0:80 or [::]:80";
        text.parse()
            .map(Self::Tcp)
            .map_err(|_| format!("{wrong}; or unix:PATH, or systemd:NAME"))
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Systemd(name) => write!(f, "systemd:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_as_they_are_typed() {
        for text in ["127.0.0.1:80", "[::]:443", "unix:/run/x.sock", "systemd:http"] {
            let address: ListenAddress = text.parse().expect("an address");
            assert_eq!(address.to_string(), text);
        }
        for text in ["", "80", "localhost:80", "unix:", "systemd:", "::1:80"] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
        assert!(format!("unix:/{}", "x".repeat(90)).parse::<ListenAddress>().is_err());
    }

    #[test]
    fn only_who_is_named_is_believed() {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|text| text.parse().expect("a network"));
        let trusted = Trusted {
            networks: networks.to_vec(),
            unix: false,
        };
        for (peer, expected) in [
            ("10.1.2.3", true),
            ("::ffff:10.1.2.3", true),
            ("2001:db8::1", true),
            ("11.0.0.1", false),
            ("::1", false),
        ] {
            assert_eq!(
                trusted.includes(Some(peer.parse().expect("an address"))),
                expected,
                "{peer}"
            );
        }
        assert!(!trusted.includes(None));
        let unix = Trusted {
            unix: true,
            ..Trusted::default()
        };
        assert!(unix.includes(None) && !unix.includes(Some([10, 0, 0, 1].into())));
    }
}
