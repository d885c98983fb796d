//! One loaded policy: configured, and asked to decide.
//!
//! In the order of a call: wait for a turn (this policy's, then one of the engine's instances), instantiate, decide, check
//! the decision. Whatever goes wrong is a [`Failure`], which the log names and the client does not.
use crate::{
    ChainSpec, Configured, Isolation, LoadError, PolicyInfo, PolicySpec,
    admission::Gate,
    bindings::exports::wasmserve::policy::guest,
    call::Phase,
    code::CodeFrom,
    component::{CONTRACT, Compiled, Role, one_line},
    config,
    counters::Counters,
    decided::Decided,
    decision::{Decision, Rules},
    dependence::is_reserved,
    failure::Failure,
    grants::Links,
    host::{Engine, check_limits},
    instance::{Instance, Shelf, store},
    journal::{Journal, Said},
    lane::{Lane, Lost},
    link,
    places::Slot,
    questions::Circumstances,
    recorder::Recorder,
    running::{Habit, Meter},
    services::Services,
    shadow::Shadow,
    start::{Origin, Start},
    usage::Usage,
};
use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::coop::consume_budget,
    time::{error::Elapsed, timeout},
};

pub(crate) struct Policy {
    pub spec: PolicySpec,
    pub site: Arc<str>,
    digest: String,
    imports: Vec<String>,
    engine: Arc<Engine>,
    start: Arc<Start>,
    rules: Rules,
    services: Arc<Services>,
    turns: Semaphore,
    /// Of the site.
    usage: Arc<Usage>,
    calls: Calls,
    habit: Habit,
    pub gate: Gate,
    /// Where instances are reused.
    shelf: Option<Arc<Shelf>>,
    pub counters: Counters,
    /// A candidate that is asked the same, and not listened to.
    pub shadow: Option<Arc<Shadow>>,
}

/// What came of one call.
pub(crate) struct Ran {
    pub outcome: Result<Arc<Decided>, Failure>,
    pub said: Option<Arc<Said>>,
    /// `None`: the call was cut off, or nobody asks what it asked.
    pub recorder: Option<Box<Recorder>>,
}

/// Where a call has its instance from.
enum Beginning {
    /// An earlier call, or configured ahead of this one.
    Warm(Box<Instance>),
    Start(Slot),
}

/// What a call holds while it is under way: one of the policy's turns; and the epoch ticks. (The policy is what keeps alive
/// all that it gives back, at the price of one count instead of three.)
struct Place(Arc<Policy>);

/// Where calls that take long go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// On the lane, so that the thread they began on can serve.
    OnTheLane,
    /// On the thread they began on, which serves nobody.
    WhereTheyBegan,
}

/// What a policy is loaded beside.
pub(crate) struct Company {
    /// Of its site.
    pub usage: Arc<Usage>,
    pub calls: Calls,
    /// The candidate that decides what it decides.
    pub shadow: Option<Arc<Shadow>>,
}

/// What a guest decided, and where.
type Asked = (Box<Instance>, Result<Arc<Decided>, Failure>);

/// What is left of a call.
struct Answered {
    decided: Result<Arc<Decided>, Failure>,
    recorder: Option<Box<Recorder>>,
    rest: Rest,
}

/// Of the instance.
enum Rest {
    Whole(Box<Instance>),
    /// It was taken down where it ran, and what it said is in the log.
    Place {
        said: Option<Arc<Said>>,
        _slot: Slot,
    },
}

/// Who reads what a call leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trail {
    /// Its questions and the answers, as text.
    pub transcript: bool,
    /// What the guest says goes to the log.
    pub log: bool,
}

struct Called {
    outcome: Result<Answered, Failure>,
    _place: Place,
}

impl Place {
    fn take(policy: &Arc<Policy>, turn: SemaphorePermit<'_>) -> Self {
        turn.forget();
        policy.engine.ticker.begin();
        Self(policy.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.engine.ticker.end();
        self.0.turns.add_permits(1);
    }
}

/// Takes note of how long a call ran, however it ends.
struct Noting<'a> {
    habit: &'a Habit,
    meter: &'a Meter,
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        self.habit.note(self.meter);
    }
}

