//! `wasmserve new`: a folder in which a policy is written, built, tested and tried, with all that it takes.
//!
//! In the order of events: the name is checked; the folder must not be there; the template of the language is written with
//! the name in its place, beside it the SDK (`sdk/`) and the contract (`wit/`), which this program carries. So what is made
//! fits the server that made it, without a download, and goes on building when the server is replaced.

use super::{Outcome, dev::chain};
use crate::config::plugins::CHAIN_FILE;
use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, Args)]
pub struct NewOptions {
    /// The policy's name, which is also its folder's; or the path of a folder that is not there yet
    #[arg(value_name = "NAME")]
    path: PathBuf,

    /// The language that it is written in
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
}

/// Languages with an SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Language {
    Rust,
    /// JavaScript
    Js,
    /// TypeScript
    Ts,
    Python,
    C,
}

/// What the program carries, listed by server/build.rs: `SDKS`, each with its templates, and `CONTRACT`. Paths and contents.
mod carried {
    include!(concat!(env!("OUT_DIR"), "/carried.rs"));
}
use carried::{CONTRACT, SDKS};

/// What stands for the name in templates.
const PLACEHOLDER: &str = "my-policy";

/// As long as a label of a host name, so that the name fits wherever one is wanted.
const LONGEST_NAME: usize = 63;

/// What the chain of the folder begins with.
const CHAIN: &str = "# The chain that `wasmserve dev` and `wasmserve --plugins` with this folder run.\n\n";

/// Something to serve.
const PAGE: &str = "<!doctype html>\n<meta charset=\"utf-8\">\n<title>my-policy</title>\n<h1>It works</h1>\n\
                    <p>What you see went through my-policy.</p>\n";

/// Makes the folder, and says what to do next.
pub fn run(options: &NewOptions) -> Outcome {
    let folder = &options.path;
    let name = name_of(folder)?;
    ensure!(
        folder.symlink_metadata().is_err(),
        "{} is there already: nothing is overwritten",
        folder.display()
    );
    let made = make(folder, name, options.lang);
    if made.is_err() {
        // Nobody else made it: it was not there just now.
        let _ = fs::remove_dir_all(folder);
    }
    made.with_context(|| format!("cannot make {}", folder.display()))?;
    println!("{}", next(folder, name));
    Ok(ExitCode::SUCCESS)
}

fn next(folder: &Path, name: &str) -> String {
    let folder = folder.display();
    format!(
        "made the policy {name} in {folder}. Next:\n\n    cd {folder}\n    wasmserve build .    # again after each change, or let dev do it\n    \
         wasmserve test .\n    wasmserve dev .      # then: curl -i http://127.0.0.1:8080/"
    )
}

/// The last part of a path, where it can be the name of a policy and of a package of each language.
fn name_of(path: &Path) -> anyhow::Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    ensure!(
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.bytes().all(fits)
            && !name.ends_with('-')
            && name.len() <= LONGEST_NAME,
        "{name:?} is no name for a policy: it has small letters, digits and `-`, begins with a letter, and has at most \
         {LONGEST_NAME} of them"
    );
    ensure!(
        !["wasmserve-plugin", "core", "std", "alloc", "test"].contains(&name),
        "{name:?} has another meaning where policies are built: choose another name"
    );
    Ok(name)
}

fn make(folder: &Path, name: &str, language: Language) -> anyhow::Result<()> {
    let template: Vec<_> = beneath(&SDKS, language.template()).collect();
    ensure!(
        !template.is_empty(),
        "this program carries no template for that language"
    );
    for (path, text) in template {
        let file = folder.join(path.replace(PLACEHOLDER, name));
        // Whatever is no text is left as it is.
        match std::str::from_utf8(text) {
            Ok(text) => write(&file, text.replace(PLACEHOLDER, name).as_bytes())?,
            Err(_) => write(&file, text)?,
        }
    }
    let tests = fs::read_to_string(folder.join("tests/first.toml")).context("the template has no test")?;
    let chain = chain::of_tests(".", tests.parse().context("the template's test is no TOML")?)?;
    write(&folder.join(CHAIN_FILE), format!("{CHAIN}{chain}").as_bytes())?;
    write(
        &folder.join("site/index.html"),
        PAGE.replace(PLACEHOLDER, name).as_bytes(),
    )?;
    for (path, text) in beneath(&SDKS, language.sdk()).filter(|(path, _)| !path.starts_with("template")) {
        write(&folder.join("sdk").join(path), text)?;
    }
    for (path, text) in CONTRACT {
        write(&folder.join("wit").join(path), text)?;
    }
    if language == Language::Rust {
        // Its bindings are made of the contract beside them.
        symlink("../wit", folder.join("sdk/wit"))?;
    }
    Ok(())
}

