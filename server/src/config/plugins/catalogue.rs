//! The plugins that a configuration of many sites names.

use super::{GivenChain, PluginFolder};
use crate::config::{ConfigErrors, Remotes, document::Section};
use std::{
    collections::{BTreeSet, HashMap},
    path::{Path, PathBuf},
};
use wasmserve_policy::ServiceBudget;

/// The plugins that a configuration of many sites names: each is looked for once.
#[derive(Default)]
pub struct Catalogue {
    reader: PluginFolder,
    folders: HashMap<PathBuf, GivenChain>,
}

// === impl Catalogue ===

impl Catalogue {
    /// One that finds plugins of elsewhere so.
    pub fn new(remotes: Remotes) -> Self {
        let reader = PluginFolder {
            remotes,
            ..PluginFolder::default()
        };
        Self {
            reader,
            folders: HashMap::new(),
        }
    }

    /// How it finds plugins of elsewhere.
    pub fn remotes(&self) -> &Remotes {
        &self.reader.remotes
    }

    /// The chain of a folder; empty when it was read before and something was wrong with it.
    pub fn folder(&mut self, dir: &Path, errors: &mut ConfigErrors) -> GivenChain {
        if let Some(known) = self.folders.get(dir) {
            return known.clone();
        }
        let chain = match PluginFolder::read_with(dir, self.remotes().clone()) {
            Ok(folder) => {
                self.reader.protected.extend(folder.protected);
                GivenChain {
                    policies: folder.policies,
                    observers: folder.observers,
                    services: folder.services,
                }
            }
            Err(found) => {
                errors.extend(found);
                GivenChain::default()
            }
        };
        self.folders.insert(dir.to_owned(), chain.clone());
        chain
    }

    /// The chain that `[[policy]]` and `[[observer]]` tables of another file make; plugins are named relative to `dir`.
    pub fn entries(
        &mut self,
        dir: &Path,
        policies: Vec<Section<'_>>,
        observers: Vec<Section<'_>>,
        errors: &mut ConfigErrors,
    ) -> GivenChain {
        self.reader.read_entries(dir, policies, observers, errors);
        GivenChain {
            policies: std::mem::take(&mut self.reader.policies),
            observers: std::mem::take(&mut self.reader.observers),
            services: ServiceBudget::default(),
        }
    }

    /// Every file that was read or will be loaded, and the folders: never to be served. More can be added.
    pub fn protected(&mut self) -> &mut BTreeSet<PathBuf> {
        &mut self.reader.protected
    }

    pub fn into_protected(self) -> BTreeSet<PathBuf> {
        self.reader.protected
    }
}