// === loading ===

impl Policy {
    /// Links and configures a compiled policy.
    pub async fn load(
        engine: Arc<Engine>,
        compiled: &Arc<Compiled>,
        spec: PolicySpec,
        chain: &ChainSpec,
        company: Company,
    ) -> Result<Arc<Self>, LoadError> {
        let refusal = (spec.name.clone(), spec.wasm.clone());
        let policy = Self::try_load(engine, compiled, spec, chain, company).await;
        policy.map_err(|reason| LoadError {
            policy: refusal.0,
            wasm: refusal.1,
            reason,
        })
    }

    async fn try_load(
        engine: Arc<Engine>,
        compiled: &Arc<Compiled>,
        spec: PolicySpec,
        chain: &ChainSpec,
        company: Company,
    ) -> Result<Arc<Self>, String> {
        check_spec(&spec)?;
        let links = Links::from(&spec.grants);
        let linker = engine.linker(links).map_err(|error| one_line(&error))?;
        link::check(compiled, links, Role::Policy)?;
        let config = config::entries(&spec.config)?;
        let origin = Origin::new(compiled, config, &spec.reads, &spec.grants, &spec.limits);
        let start = Start::of(&engine, origin, compiled, linker, &spec.limits).await?;
        let policy = Arc::new(Self {
            site: chain.site.clone(),
            digest: compiled.digest.clone(),
            imports: compiled.imports.clone(),
            start,
            rules: Rules {
                roots: chain.roots.clone(),
                establishes: spec.establishes.clone(),
                grants: spec.grants.clone(),
            },
            services: Services::new(
                &spec.name,
                &spec.grants,
                spec.limits.wall,
                company.usage.services.clone(),
            )?,
            turns: Semaphore::new(spec.limits.concurrent),
            usage: company.usage,
            calls: company.calls,
            habit: Habit::default(),
            gate: Gate::new(Instant::now()),
            shelf: (spec.reuse.isolation == Isolation::Reuse).then(|| {
                let shelf = Arc::default();
                engine.spare(&shelf);
                shelf
            }),
            counters: Counters::default(),
            shadow: company.shadow,
            engine,
            spec,
        });
        policy
            .try_instance()
            .await
            .map_err(|failure| failure.while_configuring())?;
        policy.tell_loaded();
        Ok(policy)
    }

    pub fn services_are_current(&self) -> bool {
        self.services.is_current()
    }

    /// SHA-256 of its file, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Makes an instance as every call does, so that what is wrong with the configuration shows at load, and writes what
    /// `configure` says.
    async fn try_instance(self: &Arc<Self>) -> Result<(), Failure> {
        let limits = &self.spec.limits;
        // Compiling keeps processors busy while chains are loaded, so the wall time is generous here.
        let wall = limits.wall.max(limits.configure.saturating_mul(10));
        let meter = Meter::new(limits.configure);
        let (policy, its) = (self.clone(), meter.clone());
        let instance = Box::pin(async move {
            let slot = policy.engine.slot(&policy.usage.places).await;
            let _ticking = policy.engine.ticking();
            let instance = policy.instance(slot, its).await?;
            let journal = instance.store.data().journal.clone();
            if policy.shelf.is_none() {
                policy.start.offer_ahead(&policy.engine, instance);
            }
            Ok::<_, Failure>(journal.take())
        });
        let instance = self.engine.lane.drive(instance, &meter, &self.usage.lane);
        let said = timeout(wall, instance).await;
        let said = said.unwrap_or(Ok(Err(Failure::TooSlow(wall))));
        said.unwrap_or_else(|Lost| Err(Failure::Lost))?
            .iter()
            .for_each(|said| said.write(&self.spec.name, &self.site));
        Ok(())
    }

