//! The chain that is tried: that of the folder, or for the folder of a plugin without one, a chain of that plugin alone,
//! made up in a folder of its own with the configuration of its tests.

use crate::{
    cases::file,
    config::{manifest::MANIFEST_FILE, plugins::CHAIN_FILE},
};
use anyhow::{Context, bail};
use std::{
    fs,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Where the chain is.
pub enum DevChain {
    Own(PathBuf),
    /// Removed with this value.
    MadeUp(TempDir),
}

/// The keys of a file of tests that a chain has as well.
const SHARED: [&str; 7] = [
    "grants",
    "key-value",
    "http",
    "directories",
    "environment",
    "config",
    "config-files",
];

impl DevChain {
    /// # Errors
    /// There is neither a chain nor a plugin, or the tests of the plugin cannot be read.
    pub fn of(dir: &Path) -> anyhow::Result<Self> {
        if dir.join(CHAIN_FILE).is_file() {
            return Ok(Self::Own(dir.to_owned()));
        }
        if !dir.join(MANIFEST_FILE).is_file() {
            bail!(
                "{} has neither a {CHAIN_FILE} nor a {MANIFEST_FILE}: name the folder of a chain, or of a plugin",
                dir.display()
            );
        }
        let plugin = dir
            .canonicalize()
            .with_context(|| format!("cannot find {}", dir.display()))?;
        let chain = made_up(&plugin)?;
        let folder = tempfile::tempdir().context("there is no room for a chain")?;
        fs::write(folder.path().join(CHAIN_FILE), chain).context("there is no room for a chain")?;
        Ok(Self::MadeUp(folder))
    }

    pub fn folder(&self) -> &Path {
        match self {
            Self::Own(folder) => folder,
            Self::MadeUp(folder) => folder.path(),
        }
    }
}

/// A chain of one plugin, with what its first file of tests has.
fn made_up(plugin: &Path) -> anyhow::Result<String> {
    let mut table = toml::Table::new();
    if let Some(tests) = file::find(plugin)?.first() {
        // Read as the tests are, so that what is wrong is said with its place.
        file::TestFile::read(tests)?;
        table = fs::read_to_string(tests)?.parse()?;
        let beside = tests.parent().unwrap_or(plugin);
        for key in ["config-files", "directories"] {
            if let Some(names) = table.get_mut(key) {
                make_absolute(names, beside);
            }
        }
    }
    of_tests(&plugin.display().to_string(), table)
}

/// A chain of one plugin: what a file of tests says of configuration and grants, as `[[policy]]`.
pub fn of_tests(plugin: &str, mut tests: toml::Table) -> anyhow::Result<String> {
    let shared = SHARED
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), tests.remove(*key)?)));
    let named = std::iter::once(("plugin".to_owned(), plugin.into()));
    let policy = toml::Table::from_iter(named.chain(shared));
    let chain = toml::Table::from_iter([("policy".to_owned(), toml::Value::Array(vec![policy.into()]))]);
    Ok(toml::to_string(&chain)?)
}

/// The names of files in a table, relative to a folder.
fn make_absolute(table: &mut toml::Value, folder: &Path) {
    for (_, name) in table.as_table_mut().into_iter().flatten() {
        if let toml::Value::String(name) = name {
            *name = folder.join(&*name).display().to_string();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_tried_with_what_its_tests_have() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        fs::create_dir(at("tests")).unwrap();
        fs::write(at(MANIFEST_FILE), "").unwrap();
        fs::write(at("tests/rules"), "/a /b\n").unwrap();
        let tests = "grants = [\"logging\"]\nroots = [\"x\"]\n[config]\na = 1\n[config-files]\nrules = \"rules\"\n\
                     [[case]]\nname = \"a\"\nrequest = \"GET /\"\nexpect = { kept = true }\n";
        fs::write(at("tests/first.toml"), tests).unwrap();
        let chain = DevChain::of(folder.path()).unwrap();
        let text = fs::read_to_string(chain.folder().join(CHAIN_FILE)).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let policy = &table["policy"][0];
        assert_eq!(policy["plugin"].as_str(), at("").canonicalize().unwrap().to_str());
        assert_eq!(policy["grants"][0].as_str(), Some("logging"));
        assert_eq!(policy["config"]["a"].as_integer(), Some(1));
        assert!(Path::new(policy["config-files"]["rules"].as_str().unwrap()).is_absolute());
        assert!(policy.get("roots").is_none() && policy.get("case").is_none());
        fs::write(at(CHAIN_FILE), "").unwrap();
        assert!(matches!(DevChain::of(folder.path()).unwrap(), DevChain::Own(_)));
        assert!(DevChain::of(&at("tests")).is_err());
    }
}
