//! `wasmserve.toml`, and what it comes to together with the files that it names.

use super::{
    ConfigError, ConfigErrors, acme,
    document::Document,
    errors::Position,
    listeners,
    plugins::Catalogue,
    remote::{Purpose, Remotes},
    server::ServerSettings,
    site::{GivenSite, SiteReader},
    stores,
    tenants::TenantRules,
};
use crate::{
    acme::{Acme, AcmeSettings},
    net::{
        ListenerOptions, Tls, TlsError,
        listener::Security,
        tls::{CertificateSource, Demand, TlsFiles},
    },
    site::SiteSpec,
    sites::HostPattern,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};
use wasmserve_registry::Store;
use wasmserve_shared::RedisOptions;

/// All that a server is to do, resolved: from a file, or from the command line.
#[derive(Clone, Debug, PartialEq)]
pub struct Configuration {
    pub server: ServerSettings,
    /// Who is asked for certificates.
    pub acme: Option<AcmeSettings>,
    /// In the order of the file; at least one, unless there are tenants.
    pub sites: Vec<Arc<SiteSpec>>,
    /// Sites that are found when they are asked for.
    pub tenants: Option<Arc<TenantRules>>,
    /// Every file that was read or will be loaded, and the folders they were looked for in.
    pub sources: BTreeSet<PathBuf>,
}

// === impl Configuration ===

impl Configuration {
    /// What is never served: the sources, and what is for operators alone.
    pub fn protected(&self) -> Vec<PathBuf> {
        let sources = self.sources.iter().cloned();
        let roots = self.sites.iter().flat_map(|site| &site.files.roots);
        let keys = roots.filter_map(|(_, root)| stores::kept(&root.location));
        let storage = self.acme.iter().map(|acme| acme.storage.clone());
        let bindings = self.acme.iter().filter_map(|acme| acme.binding.as_ref());
        let storage = storage.chain(bindings.map(|binding| binding.key_file.clone()));
        sources.chain(self.server.kept()).chain(keys).chain(storage).collect()
    }

    /// The folders that are served.
    pub fn roots(&self) -> Vec<PathBuf> {
        let roots = self.sites.iter().flat_map(|site| &site.files.roots);
        let tenants = self.tenants.iter().map(|tenants| tenants.directory.clone());
        let directories = roots.filter_map(|(_, root)| root.location.directory().map(Path::to_owned));
        directories.chain(tenants).collect()
    }

