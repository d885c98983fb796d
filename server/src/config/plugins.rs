//! The folder that `--plugins` names: which policies decide, in which order, with what configuration.
//!
//! With a `plugins.toml` in it, that file is the chain. Without one, every `*.wasm` of the folder is a policy, in the
//! order of their names, with default limits, no grants, and `NAME.toml` beside `NAME.wasm` as its configuration. A
//! folder without any policy is an error: whoever names a folder wants to be protected by it.

use super::{
    ConfigError, ConfigErrors, Manifest,
    document::{Document, Located, Section, cannot_read, suggest},
    limits::GivenLimits,
    manifest::MANIFEST_FILE,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use wasmserve_policy::{ChainSpec, Grants, Limits, PolicySpec};

/// The name of the file that lists the chain.
pub const CHAIN_FILE: &str = "plugins.toml";

/// A folder's chain, resolved.
#[derive(Debug)]
pub struct PluginFolder {
    pub policies: Vec<PolicySpec>,
    /// Every file that was read or will be loaded, and the folder itself: never to be served.
    pub protected: BTreeSet<PathBuf>,
}

/// A `[[policy]]` table, exactly as written.
struct PolicyEntry<'a> {
    section: Section<'a>,
    plugin: Option<Located<String>>,
    name: Option<Located<String>>,
    grants: Vec<Located<String>>,
    limits: GivenLimits,
    config: toml::Table,
}

// === impl PluginFolder ===

impl PluginFolder {
    /// Reads a folder.
    ///
    /// # Errors
    /// Everything that is wrong with it: files that cannot be read, keys and values that mean nothing, plugins that are
    /// not there or not built.
    pub fn read(dir: &Path) -> Result<Self, ConfigErrors> {
        let names = file_names(dir)?;
        let chain_file = dir.join(CHAIN_FILE);
        let mut folder = Self {
            policies: Vec::new(),
            protected: BTreeSet::from([dir.to_owned()]),
        };
        // Anything of that name counts, even a directory or a broken link: then reading it is the error, rather than
        // the folder quietly falling back to other rules.
        if chain_file.symlink_metadata().is_ok() {
            folder.read_chain(dir, &chain_file)?;
        } else {
            folder.read_modules(dir, &names)?;
        }
        Ok(folder)
    }

    /// The chain for a site.
    pub fn chain(self, site: Arc<str>, roots: BTreeSet<String>) -> ChainSpec {
        ChainSpec {
            site,
            policies: self.policies,
            roots,
        }
    }

    fn read_chain(&mut self, dir: &Path, file: &Path) -> Result<(), ConfigErrors> {
        let document = Document::read(file)?;
        self.protected.insert(file.to_owned());
        let mut errors = ConfigErrors::default();
        let mut root = document.root(&mut errors);
        let entries = root.sections("policy", &mut errors);
        root.finish(&mut errors);
        match entries {
            Some(entries) => {
                let mut names = BTreeMap::new();
                for section in entries {
                    self.add_policy(dir, PolicyEntry::read(section, &mut errors), &mut names, &mut errors);
                }
            }
            None if errors.is_empty() => {
                errors.push(no_policy(file, "lists no policy: an empty chain protects nothing"))
            }
            None => {}
        }
        if self.policies.is_empty() && errors.is_empty() {
            errors.push(no_policy(file, "lists no policy: an empty chain protects nothing"));
        }
        errors.check()
    }

    fn add_policy(
        &mut self,
        dir: &Path,
        entry: PolicyEntry<'_>,
        names: &mut BTreeMap<String, String>,
        errors: &mut ConfigErrors,
    ) {
        let grants = entry.grants(errors);
        let Some(plugin) = &entry.plugin else { return };
        let Some(mut policy) = self.find_plugin(dir, plugin, &entry.section, errors) else {
            return;
        };
        if let Some(name) = &entry.name {
            policy.name = name.value.clone();
        }
        if let Some(other) = names.insert(policy.name.clone(), plugin.value.clone()) {
            let problem = format!(
                "two policies are named `{}` (the other one runs `{other}`)",
                policy.name
            );
            let located = entry.name.as_ref().unwrap_or(plugin);
            errors.push(
                entry
                    .section
                    .error_at(located, problem)
                    .hint("give one of them another `name`"),
            );
        }
        policy.limits = entry.limits.over(&policy.limits);
        policy.grants = grants;
        policy.config = entry.config;
        self.policies.push(policy);
    }

    /// The plugin that an entry names: a folder with a manifest, or a module.
    fn find_plugin(
        &mut self,
        dir: &Path,
        plugin: &Located<String>,
        section: &Section<'_>,
        errors: &mut ConfigErrors,
    ) -> Option<PolicySpec> {
        let path = dir.join(&plugin.value);
        if path.join(MANIFEST_FILE).symlink_metadata().is_ok() {
            return match Manifest::read(&path) {
                Ok(manifest) => self.built_plugin(dir, manifest, errors),
                Err(found) => {
                    errors.extend(found);
                    None
                }
            };
        }
        if path.extension().is_some_and(|extension| extension == "wasm") && path.is_file() {
            self.protected.insert(path.clone());
            return Some(bare_module(path));
        }
        let problem = format!("there is no plugin `{}`", plugin.value);
        let hint = format!(
            "name a folder with a plugin.toml, or a .wasm file, relative to {}",
            dir.display()
        );
        errors.push(section.error_at(plugin, problem).hint(hint));
        None
    }

