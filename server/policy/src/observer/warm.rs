//! One loaded observer and its instance, which is kept from batch to batch: what it counts in memory is its own business.
use super::{Ending, Finished, ObserverCounts};
use crate::{
    Configured, LoadError, PolicyInfo, PolicySpec,
    bindings::observer::{Observer as Guest, ObserverPre, wasmserve::policy::observation},
    call::{Call, Phase, Setting},
    code::CodeFrom,
    component::{Compiled, OBSERVING, Role, one_line, unlinked},
    config,
    failure::Failure,
    grants::Links,
    host::{Engine, check_limits},
    instance::{Spare, store},
    journal::Said,
    lane::Lost,
    link,
    places::Slot,
    recorder::Recorder,
    running::Meter,
    services::Services,
    usage::Usage,
};
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::time::timeout;
use wasmtime::Store;

pub(crate) struct Observer {
    spec: PolicySpec,
    site: Arc<str>,
    digest: String,
    imports: Vec<String>,
    engine: Arc<Engine>,
    guest: ObserverPre<Call>,
    code: CodeFrom,
    setting: Arc<Setting>,
    services: Arc<Services>,
    /// Of the site.
    usage: Arc<Usage>,
    /// Where the instance waits for the next batch.
    resting: Arc<Resting>,
    told: AtomicU64,
    failed: AtomicU64,
    dropped: AtomicU64,
}

/// A configured instance.
struct Warm {
    store: Store<Call>,
    guest: Guest,
    _slot: Slot,
}

/// An instance between two batches. Whoever needs its place may have it.
#[derive(Default)]
struct Resting(Mutex<Option<Box<Warm>>>);

impl Resting {
    fn take(&self) -> Option<Box<Warm>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, warm: Box<Warm>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(warm);
    }
}

impl Spare for Resting {
    fn give_up_one(&self) -> bool {
        self.take().is_some()
    }
}

// === loading ===

impl Observer {
    /// Links and configures a compiled observer.
    pub async fn load(
        engine: Arc<Engine>,
        compiled: &Arc<Compiled>,
        spec: PolicySpec,
        site: &Arc<str>,
        usage: Arc<Usage>,
    ) -> Result<Arc<Self>, LoadError> {
        let observer = Self::try_load(engine, compiled, &spec, site, usage).await;
        observer.map_err(|reason| LoadError {
            policy: spec.name,
            wasm: spec.wasm,
            reason,
        })
    }

    async fn try_load(
        engine: Arc<Engine>,
        compiled: &Arc<Compiled>,
        spec: &PolicySpec,
        site: &Arc<str>,
        usage: Arc<Usage>,
    ) -> Result<Arc<Self>, String> {
        check_limits(&spec.limits)?;
        let links = Links::from(&spec.grants);
        let linker = engine.linker(links).map_err(|error| one_line(&error))?;
        link::check(compiled, links, Role::Observer)?;
        let (component, code) = compiled.code(&engine.codes)?;
        let guest = linker.instantiate_pre(&component).and_then(ObserverPre::new);
        let resting = Arc::<Resting>::default();
        engine.spare(&resting);
        let observer = Arc::new(Self {
            site: site.clone(),
            digest: compiled.digest.clone(),
            imports: compiled.imports.clone(),
            guest: guest.map_err(|error| unlinked(&error))?,
            code,
            setting: Arc::new(Setting {
                config: config::entries(&spec.config)?,
                reads: spec.reads.clone(),
                environment: spec.grants.environment.clone(),
                directories: spec.grants.directories.clone(),
                seed: engine.seed(),
            }),
            services: Services::new(&spec.name, &spec.grants, spec.limits.wall, usage.services.clone())?,
            resting,
            told: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            engine,
            spec: spec.clone(),
            usage,
        });
        let slot = observer.engine.slot(&observer.usage.places).await;
        let warm = observer.instance(slot).await;
        let warm = warm.map_err(|failure| failure.while_configuring())?;
        observer.tell(warm.store.data().journal.take().as_deref());
        observer.resting.put(warm);
        tracing::info!(
            observer = spec.name.as_str(),
            site = &**site,
            digest = observer.digest.as_str(),
            "an observer is loaded"
        );
        Ok(observer)
    }

    pub fn services_are_current(&self) -> bool {
        self.services.is_current()
    }

    pub fn origin(&self) -> (&PolicySpec, &str) {
        (&self.spec, &self.digest)
    }

    pub fn info(&self) -> PolicyInfo {
        PolicyInfo {
            name: self.spec.name.clone(),
            wasm: self.spec.wasm.clone(),
            digest: self.digest.clone(),
            reference: self.spec.pin.as_ref().and_then(|pin| pin.reference.clone()),
            contract: OBSERVING.into(),
            imports: self.imports.clone(),
            limits: self.spec.limits.clone(),
            grants: self.spec.grants.clone(),
            configured: Configured::EachInstance,
            code: self.code,
            shadow: None,
        }
    }
}

// === observing ===

