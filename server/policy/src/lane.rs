//! The slow lane: threads of low priority on which calls go on that did not end in their first slice.
//!
//! In the order of events: a call begins on the thread that needs its decision. When it asks to be handed over
//! ([`Meter::wants_lane`]), it moves here as a whole and runs by turns, a slice at a time, until it ends; what it came to
//! goes back to where it began, and so does its place, so that whoever waits for one is not woken by threads that have to wait
//! for a processor themselves. Turns are shared fairly between sites ([`Share`]), and within a site the call that has run least is next.
//!
//! The threads that serve never wait for a lock that these hold: calls come in through a channel without locks, and only
//! these threads take from it.
use crate::{
    crowd::{Crowd, Member},
    running::Meter,
    turns,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering, fence},
        mpsc::{self, Receiver, Sender},
    },
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};
use tokio::{runtime::Handle, sync::oneshot};

type Erased = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The threads; they start with the first call, and end when this is dropped.
pub(crate) struct Lane {
    shared: Arc<Shared>,
    started: OnceLock<()>,
}

struct Shared {
    intake: Sender<Arc<Task>>,
    /// Taken by the threads of the lane alone.
    queue: Mutex<Queue>,
    threads: Vec<Sleeper>,
    /// So many of the threads, from the first, run calls of sites that have used more than their part.
    open: usize,
    closed: AtomicBool,
}

struct Queue {
    intake: Receiver<Arc<Task>>,
    ready: Vec<Arc<Task>>,
    /// How much the site had used that had the last turn. A site that comes back begins there: what it did not use while
    /// it was away is not saved up.
    clock: u64,
}

#[derive(Default)]
struct Sleeper {
    asleep: AtomicBool,
    /// It runs no calls of sites that have used more than their part, and wakes by itself when it does again.
    resting: AtomicBool,
    thread: OnceLock<Thread>,
}

/// After a turn of a site that has used more than its part, a thread leaves its processor for as long to others: what an
/// answer costs beside the call, where it is sent, is about as much.
#[derive(Default)]
struct Rest {
    until: Option<Instant>,
}

/// What a site has used of the lane: the one that used least is next.
#[derive(Debug)]
pub(crate) struct Share {
    nanoseconds: AtomicU64,
    pub member: Member,
}

/// A call that was handed over.
struct Task {
    lane: Arc<Shared>,
    /// Where it came from: its timers and sockets stay there.
    runtime: Handle,
    share: Arc<Share>,
    meter: Meter,
    state: Mutex<State>,
}

struct State {
    stage: Stage,
    /// `None` while it is polled, and at the end.
    call: Option<Erased>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For something outside, such as an answer from the network.
    Waiting,
    /// For a turn.
    Ready,
    Running,
    /// It is running, and was woken meanwhile.
    RunningWoken,
    Ended,
}

/// The call did not come to an end: the host panicked in it.
#[derive(Debug)]
pub(crate) struct Lost;

/// Waits for a call that was handed over. Dropping it ends the call.
struct Handed<T> {
    task: Arc<Task>,
    outcome: oneshot::Receiver<T>,
}

// === impl Lane ===

impl Lane {
    /// With so many threads.
    pub fn new(threads: usize) -> Self {
        let (sender, intake) = mpsc::channel();
        let queue = Queue {
            intake,
            ready: Vec::new(),
            clock: 0,
        };
        Self {
            shared: Arc::new(Shared {
                intake: sender,
                queue: Mutex::new(queue),
                threads: (0..threads.max(1)).map(|_| Sleeper::default()).collect(),
                open: open(threads),
                closed: AtomicBool::new(false),
            }),
            started: OnceLock::new(),
        }
    }

