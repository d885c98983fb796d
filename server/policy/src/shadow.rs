//! A candidate beside live traffic: it is asked what the policy was asked, and what it decides is compared and thrown away.
//!
//! In the order of events: the chain offers what a policy decided and what that went by; it waits in a short queue, or is
//! dropped when there is no room; one thread of the lowest priority runs the candidates one after another; what differs is
//! counted, and the first differences are logged. A candidate keeps nothing, logs nothing and has no services that write.
use crate::{
    Fault, Isolation, Limits, PolicySpec, Reuse, ShadowSpec,
    decided::Decided,
    difference::{self, differences},
    grants::Grants,
    policy::Policy,
    questions::Circumstances,
};
use http::StatusCode;
use serde::Serialize;
use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Comparisons that wait, of all candidates together: with requests of 32 KiB some 4 MiB.
const WAITING: usize = 128;
/// Comparisons of one candidate that wait, so that a slow one leaves room for others.
const WAITING_EACH: usize = 16;

/// The first differences of a candidate are logged, further ones as often as this.
const LOGGED_FIRST: u64 = 10;
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// The niceness of the thread: it runs when nobody else wants to.
const LOWEST_PRIORITY: i32 = 19;

pub(crate) struct Shadow {
    candidate: Arc<Policy>,
    /// The name of the policy that decides.
    live: String,
    one_in: u64,
    bench: Bench,
    seen: AtomicU64,
    waiting: AtomicUsize,
    counters: Counters,
    last_logged: Mutex<Option<Instant>>,
}

/// What a candidate did since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ShadowCounts {
    /// Decisions that were the same.
    pub agreed: u64,
    /// Decisions that were not.
    pub differed: u64,
    /// Runs of the candidate that came to nothing where the policy decided; they are not among those that differed.
    pub failed: u64,
    /// Comparisons that were left out because there was no room for them.
    pub dropped: u64,
}

/// A candidate, for someone to read.
#[derive(Clone, Debug)]
pub struct ShadowInfo {
    pub wasm: PathBuf,
    /// SHA-256 of the file, in hexadecimal.
    pub digest: String,
    pub limits: Limits,
    /// One request of so many is compared, at most.
    pub one_in: u64,
    pub counts: ShadowCounts,
}

#[derive(Default)]
struct Counters {
    agreed: AtomicU64,
    differed: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// The thread that compares, for one engine. Ends when nobody has this any more.
#[derive(Clone)]
pub(crate) struct Bench(SyncSender<Comparison>);

/// One decision to compare.
struct Comparison {
    shadow: Arc<Shadow>,
    circumstances: Circumstances,
    /// `Err`: the policy failed.
    decided: Result<Arc<Decided>, StatusCode>,
}

/// What to load as the candidate for a policy: under its own limits, with nothing that has an effect.
pub(crate) fn candidate(live: &PolicySpec, shadow: &ShadowSpec) -> PolicySpec {
    PolicySpec {
        name: format!("{} (shadow)", live.name),
        wasm: shadow.wasm.clone(),
        config: shadow.config.clone(),
        limits: shadow.limits.clone(),
        grants: Grants {
            logging: true,
            sharing: live.grants.sharing,
            ..Grants::default()
        },
        establishes: shadow.establishes.clone(),
        reads: shadow.reads.clone(),
        reuse: Reuse {
            evidence: false,
            isolation: Isolation::Request,
        },
        shadow: None,
        pin: shadow.pin.clone(),
    }
}

// === impl Shadow ===

impl Shadow {
    pub fn new(candidate: Arc<Policy>, live: &PolicySpec, spec: &ShadowSpec, bench: Bench) -> Self {
        Self {
            candidate,
            live: live.name.clone(),
            one_in: u64::from(spec.one_in.max(1)),
            bench,
            seen: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            counters: Counters::default(),
            last_logged: Mutex::default(),
        }
    }