impl Observer {
    /// Tells a batch. After an error of its own words the instance stays; after any other fault it is thrown away.
    pub async fn observe(self: &Arc<Self>, batch: &[Arc<Finished>]) -> Result<(), Failure> {
        let batch: Vec<_> = batch.iter().map(|finished| self.exchange(finished)).collect();
        // The limit of a call, apart from the waiting for a place: what has to wait for that is nobody's fault.
        let warm = match self.resting.take() {
            Some(warm) => warm,
            None => {
                let slot = self.engine.slot(&self.usage.places).await;
                self.instance(slot).await?
            }
        };
        let journal = warm.store.data().journal.clone();
        let meter = Meter::new(self.spec.limits.running);
        let call = self.clone().call(warm, batch, meter.clone());
        let observed = self.drive(self.spec.limits.wall, call, &meter).await;
        self.tell(journal.take().as_deref());
        let (warm, told) = observed?;
        // Its place wakes whoever waits for one.
        if self.engine.is_idle() {
            self.resting.put(warm);
        }
        told.map_err(Failure::Said)
    }

    /// Drives a call to its end as a policy's: on the lane when it takes long, on the account of the site.
    async fn drive<T: Send>(
        &self,
        wall: Duration,
        call: impl Future<Output = Result<T, Failure>> + Send + 'static,
        meter: &Meter,
    ) -> Result<T, Failure> {
        let _ticking = self.engine.ticking();
        let begun = Instant::now();
        let outcome = timeout(wall, self.engine.lane.drive(Box::pin(call), meter, &self.usage.lane)).await;
        self.usage.account.charge(meter.used(begun));
        match outcome {
            Ok(outcome) => outcome.unwrap_or_else(|Lost| Err(Failure::Lost)),
            Err(_) => Err(Failure::TooSlow(wall)),
        }
    }

    async fn call(
        self: Arc<Self>,
        mut warm: Box<Warm>,
        batch: Vec<observation::Exchange>,
        meter: Meter,
    ) -> Result<(Box<Warm>, Result<(), String>), Failure> {
        warm.store.set_epoch_deadline(1);
        let call = warm.store.data_mut();
        call.begin_observing(&self.services, meter);
        call.end();
        call.recorder.clear();
        let observing = warm.guest.wasmserve_policy_observing();
        let told = observing.call_observe(&mut warm.store, &batch).await;
        Ok((warm, told.map_err(Failure::Trapped)?))
    }

    /// A new instance, configured.
    async fn instance(self: &Arc<Self>, slot: Slot) -> Result<Box<Warm>, Failure> {
        // Compiling keeps processors busy while much is loaded, so the wall time is generous here.
        let limits = &self.spec.limits;
        let wall = limits.wall.max(limits.configure.saturating_mul(10));
        let meter = Meter::new(limits.configure);
        self.drive(wall, self.clone().configured(slot, meter.clone()), &meter)
            .await
    }

    async fn configured(self: Arc<Self>, slot: Slot, meter: Meter) -> Result<Box<Warm>, Failure> {
        let mut store = store(
            &self.engine,
            &self.setting,
            &self.spec.limits,
            Phase::Configuring,
            self.recorder(),
            meter,
        );
        let made = async {
            let guest = self.guest.instantiate_async(&mut store).await?;
            let configured = guest.wasmserve_policy_observing().call_configure(&mut store).await?;
            Ok::<_, wasmtime::Error>((guest, configured))
        };
        let (guest, configured) = made.await.map_err(Failure::Trapped)?;
        configured.map_err(Failure::Said)?;
        Ok(Box::new(Warm {
            store,
            guest,
            _slot: slot,
        }))
    }

    fn recorder(&self) -> Box<Recorder> {
        Recorder::new(None, self.spec.limits.answers)
    }

    /// As the contract tells it, with the facts that the manifest reads.
    fn exchange(&self, finished: &Finished) -> observation::Exchange {
        let facts = finished.facts.iter().filter(|(name, _)| self.spec.reads.contains(name));
        observation::Exchange {
            arrived: milliseconds(finished.arrived),
            duration: u64::try_from(finished.duration.as_micros()).unwrap_or(u64::MAX),
            site: finished.site.to_string(),
            host: finished.host.clone(),
            scheme: finished.scheme.to_owned(),
            method: finished.method.clone(),
            path: finished.path.clone(),
            client_address: finished.client.map(|address| address.to_string()),
            status: finished.status,
            body_bytes: finished.body_bytes,
            ending: match finished.ending {
                Ending::Completed => observation::Ending::Completed,
                Ending::Aborted => observation::Ending::Aborted,
                Ending::Failed => observation::Ending::Failed,
            },
            facts: facts.cloned().collect(),
        }
    }

    fn tell(&self, said: Option<&Said>) {
        if let Some(said) = said {
            said.write(&self.spec.name, &self.site);
        }
    }

    pub fn count_told(&self, exchanges: u64) {
        self.told.fetch_add(exchanges, Relaxed);
    }

    /// With the observer's name.
    pub fn counts(&self) -> (&str, ObserverCounts) {
        let counts = ObserverCounts {
            told: self.told.load(Relaxed),
            failed: self.failed.load(Relaxed),
            dropped: self.dropped.load(Relaxed),
        };
        (&self.spec.name, counts)
    }

    pub fn report(&self, failure: &Failure, lost: u64) {
        self.failed.fetch_add(lost, Relaxed);
        tracing::error!(
            observer = %self.spec.name,
            digest = %self.digest,
            site = %self.site,
            exchanges = lost,
            reason = failure.to_string(),
            backtrace = failure.place(),
            "an observer failed"
        );
    }

    pub fn report_lost(&self, lost: u64) {
        self.dropped.fetch_add(lost, Relaxed);
        tracing::warn!(
            observer = %self.spec.name,
            site = %self.site,
            lost,
            "an observer cannot keep up: exchanges were not told to it"
        );
    }
}

/// Since 1970.
fn milliseconds(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