    /// Drives a call to its end: here, until it asks to be handed over. Dropping the future ends the call. Within a
    /// tokio runtime.
    pub async fn drive<F>(&self, mut call: Pin<Box<F>>, meter: &Meter, share: &Arc<Share>) -> Result<F::Output, Lost>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let here = std::future::poll_fn(|context| match meter.poll(call.as_mut(), context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if meter.wants_lane() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        });
        match here.await {
            Some(outcome) => Ok(outcome),
            None => self.hand_over(call, meter, share).await,
        }
    }

    /// Drives a call to its end here, whatever it asks for. Dropping the future ends the call.
    pub async fn drive_here<F: Future>(call: F, meter: &Meter) -> F::Output {
        let mut call = std::pin::pin!(call);
        std::future::poll_fn(|context| meter.poll(call.as_mut(), context)).await
    }

    fn hand_over<F>(&self, mut call: Pin<Box<F>>, meter: &Meter, share: &Arc<Share>) -> Handed<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.started.get_or_init(|| self.start());
        share.member.charge(meter.ran(), Instant::now());
        let (sender, outcome) = oneshot::channel();
        let runtime = Handle::current();
        let home = runtime.clone();
        let metered = meter.clone();
        let call = async move {
            // Counted before it is sent: whoever gets the outcome asks at once what the call has used.
            let outcome = std::future::poll_fn(|context| metered.poll(call.as_mut(), context)).await;
            if let Err(unwanted) = sender.send(outcome) {
                home.spawn(async move { drop(unwanted) });
            }
        };
        let task = Arc::new(Task {
            lane: self.shared.clone(),
            runtime,
            share: share.clone(),
            meter: meter.clone(),
            state: Mutex::new(State {
                stage: Stage::Ready,
                call: Some(Box::pin(call)),
            }),
        });
        self.shared.submit(task.clone());
        Handed { task, outcome }
    }

    fn start(&self) {
        for at in 0..self.shared.threads.len() {
            let shared = self.shared.clone();
            let started = thread::Builder::new()
                .name(format!("policy-slow-{at}"))
                .spawn(move || shared.work(at));
            if let Err(error) = started {
                // With none, calls end at their wall time.
                tracing::error!(%error, "a thread for policies that run long cannot be started");
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        for sleeper in &self.shared.threads {
            sleeper.wake();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn submit(&self, task: Arc<Task>) {
        // The receiver is as old as the sender.
        let over = task.share.member.is_over_now();
        let _ = self.intake.send(task);
        fence(Ordering::SeqCst);
        let (open, kept) = self.threads.split_at(self.open);
        let resting = |sleeper: &Sleeper| sleeper.resting.load(Ordering::SeqCst);
        let _ = match over {
            true => open.iter().any(|sleeper| !resting(sleeper) && sleeper.wake()),
            false => open.iter().chain(kept).any(Sleeper::wake),
        };
    }

    /// What one thread does.
    fn work(&self, at: usize) {
        let me = &self.threads[at];
        let _ = me.thread.set(thread::current());
        if let Err(error) = turns::run_long() {
            tracing::warn!(%error, "policies that run long cannot be given a lower priority");
        }
        let mut rest = Rest::default();
        while !self.closed.load(Ordering::SeqCst) {
            let now = Instant::now();
            let left = rest.left(now);
            me.resting.store(left.is_some(), Ordering::SeqCst);
            let runs_all = at < self.open && left.is_none();
            let next = || self.queue().next(|task| runs_all || !task.share.member.is_over(now));
            if let Some(task) = next() {
                rest.take(task);
                continue;
            }
            me.asleep.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            // What was submitted before `asleep` was set is seen here; what is submitted after it wakes this thread.
            match next() {
                Some(task) => {
                    me.asleep.store(false, Ordering::SeqCst);
                    rest.take(task);
                }
                None if self.closed.load(Ordering::SeqCst) => {}
                None => left.map_or_else(thread::park, thread::park_timeout),
            }
            me.asleep.store(false, Ordering::SeqCst);
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn push(&mut self, task: Arc<Task>) {
        task.share.nanoseconds.fetch_max(self.clock, Ordering::Relaxed);
        self.ready.push(task);
    }

    fn next(&mut self, may_run: impl Fn(&Task) -> bool) -> Option<Arc<Task>> {
        while let Ok(task) = self.intake.try_recv() {
            self.push(task);
        }
        let used = |task: &Task| (task.share.nanoseconds.load(Ordering::Relaxed), task.meter.ran());
        let may_run = |at: &usize| may_run(&self.ready[*at]);
        let at = (0..self.ready.len())
            .filter(may_run)
            .min_by_key(|at| used(&self.ready[*at]))?;
        let task = self.ready.swap_remove(at);
        self.clock = self.clock.max(task.share.nanoseconds.load(Ordering::Relaxed));
        Some(task)
    }
}

impl Rest {
    fn left(&self, now: Instant) -> Option<Duration> {
        Some(self.until?.saturating_duration_since(now)).filter(|left| !left.is_zero())
    }

    /// Gives a call its turn.
    fn take(&mut self, task: Arc<Task>) {
        let share = task.share.clone();
        let ran = task.run();
        let now = Instant::now();
        if share.member.is_over(now) {
            self.until = Some(now + ran);
        }
    }
}

impl Sleeper {
    /// `true`: it slept.
    fn wake(&self) -> bool {
        let slept = self.asleep.swap(false, Ordering::SeqCst);
        if slept && let Some(thread) = self.thread.get() {
            thread.unpark();
        }
        slept
    }
}

// === impl Share ===

impl Share {
    pub fn new(site: &str, crowd: &Arc<Crowd>) -> Self {
        Self {
            nanoseconds: AtomicU64::new(0),
            member: Member::new(site, crowd),
        }
    }

    /// Takes note of a turn.
    fn charge(&self, ran: Duration) {
        let nanoseconds = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.member.charge(ran, Instant::now());
    }
}

/// How many of so many threads run calls of sites that have used more than their part: a quarter of the processors, and one at
/// least, is left for those that serve others.
fn open(threads: usize) -> usize {
    threads.saturating_sub(threads.div_ceil(4)).max(1)
}

// === impl Task ===

impl Task {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, and how long it was.
    fn run(self: Arc<Self>) -> Duration {
        let call = {
            let mut state = self.state();
            let Some(call) = state.call.take() else {
                return Duration::ZERO;
            };
            state.stage = Stage::Running;
            call
        };
        let _runtime = self.runtime.enter();
        let before = self.meter.ran();
        let polled = self.poll(call);
        let ran = self.meter.ran().saturating_sub(before);
        self.share.charge(ran);
        let mut state = self.state();
        let ended = state.stage == Stage::Ended;
        match polled {
            Some(call) if ended => {
                drop(state);
                // It was ended meanwhile. Its instance goes back to the pool where nobody preempts that.
                self.runtime.spawn(async move { drop(call) });
            }
            Some(call) => {
                state.call = Some(call);
                let woken = state.stage == Stage::RunningWoken;
                state.stage = if woken { Stage::Ready } else { Stage::Waiting };
                drop(state);
                if woken {
                    let lane = self.lane.clone();
                    lane.queue().push(self);
                }
            }
            None => state.stage = Stage::Ended,
        }
        ran
    }

    /// `Some`: it has not come to its end.
    fn poll(self: &Arc<Self>, mut call: Erased) -> Option<Erased> {
        let waker = Waker::from(self.clone());
        let mut context = Context::from_waker(&waker);
        let polled = catch_unwind(AssertUnwindSafe(|| match call.as_mut().poll(&mut context) {
            Poll::Pending => Some(call),
            // It is dropped in here: that may panic too.
            Poll::Ready(()) => None,
        }));
        // The hook has told of the panic. Whoever waits learns that the call is lost.
        polled.unwrap_or(None)
    }

    /// Ends it, whatever it does.
    fn end(&self) {
        let call = {
            let mut state = self.state();
            state.stage = Stage::Ended;
            state.call.take()
        };
        drop(call);
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        let mut state = self.state();
        match state.stage {
            Stage::Waiting => {
                state.stage = Stage::Ready;
                drop(state);
                let lane = self.lane.clone();
                lane.submit(self);
            }
            Stage::Running => state.stage = Stage::RunningWoken,
            Stage::Ready | Stage::RunningWoken | Stage::Ended => {}
        }
    }
}

// === impl Handed ===

impl<T> Future for Handed<T> {
    type Output = Result<T, Lost>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.outcome).poll(context).map_err(|_| Lost)
    }
}

impl<T> Drop for Handed<T> {
    fn drop(&mut self) {
        self.task.end();
    }
}

#[cfg(test)]
mod tests;
