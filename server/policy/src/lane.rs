//! The slow lane: threads of low priority on which calls go on that did not end in their first slice.
//!
//! In the order of events: a call begins on the thread that needs its decision. When it asks to be handed over
//! ([`Meter::wants_lane`]), it moves here as a whole and runs by turns, a slice at a time, until it ends; what it came to
//! goes back to where it began, and so does its place, so that whoever waits for one is not woken by threads that have to wait
//! for a processor themselves. Turns are shared fairly between sites ([`Share`]), and within a site the call that has run least is next.
//!
//! There are two bands of threads. Those of the first have a lower priority than the threads that serve. Those of the second
//! give way to everybody, and rest after each turn: they run the calls of sites that have used more than their part beside
//! others. Where other programs want all processors, such threads would hardly run. When they find out that they came late,
//! their calls go to the first band for a while.
//!
//! The threads that serve never wait for a lock that these hold: calls come in through a channel without locks, and only
//! the threads of a band take from its own.
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

/// Nobody is late for less: timers are, and whoever is woken.
const TOLERATED: Duration = Duration::from_millis(2);
/// What a thread may be late altogether, where three quarters of the time are forgiven: all of four seconds. A reload that
/// compiles takes all processors for shorter.
const LATE: Duration = Duration::from_secs(1);
/// How long nobody gives way after that.
const FIRM: Duration = Duration::from_secs(30);

/// The threads; they start with the first call, and end when this is dropped.
pub(crate) struct Lane {
    name: &'static str,
    shared: Arc<Shared>,
    started: OnceLock<()>,
}

struct Shared {
    slow: Band,
    spare: Band,
    late: Duration,
    begun: Instant,
    /// Until when nobody gives way, in nanoseconds since `begun`.
    firm: AtomicU64,
    closed: AtomicBool,
}

/// Threads, and the calls that wait for them.
struct Band {
    intake: Sender<Arc<Task>>,
    /// Taken by these threads alone.
    queue: Mutex<Queue>,
    threads: Vec<Sleeper>,
}

/// Of the two bands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Slow,
    /// Whose threads give way to all others.
    Spare,
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
    thread: OnceLock<Thread>,
}

/// How late a thread was with what it did: it wanted a processor, and had none. Three quarters of the time that goes by are
/// forgiven.
struct Lateness {
    late: Duration,
    /// Until when it is known.
    until: Instant,
}

/// What a site has used of the lane: the one that used least is next.
#[derive(Debug)]
pub(crate) struct Share {
    nanoseconds: AtomicU64,
    pub member: Member,
    purpose: Purpose,
}

