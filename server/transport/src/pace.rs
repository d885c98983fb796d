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

/// Leave to send, from whoever has a line to share out. A body asks before each piece and says what became of it.
pub trait Allowance: Send {
    /// Waits until something may be sent, and says how many bytes at most; never 0. `wanted`: as many are left to send, as
    /// far as that is known.
    fn poll(&mut self, context: &mut Context<'_>, wanted: u64) -> Poll<u64>;

    /// So many bytes of what was allowed go now. The rest stays allowed.
    fn sent(&mut self, count: u64);
}

/// Waits for the pieces of a [`Schedule`].
pub(crate) struct Pace {
    schedule: Schedule,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub fn new(rate: NonZeroU64) -> Self {
        Self {
            schedule: Schedule::new(rate),
            sleep: None,
        }
    }

    /// Waits until something may be sent, and says how many bytes at most. [`Pace::sent`] follows.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<u64> {
        let now = Instant::now();
        let due = self.schedule.due(now);
        // A piece that is due passes without the timer.
        if due > now {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
        Poll::Ready(self.schedule.piece())
    }

    /// `count` bytes go now.
    pub fn sent(&mut self, count: u64) {
        self.schedule.sent(Instant::now(), count);
    }
}

/// A schedule of pieces: each is due when the ones before it have had their time (a generic cell rate algorithm).
struct Schedule {
    rate: NonZeroU64,
    /// When the next piece may go; `None` before the first.
    due: Option<Instant>,
}

impl Schedule {
    fn new(rate: NonZeroU64) -> Self {
        Self { rate, due: None }
    }

    /// When the next piece may go, asked at `now`.
    fn due(&mut self, now: Instant) -> Instant {
        *self.due.get_or_insert(now)
    }

    /// The most bytes of one piece.
    fn piece(&self) -> u64 {
        bytes_in(self.rate, PIECE)
    }

    fn sent(&mut self, now: Instant, count: u64) {
        let due = self.due.map_or(now, |due| due.max(now - LATE));
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

    /// Sends `total` bytes and gives the time of each piece and its length. The timer is late by up to a millisecond,
    /// as tokio's is.
    fn schedule(rate: u64, total: u64, client: impl Fn(u64) -> Duration) -> Vec<(Duration, u64)> {
        let mut schedule = Schedule::new(NonZeroU64::new(rate).unwrap());
        let start = Instant::now() + LATE;
        let mut now = start;
        let mut left = total;
        let mut pieces = Vec::new();
        while left > 0 {
            let wait = schedule.due(now).saturating_duration_since(now);
            now += Duration::from_millis(u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap());
            let piece = schedule.piece().min(left);
            schedule.sent(now, piece);
            pieces.push((now - start, piece));
            left -= piece;
            now += client(total - left);
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

    #[test]
    fn a_fast_client_gets_the_rate_smoothly() {
        for rate in [1, 7, 1000, 123_456, 10_000_000, u64::MAX / 4] {
            let total = rate.saturating_mul(3).min(1 << 62);
            let pieces = schedule(rate, total, |_| Duration::ZERO);
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

    #[test]
    fn a_client_that_paused_does_not_get_what_it_missed_at_once() {
        let pause = |done| {
            if done == 50_000 {
                Duration::from_secs(5)
            } else {
                Duration::ZERO
            }
        };
        let pieces = schedule(100_000, 200_000, pause);
        assert!(burst(&pieces, Duration::from_millis(20)) <= 5_000, "50 ms worth");
        assert!(
            pieces.last().unwrap().0 >= Duration::from_millis(6_400),
            "{:?}",
            pieces.last()
        );
    }
}
