//! `[policy.config-files]`: configuration of a policy that lies in files of its own, because other programs write it (a
//! password file, a set of keys) or because it has a format of its own (redirects).
//!
//! Each key names a file, relative to the file that lists the chain. Its text becomes the configuration's value of that
//! key. It is read whenever the chain is, so that a reload reads it again, and it is never served.

use super::{ConfigError, ConfigErrors, document::Section, errors::reason};
use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// The most bytes of a file: it has to fit into what a policy may be answered at once, beside the other keys.
const LONGEST: u64 = 512 << 10;

/// The table as written.
#[derive(Default)]
pub struct ConfigFiles {
    files: toml::Table,
    /// An error that says where the table stands.
    place: Option<ConfigError>,
}

impl ConfigFiles {
    /// Takes the table out of a `[[policy]]`.
    pub fn take(policy: &mut Section<'_>, errors: &mut ConfigErrors) -> Self {
        let Some(section) = policy.section("config-files", errors) else {
            return Self::default();
        };
        let place = Some(section.error(""));
        Self {
            files: section.into_table(errors),
            place,
        }
    }

    /// Reads every file into `config`, and notes it as never to be served.
    pub fn read(
        self,
        dir: &Path,
        config: &mut toml::Table,
        protected: &mut BTreeSet<PathBuf>,
        errors: &mut ConfigErrors,
    ) {
        for (key, name) in self.files {
            let text = match &name {
                toml::Value::String(name) if !name.is_empty() => {
                    let file = dir.join(name);
                    protected.insert(file.clone());
                    read_text(&file).map_err(|problem| format!("{} {problem}", file.display()))
                }
                _ => Err("expected the name of a file".to_owned()),
            };
            let text = match text {
                Ok(_) if config.contains_key(&key) => {
                    Err("is in [policy.config] as well: give one of the two".to_owned())
                }
                other => other,
            };
            match (text, &self.place) {
                (Ok(text), _) => drop(config.insert(key, toml::Value::String(text))),
                (Err(problem), place) => errors.extend(ConfigErrors::from(ConfigError {
                    problem: format!("`config-files`: `{key}`: {problem}"),
                    ..place.clone().unwrap_or_else(|| ConfigError::new(dir, ""))
                })),
            }
        }
    }
}

/// The text of a file that is no longer than it may be.
pub(super) fn read_text(file: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {}", reason(&error));
    // Opening a pipe would wait for whoever writes into it.
    if !file.metadata().map_err(cannot)?.is_file() {
        return Err("is no file".to_owned());
    }
    let mut text = String::new();
    File::open(file)
        .and_then(|opened| opened.take(LONGEST + 1).read_to_string(&mut text))
        .map_err(cannot)?;
    if text.len() as u64 > LONGEST {
        return Err(format!("is longer than {} KiB", LONGEST >> 10));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::plugins::PluginFolder;
    use std::fs;

    /// A folder with this chain, a module and a file of users.
    fn folder(chain: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in [("plugins.toml", chain), ("a.wasm", ""), ("users", "alice:hash\n")] {
            fs::write(folder.path().join(name), content).expect("a file");
        }
        fs::write(folder.path().join("long"), vec![b'a'; (512 << 10) + 1]).expect("a file");
        fs::write(folder.path().join("bytes"), [0xff]).expect("a file");
        folder
    }

    #[test]
    fn the_text_of_a_file_is_the_value_of_its_key() {
        let folder = folder(
            "[[policy]]\nplugin = \"a.wasm\"\n[policy.config]\nb = 1\n[policy.config-files]\nhtpasswd = \"users\"\n",
        );
        let read = PluginFolder::read(folder.path()).expect("a chain");
        assert_eq!(read.policies[0].config["htpasswd"].as_str(), Some("alice:hash\n"));
        assert_eq!(read.policies[0].config["b"].as_integer(), Some(1));
        assert!(read.protected.contains(&folder.path().join("users")), "would be served");
        // A reload reads it again.
        fs::write(folder.path().join("users"), "bob:hash\n").expect("a file");
        let again = PluginFolder::read(folder.path()).expect("a chain");
        assert_eq!(again.policies[0].config["htpasswd"].as_str(), Some("bob:hash\n"));
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_place_and_key() {
        for (table, expected) in [
            (
                "a = \"missing\"",
                "DIR/missing cannot be read: no such file or directory",
            ),
            ("a = \".\"", "is no file"),
            ("a = \"long\"", "DIR/long is longer than 512 KiB"),
            ("a = \"bytes\"", "DIR/bytes cannot be read"),
            ("a = 1", "expected the name of a file"),
            ("a = \"\"", "expected the name of a file"),
            ("b = \"users\"", "is in [policy.config] as well"),
        ] {
            let chain =
                format!("[[policy]]\nplugin = \"a.wasm\"\n[policy.config]\nb = 1\n[policy.config-files]\n{table}\n");
            let folder = folder(&chain);
            let error = PluginFolder::read(folder.path()).expect_err(table).to_string();
            let error = error.replace(&folder.path().display().to_string(), "DIR");
            let key = table.split(' ').next().expect("a key");
            assert!(error.starts_with("DIR/plugins.toml:5:1: `config-files`: "), "{error}");
            assert!(
                error.contains(&format!("`{key}`: ")) && error.contains(expected),
                "{error}"
            );
        }
    }
}
