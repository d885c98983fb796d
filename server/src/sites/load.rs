//! Loading: from a configuration to the sites of a new generation, aside from the one that serves.
//!
//! Everything is loaded before anything of it is used: one site that cannot be served keeps all from being replaced. What
//! did not change is taken over as it is: a site's chain with its kept decisions when its specification and its plugins'
//! files are the same, its files when their options are.

use super::{Sites, Tenants, tenants::Engine};
use crate::{
    config::{Configuration, errors::without_number},
    limits::Limits,
    observe::meters,
    site::{Site, SiteSpec},
};
use std::{
    collections::HashMap,
    error::Error,
    fmt::{self, Write},
    io,
    path::PathBuf,
    sync::Arc,
};
use wasmserve_files::{CacheOptions, CachedStores, Files, FilesError, Pool, Stores};
use wasmserve_pieces::Cache;
use wasmserve_policy::{Chain, Host, HostError, HostOptions, LoadError, Loading, SharedState};
use wasmserve_stores::ObjectStores;

/// Loads one generation after the other, with one WebAssembly engine and one pool of files for all of them.
pub struct Loader {
    pool: Arc<Pool>,
    limits: Arc<Limits>,
    /// Started when the first policy is loaded.
    host: Option<Host>,
    shared: SharedState,
}

