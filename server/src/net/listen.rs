//! Listening: sockets that are bound before anything is served, and the accept loop.

use super::{
    connection::{Server, serve},
    reserve::Reserve,
    stop::Stop,
};
use crate::observe::meters;
use futures_util::FutureExt;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpSocket},
    sync::Semaphore,
    time::sleep,
};

/// Connections that the kernel keeps until they are accepted; it caps this at `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// After an accept error other than a connection's own: usually descriptors or memory ran out, and others' ends free them.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A socket that is listening.
#[derive(Debug)]
pub struct Bound {
    listener: TcpListener,
    /// With the port that the system chose when 0 was asked for.
    pub address: SocketAddr,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    pub address: SocketAddr,
    pub source: io::Error,
}

// === impl Bound ===

impl Bound {
    /// Binds an address; port 0 lets the system choose one.
    pub fn new(address: SocketAddr) -> Result<Self, ListenError> {
        let bind = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()
            } else {
                TcpSocket::new_v6()
            }?;
            // A restart must not wait for old connections to leave TIME_WAIT.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG)?;
            Ok(Self {
                address: listener.local_addr()?,
                listener,
            })
        };
        bind().map_err(|source| ListenError { address, source })
    }

    /// Accepts connections until told to stop. No error ends it. `room` bounds the connections that are open at once; more
    /// wait in the kernel's queue.
    pub async fn accept(self, server: Arc<Server>, room: Arc<Semaphore>, mut stop: Stop) {
        let mut reserve = Reserve::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.requested() => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !is_of_connection(&error) {
                        meters().connections.unaccepted();
                        tracing::warn!(address = %self.address, %error, "cannot accept connections");
                        if Reserve::is_for(&error) {
                            reserve.lend(|| self.listener.accept().now_or_never());
                        }
                        sleep(BACK_OFF).await;
                    }
                    continue;
                }
            };
            if let Err(error) = stream.set_nodelay(true) {
                // The client is gone already.
                tracing::debug!(%peer, %error, "a connection broke");
                continue;
            }
            // Only now: a listener that waits would keep its room from the others.
            let permit = tokio::select! {
                biased;
                () = stop.requested() => return,
                permit = room.clone().acquire_owned() => permit.expect("the semaphore is never closed"),
            };
            let (server, stop) = (server.clone(), stop.clone());
            tokio::spawn(async move {
                serve(server, stream, peer, stop).await;
                drop(permit);
            });
        }
    }
}

/// Whether an accept error is about the connection that was to be accepted, and not about the listener.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}
