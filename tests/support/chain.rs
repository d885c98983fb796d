//! Chains of guests and standard policies for a server under test.
use crate::project;
use std::{
    fmt::Write,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder with a `plugins.toml`, as `--plugins` takes it. Removed with this value.
pub struct Chain {
    folder: TempDir,
}

/// One policy or observer of a chain.
pub struct Policy {
    /// `policy` or `observer`.
    kind: &'static str,
    plugin: String,
    source: PathBuf,
    settings: String,
    config: String,
}

impl Policy {
    /// A guest of `tests/guests`.
    pub fn guest(name: &str) -> Self {
        Self::at(project().join("tests/guests").join(name))
    }

    /// A standard policy of `plugins`.
    pub fn standard(name: &str) -> Self {
        Self::at(project().join("plugins").join(name))
    }

    /// Any plugin folder or `.wasm` file.
    pub fn at(source: PathBuf) -> Self {
        let plugin = source
            .file_name()
            .expect("a plugin has a name")
            .to_string_lossy()
            .into_owned();
        Self {
            kind: "policy",
            plugin,
            source,
            settings: String::new(),
            config: String::new(),
        }
    }

    /// Listed as an observer.
    pub fn observing(mut self) -> Self {
        self.kind = "observer";
        self
    }

    /// Lines of the `[[policy]]` table, such as `grants = ["logging"]`.
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings = toml.to_owned();
        self
    }

    /// Lines of the `[policy.config]` table.
    pub fn config(mut self, toml: &str) -> Self {
        self.config = toml.to_owned();
        self
    }
}

impl Chain {
    /// The policies in order. Those that run the same plugin twice get names by their place.
    pub fn new(policies: impl IntoIterator<Item = Policy>) -> Self {
        let folder = tempfile::tempdir().expect("the machine has room for temporary files");
        let mut text = String::new();
        for (place, policy) in policies.into_iter().enumerate() {
            let link = folder.path().join(&policy.plugin);
            assert!(
                policy.source.exists(),
                "{} is missing: run `cargo xtask test`",
                policy.source.display()
            );
            if !link.exists() {
                symlink(&policy.source, &link).expect("the folder is writable");
            }
            let named = policy.settings.contains("name =");
            writeln!(text, "[[{}]]\nplugin = {:?}", policy.kind, policy.plugin).expect("a string grows");
            if !named {
                writeln!(text, "name = \"{}-{place}\"", policy.plugin.trim_end_matches(".wasm"))
                    .expect("a string grows");
            }
            let Policy {
                kind, settings, config, ..
            } = policy;
            let settings = patient(&settings);
            writeln!(text, "{settings}\n[{kind}.config]\n{config}\n").expect("a string grows");
        }
        fs::write(folder.path().join("plugins.toml"), &text).expect("the folder is writable");
        Self { folder }
    }

    /// One guest with this configuration.
    pub fn of(guest: &str, config: &str) -> Self {
        Self::new([Policy::guest(guest).config(config)])
    }

    /// More lines at the end of `plugins.toml`, such as a table of the whole chain.
    pub fn append(self, toml: &str) -> Self {
        let file = self.at("plugins.toml");
        let text = fs::read_to_string(&file).expect("it was just written");
        fs::write(file, text + toml).expect("the folder is writable");
        self
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// A path within the folder.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(path)
    }
}

/// These settings with a wall time that is not over on a busy machine, unless they have one: tests of that say so.
fn patient(settings: &str) -> String {
    const WALL: &str = "wall = \"60s\"";
    if settings.contains("wall =") {
        return settings.to_owned();
    }
    match settings.split_once("limits = {") {
        Some((before, limits)) => format!("{before}limits = {{ {WALL},{limits}"),
        // Behind them, so that what is said of a line is said of the line that a test wrote.
        None if settings.lines().any(|line| line.starts_with('[')) => format!("limits = {{ {WALL} }}\n{settings}"),
        None => format!("{settings}\nlimits = {{ {WALL} }}"),
    }
}
