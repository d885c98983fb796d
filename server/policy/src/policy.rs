//! One loaded policy: configured, and asked to decide.
//!
//! In the order of a call: wait for a turn (this policy's, then one of the engine's instances), instantiate, decide, check
//! the decision. Whatever goes wrong becomes a [`Fault`] that the log names and the client does not.
use crate::{
    ChainSpec, Fault, Limits, LoadError, PolicyInfo, PolicySpec,
    bindings::PolicyWithServicesPre,
    call::{Call, Setting},
    component::{CONTRACT, Compiled, one_line},
    config,
    decision::{Decision, Malformed, Rules},
    dependence::{Dependence, is_reserved},
    host::Engine,
    journal::Said,
    link,
    questions::Circumstances,
    recorder::Recorder,
    running::{Meter, RanTooLong},
};
use http::StatusCode;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Semaphore, time::timeout};
use wasmtime::{PoolConcurrencyLimitError, Store, StoreLimitsBuilder, WasmBacktrace};

/// Bytes of arguments or results that one crossing between guest and host may copy: a response body (256 KiB), header
/// fields and facts at their ceilings, and what their list entries weigh. Without it a guest could name one large string
/// many times over, and the host would copy it as often.
const CROSSING: usize = 1 << 20;
/// What a busy server asks clients to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Characters of a guest's own words in a log line.
const MAX_WORDS: usize = 2000;

pub(crate) struct Policy {
    pub spec: PolicySpec,
    site: Arc<str>,
    digest: String,
    imports: Vec<String>,
    engine: Arc<Engine>,
    instances: PolicyWithServicesPre<Call>,
    setting: Arc<Setting>,
    rules: Rules,
    turns: Semaphore,
}

/// A decision and what it depended on.
pub(crate) struct Decided {
    pub decision: Arc<Decision>,
    /// Without what came through facts, which only the chain knows.
    pub dependence: Arc<Dependence>,
    /// Facts that were asked for.
    pub facts: Arc<[String]>,
}

/// Why a call came to nothing.
#[derive(Debug)]
enum Failure {
    /// The policy's own `err`.
    Said(String),
    Trapped(wasmtime::Error),
    Malformed(Malformed),
    /// No turn or no instance within the wall time.
    Busy,
    /// The call took longer than the wall time.
    TooSlow(Duration),
}

// === impl Policy ===

impl Policy {
    /// Links and configures a compiled policy.
    pub async fn load(
        engine: Arc<Engine>,
        compiled: &Compiled,
        spec: PolicySpec,
        chain: &ChainSpec,
    ) -> Result<Self, LoadError> {
        let refuse = |reason: String| LoadError {
            policy: spec.name.clone(),
            wasm: spec.wasm.clone(),
            reason,
        };
        check_spec(&spec).map_err(refuse)?;
        let linked = link::link(engine.wasm(), compiled, &spec.grants).map_err(refuse)?;
        let instances = PolicyWithServicesPre::new(linked).map_err(|e| refuse(one_line(&e)))?;
        let setting = Setting {
            config: config::entries(&spec.config).map_err(refuse)?,
            reads: spec.reads.clone(),
            seed: engine.seed(),
        };
        let rules = Rules {
            roots: chain.roots.clone(),
            establishes: spec.establishes.clone(),
            grants: spec.grants.clone(),
        };
        let policy = Self {
            site: chain.site.clone(),
            digest: compiled.digest.clone(),
            imports: compiled.imports.clone(),
            engine,
            instances,
            setting: Arc::new(setting),
            rules,
            turns: Semaphore::new(spec.limits.concurrent),
            spec,
        };
        match policy.try_configure().await {
            Ok(said) => said.write(&policy.spec.name, &policy.site),
            Err(failure) => {
                let reason = format!("cannot be configured: {failure}{}", failure.backtrace_in_one_line());
                return Err(LoadError {
                    policy: policy.spec.name,
                    wasm: policy.spec.wasm,
                    reason,
                });
            }
        }
        Ok(policy)
    }

    /// Runs `configure` once, so that what is wrong with the configuration shows at load.
    async fn try_configure(&self) -> Result<Said, Failure> {
        let limits = &self.spec.limits;
        // Compiling keeps processors busy while a chain is loaded, so the wall time is generous here.
        let wall = limits.wall.max(limits.configure.saturating_mul(10));
        let configured = async {
            let _slot = self.engine.slot().await;
            let (store, _) = self.configured().await?;
            let journal = store.data().journal.clone();
            drop(store);
            Ok(journal.take())
        };
        timeout(wall, configured).await.unwrap_or(Err(Failure::TooSlow(wall)))
    }

    /// A new instance in its configured state.
    async fn configured(&self) -> Result<(Store<Call>, crate::bindings::PolicyWithServices), Failure> {
        let mut store = self.store();
        let meter = store.data().meter.clone();
        let instance = meter
            .measure(async {
                let instance = self.instances.instantiate_async(&mut store).await?;
                let configured = instance.wasmserve_policy_guest().call_configure(&mut store).await?;
                wasmtime::Result::Ok((instance, configured))
            })
            .await;
        match instance.map_err(Failure::Trapped)? {
            (instance, Ok(())) => Ok((store, instance)),
            (_, Err(words)) => Err(Failure::Said(words)),
        }
    }

