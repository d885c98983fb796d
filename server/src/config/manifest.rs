//! `plugin.toml`: what a plugin says of itself.
//!
//! Read whenever a chain names the plugin's folder, and by `wasmserve build`. It says where the built file lands, how it
//! is built, what the plugin needs (limits) and what it establishes and reads (facts). What an operator decides, such as
//! configuration, grants and other limits, is said in the chain (see [`super::plugins`]), never here.

use super::{
    ConfigErrors,
    document::{Document, Located, Section},
    limits::GivenLimits,
    recipe::Recipe,
};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Component, Path, PathBuf},
    time::SystemTime,
};
use walkdir::{DirEntry, WalkDir};
use wasmserve_policy::Limits;

/// The name of the file in a plugin's folder.
pub const MANIFEST_FILE: &str = "plugin.toml";

/// A plugin's manifest, resolved.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The manifest itself.
    pub file: PathBuf,
    /// The plugin's folder: builds run here.
    pub folder: PathBuf,
    /// `name`: what logs and errors call it: letters, digits, `-`, `_` and `.`. Needed.
    pub name: String,
    /// `version`: that of the plugin, for people. Needed.
    pub version: String,
    /// `description`: one line for people. Default: none.
    pub description: Option<String>,
    /// `artefact`: the built file, in the plugin's folder or beneath it. Needed.
    pub artefact: PathBuf,
    /// `[build]`: how it is built; left out for a plugin that is given away built.
    pub build: Option<Build>,
    /// `[limits]`: what the plugin needs; an operator's `limits` go before it.
    pub limits: Limits,
    /// `establishes` (in `[facts]`): facts that it may set. Default: `[]`.
    pub establishes: BTreeSet<String>,
    /// `reads` (in `[facts]`): facts that it may ask for. Default: `[]`.
    pub reads: BTreeSet<String>,
}

/// How an artefact is made of its sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    pub recipe: Recipe,
    /// `sources`: files, and folders with all they hold: an artefact that is older than one of these is out of date.
    /// Needed.
    pub sources: Vec<PathBuf>,
}

/// Whether an artefact can be trusted to be what its sources say, by the times of last modification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// It is there, and not older than any of its sources that are there.
    Built,
    Unbuilt,
    /// A source was changed after the artefact was built.
    Older {
        than: PathBuf,
    },
}

/// Folders beneath a source that never hold sources.
const PASSED_OVER: [&str; 3] = ["target", "node_modules", "__pycache__"];

/// A folder of this name holds a contract: nothing is built of its other files, such as a README.
const CONTRACT: &str = "wit";

/// Facts with these beginnings are the server's to establish.
const RESERVED_FACTS: [&str; 2] = ["wasmserve.", "tls."];

// === impl Manifest ===

impl Manifest {
    /// Reads `plugin.toml` in a plugin's folder.
    ///
    /// # Errors
    /// Everything that is wrong with it. Whether the artefact is there is another question: [`Manifest::staleness`].
    pub fn read(folder: &Path) -> Result<Self, ConfigErrors> {
        let file = folder.join(MANIFEST_FILE);
        Self::of_document(&Document::read(&file)?, file, folder)
    }