    fn tell_loaded(&self) {
        let (policy, site, digest) = (self.spec.name.as_str(), &*self.site, self.digest.as_str());
        let code = match self.start.code() {
            CodeFrom::Cache => "cached",
            CodeFrom::Compiler => "compiled",
        };
        match self.configured() {
            Configured::Once | Configured::EachInstance => {
                tracing::info!(policy, site, digest, code, configured = "once", "a policy is loaded")
            }
            Configured::Ahead { reason } => {
                let configured = "ahead of every call";
                tracing::info!(policy, site, digest, code, configured, reason, "a policy is loaded");
            }
            // Thousands of sites would fill the log.
            Configured::EachCall { reason } if self.start.is_one_of_many() => {
                tracing::debug!(policy, site, digest, reason, "a policy is loaded");
            }
            Configured::EachCall { reason } => {
                let configured = "for every call";
                tracing::info!(policy, site, digest, code, configured, reason, "a policy is loaded");
            }
        }
    }

    pub fn info(&self) -> PolicyInfo {
        PolicyInfo {
            name: self.spec.name.clone(),
            wasm: self.spec.wasm.clone(),
            digest: self.digest.clone(),
            reference: self.spec.pin.as_ref().and_then(|pin| pin.reference.clone()),
            contract: CONTRACT.into(),
            imports: self.imports.clone(),
            limits: self.spec.limits.clone(),
            grants: self.spec.grants.clone(),
            configured: self.configured(),
            code: self.start.code(),
            shadow: self.shadow.as_deref().map(Shadow::info),
        }
    }

    fn configured(&self) -> Configured {
        self.start.configured(self.spec.reuse.isolation)
    }
}

fn check_spec(spec: &PolicySpec) -> Result<(), String> {
    if let Some(name) = spec.establishes.iter().find(|name| is_reserved(name)) {
        return Err(format!(
            "establishes the fact {name:?}, and names with wasmserve. or tls. are the server's own"
        ));
    }
    check_limits(&spec.limits)
}

/// Ends a call that takes longer. The timer is made when the call does not end in its first turn, which a tick bounds:
/// nearly all do, and the timer would be a twentieth of a short one.
async fn within<F: Future>(wall: Duration, mut call: Pin<&mut F>) -> Result<F::Output, Elapsed> {
    match poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
        Poll::Ready(outcome) => Ok(outcome),
        // On the heap, as all that most calls do not need.
        Poll::Pending => Box::pin(timeout(wall, call)).await,
    }
}

// === deciding ===

impl Policy {
    /// Whether its decisions may be kept at all.
    pub fn keeps(&self) -> bool {
        self.spec.reuse.evidence && self.spec.reuse.isolation == Isolation::Request
    }

    /// Whether a call that nobody waits for may be made now.
    pub fn has_room(&self) -> bool {
        self.engine.is_idle()
    }

    /// Decides a request by running the policy, and writes nothing to the log. Dropping the future ends the call and leaves
    /// nothing behind.
    pub async fn run(self: &Arc<Self>, circumstances: &Circumstances, transcript: bool) -> Ran {
        let trail = Trail { transcript, log: false };
        self.run_metered(circumstances, trail, &self.meter()).await
    }

    /// What counts the running time of one call.
    pub fn meter(&self) -> Meter {
        Meter::new(self.spec.limits.configure)
    }

    /// As [`Policy::run`], with a meter that others look at.
    pub async fn run_metered(self: &Arc<Self>, circumstances: &Circumstances, trail: Trail, meter: &Meter) -> Ran {
        let wall = self.spec.limits.wall;
        let waiting = AtomicBool::new(true);
        let call = pin!(self.call(circumstances.clone(), trail, meter, &waiting));
        let failure = match within(wall, call).await {
            Ok(Ok(ran)) => return ran,
            Ok(Err(failure)) => failure,
            Err(_) if waiting.load(Ordering::Relaxed) => Failure::Busy,
            Err(_) => Failure::TooSlow(wall),
        };
        Ran {
            outcome: Err(failure),
            said: None,
            recorder: None,
        }
    }

