//! A site: what is decided about its requests, and its files.

use crate::config::{ConfigErrors, plugins::PluginFolder};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};
use wasmserve_files::{Files, FilesError, FilesOptions, RootOptions};
use wasmserve_policy::{Chain, Host, HostError, HostOptions, LoadError};

/// What answers requests: loaded, checked and ready.
pub struct Site {
    pub name: Arc<str>,
    pub chain: Chain,
    pub files: Files,
}

/// What a site is made of.
#[derive(Clone, Debug)]
pub struct SiteOptions {
    pub name: Arc<str>,
    pub root: PathBuf,
    /// `None`: no policy is asked.
    pub plugins: Option<PathBuf>,
}

/// Why a site cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    #[error("the plugins cannot be run")]
    Config(#[from] ConfigErrors),
    #[error("the WebAssembly engine does not start")]
    Host(#[from] HostError),
    #[error("a plugin cannot be loaded")]
    Load(#[from] LoadError),
    #[error("the files cannot be served")]
    Files(#[from] FilesError),
}

/// The name of the one root that a site has.
const ROOT: &str = "default";

/// Instances that may be alive at once: as many as may run at the same time, and those that wait for memory or time.
const INSTANCES: u32 = 1000;

// === impl Site ===

impl Site {
    /// Reads the configuration, compiles and configures the plugins, and opens the root.
    ///
    /// # Errors
    /// When anything is wrong: there is no serving with a part of it.
    pub async fn load(options: &SiteOptions) -> Result<Self, SiteError> {
        let folder = options.plugins.as_deref().map(PluginFolder::read).transpose()?;
        let protected = folder
            .as_ref()
            .map(|folder| folder.protected.clone())
            .unwrap_or_default();
        let files = Files::new(files_options(&options.root, protected))?;
        let name = options.name.clone();
        let chain = match folder {
            Some(folder) => {
                let host = Host::new(HostOptions { instances: INSTANCES })?;
                host.load(folder.chain(name.clone(), BTreeSet::from([ROOT.to_owned()])))
                    .await?
            }
            None => Chain::empty(name.clone()),
        };
        Ok(Self { name, chain, files })
    }
}

fn files_options(root: &Path, _protected: BTreeSet<PathBuf>) -> FilesOptions {
    FilesOptions {
        roots: vec![(ROOT.to_owned(), RootOptions { path: root.to_owned() })],
    }
}
