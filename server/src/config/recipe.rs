//! `[build]` of a `plugin.toml`: what makes the artefact.
//!
//! One key says it: a language that `wasmserve build` knows the tools of, or a command for any other. Which tools these are,
//! and where they are found, is known to [`crate::cli::build`] alone.

use super::{
    ConfigErrors,
    document::{Located, Section},
    manifest::{not_empty, source, value},
};
use std::path::PathBuf;

/// What makes the artefact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipe {
    /// `cargo`: a Rust package, by name, of the cargo workspace that the plugin's folder belongs to.
    Cargo(String),
    /// `javascript`: the file of JavaScript or TypeScript that exports the plugin.
    JavaScript(Entry),
    /// `python`: the Python module that exports the plugin.
    Python(Entry),
    /// `c`: files of C, in the plugin's folder.
    C(Vec<PathBuf>),
    /// `command`: a program and its arguments, run in the plugin's folder.
    Command(Vec<String>),
}

/// Where a plugin begins that is made of a language runtime and its sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// In the plugin's folder.
    pub file: PathBuf,
    /// `world`: for `javascript` and `python`, which world of the plugin's `wit` folder it targets: what it may import, and
    /// has to export. Default: `"policy"`.
    pub world: String,
}

/// The world of a policy that uses no service.
const POLICY: &str = "policy";

const KEYS: [&str; 5] = ["cargo", "javascript", "python", "c", "command"];

impl Recipe {
    pub(super) fn read(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Self {
        if KEYS.iter().filter(|key| section.contains(key)).count() != 1 {
            let problem = "[build] needs one of `cargo`, `javascript`, `python`, `c` and `command`";
            let hint = "cargo = \"PACKAGE\" for Rust, javascript = \"src/plugin.js\", python = \"src/plugin.py\", \
                        c = [\"src/plugin.c\"], command = [\"PROGRAM\", \"ARGUMENT\"] for anything else";
            errors.push(section.error(problem).hint(hint));
        }
        let package = section.string("cargo", errors);
        let javascript = section.string("javascript", errors);
        let python = section.string("python", errors);
        let c = section.strings("c", errors);
        let command = section.strings("command", errors);
        let world = section.string("world", errors);
        if let (Some(world), None) = (&world, javascript.as_ref().or(python.as_ref())) {
            let problem = "`world` is for `javascript` and `python`: other languages import what they use";
            errors.push(section.error_at(world, problem));
        }
        let world = world.map(|world| value(section, "world", &world, not_empty, errors));
        let world = world.unwrap_or_else(|| POLICY.to_owned());
        if let Some(package) = package {
            return Self::Cargo(value(section, "cargo", &package, not_empty, errors));
        }
        if let Some(file) = javascript {
            let file = value(section, "javascript", &file, script, errors);
            return Self::JavaScript(Entry { file, world });
        }
        if let Some(file) = python {
            let file = value(section, "python", &file, module, errors);
            return Self::Python(Entry { file, world });
        }
        if let Some(files) = c {
            if files.is_empty() {
                errors.push(section.error("`c` names no file"));
            }
            return Self::C(sources(section, &files, errors));
        }
        let named = command.is_some();
        let words: Vec<String> = command.into_iter().flatten().map(|word| word.value).collect();
        if named && words.first().is_none_or(String::is_empty) {
            errors.push(section.error("`command` names no program"));
        }
        Self::Command(words)
    }
}

fn sources(section: &Section<'_>, files: &[Located<String>], errors: &mut ConfigErrors) -> Vec<PathBuf> {
    let file = |file: &Located<String>| value(section, "c", file, source, errors);
    files.iter().map(file).collect()
}

fn script(text: &str) -> Result<PathBuf, String> {
    ending(text, &["js", "mjs", "ts", "mts"])
}

/// Python imports it by its name.
fn module(text: &str) -> Result<PathBuf, String> {
    let file = ending(text, &["py"])?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy();
    let letters = |character: char| character.is_ascii_alphanumeric() || character == '_';
    if stem.starts_with(|first: char| first.is_ascii_digit()) || !stem.chars().all(letters) {
        return Err(format!(
            "is {text:?}: a module's name has letters, digits and `_`, and begins with no digit"
        ));
    }
    Ok(file)
}

fn ending(text: &str, endings: &[&str]) -> Result<PathBuf, String> {
    let file = source(text)?;
    if file
        .extension()
        .is_some_and(|found| endings.iter().any(|ending| found == *ending))
    {
        return Ok(file);
    }
    Err(format!(
        "is {text:?}: expected a file that ends in .{}",
        endings.join(", .")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Manifest, manifest::MANIFEST_FILE};

    fn read(build: &str) -> Result<Recipe, String> {
        let folder = tempfile::tempdir().unwrap();
        let manifest = format!("name = 'a'\nversion = '1'\nartefact = 'a.wasm'\n[build]\nsources = []\n{build}\n");
        std::fs::write(folder.path().join(MANIFEST_FILE), manifest).unwrap();
        match Manifest::read(folder.path()) {
            Ok(manifest) => Ok(manifest.build.unwrap().recipe),
            Err(errors) => Err(errors
                .iter()
                .map(|error| error.problem.clone())
                .collect::<Vec<_>>()
                .join("; ")),
        }
    }

    fn entry(file: &str, world: &str) -> Entry {
        Entry {
            file: file.into(),
            world: world.into(),
        }
    }

    #[test]
    fn a_recipe_for_each_language() {
        for (build, recipe) in [
            ("cargo = 'a'", Recipe::Cargo("a".into())),
            (
                "javascript = 'src/a.js'",
                Recipe::JavaScript(entry("src/a.js", "policy")),
            ),
            ("javascript = 'a.ts'", Recipe::JavaScript(entry("a.ts", "policy"))),
            (
                "python = 'src/a_1.py'\nworld = 'counting'",
                Recipe::Python(entry("src/a_1.py", "counting")),
            ),
            ("c = ['a.c', 'b.c']", Recipe::C(vec!["a.c".into(), "b.c".into()])),
            (
                "command = ['make', 'a']",
                Recipe::Command(vec!["make".into(), "a".into()]),
            ),
        ] {
            assert_eq!(read(build), Ok(recipe), "{build}");
        }
    }

    #[test]
    fn what_is_no_recipe() {
        for (build, problem) in [
            ("", "needs one of"),
            ("cargo = 'a'\npython = 'a.py'", "needs one of"),
            (
                "javascript = 'a.py'",
                "`javascript` is \"a.py\": expected a file that ends in .js",
            ),
            ("javascript = '/a.js'", "relative to this folder"),
            ("python = 'a.js'", "expected a file that ends in .py"),
            ("python = 'my-plugin.py'", "a module's name has"),
            ("python = '1.py'", "a module's name has"),
            ("c = []", "`c` names no file"),
            ("c = ['']", "must not be empty"),
            ("command = []", "`command` names no program"),
            ("command = ['']", "`command` names no program"),
            ("cargo = 'a'\nworld = 'policy'", "`world` is for"),
            ("javascript = 'a.js'\nworld = ''", "`world` must not be empty"),
        ] {
            let found = read(build).expect_err(build);
            assert!(found.contains(problem), "{build}: {found}");
        }
    }
}