/// The files beneath a folder, by their paths in it.
fn beneath(
    files: &'static [(&'static str, &'static [u8])],
    folder: &'static str,
) -> impl Iterator<Item = (&'static str, &'static [u8])> {
    files
        .iter()
        .filter_map(move |(path, text)| Some((path.strip_prefix(folder)?, *text)))
}

fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, text)
}

// === impl Language ===

impl Language {
    /// Where its template is among the SDKs.
    fn template(self) -> &'static str {
        match self {
            Self::Rust => "rust/template/",
            Self::Js => "js/template/",
            Self::Ts => "js/template-ts/",
            Self::Python => "python/template/",
            Self::C => "c/template/",
        }
    }

    /// Where its SDK is.
    fn sdk(self) -> &'static str {
        match self {
            Self::Rust => "rust/",
            Self::Js | Self::Ts => "js/",
            Self::Python => "python/",
            Self::C => "c/",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_everywhere() {
        for (path, expected) in [
            ("guard", Some("guard")),
            ("plugins/my-guard2", Some("my-guard2")),
            ("./a/", Some("a")),
            ("", None),
            ("..", None),
            ("Guard", None),
            ("2guard", None),
            ("-guard", None),
            ("guard-", None),
            ("my_guard", None),
            ("my.guard", None),
            ("a b", None),
            ("grün", None),
            ("std", None),
        ] {
            assert_eq!(name_of(Path::new(path)).ok(), expected, "{path}");
        }
        assert!(name_of(Path::new(&"a".repeat(64))).is_err());
    }

    /// The SDK is built in the template's workspace, as it is in that of the plugins.
    #[test]
    fn the_template_of_rust_has_what_its_sdk_needs() {
        let table = |text: &[u8]| -> toml::Table { std::str::from_utf8(text).unwrap().parse().unwrap() };
        let carried = |name: &str| table(SDKS.iter().find(|(path, _)| *path == name).expect(name).1);
        let template = carried("rust/template/Cargo.toml");
        let plugins = fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/../plugins/Cargo.toml")).unwrap();
        let plugins = table(&plugins);
        let (ours, theirs) = (&template["workspace"], &plugins["workspace"]);
        assert_eq!(ours["package"], theirs["package"]);
        assert_eq!(template["profile"], plugins["profile"]);
        for (name, dependency) in ours["dependencies"].as_table().unwrap() {
            if name != "wasmserve-plugin" {
                assert_eq!(dependency, &theirs["dependencies"][name], "{name}");
            }
        }
        let sdk = carried("rust/Cargo.toml");
        for (name, dependency) in sdk["dependencies"].as_table().unwrap() {
            assert!(ours["dependencies"].get(name).is_some(), "{name}: {dependency}");
        }
    }

    #[test]
    fn what_is_made_has_its_name_and_all_it_takes() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("guard");
        make(&folder, "guard", Language::Rust).unwrap();
        for file in [
            "plugin.toml",
            "Cargo.toml",
            "README.md",
            "src/lib.rs",
            "tests/first.toml",
            ".gitignore",
        ] {
            let text = fs::read_to_string(folder.join(file)).expect(file);
            assert!(!text.contains(PLACEHOLDER), "{file}: {text}");
        }
        let chain: toml::Table = fs::read_to_string(folder.join(CHAIN_FILE)).unwrap().parse().unwrap();
        let policy = &chain["policy"][0];
        assert_eq!(policy["plugin"].as_str(), Some("."));
        assert!(policy["config"].as_table().is_some_and(|config| !config.is_empty()));
        for file in [
            "site/index.html",
            "sdk/src/lib.rs",
            "sdk/wit/worlds.wit",
            "wit/guest.wit",
        ] {
            assert!(folder.join(file).is_file(), "{file}");
        }
        assert!(!folder.join("sdk/template").exists());
    }
}
