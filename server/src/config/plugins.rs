//! The folder that `--plugins` names: which policies decide, in which order, with what configuration.
//!
//! With a `plugins.toml` in it, that file is the chain. Without one, every `*.wasm` of the folder is a policy, in the
//! order of their names, with default limits, no grants, and `NAME.toml` beside `NAME.wasm` as its configuration. A
//! folder without any policy is an error: whoever names a folder wants to be protected by it.
//!
//! A plugin is a folder, a file, or a reference to one elsewhere (see [`super::remote`]).

mod catalogue;
mod entry;

pub use catalogue::Catalogue;

use entry::{PolicyEntry, ShadowEntry};

use super::{
    ConfigError, ConfigErrors, Manifest, Remotes,
    asked::{self, Allowed, Asked},
    document::{Document, Located, Section, cannot_read},
    grants,
    manifest::MANIFEST_FILE,
    remote::GivenPin,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use wasmserve_policy::{Budget, ChainSpec, Grants, Isolation, Limits, PolicySpec, Reuse, ServiceBudget, ShadowSpec};
use wasmserve_registry::Reference;

/// The name of the file that lists the chain.
pub const CHAIN_FILE: &str = "plugins.toml";

/// `isolation`: what a call starts from. `reuse` is for plugins that keep state on purpose.
pub(super) const ISOLATION: [(&str, Isolation); 2] = [("request", Isolation::Request), ("reuse", Isolation::Reuse)];

/// `evidence`: whether decisions are kept with what they went by, and used again.
pub(super) const EVIDENCE: [(&str, bool); 2] = [("kept", true), ("never", false)];

/// A folder's chain, resolved.
#[derive(Debug, Default)]
pub struct PluginFolder {
    pub policies: Vec<PolicySpec>,
    pub observers: Vec<PolicySpec>,
    /// What services may keep for all of them together.
    pub services: ServiceBudget,
    /// What each plugin is before the operator's word, by where it was looked for.
    plugins: HashMap<PathBuf, Found>,
    remotes: Remotes,
    /// Every file that was read or will be loaded, and the folder itself: never to be served.
    pub protected: BTreeSet<PathBuf>,
}

/// A plugin before the operator's word.
#[derive(Clone, Debug)]
struct Found {
    spec: PolicySpec,
    stated: Stated,
}

/// What is said of a plugin by others than the chain.
#[derive(Clone, Debug)]
enum Stated {
    /// Nothing: it is a module of the operator's.
    Nothing,
    /// Its manifest, which is the operator's.
    ByOperator,
    /// It comes from elsewhere, with this wish if it has a manifest.
    ByStranger(Option<Asked>),
}

/// A chain as it was given, and what is said of services with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GivenChain {
    pub policies: Vec<PolicySpec>,
    pub observers: Vec<PolicySpec>,
    /// What services may keep for all of them together.
    pub services: ServiceBudget,
}

// === impl PluginFolder ===

impl PluginFolder {
    /// Reads a folder.
    ///
    /// # Errors
    /// Everything that is wrong with it: files that cannot be read, keys and values that mean nothing, plugins that are
    /// not there or not built.
    pub fn read(dir: &Path) -> Result<Self, ConfigErrors> {
        Self::read_with(dir, Remotes::default())
    }

    /// The same, with plugins of elsewhere as these settings have it.
    ///
    /// # Errors
    /// As [`PluginFolder::read`].
    pub fn read_with(dir: &Path, remotes: Remotes) -> Result<Self, ConfigErrors> {
        let names = file_names(dir)?;
        let chain_file = dir.join(CHAIN_FILE);
        let mut folder = Self {
            protected: BTreeSet::from([dir.to_owned()]),
            remotes,
            ..Self::default()
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
            policies: self.policies.clone(),
            observers: self.observers.clone(),
            roots,
            budget: Budget {
                services: self.services,
                ..Budget::default()
            },
        }
    }

