//! The graceful end: who accepts stops at once, who serves finishes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Release},
    },
    time::Duration,
};
use tokio::{sync::watch, time::timeout};

/// Asks everyone who holds a [`Stop`] to finish.
#[derive(Debug)]
pub struct Stopper {
    asks: watch::Sender<bool>,
    asked: Arc<AtomicBool>,
}

/// Learns when it is time to finish. As long as one is held, somebody is not done.
#[derive(Clone, Debug)]
pub struct Stop {
    asks: watch::Receiver<bool>,
    /// Set before anybody is woken: for those who look often.
    asked: Arc<AtomicBool>,
}

/// How stopping went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everyone finished.
    Done,
    /// So many had not finished in time.
    Unfinished(usize),
}

// === impl Stopper ===

impl Stopper {
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        let asked = Arc::new(AtomicBool::new(false));
        let stop = Stop {
            asks: receiver,
            asked: asked.clone(),
        };
        (Self { asks: sender, asked }, stop)
    }

    /// Asks everyone to finish.
    pub fn ask(&self) {
        self.asked.store(true, Release);
        self.asks.send_replace(true);
    }

    /// Whether everyone has finished.
    pub fn is_done(&self) -> bool {
        self.asks.is_closed()
    }

    /// Asks everyone to finish and waits until they have, or until `limit`, if there is one.
    pub async fn stop(&self, limit: Option<Duration>) -> Stopped {
        self.ask();
        let Some(limit) = limit else {
            self.asks.closed().await;
            return Stopped::Done;
        };
        match timeout(limit, self.asks.closed()).await {
            Ok(()) => Stopped::Done,
            Err(_) => Stopped::Unfinished(self.asks.receiver_count()),
        }
    }
}

impl Drop for Stopper {
    fn drop(&mut self) {
        self.asked.store(true, Release);
    }
}

// === impl Stop ===

impl Stop {
    /// Ends when it is time to finish.
    pub async fn requested(&mut self) {
        // An error means that the stopper is gone: then too it is time.
        let _ = self.asks.wait_for(|stop| *stop).await;
    }

    /// What says that [`Stop::requested`] may have ended, for whoever would rather not poll it.
    pub fn asked(&self) -> Arc<AtomicBool> {
        self.asked.clone()
    }
}
