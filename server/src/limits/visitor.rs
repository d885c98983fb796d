//! A connection as what is counted: its client, and the site that it belongs to since a request named one.

use super::{
    Limits,
    account::{Account, Admitted, Belonging, Spent},
    clients::{Clients, Counted, TooMany},
};
use http::request::Parts;
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool,
            Ordering::{Relaxed, Release},
        },
    },
    time::Duration,
};
use tokio::sync::Notify;

/// One connection, shared by all its requests.
#[derive(Debug)]
pub struct Visitor {
    limits: Arc<Limits>,
    belonging: Mutex<Option<Belonging>>,
    /// Whether there is one: where nothing is counted, no lock is taken.
    belongs: AtomicBool,
    end: Notify,
    ending: AtomicBool,
    _client: Option<Counted>,
}

/// Why a request is not answered as it would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// Its client has used up its rate, or has too many under way.
    Client { retry_after: Duration },
    /// Its site is over a budget.
    Site(Spent),
    /// Its target is longer than it may be.
    Target,
    /// It has more header fields than it may have.
    Fields,
}

// === impl Visitor ===

impl Visitor {
    /// A connection that begins; `None`: on a Unix socket.
    ///
    /// # Errors
    /// When its client has as many as it may have.
    pub fn arrive(limits: &Arc<Limits>, peer: Option<IpAddr>) -> Result<Arc<Self>, TooMany> {
        let client = match peer {
            Some(peer) => Clients::connect(limits, peer)?,
            None => None,
        };
        Ok(Arc::new(Self {
            limits: limits.clone(),
            belonging: Mutex::default(),
            belongs: AtomicBool::new(false),
            end: Notify::new(),
            ending: AtomicBool::new(false),
            _client: client,
        }))
    }

    /// Counts a request of a client, whatever it asks for.
    ///
    /// # Errors
    /// When its head is larger than it may be, or the client has used up its rate or has too many under way.
    pub fn ask(&self, head: &Parts, client: Option<IpAddr>) -> Result<Option<Counted>, Over> {
        self.limits.head.check(head)?;
        let Some(client) = client else { return Ok(None) };
        let counted = Clients::request(&self.limits, client);
        counted.map_err(|retry_after| Over::Client { retry_after })
    }

    /// Counts a request as a site's, beside its client's, and the connection with it: it belongs to the site that it asked
    /// for last.
    ///
    /// # Errors
    /// When the site is over a budget.
    pub fn enter(&self, account: &Arc<Account>, asked: Option<Counted>) -> Result<Admitted, Over> {
        if !account.is_limited() {
            if self.belongs.load(Relaxed) && self.belongs.swap(false, Relaxed) {
                *self.belonging() = None;
            }
            return Ok(Admitted::default().with(asked));
        }
        let mut belonging = self.belonging();
        if !belonging.as_ref().is_some_and(|belonging| belonging.is_to(account)) {
            *belonging = Some(account.connect().map_err(Over::Site)?);
            self.belongs.store(true, Relaxed);
        }
        drop(belonging);
        Ok(account.begin().map_err(Over::Site)?.with(asked))
    }

    fn belonging(&self) -> MutexGuard<'_, Option<Belonging>> {
        // Nothing that holds the lock can panic half-way.
        self.belonging.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection is to end without a further answer.
    pub fn end(&self) {
        self.ending.store(true, Release);
        self.end.notify_one();
    }

    /// What says that [`Visitor::ended`] may have ended, for whoever would rather not poll it.
    pub fn ending(&self) -> &AtomicBool {
        &self.ending
    }

    /// Ends when the connection is to.
    pub async fn ended(&self) {
        self.end.notified().await;
    }
}

// === impl Over ===

impl Over {
    pub fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Client { retry_after } => Some(retry_after),
            Self::Site(spent) => Some(spent.retry_after),
            Self::Target | Self::Fields => None,
        }
    }

    /// Whether the connection is given back with the answer: those of a site that has too many, and of whoever asks what
    /// no client asks.
    pub fn ends_connection(self) -> bool {
        match self {
            Self::Site(spent) => spent.budget == "connections",
            Self::Target | Self::Fields => true,
            Self::Client { .. } => false,
        }
    }
}
