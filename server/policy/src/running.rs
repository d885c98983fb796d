//! Running time: what a guest uses of a processor, apart from the time that goes by.
//!
//! A guest stops at the ticks of the engine's epoch. What counts is the processor time of the thread while the call is
//! polled: a busy machine does not use up a policy's time, nor does it make a short call look like a long one. In the order
//! of events: a call runs where it began for its first slice, asks to be handed over to the [lane](crate::lane), runs there
//! a slice at a time, and is ended when its time is used up.
use rustix::time::{ClockId, clock_gettime};
use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    task::{Context, Poll},
    thread::Thread,
    time::{Duration, Instant},
};
use wasmtime::{Engine, UpdateDeadline};

/// How often the epoch ticks.
pub(crate) const TICK: Duration = Duration::from_micros(250);
/// Ticks without any call after which the ticker sleeps until the next one.
const IDLE_TICKS: u32 = 400;
/// What a call may run where it began, counted from the first tick that it meets: so it is at most twice this and a tick.
const FIRST_SLICE: Duration = Duration::from_micros(125);
/// A turn in the lane.
const SLICE: Duration = Duration::from_millis(1);
/// `mark` of a slice whose beginning nobody asked the time of.
const UNKNOWN: u64 = u64::MAX;

/// The running time of one call so far.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Arc<MeterState>);

#[derive(Debug)]
struct MeterState {
    /// Before the slice that is running.
    nanoseconds: AtomicU64,
    /// Before it began to count anew.
    before: AtomicU64,
    limit: AtomicU64,
    /// The thread's processor time when the slice began; of the very first one, at its first tick.
    mark: AtomicU64,
    polled: AtomicBool,
    lane: AtomicBool,
    long: AtomicBool,
}

/// The trap of a guest that ran for too long.
#[derive(Debug, thiserror::Error)]
#[error("ran for more than {0:?}")]
pub(crate) struct RanTooLong(pub Duration);

impl Meter {
    pub fn new(limit: Duration) -> Self {
        Self(Arc::new(MeterState {
            nanoseconds: AtomicU64::new(0),
            before: AtomicU64::new(0),
            limit: AtomicU64::new(nanoseconds(limit)),
            mark: AtomicU64::new(UNKNOWN),
            polled: AtomicBool::new(false),
            lane: AtomicBool::new(false),
            long: AtomicBool::new(false),
        }))
    }

    /// Begins to count anew, against another limit.
    pub fn restart(&self, limit: Duration) {
        let state = &*self.0;
        let mut ran = state.nanoseconds.swap(0, Relaxed);
        state.limit.store(nanoseconds(limit), Relaxed);
        let mark = state.mark.load(Relaxed);
        if mark != UNKNOWN {
            let now = processor_time();
            ran += now.saturating_sub(mark);
            state.mark.store(now, Relaxed);
        }
        state.before.fetch_add(ran, Relaxed);
    }