    fn read_chain(&mut self, dir: &Path, file: &Path) -> Result<(), ConfigErrors> {
        let document = Document::read(file)?;
        self.protected.insert(file.to_owned());
        let mut errors = ConfigErrors::default();
        let mut root = document.root(&mut errors);
        if !errors.is_empty() {
            // What follows from broken syntax would only distract from it.
            return errors.check();
        }
        let entries = root.sections("policy", &mut errors);
        let observers = root.sections("observer", &mut errors);
        if let Some(section) = root.section("services", &mut errors) {
            self.services = grants::read_budget(section, &mut errors);
        }
        root.finish(&mut errors);
        if entries.as_ref().is_none_or(Vec::is_empty) && errors.is_empty() {
            errors.push(no_policy(file));
        }
        let (entries, observers) = (entries.unwrap_or_default(), observers.unwrap_or_default());
        self.read_entries(dir, entries, observers, &mut errors);
        errors.check()
    }

    fn read_entries(
        &mut self,
        dir: &Path,
        policies: Vec<Section<'_>>,
        observers: Vec<Section<'_>>,
        errors: &mut ConfigErrors,
    ) {
        let mut names = BTreeMap::new();
        for section in policies {
            let entry = PolicyEntry::of_policy(section, dir, errors);
            let policy = self.resolve(dir, entry, &mut names, errors);
            self.policies.extend(policy);
        }
        for section in observers {
            let entry = PolicyEntry::of_observer(section, dir, errors);
            let observer = self.resolve(dir, entry, &mut names, errors);
            self.observers.extend(observer);
        }
    }

    /// The plugin of an entry, with what the operator says about it.
    fn resolve(
        &mut self,
        dir: &Path,
        entry: PolicyEntry<'_>,
        names: &mut BTreeMap<String, String>,
        errors: &mut ConfigErrors,
    ) -> Option<PolicySpec> {
        let plugin = entry.plugin.as_ref()?;
        let Found { spec, stated } = self.find_plugin(dir, plugin, &entry.pin, &entry.section, errors)?;
        let mut policy = spec;
        if let Some(name) = &entry.name {
            policy.name = name.value.clone();
        }
        if let Some(other) = names.insert(policy.name.clone(), plugin.value.clone()) {
            let problem = format!("two plugins are named `{}` (the other one runs `{other}`)", policy.name);
            let located = entry.name.as_ref().unwrap_or(plugin);
            errors.push(
                entry
                    .section
                    .error_at(located, problem)
                    .hint("give one of them another `name`"),
            );
        }
        match &stated {
            Stated::ByStranger(asked) => entry.allow(asked.as_ref(), &mut policy, errors),
            Stated::Nothing | Stated::ByOperator => {
                policy.limits = entry.limits.over(&policy.limits);
                entry.say_no_facts(errors);
            }
        }
        self.protected
            .extend(entry.grants.http.iter().flat_map(|http| http.certificates.clone()));
        policy.grants = entry.grants;
        policy.reuse = entry.reuse;
        policy.config = entry.config;
        entry
            .config_files
            .read(dir, &mut policy.config, &mut self.protected, errors);
        if let Some(shadow) = entry.shadow {
            policy.shadow = self.find_shadow(dir, shadow, &policy, &entry.section, errors);
        }
        Some(policy)
    }

