//! The sockets that a server listens on, from one configuration to the next.
//!
//! An address that stays keeps its socket, with all that waits on it. In the order of events: [`Listeners::bind`] before
//! anything is replaced, because it may fail; then [`Listeners::follow`], which cannot.

use crate::net::{
    Bound, Inherited, ListenAddress, ListenError, ListenerOptions, Server, Stopper, inherited, listener::Security,
    stop::Stopped, unix::Name,
};
use arc_swap::ArcSwap;
use futures_util::future::join_all;
use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Weak},
    time::Duration,
};
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
    asked: ListenAddress,
    /// The socket, until it is told to stop.
    bound: Weak<Bound>,
    options: Arc<ArcSwap<ListenerOptions>>,
    stopper: Stopper,
}

/// Addresses that are bound and not accepted from yet.
pub struct Fresh(Vec<(ListenerOptions, Bound)>);

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

    /// Binds those of the addresses that are not listened on yet, or takes the inherited sockets that have them.
    ///
    /// # Errors
    /// When one cannot be bound; then none is.
    pub fn bind(&self, wanted: &[ListenerOptions], inherited: &mut Inherited) -> Result<Fresh, ListenError> {
        let mut open: Vec<&ListenAddress> = self.open.iter().map(|listening| &listening.asked).collect();
        let fresh = wanted.iter().filter(|options| {
            // Port 0 may be asked for several times.
            let place = open.iter().position(|other| **other == options.address);
            place.map(|place| open.swap_remove(place)).is_none()
        });
        let bound = fresh.map(|options| Ok((options.clone(), Bound::new(options, inherited)?)));
        bound.collect::<Result<_, _>>().map(Fresh)
    }

    /// Accepts from the addresses that were bound, and no longer from those that are not wanted: connections that came by
    /// one of them end with the response under way. Those that stay do from now on what their options say. Gives a line
    /// for each of the new ones.
    pub fn follow(&mut self, wanted: &[ListenerOptions], fresh: Fresh) -> Vec<String> {
        let mut wanted: Vec<&ListenerOptions> = wanted.iter().collect();
        let (open, gone) = std::mem::take(&mut self.open)
            .into_iter()
            .partition(|listening: &Listening| listening.stays(&mut wanted));
        self.open = open;
        self.leaving.retain(|stopper| !stopper.is_done());
        for Listening { bound, stopper, .. } in gone {
            let address = bound.upgrade().map(tracing::field::display);
            tracing::info!(address, "no longer listening");
            stopper.ask();
            self.leaving.push(stopper);
        }
        let fresh = fresh.0.into_iter();
        fresh.map(|(options, bound)| self.accept(options, bound)).collect()
    }

    /// Descriptors of all that is listened on, each with its name for the process that replaces this one ([`inherited`]). A
    /// Unix socket whose name somebody else removes has its address alone, and is found by its path.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn descriptors(&self) -> io::Result<Vec<(String, OwnedFd)>> {
        let open = self.open.iter();
        let open = open.filter_map(|listening| Some((&listening.asked, listening.bound.upgrade()?)));
        open.map(|(asked, bound)| {
            let name = match (asked, bound.name()) {
                (ListenAddress::Unix(_), Name::Theirs) => asked.to_string(),
                _ => format!("{}{asked}", inherited::LISTENER),
            };
            Ok((name, bound.descriptor()?))
        })
        .collect()
    }

    /// Ends everything, and waits until all responses are finished, or until `limit`.
    pub async fn stop(&self, limit: Option<Duration>) -> Stopped {
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

    fn accept(&mut self, options: ListenerOptions, bound: Bound) -> String {
        let (stopper, stop) = Stopper::new();
        let line = match options.security {
            _ if bound.is_unix() => bound.to_string(),
            Security::Plain => format!("http://{bound}"),
            Security::Tls => format!("https://{bound}"),
        };
        let bound = Arc::new(bound);
        let asked = options.address.clone();
        let options = Arc::new(ArcSwap::from_pointee(options));
        self.open.push(Listening {
            asked,
            bound: Arc::downgrade(&bound),
            options: options.clone(),
            stopper,
        });
        let (server, room) = (self.server.clone(), self.room.clone());
        tokio::spawn(async move {
            // Until the socket is closed, and its name removed: the process may end once nobody holds this.
            let last = stop.clone();
            bound.accept(options, server, room, stop).await;
            drop(last);
        });
        line
    }
}

// === impl Listening ===

impl Listening {
    /// Whether it is still wanted: then it does what its options say now, and they are taken out.
    fn stays(&self, wanted: &mut Vec<&ListenerOptions>) -> bool {
        let place = wanted.iter().position(|options| options.address == self.asked);
        let Some(options) = place.map(|place| wanted.swap_remove(place)) else {
            return false;
        };
        if **self.options.load() != *options {
            if let Some(bound) = self.bound.upgrade() {
                bound.follow(options);
            }
            self.options.store(Arc::new(options.clone()));
        }
        true
    }
}