    /// `Err`: it did not come to a decision's beginning.
    async fn call(
        self: &Arc<Self>,
        circumstances: Circumstances,
        trail: Trail,
        meter: &Meter,
        waiting: &AtomicBool,
    ) -> Result<Ran, Failure> {
        // A task that calls and never waits lets others have their turn.
        consume_budget().await;
        let turn = match self.turns.try_acquire() {
            Ok(turn) => turn,
            // The semaphore is never closed.
            Err(_) => Box::pin(self.turns.acquire()).await.map_err(|_| Failure::Busy)?,
        };
        let place = Place::take(self, turn);
        let ready = match &self.shelf {
            Some(shelf) => shelf.take(),
            None => self.ahead(),
        };
        let from = match ready {
            Some(instance) => Beginning::Warm(instance),
            None => Beginning::Start(match self.engine.free_slot(&self.usage.places) {
                Some(slot) => slot,
                None => Box::pin(self.engine.slot(&self.usage.places)).await,
            }),
        };
        waiting.store(false, Ordering::Relaxed);
        let _noting = Noting {
            habit: &self.habit,
            meter,
        };
        // On the heap from the beginning: each hand that it goes through would copy it.
        let called = Box::pin(Self::ask(from, place, circumstances, trail, meter.clone()));
        let called = match self.calls {
            Calls::OnTheLane => self.engine.lane.drive(called, meter, &self.usage.lane).await,
            Calls::WhereTheyBegan => Ok(Lane::drive_here(called, meter).await),
        };
        let Called { outcome, _place } = called.map_err(|Lost| Failure::Lost)?;
        let Answered {
            mut decided,
            recorder,
            rest,
        } = outcome?;
        let said = match rest {
            Rest::Whole(instance) => match &self.shelf {
                // Its place wakes whoever waits for one.
                Some(shelf) if decided.is_ok() && self.engine.is_idle() => {
                    let said = self.said(&instance.store.data().journal, trail);
                    shelf.put(instance, self.spec.limits.concurrent.min(Self::SHELF));
                    said
                }
                _ => {
                    let journal = instance.store.data().journal.clone();
                    drop(instance);
                    self.said(&journal, trail)
                }
            },
            Rest::Place { said, .. } => said,
        };
        // Nobody else has it yet.
        if said.is_some()
            && let Some(decided) = decided.as_mut().ok().and_then(Arc::get_mut)
        {
            decided.said = said.clone();
        }
        Ok(Ran {
            outcome: decided,
            said,
            recorder,
        })
    }

    /// The part that may be handed over: makes an instance and calls it. What it held goes back with what came of it, so
    /// that it is given up where the call began.
    async fn ask(from: Beginning, place: Place, circumstances: Circumstances, trail: Trail, meter: Meter) -> Called {
        let policy = &place.0;
        let asked = policy.try_ask(from, circumstances, trail, meter).await;
        let outcome = asked.map(|asked| policy.answered(asked, trail));
        Called { outcome, _place: place }
    }

    /// What ran in the lane is taken down there, unless it is used again: giving back what it wrote takes milliseconds of the
    /// kernel's time when that was much. What it said is written there too. Its place goes back to where the call began.
    fn answered(&self, (mut instance, decided): Asked, trail: Trail) -> Answered {
        let call = instance.store.data_mut();
        let recorder = match self.keeps() || trail.transcript {
            true => Some(std::mem::replace(&mut call.recorder, self.recorder())),
            false => {
                call.recorder.clear();
                None
            }
        };
        let rest = match call.meter.wants_lane() && self.shelf.is_none() {
            true => {
                let journal = call.journal.clone();
                let slot = instance.take_down();
                let said = self.said(&journal, trail);
                Rest::Place { said, _slot: slot }
            }
            false => Rest::Whole(instance),
        };
        Answered {
            decided,
            recorder,
            rest,
        }
    }

