//! Running time: what a guest uses of a processor, apart from the time that goes by.
//!
//! A guest yields to the runtime at every tick of the engine's epoch, so no call holds a worker for longer. What counts is
//! the processor time of the thread while the call is polled: a busy machine does not use up a policy's time.
use rustix::time::{ClockId, clock_gettime};
use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::Duration,
};
use wasmtime::{Engine, UpdateDeadline};

/// How often the epoch ticks.
pub(crate) const TICK: Duration = Duration::from_millis(1);
/// Ticks without any call after which the ticker sleeps until the next one.
const IDLE_TICKS: u32 = 100;

/// The running time of one call so far.
#[derive(Clone, Debug)]
pub(crate) struct Meter(Arc<MeterState>);

#[derive(Debug)]
struct MeterState {
    nanoseconds: AtomicU64,
    limit: u64,
}

/// The trap of a guest that ran for too long.
#[derive(Debug, thiserror::Error)]
#[error("ran for more than {0:?}")]
pub(crate) struct RanTooLong(pub Duration);

impl Meter {
    pub fn new(limit: Duration) -> Self {
        let limit = u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        Self(Arc::new(MeterState {
            nanoseconds: AtomicU64::new(0),
            limit,
        }))
    }

    /// What a store does at each tick: yield, or trap when the time is used up.
    pub fn at_tick(&self) -> wasmtime::Result<UpdateDeadline> {
        if self.0.nanoseconds.load(Ordering::Relaxed) >= self.0.limit {
            return Err(RanTooLong(Duration::from_nanos(self.0.limit)).into());
        }
        // tokio's own yielding, because a task that wakes itself is polled again before the runtime looks for input: with a
        // few guests spinning, other connections waited for 60 ticks.
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    }

    fn add(&self, time: Duration) {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.0.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// Drives a call and counts its running time.
    pub async fn measure<F: Future>(&self, call: F) -> F::Output {
        let mut call = pin!(call);
        let mut first = true;
        poll_fn(move |context| {
            if first {
                // Nearly every call ends in its first turn, which a tick bounds: asking the kernel for the processor time
                // would cost more than a tenth of such a call.
                first = false;
                let outcome = call.as_mut().poll(context);
                if outcome.is_pending() {
                    self.add(TICK);
                }
                return outcome;
            }
            let before = processor_time();
            let outcome = call.as_mut().poll(context);
            self.add(processor_time().saturating_sub(before));
            outcome
        })
        .await
    }
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
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
pub(crate) struct Ticking<'a>(&'a TickerState);

impl Ticker {
    pub fn start(engine: &Engine) -> std::io::Result<Self> {
        let state = Arc::new(TickerState::default());
        let (weak_engine, weak_state) = (engine.weak(), Arc::downgrade(&state));
        let thread = std::thread::Builder::new()
            .name("policy-ticker".into())
            .spawn(move || {
                let mut idle = 0;
                while let Some(engine) = weak_engine.upgrade() {
                    engine.increment_epoch();
                    drop(engine);
                    if !rest(&weak_state, &mut idle) {
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
    pub fn call(&self) -> Ticking<'_> {
        self.state.calls.fetch_add(1, Ordering::SeqCst);
        if self.state.asleep.swap(false, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Ticking(&self.state)
    }
}

/// Waits for the next tick. `false`: the ticker is gone.
fn rest(state: &Weak<TickerState>, idle: &mut u32) -> bool {
    std::thread::sleep(TICK);
    let Some(state) = state.upgrade() else { return false };
    *idle = if state.calls.load(Ordering::SeqCst) == 0 {
        *idle + 1
    } else {
        0
    };
    if *idle < IDLE_TICKS {
        return true;
    }
    *idle = 0;
    state.asleep.store(true, Ordering::SeqCst);
    // A call that began before `asleep` was set is seen here; one that begins after it wakes this thread.
    if state.calls.load(Ordering::SeqCst) == 0 {
        drop(state);
        std::thread::park();
    }
    true
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.thread.unpark();
    }
}
