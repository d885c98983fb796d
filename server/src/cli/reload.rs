//! What is being served, and how it is replaced while it is.
//!
//! In the order of a reload: the configuration is read, and everything loaded, aside ([`Loader`]); new addresses are bound;
//! until then anything that is wrong leaves all as it was. Then sites, options and listeners are swapped. Requests under
//! way end on the generation that they began on.

use super::{
    ServeOptions, descriptors::Descriptors, operators::Operators, options::ConfigurationError, upgrade::Sockets,
};
use crate::{
    acme::{self, Acme, AcmeError},
    admin,
    changes::Changes,
    config::{Configuration, OperatorSettings, ServerSettings, errors::reason},
    listeners::Listeners,
    net::{Inherited, ListenError, Server, TlsError, stop::Stopped},
    observe::{Destination, LogGuard, meters},
    sites::{LoadErrors, Loader, Sites},
    supervisor,
    watch::{Recording, Secret, Watch},
};
use anyhow::Context;
use futures_util::future::join_all;
use std::{
    collections::BTreeSet,
    future::pending,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{sync::Semaphore, task::JoinHandle};

/// How long observers have, when all exchanges have ended, to take note of them.
const TELL_OBSERVERS: Duration = Duration::from_secs(5);

/// A server that serves.
pub struct Serving<'a> {
    options: &'a ServeOptions,
    log: &'a LogGuard,
    settings: ServerSettings,
    /// Those of the start, part of which holds until the end.
    started: ServerSettings,
    sources: BTreeSet<PathBuf>,
    /// Those of a configuration that could be read and not be served: a change of one may mend it.
    tried: BTreeSet<PathBuf>,
    /// Never served: the sources, and what is for operators alone.
    protected: Vec<PathBuf>,
    loader: Loader,
    server: Arc<Server>,
    listeners: Listeners,
    room: Room,
    operators: Operators,
    /// Handed over and not used yet.
    inherited: Inherited,
    changes: Option<Changes>,
    /// Orders certificates, once the server serves.
    ordering: Option<JoinHandle<()>>,
}

/// What serving begins with.
struct Parts {
    loader: Loader,
    server: Arc<Server>,
    listeners: Listeners,
    room: Room,
    inherited: Inherited,
    changes: Option<Changes>,
}