    /// What an instance has said: to be asked for when it is gone, if it goes, because that ends the last line.
    fn said(&self, journal: &Journal, trail: Trail) -> Option<Arc<Said>> {
        let said = journal.take();
        if trail.log {
            self.tell(said.as_deref());
        }
        said
    }

    async fn try_ask(
        &self,
        from: Beginning,
        circumstances: Circumstances,
        trail: Trail,
        meter: Meter,
    ) -> Result<Asked, Failure> {
        // Before there is an instance: making one waits for the memory map, which calls in the lane change as they grow.
        if self.is_deferred() || self.habit.is_long() {
            meter.clone().hand_over().await;
        }
        let mut instance = match from {
            Beginning::Warm(instance) => instance,
            // On the heap, so that a call in an instance that there is does not carry the room for making one.
            Beginning::Start(slot) => Box::pin(self.instance(slot, meter.clone())).await?,
        };
        meter.restart(self.spec.limits.running);
        let Instance { store, policy, .. } = &mut *instance;
        store
            .data_mut()
            .begin(circumstances, &self.services, meter, trail.transcript);
        let decided = policy.wasmserve_policy_guest().call_decide(&mut *store).await;
        let call = store.data_mut();
        call.end();
        let decided = self.check(decided, &mut call.recorder);
        Ok((instance, decided))
    }

    /// Whether a call is to leave the threads that serve to others from its beginning.
    fn is_deferred(&self) -> bool {
        let deferred = self.usage.lane.gives_way();
        if deferred {
            self.counters.deferred();
        }
        deferred
    }

    /// Instances of one policy that wait to be called again: more are made when there are more calls at once.
    const SHELF: usize = 8;

    /// What the guest said, as far as it may say so. What it depended on is taken out of the record.
    fn check(
        &self,
        decided: wasmtime::Result<Result<guest::Decision, String>>,
        recorder: &mut Recorder,
    ) -> Result<Arc<Decided>, Failure> {
        let decision = match decided {
            Ok(Ok(decision)) => Decision::check(decision, &self.rules).map_err(Failure::Malformed),
            Ok(Err(words)) => Err(Failure::Said(words)),
            Err(trap) => Err(Failure::Trapped(trap)),
        };
        Ok(Arc::new(Decided {
            decision: decision?,
            dependence: Arc::new(std::mem::take(&mut recorder.dependence)),
            facts: std::mem::take(&mut recorder.facts),
            said: None,
        }))
    }

    fn recorder(&self) -> Box<Recorder> {
        Recorder::new(
            self.keeps().then(|| self.engine.key().clone()),
            self.spec.limits.answers,
        )
    }

    /// An instance that was configured ahead, for this call alone.
    fn ahead(&self) -> Option<Box<Instance>> {
        let mut instance = self.start.take_ahead(&self.engine, &self.usage)?;
        instance.store.data_mut().recorder = self.recorder();
        self.counters.ahead();
        Some(instance)
    }

    /// A new instance in its configured state.
    async fn instance(&self, slot: Slot, meter: Meter) -> Result<Box<Instance>, Failure> {
        let (instances, configure) = self.start.instances(&self.engine);
        let store = store(
            &self.engine,
            self.start.setting(),
            &self.spec.limits,
            Phase::Configuring,
            self.recorder(),
            meter,
        );
        let begun = configure.then(Instant::now);
        let instance = Instance::new(slot, store, &instances, configure).await?;
        if let Some(begun) = begun {
            self.start.configured_for_a_call(&self.engine, begun.elapsed());
        }
        Ok(instance)
    }

    /// Writes the lines of a decision to the log: when it is made, and each time it is used again.
    pub fn tell(&self, said: Option<&Said>) {
        if let Some(said) = said {
            said.write(&self.spec.name, &self.site);
        }
    }

    /// Says that the same answers led to different decisions.
    pub fn report_contradiction(&self) {
        self.counters.contradicted();
        tracing::error!(
            policy = %self.spec.name,
            digest = %self.digest,
            site = %self.site,
            "a policy decided differently on the same answers: its decisions are no longer kept"
        );
    }
}
