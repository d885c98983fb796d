//! What the calls of a policy start from: its configured state, captured where that is possible and worth its place.
//!
//! Policies of the same file and configuration share one [`Start`], whichever chain they are in: it is the same state. In
//! the order of events: the first one is captured when it is loaded, or its state is found in the cache on disk. When there
//! are many, a later one is configured for each call until it was called a few times, and captured then, aside; when there
//! are too many captured ones, the least recently used is forgotten and begins anew. One that cannot be captured is
//! configured ahead of the calls, once for each.
use crate::{
    ahead::EACH,
    bindings::PolicyWithServicesPre,
    call::{Call, Phase, Setting},
    code::{CodeFrom, Known},
    component::{Compiled, Linked, link, unlinked},
    failure::Failure,
    grants::{Grants, Links},
    host::Engine,
    instance::{Instance, store},
    lane::Lost,
    recorder::Recorder,
    running::Meter,
    snapshot::{self, Captured, Uncaptured},
    spec::{Isolation, Limits},
    turns,
    usage::Usage,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};
use wasmtime::component::Linker;

/// What capturing a state is taken to cost until it was done once for the file (measured: a small Rust policy).
const FIRST_GUESS: Duration = Duration::from_millis(10);

/// How much slower than optimized code the code is that configures a state to be captured, at most.
const HASTY: u32 = 4;

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

/// What makes two policies start from the same state. All that `configure` can be told is here, but for the seed: a captured
/// state is found on disk by this (see [`Call::asked_for_seed`]).
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
    recipe: Arc<Recipe>,
    state: RwLock<State>,
    /// The turn of the last call.
    last: AtomicU64,
    /// Instances are being configured ahead.
    refilling: AtomicBool,
}

/// How a state is made.
struct Recipe {
    origin: Origin,
    compiled: Arc<Compiled>,
    linker: Arc<Linker<Call>>,
    limits: Limits,
    setting: Arc<Setting>,
}

/// What instances are made of, and what is done with them.
struct State {
    linked: Linked,
    stage: Stage,
}

#[derive(Clone)]
enum Stage {
    /// Configured for each call, which took so long altogether.
    Plain(Duration),
    /// As `Plain`, while it is being captured.
    Capturing,
    Captured,
    /// Configured ahead, an instance for each call, because it cannot be captured.
    Ahead(Arc<str>),
    /// Configured for each call, for a reason.
    EachCall(Arc<str>),
}

/// How often `configure` runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configured {
    /// Once: its memory was captured, and every call starts from it.
    Once,
    /// For each call that runs, ahead of it and aside, because its memory cannot be captured.
    Ahead { reason: String },
    /// For each call that runs, because its memory cannot be captured and it may not be configured ahead either, or because
    /// there are many policies and it is not called often enough yet.
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

/// Why there is no state to start from.
enum Unmade {
    /// `configure` failed.
    Unconfigured(Failure),
    /// One line for the operator.
    Unusable(String),
}

impl Start {
    /// What policies of this origin start from; made, and captured if there are few, when it is the first of them. The
    /// error is one line for the operator.
    pub async fn of(
        engine: &Arc<Engine>,
        origin: Origin,
        compiled: &Arc<Compiled>,
        linker: Arc<Linker<Call>>,
        limits: &Limits,
    ) -> Result<Arc<Self>, String> {
        if let Some(start) = engine.starts.known(&origin) {
            return Ok(start);
        }
        let recipe = Arc::new(Recipe {
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
            origin,
        });
        let capture = engine.starts.captured().len() < engine.starts.options.at_load;
        let made = match capture {
            true => recipe.capture(engine).await,
            false => recipe.plain(engine, Stage::Plain(Duration::ZERO)).await,
        };
        let start = Arc::new(Self {
            state: RwLock::new(made.map_err(|unmade| unmade.to_string())?),
            recipe,
            last: AtomicU64::new(0),
            refilling: AtomicBool::new(false),
        });
        if matches!(start.stage(), Stage::Captured) {
            start.remember_captured(engine);
        }
        engine.starts.remember(&start);
        Ok(start)
    }

    pub fn setting(&self) -> &Arc<Setting> {
        &self.recipe.setting
    }

