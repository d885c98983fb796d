//! What the calls of a policy start from: its configured state, captured where that is possible and worth its place.
//!
//! Policies of the same file and configuration share one [`Start`], whichever chain they are in: it is the same state. In
//! the order of events: the first one is captured when it is loaded. When there are many, a later one is configured for
//! each call until it was called a few times, and captured then, aside; when there are too many captured ones, the least
//! recently used is forgotten and begins anew.
use crate::{
    bindings::PolicyWithServicesPre,
    call::{Call, Phase, Setting},
    component::Compiled,
    failure::Failure,
    grants::{Grants, Links},
    host::Engine,
    instance::store,
    recorder::Recorder,
    running::Meter,
    snapshot::{self, Uncaptured},
    spec::Limits,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use wasmtime::component::{Component, Linker};

/// What capturing a state is taken to cost until it was done once for the file (measured: a small Rust policy).
const FIRST_GUESS: Duration = Duration::from_millis(10);

/// How many captured states there are. Each has code and an image of its memory: 100 KiB and more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotOptions {
    /// As long as there are fewer, a state is captured when it is loaded, so that the first call is quick.
    pub at_load: usize,
    /// There are never more; the least recently used is forgotten.
    pub most: usize,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        Self { at_load: 64, most: 512 }
    }
}

/// What makes two policies start from the same state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub digest: String,
    pub config: Vec<(String, String)>,
    pub reads: BTreeSet<String>,
    pub links: Links,
    pub environment: BTreeMap<String, String>,
    pub directories: BTreeMap<String, PathBuf>,
    pub memory: usize,
    pub answers: usize,
    pub configure: Duration,
}

pub(crate) struct Start {
    compiled: Arc<Compiled>,
    linker: Arc<Linker<Call>>,
    limits: Limits,
    pub setting: Arc<Setting>,
    /// The component as it is.
    plain: Arc<PolicyWithServicesPre<Call>>,
    state: RwLock<State>,
    /// The turn of the last call.
    last: AtomicU64,
}

#[derive(Clone)]
enum State {
    /// Configured for each call, which took so long altogether.
    Plain(Duration),
    /// As `Plain`, while it is being captured.
    Capturing,
    Captured(Arc<PolicyWithServicesPre<Call>>),
    /// Configured for each call, for a reason.
    Unsuited(Arc<str>),
}

/// How often `configure` runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configured {
    /// Once: its memory was captured, and every call starts from it.
    Once,
    /// For each call that runs, because its memory cannot be captured, or because there are many policies and it is not
    /// called often enough yet.
    EachCall { reason: String },
    /// When an instance is made, which is kept until it fails: an observer.
    EachInstance,
}

/// All that there are of an engine.
pub(crate) struct Starts {
    options: SnapshotOptions,
    known: Mutex<HashMap<Origin, Weak<Start>>>,
    captured: Mutex<Vec<Weak<Start>>>,
    turn: AtomicU64,
}

impl Start {
    /// What policies of this origin start from; made, and captured if there are few, when it is the first of them. The
    /// error is what `configure` failed with.
    pub async fn of(
        engine: &Arc<Engine>,
        origin: Origin,
        compiled: &Arc<Compiled>,
        linker: Arc<Linker<Call>>,
        limits: &Limits,
    ) -> Result<Arc<Self>, Failure> {
        if let Some(start) = engine.starts.known(&origin) {
            return Ok(start);
        }
        let plain = compiled.plain(&linker, origin.links).map_err(Failure::Trapped)?;
        let start = Arc::new(Self {
            compiled: compiled.clone(),
            linker,
            limits: limits.clone(),
            setting: Arc::new(Setting {
                config: origin.config.clone(),
                reads: origin.reads.clone(),
                environment: origin.environment.clone(),
                directories: origin.directories.clone(),
                seed: engine.seed(),
            }),
            plain,
            state: RwLock::new(State::Plain(Duration::ZERO)),
            last: AtomicU64::new(0),
        });
        if engine.starts.captured().len() < engine.starts.options.at_load {
            start.capture(engine).await?;
        }
        engine.starts.remember(origin, &start);
        Ok(start)
    }

