//! What the admin listener knows, and what it may ask for.

use crate::{
    net::Server,
    observe::history::{History, STEP},
};
use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{MissedTickBehavior, interval},
};
use wasmserve_files::Pool;

/// Where operators ask.
pub struct Desk {
    /// None until everything is loaded.
    serving: OnceLock<Serving>,
    opened: watch::Sender<bool>,
    pub history: History,
    pub metrics_by_site: bool,
    reloads: mpsc::Sender<Reload>,
}

/// What is asked about.
#[derive(Clone)]
pub struct Serving {
    pub server: Arc<Server>,
    /// What the files of all sites share.
    pub pool: Arc<Pool>,
}

/// A reload that an operator waits for; to be dropped or answered when it has ended, however it did.
pub type Reload = oneshot::Sender<()>;

/// Reloads that may wait for their turn.
const RELOADS: usize = 4;

// === impl Desk ===

impl Desk {
    /// What comes by the receiver is asked for by operators.
    pub fn new(metrics_by_site: bool) -> (Arc<Self>, mpsc::Receiver<Reload>) {
        let (reloads, asked) = mpsc::channel(RELOADS);
        let desk = Self {
            serving: OnceLock::new(),
            opened: watch::Sender::new(false),
            history: History::default(),
            metrics_by_site,
            reloads,
        };
        (Arc::new(desk), asked)
    }

    /// Everything is loaded.
    pub fn open(&self, serving: Serving) {
        // It is opened once.
        let _ = self.serving.set(serving);
        self.opened.send_replace(true);
    }

    /// Ends when everything is loaded.
    pub async fn opened(&self) {
        // The sender is this desk's own: it outlives the waiting.
        let _ = self.opened.subscribe().wait_for(|opened| *opened).await;
    }

    pub fn serving(&self) -> Option<&Serving> {
        self.serving.get()
    }

    /// Looks at what was counted, for the last hour, until it is dropped.
    pub async fn watch(&self) {
        let mut ticks = interval(STEP);
        // After a while without processor time, the next sample is of a longer time.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            if let Some(serving) = self.serving() {
                self.history.look(&serving.server.sites.load());
            }
        }
    }

    /// Reloads, and waits until that has ended. `false`: it did not, within this time.
    pub async fn reload(&self, patience: Duration) -> bool {
        let (done, ended) = oneshot::channel();
        if self.reloads.try_send(done).is_err() {
            return false;
        }
        matches!(tokio::time::timeout(patience, ended).await, Ok(Ok(())))
    }
}
