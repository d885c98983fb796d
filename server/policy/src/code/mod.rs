//! Machine code of components: found in the cache on disk, or compiled.
//!
//! In the order of events: a [`Key`] says what code is wanted for; the [`CodeCache`] has it, or it is compiled and put
//! there. What runs once (the component that reads its own state) is compiled in a hurry and never cached.
//!
//! Everything that becomes executable goes through [`Code`], which only a compiler of this process or a checked file of the
//! cache can make.
mod cache;

pub use cache::CodeCache;
pub use wasmserve_files::trusted::Untrusted;

use sha2::{Digest, Sha256};
use std::{
    env::current_exe,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::{Arc, OnceLock},
};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, OptLevel, RegallocAlgorithm, component::Component};

/// What code is for: SHA-256 of everything that it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key([u8; 32]);

/// An executable image, as [`Component::serialize`] makes it.
struct Code {
    bytes: Vec<u8>,
    /// Where the image begins.
    start: usize,
}

/// Where the code of a policy came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeFrom {
    Cache,
    Compiler,
}

/// What is known of a component that is to be captured.
pub(crate) enum Known {
    /// The code of its captured state.
    Captured(Component),
    /// It cannot be captured, for this reason.
    Unsuited(String),
}

/// Makes code for one engine.
pub(crate) struct Codes {
    engine: Engine,
    /// Compiles quickly what runs once: the engine's settings, without optimizing.
    hasty: OnceLock<Option<Engine>>,
    config: Config,
    cache: Option<Arc<CodeCache>>,
    /// What code of this engine depends on besides the component.
    environment: Key,
    /// Which program this is: what a state depends on besides its origin, because the program answered `configure`.
    program: Key,
}

// === impl Key ===

impl Key {
    /// The key of a value. The hash of a type is framed, so that different values give different bytes.
    fn of(value: &impl Hash) -> Self {
        let mut hasher = Framed(Sha256::new());
        value.hash(&mut hasher);
        Self(hasher.0.finalize().into())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write(&self.0);
    }
}

/// SHA-256 as a hasher of values.
struct Framed(Sha256);

impl Hasher for Framed {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nobody asks for it: [`Key::of`] takes the whole digest.
    fn finish(&self) -> u64 {
        let digest: [u8; 32] = self.0.clone().finalize().into();
        digest.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }
}

// === impl Code ===

impl Code {
    fn of(component: &Component) -> wasmtime::Result<Self> {
        let bytes = component.serialize()?;
        Ok(Self { bytes, start: 0 })
    }

    fn image(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    #[allow(unsafe_code, reason = "the one door from bytes to code; see the argument below")]
    fn load(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the image has to be one that wasmtime's compiler made. `bytes` is private to this module, and there are
        // two ways to make a `Code`. Either the compiler made it just now, in this process. Or `CodeCache::find` read it
        // from a file that, asked of the opened descriptor, belongs to this process's user, is nobody else's to write, has
        // one name, and lies in a folder for which the same was checked all the way from `/`; whose key (the component, the
        // settings of the engine, the versions of wasmtime and of this crate) is the one that was asked for; and whose
        // SHA-256 is the one written with it, so that it is whole. Whoever can forge such a file is this user, or root, and
        // can change this process itself. It was read to memory before it was checked and is not read again, so nobody can
        // change it in between. wasmtime refuses what another version, other settings or another processor made.
        unsafe { Component::deserialize(engine, self.image()) }
    }
}

// === impl Codes ===

impl Codes {
    /// For an engine of this configuration.
    pub fn new(engine: Engine, config: Config, cache: Option<Arc<CodeCache>>) -> Self {
        let environment = Key::of(&(engine.precompile_compatibility_hash(), env!("CARGO_PKG_VERSION")));
        let program = current_exe().and_then(|path| {
            let metadata = path.metadata()?;
            Ok((metadata.len(), metadata.modified()?, path))
        });
        // A program that cannot be told from others finds no states.
        let program = program.map_or_else(
            |_| Key::of(&RandomState::new().hash_one(0_u8)),
            |program| Key::of(&program),
        );
        Self {
            program,
            engine,
            hasty: OnceLock::new(),
            config,
            cache,
            environment,
        }
    }

    /// The code of a component as it is.
    pub fn component(&self, bytes: &[u8], digest: &[u8; 32]) -> wasmtime::Result<(Component, CodeFrom)> {
        let key = Key::of(&("component", digest, self.environment));
        if let Some(cache::Entry::Code(code)) = self.find(&key)
            && let Some(component) = self.load(&code)
        {
            return Ok((component, CodeFrom::Cache));
        }
        let component = Component::from_binary(&self.engine, bytes)?;
        self.keep(&key, &component);
        Ok((component, CodeFrom::Compiler))
    }

    /// The code of a component that only this process will need.
    pub fn uncached(&self, bytes: &[u8]) -> wasmtime::Result<Component> {
        Component::from_binary(&self.engine, bytes)
    }

    /// The code of a component that runs once. Compiles in about a quarter of the time, and runs slower.
    pub fn for_one_run(&self, bytes: &[u8]) -> wasmtime::Result<Component> {
        let hasty = self.hasty.get_or_init(|| {
            let mut config = self.config.clone();
            config
                .allocation_strategy(InstanceAllocationStrategy::OnDemand)
                .cranelift_opt_level(OptLevel::None)
                .cranelift_regalloc_algorithm(RegallocAlgorithm::SinglePass);
            Engine::new(&config).ok()
        });
        let Some(hasty) = hasty else {
            return self.uncached(bytes);
        };
        let code = Code {
            bytes: hasty.precompile_component(bytes)?,
            start: 0,
        };
        // How well code is optimized is not among the settings that have to agree.
        code.load(&self.engine).or_else(|error| {
            tracing::debug!(%error, "code compiled in a hurry does not fit");
            self.uncached(bytes)
        })
    }

    /// What is kept of a component's state. `origin`: everything that the state depends on.
    pub fn state(&self, digest: &[u8; 32], origin: &impl Hash) -> Option<Known> {
        match self.find(&self.state_key(digest, origin))? {
            cache::Entry::Code(code) => self.load(&code).map(Known::Captured),
            cache::Entry::Reason(reason) => Some(Known::Unsuited(reason)),
        }
    }

    /// Keeps the captured state of a component, or why there is none.
    pub fn keep_state(&self, digest: &[u8; 32], origin: &impl Hash, known: &Known) {
        let key = self.state_key(digest, origin);
        match (known, &self.cache) {
            (Known::Captured(component), _) => self.keep(&key, component),
            (Known::Unsuited(reason), Some(cache)) => cache.keep(&key, &cache::Entry::Reason(reason.clone())),
            (Known::Unsuited(_), None) => {}
        }
    }

    fn state_key(&self, digest: &[u8; 32], origin: &impl Hash) -> Key {
        Key::of(&("state", digest, origin, self.environment, self.program))
    }

    fn find(&self, key: &Key) -> Option<cache::Entry> {
        self.cache.as_ref()?.find(key)
    }

    fn load(&self, code: &Code) -> Option<Component> {
        code.load(&self.engine)
            .inspect_err(|error| tracing::debug!(%error, "cached code does not fit"))
            .ok()
    }

    fn keep(&self, key: &Key, component: &Component) {
        let Some(cache) = &self.cache else { return };
        match Code::of(component) {
            Ok(code) => cache.keep(key, &cache::Entry::Code(code)),
            Err(error) => tracing::warn!(%error, "compiled code cannot be written down"),
        }
    }
}