    /// A candidate without a manifest has the limits and the facts of the policy that it is to replace.
    fn find_shadow(
        &mut self,
        dir: &Path,
        shadow: ShadowEntry,
        live: &PolicySpec,
        section: &Section<'_>,
        errors: &mut ConfigErrors,
    ) -> Option<ShadowSpec> {
        let Found { spec, stated } = self.find_plugin(dir, &shadow.plugin, &shadow.pin, section, errors)?;
        let own = |policy: &PolicySpec| Asked {
            limits: shadow.limits.over(&policy.limits),
            establishes: policy.establishes.clone(),
            reads: policy.reads.clone(),
        };
        let settled = match &stated {
            Stated::Nothing => own(live),
            Stated::ByOperator => own(&spec),
            Stated::ByStranger(asked) => {
                let allowed = Allowed {
                    limits: &shadow.limits,
                    otherwise: &live.limits,
                    establishes: &live.establishes,
                    reads: &live.reads,
                };
                let settled = asked::settle(asked.as_ref(), allowed);
                settled.unwrap_or_else(|missing| {
                    let problem = format!("the candidate asks for more than the policy has: {missing}");
                    errors.push(section.error_at(&shadow.plugin, problem));
                    own(live)
                })
            }
        };
        Some(ShadowSpec {
            limits: settled.limits,
            establishes: settled.establishes,
            reads: settled.reads,
            config: shadow.config.unwrap_or_else(|| live.config.clone()),
            one_in: shadow.one_in,
            wasm: spec.wasm,
            pin: spec.pin,
        })
    }

    /// The plugin that an entry names: a folder with a manifest, a module, or one of elsewhere.
    fn find_plugin(
        &mut self,
        dir: &Path,
        plugin: &Located<String>,
        given: &GivenPin,
        section: &Section<'_>,
        errors: &mut ConfigErrors,
    ) -> Option<Found> {
        if Reference::is_remote(&plugin.value) {
            return self.find_remote(plugin, given, section, errors);
        }
        let path = dir.join(local(&plugin.value));
        let known = self.plugins.get(&path).cloned();
        let mut found = match known {
            Some(known) => known,
            None => {
                let found = self.look_for_plugin(dir, &path, plugin, section, errors)?;
                self.plugins.insert(path, found.clone());
                found
            }
        };
        found.spec.pin = given.of_file(section, errors);
        Some(found)
    }

    fn find_remote(
        &mut self,
        plugin: &Located<String>,
        given: &GivenPin,
        section: &Section<'_>,
        errors: &mut ConfigErrors,
    ) -> Option<Found> {
        let (pinned, key) = (given.pinned(plugin, section, errors)?, given.key(section, errors));
        let known_as = PathBuf::from(format!("{pinned} {key:?}"));
        if let Some(known) = self.plugins.get(&known_as) {
            return Some(known.clone());
        }
        let remote = match self.remotes.find(&pinned, key.as_ref()) {
            Ok(remote) => remote,
            Err(unavailable) => {
                let name = pinned.to_string();
                errors.push(unavailable.into_error(|problem| section.error_at(plugin, problem), &name));
                return None;
            }
        };
        let spec = PolicySpec {
            name: remote.name,
            pin: Some(remote.pin),
            ..bare_module(remote.wasm)
        };
        let asked = remote.manifest.map(|manifest| Asked {
            limits: manifest.limits,
            establishes: manifest.establishes,
            reads: manifest.reads,
        });
        let stated = Stated::ByStranger(asked);
        let found = Found { spec, stated };
        self.plugins.insert(known_as, found.clone());
        Some(found)
    }

    fn look_for_plugin(
        &mut self,
        dir: &Path,
        path: &Path,
        plugin: &Located<String>,
        section: &Section<'_>,
        errors: &mut ConfigErrors,
    ) -> Option<Found> {
        if path.join(MANIFEST_FILE).symlink_metadata().is_ok() {
            return match Manifest::read(path) {
                Ok(manifest) => self.built_plugin(dir, manifest, errors).map(|spec| Found {
                    spec,
                    stated: Stated::ByOperator,
                }),
                Err(found) => {
                    errors.extend(found);
                    None
                }
            };
        }
        if path.extension().is_some_and(|extension| extension == "wasm") && path.is_file() {
            self.protected.insert(path.to_owned());
            return Some(Found {
                spec: bare_module(path.to_owned()),
                stated: Stated::Nothing,
            });
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
            reuse: Reuse::default(),
            shadow: None,
            pin: None,
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

/// The path that a plugin's name means: after `file:`, if that is there.
fn local(plugin: &str) -> &str {
    let path = plugin.strip_prefix("file:").unwrap_or(plugin);
    // file:///srv/guard is /srv/guard (RFC 8089, section 2: no host).
    path.strip_prefix("//")
        .filter(|path| path.starts_with('/'))
        .unwrap_or(path)
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
        reuse: Reuse::default(),
        shadow: None,
        pin: None,
    }
}

/// A whole file as a policy's configuration.
fn read_table(file: &Path) -> Result<toml::Table, ConfigErrors> {
    let document = Document::read(file)?;
    let mut errors = ConfigErrors::default();
    let table = document.root(&mut errors).into_table(&mut errors);
    errors.check().map(|()| table)
}

fn no_policy(file: &Path) -> ConfigError {
    ConfigError::new(file, "lists no policy: an empty chain protects nothing")
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with these files, the names of folders ending with a slash.
    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder");
            match name.strip_suffix('/') {
                Some(_) => fs::create_dir(path).expect("a folder"),
                None => fs::write(path, content).expect("a file"),
            }
        }
        folder
    }

