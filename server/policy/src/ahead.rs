//! Instances that were configured before they are needed: for components whose state cannot be captured.
//!
//! Each is called once, for whichever policy of its origin comes first, and is made anew aside. They are a convenience: they
//! take at most half of the engine's instances, the oldest make room for others, and a call that finds none configures its
//! own.
use crate::{instance::Instance, start::Start};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// Instances that wait for one state: as many as calls may come at once before the first is replaced.
pub(crate) const EACH: usize = 4;

#[derive(Default)]
pub(crate) struct Ahead {
    /// The oldest first.
    waiting: Mutex<VecDeque<Waiting>>,
    /// There are never more, of all states together.
    most: usize,
}

struct Waiting {
    of: Weak<Start>,
    instance: Box<Instance>,
}

impl Ahead {
    pub fn new(most: usize) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    /// One that waits for this state.
    pub fn take(&self, start: &Arc<Start>) -> Option<Box<Instance>> {
        let mut waiting = self.waiting();
        // The last made: its memory is likely to be in the processor's caches.
        let at = waiting.iter().rposition(|waiting| waiting.is_of(start))?;
        Some(waiting.remove(at)?.instance)
    }

    /// Whether there should be one more for this state.
    pub fn wants(&self, start: &Arc<Start>) -> bool {
        let waiting = self.waiting();
        waiting.iter().filter(|waiting| waiting.is_of(start)).count() < EACH.min(self.most)
    }

    /// Puts one there, which was never called.
    pub fn put(&self, start: &Arc<Start>, instance: Box<Instance>) {
        let mut waiting = self.waiting();
        let mut given_up: Vec<Waiting> = Vec::new();
        for at in (0..waiting.len()).rev() {
            // No policy uses its state any more.
            if waiting[at].of.strong_count() == 0 {
                given_up.extend(waiting.remove(at));
            }
        }
        waiting.push_back(Waiting {
            of: Arc::downgrade(start),
            instance,
        });
        if waiting.len() > self.most {
            given_up.extend(waiting.pop_front());
        }
        // Dropping an instance takes a while.
        drop(waiting);
    }

    /// Gives up the oldest, so that its slot is free.
    pub fn give_up_one(&self) -> bool {
        let given_up = self.waiting().pop_front();
        given_up.is_some()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn is_of(&self, start: &Arc<Start>) -> bool {
        std::ptr::eq(self.of.as_ptr(), Arc::as_ptr(start))
    }
}
