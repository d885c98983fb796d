//! Tenants: sites that are found when they are first asked for. Each folder of one directory is a host.
//!
//! In the order of events: [`index`] says whether there may be such a host, without asking the disk; what lies in its
//! folder is read beneath it ([`folder`]); its chain is loaded, the operator's ring first; it is kept, looked at again
//! when it is asked for and was not looked at for a second, and forgotten when nobody asks any more. What a tenant is just
//! writing is not read yet: it is what it was until then. Each of these steps
//! is one tenant's alone: whoever asks for another one does not wait, and what is wrong with one is a 503 of that one.

pub mod folder;
pub mod index;

use super::SiteError;
use crate::{
    config::{ConfigErrors, TenantRules, said::Said, tenants::Tenant},
    limits::Limits,
    observe::meters,
    site::Site,
};
use folder::{CUT, Folder, LESS, SETTLED, Seen};
use index::Index;
use std::{
    collections::{HashMap, HashSet},
    error::Error,
    fmt::Write,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};
use wasmserve_files::{Files, Pool};
use wasmserve_policy::{Chain, Loading};

/// How late a change of what a tenant wrote is noticed.
const FRESH: Duration = Duration::from_secs(1);

/// A tenant with plugins of its own is looked at again no sooner than this many times what loading it took, and at the
/// latest after so long.
const REST: u32 = 20;
const LONGEST_REST: Duration = Duration::from_secs(30);

/// A tenant that cannot be served is tried again after so long, although nothing of it changed.
const AGAIN: Duration = Duration::from_secs(30);

/// How long a request waits until its tenant is loaded.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tenants whose folders are read at once.
const READING: usize = 32;

/// How often a tenant that is not served is looked at again while its files change, before who asks is told to come back.
const UNSETTLED: u32 = 5;

/// How long observers of a tenant that is forgotten have to take note of the last exchanges.
const TELL_OBSERVERS: Duration = Duration::from_secs(5);

/// Lines that one tenant's errors may take in the log.
const TOLD: usize = 20;

/// All tenants of a directory, loaded or not.
pub struct Tenants {
    rules: Arc<TenantRules>,
    index: Arc<Index>,
    pool: Arc<Pool>,
    limits: Arc<Limits>,
    engine: Option<Engine>,
    table: Mutex<HashMap<Box<str>, Slot>>,
    reading: Semaphore,
    /// Tenants with plugins of their own that are compiled at once: one who waits for the compiler holds up nobody else.
    compiling: Semaphore,
}

/// What chains are loaded with.
pub struct Engine {
    /// With the operator's plugins as they were read.
    loading: Loading,
    /// The operator's ring, loaded for nobody.
    ring: Arc<Chain>,
}

/// What is known of a host.
struct Slot {
    used: Instant,
    stand: Stand,
}

enum Stand {
    /// Being loaded or looked at; with what it was before, if that could be served.
    UnderWay(watch::Receiver<Option<Outcome>>, Option<Arc<Site>>),
    Settled(Settled),
}

#[derive(Clone)]
struct Settled {
    outcome: Outcome,
    seen: Option<Seen>,
    looked: Instant,
    loaded: Instant,
    /// How long after `looked` it is not looked at again.
    rest: Duration,
    /// What it was until its folder could not be read, to go on with when it can be.
    until: Option<Box<Settled>>,
    /// What its `site.toml` said when it was last served, whatever became of it since.
    said: Option<Arc<Said>>,
}

#[derive(Clone)]
enum Outcome {
    Site(Arc<Site>),
    NotThere,
    /// What is wrong is in the log.
    Broken,
}

/// Why a tenant does not answer now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unready {
    pub retry_after: Duration,
}