/// Why a site cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("a plugin cannot be loaded")]
    Load(#[from] LoadError),
    #[error("the files cannot be served")]
    Files(#[from] FilesError),
    #[error("the folder of tenants {} cannot be read", .directory.display())]
    Tenants { directory: PathBuf, source: io::Error },
}

/// Every site that cannot be served, by name, and why.
#[derive(Debug)]
pub struct LoadErrors(pub Vec<(Arc<str>, SiteError)>);

/// What tenants as a whole are called in errors.
const TENANTS: &str = "[sites]";

/// Errors beyond are counted only: whoever has thousands of sites mends what they have in common.
const TOLD: usize = 50;

// === impl Loader ===

impl Loader {
    pub fn new(cache: &CacheOptions) -> Self {
        Self::with_stores(cache, Arc::new(ObjectStores::default()))
    }

    /// As [`Loader::new`], for a server that keeps what is in stores on local disk.
    pub fn keeping(cache: &CacheOptions, pieces: Cache) -> Self {
        let stores = CachedStores::new(Arc::new(ObjectStores::default()), pieces);
        Self::with_stores(cache, Arc::new(stores))
    }

    fn with_stores(cache: &CacheOptions, stores: Arc<dyn Stores>) -> Self {
        Self {
            pool: Pool::with_stores(cache, Vec::new(), Some(stores)),
            limits: Arc::default(),
            host: None,
            shared: SharedState::AsConfigured,
        }
    }

    /// Nothing that the sites do is felt by those who serve the same ones: what they share stays in this process.
    pub fn aside(mut self) -> Self {
        self.shared = SharedState::InMemory;
        self
    }

    /// What the sites that it loads use of the server.
    pub fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// Loads the sites of a configuration. What is to be protected is protected from now on, beside what was before;
    /// [`Loader::settle`] ends that when the new generation is the one that serves.
    ///
    /// # Errors
    /// When a site cannot be served: there is no serving with a part of them.
    pub async fn load(&mut self, configuration: &Configuration, before: Option<&Sites>) -> Result<Sites, LoadErrors> {
        self.pool.protect_also(configuration.protected());
        let known = before.into_iter().flat_map(Sites::iter);
        let known: HashMap<&str, &Arc<Site>> = known.map(|site| (&*site.name, site)).collect();
        let mut loading = None;
        let mut sites = Vec::with_capacity(configuration.sites.len());
        let mut errors = Vec::new();
        for spec in &configuration.sites {
            let before = known.get(&**spec.name()).copied();
            match self.site(configuration, spec, before, &mut loading).await {
                Ok(site) => sites.push(site),
                Err(error) => errors.push((spec.name().clone(), error)),
            }
            // Thousands of sites take a while: whoever waits for a signal beside this must not.
            tokio::task::yield_now().await;
        }
        let tenants = match self.tenants(configuration, before, &mut loading).await {
            Ok(tenants) => tenants,
            Err(error) => {
                errors.push((TENANTS.into(), error));
                None
            }
        };
        if !errors.is_empty() {
            return Err(LoadErrors(errors));
        }
        let generation = before.map_or(0, |sites| sites.generation) + 1;
        let sites = Sites::new(generation, configuration.server.unknown_host, sites);
        Ok(sites.with_tenants(tenants))
    }

    /// What the files of all sites share.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// From now on nothing else is protected than this.
    pub fn settle(&self, protected: &[PathBuf]) {
        self.pool.protect(protected.to_vec());
    }

    /// The operator's part of the tenants: they themselves are loaded when they are asked for. Those that are loaded stay
    /// when nothing of that part changed.
    async fn tenants(
        &mut self,
        configuration: &Configuration,
        before: Option<&Sites>,
        loading: &mut Option<Loading>,
    ) -> Result<Option<Arc<Tenants>>, SiteError> {
        let Some(rules) = &configuration.tenants else {
            return Ok(None);
        };
        let taken = configuration.sites.iter().map(|site| site.name().clone()).collect();
        if rules.needs_engine() && loading.is_none() {
            *loading = Some(self.host(configuration)?.loading());
        }
        let loading = loading.as_mut().filter(|_| rules.needs_engine());
        if let Some(tenants) = before.and_then(Sites::tenants) {
            let clone = loading.as_deref().cloned();
            if tenants.are_current(rules, &taken, clone.clone().as_mut()).await? {
                return Ok(Some(tenants.clone()));
            }
        }
        let engine = match loading {
            Some(loading) => Some(Engine::load(rules, loading.clone()).await?),
            None => None,
        };
        let tenants = Tenants::new(rules.clone(), taken, self.pool.clone(), self.limits.clone(), engine);
        let tenants = tenants.map_err(|source| SiteError::Tenants {
            directory: rules.directory.clone(),
            source,
        })?;
        tenants.forget_unused();
        Ok(Some(tenants))
    }

    async fn site(
        &mut self,
        configuration: &Configuration,
        spec: &Arc<SiteSpec>,
        before: Option<&Arc<Site>>,
        loading: &mut Option<Loading>,
    ) -> Result<Arc<Site>, SiteError> {
        let chain = self.chain(configuration, spec, before, loading).await?;
        let files = match before {
            Some(site) if site.spec.files == spec.files => site.files.clone(),
            _ => Arc::new(Files::within(self.pool.clone(), spec.files.clone())?),
        };
        let unchanged = before
            .filter(|site| Arc::ptr_eq(&site.chain, &chain) && Arc::ptr_eq(&site.files, &files) && site.spec == *spec);
        Ok(unchanged.cloned().unwrap_or_else(|| {
            Arc::new(Site {
                name: spec.name().clone(),
                account: self.limits.account(spec.name(), &spec.budget),
                chain,
                files,
                meter: meters().of_site(spec.name()),
                spec: spec.clone(),
            })
        }))
    }

    async fn chain(
        &mut self,
        configuration: &Configuration,
        spec: &SiteSpec,
        before: Option<&Arc<Site>>,
        loading: &mut Option<Loading>,
    ) -> Result<Arc<Chain>, SiteError> {
        let before = before.filter(|site| site.spec.chain == spec.chain);
        if spec.chain.policies.is_empty() && spec.chain.observers.is_empty() {
            let empty = || Arc::new(Chain::empty_among(spec.name().clone(), &self.limits.crowd));
            return Ok(before.map_or_else(empty, |site| site.chain.clone()));
        }
        let loading = match loading {
            Some(loading) => loading,
            none => none.insert(self.host(configuration)?.loading()),
        };
        if let Some(site) = before
            && loading.is_current(&site.chain).await?
        {
            return Ok(site.chain.clone());
        }
        Ok(Arc::new(loading.load(spec.chain.clone()).await?))
    }

    fn host(&mut self, configuration: &Configuration) -> Result<&Host, HostError> {
        match &mut self.host {
            Some(host) => Ok(host),
            none => {
                let options = HostOptions {
                    code: configuration.server.code_cache().open(&configuration.roots()),
                    shared: self.shared,
                    crowd: self.limits.crowd.clone(),
                    ..HostOptions::default()
                };
                Ok(none.insert(Host::new(options)?))
            }
        }
    }
}

// === impl LoadErrors ===

impl LoadErrors {
    /// One line each, and one that counts the rest.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let told = self.0.iter().take(TOLD).map(|(site, error)| line(site, error));
        let rest = self.0.len().saturating_sub(TOLD);
        told.chain((rest > 0).then(|| format!("{rest} more sites cannot be served")))
    }

    /// The error of the only site there is.
    pub fn into_only(self) -> Option<SiteError> {
        let mut errors = self.0;
        errors.pop().map(|(_, error)| error)
    }
}

fn line(site: &str, error: &SiteError) -> String {
    let mut line = format!("site {site:?}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(line, ": {}", without_number(&error.to_string()));
        cause = error.source();
    }
    line
}

impl fmt::Display for LoadErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&line)?;
        }
        Ok(())
    }
}

impl Error for LoadErrors {}