    /// The same, of a text that was read from there.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn parse(folder: &Path, text: String) -> Result<Self, ConfigErrors> {
        let file = folder.join(MANIFEST_FILE);
        Self::of_document(&Document::of(file.clone(), text), file, folder)
    }

    fn of_document(document: &Document, file: PathBuf, folder: &Path) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::default();
        let manifest = Self::of(document.root(&mut errors), file, folder, &mut errors);
        errors.check()?;
        Ok(manifest)
    }

    /// What the document says. Meaningless when anything is noted in `errors`.
    fn of(mut root: Section<'_>, file: PathBuf, folder: &Path, errors: &mut ConfigErrors) -> Self {
        let name = required(&mut root, "name", name, errors);
        let version = required(&mut root, "version", not_empty, errors);
        let description = root.string("description", errors).map(|located| located.value);
        let artefact = required(&mut root, "artefact", artefact, errors);
        let build = root.section("build", errors);
        let build = build.map(|section| Build::read(section, folder, errors));
        let limits = root.section("limits", errors);
        let limits = limits.map(|section| GivenLimits::read(section, errors));
        let facts = root.section("facts", errors);
        let facts = facts.map(|mut section| {
            let facts = read_facts(&mut section, errors);
            section.finish(errors);
            facts
        });
        let (establishes, reads) = facts.unwrap_or_default();
        root.finish(errors);
        Self {
            file,
            folder: folder.to_owned(),
            name,
            version,
            description,
            artefact: folder.join(artefact),
            build,
            limits: limits.unwrap_or_default().over(&Limits::default()),
            establishes,
            reads,
        }
    }

    /// Whether the artefact is there and up to date. A source that is not there does not count, because a plugin may be
    /// given away without its sources; one that cannot be looked at counts as changed.
    pub fn staleness(&self) -> Staleness {
        let Ok(built) = fs::metadata(&self.artefact).and_then(|metadata| metadata.modified()) else {
            return Staleness::Unbuilt;
        };
        let sources = self.build.iter().flat_map(|build| &build.sources);
        match sources.into_iter().find_map(|source| self.changed_since(built, source)) {
            Some(than) => Staleness::Older { than },
            None => Staleness::Built,
        }
    }

    /// Why the artefact has to be built first; `None` when it is there and up to date.
    pub fn unbuilt(&self) -> Option<String> {
        match self.staleness() {
            Staleness::Built => None,
            Staleness::Unbuilt => Some("is not built".into()),
            Staleness::Older { than } => Some(format!("is older than its source {}", than.display())),
        }
    }

    /// Every file that the artefact is made of, as far as it is there.
    pub fn source_files(&self) -> Vec<PathBuf> {
        let sources = self.build.iter().flat_map(|build| &build.sources);
        let files = sources.flat_map(|source| WalkDir::new(source).into_iter().filter_entry(may_hold_sources));
        let files = files.flatten().filter(|entry| !entry.file_type().is_dir());
        files
            .map(DirEntry::into_path)
            .filter(|file| *file != self.artefact)
            .collect()
    }

    /// The first file of a source that was changed later than the artefact was built.
    fn changed_since(&self, built: SystemTime, source: &Path) -> Option<PathBuf> {
        let mut entries = WalkDir::new(source)
            .sort_by_file_name()
            .into_iter()
            .filter_entry(may_hold_sources);
        entries.find_map(|entry| match entry {
            // The times of folders say little: whatever is built into one changes them.
            Ok(entry) if entry.file_type().is_dir() || entry.path() == self.artefact => None,
            Ok(entry) => match entry.metadata() {
                Ok(found) if found.modified().is_ok_and(|changed| changed <= built) => None,
                Err(error) if is_missing(&error) => None,
                _ => Some(entry.into_path()),
            },
            Err(error) if is_missing(&error) => None,
            Err(_) => Some(source.to_owned()),
        })
    }
}

fn may_hold_sources(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    // What the manifest names itself counts, hidden or not.
    entry.depth() == 0 || !(name.starts_with('.') || PASSED_OVER.contains(&&*name) || is_beside_contract(entry))
}

/// A file among those of a contract that is none of it.
fn is_beside_contract(entry: &DirEntry) -> bool {
    let path = entry.path();
    let mut folders = path.ancestors().skip(1).take(entry.depth());
    !entry.file_type().is_dir()
        && path.extension().is_none_or(|extension| extension != CONTRACT)
        && folders.any(|folder| folder.file_name().is_some_and(|name| name == CONTRACT))
}

fn is_missing(error: &walkdir::Error) -> bool {
    error
        .io_error()
        .is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
}

// === impl Build ===