/// Why all stays as it was.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    #[error("sites cannot be served")]
    Load(#[from] LoadErrors),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Acme(#[from] AcmeError),
    #[error(transparent)]
    Listen(#[from] ListenError),
}

/// Errors beyond are counted: the log has room for some thousand lines at a time.
const TOLD: usize = 100;

/// How many connections may be open at once.
struct Room {
    semaphore: Arc<Semaphore>,
    size: usize,
    descriptors: Descriptors,
}

// === impl Serving ===

impl<'a> Serving<'a> {
    /// Loads everything, binds the addresses and accepts. The reading of the configuration began at `begun`. When that
    /// fails, operators are answered no more.
    pub async fn start(
        options: &'a ServeOptions,
        log: &'a LogGuard,
        configuration: Configuration,
        begun: SystemTime,
        operators: Operators,
        inherited: Inherited,
    ) -> Result<Self, anyhow::Error> {
        match Parts::load(options, &configuration, begun, &operators.desk, inherited).await {
            Ok(parts) => Ok(Self::open(options, log, configuration, operators, parts)),
            Err(error) => {
                operators.end().await;
                Err(error)
            }
        }
    }

    fn open(
        options: &'a ServeOptions,
        log: &'a LogGuard,
        configuration: Configuration,
        operators: Operators,
        parts: Parts,
    ) -> Self {
        let Parts {
            loader,
            server,
            listeners,
            room,
            inherited,
            changes,
        } = parts;
        Self {
            options,
            log,
            protected: configuration.protected(),
            started: configuration.server.clone(),
            settings: configuration.server,
            sources: configuration.sources,
            tried: BTreeSet::new(),
            loader,
            server,
            listeners,
            room,
            operators,
            inherited,
            changes,
            ordering: None,
        }
    }

    /// Ends when what the configuration was read from has changed, with the cause of the reload; never when nobody watches.
    pub async fn changed(&mut self) -> &'static str {
        match &mut self.changes {
            Some(changes) => changes.changed().await,
            None => pending().await,
        }
        "a change of the configuration or a plugin"
    }

    /// Serves what the configuration is now; goes on as before when that cannot be served. Dropping the future does the
    /// latter.
    pub async fn reload(&mut self, cause: &'static str) {
        let (begun, since) = (Instant::now(), SystemTime::now());
        let before = self.server.sites.load_full();
        self.tried.clear();
        match self.try_reload(&before).await {
            Ok(sites) => {
                let unchanged = sites.shared_with(&before);
                let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                let (generation, sites) = (sites.generation, sites.len());
                tracing::info!(cause, generation, sites, unchanged, took_ms, "reloaded");
                meters().reloads.note(Vec::new());
                if let Some(changes) = &mut self.changes {
                    changes.follow(&self.sources, since);
                }
            }
            Err(error) => {
                self.note_failure(cause, before.generation, &error);
                if let Some(changes) = &mut self.changes {
                    let tried = self.tried.iter().map(PathBuf::as_path);
                    changes.follow_failure(error.files().chain(tried), since);
                }
            }
        }
    }

    async fn try_reload(&mut self, before: &Sites) -> Result<Arc<Sites>, ReloadError> {
        let configuration = self.read().await?;
        self.tried.clone_from(&configuration.sources);
        let sites = Arc::new(self.loader.load(&configuration, Some(before)).await?);
        let acme = &self.server.acme;
        let authority = acme.authority(configuration.acme.as_ref())?;
        let tls = configuration.tls(self.server.tls().as_ref(), acme)?;
        let net = configuration.server.net(tls);
        let wanted = configuration.listeners();
        let fresh = self.listeners.bind(&wanted, &mut self.inherited)?;
        // Nothing fails from here on.
        let settings = &configuration.server;
        self.server.acme.follow(authority, configuration.acme_names());
        tokio::spawn(remember_tenants(self.server.clone()));
        self.server.set_options(net);
        settings.limit(self.loader.limits());
        sites.apply_budgets();
        meters().retired.retire(before, &sites);
        self.server.sites.store(sites.clone());
        let addresses = self.listeners.follow(&wanted, fresh);
        if let Err(error) = announce(&addresses, settings) {
            tracing::warn!(%error, "cannot write to standard output");
        }
        self.room.resize(settings);
        self.log.set_filter(&settings.log);
        for (setting, changed) in settings.fixed_at_start(&self.started) {
            if changed {
                tracing::warn!(setting, "a change of this setting needs a restart");
            }
        }
        self.protected = configuration.protected();
        // What is still in use is still nobody's to see.
        self.protected.extend(self.started.kept());
        self.settings = configuration.server;
        self.sources = configuration.sources;
        self.loader.settle(&self.protected);
        Ok(sites)
    }

    /// Reads the configuration, where a disk or a registry that does not answer keeps nobody.
    async fn read(&self) -> Result<Configuration, ConfigurationError> {
        let options = self.options.clone();
        let reading = tokio::task::spawn_blocking(move || options.configuration());
        reading
            .await
            .unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }

    fn note_failure(&mut self, cause: &'static str, generation: u64, error: &ReloadError) {
        let lines = error.lines();
        meters().reloads.note(lines.iter().take(TOLD).cloned().collect());
        for error in lines.iter().take(TOLD) {
            tracing::error!(cause, error, "the new configuration cannot be used");
        }
        if let Some(more) = lines.len().checked_sub(TOLD).filter(|more| *more > 0) {
            tracing::error!(
                cause,
                more,
                "the new configuration has further errors: wasmserve check tells them all"
            );
        }
        tracing::warn!(cause, generation, "not reloaded: the old configuration is served on");
        self.loader.settle(&self.protected);
    }

    pub fn drain_timeout(&self) -> Duration {
        self.settings.drain_timeout
    }

    pub fn drain_delay(&self) -> Duration {
        self.settings.drain_delay
    }

    /// The server serves: whoever started it may know.
    pub fn ready(&mut self) {
        self.inherited.settle();
        self.ordering = Some(tokio::spawn(self.server.acme.clone().run()));
        tokio::spawn(remember_tenants(self.server.clone()));
        supervisor::ready();
    }

    /// No certificate is ordered from now on: whoever answers the authority's question is another process.
    pub fn stop_ordering(&mut self) {
        if let Some(ordering) = self.ordering.take() {
            ordering.abort();
        }
    }

    /// Operators ask another process from now on.
    pub fn withdraw(&self) {
        self.operators.withdraw();
        if let Some(cache) = self.loader.pool().disk_cache() {
            cache.retire();
        }
    }

    /// Descriptors of all that is listened on, for the process that replaces this one.
    ///
    /// # Errors
    /// When there is no room for them.
    pub fn sockets(&self) -> io::Result<Sockets> {
        Ok(Sockets {
            listeners: self.listeners.descriptors()?,
            admin: self.operators.descriptors()?,
        })
    }

    /// Accepts nothing more, and waits until all responses are finished, or until `limit`, if there is one.
    pub async fn stop(&self, limit: Option<Duration>) -> Stopped {
        self.listeners.stop(limit).await
    }

    /// Lets observers take note of the exchanges that have ended.
    pub async fn tell_observers(&self) {
        let sites = self.server.sites.load_full();
        let sites = sites.all();
        let observers = sites.iter().map(|site| site.chain.observers().drain(TELL_OBSERVERS));
        join_all(observers).await;
    }

    /// Ends what goes on while responses are finished.
    pub async fn end(self) {
        self.operators.end().await;
        if let Some(recording) = &self.server.watch.record {
            tokio::task::block_in_place(|| recording.finish());
        }
    }
}

