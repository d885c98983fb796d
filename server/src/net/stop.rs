//! The graceful end: who accepts stops at once, who serves finishes.

use std::time::Duration;
use tokio::{sync::watch, time::timeout};

/// Asks everyone who holds a [`Stop`] to finish.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// Learns when it is time to finish. As long as one is held, somebody is not done.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

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
        (Self(sender), Stop(receiver))
    }

    /// Asks everyone to finish.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    /// Whether everyone has finished.
    pub fn is_done(&self) -> bool {
        self.0.is_closed()
    }

    /// Asks everyone to finish and waits until they have, or until `limit`, if there is one.
    pub async fn stop(&self, limit: Option<Duration>) -> Stopped {
        self.ask();
        let Some(limit) = limit else {
            self.0.closed().await;
            return Stopped::Done;
        };
        match timeout(limit, self.0.closed()).await {
            Ok(()) => Stopped::Done,
            Err(_) => Stopped::Unfinished(self.0.receiver_count()),
        }
    }
}

// === impl Stop ===

impl Stop {
    /// Ends when it is time to finish.
    pub async fn requested(&mut self) {
        // An error means that the stopper is gone: then too it is time.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
