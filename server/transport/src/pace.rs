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

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// Sends `total` bytes and gives the time of each piece and its length.
    async fn schedule(rate: u64, total: u64, client: impl Fn(u64) -> Duration) -> Vec<(Duration, u64)> {
        let mut pace = Pace::new(NonZeroU64::new(rate).unwrap());
        let start = Instant::now();
        let mut left = total;
        let mut pieces = Vec::new();
        while left > 0 {
            let piece = poll_fn(|context| pace.poll(context)).await.min(left);
            pace.sent(piece);
            pieces.push((start.elapsed(), piece));
            left -= piece;
            tokio::time::sleep(client(total - left)).await;
        }
        pieces
    }

    /// The most bytes within any window of `length`.
    fn burst(pieces: &[(Duration, u64)], length: Duration) -> u64 {
        let from = |start: Duration| {
            pieces
                .iter()
                .filter(move |(at, _)| (start..start + length).contains(at))
        };
        pieces
            .iter()
            .map(|(start, _)| from(*start).map(|(_, piece)| piece).sum())
            .max()
            .unwrap_or(0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_fast_client_gets_the_rate_smoothly() {
        for rate in [1, 7, 1000, 123_456, 10_000_000, u64::MAX / 4] {
            let total = rate.saturating_mul(3).min(1 << 62);
            let pieces = schedule(rate, total, |_| Duration::ZERO).await;
            let took = pieces.last().unwrap().0;
            let wanted = Duration::from_secs(total / rate);
            // The first piece leaves at once; tokio's timer counts milliseconds.
            assert!(took <= wanted, "{rate}: {took:?}");
            assert!(
                took + Duration::from_secs(1).max(PIECE) / rate.clamp(1, 40) as u32 * 2 >= wanted,
                "{rate}: {took:?}"
            );
            let most = bytes_in(NonZeroU64::new(rate).unwrap(), PIECE + LATE);
            assert!(burst(&pieces, Duration::from_millis(20)) <= most.max(1), "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_paused_does_not_get_what_it_missed_at_once() {
        let pause = |done| {
            if done == 50_000 {
                Duration::from_secs(5)
            } else {
                Duration::ZERO
            }
        };
        let pieces = schedule(100_000, 200_000, pause).await;
        assert!(burst(&pieces, Duration::from_millis(20)) <= 5_000, "50 ms worth");
        assert!(
            pieces.last().unwrap().0 >= Duration::from_millis(6_400),
            "{:?}",
            pieces.last()
        );
    }
}
