//! The sockets that a server listens on, from one configuration to the next.
//!
//! An address that stays keeps its socket, with all that waits on it. In the order of events: [`Listeners::bind`] before
//! anything is replaced, because it may fail; then [`Listeners::follow`], which cannot.

use crate::net::{Bound, ListenError, Server, Stopper, stop::Stopped};
use futures_util::future::join_all;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// What is listened on.
pub struct Listeners {
    server: Arc<Server>,
    /// Bounds the connections that are open at once, whichever address they came by.
    room: Arc<Semaphore>,
    open: Vec<Listening>,
    /// Of addresses that are no longer listened on, while their connections end.
    leaving: Vec<Stopper>,
}

struct Listening {
    /// As it was asked for: port 0 stays 0.
    asked: SocketAddr,
    address: SocketAddr,
    stopper: Stopper,
}

/// Addresses that are bound and not accepted from yet.
pub struct Fresh(Vec<(SocketAddr, Bound)>);

// === impl Listeners ===

impl Listeners {
    pub fn new(server: Arc<Server>, room: Arc<Semaphore>) -> Self {
        Self {
            server,
            room,
            open: Vec::new(),
            leaving: Vec::new(),
        }
    }

    /// Binds those of the addresses that are not listened on yet.
    ///
    /// # Errors
    /// When one cannot be bound; then none is.
    pub fn bind(&self, addresses: &[SocketAddr]) -> Result<Fresh, ListenError> {
        let mut open: Vec<SocketAddr> = self.open.iter().map(|listening| listening.asked).collect();
        let fresh = addresses.iter().filter(|address| !take(&mut open, **address));
        let bound = fresh.map(|address| Ok((*address, Bound::new(*address)?)));
        bound.collect::<Result<_, _>>().map(Fresh)
    }

    /// Accepts from the addresses that were bound, and no longer from those that are not among `addresses`: connections
    /// that came by one of them end with the response under way. Gives the new ones, with their ports.
    pub fn follow(&mut self, addresses: &[SocketAddr], fresh: Fresh) -> Vec<SocketAddr> {
        let mut wanted = addresses.to_vec();
        let (open, gone) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|listening: &Listening| take(&mut wanted, listening.asked));
        self.open = open;
        self.leaving.retain(|stopper| !stopper.is_done());
        for Listening { address, stopper, .. } in gone {
            tracing::info!(%address, "no longer listening");
            stopper.ask();
            self.leaving.push(stopper);
        }
        let fresh = fresh.0.into_iter();
        fresh.map(|(asked, bound)| self.accept(asked, bound)).collect()
    }

    /// Ends everything, and waits until all responses are finished, or until `limit`.
    pub async fn stop(&self, limit: Duration) -> Stopped {
        let open = self.open.iter().map(|listening| &listening.stopper);
        let stopping = open.chain(&self.leaving).map(|stopper| stopper.stop(limit));
        let unfinished = join_all(stopping).await.into_iter().map(|stopped| match stopped {
            Stopped::Done => 0,
            Stopped::Unfinished(connections) => connections,
        });
        match unfinished.sum() {
            0 => Stopped::Done,
            connections => Stopped::Unfinished(connections),
        }
    }

    fn accept(&mut self, asked: SocketAddr, bound: Bound) -> SocketAddr {
        let (stopper, stop) = Stopper::new();
        let address = bound.address;
        tokio::spawn(bound.accept(self.server.clone(), self.room.clone(), stop));
        self.open.push(Listening {
            asked,
            address,
            stopper,
        });
        address
    }
}

/// Takes one of these addresses out, if it is there: port 0 may be asked for several times.
fn take(addresses: &mut Vec<SocketAddr>, address: SocketAddr) -> bool {
    let place = addresses.iter().position(|other| *other == address);
    place.map(|place| addresses.swap_remove(place)).is_some()
}