impl Build {
    fn read(mut section: Section<'_>, folder: &Path, errors: &mut ConfigErrors) -> Self {
        let recipe = Recipe::read(&mut section, errors);
        if !section.contains("sources") {
            let problem = "[build] has no key `sources`: nothing would tell that the artefact is out of date";
            let hint = "list files and folders relative to this folder, such as [\"src\", \"Cargo.toml\"]";
            errors.push(section.error(problem).hint(hint));
        }
        let located = section.strings("sources", errors).unwrap_or_default();
        let sources = located
            .iter()
            .map(|text| folder.join(value(&section, "sources", text, source, errors)))
            .collect();
        section.finish(errors);
        Self { recipe, sources }
    }
}

// === Values ===

/// The names of the facts that are established and read.
/// `establishes` and `reads` of a section.
pub(super) fn read_facts(section: &mut Section<'_>, errors: &mut ConfigErrors) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut names = |key, parse: fn(&str) -> Result<String, String>, errors: &mut ConfigErrors| {
        let located = section.strings(key, errors).unwrap_or_default();
        located
            .iter()
            .map(|text| value(section, key, text, parse, errors))
            .collect()
    };
    (
        names("establishes", own_fact, errors),
        names("reads", not_empty, errors),
    )
}

/// A key that has to be there, parsed.
fn required<T: Default>(
    section: &mut Section<'_>,
    key: &'static str,
    parse: fn(&str) -> Result<T, String>,
    errors: &mut ConfigErrors,
) -> T {
    match section.required_string(key, errors) {
        Some(text) => value(section, key, &text, parse, errors),
        None => T::default(),
    }
}

/// A text, parsed. What is wrong is noted, and stands for nothing.
pub(super) fn value<T: Default>(
    section: &Section<'_>,
    key: &str,
    text: &Located<String>,
    parse: fn(&str) -> Result<T, String>,
    errors: &mut ConfigErrors,
) -> T {
    parse(&text.value).unwrap_or_else(|problem| {
        errors.push(section.error_at(text, format!("`{key}` {problem}")));
        T::default()
    })
}

pub(super) fn not_empty(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("must not be empty".into());
    }
    Ok(text.to_owned())
}

/// Names appear in logs, errors and file names.
fn name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !text.is_empty() && text.bytes().all(fits) && !text.starts_with(['.', '-']) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "is {text:?}: letters, digits, `-`, `_` and `.` make a name, and it begins with none of `-` and `.`"
    ))
}

/// The built file is the plugin's own: nothing outside of its folder is ever written or loaded in its name.
fn artefact(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Err(format!("is {text:?}: it has to lie in this folder or beneath it"));
    }
    // What `*.wasm` matches: ignored by version control, and hidden by the server wherever it lies.
    if path.extension().is_none_or(|extension| extension != "wasm") {
        return Err(format!("is {text:?}: its name has to end in .wasm"));
    }
    Ok(path)
}

pub(super) fn source(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(not_empty(text)?);
    if path.is_absolute() {
        return Err(format!("is {text:?}: sources are relative to this folder"));
    }
    Ok(path)
}

