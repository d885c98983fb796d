//! One loaded policy: configured, and asked to decide.
//!
//! In the order of a call: wait for a turn (this policy's, then one of the engine's instances), instantiate, decide, check
//! the decision. Whatever goes wrong is a [`Failure`], which the log names and the client does not.
use crate::{
    ChainSpec, Configured, Fault, Isolation, LoadError, PolicyInfo, PolicySpec,
    bindings::exports::wasmserve::policy::guest,
    call::Phase,
    component::{CONTRACT, Compiled, Role, one_line},
    config,
    counters::Counters,
    decided::Decided,
    decision::{Decision, Rules},
    dependence::is_reserved,
    failure::Failure,
    grants::Links,
    host::{Engine, Slot, check_limits},
    instance::{Instance, Shelf, store},
    journal::Said,
    link,
    questions::Circumstances,
    recorder::Recorder,
    running::Meter,
    services::Services,
    start::{Origin, Start},
};
use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};
use tokio::{
    sync::Semaphore,
    time::{error::Elapsed, timeout},
};

pub(crate) struct Policy {
    pub spec: PolicySpec,
    site: Arc<str>,
    digest: String,
    imports: Vec<String>,
    engine: Arc<Engine>,
    start: Arc<Start>,
    rules: Rules,
    services: Arc<Services>,
    turns: Semaphore,
    /// Where instances are reused.
    shelf: Option<Arc<Shelf>>,
    pub counters: Counters,
}

/// What came of one call.
pub(crate) struct Ran {
    pub outcome: Result<Arc<Decided>, Failure>,
    pub said: Arc<Said>,
    /// `None`: the call was cut off.
    pub recorder: Option<Box<Recorder>>,
}

// === loading ===

impl Policy {
    /// Links and configures a compiled policy.
    pub async fn load(
        engine: Arc<Engine>,
        compiled: &Arc<Compiled>,
        spec: PolicySpec,
        chain: &ChainSpec,
    ) -> Result<Self, LoadError> {
        let refusal = (spec.name.clone(), spec.wasm.clone());
        let policy = Self::try_load(engine, compiled, spec, chain).await;
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
    ) -> Result<Self, String> {
        check_spec(&spec)?;
        let links = Links::from(&spec.grants);
        let linker = engine.linker(links).map_err(|error| one_line(&error))?;
        link::check(&linker, compiled, links, Role::Policy)?;
        let config = config::entries(&spec.config)?;
        let origin = Origin::new(compiled, config, &spec.reads, &spec.grants, &spec.limits);
        let start = Start::of(&engine, origin, compiled, linker, &spec.limits).await;
        let policy = Self {
            site: chain.site.clone(),
            digest: compiled.digest.clone(),
            imports: compiled.imports.clone(),
            start: start.map_err(|failure| failure.cannot_configure())?,
            rules: Rules {
                roots: chain.roots.clone(),
                establishes: spec.establishes.clone(),
                grants: spec.grants.clone(),
            },
            services: Services::new(&spec.name, &spec.grants, spec.limits.wall, engine.sites.of(&chain.site))?,
            turns: Semaphore::new(spec.limits.concurrent),
            shelf: (spec.reuse.isolation == Isolation::Reuse).then(|| {
                let shelf = Arc::default();
                engine.spare(&shelf);
                shelf
            }),
            counters: Counters::default(),
            engine,
            spec,
        };
        policy
            .try_instance()
            .await
            .map_err(|failure| failure.cannot_configure())?;
        policy.tell_loaded();
        Ok(policy)
    }

    /// Makes an instance as every call does, so that what is wrong with the configuration shows at load, and writes what
    /// `configure` says.
    async fn try_instance(&self) -> Result<(), Failure> {
        let limits = &self.spec.limits;
        // Compiling keeps processors busy while chains are loaded, so the wall time is generous here.
        let wall = limits.wall.max(limits.configure.saturating_mul(10));
        let instance = async {
            let slot = self.engine.slot().await;
            let _ticking = self.engine.ticking();
            let instance = self.instance(slot).await?;
            let journal = instance.store.data().journal.clone();
            drop(instance);
            Ok::<Said, Failure>(journal.take())
        };
        let said = timeout(wall, instance).await.unwrap_or(Err(Failure::TooSlow(wall)))?;
        said.write(&self.spec.name, &self.site);
        Ok(())
    }

    fn tell_loaded(&self) {
        let (policy, site, digest) = (self.spec.name.as_str(), &*self.site, self.digest.as_str());
        match self.start.configured() {
            Configured::Once | Configured::EachInstance => {
                tracing::info!(policy, site, digest, configured = "once", "a policy is loaded")
            }
            Configured::EachCall { reason } => {
                tracing::info!(
                    policy,
                    site,
                    digest,
                    configured = "for every call",
                    reason,
                    "a policy is loaded"
                );
            }
        }
    }

