//! Where connections over TCP wait until they have shown that they may come in.
//!
//! Room for operators is little, and nobody who has shown nothing takes any of it. The lobby has room for more; when it is
//! full, whoever has been there for longest has to leave for whoever comes. So idle connections, however many, keep nobody
//! out who sends a request at once.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// Connections that have shown nothing yet.
#[derive(Debug)]
pub struct Lobby {
    most: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    /// By number, which is the order that they came in.
    waiting: BTreeMap<u64, Arc<Notify>>,
}

/// One connection's place in the lobby, until this is dropped.
#[derive(Debug)]
pub struct Waiting {
    lobby: Arc<Lobby>,
    number: u64,
    leave: Arc<Notify>,
}

// === impl Lobby ===

impl Lobby {
    /// With room for so many.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            state: Mutex::default(),
        })
    }

    /// A connection comes.
    pub fn enter(self: &Arc<Self>) -> Waiting {
        let mut state = self.state();
        if state.waiting.len() >= self.most
            && let Some((_, leave)) = state.waiting.pop_first()
        {
            leave.notify_one();
        }
        let waiting = Waiting {
            lobby: self.clone(),
            number: state.next,
            leave: Arc::default(),
        };
        state.next += 1;
        state.waiting.insert(waiting.number, waiting.leave.clone());
        waiting
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Waiting ===

impl Waiting {
    /// It has shown what is needed: from now on it has to leave for nobody.
    pub fn come_in(&self) {
        self.lobby.state().waiting.remove(&self.number);
    }

    /// Ends when the connection has to leave.
    pub async fn told_to_leave(&self) {
        self.leave.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.come_in();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn who_came_first_leaves_for_who_comes_unless_it_came_in() {
        let lobby = Lobby::new(2);
        let has_to_leave = |waiting: &Waiting| waiting.told_to_leave().now_or_never().is_some();
        let (first, second) = (lobby.enter(), lobby.enter());
        first.come_in();
        let third = lobby.enter();
        assert!(
            ![&first, &second, &third].into_iter().any(has_to_leave),
            "there is room for all"
        );
        let fourth = lobby.enter();
        assert_eq!(
            [&first, &second, &third, &fourth].map(has_to_leave),
            [false, true, false, false]
        );
        drop(third);
        let fifth = lobby.enter();
        assert_eq!([&first, &fourth, &fifth].map(has_to_leave), [false; 3]);
        drop((first, fourth, fifth));
        assert!(lobby.state().waiting.is_empty());
    }
}