    /// How often `configure` runs for a policy of this isolation.
    pub fn configured(&self, isolation: Isolation) -> Configured {
        match (self.stage(), isolation) {
            (Stage::Captured, _) => Configured::Once,
            (Stage::Plain(_) | Stage::Capturing, _) => Configured::EachCall {
                reason: "there are many policies, and it is not called often enough yet".into(),
            },
            (Stage::Ahead(reason), Isolation::Request) => Configured::Ahead {
                reason: reason.to_string(),
            },
            (Stage::Ahead(reason) | Stage::EachCall(reason), _) => Configured::EachCall {
                reason: reason.to_string(),
            },
        }
    }

    /// Where the code that calls run came from.
    pub fn code(&self) -> CodeFrom {
        self.state.read().unwrap_or_else(PoisonError::into_inner).linked.1
    }

    fn stage(&self) -> Stage {
        self.state.read().unwrap_or_else(PoisonError::into_inner).stage.clone()
    }

    /// Whether it is configured for each call only because there are many and it is not called often enough yet.
    pub fn is_one_of_many(&self) -> bool {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        matches!(state.stage, Stage::Plain(_) | Stage::Capturing)
    }

    /// What to make an instance of, and whether `configure` has to be called then.
    pub fn instances(&self, engine: &Engine) -> (Arc<PolicyWithServicesPre<Call>>, bool) {
        self.last
            .store(engine.starts.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        (state.linked.0.clone(), !matches!(state.stage, Stage::Captured))
    }

    /// An instance was configured for a call, which took so long. The state is captured, aside, when all of them together
    /// took longer than that takes: whatever comes, no more than twice the least time is spent.
    pub fn configured_for_a_call(self: &Arc<Self>, engine: &Arc<Engine>, took: Duration) {
        if !self.worth_capturing(took) {
            return;
        }
        let (start, engine) = (self.clone(), engine.clone());
        tokio::spawn(async move {
            match start.recipe.capture(&engine).await {
                Ok(state) => {
                    let captured = matches!(state.stage, Stage::Captured);
                    start.set(state);
                    if captured {
                        start.remember_captured(&engine);
                    }
                }
                // `configure` went well when it was loaded, so a failure is the machine's, and each call finds its own.
                Err(unmade) => start.turn_to(Stage::EachCall(unmade.to_string().into())),
            }
        });
    }

    /// `true`, once: it is to be captured now.
    fn worth_capturing(&self, took: Duration) -> bool {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let Stage::Plain(spent) = &mut state.stage else {
            return false;
        };
        *spent += took;
        let worth = *spent >= self.recipe.compiled.capturing.get().copied().unwrap_or(FIRST_GUESS);
        if worth {
            state.stage = Stage::Capturing;
        }
        worth
    }

    fn set(&self, state: State) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn turn_to(&self, stage: Stage) {
        self.state.write().unwrap_or_else(PoisonError::into_inner).stage = stage;
    }

    /// Takes note of a captured state, and forgets another when there are too many. What is forgotten is compiled as it is
    /// first, aside, so that no call waits for that.
    fn remember_captured(self: &Arc<Self>, engine: &Arc<Engine>) {
        let Some(forgotten) = engine.starts.keep(self) else {
            return;
        };
        let engine = engine.clone();
        tokio::spawn(async move {
            if let Ok(plain) = forgotten.recipe.plain(&engine, Stage::Plain(Duration::ZERO)).await {
                forgotten.set(plain);
            }
        });
    }
}

// === configured ahead ===

impl Start {
    /// An instance that was configured ahead, if there is one. Another takes its place, aside, on the account of whoever
    /// took this one.
    pub fn take_ahead(self: &Arc<Self>, engine: &Arc<Engine>, site: &Arc<Usage>) -> Option<Box<Instance>> {
        if !matches!(self.stage(), Stage::Ahead(_)) {
            return None;
        }
        let mut instance = engine.ahead.take(self);
        if let Some(instance) = &mut instance {
            instance.wake();
            instance.pass_to(&site.places);
        }
        self.refill(engine, site);
        instance
    }

