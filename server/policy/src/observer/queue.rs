//! Finished exchanges on their way to one observer: bounded, and nobody who adds one ever waits.
use super::Finished;
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};

/// Exchanges, and bytes of their texts, that may wait: more are dropped.
const MOST: usize = 8192;
const MOST_BYTES: usize = 4 << 20;
/// Exchanges of one batch, and bytes of their texts, which one call has to take in.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 256 << 10;
/// How long a batch may wait to become larger.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Finished>>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl State {
    fn is_due(&self) -> bool {
        self.closed || self.waiting.len() >= BATCH || self.bytes >= BATCH_BYTES
    }
}

impl Queue {
    /// Adds an exchange, unless there is no room.
    pub fn push(&self, finished: &Arc<Finished>) {
        let mut state = self.state();
        let bytes = finished.weight();
        if state.closed || state.waiting.len() == MOST || state.bytes + bytes > MOST_BYTES {
            state.dropped += 1;
            return;
        }
        state.waiting.push_back(finished.clone());
        state.bytes += bytes;
        let wake = state.waiting.len() == 1 || state.is_due();
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    /// No more are added; those that wait are still handed out.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_one();
    }

    /// The next batch, when it is large enough or has waited long enough. `None`: closed, and nothing is left.
    pub async fn batch(&self) -> Option<Vec<Arc<Finished>>> {
        self.until(|state| state.closed || !state.waiting.is_empty()).await;
        // Whatever ends the waiting, what is there is a batch.
        let _ = timeout(PATIENCE, self.until(State::is_due)).await;
        let mut state = self.state();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Some(finished) = state.waiting.pop_front() else {
                break;
            };
            bytes += finished.weight();
            batch.push(finished);
        }
        state.bytes -= bytes;
        (!batch.is_empty()).then_some(batch)
    }

    /// Waits, but no longer than until the queue is closed.
    pub async fn rest(&self, time: Duration) {
        let _ = timeout(time, self.until(|state| state.closed)).await;
    }

    /// How many were dropped since the last time this was asked.
    pub fn dropped(&self) -> u64 {
        std::mem::take(&mut self.state().dropped)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.state().waiting.len()
    }

    async fn until(&self, holds: impl Fn(&State) -> bool) {
        loop {
            // One who is woken between the question and the waiting does not wait: the permit is kept.
            if holds(&self.state()) {
                return;
            }
            self.changed.notified().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::finished, *};

    #[tokio::test]
    async fn a_batch_is_full_or_has_waited() {
        let queue = Queue::default();
        for _ in 0..BATCH + 3 {
            queue.push(&finished("/"));
        }
        let began = tokio::time::Instant::now();
        assert_eq!(queue.batch().await.map(|batch| batch.len()), Some(BATCH));
        assert_eq!(queue.batch().await.map(|batch| batch.len()), Some(3));
        assert!(began.elapsed() >= PATIENCE);
        queue.push(&finished("/"));
        queue.close();
        queue.push(&finished("/"));
        assert_eq!(queue.batch().await.map(|batch| batch.len()), Some(1));
        assert!(queue.batch().await.is_none());
        assert_eq!(queue.dropped(), 1);
    }

    #[tokio::test]
    async fn what_waits_is_bounded_in_number_and_in_bytes() {
        let queue = Queue::default();
        for _ in 0..MOST + 10 {
            queue.push(&finished("/"));
        }
        assert_eq!((queue.len(), queue.dropped(), queue.dropped()), (MOST, 10, 0));
        let queue = Queue::default();
        let large = finished(&"x".repeat(30_000));
        for _ in 0..1000 {
            queue.push(&large);
        }
        assert!(queue.len() * 30_000 <= MOST_BYTES, "{}", queue.len());
        assert_eq!(queue.len() as u64 + queue.dropped(), 1000);
        let batch = queue.batch().await.expect("a batch");
        assert!(batch.len() * 30_000 < BATCH_BYTES + 40_000, "{}", batch.len());
    }
}