    pub fn info(&self) -> PolicyInfo {
        PolicyInfo {
            name: self.spec.name.clone(),
            wasm: self.spec.wasm.clone(),
            digest: self.digest.clone(),
            contract: CONTRACT.into(),
            imports: self.imports.clone(),
            limits: self.spec.limits.clone(),
            grants: self.spec.grants.clone(),
            configured: self.start.configured(),
        }
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
async fn within<F: Future>(wall: Duration, call: F) -> Result<F::Output, Elapsed> {
    let mut call = pin!(call);
    match poll_fn(|context| Poll::Ready(call.as_mut().poll(context))).await {
        Poll::Ready(outcome) => Ok(outcome),
        Poll::Pending => timeout(wall, call).await,
    }
}

// === deciding ===

impl Policy {
    /// Whether its decisions may be kept at all.
    pub fn keeps(&self) -> bool {
        self.spec.reuse.evidence && self.spec.reuse.isolation == Isolation::Request
    }

    /// Decides a request by running the policy. Dropping the future ends the call and leaves nothing behind.
    pub async fn run(&self, circumstances: &Circumstances, transcript: bool) -> Ran {
        let circumstances = Arc::new(circumstances.clone());
        let wall = self.spec.limits.wall;
        let waiting = AtomicBool::new(true);
        let failure = match within(wall, self.call(circumstances, transcript, &waiting)).await {
            Ok(Ok(ran)) => return ran,
            Ok(Err(failure)) => failure,
            Err(_) if waiting.into_inner() => Failure::Busy,
            Err(_) => Failure::TooSlow(wall),
        };
        Ran {
            outcome: Err(failure),
            said: Arc::default(),
            recorder: None,
        }
    }

    /// `Err`: it did not come to a decision's beginning.
    async fn call(
        &self,
        circumstances: Arc<Circumstances>,
        transcript: bool,
        waiting: &AtomicBool,
    ) -> Result<Ran, Failure> {
        // The semaphore is never closed.
        let _turn = self.turns.acquire().await.map_err(|_| Failure::Busy)?;
        let warm = self.shelf.as_ref().and_then(|shelf| shelf.take());
        let slot = match &warm {
            Some(_) => None,
            None => Some(self.engine.slot().await),
        };
        waiting.store(false, Ordering::Relaxed);
        let _ticking = self.engine.ticking();
        let mut instance = match (warm, slot) {
            (Some(instance), _) => instance,
            (None, Some(slot)) => self.instance(slot).await?,
            (None, None) => return Err(Failure::Busy),
        };
        let call = instance.store.data_mut();
        call.begin(
            circumstances,
            self.services.clone(),
            Meter::new(self.spec.limits.running),
            transcript,
        );
        let (meter, journal) = (call.meter.clone(), call.journal.clone());
        let decided = meter
            .measure(
                instance
                    .policy
                    .wasmserve_policy_guest()
                    .call_decide(&mut instance.store),
            )
            .await;
        let went_well = matches!(decided, Ok(Ok(_)));
        let recorder = instance.store.data_mut().end(self.recorder());
        match &self.shelf {
            Some(shelf) if went_well => shelf.put(instance, self.spec.limits.concurrent.min(Self::SHELF)),
            _ => drop(instance),
        }
        Ok(self.check(decided, recorder, journal.take()))
    }

    /// Instances of one policy that wait to be called again: more are made when there are more calls at once.
    const SHELF: usize = 8;

    fn check(
        &self,
        decided: wasmtime::Result<Result<guest::Decision, String>>,
        recorder: Box<Recorder>,
        said: Said,
    ) -> Ran {
        let said = Arc::new(said);
        let decision = match decided {
            Ok(Ok(decision)) => Decision::check(decision, &self.rules).map_err(Failure::Malformed),
            Ok(Err(words)) => Err(Failure::Said(words)),
            Err(trap) => Err(Failure::Trapped(trap)),
        };
        let outcome = decision.map(|decision| {
            let (dependence, facts) = (Arc::new(recorder.dependence.clone()), recorder.facts.clone());
            Arc::new(Decided {
                decision,
                dependence,
                facts,
                said: said.clone(),
            })
        });
        Ran {
            outcome,
            said,
            recorder: Some(recorder),
        }
    }

    fn recorder(&self) -> Box<Recorder> {
        Recorder::new(
            self.keeps().then(|| self.engine.key().clone()),
            self.spec.limits.answers,
        )
    }

    /// A new instance in its configured state.
    async fn instance(&self, slot: Slot) -> Result<Box<Instance>, Failure> {
        let (instances, configure) = self.start.instances(&self.engine);
        let store = store(
            &self.engine,
            &self.start.setting,
            &self.spec.limits,
            Phase::Configuring,
            self.recorder(),
        );
        let begun = configure.then(Instant::now);
        let instance = Instance::new(slot, store, &instances, configure).await?;
        if let Some(begun) = begun {
            self.start.configured_for_a_call(&self.engine, begun.elapsed());
        }
        Ok(instance)
    }

    /// Writes the lines of a decision to the log: when it is made, and each time it is used again.
    pub fn tell(&self, said: &Said) {
        said.write(&self.spec.name, &self.site);
    }

    /// Writes the one log line of a failure and makes the fault that the client sees.
    pub fn report(&self, failure: &Failure, circumstances: &Circumstances) -> Fault {
        let fault = failure.fault();
        tracing::error!(
            policy = %self.spec.name,
            digest = %self.digest,
            site = %self.site,
            status = fault.status.as_u16(),
            path = %circumstances.request.path,
            // As strings, which the log quotes: what a guest says makes neither lines nor fields of its own.
            reason = failure.to_string(),
            backtrace = failure.place(),
            "a policy failed"
        );
        fault
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