    pub fn configured(&self) -> Configured {
        let reason = match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Captured(_) => return Configured::Once,
            State::Plain(_) | State::Capturing => {
                "there are many policies, and it is not called often enough yet".into()
            }
            State::Unsuited(reason) => reason.to_string(),
        };
        Configured::EachCall { reason }
    }

    /// Whether it is configured for each call only because there are many and it is not called often enough yet.
    pub fn is_one_of_many(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        matches!(*state, State::Plain(_) | State::Capturing)
    }

    /// What to make an instance of, and whether `configure` has to be called then.
    pub fn instances(&self, engine: &Engine) -> (Arc<PolicyWithServicesPre<Call>>, bool) {
        self.last
            .store(engine.starts.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            State::Captured(instances) => (instances.clone(), false),
            State::Plain(_) | State::Capturing | State::Unsuited(_) => (self.plain.clone(), true),
        }
    }

    /// An instance was configured for a call, which took so long. The state is captured, aside, when all of them together
    /// took longer than that takes: whatever comes, no more than twice the least time is spent.
    pub fn configured_for_a_call(self: &Arc<Self>, engine: &Arc<Engine>, took: Duration) {
        if !self.worth_capturing(took) {
            return;
        }
        let (start, engine) = (self.clone(), engine.clone());
        tokio::spawn(async move {
            // `configure` went well when it was loaded, so a failure is the machine's, and each call finds its own.
            if let Err(failure) = start.capture(&engine).await {
                start.set(State::Unsuited(failure.to_string().into()));
            }
        });
    }

    /// `true`, once: it is to be captured now.
    fn worth_capturing(&self, took: Duration) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let State::Plain(spent) = &mut *state else { return false };
        *spent += took;
        let worth = *spent >= self.compiled.capturing.get().copied().unwrap_or(FIRST_GUESS);
        if worth {
            *state = State::Capturing;
        }
        worth
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    async fn capture(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<(), Failure> {
        let component = {
            let _slot = engine.slot().await;
            let _ticking = engine.ticking();
            let begun = Instant::now();
            let component = self.try_capture(engine).await;
            // The first time is a little too long: it compiles the instrumented component as well.
            self.compiled.capturing.get_or_init(|| begun.elapsed());
            component
        };
        match component {
            Ok(component) => {
                let instances = self
                    .linker
                    .instantiate_pre(&component)
                    .and_then(PolicyWithServicesPre::new);
                self.set(State::Captured(Arc::new(instances.map_err(Failure::Trapped)?)));
                engine.starts.keep(self);
                Ok(())
            }
            Err(Uncaptured::Refused(words)) => Err(Failure::Said(words)),
            Err(Uncaptured::TooLong(error)) => Err(Failure::Trapped(error.into())),
            Err(Uncaptured::Unsuited(reason)) => {
                self.set(State::Unsuited(reason.into()));
                Ok(())
            }
        }
    }

    /// On a thread that may be kept busy. A panic there (of the crate that instruments, at what it does not know) is one
    /// more reason for no snapshot.
    async fn try_capture(&self, engine: &Engine) -> Result<Component, Uncaptured> {
        let recorder = Recorder::new(None, self.limits.answers);
        let meter = Meter::new(self.limits.configure);
        let store = store(engine, &self.setting, &self.limits, Phase::Capturing, recorder, meter);
        let (compiled, linker) = (self.compiled.clone(), self.linker.clone());
        let runtime = tokio::runtime::Handle::current();
        let captured =
            tokio::task::spawn_blocking(move || runtime.block_on(snapshot::capture(&compiled, &linker, store))).await;
        captured.unwrap_or_else(|error| Err(Uncaptured::Unsuited(format!("capturing it failed: {error}"))))
    }
}

// === impl Starts ===

impl Starts {
    pub fn new(options: SnapshotOptions) -> Self {
        Self {
            options,
            known: Mutex::default(),
            captured: Mutex::default(),
            turn: AtomicU64::new(0),
        }
    }

    fn known(&self, origin: &Origin) -> Option<Arc<Start>> {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(origin)?
            .upgrade()
    }

    fn remember(&self, origin: Origin, start: &Arc<Start>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Now and then, what no chain uses any more is swept out.
        if known.len() == known.capacity() {
            known.retain(|_, start| start.strong_count() > 0);
        }
        known.insert(origin, Arc::downgrade(start));
    }

    fn captured(&self) -> MutexGuard<'_, Vec<Weak<Start>>> {
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        captured.retain(|start| start.strong_count() > 0);
        captured
    }

    /// Takes note of a captured state, and forgets the least recently used one when there are too many.
    fn keep(&self, start: &Arc<Start>) {
        start
            .last
            .store(self.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut captured = self.captured();
        captured.push(Arc::downgrade(start));
        if captured.len() <= self.options.most {
            return;
        }
        let age = |start: &Weak<Start>| start.upgrade().map_or(0, |start| start.last.load(Ordering::Relaxed));
        let oldest = (0..captured.len()).min_by_key(|at| age(&captured[*at]));
        let forgotten = oldest.and_then(|at| captured.swap_remove(at).upgrade());
        drop(captured);
        if let Some(start) = forgotten {
            start.set(State::Plain(Duration::ZERO));
        }
    }
}

impl Compiled {
    /// What to make instances of, without a snapshot; shared by all policies of the file with the same grants.
    fn plain(&self, linker: &Linker<Call>, links: Links) -> wasmtime::Result<Arc<PolicyWithServicesPre<Call>>> {
        let cell = &self.plain[links.index()];
        if let Some(plain) = cell.get() {
            return Ok(plain.clone());
        }
        let plain = Arc::new(PolicyWithServicesPre::new(linker.instantiate_pre(&self.component)?)?);
        Ok(cell.get_or_init(|| plain).clone())
    }
}

impl Origin {
    pub fn new(
        compiled: &Compiled,
        config: Vec<(String, String)>,
        reads: &BTreeSet<String>,
        grants: &Grants,
        limits: &Limits,
    ) -> Self {
        Self {
            digest: compiled.digest.clone(),
            config,
            reads: reads.clone(),
            links: Links::from(grants),
            environment: grants.environment.clone(),
            directories: grants.directories.clone(),
            memory: limits.memory,
            answers: limits.answers,
            configure: limits.configure,
        }
    }
}