    /// Reads a file, and the chains and manifests that it names.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(file: &Path) -> Result<Self, ConfigErrors> {
        Self::read_for(file, Purpose::Serving)
    }

    /// The same for some purpose.
    ///
    /// # Errors
    /// As [`Configuration::read`].
    pub fn read_for(file: &Path, purpose: Purpose) -> Result<Self, ConfigErrors> {
        let document = Document::read(file)?;
        let mut errors = ConfigErrors::default();
        let mut root = document.root(&mut errors);
        // What follows from broken syntax would only distract from it.
        errors.check()?;
        let mut errors = ConfigErrors::default();
        let folder = folder_of(file)?;
        let server = root.section("server", &mut errors);
        let listen = server.as_ref().is_some_and(|section| section.contains("listen"));
        let server = server.map(|section| ServerSettings::read(&folder, section, &mut errors));
        let mut server = server.unwrap_or_default();
        let positions = listeners::read(&folder, &mut root, listen, &mut server, &mut errors);
        let acme = root.section("acme", &mut errors);
        let has_acme = acme.is_some();
        let acme = acme.and_then(|section| acme::read(&folder, section, &mut errors));
        let mut catalogue = Catalogue::new(Remotes::new(server.registry.clone(), purpose));
        let mut defaults = GivenSite::default();
        if let Some(mut section) = root.section("defaults", &mut errors) {
            defaults = GivenSite::read(&folder, &mut section, &mut catalogue, &mut errors);
            section.finish(&mut errors);
        }
        let tenants = root.section("sites", &mut errors);
        let tenants = tenants.and_then(|section| {
            TenantRules::read(&folder, section, &defaults, has_acme, &mut catalogue, &mut errors).map(Arc::new)
        });
        let sections = root.sections("site", &mut errors);
        if sections.as_ref().is_none_or(Vec::is_empty) && tenants.is_none() && errors.is_empty() {
            let hint = "add a [[site]] with `name`, `hosts` and `root`";
            errors.push(ConfigError::new(file, "has no site: there is nothing to serve").hint(hint));
        }
        let mut reader = SiteReader::new(folder, &mut catalogue, defaults, server.tls.clone(), has_acme);
        let sections = sections.unwrap_or_default().into_iter();
        let sites: Vec<Arc<SiteSpec>> = sections
            .map(|section| Arc::new(reader.read(section, &mut errors)))
            .collect();
        if let Some(tenants) = &tenants {
            keep_apart(file, tenants, &sites, &mut errors);
        }
        root.finish(&mut errors);
        errors.check()?;
        let mut sources = catalogue.into_protected();
        sources.insert(file.to_owned());
        let mut configuration = Self {
            server,
            acme,
            sites,
            tenants,
            sources,
        };
        configuration
            .sources
            .extend(configuration.tls_files().collect::<Vec<_>>());
        let mut errors = ConfigErrors::default();
        acme::keep_apart(file, &configuration, &mut errors);
        errors.check()?;
        if !configuration.has_certificate() && configuration.listeners().iter().any(|l| l.security == Security::Tls) {
            let hint = "give `tls-cert` and `tls-key` in [server], or [site.tls]";
            return Err(
                ConfigError::new(file, "a listener speaks TLS and there is no certificate")
                    .hint(hint)
                    .into(),
            );
        }
        configuration.keep_client_certificates(file, &positions)?;
        Ok(configuration)
    }

    /// Every plugin that somebody's reference means, of the operator's chains.
    pub fn references(&self) -> BTreeSet<&str> {
        let ring = self.tenants.iter().flat_map(|tenants| tenants.operators());
        let of_sites = self.sites.iter().flat_map(|site| {
            let chain = &site.chain;
            chain.policies.iter().chain(&chain.observers)
        });
        let pins = of_sites.chain(ring).flat_map(|policy| {
            let shadow = policy.shadow.as_ref().and_then(|shadow| shadow.pin.as_ref());
            policy.pin.iter().chain(shadow)
        });
        pins.filter_map(|pin| pin.reference.as_deref()).collect()
    }

    /// Refuses a store of plugins that could be served, if anything is fetched.
    ///
    /// # Errors
    /// When it lies beneath a root.
    pub fn keep_store_apart(&self) -> Result<(), ConfigErrors> {
        let fetches = !self.references().is_empty()
            || self
                .tenants
                .as_ref()
                .is_some_and(|tenants| !tenants.own.registries.is_empty());
        match self.server.registry.folder().filter(|_| fetches) {
            None => Ok(()),
            Some(folder) => match Store::find(&folder, &self.roots()) {
                Ok(_) => Ok(()),
                Err(error) => Err(ConfigError::new(folder, error.to_string()).into()),
            },
        }
    }

    /// Refuses listeners by which a site could be reached without the certificate that it demands of clients.
    fn keep_client_certificates(&self, file: &Path, listeners: &[Position]) -> Result<(), ConfigErrors> {
        let demands = |site: &&Arc<SiteSpec>| {
            let files = site.tls.as_deref().or(self.server.tls.as_ref());
            let clients = files.and_then(|files| files.clients.as_ref());
            clients.is_some_and(|clients| clients.demand == Demand::Required)
        };
        let Some(site) = self.sites.iter().find(demands) else {
            return Ok(());
        };
        let mut errors = ConfigErrors::default();
        for (listener, position) in self.server.listeners.iter().zip(listeners) {
            if listener.is_open(self.has_certificate()) {
                let (address, name) = (&listener.address, site.name());
                let problem = format!(
                    "{address} speaks plain HTTP, and site `{name}` demands certificates of its clients: nobody shows one there"
                );
                let hint = "redirect = \"https\", or tls = true, or `trusted` for a proxy in front that demands them";
                errors.push(ConfigError {
                    position: Some(*position),
                    ..ConfigError::new(file, problem).hint(hint)
                });
            }
        }
        errors.check()
    }

    /// Everything that is listened on.
    pub fn listeners(&self) -> Vec<ListenerOptions> {
        self.server.listeners(self.has_certificate())
    }

    /// The certificates of the server and of its sites. Those that are what they were `before` are taken over.
    ///
    /// # Errors
    /// A certificate or key that cannot be used.
    pub fn tls(&self, before: Option<&Tls>, acme: &Arc<Acme>) -> Result<Option<Tls>, TlsError> {
        Tls::load(self.server.tls.as_ref(), self.own_tls(), before, acme)
    }

    /// The hosts whose certificates are ordered, beside those of tenants.
    pub fn acme_names(&self) -> impl Iterator<Item = &str> {
        let is_acme = |site: &&Arc<SiteSpec>| {
            let source = site.tls.as_ref().map(|files| &files.certificate);
            source == Some(&CertificateSource::Acme)
        };
        let hosts = self.sites.iter().filter(is_acme).flat_map(|site| &site.hosts);
        hosts.filter_map(|host| match host {
            HostPattern::Exact(name) => Some(&**name),
            HostPattern::Beneath(_) | HostPattern::Any => None,
        })
    }

    fn has_certificate(&self) -> bool {
        self.server.tls.is_some() || self.own_tls().next().is_some()
    }

    fn own_tls(&self) -> impl Iterator<Item = &Arc<TlsFiles>> {
        let tenants = self.tenants.iter().filter_map(|tenants| tenants.tls.as_ref());
        self.sites.iter().filter_map(|site| site.tls.as_ref()).chain(tenants)
    }

    /// Each Redis that a site or the tenants keep anything in.
    pub fn redises(&self) -> Vec<Arc<RedisOptions>> {
        let tenants = self.tenants.iter().map(|tenants| tenants.inherited().chain);
        let tenants = tenants.map(|chain| chain.budget.services.redis);
        let sites = self.sites.iter();
        let sites = sites.map(|site| site.chain.budget.services.redis.clone());
        let mut redises = Vec::new();
        for redis in sites.chain(tenants).flatten() {
            if !redises.contains(&redis) {
                redises.push(redis);
            }
        }
        redises
    }

    /// Read again at each reload, and never served.
    pub fn tls_files(&self) -> impl Iterator<Item = PathBuf> {
        let own = self.own_tls().map(|files| &**files);
        let authority = self.acme.iter().filter_map(|acme| acme.authorities.clone());
        self.server
            .tls
            .iter()
            .chain(own)
            .flat_map(TlsFiles::paths)
            .chain(authority)
    }
}

/// A root that holds the tenants' folders, or lies among them, would serve what is a tenant's alone.
fn keep_apart(file: &Path, tenants: &TenantRules, sites: &[Arc<SiteSpec>], errors: &mut ConfigErrors) {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = real(&tenants.directory);
    for site in sites {
        for (_, root) in &site.files.roots {
            let Some(path) = root.location.directory().map(real) else {
                continue;
            };
            if path.starts_with(&directory) || directory.starts_with(&path) {
                let (name, root) = (site.name(), root.location.to_string());
                let problem = format!("the site {name:?} would serve tenants' folders from its root {root}");
                let hint = format!(
                    "keep `root` and `sites.directory` ({}) apart",
                    tenants.directory.display()
                );
                errors.push(ConfigError::new(file, problem).hint(hint));
            }
        }
    }
}

/// The folder of a file, absolute, so that what is printed means the same elsewhere.
pub(super) fn folder_of(file: &Path) -> Result<PathBuf, ConfigErrors> {
    let absolute = std::path::absolute(file).map_err(|error| super::document::cannot_read(file, &error))?;
    Ok(absolute.parent().unwrap_or(Path::new("/")).to_owned())
}

#[cfg(test)]
mod tests;