    /// Takes what a policy decided, if there is room. Never waits.
    pub fn offer(self: &Arc<Self>, circumstances: &Circumstances, decided: &Result<Arc<Decided>, Fault>) {
        if !self.seen.fetch_add(1, Relaxed).is_multiple_of(self.one_in) {
            return;
        }
        let decided = match decided {
            Ok(decided) => Ok(decided.clone()),
            // It was busy and decided nothing.
            Err(fault) if fault.status == StatusCode::SERVICE_UNAVAILABLE => return,
            Err(fault) => Err(fault.status),
        };
        if self.waiting.load(Relaxed) >= WAITING_EACH {
            self.counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        self.waiting.fetch_add(1, Relaxed);
        let comparison = Comparison {
            shadow: self.clone(),
            circumstances: circumstances.clone(),
            decided,
        };
        if self.bench.0.try_send(comparison).is_err() {
            self.counters.dropped.fetch_add(1, Relaxed);
        }
    }

    pub fn info(&self) -> ShadowInfo {
        let candidate = self.candidate.info();
        ShadowInfo {
            wasm: candidate.wasm,
            digest: candidate.digest,
            limits: candidate.limits,
            one_in: self.one_in,
            counts: ShadowCounts {
                agreed: self.counters.agreed.load(Relaxed),
                differed: self.counters.differed.load(Relaxed),
                failed: self.counters.failed.load(Relaxed),
                dropped: self.counters.dropped.load(Relaxed),
            },
        }
    }

    async fn compare(&self, circumstances: &Circumstances, decided: &Result<Arc<Decided>, StatusCode>) {
        if !self.candidate.has_room() {
            self.counters.dropped.fetch_add(1, Relaxed);
            return;
        }
        let ran = self.candidate.run(circumstances, false).await;
        let (counter, said) = match (decided, &ran.outcome) {
            (Err(_), Err(_)) => (&self.counters.agreed, Vec::new()),
            (Ok(decided), Ok(candidate)) => match differences(decided, candidate) {
                same if same.is_empty() => (&self.counters.agreed, same),
                others => (&self.counters.differed, others),
            },
            (Err(status), Ok(candidate)) => {
                let line = format!(
                    "fails with {}; it {}",
                    status.as_u16(),
                    difference::in_a_word(candidate)
                );
                (&self.counters.differed, vec![line])
            }
            (Ok(_), Err(failure)) => (&self.counters.failed, vec![format!("it fails: {failure}")]),
        };
        let count = counter.fetch_add(1, Relaxed);
        if !said.is_empty() {
            self.log(circumstances, count, &said.join("; "));
        }
    }

    /// What differs, without any value: values are secrets.
    fn log(&self, circumstances: &Circumstances, count: u64, differs: &str) {
        let mut last = self.last_logged.lock().unwrap_or_else(PoisonError::into_inner);
        if count >= LOGGED_FIRST && last.is_some_and(|last| last.elapsed() < LOGGED_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        tracing::warn!(
            policy = self.live,
            site = %circumstances.request.site,
            path = %circumstances.request.path,
            differs,
            so_far = count + 1,
            "a shadow decides differently"
        );
    }
}

// === impl Bench, Comparison ===

impl Bench {
    pub fn start() -> io::Result<Self> {
        let (sender, receiver) = sync_channel(WAITING);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        thread::Builder::new()
            .name("shadow".into())
            .spawn(move || compare_all(&runtime, &receiver))?;
        Ok(Self(sender))
    }
}

fn compare_all(runtime: &tokio::runtime::Runtime, receiver: &Receiver<Comparison>) {
    // Without a process the calling thread is meant: on Linux each has a niceness of its own (setpriority(2)).
    if let Err(error) = rustix::process::setpriority_process(None, LOWEST_PRIORITY) {
        tracing::warn!(%error, "shadows run with the priority of everything else");
    }
    for comparison in receiver {
        let Comparison {
            shadow,
            circumstances,
            decided,
        } = &comparison;
        runtime.block_on(shadow.compare(circumstances, decided));
    }
}

impl Drop for Comparison {
    fn drop(&mut self) {
        self.shadow.waiting.fetch_sub(1, Relaxed);
    }
}