/// Sees to the certificates that tenants have from an earlier start, so that they are renewed before they are asked for.
async fn remember_tenants(server: Arc<Server>) {
    let acme = server.acme.clone();
    let unknown = tokio::task::spawn_blocking(move || acme.unknown_in_store()).await;
    // A panic is in the log.
    for name in unknown.unwrap_or_default() {
        // A name that is nobody's any more leads elsewhere: nothing is ordered for it.
        if server.sites.load_full().has_tenant(&name).await {
            let acme = server.acme.clone();
            let _ = tokio::task::spawn_blocking(move || acme.remember(&name)).await;
        }
    }
}

/// What is watched of requests.
///
/// # Errors
/// When the secret's file has none, or when nothing can be recorded.
fn watch(settings: &OperatorSettings) -> Result<Watch, anyhow::Error> {
    let secret = settings.debug_secret_file.as_deref();
    let secret = secret.map(|file| Secret::read("the debug secret", file)).transpose()?;
    let record = settings.record.clone().map(Recording::start).transpose()?;
    Ok(Watch {
        debug: secret,
        record,
        narrator: None,
    })
}

/// One line for each address, for people and for programs; in the log when standard output is the access log's.
fn announce(addresses: &[String], settings: &ServerSettings) -> io::Result<()> {
    if settings.operators.access.destination == Destination::Stdout {
        for address in addresses {
            tracing::info!("listening on {address}");
        }
        return Ok(());
    }
    let mut output = io::stdout().lock();
    for address in addresses {
        writeln!(output, "listening on {address}")?;
    }
    output.flush()
}

// === impl Parts ===

