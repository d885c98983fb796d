//! The slow lane: threads of low priority on which calls go on that did not end in their first slice.
//!
//! In the order of events: a call begins on the thread that needs its decision. When it asks to be handed over
//! ([`Meter::wants_lane`]), it moves here as a whole and runs by turns, a slice at a time, until it ends; what it came to
//! goes back to where it began, and so does its place, so that whoever waits for one is not woken by threads that have to wait
//! for a processor themselves. Turns are shared fairly between sites ([`Share`]), and within a site the call that has run least is next.
//!
//! The threads that serve never wait for a lock that these hold: calls come in through a channel without locks, and only
//! these threads take from it.
use crate::{running::Meter, turns};
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
    thread: OnceLock<Thread>,
}

/// What a site has used of the lane: the one that used least is next.
#[derive(Debug, Default)]
pub(crate) struct Share {
    nanoseconds: AtomicU64,
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
        let _ = self.intake.send(task);
        fence(Ordering::SeqCst);
        for sleeper in &self.threads {
            if sleeper.wake() {
                return;
            }
        }
    }

    /// What one thread does.
    fn work(&self, at: usize) {
        let me = &self.threads[at];
        let _ = me.thread.set(thread::current());
        if let Err(error) = turns::run_long() {
            tracing::warn!(%error, "policies that run long cannot be given a lower priority");
        }
        while !self.closed.load(Ordering::SeqCst) {
            if let Some(task) = self.next() {
                task.run();
                continue;
            }
            me.asleep.store(true, Ordering::SeqCst);
            fence(Ordering::SeqCst);
            // What was submitted before `asleep` was set is seen here; what is submitted after it wakes this thread.
            match self.next() {
                Some(task) => {
                    me.asleep.store(false, Ordering::SeqCst);
                    task.run();
                }
                None if self.closed.load(Ordering::SeqCst) => {}
                None => thread::park(),
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> Option<Arc<Task>> {
        self.queue().next()
    }
}

impl Queue {
    fn push(&mut self, task: Arc<Task>) {
        task.share.nanoseconds.fetch_max(self.clock, Ordering::Relaxed);
        self.ready.push(task);
    }

    fn next(&mut self) -> Option<Arc<Task>> {
        while let Ok(task) = self.intake.try_recv() {
            self.push(task);
        }
        let used = |task: &Task| (task.share.nanoseconds.load(Ordering::Relaxed), task.meter.ran());
        let at = (0..self.ready.len()).min_by_key(|at| used(&self.ready[*at]))?;
        let task = self.ready.swap_remove(at);
        self.clock = self.clock.max(task.share.nanoseconds.load(Ordering::Relaxed));
        Some(task)
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

// === impl Task ===

impl Task {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A turn.
    fn run(self: Arc<Self>) {
        let call = {
            let mut state = self.state();
            let Some(call) = state.call.take() else { return };
            state.stage = Stage::Running;
            call
        };
        let _runtime = self.runtime.enter();
        let before = self.meter.ran();
        let polled = self.poll(call);
        let ran = self.meter.ran().saturating_sub(before);
        let ran = u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX);
        self.share.nanoseconds.fetch_add(ran, Ordering::Relaxed);
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
mod tests {
    use super::*;
    use crate::running::processor_time;
    use std::{hint::black_box, sync::atomic::AtomicUsize, time::Duration};

    const MILLISECOND: u64 = 1_000_000;

    fn meter() -> Meter {
        Meter::new(Duration::from_secs(60))
    }

    fn share() -> Arc<Share> {
        Arc::default()
    }

    fn thread() -> String {
        thread::current().name().unwrap_or_default().to_owned()
    }

    /// Uses a processor for about a millisecond.
    fn work() {
        let begun = processor_time();
        while processor_time() - begun < MILLISECOND {
            (0..1000_u32).for_each(|turn| {
                black_box(turn);
            });
        }
    }

    /// Sends the name of the thread on which it is dropped.
    struct Telling(Sender<String>);

    impl Drop for Telling {
        fn drop(&mut self) {
            let _ = self.0.send(thread());
        }
    }

    #[tokio::test]
    async fn a_call_goes_on_elsewhere_once_it_asks_and_comes_back() {
        let lane = Lane::new(1);
        let (own, its) = (meter(), meter());
        let short = async { (thread(), Telling(mpsc::channel().0)) };
        assert_eq!(lane.drive(Box::pin(short), &own, &share()).await.unwrap().0, thread());
        assert!(lane.started.get().is_none(), "nothing was handed over yet");

        let (sender, dropped) = mpsc::channel();
        let call = {
            let meter = its.clone();
            async move {
                let before = thread();
                meter.hand_over().await;
                work();
                // A timer of the runtime where the call began.
                tokio::time::sleep(Duration::from_millis(1)).await;
                (before, thread(), Telling(sender))
            }
        };
        let (before, after, told) = lane.drive(Box::pin(call), &its, &share()).await.unwrap();
        assert_eq!((before, after.as_str()), (thread(), "policy-slow-0"));
        assert!(its.ran() >= Duration::from_millis(1), "{its:?}");
        drop(told);
        assert_eq!(dropped.recv().unwrap(), thread());
    }

    /// A burnt run was taken for none: its outcome came before its time was counted.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn what_a_call_used_is_known_when_its_outcome_is() {
        let lane = Lane::new(1);
        for turn in 0..200 {
            let own = meter();
            let its = own.clone();
            let call = async move {
                its.hand_over().await;
                work();
            };
            lane.drive(Box::pin(call), &own, &share()).await.unwrap();
            assert!(own.ran() >= Duration::from_millis(1), "in turn {turn}: {own:?}");
        }
    }

    /// Whatever the call does at that time: it has its turn, waits for one, or for something else.
    #[tokio::test]
    async fn a_call_whose_future_is_dropped_ends_where_it_began() {
        for busy in [false, true] {
            let lane = Lane::new(1);
            let (sender, dropped) = mpsc::channel();
            let (meter, turns) = (meter(), Arc::new(AtomicUsize::new(0)));
            let (its, count) = (meter.clone(), turns.clone());
            let call = async move {
                let _told = Telling(sender);
                its.clone().hand_over().await;
                loop {
                    count.fetch_add(1, Ordering::SeqCst);
                    match busy {
                        true => {
                            work();
                            its.clone().hand_over().await;
                        }
                        false => std::future::pending().await,
                    }
                }
            };
            let share = share();
            let under_way = async {
                while turns.load(Ordering::SeqCst) < if busy { 3 } else { 1 } {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::select! {
                _ = lane.drive(Box::pin(call), &meter, &share) => unreachable!("it never ends"),
                () = under_way => {}
            }
            // If it had its turn, this runtime drops it after that.
            let told = tokio::task::spawn_blocking(move || dropped.recv().unwrap());
            assert_eq!(told.await.unwrap(), thread());
        }
    }

    #[tokio::test]
    async fn a_panic_loses_one_call_and_nothing_else() {
        let lane = Lane::new(1);
        let own = meter();
        let its = own.clone();
        let call = async move {
            its.hand_over().await;
            panic!("this panic belongs to a test");
        };
        let lost: Result<(), Lost> = lane.drive(Box::pin(call), &own, &share()).await;
        assert!(lost.is_err());
        let next = meter();
        let its = next.clone();
        let call = async move {
            its.hand_over().await;
            thread()
        };
        assert_eq!(
            lane.drive(Box::pin(call), &next, &share()).await.unwrap(),
            "policy-slow-0"
        );
    }

    /// Counted in processor time, so that a busy machine does not matter.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_endless_calls_of_one_site_take_no_more_turns_than_one_of_another() {
        let lane = Arc::new(Lane::new(1));
        let (greedy, modest) = (share(), share());
        let endless: Vec<_> = (0..8)
            .map(|_| {
                let (lane, share, own) = (lane.clone(), greedy.clone(), meter());
                tokio::spawn(async move {
                    let its = own.clone();
                    let call = async move {
                        loop {
                            its.clone().hand_over().await;
                            work();
                        }
                    };
                    let _: Result<(), Lost> = lane.drive(Box::pin(call), &own, &share).await;
                })
            })
            .collect();
        while greedy.nanoseconds.load(Ordering::Relaxed) < 20 * MILLISECOND {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (own, others) = (meter(), greedy.clone());
        let its = own.clone();
        let call = async move {
            its.clone().hand_over().await;
            let before = others.nanoseconds.load(Ordering::Relaxed);
            for _ in 0..10 {
                work();
                its.clone().hand_over().await;
            }
            others.nanoseconds.load(Ordering::Relaxed) - before
        };
        let meanwhile = lane.drive(Box::pin(call), &own, &modest).await.unwrap();
        endless.iter().for_each(tokio::task::JoinHandle::abort);
        assert!(
            meanwhile < 20 * MILLISECOND,
            "{meanwhile} ns while the other site ran 10 ms"
        );
    }

    /// Turns, timers, ends and drops at random: every call comes to its end, and nothing of it stays.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn calls_are_neither_lost_nor_kept() {
        let lane = Arc::new(Lane::new(2));
        let alive = Arc::new(());
        let calls = (0..500_u64).map(|at| {
            let (lane, own, alive) = (lane.clone(), meter(), alive.clone());
            tokio::spawn(async move {
                let its = own.clone();
                let call = async move {
                    for turn in 0..at % 7 {
                        its.clone().hand_over().await;
                        if (at + turn) % 3 == 0 {
                            tokio::time::sleep(Duration::from_micros(at)).await;
                        }
                    }
                    drop(alive);
                    at
                };
                let limit = match at % 5 {
                    0 => Duration::from_micros(at),
                    _ => Duration::from_secs(60),
                };
                let share = share();
                let ended = tokio::time::timeout(limit, lane.drive(Box::pin(call), &own, &share)).await;
                match ended {
                    Ok(outcome) => assert_eq!(outcome.unwrap(), at),
                    Err(_) => assert_eq!(at % 5, 0, "it was lost"),
                }
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        // The last may still be on their way home.
        while Arc::strong_count(&alive) > 1 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
