//! Sockets that the process is started with: by systemd (sd_listen_fds(3)), or by the process that it replaces.
//!
//! Each is used once, by the listener whose address it has, or whose name. What nobody asked for by the time that the
//! server listens is closed, and told.

use super::{
    listener::ListenAddress,
    unix::{self, Name},
};
use listenfd::ListenFd;
use std::{
    env, io,
    net::TcpListener,
    os::unix::net::{UnixDatagram, UnixListener},
    path::Path,
};

/// How [`super::upgrade`] names what it hands over; systemd's names are its units' (no unit has a colon).
pub const LISTENER: &str = "wasmserve:";
pub const ADMIN: &str = "wasmserve-admin:";
pub const READY: &str = "wasmserve-ready";

/// A listening socket.
#[derive(Debug)]
pub enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// What was handed over and is not used yet.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(String, Socket)>,
    /// Where a predecessor waits to hear that this process serves.
    ready: Option<UnixDatagram>,
}

// === impl Inherited ===

impl Inherited {
    /// Takes what the environment tells of. To be called once, before any other thread runs: it removes what it read.
    ///
    /// # Errors
    /// When one of the descriptors is no listening stream socket.
    pub fn take() -> io::Result<Self> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').map(unescape);
        let mut given = ListenFd::from_env();
        let mut inherited = Self::default();
        for index in 0..given.len() {
            let name = names.next().unwrap_or_default();
            if name == READY {
                inherited.ready = given.take_unix_datagram(index)?;
                continue;
            }
            let socket = match given.take_tcp_listener(index) {
                Ok(tcp) => tcp.map(Socket::Tcp),
                Err(_) => given.take_unix_listener(index)?.map(Socket::Unix),
            };
            if let Some(socket) = socket {
                inherited.sockets.push((name, socket));
            }
        }
        Ok(inherited)
    }

    /// The socket of a listener, if it is there, and whose name it has: what no server of ours made stays when it ends.
    pub fn listener(&mut self, address: &ListenAddress) -> Option<(Socket, Name)> {
        let handed_over = format!("{LISTENER}{address}");
        let place = self.sockets.iter().position(|(name, socket)| {
            if *name == handed_over {
                return true;
            }
            match (address, socket) {
                _ if name.starts_with(LISTENER) || name.starts_with(ADMIN) => false,
                (ListenAddress::Systemd(wanted), _) => name == wanted,
                (ListenAddress::Tcp(wanted), Socket::Tcp(tcp)) => tcp.local_addr().is_ok_and(|found| found == *wanted),
                (ListenAddress::Unix(wanted), Socket::Unix(unix)) => has_path(unix, wanted),
                _ => false,
            }
        });
        place.map(|place| {
            let (name, socket) = self.sockets.swap_remove(place);
            let made_by_us = name == handed_over && matches!(address, ListenAddress::Unix(_));
            (socket, if made_by_us { Name::Ours } else { Name::Theirs })
        })
    }

    /// The admin listener of this path or address, if a predecessor handed it over.
    pub fn admin(&mut self, name: &str) -> Option<Socket> {
        let wanted = format!("{ADMIN}{name}");
        let place = self.sockets.iter().position(|(name, _)| *name == wanted)?;
        Some(self.sockets.swap_remove(place).1)
    }

    /// The server serves: a predecessor may go, and what is left is nobody's.
    pub fn settle(&mut self) {
        for (name, socket) in self.sockets.drain(..) {
            let address = match socket {
                Socket::Tcp(tcp) => tcp.local_addr().map(|address| address.to_string()),
                Socket::Unix(unix) => unix.local_addr().map(|address| format!("{address:?}")),
            };
            let address = address.unwrap_or_default();
            tracing::warn!(name, address, "an inherited socket is no listener's, and is closed");
        }
        // Before the predecessor is told, which leaves them from then on.
        unix::take_over();
        if let Some(ready) = self.ready.take()
            && let Err(error) = ready.send(READY.as_bytes())
        {
            tracing::warn!(%error, "the process that is to be replaced cannot be told");
        }
    }
}

fn has_path(socket: &UnixListener, path: &Path) -> bool {
    socket
        .local_addr()
        .is_ok_and(|address| address.as_pathname() == Some(path))
}

/// A colon separates names, so one within a name is written in another way.
pub fn escape(name: &str) -> String {
    name.replace('%', "%25").replace(':', "%3A")
}

fn unescape(name: &str) -> String {
    name.replace("%3A", ":").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_being_listed() {
        for name in ["http", "wasmserve:[::1]:80", "a%3Ab", "wasmserve:unix:/run/100%.sock"] {
            assert!(!escape(name).contains(':'));
            assert_eq!(unescape(&escape(name)), name);
        }
    }

    fn inherited(sockets: Vec<(&str, Socket)>) -> Inherited {
        let sockets = sockets.into_iter().map(|(name, socket)| (name.to_owned(), socket));
        Inherited {
            sockets: sockets.collect(),
            ready: None,
        }
    }

    #[test]
    fn each_socket_is_used_once_by_the_listener_that_has_it() {
        let tcp = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (one, two) = (tcp(), tcp());
        let address = ListenAddress::Tcp(one.local_addr().expect("it is bound"));
        let mut inherited = inherited(vec![
            ("http", Socket::Tcp(one)),
            ("wasmserve:127.0.0.1:0", Socket::Tcp(two)),
        ]);
        let mut found = |text: &str| inherited.listener(&text.parse().expect("an address")).is_some();
        assert!(!found("127.0.0.1:1"));
        assert!(!found("systemd:https"));
        assert!(found("127.0.0.1:0"), "as it was asked for");
        assert!(!found("127.0.0.1:0"), "only once");
        assert!(found(&address.to_string()), "by its own address");
        assert!(!found("systemd:http"), "only once");
    }
}