/// Why a tenant cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    #[error("cannot read the folder")]
    Folder(#[from] io::Error),
    #[error("{0}")]
    Configuration(#[from] ConfigErrors),
    #[error(transparent)]
    Site(#[from] SiteError),
    #[error("{0}")]
    Plugin(String),
    #[error("what lies in the folder is still being written")]
    BeingWritten,
    #[error("it was broken off")]
    BrokenOff,
}

// === impl Engine ===

impl Engine {
    /// Loads the operator's ring, and what it is made of is what every tenant runs from now on.
    pub async fn load(rules: &TenantRules, mut loading: Loading) -> Result<Self, SiteError> {
        let ring = Arc::new(loading.load(rules.ring("")).await?);
        Ok(Self { loading, ring })
    }
}

// === impl Tenants ===

impl Tenants {
    /// `taken`: names that are other sites'. Blocks.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn new(
        rules: Arc<TenantRules>,
        taken: HashSet<Arc<str>>,
        pool: Arc<Pool>,
        limits: Arc<Limits>,
        engine: Option<Engine>,
    ) -> io::Result<Arc<Self>> {
        let index = Arc::new(Index::new(rules.directory.clone(), taken)?);
        // Half of the processors stay free for those who are served.
        let compilers = (std::thread::available_parallelism().map_or(1, usize::from) / 2).max(1);
        Ok(Arc::new(Self {
            index,
            pool,
            limits,
            engine,
            table: Mutex::default(),
            reading: Semaphore::new(READING),
            compiling: Semaphore::new(compilers),
            rules,
        }))
    }

    /// Whether these tenants are those of a configuration, and run what its plugins' files hold now.
    ///
    /// # Errors
    /// When a plugin of the ring cannot be read any more.
    pub async fn are_current(
        &self,
        rules: &TenantRules,
        taken: &HashSet<Arc<str>>,
        loading: Option<&mut Loading>,
    ) -> Result<bool, SiteError> {
        if *self.rules != *rules || self.index.taken() != taken {
            return Ok(false);
        }
        match (&self.engine, loading) {
            (Some(engine), Some(loading)) => Ok(loading.is_current(&engine.ring).await?),
            (None, None) => Ok(true),
            _ => Ok(false),
        }
    }

    pub fn rules(&self) -> &TenantRules {
        &self.rules
    }

    /// The operator's ring, loaded for nobody; `None`: tenants run no plugins.
    pub fn ring(&self) -> Option<&Chain> {
        self.engine.as_ref().map(|engine| &*engine.ring)
    }

    /// Those that are loaded.
    pub fn loaded(&self) -> Vec<Arc<Site>> {
        let table = self.table();
        let sites = table.values().filter_map(|slot| match &slot.stand {
            Stand::Settled(settled) => settled.site(),
            Stand::UnderWay(_, before) => before.as_ref(),
        });
        sites.cloned().collect()
    }

    /// A tenant that is loaded and need not be looked at yet.
    pub fn ready(&self, host: &str) -> Option<Arc<Site>> {
        let mut table = self.table();
        let slot = table.get_mut(host)?;
        match &slot.stand {
            Stand::Settled(settled) if settled.is_fresh() => {
                let site = settled.outcome.site()?.clone();
                slot.used = Instant::now();
                Some(site)
            }
            _ => None,
        }
    }

    /// Whether there was a folder of that name when the names were last read.
    pub fn last_knew(&self, host: &str) -> bool {
        self.index.last_knew(host)
    }

    /// Whether there is a folder of that name, as far as names that are at most a second old say.
    pub async fn may_be_there(&self, host: &str) -> bool {
        match self.index.knows(host) {
            Some(known) => known,
            None => self.index.look(host).await.unwrap_or(false),
        }
    }

    /// Whether there is surely no tenant of that name, by what is known now.
    pub fn certainly_lacks(&self, host: &str) -> bool {
        self.index.knows(host) == Some(false) && !self.table().contains_key(host)
    }

    /// The tenant of a host, loaded first if need be; `None`: there is none.
    ///
    /// # Errors
    /// When it cannot be served now.
    pub async fn find(self: &Arc<Self>, host: &str) -> Result<Option<Arc<Site>>, Unready> {
        let found = timeout(PATIENCE, self.outcome(host)).await;
        match found {
            Ok(Ok(Outcome::Site(site))) => Ok(Some(site)),
            Ok(Ok(Outcome::NotThere)) => Ok(None),
            Ok(Ok(Outcome::Broken)) => Err(Unready { retry_after: AGAIN }),
            Ok(Err(error)) => {
                tracing::error!(host, error = %error, "tenants cannot be looked up");
                Err(Unready {
                    retry_after: Duration::from_secs(1),
                })
            }
            Err(_) => {
                tracing::warn!(host, "a tenant is not loaded yet");
                Err(Unready {
                    retry_after: Duration::from_secs(5),
                })
            }
        }
    }

    async fn outcome(self: &Arc<Self>, host: &str) -> io::Result<Outcome> {
        let known = match self.index.knows(host) {
            Some(known) => known,
            None => self.index.look(host).await?,
        };
        if !known && !self.table().contains_key(host) {
            return Ok(Outcome::NotThere);
        }
        let mut under_way = {
            let mut table = self.table();
            let slot = table.get_mut(host);
            match slot {
                Some(slot) => {
                    slot.used = Instant::now();
                    match &slot.stand {
                        Stand::UnderWay(under_way, _) => under_way.clone(),
                        Stand::Settled(settled) if settled.is_fresh() => return Ok(settled.outcome.clone()),
                        Stand::Settled(settled) => {
                            let under_way = self.clone().begin(host, Some(settled.clone()));
                            let before = settled.site().cloned();
                            slot.stand = Stand::UnderWay(under_way.clone(), before);
                            under_way
                        }
                    }
                }
                None => {
                    let under_way = self.clone().begin(host, None);
                    let slot = Slot {
                        used: Instant::now(),
                        stand: Stand::UnderWay(under_way.clone(), None),
                    };
                    table.insert(host.into(), slot);
                    under_way
                }
            }
        };
        let outcome = under_way.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        Ok(outcome.unwrap_or(Outcome::Broken))
    }

    /// Looks a tenant up in a task of its own, so that it does not end with the client who asked first.
    fn begin(self: Arc<Self>, host: &str, before: Option<Settled>) -> watch::Receiver<Option<Outcome>> {
        let (tell, told) = watch::channel(None);
        let host: Box<str> = host.into();
        tokio::spawn(async move {
            let tenants = self.clone();
            let name = host.clone();
            let served = before.as_ref().and_then(|before| before.site().cloned());
            let looking = tokio::spawn(async move { tenants.settle(&name, before).await });
            // A panic is a fault of this server, and that tenant's alone.
            let settled = looking
                .await
                .unwrap_or_else(|_| Settled::broken(&host, &TenantError::BrokenOff, None));
            let outcome = settled.outcome.clone();
            self.note(&host, settled, served);
            tell.send_replace(Some(outcome));
        });
        told
    }

    /// Takes note of what became of a tenant, and of what it was before.
    fn note(&self, host: &str, settled: Settled, before: Option<Arc<Site>>) {
        let now = settled.site();
        if let Some(site) = now {
            site.account.set_budget(&site.spec.budget);
        }
        if let Some(before) = before
            && now.is_none_or(|now| !Arc::ptr_eq(&now.chain, &before.chain))
        {
            meters().retired.retire_site(&before);
        }
        let forgotten = {
            let mut table = self.table();
            if matches!(settled.outcome, Outcome::NotThere) {
                table.remove(host)
            } else {
                if let Some(slot) = table.get_mut(host) {
                    slot.stand = Stand::Settled(settled);
                }
                let beyond = table.len() > self.rules.loaded;
                beyond.then(|| least_used(&mut table)).flatten()
            }
        };
        forgotten.into_iter().for_each(Slot::end);
    }

    async fn settle(&self, host: &str, before: Option<Settled>) -> Settled {
        // An error of reading may pass: it is answered for this once.
        let before = before.map(|before| match before.until {
            Some(until) => *until,
            None => before,
        });
        let due = before.as_ref().filter(|before| !before.is_to_be_tried_again());
        let seen = due.and_then(|due| due.seen.clone());
        let is_served = before.as_ref().is_some_and(|before| before.outcome.site().is_some());
        let known = before.as_ref().and_then(|before| before.said.clone());
        let mut looks = 1;
        let read = loop {
            match self.read(host, seen.clone(), known.clone()).await {
                // Whoever writes to it without an end keeps it as it is.
                Ok((_, Condition::Unsettled)) if is_served => break Ok(Read::AsBefore),
                Ok((_, Condition::Unsettled)) if looks < UNSETTLED => sleep(SETTLED).await,
                // What may be half of something is served to nobody. Of who never wrote anything there is no half.
                Ok((Read::Tenant(tenant, _), Condition::Unsettled)) if known.is_some() || tenant.said.is_some() => {
                    break Err(TenantError::BeingWritten);
                }
                read => break read.map(|(read, _)| read),
            }
            looks += 1;
        };
        let (begun, mut compiles, mut said) = (Instant::now(), false, known.clone());
        let (seen, loaded) = match read {
            Ok(Read::AsBefore) => {
                let before = before.expect("only what was seen before is as before");
                return Settled {
                    looked: Instant::now(),
                    rest: FRESH,
                    ..before
                };
            }
            Ok(Read::NotThere) => return Settled::now(Outcome::NotThere, None),
            Ok(Read::Tenant(tenant, seen)) => {
                compiles = !tenant.modules.is_empty();
                said = Some(Arc::new(tenant.said.clone().unwrap_or_default()));
                (Some(seen), self.load(host, *tenant, before.as_ref()).await)
            }
            Ok(Read::Wrong(errors, seen)) => (Some(seen), Err(errors.into())),
            Err(error) => {
                return Settled {
                    until: before.filter(|before| before.outcome.site().is_some()).map(Box::new),
                    said: known,
                    ..Settled::broken(host, &error, None)
                };
            }
        };
        let settled = match loaded {
            Ok(site) => Settled {
                said,
                ..Settled::now(Outcome::Site(site), seen)
            },
            Err(error) => Settled {
                said: known,
                ..Settled::broken(host, &error, seen)
            },
        };
        // Who changes its plugins all the time keeps no compiler busy.
        let rest = match compiles {
            true => (begun.elapsed() * REST).clamp(FRESH, LONGEST_REST),
            false => FRESH,
        };
        Settled { rest, ..settled }
    }

    /// Reads what lies in a tenant's folder, unless it is what it was.
    async fn read(
        &self,
        host: &str,
        before: Option<Seen>,
        known: Option<Arc<Said>>,
    ) -> Result<(Read, Condition), TenantError> {
        // The semaphore is never closed.
        let _reading = self.reading.acquire().await.map_err(|_| TenantError::BrokenOff)?;
        let (rules, host) = (self.rules.clone(), host.to_owned());
        let read = tokio::task::spawn_blocking(move || read(&rules, &host, before, known.as_deref()));
        Ok(read.await.map_err(|_| TenantError::BrokenOff)??)
    }

    async fn load(&self, host: &str, tenant: Tenant, before: Option<&Settled>) -> Result<Arc<Site>, TenantError> {
        let before = before.and_then(|before| before.outcome.site());
        let name: Arc<str> = host.into();
        let Tenant {
            spec, ring, modules, ..
        } = tenant;
        let plugins = spec.chain.policies.len() + spec.chain.observers.len();
        let chain = match (before, &self.engine) {
            // Its chain, with what was decided, stays when only its files are served in another way.
            (Some(before), _) if before.spec.chain == spec.chain && modules.is_empty() => before.chain.clone(),
            (_, Some(engine)) if plugins > 0 => {
                let mut loading = engine.loading.clone();
                let _compiling = match modules.is_empty() {
                    true => None,
                    false => Some(self.compiling.acquire().await.map_err(|_| TenantError::BrokenOff)?),
                };
                for (file, bytes) in modules {
                    let provided = loading.provide(file.clone(), bytes).await;
                    provided.map_err(|problem| TenantError::Plugin(format!("{}: {problem}", file.display())))?;
                }
                let chain = loading.load(spec.chain.clone()).await.map_err(SiteError::from)?;
                Arc::new(chain.with_ring(ring))
            }
            _ => Arc::new(Chain::empty_among(name.clone(), &self.limits.crowd)),
        };
        let files = match before.filter(|before| before.spec.files == spec.files) {
            Some(before) => before.files.clone(),
            None => {
                let (pool, options) = (self.pool.clone(), spec.files.clone());
                let opened = tokio::task::spawn_blocking(move || Files::within(pool, options));
                let opened = opened.await.map_err(|_| TenantError::BrokenOff)?;
                Arc::new(opened.map_err(SiteError::from)?)
            }
        };
        Ok(Arc::new(Site {
            account: self.limits.account(&name, &spec.budget),
            meter: meters().of_site(&name),
            name,
            chain,
            files,
            spec: Arc::new(spec),
        }))
    }

    /// Looks at every tenant: how many there are, and what is wrong with which. Plugins of tenants are loaded too.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub async fn examine(&self) -> io::Result<(usize, Vec<(String, TenantError)>)> {
        let hosts = self.index.list()?;
        let mut wrong = Vec::new();
        for host in &hosts {
            let examined = match self.read(host, None, None).await.map(|(read, _)| read) {
                Ok(Read::Tenant(tenant, _)) if tenant.modules.is_empty() => Ok(()),
                Ok(Read::Tenant(tenant, _)) => self.load(host, *tenant, None).await.map(drop),
                Ok(Read::Wrong(errors, _)) => Err(errors.into()),
                Ok(Read::AsBefore | Read::NotThere) => Ok(()),
                Err(error) => Err(error),
            };
            if let Err(error) = examined {
                wrong.push((host.clone(), error));
            }
        }
        Ok((hosts.len(), wrong))
    }

    /// Reads what every tenant wrote, without loading anything: how many there are, and what is wrong with which. Blocks.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn resolve_all(rules: &TenantRules) -> io::Result<(usize, Vec<(String, TenantError)>)> {
        let hosts = Index::new(rules.directory.clone(), HashSet::new())?.list()?;
        let mut wrong = Vec::new();
        for host in &hosts {
            let resolved = match Folder::open(&rules.directory, host, &rules.root) {
                Ok(Some(mut folder)) => rules.tenant(host, &mut folder).map(drop).map_err(TenantError::from),
                Ok(None) => Ok(()),
                Err(error) => Err(error.into()),
            };
            wrong.extend(resolved.err().map(|error| (host.clone(), error)));
        }
        Ok((hosts.len(), wrong))
    }

    /// Forgets, from now on, those that nobody asks for.
    pub fn forget_unused(self: &Arc<Self>) {
        let every = (self.rules.forget_after / 4).clamp(Duration::from_millis(250), Duration::from_secs(30));
        let tenants = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                let Some(tenants) = Weak::upgrade(&tenants) else { return };
                tenants.sweep(Instant::now());
            }
        });
    }

    fn sweep(&self, now: Instant) {
        let unused: Vec<Slot> = {
            let mut table = self.table();
            let limit = self.rules.forget_after;
            let unused = table.extract_if(|_, slot| slot.is_idle() && now.duration_since(slot.used) >= limit);
            unused.map(|(_, slot)| slot).collect()
        };
        unused.into_iter().for_each(Slot::end);
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Slot>> {
        // Nothing that holds the lock can panic half-way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one that was asked for least recently.
fn least_used(table: &mut HashMap<Box<str>, Slot>) -> Option<Slot> {
    let idle = table.iter().filter(|(_, slot)| slot.is_idle());
    let host = idle.min_by_key(|(_, slot)| slot.used).map(|(host, _)| host.clone())?;
    table.remove(&host)
}

/// What lies in a tenant's folder.
enum Read {
    AsBefore,
    NotThere,
    Tenant(Box<Tenant>, Seen),
    Wrong(ConfigErrors, Seen),
}

/// Whether what was read is whole, as far as that can be known.
enum Condition {
    Settled,
    /// It is just being written.
    Unsettled,
}

/// `known`: what the tenant said when it was last served. Blocks.
fn read(rules: &TenantRules, host: &str, before: Option<Seen>, known: Option<&Said>) -> io::Result<(Read, Condition)> {
    let Some(mut folder) = Folder::open(&rules.directory, host, &rules.root)? else {
        return Ok((Read::NotThere, Condition::Settled));
    };
    if before.is_some_and(|before| folder.is_as(&before)) {
        return Ok((Read::AsBefore, Condition::Settled));
    }
    let tenant = rules.tenant(host, &mut folder);
    let rest = match &tenant {
        Ok(tenant) => rest(tenant.said.as_ref(), known),
        Err(_) => rest(None, known),
    };
    let condition = match folder.is_settled(SystemTime::now(), rest) {
        true => Condition::Settled,
        false => Condition::Unsettled,
    };
    let read = match tenant {
        Ok(tenant) => Read::Tenant(Box::new(tenant), folder.into_seen()),
        Err(errors) => Read::Wrong(errors, folder.into_seen()),
    };
    Ok((read, condition))
}

/// How long what a tenant says has to rest before it is taken to be whole.
fn rest(said: Option<&Said>, known: Option<&Said>) -> Duration {
    let nothing = Said::default();
    let said = said.unwrap_or(&nothing);
    if known.is_some_and(|known| said.says_less_than(known)) {
        LESS
    } else if said.is_cut() {
        CUT
    } else {
        SETTLED
    }
}

// === impl Slot ===

impl Slot {
    /// Whether nobody waits for it or is being answered by it.
    fn is_idle(&self) -> bool {
        match &self.stand {
            Stand::UnderWay(..) => false,
            Stand::Settled(settled) => settled.outcome.site().is_none_or(|site| Arc::strong_count(site) == 1),
        }
    }

    /// To be called without the table's lock: closing what a tenant has open takes a while.
    fn end(self) {
        if let Stand::Settled(settled) = self.stand
            && let Some(site) = settled.site().cloned()
        {
            meters().retired.retire_site(&site);
            if !site.chain.observers().is_empty() {
                tokio::spawn(async move { site.chain.observers().drain(TELL_OBSERVERS).await });
            }
        }
    }
}

// === impl Settled ===

impl Settled {
    fn now(outcome: Outcome, seen: Option<Seen>) -> Self {
        let now = Instant::now();
        Self {
            outcome,
            seen,
            looked: now,
            loaded: now,
            rest: FRESH,
            until: None,
            said: None,
        }
    }

    fn broken(host: &str, error: &TenantError, seen: Option<Seen>) -> Self {
        let lines = error.lines();
        for line in lines.iter().take(TOLD) {
            tracing::error!(site = host, error = line, "a tenant cannot be served");
        }
        if let Some(more) = lines.len().checked_sub(TOLD).filter(|more| *more > 0) {
            tracing::error!(
                site = host,
                more,
                "further errors of this tenant: wasmserve check tells them all"
            );
        }
        Self::now(Outcome::Broken, seen)
    }

    /// What serves, or goes on to when its folder can be read again.
    fn site(&self) -> Option<&Arc<Site>> {
        let until = || self.until.as_ref().and_then(|until| until.outcome.site());
        self.outcome.site().or_else(until)
    }

    fn is_fresh(&self) -> bool {
        self.looked.elapsed() < self.rest
    }

    fn is_to_be_tried_again(&self) -> bool {
        matches!(self.outcome, Outcome::Broken) && self.loaded.elapsed() >= AGAIN
    }
}

// === impl Outcome ===

impl Outcome {
    fn site(&self) -> Option<&Arc<Site>> {
        match self {
            Self::Site(site) => Some(site),
            Self::NotThere | Self::Broken => None,
        }
    }
}

// === impl TenantError ===

impl TenantError {
    /// What is wrong, one line each.
    pub fn lines(&self) -> Vec<String> {
        if let Self::Configuration(errors) = self {
            return errors
                .iter()
                .map(|error| error.to_string().replace("\n    ", "; "))
                .collect();
        }
        let mut line = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            let _ = write!(line, ": {error}");
            cause = error.source();
        }
        vec![line]
    }
}