    /// What a store does at each tick: go on, yield, or trap when the time is used up.
    pub fn at_tick(&self) -> wasmtime::Result<UpdateDeadline> {
        let state = &*self.0;
        let (now, mark) = (processor_time(), state.mark.load(Relaxed));
        if mark == UNKNOWN {
            state.mark.store(now, Relaxed);
            return Ok(UpdateDeadline::Continue(1));
        }
        let slice = now.saturating_sub(mark);
        let limit = state.limit.load(Relaxed);
        if state.nanoseconds.load(Relaxed).saturating_add(slice) >= limit {
            return Err(RanTooLong(Duration::from_nanos(limit)).into());
        }
        let most = if self.wants_lane() { SLICE } else { FIRST_SLICE };
        if slice < nanoseconds(most) {
            return Ok(UpdateDeadline::Continue(1));
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(self.clone().hand_over())))
    }

    /// Asks to be handed over to the lane; there, to let others have their turn.
    pub async fn hand_over(self) {
        self.0.lane.store(true, Relaxed);
        let mut yielded = false;
        poll_fn(|context| {
            if std::mem::replace(&mut yielded, true) {
                return Poll::Ready(());
            }
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }

    /// It ran for longer than a first slice, as far as that was measured: what a call ran before its first tick is not
    /// known, and a short call meets one now and then.
    pub fn ran_long(&self) -> bool {
        self.0.long.load(Relaxed)
    }

    /// It has asked to be handed over.
    pub fn wants_lane(&self) -> bool {
        self.0.lane.load(Relaxed)
    }

    /// Running time so far. Nothing for a call that met no tick in its first slice.
    pub fn ran(&self) -> Duration {
        Duration::from_nanos(self.0.nanoseconds.load(Relaxed))
    }

    /// All of it, of a call that began then.
    pub fn used(&self, begun: Instant) -> Duration {
        let used = self.ran() + Duration::from_nanos(self.0.before.load(Relaxed));
        match used.is_zero() {
            // It ended within its first slice, or nearly so.
            true => begun.elapsed().min(TICK),
            false => used,
        }
    }

    /// It has used most of the time that it has.
    pub fn burnt(&self) -> bool {
        self.0.nanoseconds.load(Relaxed) >= self.0.limit.load(Relaxed) / 2
    }

    /// Polls the call, and counts its running time.
    pub fn poll<F: Future + ?Sized>(&self, call: Pin<&mut F>, context: &mut Context<'_>) -> Poll<F::Output> {
        let state = &*self.0;
        let first = !state.polled.swap(true, Relaxed);
        if !first {
            state.mark.store(processor_time(), Relaxed);
        }
        let outcome = call.poll(context);
        // Nearly every call ends in its first slice before any tick: asking the kernel for the processor time would cost more
        // than a tenth of such a call.
        let mark = state.mark.swap(UNKNOWN, Relaxed);
        if mark != UNKNOWN {
            let slice = processor_time().saturating_sub(mark);
            let before_mark = if first { nanoseconds(TICK) } else { 0 };
            state.nanoseconds.fetch_add(slice + before_mark, Relaxed);
            if slice >= nanoseconds(FIRST_SLICE) {
                state.long.store(true, Relaxed);
            }
        }
        outcome
    }
}

/// Whether the calls of a policy have lately run beyond their first slice.
#[derive(Debug, Default)]
pub(crate) struct Habit(AtomicU32);

impl Habit {
    /// A call that ran long; and the average from which on calls are expected to: one in eight was, or a recent one.
    const LONG: u32 = 1 << 10;
    const OFTEN: u32 = Self::LONG / 16;

    pub fn is_long(&self) -> bool {
        self.0.load(Relaxed) >= Self::OFTEN
    }

    /// Takes note of a call that has ended, however it did. Two at once may count as one: it is a guess.
    pub fn note(&self, meter: &Meter) {
        let before = self.0.load(Relaxed);
        let long = if meter.ran_long() { Self::LONG } else { 0 };
        // An average that forgets an eighth with each call.
        let after = before - before / 8 + long / 8;
        if after != before {
            self.0.store(after, Relaxed);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Of this thread, in nanoseconds.
pub(crate) fn processor_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let [seconds, nanoseconds] = [time.tv_sec, time.tv_nsec].map(|part| u64::try_from(part).unwrap_or(0));
    seconds * 1_000_000_000 + nanoseconds
}

/// Ticks the epoch of an engine for as long as calls are under way, and ends with the last handle.
#[derive(Debug)]
pub(crate) struct Ticker {
    state: Arc<TickerState>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct TickerState {
    /// Calls under way.
    calls: AtomicUsize,
    asleep: AtomicBool,
}

/// A call under way.
pub(crate) struct Ticking(Arc<TickerState>);

impl Ticker {
    pub fn start(engine: &Engine, tick: Duration) -> std::io::Result<Self> {
        let state = Arc::new(TickerState::default());
        let (weak_engine, weak_state) = (engine.weak(), Arc::downgrade(&state));
        let thread = std::thread::Builder::new()
            .name("policy-ticker".into())
            .spawn(move || {
                let mut idle = 0;
                while let Some(engine) = weak_engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    if !rest(&weak_state, &mut idle, tick) {
                        return;
                    }
                }
            })?;
        Ok(Self {
            state,
            thread: thread.thread().clone(),
        })
    }

    /// Keeps the epoch ticking until the guard is dropped.
    pub fn call(&self) -> Ticking {
        self.state.calls.fetch_add(1, SeqCst);
        if self.state.asleep.swap(false, SeqCst) {
            self.thread.unpark();
        }
        Ticking(self.state.clone())
    }
}

/// Waits for the next tick. `false`: the ticker is gone.
fn rest(state: &Weak<TickerState>, idle: &mut u32, tick: Duration) -> bool {
    std::thread::sleep(tick);
    let Some(state) = state.upgrade() else { return false };
    *idle = if state.calls.load(SeqCst) == 0 { *idle + 1 } else { 0 };
    if *idle < IDLE_TICKS {
        return true;
    }
    *idle = 0;
    state.asleep.store(true, SeqCst);
    // A call that began before `asleep` was set is seen here; one that begins after it wakes this thread.
    if state.calls.load(SeqCst) == 0 {
        drop(state);
        std::thread::park();
    }
    true
}

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;

    #[test]
    fn a_habit_is_acquired_by_one_long_call_in_eight() {
        let (short, long) = (Meter::new(TICK), Meter::new(TICK));
        long.0.long.store(true, Relaxed);
        for (every, expected) in [(1, true), (2, true), (8, true), (100, false)] {
            let habit = Habit::default();
            for at in 0..400 {
                habit.note(if at % every == 0 { &long } else { &short });
            }
            // The last long call is the longest ago that it can be.
            assert_eq!(habit.is_long(), expected, "every {every}: {habit:?}");
            (0..30).for_each(|_| habit.note(&short));
            assert!(!habit.is_long(), "every {every}: {habit:?} is not forgotten");
        }
    }

    #[test]
    fn a_short_call_that_meets_a_tick_is_no_long_one() {
        for (ran, expected) in [(Duration::ZERO, false), (FIRST_SLICE, true)] {
            let meter = Meter::new(Duration::from_secs(1));
            let tick = meter.clone();
            let call = async move {
                assert!(matches!(tick.at_tick(), Ok(UpdateDeadline::Continue(1))));
                let begun = processor_time();
                while processor_time() < begun + nanoseconds(ran) {}
            };
            let mut context = Context::from_waker(std::task::Waker::noop());
            assert!(meter.poll(pin!(call), &mut context).is_ready());
            // What it may have run before the tick is charged either way.
            assert!(meter.ran() >= TICK);
            assert_eq!(meter.ran_long(), expected, "{ran:?}");
        }
    }

    #[test]
    fn a_meter_counts_from_the_second_poll_on_and_from_the_first_tick_of_the_first() {
        let meter = Meter::new(Duration::from_secs(1));
        let mut context = Context::from_waker(std::task::Waker::noop());
        let ready = |poll: Poll<()>| poll.is_ready();
        // It waits for something, and met no tick: what it used is not known, and little.
        assert!(!ready(meter.poll(pin!(std::future::pending()), &mut context)));
        assert_eq!(meter.ran(), Duration::ZERO);
        assert!(ready(meter.poll(pin!(async {}), &mut context)));
        assert!(meter.ran() > Duration::ZERO);

        // As a call that ends at a late tick, because its time is used up.
        let meter = Meter::new(Duration::from_secs(1));
        let tick = meter.clone();
        let ended = async move {
            assert!(matches!(tick.at_tick(), Ok(UpdateDeadline::Continue(1))));
        };
        assert!(ready(meter.poll(pin!(ended), &mut context)));
        assert!(meter.ran() >= TICK);

        let meter = Meter::new(Duration::from_secs(1));
        let tick = meter.clone();
        let marked = async move {
            assert!(matches!(tick.at_tick(), Ok(UpdateDeadline::Continue(1))));
            std::future::pending().await
        };
        assert!(!ready(meter.poll(pin!(marked), &mut context)));
        assert!(meter.ran() >= TICK);
    }
}