    fn store(&self) -> Store<Call> {
        let limits = &self.spec.limits;
        let ceilings = StoreLimitsBuilder::new()
            .memory_size(limits.memory)
            .trap_on_grow_failure(true)
            .build();
        let recorder = Recorder::new(self.engine.key().clone(), limits.answers, false);
        let meter = Meter::new(limits.configure);
        let mut store = Store::new(
            self.engine.wasm(),
            Call::new(self.setting.clone(), recorder, ceilings, meter),
        );
        store.limiter(|call| &mut call.limits);
        store.set_epoch_deadline(1);
        store.epoch_deadline_callback(|context| context.data().meter.at_tick());
        store.set_hostcall_fuel(CROSSING);
        store
    }

    /// Decides a request. Dropping the future ends the call and leaves nothing behind.
    pub async fn decide(&self, circumstances: &Arc<Circumstances>) -> Result<Decided, Fault> {
        let wall = self.spec.limits.wall;
        let waiting = AtomicBool::new(true);
        let outcome = match timeout(wall, self.run(circumstances, &waiting)).await {
            Ok(outcome) => outcome,
            Err(_) if waiting.into_inner() => Err(Failure::Busy),
            Err(_) => Err(Failure::TooSlow(wall)),
        };
        outcome.map_err(|failure| self.report(&failure, circumstances))
    }

    async fn run(&self, circumstances: &Arc<Circumstances>, waiting: &AtomicBool) -> Result<Decided, Failure> {
        // Neither semaphore is ever closed.
        let _turn = self.turns.acquire().await.map_err(|_| Failure::Busy)?;
        let _slot = self.engine.slot().await;
        waiting.store(false, Ordering::Relaxed);
        let (mut store, instance) = self.configured().await?;
        let call = store.data_mut();
        call.circumstances = Some(circumstances.clone());
        call.meter = Meter::new(self.spec.limits.running);
        // What `configure` printed was written when the policy was loaded.
        call.journal.take();
        let (meter, journal) = (call.meter.clone(), call.journal.clone());
        let decided = meter
            .measure(instance.wasmserve_policy_guest().call_decide(&mut store))
            .await;
        let Call { recorder, .. } = store.into_data();
        journal.take().write(&self.spec.name, &self.site);
        let decision = decided.map_err(Failure::Trapped)?.map_err(Failure::Said)?;
        let decision = Decision::check(decision, &self.rules).map_err(Failure::Malformed)?;
        Ok(Decided {
            decision: Arc::new(decision),
            dependence: Arc::new(recorder.dependence),
            facts: recorder.facts.into(),
        })
    }

    /// Writes the one log line of a failure and makes the fault that the client sees.
    fn report(&self, failure: &Failure, circumstances: &Circumstances) -> Fault {
        let fault = failure.fault();
        tracing::error!(
            policy = %self.spec.name,
            digest = %self.digest,
            site = %self.site,
            status = fault.status.as_u16(),
            path = %circumstances.request.path,
            reason = %failure,
            backtrace = %failure.backtrace().unwrap_or_default(),
            "a policy failed"
        );
        fault
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
        }
    }
}

fn check_spec(spec: &PolicySpec) -> Result<(), String> {
    let Limits { memory, concurrent, .. } = spec.limits;
    if let Some(name) = spec.establishes.iter().find(|name| is_reserved(name)) {
        return Err(format!(
            "establishes the fact {name:?}, and names with wasmserve. or tls. are the server's own"
        ));
    }
    if memory > crate::host::MAX_MEMORY {
        return Err(format!(
            "asks for {memory} bytes of memory; at most {} are allowed",
            crate::host::MAX_MEMORY
        ));
    }
    if concurrent == 0 || concurrent > Semaphore::MAX_PERMITS {
        return Err(format!("cannot have {concurrent} calls under way at once"));
    }
    Ok(())
}

// === impl Failure ===

impl Failure {
    fn fault(&self) -> Fault {
        let busy = match self {
            Self::Busy | Self::TooSlow(_) => true,
            Self::Trapped(error) => error.is::<RanTooLong>() || error.is::<PoolConcurrencyLimitError>(),
            Self::Said(_) | Self::Malformed(_) => false,
        };
        if busy {
            Fault {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(RETRY_AFTER),
            }
        } else {
            Fault {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                retry_after: None,
            }
        }
    }

    fn backtrace(&self) -> Option<String> {
        let Self::Trapped(error) = self else { return None };
        error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::to_string)
    }

    fn backtrace_in_one_line(&self) -> String {
        let frames = self.backtrace().unwrap_or_default();
        let names: Vec<&str> = frames
            .lines()
            .skip(1)
            .filter_map(|line| line.rsplit(" - ").next())
            .collect();
        if names.is_empty() {
            String::new()
        } else {
            format!(" (in {})", names.join(", called by "))
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Said(words) => f.write_str(clipped(words)),
            Self::Trapped(error) => {
                // The backtrace is part of the chain; it has a field of its own.
                let causes = error.chain().map(ToString::to_string);
                let causes: Vec<String> = causes.filter(|c| !c.contains("wasm backtrace:")).collect();
                f.write_str(clipped(&causes.join(": ").replace('\n', " ")))
            }
            Self::Malformed(malformed) => f.write_str(clipped(&malformed.to_string())),
            Self::Busy => f.write_str("no turn within its wall time: too many calls are under way"),
            Self::TooSlow(wall) => write!(f, "took longer than its wall time of {wall:?}"),
        }
    }
}

fn clipped(words: &str) -> &str {
    let end = words.char_indices().nth(MAX_WORDS).map_or(words.len(), |(at, _)| at);
    &words[..end]
}
