//! A site: what is decided about its requests, and its files.

use crate::config::{ConfigErrors, plugins::PluginFolder};
use std::{path::PathBuf, sync::Arc};
use wasmserve_files::{Files, FilesError, FilesOptions};
use wasmserve_policy::{Chain, Host, HostError, HostOptions, LoadError, Observers};

/// What answers requests: loaded, checked and ready.
pub struct Site {
    pub name: Arc<str>,
    pub chain: Chain,
    /// Told of every finished exchange.
    pub observers: Arc<Observers>,
    pub files: Files,
}

/// What a site is made of.
#[derive(Clone, Debug)]
pub struct SiteOptions {
    pub name: Arc<str>,
    pub files: FilesOptions,
    /// `None`: no policy is asked.
    pub plugins: Option<PathBuf>,
}

/// Why a site cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("the plugins cannot be run")]
    Config(#[from] ConfigErrors),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error("a plugin cannot be loaded")]
    Load(#[from] LoadError),
    #[error("the files cannot be served")]
    Files(#[from] FilesError),
}

// === impl Site ===

impl Site {
    /// Reads the configuration, compiles and configures the plugins, and opens the root.
    ///
    /// # Errors
    /// When anything is wrong: there is no serving with a part of it.
    pub async fn load(options: SiteOptions) -> Result<Self, SiteError> {
        let SiteOptions {
            name,
            mut files,
            plugins,
        } = options;
        let folder = plugins.as_deref().map(PluginFolder::read).transpose()?;
        let roots = files.roots.iter().map(|(name, _)| name.clone()).collect();
        files
            .protected
            .extend(folder.iter().flat_map(|folder| folder.protected.iter().cloned()));
        let files = Files::new(files)?;
        let (chain, observers) = match folder {
            Some(folder) => {
                let host = Host::new(HostOptions::default())?;
                let chain = host.load(folder.chain(name.clone(), roots)).await?;
                (chain, host.load_observers(&name, &folder.observers).await?)
            }
            None => (Chain::empty(name.clone()), Observers::default()),
        };
        Ok(Self {
            name,
            chain,
            observers: Arc::new(observers),
            files,
        })
    }
}