    /// An instance was configured and not called: it may wait for a call. Not when `configure` asked for what is not the
    /// same the next time, such as the clock, or has directories open: then it must be asked for each call.
    pub fn offer_ahead(self: &Arc<Self>, engine: &Engine, instance: Box<Instance>) {
        let Stage::Ahead(reason) = self.stage() else { return };
        let call = instance.store.data();
        if call.recorder.unkept.is_none() && !call.holds_directories() {
            engine.ahead.put(self, instance);
            return;
        }
        let reason = format!("{reason}; and configure asks for what cannot be repeated, or opens directories");
        self.turn_to(Stage::EachCall(reason.into()));
    }

    fn refill(self: &Arc<Self>, engine: &Arc<Engine>, site: &Arc<Usage>) {
        if !engine.ahead.wants(self) || self.refilling.swap(true, Ordering::Relaxed) {
            return;
        }
        let (start, engine, site) = (self.clone(), engine.clone(), site.clone());
        let limits = &self.recipe.limits;
        let wall = limits.wall.max(limits.configure.saturating_mul(10));
        tokio::spawn(async move {
            // So many at most: states that push out each other's instances must not do so for ever.
            for _ in 0..EACH {
                if !engine.ahead.wants(&start) || !matches!(start.stage(), Stage::Ahead(_)) {
                    break;
                }
                let Some(slot) = engine.spare_slot() else { break };
                let _ticking = engine.ticking();
                let (instances, _) = start.instances(&engine);
                let meter = Meter::new(start.recipe.limits.configure);
                let store = start.recipe.store(&engine, Phase::Configuring, meter.clone());
                let configured = Box::pin(async move { Instance::new(slot, store, &instances, true).await });
                let begun = Instant::now();
                let configured = timeout(wall, engine.lane.drive(configured, &meter, &site.lane)).await;
                site.account.charge(meter.used(begun));
                match configured {
                    Ok(Ok(Ok(instance))) => start.offer_ahead(&engine, instance),
                    // The next call configures its own instance, and says what is wrong.
                    Ok(Ok(Err(failure))) => {
                        tracing::debug!(%failure, "an instance cannot be configured ahead");
                        break;
                    }
                    Ok(Err(Lost)) | Err(_) => break,
                }
            }
            start.refilling.store(false, Ordering::Relaxed);
        });
    }
}

// === impl Recipe ===

impl Recipe {
    fn store(&self, engine: &Engine, phase: Phase, meter: Meter) -> wasmtime::Store<Call> {
        let recorder = Recorder::new(None, self.limits.answers);
        store(engine, &self.setting, &self.limits, phase, recorder, meter)
    }

    /// The component as it is.
    async fn plain(self: &Arc<Self>, engine: &Arc<Engine>, stage: Stage) -> Result<State, Unmade> {
        let (recipe, engine) = (self.clone(), engine.clone());
        let plain = spawn_blocking(move || {
            let Recipe {
                compiled,
                linker,
                origin,
                ..
            } = &*recipe;
            compiled.plain(&engine.codes, linker, origin.links)
        });
        let plain = plain
            .await
            .unwrap_or_else(|error| Err(format!("compiling it failed: {error}")));
        let linked = plain.map_err(Unmade::Unusable)?;
        Ok(State { linked, stage })
    }

