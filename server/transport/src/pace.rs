//! Sending at a limited rate, smoothly and without a thread.
use std::{
    future::Future,
    num::NonZeroU64,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// One piece is what this much time allows. Together with [`LATE`] no more than 50 ms worth of bytes leave at once.
const PIECE: Duration = Duration::from_millis(25);

/// How much lateness (of timers, of a client that could not take more) is made up for.
const LATE: Duration = Duration::from_millis(25);

/// A schedule of pieces: each is due when the ones before it have had their time (a generic cell rate algorithm).
pub(crate) struct Pace {
    rate: NonZeroU64,
    /// When the next piece may go; `None` before the first.
    due: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub fn new(rate: NonZeroU64) -> Self {
        Self {
            rate,
            due: None,
            sleep: None,
        }
    }

    /// Waits until something may be sent, and says how many bytes at most. [`Pace::sent`] follows.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<u64> {
        let due = *self.due.get_or_insert_with(Instant::now);
        // The clock is looked at by the timer only: a piece that is due passes without a system call.
        if due > Instant::now() {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(bytes_in(self.rate, PIECE))
    }

    /// `count` bytes go now.
    pub fn sent(&mut self, count: u64) {
        let due = self.due.unwrap_or_else(Instant::now).max(Instant::now() - LATE);
        self.due = Some(due + time_of(self.rate, count));
    }
}

/// At least 1.
fn bytes_in(rate: NonZeroU64, time: Duration) -> u64 {
    let bytes = u128::from(rate.get()) * time.as_nanos() / Duration::from_secs(1).as_nanos();
    u64::try_from(bytes).unwrap_or(u64::MAX).max(1)
}

fn time_of(rate: NonZeroU64, count: u64) -> Duration {
    let nanoseconds = u128::from(count) * Duration::from_secs(1).as_nanos() / u128::from(rate.get());
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}