    /// What is wrong, one a line, without the folder's own path.
    fn wrong(files: &[(&str, &str)]) -> String {
        let folder = folder(files);
        let errors = PluginFolder::read(folder.path()).expect_err("an error");
        let base = format!("{}", folder.path().display());
        errors
            .to_string()
            .replace(&format!("{base}/"), "")
            .replace(&base, "DIR")
    }

    const MANIFEST: &str = r#"
        name = "guard"
        version = "0.1.0"
        artefact = "guard.wasm"
        [limits]
        running = "1s"
        memory = "64MiB"
        [facts]
        establishes = ["user"]
    "#;

    #[test]
    fn every_error_of_a_chain_is_told_at_once() {
        for (chain, expected) in [
            (
                "[[policy]]\nplugin = \"no\"\ngrant = []\n",
                "plugins.toml:2:10: there is no plugin `no`\n    \
                 hint: name a folder with a plugin.toml, or a .wasm file, relative to DIR\n\
                 plugins.toml:3:1: unknown key `grant` in [[policy]]\n    hint: did you mean `grants`?",
            ),
            (
                "[[policy]]\nplugin = \"a.wasm\"\ngrants = [\"loging\", 1]\nlimits = { running = \"5\", wall = \"0s\" }",
                "plugins.toml:3:11: `grants`: there is no service `loging`\n    hint: did you mean `logging`?\n\
                 plugins.toml:3:21: `grants` must be a list of strings, not integer\n\
                 plugins.toml:4:22: `running`: \"5\" is not a duration: \
                 it has a number and a unit, such as \"20ms\", \"1s\" or \"1m 30s\"\n\
                 plugins.toml:4:34: `wall`: must be longer than nothing",
            ),
            (
                "[[policy]]\nplugin = \"a.wasm\"\n[[policy]]\nplugin = \"a.wasm\"\n",
                "plugins.toml:4:10: two plugins are named `a` (the other one runs `a.wasm`)\n    \
                 hint: give one of them another `name`",
            ),
            (
                "[[policy]]\nname = \"\"\nconfig = 3\n",
                "plugins.toml:1:1: [[policy]] has no key `plugin`\n\
                 plugins.toml:2:8: must not be empty\n\
                 plugins.toml:3:10: `config` must be a table, not integer",
            ),
            (
                "[[policy]]\nplugin = \"a.wasm\"\nisolation = \"reqest\"\nevidence = true\n",
                "plugins.toml:3:13: `isolation` cannot be \"reqest\"\n    hint: did you mean `request`?\n\
                 plugins.toml:4:12: `evidence` must be a string, not boolean",
            ),
            (
                "[policy]\nplugin = \"a.wasm\"\n",
                "plugins.toml:1:1: `policy` must be a list of tables, each begun by [[policy]], not table",
            ),
            (
                "\n\n[[policy]\nplugin = 1",
                "plugins.toml:3:10: this is not TOML: unclosed array table, expected `]`",
            ),
            (
                "",
                "plugins.toml: lists no policy: an empty chain protects nothing\n    \
                 hint: add a [[policy]] with `plugin = \"...\"`, or leave --plugins out to serve without any",
            ),
        ] {
            assert_eq!(wrong(&[("plugins.toml", chain), ("a.wasm", "")]), expected, "{chain}");
        }
    }