    fn built_plugin(&mut self, dir: &Path, manifest: Manifest, errors: &mut ConfigErrors) -> Option<PolicySpec> {
        self.protected.insert(manifest.folder.clone());
        self.protected.insert(manifest.file.clone());
        if let Some(reason) = manifest.unbuilt() {
            let hint = format!("run: wasmserve build {}", dir.display());
            errors.push(ConfigError::new(&manifest.artefact, reason).hint(hint));
            return None;
        }
        self.protected.insert(manifest.artefact.clone());
        Some(PolicySpec {
            name: manifest.name,
            wasm: manifest.artefact,
            config: toml::Table::new(),
            limits: manifest.limits,
            grants: Grants::default(),
            establishes: manifest.establishes,
            reads: manifest.reads,
        })
    }

    fn read_modules(&mut self, dir: &Path, names: &[PathBuf]) -> Result<(), ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let modules = names
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"));
        for wasm in modules {
            let mut policy = bare_module(wasm.clone());
            self.protected.insert(wasm.clone());
            let config = wasm.with_extension("toml");
            if config.symlink_metadata().is_ok() {
                match read_table(&config) {
                    Ok(table) => policy.config = table,
                    Err(found) => errors.extend(found),
                }
                self.protected.insert(config);
            }
            self.policies.push(policy);
        }
        if self.policies.is_empty() {
            errors.push(nothing_to_run(dir, names));
        }
        errors.check()
    }
}

/// The folder's entries in the order of their names.
fn file_names(dir: &Path) -> Result<Vec<PathBuf>, ConfigErrors> {
    let list = || {
        fs::read_dir(dir)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<Vec<_>>>()
    };
    let mut names = list().map_err(|error| cannot_read(dir, &error))?;
    names.sort();
    Ok(names)
}

/// A module without a manifest: what nobody said is the default.
fn bare_module(wasm: PathBuf) -> PolicySpec {
    PolicySpec {
        name: wasm.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        wasm,
        config: toml::Table::new(),
        limits: Limits::default(),
        grants: Grants::default(),
        establishes: BTreeSet::new(),
        reads: BTreeSet::new(),
    }
}

/// A whole file as a policy's configuration.
fn read_table(file: &Path) -> Result<toml::Table, ConfigErrors> {
    let document = Document::read(file)?;
    let mut errors = ConfigErrors::default();
    let table = document.root(&mut errors).into_table(&mut errors);
    errors.check().map(|()| table)
}

fn no_policy(file: &Path, problem: &str) -> ConfigError {
    ConfigError::new(file, problem)
        .hint("add a [[policy]] with `plugin = \"...\"`, or leave --plugins out to serve without any")
}

/// The error about a folder that neither lists nor holds a policy.
fn nothing_to_run(dir: &Path, names: &[PathBuf]) -> ConfigError {
    let sources = names.iter().any(|path| path.join(MANIFEST_FILE).is_file());
    if sources {
        let problem =
            format!("has plugins in source folders but no {CHAIN_FILE} that says which of them run, in which order");
        return ConfigError::new(dir, problem).hint(format!("write {}", dir.join(CHAIN_FILE).display()));
    }
    let problem = format!("has no {CHAIN_FILE} and no .wasm file: an empty folder protects nothing");
    ConfigError::new(dir, problem).hint("put plugins into it, or leave --plugins out to serve without any")
}

// === impl PolicyEntry ===

impl<'a> PolicyEntry<'a> {
    fn read(mut section: Section<'a>, errors: &mut ConfigErrors) -> Self {
        let plugin = section.required_string("plugin", errors);
        let name = section.string("name", errors);
        let grants = section.strings("grants", errors).unwrap_or_default();
        let limits = section
            .section("limits", errors)
            .map(|limits| GivenLimits::read(limits, errors));
        let config = section.table("config", errors).unwrap_or_default();
        section.report_unknown(errors);
        for located in plugin.iter().chain(&name).filter(|located| located.value.is_empty()) {
            errors.push(section.error_at(located, "must not be empty"));
        }
        let plugin = plugin.filter(|plugin| !plugin.value.is_empty());
        Self {
            section,
            plugin,
            name,
            grants,
            limits: limits.unwrap_or_default(),
            config,
        }
    }

    fn grants(&self, errors: &mut ConfigErrors) -> Grants {
        let mut grants = Grants::default();
        for grant in &self.grants {
            match grant.value.as_str() {
                "logging" => grants.logging = true,
                "sharing" => grants.sharing = true,
                unknown => {
                    let problem = format!("`grants`: there is no service `{unknown}`");
                    errors.push(
                        self.section
                            .error_at(grant, problem)
                            .hint(suggest(unknown, &["logging", "sharing"])),
                    );
                }
            }
        }
        grants
    }
}
