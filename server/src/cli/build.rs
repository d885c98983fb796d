//! `wasmserve build`: makes plugins of their sources.
//!
//! In the order of events: every folder with a `plugin.toml` is found; manifests are read; what is missing or older than
//! its sources is built, Rust packages of one workspace by one call of cargo, others one by one with their language's
//! tools; each artefact is put beside its manifest in one step, so that a server never loads half a file. One plugin's
//! failure does not keep the others from being built.
//!
//! Nothing is installed or downloaded but the crates that a plugin's lock file names: which compilers a machine has is its
//! owner's decision. What is missing is said, with the command that brings it. A server never builds: it says what to run.

mod c;
mod cargo;
mod compiler;
mod console;
mod javascript;
mod process;
mod python;
mod tools;

use super::Outcome;
use crate::config::{
    Manifest,
    manifest::{MANIFEST_FILE, Staleness},
    recipe::Recipe,
};
use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use console::Console;
use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{self as std_process, ExitCode},
    time::{Instant, SystemTime},
};
use walkdir::{DirEntry, WalkDir};

#[derive(Clone, Debug, Args)]
pub struct BuildOptions {
    /// Folder to look for plugin.toml files in, itself and everything beneath it
    #[arg(default_value = "plugins", value_name = "DIR")]
    dir: PathBuf,

    /// Build every plugin, also those that are newer than their sources
    #[arg(long)]
    force: bool,
}

/// Which plugins are built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those whose artefact is missing or older than one of its sources.
    OutOfDate,
    All,
}

/// How it went, for the exit status and for scripts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub built: usize,
    /// There already, and not older than its sources.
    pub up_to_date: usize,
    pub failed: usize,
}

/// Builds as the command line says.
pub fn run(options: &BuildOptions) -> Outcome {
    let extent = if options.force { Extent::All } else { Extent::OutOfDate };
    let tally = build(&options.dir, extent)?;
    ensure!(
        tally.failed == 0,
        "{} of {} plugins could not be built",
        tally.failed,
        tally.total()
    );
    Ok(ExitCode::SUCCESS)
}

/// Builds the plugins beneath a folder. Progress, and why a plugin could not be built, is told on standard error.
///
/// # Errors
/// There is no such folder, or no plugin in it.
pub fn build(dir: &Path, extent: Extent) -> anyhow::Result<Tally> {
    let folders = find(dir)?;
    let console = Console::new();
    let mut tally = Tally::default();
    let mut packages = Vec::new();
    for folder in &folders {
        match Job::of(folder, extent) {
            Ok(None) => tally.up_to_date += 1,
            Ok(Some(Job::Package(package))) => packages.push(package),
            Ok(Some(Job::Alone { manifest, recipe })) => {
                let outcome = build_alone(&manifest, &recipe, &console);
                tally.count(&console, &manifest.name, outcome);
            }
            Err(error) => tally.count(&console, &folder.display().to_string(), Err(error)),
        }
    }
    cargo::build(packages, &console, &mut |name, outcome| {
        tally.count(&console, name, outcome)
    });
    console.line(&tally.to_string());
    Ok(tally)
}

/// Folders that are not looked into unless they are named: what tools leave behind, and what is there to be copied or read.
const PASSED_OVER: [&str; 5] = ["target", "node_modules", "examples", "template", "template-ts"];

/// Something to do.
enum Job {
    Package(cargo::Package),
    /// Whatever is not a package of cargo is built by itself.
    Alone {
        manifest: Manifest,
        recipe: Recipe,
    },
}

/// What came of building one plugin.
struct Built {
    since: Instant,
    artefact: PathBuf,
}

/// Every folder with a manifest, in the order of names.
pub(super) fn find(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let may_hold_plugins = |entry: &DirEntry| {
        let name = entry.file_name().to_string_lossy();
        entry.depth() == 0 || !(name.starts_with('.') || PASSED_OVER.contains(&&*name))
    };
    let mut folders = Vec::new();
    for entry in WalkDir::new(dir)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(may_hold_plugins)
    {
        let entry = entry.with_context(|| format!("cannot look for plugins in {}", dir.display()))?;
        if entry.file_type().is_dir() && entry.path().join(MANIFEST_FILE).is_file() {
            folders.push(entry.into_path());
        }
    }
    ensure!(
        !folders.is_empty(),
        "there is no {MANIFEST_FILE} in {} or beneath it",
        dir.display()
    );
    Ok(folders)
}