    /// The captured state, or how to do without.
    async fn capture(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<State, Unmade> {
        let (recipe, aside) = (self.clone(), engine.clone());
        let known = spawn_blocking(move || aside.codes.state(&recipe.compiled.fingerprint, &recipe.origin));
        let (known, from) = match known.await {
            Ok(Some(known)) => (known, CodeFrom::Cache),
            Ok(None) | Err(_) => (self.make(engine).await?, CodeFrom::Compiler),
        };
        match known {
            Known::Captured(component) => {
                let linked = link(&self.linker, &component).map_err(|error| Unmade::Unusable(unlinked(&error)))?;
                Ok(State {
                    linked: (linked, from),
                    stage: Stage::Captured,
                })
            }
            Known::Unsuited(reason) => self.plain(engine, Stage::Ahead(reason.into())).await,
        }
    }

    /// Captures the state, and keeps what came of it.
    async fn make(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<Known, Unmade> {
        let begun = Instant::now();
        let captured = {
            let _slot = engine.slot(&Arc::default()).await;
            let _ticking = engine.ticking();
            self.try_capture(engine).await
        };
        let (known, repeatable) = match captured {
            Ok(Captured { component, repeatable }) => (Known::Captured(component), repeatable),
            Err(Uncaptured::Refused(words)) => return Err(Unmade::Unconfigured(Failure::Said(words))),
            // Whether it is too long with the code that calls run, is seen when that configures the first instance.
            Err(Uncaptured::TooLong) => {
                let reason = "configure runs for too long in the code that is captured".to_owned();
                (Known::Unsuited(reason), false)
            }
            Err(Uncaptured::Unlinked(error)) => return Err(Unmade::Unusable(unlinked(&error))),
            Err(Uncaptured::Unsuited(reason)) => (Known::Unsuited(reason), true),
            Err(Uncaptured::Failed(reason)) => (Known::Unsuited(reason), false),
        };
        // The first time is a little too long: it compiles the instrumented component as well.
        self.compiled.capturing.get_or_init(|| begun.elapsed());
        if !repeatable {
            return Ok(known);
        }
        let (recipe, engine) = (self.clone(), engine.clone());
        let kept = spawn_blocking(move || {
            engine
                .codes
                .keep_state(&recipe.compiled.fingerprint, &recipe.origin, &known);
            known
        });
        kept.await
            .map_err(|error| Unmade::Unusable(format!("writing its code down failed: {error}")))
    }

    /// On a thread of its own, of low priority: it compiles. A panic there (of the crate that instruments, at what it does
    /// not know) is one more reason for no snapshot.
    async fn try_capture(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<Captured, Uncaptured> {
        let meter = Meter::new(self.limits.configure.saturating_mul(HASTY));
        let store = self.store(engine, Phase::Capturing, meter);
        let (recipe, engine) = (self.clone(), engine.clone());
        let runtime = tokio::runtime::Handle::current();
        let (sender, captured) = oneshot::channel();
        let started = thread::Builder::new().name("policy-capture".into()).spawn(move || {
            if let Err(error) = turns::run_long() {
                tracing::warn!(%error, "capturing a policy cannot be given a lower priority");
            }
            let Recipe { compiled, linker, .. } = &*recipe;
            let capture = snapshot::capture(compiled, &engine.codes, linker, store, &engine.captures, &engine.crowd);
            // Nobody may wait for it any more.
            let _ = sender.send(runtime.block_on(capture));
        });
        match (started, captured.await) {
            (Ok(_), Ok(captured)) => captured,
            (Ok(_), Err(_)) => Err(Uncaptured::Failed("capturing it failed: it panicked".into())),
            (Err(error), _) => Err(Uncaptured::Failed(format!("capturing it failed: {error}"))),
        }
    }
}

impl std::fmt::Display for Unmade {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unconfigured(failure) => f.write_str(&failure.while_configuring()),
            Self::Unusable(reason) => f.write_str(reason),
        }
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

    fn remember(&self, start: &Arc<Start>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // Now and then, what no chain uses any more is swept out.
        if known.len() == known.capacity() {
            known.retain(|_, start| start.strong_count() > 0);
        }
        known.insert(start.recipe.origin.clone(), Arc::downgrade(start));
    }

    fn captured(&self) -> MutexGuard<'_, Vec<Weak<Start>>> {
        let mut captured = self.captured.lock().unwrap_or_else(PoisonError::into_inner);
        captured.retain(|start| start.strong_count() > 0);
        captured
    }

    /// Takes note of a captured state. `Some`: there are too many, and this one was not used for longest.
    fn keep(&self, start: &Arc<Start>) -> Option<Arc<Start>> {
        start
            .last
            .store(self.turn.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
        let mut captured = self.captured();
        captured.push(Arc::downgrade(start));
        if captured.len() <= self.options.most {
            return None;
        }
        let age = |start: &Weak<Start>| start.upgrade().map_or(0, |start| start.last.load(Ordering::Relaxed));
        let oldest = (0..captured.len()).min_by_key(|at| age(&captured[*at]));
        captured.swap_remove(oldest?).upgrade()
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