    #[test]
    fn a_folder_that_protects_nothing_is_refused() {
        for (files, expected) in [
            (
                &[][..],
                "DIR: has no plugins.toml and no .wasm file: an empty folder protects nothing",
            ),
            (
                &[("notes.txt", "")],
                "DIR: has no plugins.toml and no .wasm file: an empty folder protects nothing",
            ),
            (
                &[("guard/plugin.toml", MANIFEST)],
                "DIR: has plugins in source folders but no plugins.toml",
            ),
            (
                &[("plugins.toml/", ""), ("a.wasm", "")],
                "plugins.toml: cannot be read: is a directory",
            ),
            (&[("a.wasm", ""), ("a.toml", "a = ")], "a.toml:1:5: this is not TOML"),
        ] {
            let wrong = wrong(files);
            assert!(wrong.starts_with(expected), "{wrong}");
        }
        let missing = folder(&[]).path().join("missing");
        assert!(PluginFolder::read(&missing).is_err());
    }

    #[test]
    fn an_unbuilt_plugin_says_how_to_build_it() {
        let chain = "[[policy]]\nplugin = \"guard\"";
        let wrong = wrong(&[("plugins.toml", chain), ("guard/plugin.toml", MANIFEST)]);
        assert_eq!(
            wrong,
            "guard/guard.wasm: is not built\n    hint: run: wasmserve build DIR"
        );
    }

    #[test]
    fn the_operators_word_goes_before_the_manifests() {
        let chain = r#"
            [[policy]]
            plugin = "guard"
            name = "door"
            grants = ["logging"]
            isolation = "reuse"
            limits = { running = "50ms", concurrent = 2 }
            [policy.config]
            users = { ada = "hash" }
        "#;
        let folder = folder(&[
            ("plugins.toml", chain),
            ("guard/plugin.toml", MANIFEST),
            ("guard/guard.wasm", ""),
        ]);
        let read = PluginFolder::read(folder.path()).expect("a chain");
        let policy = &read.policies[0];
        assert_eq!(policy.name, "door");
        assert_eq!(policy.wasm, folder.path().join("guard/guard.wasm"));
        let expected = Limits {
            running: std::time::Duration::from_millis(50),
            memory: 64 << 20,
            concurrent: 2,
            ..Limits::default()
        };
        assert_eq!(policy.limits, expected);
        assert_eq!(
            policy.grants,
            Grants {
                logging: true,
                ..Grants::default()
            }
        );
        assert_eq!(policy.reuse.isolation, Isolation::Reuse);
        assert!(policy.establishes.contains("user") && policy.reads.is_empty());
        assert_eq!(policy.config["users"]["ada"].as_str(), Some("hash"));
        for name in ["", "plugins.toml", "guard", "guard/plugin.toml", "guard/guard.wasm"] {
            let path = if name.is_empty() {
                folder.path().to_owned()
            } else {
                folder.path().join(name)
            };
            assert!(read.protected.contains(&path), "{name} is not protected");
        }
    }

    #[test]
    fn without_a_chain_file_modules_run_in_the_order_of_names() {
        let folder = folder(&[("b.wasm", ""), ("a.wasm", ""), ("b.toml", "key = 1"), ("c.txt", "")]);
        let read = PluginFolder::read(folder.path()).expect("a chain");
        let names: Vec<_> = read.policies.iter().map(|policy| &*policy.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(read.policies[1].config["key"].as_integer(), Some(1));
        assert!(read.policies[0].config.is_empty());
        assert!(read.protected.contains(&folder.path().join("b.toml")));
    }
}
