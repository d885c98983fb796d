//! Single flight: whoever asks for a piece that is being fetched waits for that fetch.
use crate::{origin::Failure, segment::Located};
use tokio::sync::watch;

/// How a fetch of one piece ended.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// It is whole and on disk; it can be read from here even if it was evicted since.
    Done(Located),
    /// The store failed. Nothing of this is remembered.
    Failed(Failure),
    /// The disk failed, or has no room: read it from the store.
    Bypass,
    /// Nobody was waiting any more. Whoever came just then begins anew.
    Abandoned,
}

/// A fetch under way. Dropped without an end, it was abandoned.
pub(crate) struct Flight(watch::Sender<Option<Outcome>>);

/// A place among those who wait.
pub(crate) struct Waiter(watch::Receiver<Option<Outcome>>);

impl Flight {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    pub(crate) fn join(&self) -> Waiter {
        Waiter(self.0.subscribe())
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(crate) fn end(&self, outcome: Outcome) {
        self.0.send_replace(Some(outcome));
    }
}

impl Waiter {
    pub(crate) async fn outcome(mut self) -> Outcome {
        match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Outcome::Abandoned),
            Err(_) => Outcome::Abandoned,
        }
    }
}
