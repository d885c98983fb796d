//! Listening: sockets that are bound before anything is served, and the accept loop.

use super::{
    connection::{Server, serve},
    inherited::{self, Inherited},
    listener::{ListenAddress, ListenerOptions},
    origin::Peer,
    proxy::Peek,
    reserve::Reserve,
    stop::Stop,
    unix::{self, Name, SocketError},
};
use crate::observe::meters;
use arc_swap::ArcSwap;
use futures_util::FutureExt;
use rustix::net::sockopt;
use std::{fmt, io, net::SocketAddr, os::fd::AsFd, os::fd::OwnedFd, path::Path, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, UnixStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

/// Connections that the kernel keeps until they are accepted; it caps this at `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// After an accept error other than a connection's own: usually descriptors or memory ran out, and others' ends free them.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A socket that is listening.
#[derive(Debug)]
pub struct Bound(Listener);

#[derive(Debug)]
enum Listener {
    Tcp { listener: TcpListener, address: SocketAddr },
    Unix(unix::Socket),
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("cannot listen on {address}")]
    Address { address: ListenAddress, source: io::Error },
    #[error(transparent)]
    Unix(#[from] SocketError),
    #[error("cannot listen on systemd:{0}: the process was not started with a socket of that name")]
    NotInherited(String),
}

// === impl Bound ===

impl Bound {
    /// Takes the inherited socket of a listener, or binds its address. To be called within a runtime.
    ///
    /// # Errors
    /// When the address is in use or not ours.
    pub fn new(options: &ListenerOptions, inherited: &mut Inherited) -> Result<Self, ListenError> {
        let failed = |source| ListenError::Address {
            address: options.address.clone(),
            source,
        };
        if let Some((socket, name)) = inherited.listener(&options.address) {
            return Self::adopt(socket, name, options).map_err(failed);
        }
        match &options.address {
            ListenAddress::Tcp(address) => bind(*address).map(Self).map_err(failed),
            ListenAddress::Unix(path) => Ok(Self(Listener::Unix(unix::Socket::bind(path, options.mode)?))),
            ListenAddress::Systemd(name) => Err(ListenError::NotInherited(name.clone())),
        }
    }

    fn adopt(socket: inherited::Socket, name: Name, options: &ListenerOptions) -> io::Result<Self> {
        let listens = |socket: &dyn AsFd| sockopt::socket_acceptconn(socket.as_fd());
        let adopted = match socket {
            inherited::Socket::Tcp(tcp) if listens(&tcp)? => {
                tcp.set_nonblocking(true)?;
                Listener::Tcp {
                    address: tcp.local_addr()?,
                    listener: TcpListener::from_std(tcp)?,
                }
            }
            inherited::Socket::Unix(unix) if listens(&unix)? => {
                let address = unix.local_addr()?;
                let path = match &options.address {
                    ListenAddress::Unix(path) => path.as_path(),
                    _ => address.as_pathname().unwrap_or(Path::new("")),
                };
                Listener::Unix(unix::Socket::inherited(unix, path, name)?)
            }
            _ => return Err(io::Error::other("the inherited socket does not listen")),
        };
        Ok(Self(adopted))
    }

    /// Who removes the name of its socket in the end; an address has none to remove.
    pub fn name(&self) -> Name {
        match &self.0 {
            Listener::Tcp { .. } => Name::Theirs,
            Listener::Unix(socket) => socket.name(),
        }
    }

    /// A descriptor of the same socket, for another process.
    ///
    /// # Errors
    /// When there is no room for one more.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        match &self.0 {
            Listener::Tcp { listener, .. } => listener.as_fd().try_clone_to_owned(),
            Listener::Unix(socket) => socket.listener.as_fd().try_clone_to_owned(),
        }
    }

    /// Whether it is a Unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self.0, Listener::Unix(_))
    }

    /// Sees to it that what the options say of the socket itself holds.
    pub fn follow(&self, options: &ListenerOptions) {
        if let (Listener::Unix(socket), ListenAddress::Unix(_)) = (&self.0, &options.address)
            && let Err(error) = socket.set_mode(options.mode)
        {
            tracing::warn!(address = %self, %error, "the mode of the socket cannot be changed");
        }
    }

    /// Accepts connections until told to stop. No error ends it. `room` bounds the connections that are open at once; more
    /// wait in the kernel's queue.
    pub async fn accept(
        self: Arc<Self>,
        options: Arc<ArcSwap<ListenerOptions>>,
        server: Arc<Server>,
        room: Arc<Semaphore>,
        mut stop: Stop,
    ) {
        let mut reserve = Reserve::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.requested() => return,
                accepted = self.next() => accepted,
            };
            // Only now: a listener that waits would keep its room from the others. Whoever was accepted is served if there is
            // room, also when told to stop meanwhile: nobody else can.
            let permit = tokio::select! {
                biased;
                permit = room.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
                () = stop.requested() => return,
            };
            let begin = Beginning {
                options: options.load_full(),
                server: server.clone(),
                stop: stop.clone(),
                permit,
            };
            match accepted {
                Ok(Accepted::Tcp(stream, peer)) => match stream.set_nodelay(true) {
                    Ok(()) => begin.serve(stream, Peer::Tcp(peer)),
                    // The client is gone already.
                    Err(error) => tracing::debug!(%peer, %error, "a connection broke"),
                },
                Ok(Accepted::Unix(stream)) => begin.serve(stream, Peer::Unix),
                Err(error) => {
                    drop(begin);
                    if !is_of_connection(&error) {
                        meters().connections.unaccepted();
                        tracing::warn!(address = %self, %error, "cannot accept connections");
                        if Reserve::is_for(&error) {
                            reserve.lend(|| self.next().now_or_never());
                        }
                        sleep(BACK_OFF).await;
                    }
                }
            }
        }
    }

    async fn next(&self) -> io::Result<Accepted> {
        match &self.0 {
            Listener::Tcp { listener, .. } => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Tcp(stream, peer))
            }
            Listener::Unix(socket) => Ok(Accepted::Unix(socket.listener.accept().await?.0)),
        }
    }
}

impl fmt::Display for Bound {
    /// With the port that the system chose when 0 was asked for.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Listener::Tcp { address, .. } => address.fmt(f),
            Listener::Unix(socket) => write!(f, "unix:{}", socket.path().display()),
        }
    }
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(UnixStream),
}

/// What a connection begins with.
struct Beginning {
    options: Arc<ListenerOptions>,
    server: Arc<Server>,
    stop: Stop,
    permit: OwnedSemaphorePermit,
}

impl Beginning {
    fn serve<S>(self, stream: S, peer: Peer)
    where
        S: wasmserve_transport::Socket + tokio::io::AsyncRead + Peek + 'static,
    {
        tokio::spawn(async move {
            serve(self.server, self.options, stream, peer, self.stop).await;
            drop(self.permit);
        });
    }
}

fn bind(address: SocketAddr) -> io::Result<Listener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // A restart must not wait for old connections to leave TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    let listener = socket.listen(BACKLOG)?;
    Ok(Listener::Tcp {
        address: listener.local_addr()?,
        listener,
    })
}

/// Whether an accept error is about the connection that was to be accepted, and not about the listener.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
