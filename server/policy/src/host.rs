//! The engine, shared by every site of the process.
use crate::{
    Budget, Chain, ChainSpec, Crowd, Limits, LoadError, Observers, PolicySpec, ShadowSpec,
    ahead::Ahead,
    call::Call,
    code::{CodeCache, Codes},
    component::{self, Compiled, Role},
    evidence::Key,
    grants::Links,
    instance::Spare,
    lane::Lane,
    link,
    observer::Observer,
    places::{Held, Places, Slot},
    policy::{Calls, Company, Policy},
    running::{TICK, Ticker, Ticking},
    services::{SharedState, Sites},
    shadow::{self, Bench, Shadow},
    start::{SnapshotOptions, Starts},
    usage::Usage,
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::Semaphore;
use wasmtime::{
    Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails, component::Linker,
};

/// The largest memory limit a policy can have. Images of snapshots are kept dense up to this size.
pub(crate) const MAX_MEMORY: usize = 256 << 20;
/// Policies of one chain.
const MAX_POLICIES: usize = 64;
/// Core modules of one component: language runtimes bring a dozen libraries.
const MODULES: u32 = 64;
/// Memories and tables of one component.
const MEMORIES: u32 = 4;
const TABLES: u32 = 8;
/// Table entries: large runtimes have about 10,000 functions that are called through a table.
const TABLE_ELEMENTS: usize = 100_000;
/// Bytes of stack for the guest, and for the fibre it runs on together with host functions.
const WASM_STACK: usize = 512 << 10;
const FIBRE_STACK: usize = 1 << 20;
/// Bytes of a used memory that stay resident for the next instance of the same policy.
const KEEP_RESIDENT: usize = 1 << 20;

#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Instances that may be alive at once. Calls beyond it wait within their wall time.
    pub instances: u32,
    /// Where compiled code is kept from one start to the next. `None`: everything is compiled at each start.
    pub code: Option<Arc<CodeCache>>,
    /// How often calls are looked at that are under way. Longer only where instructions are counted, which makes calls
    /// slow: what a call may run where it began, and its running time, are told from these ticks.
    pub tick: Duration,
    /// Where sites keep what they share.
    pub shared: SharedState,
    /// The sites that share the processors, those without policies too.
    pub crowd: Arc<Crowd>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            instances: 256,
            code: None,
            tick: TICK,
            shared: SharedState::default(),
            crowd: Arc::default(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("cannot start the WebAssembly engine")]
pub struct HostError(#[source] pub Box<dyn std::error::Error + Send + Sync>);

/// A handle to the engine: cheap to clone.
#[derive(Clone)]
pub struct Host {
    engine: Arc<Engine>,
}

/// The loading of many chains. Each file is read once, however many chains run it, so that all of them run the same. A
/// clone goes on from what was read so far.
#[derive(Clone)]
pub struct Loading {
    host: Host,
    files: Files,
}

/// What files were found to hold.
type Files = HashMap<PathBuf, Arc<Compiled>>;

/// The engine and what all calls share.
pub(crate) struct Engine {
    wasm: wasmtime::Engine,
    pub codes: Codes,
    ticker: Ticker,
    /// Where calls go on that do not end soon.
    pub lane: Lane,
    /// Where policies are configured whose state is captured.
    pub captures: Lane,
    places: Places,
    key: Key,
    /// Where instances wait to be called again.
    spares: Mutex<Vec<Weak<dyn Spare>>>,
    /// What is loaded, by digest: the same file is compiled once.
    compiled: Mutex<HashMap<String, Weak<Compiled>>>,
    /// One for each combination of optional imports, when first needed.
    linkers: [OnceLock<Arc<Linker<Call>>>; Links::COUNT],
    pub starts: Starts,
    pub ahead: Ahead,
    /// What services keep for each site.
    pub sites: Sites,
    pub crowd: Arc<Crowd>,
    /// Where candidates are compared; made for the first one.
    bench: OnceLock<Bench>,
}

impl Host {
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        Self::with_snapshots(options, SnapshotOptions::default())
    }

    /// As [`Host::new`], with as many snapshots as are said.
    pub fn with_snapshots(options: HostOptions, snapshots: SnapshotOptions) -> Result<Self, HostError> {
        let instances = options.instances.max(1);
        let config = engine_config(instances);
        let wasm = wasmtime::Engine::new(&config).map_err(|error| HostError(error.into()))?;
        let ticker = Ticker::start(&wasm, options.tick).map_err(|error| HostError(error.into()))?;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let engine = Engine {
            codes: Codes::new(wasm.clone(), config, options.code),
            wasm,
            ticker,
            lane: Lane::new(processors),
            captures: Lane::named("capture", processors),
            places: Places::new(instances as usize),
            key: Key::random(),
            spares: Mutex::default(),
            compiled: Mutex::default(),
            linkers: Default::default(),
            starts: Starts::new(snapshots),
            ahead: Ahead::new(instances as usize / 2),
            sites: Sites::new(options.shared),
            crowd: options.crowd,
            bench: OnceLock::new(),
        };
        Ok(Self {
            engine: Arc::new(engine),
        })
    }

    /// Compiles, checks and configures every policy of a chain.
    pub async fn load(&self, spec: ChainSpec) -> Result<Chain, LoadError> {
        self.loading().load(spec).await
    }

    /// Begins to load many chains, which all run what their files hold now.
    pub fn loading(&self) -> Loading {
        Loading {
            host: self.clone(),
            files: HashMap::new(),
        }
    }

    async fn load_from(&self, spec: ChainSpec, files: &mut Files) -> Result<Chain, LoadError> {
        check_chain(&spec)?;
        let mut policies = Vec::with_capacity(spec.policies.len());
        let usage = Usage::new(&spec.site, &spec.budget, &self.engine.sites, &self.engine.crowd);
        for policy in &spec.policies {
            let component = self.read(policy, Role::Policy, files).await?;
            let shadow = match &policy.shadow {
                Some(shadow) => Some(self.shadow(policy, shadow, &spec, files).await?),
                None => None,
            };
            let usage = usage.clone();
            let calls = Calls::OnTheLane;
            let company = Company { usage, calls, shadow };
            let policy = Policy::load(self.engine.clone(), &component, policy.clone(), &spec, company);
            policies.push(policy.await?);
        }
        let observers = self.observers(&spec.site, &spec.observers, &usage, files).await?;
        Ok(Chain::new(
            spec.site,
            policies,
            observers,
            self.engine.key.clone(),
            &spec.budget,
            usage,
        ))
    }

    /// What a plugin's file holds: looked at once.
    async fn read(&self, plugin: &PolicySpec, role: Role, files: &mut Files) -> Result<Arc<Compiled>, LoadError> {
        let compiled = match files.get(&plugin.wasm) {
            Some(compiled) => compiled.clone(),
            None => {
                let compiled = self.compile(plugin).await?;
                files.insert(plugin.wasm.clone(), compiled.clone());
                compiled
            }
        };
        let is_pinned = match &plugin.pin {
            Some(pin) if pin.sha256 != compiled.digest => Err(format!(
                "has the digest sha256:{}, and it is pinned to sha256:{}",
                compiled.digest, pin.sha256
            )),
            _ => Ok(()),
        };
        let checked = is_pinned.and_then(|()| compiled.check(role));
        checked.map(|()| compiled).map_err(|reason| LoadError {
            policy: plugin.name.clone(),
            wasm: plugin.wasm.clone(),
            reason,
        })
    }

    /// Loads the candidate that runs beside a policy.
    async fn shadow(
        &self,
        live: &PolicySpec,
        shadow: &ShadowSpec,
        chain: &ChainSpec,
        files: &mut Files,
    ) -> Result<Arc<Shadow>, LoadError> {
        let spec = shadow::candidate(live, shadow);
        let component = self.read(&spec, Role::Policy, files).await?;
        let company = Company {
            // Nothing that it does is felt by the site.
            usage: Usage::new(&chain.site, &Budget::default(), &Sites::default(), &self.engine.crowd),
            // The lane is for those whose answers are waited for.
            calls: Calls::WhereTheyBegan,
            shadow: None,
        };
        let candidate = Policy::load(self.engine.clone(), &component, spec, chain, company)
            .await
            .map_err(|error| LoadError {
                reason: format!("{}; to a shadow only logging and sharing are granted", error.reason),
                ..error
            })?;
        let bench = self.engine.bench().map_err(|error| LoadError {
            policy: live.name.clone(),
            wasm: shadow.wasm.clone(),
            reason: format!("no thread can be started for shadows: {error}"),
        })?;
        Ok(Arc::new(Shadow::new(candidate, live, shadow, bench)))
    }

    /// Compiles, checks and configures the observers of a site, and starts a task for each.
    async fn observers(
        &self,
        site: &Arc<str>,
        specs: &[PolicySpec],
        usage: &Arc<Usage>,
        files: &mut Files,
    ) -> Result<Observers, LoadError> {
        let mut observers = Vec::with_capacity(specs.len());
        for spec in specs {
            let component = self.read(spec, Role::Observer, files).await?;
            observers.push(Observer::load(self.engine.clone(), &component, spec.clone(), site, usage.clone()).await?);
        }
        Ok(Observers::start(observers))
    }

    async fn compile(&self, policy: &PolicySpec) -> Result<Arc<Compiled>, LoadError> {
        let (engine, file) = (self.engine.clone(), policy.wasm.clone());
        let refuse = |reason| LoadError {
            policy: policy.name.clone(),
            wasm: policy.wasm.clone(),
            reason,
        };
        let compiled = tokio::task::spawn_blocking(move || engine.compiled(&file)).await;
        match compiled {
            Ok(compiled) => compiled.map_err(refuse),
            Err(error) => Err(refuse(format!("compiling it failed: {error}"))),
        }
    }
}

// === impl Loading ===

impl Loading {
    /// Compiles, checks and configures every policy of a chain.
    pub async fn load(&mut self, spec: ChainSpec) -> Result<Chain, LoadError> {
        self.host.load_from(spec, &mut self.files).await
    }

    /// Takes these bytes for what a file holds: it is not read any more.
    ///
    /// # Errors
    /// When they are no plugin, in one line.
    pub async fn provide(&mut self, file: PathBuf, bytes: Vec<u8>) -> Result<(), String> {
        let engine = self.host.engine.clone();
        let inspected = tokio::task::spawn_blocking(move || engine.known(bytes)).await;
        let compiled = inspected.map_err(|error| format!("compiling it failed: {error}"))??;
        self.files.insert(file, compiled);
        Ok(())
    }

    /// Whether the files of a chain, those of its grants among them, hold what it was loaded from.
    ///
    /// # Errors
    /// When one cannot be read any more, or holds something else that is no policy.
    pub async fn is_current(&mut self, chain: &Chain) -> Result<bool, LoadError> {
        if !chain.services_are_current() {
            return Ok(false);
        }
        for (spec, role, digest) in chain.origins() {
            let found = self.host.read(&spec, role, &mut self.files).await?;
            if found.digest != digest {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn check_chain(spec: &ChainSpec) -> Result<(), LoadError> {
    let plugins: Vec<&PolicySpec> = spec.policies.iter().chain(&spec.observers).collect();
    for (at, policy) in plugins.iter().enumerate() {
        let refuse = |reason: String| LoadError {
            policy: policy.name.clone(),
            wasm: policy.wasm.clone(),
            reason,
        };
        if at == MAX_POLICIES {
            return Err(refuse(format!(
                "is one too many: a chain has at most {MAX_POLICIES} plugins"
            )));
        }
        if plugins[..at].iter().any(|earlier| earlier.name == policy.name) {
            return Err(refuse(
                "another plugin of the chain has this name: give it a \"name\" of its own".into(),
            ));
        }
    }
    Ok(())
}

/// Checks what no configuration can make possible.
pub(crate) fn check_limits(limits: &Limits) -> Result<(), String> {
    let Limits { memory, concurrent, .. } = *limits;
    if memory > MAX_MEMORY {
        return Err(format!(
            "asks for {memory} bytes of memory; at most {MAX_MEMORY} are allowed"
        ));
    }
    if concurrent == 0 || concurrent > Semaphore::MAX_PERMITS {
        return Err(format!("cannot have {concurrent} calls under way at once"));
    }
    Ok(())
}

// === impl Engine ===

impl Engine {
    pub fn wasm(&self) -> &wasmtime::Engine {
        &self.wasm
    }

    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The component of a file: the same one for every chain that uses the file.
    fn compiled(&self, file: &Path) -> Result<Arc<Compiled>, String> {
        self.known(component::read(file)?)
    }

    /// The component of these bytes.
    fn known(&self, bytes: Vec<u8>) -> Result<Arc<Compiled>, String> {
        let digest = component::digest(&bytes);
        let known = || self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(compiled) = known().get(&digest).and_then(Weak::upgrade) {
            return Ok(compiled);
        }
        let compiled = Arc::new(component::inspect(&self.wasm, bytes, digest.clone())?);
        let mut known = known();
        known.retain(|_, compiled| compiled.strong_count() > 0);
        known.insert(digest, Arc::downgrade(&compiled));
        Ok(compiled)
    }

    /// What policies are linked with.
    pub fn linker(&self, links: Links) -> wasmtime::Result<Arc<Linker<Call>>> {
        let cell = &self.linkers[links.index()];
        if let Some(linker) = cell.get() {
            return Ok(linker.clone());
        }
        let linker = Arc::new(link::linker(&self.wasm, links)?);
        Ok(cell.get_or_init(|| linker).clone())
    }

    /// Waits for a place for an instance. When there is none, those that only wait to be called again have to go.
    pub async fn slot(&self, site: &Arc<Held>) -> Slot {
        loop {
            if let Some(slot) = self.places.try_take(site) {
                return slot;
            }
            if !self.give_up_one() {
                tracing::debug!("all instances are being called: further calls wait");
                return self.places.take(site).await;
            }
        }
    }

    /// A place for an instance that nobody waits for, if there is one.
    pub fn spare_slot(&self) -> Option<Slot> {
        self.places.try_take(&Arc::default())
    }

    /// `false`: there is none.
    fn give_up_one(&self) -> bool {
        if self.ahead.give_up_one() {
            return true;
        }
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        spares.retain(|spare| spare.strong_count() > 0);
        spares.iter().filter_map(Weak::upgrade).any(|spare| spare.give_up_one())
    }

    /// Whether a call that nobody waits for may take a place.
    pub fn is_idle(&self) -> bool {
        self.places.free() > 1
    }

    /// Where candidates are compared.
    pub fn bench(&self) -> std::io::Result<Bench> {
        if let Some(bench) = self.bench.get() {
            return Ok(bench.clone());
        }
        let bench = Bench::start()?;
        Ok(self.bench.get_or_init(|| bench).clone())
    }

    /// The epoch ticks until this is dropped.
    pub fn ticking(&self) -> Ticking {
        self.ticker.call()
    }

    /// Remembers where instances wait to be called again, so that they can be given up when places are short.
    pub fn spare<S: Spare + 'static>(&self, spare: &Arc<S>) {
        let spare: Arc<dyn Spare> = spare.clone();
        self.spares
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&spare));
    }

    /// A seed for one load.
    pub fn seed(&self) -> u128 {
        let half = || u128::from(RandomState::new().hash_one(0_u8));
        half() << 64 | half()
    }
}

fn engine_config(instances: u32) -> Config {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(instances)
        .total_core_instances(instances.saturating_mul(MODULES))
        // One memory is usual; adapters and runtimes of several modules share theirs. There are as many as all components
        // together may have, so that one plugin with many cannot leave the others without.
        .total_memories(instances.saturating_mul(MEMORIES))
        .total_tables(instances.saturating_mul(TABLES))
        .total_stacks(instances)
        .max_core_instances_per_component(MODULES)
        .max_memories_per_component(MEMORIES)
        .max_tables_per_component(TABLES)
        .max_memories_per_module(MEMORIES)
        .max_tables_per_module(TABLES)
        .max_core_instance_size(1 << 20)
        .max_component_instance_size(4 << 20)
        .max_memory_size(MAX_MEMORY)
        .table_elements(TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEEP_RESIDENT)
        .table_keep_resident(64 << 10)
        .async_stack_keep_resident(64 << 10)
        .pagemap_scan(pagemap_scan());
    let mut config = Config::new();
    config
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
        // Functions of components that run at the same time are not part of the contract, and their bookkeeping would
        // nearly double the cost of a warm call (measured: 1.5 µs).
        .concurrency_support(false)
        .epoch_interruption(true)
        // Its results may differ between machines, which a kept decision must not. (Threads are not compiled in.)
        .wasm_relaxed_simd(false)
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(FIBRE_STACK)
        .memory_guaranteed_dense_image_size(MAX_MEMORY as u64)
        // Names of functions, never source lines: reading debug information at every trap would be a lever.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable);
    config
}

/// Only where nothing can be swapped out: the kernel's answer leaves out dirty pages that were, and one instance would
/// find another's bytes (wasmtime, pull request 14357).
fn pagemap_scan() -> Enabled {
    match std::fs::read_to_string("/proc/swaps") {
        Ok(swaps) if has_swap(&swaps) => Enabled::No,
        Ok(_) => Enabled::Auto,
        Err(_) => Enabled::No,
    }
}

/// The first line is the heading.
fn has_swap(swaps: &str) -> bool {
    swaps.lines().skip(1).any(|line| !line.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_seen() {
        let heading = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
        assert!(!has_swap(heading));
        assert!(has_swap(&format!("{heading}/dev/sda2 partition 8388604 0 -2\n")));
    }
}