impl Parts {
    async fn load(
        options: &ServeOptions,
        configuration: &Configuration,
        begun: SystemTime,
        desk: &admin::Desk,
        mut inherited: Inherited,
    ) -> Result<Self, anyhow::Error> {
        // Before anything that takes long, so that no change of it is missed.
        let changes = options.watch().then(|| Changes::new(&configuration.sources, begun));
        let descriptors = Descriptors::raise();
        let settings = &configuration.server;
        let room = Room::new(settings, descriptors);
        let mut cache = settings.cache;
        cache.descriptors = cache.descriptors.min(descriptors.cached_files());
        let watch = Watch {
            narrator: options.narrator(),
            ..watch(&settings.operators)?
        };
        let mut loader = match &settings.disk_cache {
            Some(pieces) => Loader::keeping(&cache, pieces.open(configuration.roots())),
            None => Loader::new(&cache),
        };
        let sites = loader.load(configuration, None).await;
        let sites = sites.map_err(|errors| options.cannot_load(errors))?;
        settings.limit(loader.limits());
        let acme = Arc::<Acme>::default();
        let authority = acme.authority(configuration.acme.as_ref())?;
        let net = settings.net(configuration.tls(None, &acme)?);
        acme.follow(authority, configuration.acme_names());
        let server = Server::new(Arc::new(sites), watch, loader.limits().clone(), acme, net);
        let mut listeners = Listeners::new(server.clone(), room.semaphore.clone());
        let wanted = configuration.listeners();
        let fresh = listeners.bind(&wanted, &mut inherited)?;
        let addresses = listeners.follow(&wanted, fresh);
        // Before it is announced, so that whoever waits for that finds it ready.
        desk.open(admin::Serving {
            server: server.clone(),
            pool: loader.pool().clone(),
        });
        announce(&addresses, settings).context("cannot write to standard output")?;
        Ok(Self {
            loader,
            server,
            listeners,
            room,
            inherited,
            changes,
        })
    }
}

// === impl ReloadError ===

impl ReloadError {
    /// What is wrong, one line each.
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Configuration(error) => {
                let errors = error.errors().iter();
                errors.map(|error| error.to_string().replace("\n    ", "; ")).collect()
            }
            Self::Load(errors) => errors.lines().collect(),
            Self::Tls(error) => vec![match std::error::Error::source(error) {
                Some(cause) => format!("{error}: {cause}"),
                None => error.to_string(),
            }],
            Self::Acme(error) => vec![acme::told(error)],
            Self::Listen(error) => {
                let source = std::error::Error::source(error);
                let cause = source.and_then(|source| source.downcast_ref::<io::Error>()).map(reason);
                vec![cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))]
            }
        }
    }

    /// The files that are named in it: mending one of them may mend all.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let errors = match self {
            Self::Configuration(error) => Some(error.errors().iter()),
            Self::Load(_) | Self::Tls(_) | Self::Acme(_) | Self::Listen(_) => None,
        };
        errors.into_iter().flatten().map(|error| &*error.file)
    }
}

// === impl Room ===

impl Room {
    fn new(settings: &ServerSettings, descriptors: Descriptors) -> Self {
        let size = allowed(settings, descriptors);
        Self {
            semaphore: Arc::new(Semaphore::new(size)),
            size,
            descriptors,
        }
    }

    /// Makes room, or takes it away as connections end.
    fn resize(&mut self, settings: &ServerSettings) {
        let size = allowed(settings, self.descriptors);
        if size > self.size {
            self.semaphore.add_permits(size - self.size);
        } else if size < self.size {
            let fewer = u32::try_from(self.size - size).unwrap_or(u32::MAX);
            let semaphore = self.semaphore.clone();
            tokio::spawn(async move {
                // The semaphore is never closed. Waiting here, it goes before whoever waits to accept.
                if let Ok(permits) = semaphore.acquire_many_owned(fewer).await {
                    permits.forget();
                }
            });
        }
        self.size = size;
    }
}

/// How many connections may be open at once, as far as the limit of open files goes.
fn allowed(settings: &ServerSettings, descriptors: Descriptors) -> usize {
    let allowed = descriptors.sockets().min(Semaphore::MAX_PERMITS);
    match settings.max_connections {
        Some(wanted) if wanted > allowed => {
            tracing::warn!(
                wanted,
                allowed,
                "the limit of open files allows fewer connections: raise it with ulimit -n"
            );
            allowed
        }
        Some(wanted) => wanted,
        None => descriptors.connections().min(Semaphore::MAX_PERMITS),
    }
}