/// What turns are for, which says when they give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Answers: when the site has used more than its part.
    Answers,
    /// What nobody waits for with a request: while several sites are asked.
    Background,
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
    /// With so many threads, and as many more as may give way at once.
    pub fn new(threads: usize) -> Self {
        Self::named("policy", threads)
    }

    /// Whose threads' names begin so.
    pub fn named(name: &'static str, threads: usize) -> Self {
        Self::with(name, threads, LATE)
    }

    fn with(name: &'static str, threads: usize, late: Duration) -> Self {
        Self {
            name,
            shared: Arc::new(Shared {
                slow: Band::new(threads.max(1)),
                spare: Band::new(open(threads)),
                late,
                begun: Instant::now(),
                firm: AtomicU64::new(0),
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
        share.charge_site(meter.ran());
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
        let name = self.name;
        for (kind, word) in [(Kind::Slow, "slow"), (Kind::Spare, "spare")] {
            for at in 0..self.shared.band(kind).threads.len() {
                let shared = self.shared.clone();
                let started = thread::Builder::new()
                    .name(format!("{name}-{word}-{at}"))
                    .spawn(move || shared.work(kind, at));
                if let Err(error) = started {
                    // With none, calls end at their wall time.
                    tracing::error!(%error, "a thread for policies that run long cannot be started");
                }
            }
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        for kind in [Kind::Slow, Kind::Spare] {
            for sleeper in &self.shared.band(kind).threads {
                sleeper.wake();
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    fn band(&self, kind: Kind) -> &Band {
        match kind {
            Kind::Slow => &self.slow,
            Kind::Spare => &self.spare,
        }
    }

    fn submit(&self, task: Arc<Task>) {
        let kind = self.send(task);
        fence(Ordering::SeqCst);
        let _ = self.band(kind).threads.iter().any(Sleeper::wake);
    }

    /// After a turn in a band, whose thread looks for the next one at once.
    fn submit_from(&self, here: Kind, task: Arc<Task>) {
        let kind = self.send(task);
        fence(Ordering::SeqCst);
        if kind != here {
            let _ = self.band(kind).threads.iter().any(Sleeper::wake);
        }
    }

    fn send(&self, task: Arc<Task>) -> Kind {
        let kind = match task.share.gives_way() && !self.is_firm(Instant::now()) {
            true => Kind::Spare,
            false => Kind::Slow,
        };
        // The receiver is as old as the sender.
        let _ = self.band(kind).intake.send(task);
        kind
    }

    fn is_firm(&self, now: Instant) -> bool {
        self.at(now) < self.firm.load(Ordering::Relaxed)
    }

    /// Nanoseconds since it began.
    fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.begun).as_nanos()).unwrap_or(u64::MAX)
    }

    /// What one thread does.
    fn work(&self, kind: Kind, at: usize) {
        let band = self.band(kind);
        let me = &band.threads[at];
        let _ = me.thread.set(thread::current());
        let lowered = match kind {
            Kind::Slow => turns::run_long(),
            Kind::Spare => turns::give_way(),
        };
        if let Err(error) = lowered {
            tracing::warn!(%error, "policies that run long cannot be given a lower priority");
        }
        let mut lateness = Lateness::none();
        let mut run = |task: Arc<Task>| match kind {
            Kind::Slow => _ = task.run(Kind::Slow),
            Kind::Spare => self.give_turn(task, &mut lateness),
        };
        while !self.closed.load(Ordering::SeqCst) {
            // Not in the condition: the lock would be held for the turn.
            let next = band.queue().next();
            if let Some(task) = next {
                run(task);
                continue;
            }
            me.asleep.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            // What was submitted before `asleep` was set is seen here; what is submitted after it wakes this thread.
            let next = band.queue().next();
            match next {
                Some(task) => {
                    me.asleep.store(false, Ordering::SeqCst);
                    run(task);
                }
                None if self.closed.load(Ordering::SeqCst) => {}
                None => thread::park(),
            }
            me.asleep.store(false, Ordering::SeqCst);
        }
    }

    /// A turn on a thread that gives way. Afterwards it leaves its processor for as long to others: what an answer costs beside
    /// the call, where it is sent, is about as much.
    fn give_turn(&self, task: Arc<Task>, lateness: &mut Lateness) {
        let share = task.share.clone();
        let begun = Instant::now();
        let ran = task.run(Kind::Spare);
        let mut due = ran;
        if share.gives_way() {
            due += ran;
            thread::sleep(ran);
        }
        if lateness.note(begun, due, Instant::now()) > self.late {
            *lateness = Lateness::none();
            self.stand_firm();
        }
    }

    /// Nobody gives way for a while, nor who waits for that now.
    fn stand_firm(&self) {
        let until = self.at(Instant::now() + FIRM);
        self.firm.store(until, Ordering::Relaxed);
        let waiting = self.spare.queue().take();
        waiting.into_iter().for_each(|task| self.submit(task));
    }
}

// === impl Lateness ===

impl Lateness {
    fn none() -> Self {
        Self {
            late: Duration::ZERO,
            until: Instant::now(),
        }
    }

    /// Takes note of what should have taken so long, and says how late it was altogether.
    fn note(&mut self, begun: Instant, due: Duration, ended: Instant) -> Duration {
        let forgiven = |time: Duration| time * 3 / 4;
        let took = ended.saturating_duration_since(begun);
        let before = self
            .late
            .saturating_sub(forgiven(begun.saturating_duration_since(self.until)));
        let late = took.saturating_sub(due + TOLERATED);
        self.late = (before + late).saturating_sub(forgiven(took));
        self.until = ended;
        self.late
    }
}

// === impl Band ===

impl Band {
    fn new(threads: usize) -> Self {
        let (sender, intake) = mpsc::channel();
        let queue = Queue {
            intake,
            ready: Vec::new(),
            clock: 0,
        };
        Self {
            intake: sender,
            queue: Mutex::new(queue),
            threads: (0..threads).map(|_| Sleeper::default()).collect(),
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

    fn next(&mut self) -> Option<Arc<Task>> {
        self.take_in();
        let used = |task: &Task| (task.share.nanoseconds.load(Ordering::Relaxed), task.meter.ran());
        let at = (0..self.ready.len()).min_by_key(|at| used(&self.ready[*at]))?;
        let task = self.ready.swap_remove(at);
        self.clock = self.clock.max(task.share.nanoseconds.load(Ordering::Relaxed));
        Some(task)
    }

    /// All that wait.
    fn take(&mut self) -> Vec<Arc<Task>> {
        self.take_in();
        std::mem::take(&mut self.ready)
    }

    fn take_in(&mut self) {
        while let Ok(task) = self.intake.try_recv() {
            self.push(task);
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
        Self::of(site, crowd, Purpose::Answers)
    }

    /// Of what nobody waits for with a request.
    pub fn background(crowd: &Arc<Crowd>) -> Self {
        Self::of("", crowd, Purpose::Background)
    }

    fn of(site: &str, crowd: &Arc<Crowd>, purpose: Purpose) -> Self {
        Self {
            nanoseconds: AtomicU64::new(0),
            member: Member::new(site, crowd),
            purpose,
        }
    }

    /// Whether its turns leave the processors to others now.
    pub fn gives_way(&self) -> bool {
        match self.purpose {
            Purpose::Answers => self.member.is_over_now(),
            Purpose::Background => self.member.is_beside_others(),
        }
    }

    /// Takes note of a turn.
    fn charge(&self, ran: Duration) {
        let nanoseconds = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
        self.charge_site(ran);
    }

    fn charge_site(&self, ran: Duration) {
        if self.purpose == Purpose::Answers {
            self.member.charge(ran, Instant::now());
        }
    }
}

/// How many threads give way, of so many processors: a quarter of these, and one at least where there are several, is left
/// to those that serve others.
fn open(threads: usize) -> usize {
    threads.saturating_sub(threads.div_ceil(4)).max(1)
}

// === impl Task ===

impl Task {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn, and how long it was.
    fn run(self: Arc<Self>, here: Kind) -> Duration {
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
                    lane.submit_from(here, self);
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
