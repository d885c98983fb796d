//! Where requests come from: the other end of a connection, what the listener believes of it, and for whom a request is.

use super::{
    forwarded,
    listener::{Answers, ListenerOptions, Security},
    proxy,
    tls::Secured,
};
use crate::request::Scheme;
use http::HeaderMap;
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// The other end of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    Tcp(SocketAddr),
    Unix,
}

/// What the requests of a connection have in common.
#[derive(Clone)]
pub struct Origin {
    peer: Peer,
    /// The address that connected: to this server, or to the proxy that handed the connection on. `None` on a Unix socket,
    /// or when the proxy does not say.
    pub client: Option<IpAddr>,
    /// Whether it is one of the listener's proxies that sends requests.
    is_proxy: bool,
    options: Arc<ListenerOptions>,
    /// What was agreed on, when TLS is spoken.
    pub secured: Option<Arc<Secured>>,
}

/// For whom one request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    pub client: Option<IpAddr>,
    /// How it reached the first of the trusted proxies, or this server.
    pub scheme: Scheme,
}

// === impl Peer ===

impl Peer {
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip().to_canonical()),
            Self::Unix => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix => f.write_str("unix"),
        }
    }
}

// === impl Origin ===

impl Origin {
    /// A connection that nothing more is known of.
    pub fn new(peer: Peer, options: Arc<ListenerOptions>) -> Self {
        Self {
            peer,
            client: peer.address(),
            is_proxy: options.proxies.trusted.includes(peer.address()),
            options,
            secured: None,
        }
    }

    /// Whether the peer is one of the listener's proxies.
    pub fn is_proxy(&self) -> bool {
        self.is_proxy
    }

    /// The connection is handed on for somebody else (PROXY protocol).
    pub fn hand_on(&mut self, client: proxy::Client) {
        (self.client, self.is_proxy) = match client {
            proxy::Client::Proxy => return,
            proxy::Client::Unknown => (None, false),
            // Who connected to this proxy may be another.
            proxy::Client::Known(client) => (Some(client), self.options.proxies.trusted.includes(Some(client))),
        };
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    pub fn answers(&self) -> Answers {
        self.options.answers
    }

    /// What this connection speaks.
    pub fn scheme(&self) -> Scheme {
        match self.options.security {
            Security::Plain => Scheme::Http,
            Security::Tls => Scheme::Https,
        }
    }

    /// For whom a request is: by the word of trusted proxies, where the listener takes it.
    pub fn asker(&self, headers: &HeaderMap) -> Asker {
        let proxies = &self.options.proxies;
        let own = Asker {
            client: self.client,
            scheme: self.scheme(),
        };
        let named = proxies
            .forwarded
            .filter(|_| self.is_proxy)
            .and_then(|field| forwarded::named(field, headers, &proxies.trusted));
        named.map_or(own, |named| Asker {
            client: named.client,
            scheme: named.scheme.unwrap_or(own.scheme),
        })
    }
}