/// Builds one plugin with the tools of its language, and puts the artefact into its place.
fn build_alone(manifest: &Manifest, recipe: &Recipe, console: &Console) -> anyhow::Result<Built> {
    let (since, started) = (Instant::now(), SystemTime::now());
    let workshop = tempfile::tempdir().context("there is no room for temporary files")?;
    let made = workshop.path().join("plugin.wasm");
    match recipe {
        Recipe::JavaScript(entry) => javascript::build(manifest, entry, workshop.path(), &made, console)?,
        Recipe::Python(entry) => python::build(manifest, entry, workshop.path(), &made, console)?,
        Recipe::C(files) => c::build(manifest, files, &made, console)?,
        Recipe::Command(words) => return run_command(manifest, words, console),
        Recipe::Cargo(package) => bail!("the package `{package}` is built with its workspace"),
    }
    install(&made, &manifest.artefact, started)?;
    Ok(Built {
        since,
        artefact: manifest.artefact.clone(),
    })
}

/// Runs what builds a plugin of any other language. It puts the artefact into its place itself.
fn run_command(manifest: &Manifest, words: &[String], console: &Console) -> anyhow::Result<Built> {
    let [program, arguments @ ..] = words else {
        bail!("the command names no program")
    };
    let (since, started) = (Instant::now(), SystemTime::now());
    console.line(&format!("building {} with {}", manifest.name, words.join(" ")));
    let mut command = std_process::Command::new(program);
    command.args(arguments).current_dir(&manifest.folder);
    process::succeed(&mut command, &words.join(" "), console)?;
    let artefact = File::options().append(true).open(&manifest.artefact);
    let artefact = artefact.with_context(|| format!("the command made no {}", manifest.artefact.display()))?;
    artefact
        .set_modified(started)
        .context("cannot set the time of the artefact")?;
    Ok(Built {
        since,
        artefact: manifest.artefact.clone(),
    })
}

/// Puts a built file into its place in one step.
fn install(built: &Path, artefact: &Path, made_of: SystemTime) -> anyhow::Result<()> {
    let into = || format!("cannot write {}", artefact.display());
    let folder = artefact
        .parent()
        .ok_or_else(|| anyhow!("{} has no folder", artefact.display()))?;
    fs::create_dir_all(folder).with_context(into)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(artefact.file_name().unwrap_or_default());
    name.push(format!(".{}", std_process::id()));
    let partial = folder.join(name);
    let placed = fs::read(built)
        .and_then(|wasm| fs::write(&partial, wasm))
        .and_then(|()| File::options().append(true).open(&partial)?.set_modified(made_of))
        .and_then(|()| fs::rename(&partial, artefact));
    if placed.is_err() {
        let _ = fs::remove_file(&partial);
    }
    placed.with_context(into)
}

// === impl Job ===

impl Job {
    /// What there is to do for the plugin of a folder; `None` when it is up to date.
    fn of(folder: &Path, extent: Extent) -> anyhow::Result<Option<Self>> {
        let manifest = Manifest::read(folder)?;
        let staleness = manifest.staleness();
        let Some(build) = &manifest.build else {
            ensure!(
                staleness == Staleness::Built,
                "{} is not there, and {} has no [build] that says how to make it",
                manifest.artefact.display(),
                manifest.file.display()
            );
            return Ok(None);
        };
        if let Some(missing) = build.sources.iter().find(|source| !source.exists()) {
            bail!(
                "{}: `sources` names {}, which is not there",
                manifest.file.display(),
                missing.display()
            );
        }
        if extent == Extent::OutOfDate && staleness == Staleness::Built {
            return Ok(None);
        }
        Ok(Some(match build.recipe.clone() {
            Recipe::Cargo(name) => Self::Package(cargo::Package { name, manifest }),
            recipe => Self::Alone { manifest, recipe },
        }))
    }
}

// === impl Tally ===

impl Tally {
    fn total(&self) -> usize {
        self.built + self.up_to_date + self.failed
    }

    fn count(&mut self, console: &Console, plugin: &str, outcome: anyhow::Result<Built>) {
        match outcome {
            Ok(built) => {
                self.built += 1;
                let size = fs::metadata(&built.artefact).map_or(0, |metadata| metadata.len());
                let seconds = built.since.elapsed().as_secs_f64();
                console.line(&format!(
                    "built {plugin}: {:.1} KiB in {seconds:.1} s",
                    size as f64 / 1024.0
                ));
            }
            Err(error) => {
                self.failed += 1;
                console.line(&format!("failed {plugin}: {error:#}"));
            }
        }
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} built, {} up to date, {} failed",
            self.built, self.up_to_date, self.failed
        )
    }
}

#[cfg(test)]
mod tests;