fn own_fact(text: &str) -> Result<String, String> {
    if RESERVED_FACTS.iter().any(|beginning| text.starts_with(beginning)) {
        return Err(format!(
            "names {text:?}: facts that begin so are the server's to establish"
        ));
    }
    not_empty(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const BASIC_AUTH: &str = r#"
        name = "basic-auth"
        version = "0.1.0"
        description = "Asks for a password."
        artefact = "basic-auth.wasm"
        [build]
        cargo = "wasmserve-basic-auth"
        sources = ["src", "../wit"]
        [limits]
        running = "1s"
        memory = "64MiB"
        concurrent = 2
        [facts]
        establishes = ["user"]
        reads = ["tls.subject"]
    "#;

    fn folder(manifest: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(MANIFEST_FILE), manifest).unwrap();
        folder
    }

    /// What is wrong: `line:column: problem`, one a line.
    fn problems(manifest: &str) -> Vec<String> {
        let folder = folder(manifest);
        let Err(errors) = Manifest::read(folder.path()) else {
            return Vec::new();
        };
        let problem = |error: &super::super::ConfigError| {
            let position = error.position.expect("every error of a manifest has a place");
            format!("{}:{}: {}", position.line, position.column, error.problem)
        };
        errors.iter().map(problem).collect()
    }

    #[test]
    fn a_manifest_with_everything() {
        let folder = folder(BASIC_AUTH);
        let manifest = Manifest::read(folder.path()).unwrap();
        assert_eq!(manifest.file, folder.path().join("plugin.toml"));
        assert_eq!((&*manifest.name, &*manifest.version), ("basic-auth", "0.1.0"));
        assert_eq!(manifest.description.as_deref(), Some("Asks for a password."));
        assert_eq!(manifest.artefact, folder.path().join("basic-auth.wasm"));
        let sources = ["src", "../wit"].map(|source| folder.path().join(source)).to_vec();
        let recipe = Recipe::Cargo("wasmserve-basic-auth".into());
        assert_eq!(manifest.build, Some(Build { recipe, sources }));
        let limits = Limits {
            running: Duration::from_secs(1),
            memory: 64 << 20,
            concurrent: 2,
            ..Limits::default()
        };
        assert_eq!(manifest.limits, limits);
        assert_eq!(manifest.establishes, BTreeSet::from(["user".to_owned()]));
        assert_eq!(manifest.reads, BTreeSet::from(["tls.subject".to_owned()]));
    }

    #[test]
    fn a_manifest_with_the_least() {
        let folder = folder("name = \"a\"\nversion = \"1\"\nartefact = \"built/a.wasm\"\n");
        let manifest = Manifest::read(folder.path()).unwrap();
        assert_eq!(manifest.artefact, folder.path().join("built/a.wasm"));
        assert_eq!((manifest.build, manifest.description), (None, None));
        assert_eq!(manifest.limits, Limits::default());
        assert!(manifest.establishes.is_empty() && manifest.reads.is_empty());
    }

    #[test]
    fn the_command_of_another_language() {
        let text = "name='a'\nversion='1'\nartefact='a.wasm'\n[build]\ncommand=['npm', 'run', 'build']\nsources=[]\n";
        let build = Manifest::read(folder(text).path()).unwrap().build.unwrap();
        assert_eq!(
            build.recipe,
            Recipe::Command(["npm", "run", "build"].map(str::to_owned).to_vec())
        );
        assert!(build.sources.is_empty());
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let text = "name = \"a/b\"\nversion = 1\nartefact = \"../a.wasm\"\nauthor = \"me\"\n\
                    [build]\ncargo = \"\"\ncommand = []\nsources = [\"/src\", 1]\npackage = \"a\"\n\
                    [limits]\nrunning = \"1\"\n[facts]\nestablishes = [\"tls.user\", \"\"]\n";
        let problems = problems(text);
        let places: Vec<&str> = problems
            .iter()
            .map(|problem| problem.split(": ").next().unwrap())
            .collect();
        let expected = [
            "1:8", "2:11", "3:12", "4:1", "5:1", "6:9", "8:12", "8:20", "9:1", "11:11", "13:16", "13:28",
        ];
        assert_eq!(places, expected, "{problems:#?}");
    }

    #[test]
    fn what_is_missing_is_said() {
        let problems = problems("[build]\n[facts]\n");
        for key in ["`name`", "`version`", "`artefact`", "[build] needs one of", "`sources`"] {
            assert!(
                problems.iter().any(|problem| problem.contains(key)),
                "{key}: {problems:#?}"
            );
        }
        assert_eq!(problems.len(), 5, "{problems:#?}");
    }

    #[test]
    fn names_that_would_confuse() {
        for (text, fits) in [
            ("basic-auth", true),
            ("a_1.b", true),
            ("", false),
            (".a", false),
            ("-a", false),
            ("a b", false),
            ("a\n", false),
            ("ä", false),
        ] {
            assert_eq!(name(text).is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn artefacts_stay_in_the_folder() {
        for (text, fits) in [
            ("a.wasm", true),
            ("built/a.wasm", true),
            ("/a.wasm", false),
            ("../a.wasm", false),
            ("a/../../b.wasm", false),
            ("./a.wasm", false),
            ("a.txt", false),
            ("", false),
        ] {
            assert_eq!(artefact(text).is_ok(), fits, "{text:?}");
        }
    }

    /// A plugin's folder whose artefact was built 100 seconds after the epoch.
    fn built() -> (tempfile::TempDir, Manifest) {
        let folder = folder(
            "name='a'\nversion='1'\nartefact='a.wasm'\n[build]\ncargo='a'\nsources=['src', 'Cargo.toml', '.config']\n",
        );
        let manifest = Manifest::read(folder.path()).unwrap();
        changed(&manifest, "a.wasm", 100);
        (folder, manifest)
    }

    /// A file of the plugin's folder that was last changed so many seconds after the epoch.
    fn changed(manifest: &Manifest, file: &str, seconds: u64) {
        let path = manifest.folder.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let file = fs::File::create(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .unwrap();
    }

    #[test]
    fn an_artefact_without_sources_is_built() {
        let (_folder, manifest) = built();
        assert_eq!(manifest.staleness(), Staleness::Built);
        fs::remove_file(&manifest.artefact).unwrap();
        assert_eq!(manifest.staleness(), Staleness::Unbuilt);
    }

    #[test]
    fn an_artefact_is_as_old_as_its_sources_or_younger() {
        for (file, seconds, counts) in [
            ("src/lib.rs", 100, false),
            ("src/lib.rs", 101, true),
            ("src/deep/in/it.rs", 101, true),
            ("Cargo.toml", 101, true),
            ("README.md", 101, false),
            ("src/.lib.rs.swp", 101, false),
            ("src/node_modules/a.js", 101, false),
            ("src/__pycache__/a.pyc", 101, false),
            (".config/a.toml", 101, true),
            ("src/wit/policy.wit", 101, true),
            ("src/wit/deps/clocks/world.wit", 101, true),
            ("src/wit/README.md", 101, false),
            ("src/wit/deps/README.md", 101, false),
            ("src/width/README.md", 101, true),
        ] {
            let (_folder, manifest) = built();
            changed(&manifest, file, seconds);
            let expected = match counts {
                true => Staleness::Older {
                    than: manifest.folder.join(file),
                },
                false => Staleness::Built,
            };
            assert_eq!(manifest.staleness(), expected, "{file} changed at {seconds}");
            assert_eq!(manifest.unbuilt().is_some(), counts);
        }
    }

    #[test]
    fn a_contract_is_its_wit_files_alone() {
        let text = "name='a'\nversion='1'\nartefact='a.wasm'\n[build]\ncommand=['make']\nsources=['wit']\n";
        for (file, counts) in [("wit/README.md", false), ("wit/deps/a.wit", true), ("wit/a.wit", true)] {
            let folder = folder(text);
            let manifest = Manifest::read(folder.path()).unwrap();
            changed(&manifest, "a.wasm", 100);
            changed(&manifest, file, 101);
            assert_eq!(manifest.unbuilt().is_some(), counts, "{file}");
        }
    }

    #[test]
    fn an_artefact_among_its_sources_is_not_older_than_itself() {
        let folder = folder("name='a'\nversion='1'\nartefact='a.wasm'\n[build]\ncommand=['make']\nsources=['.']\n");
        let manifest = Manifest::read(folder.path()).unwrap();
        let path = folder.path().join(MANIFEST_FILE);
        fs::File::open(path)
            .unwrap()
            .set_modified(SystemTime::UNIX_EPOCH)
            .unwrap();
        changed(&manifest, "a.wasm", 100);
        assert_eq!(manifest.staleness(), Staleness::Built);
        changed(&manifest, "a.js", 101);
        assert!(matches!(manifest.staleness(), Staleness::Older { .. }));
    }
}
