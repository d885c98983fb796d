//! What several threads count at once, each in a place of its own, so that no processor waits for another's cache line.

use std::{
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread::available_parallelism,
};

/// One `T` for every processor, up to [`MOST`].
#[derive(Debug)]
pub struct Striped<T>(Box<[Stripe<T>]>);

/// Two cache lines: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe<T>(T);

/// Stripes cost memory: beyond so many, threads share them.
const MOST: usize = 16;

thread_local! {
    /// Threads in the order in which they first counted.
    static TURN: usize = {
        static TURNS: AtomicUsize = AtomicUsize::new(0);
        TURNS.fetch_add(1, Relaxed)
    };
}

// === impl Striped ===

impl<T: Default> Default for Striped<T> {
    fn default() -> Self {
        let processors = available_parallelism().map_or(1, usize::from);
        // A power of two, so that a thread finds its own by masking.
        let stripes = processors.min(MOST).next_power_of_two();
        Self((0..stripes).map(|_| Stripe::default()).collect())
    }
}

impl<T> Striped<T> {
    /// That of this thread, or of some of them.
    pub fn own(&self) -> &T {
        // While a thread ends it has no turn any more.
        let turn = TURN.try_with(|turn| *turn).unwrap_or_default();
        &self.0[turn & (self.0.len() - 1)].0
    }

    /// All of them, to be added up.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|stripe| &stripe.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::atomic::AtomicU64, thread};

    #[test]
    fn nothing_is_lost_however_many_threads_count() {
        let counter = Striped::<AtomicU64>::default();
        thread::scope(|scope| {
            for _ in 0..40 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.own().fetch_add(1, Relaxed);
                    }
                });
            }
        });
        assert_eq!(counter.iter().map(|count| count.load(Relaxed)).sum::<u64>(), 40_000);
    }
}
