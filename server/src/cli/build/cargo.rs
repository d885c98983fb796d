//! Rust plugins: the packages of one workspace are built by one call of cargo.

use super::{Built, compiler::Compiler, console::Console, install, process};
use crate::config::Manifest;
use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

/// A plugin that is a package of a cargo workspace.
pub struct Package {
    pub name: String,
    pub manifest: Manifest,
}

/// A workspace and what is to be built of it.
struct Workspace {
    compiler: Compiler,
    metadata: Metadata,
    packages: Vec<Package>,
}

/// What `cargo metadata` says.
#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    packages: Vec<PackageMetadata>,
}

#[derive(Deserialize)]
struct PackageMetadata {
    id: String,
    name: String,
    manifest_path: PathBuf,
}

/// A line of `cargo build --message-format json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    package_id: String,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

/// Tells what came of a plugin.
type Tell<'a> = dyn FnMut(&str, anyhow::Result<Built>) + 'a;

/// Builds packages and puts their artefacts into place; `tell` is called once for each.
pub fn build(packages: Vec<Package>, console: &Console, tell: &mut Tell<'_>) {
    let mut workspaces: Vec<Workspace> = Vec::new();
    let mut reasons = HashSet::new();
    for package in packages {
        if let Some(workspace) = workspaces.iter_mut().find(|workspace| workspace.holds(&package)) {
            workspace.packages.push(package);
            continue;
        }
        match Workspace::of(&package) {
            Ok(workspace) => join(&mut workspaces, workspace, package),
            Err(error) if reasons.insert(format!("{error:#}")) => tell(&package.manifest.name, Err(error)),
            // What there is to install is said once.
            Err(_) => tell(&package.manifest.name, Err(anyhow!("for a reason given above"))),
        }
    }
    for workspace in workspaces {
        workspace.build(console, tell);
    }
}

/// Adds a package to its workspace, which may be known already.
fn join(workspaces: &mut Vec<Workspace>, mut workspace: Workspace, package: Package) {
    let root = &workspace.metadata.workspace_root;
    match workspaces
        .iter_mut()
        .find(|known| known.metadata.workspace_root == *root)
    {
        Some(known) => known.packages.push(package),
        None => {
            workspace.packages.push(package);
            workspaces.push(workspace);
        }
    }
}

// === impl Workspace ===

impl Workspace {
    /// The workspace that a plugin's folder belongs to.
    fn of(package: &Package) -> anyhow::Result<Self> {
        let folder = &package.manifest.folder;
        let compiler = Compiler::find(folder)?;
        let mut command = compiler.cargo(folder)?;
        command.args(["metadata", "--no-deps", "--format-version", "1"]);
        let answer = command.output().context("cannot run cargo")?;
        if !answer.status.success() {
            bail!(
                "cargo cannot read its package\n{}",
                String::from_utf8_lossy(&answer.stderr).trim_end()
            );
        }
        let metadata: Metadata = serde_json::from_slice(&answer.stdout).context("cargo's metadata cannot be read")?;
        if metadata.package(&package.name).is_none() {
            let root = metadata.workspace_root.display();
            bail!(
                "{}: there is no package `{}` in the workspace {root}",
                package.manifest.file.display(),
                package.name
            );
        }
        Ok(Self {
            compiler,
            metadata,
            packages: Vec::new(),
        })
    }

    /// Whether a package is known to be of this workspace: it has that name, and lies in the plugin's folder.
    fn holds(&self, package: &Package) -> bool {
        let folder = fs::canonicalize(&package.manifest.folder).ok();
        self.metadata
            .package(&package.name)
            .is_some_and(|known| known.manifest_path.parent() == folder.as_deref())
    }

    fn build(self, console: &Console, tell: &mut Tell<'_>) {
        let (since, started) = (Instant::now(), SystemTime::now());
        let plugins: Vec<&str> = self.packages.iter().map(|package| &*package.manifest.name).collect();
        console.line(&format!("building {} with {}", plugins.join(", "), self.compiler));
        let mut made = HashMap::new();
        let outcome = self.run(console, |message| {
            let wasm = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "wasm");
            if message.reason == "compiler-artifact" {
                made.insert(message.package_id, message.filenames.into_iter().find(wasm));
            }
        });
        let made_of = self.made_of(started);
        // What cargo says is said once, with the first plugin that it is about.
        let mut output = Some(match &outcome {
            Ok(finished) => finished.output.clone(),
            Err(error) => format!("{error:#}"),
        });
        for package in &self.packages {
            let id = self.metadata.package(&package.name).map(|known| &known.id);
            let artefact = &package.manifest.artefact;
            let built = match id.and_then(|id| made.get(id)) {
                Some(Some(wasm)) => install(wasm, artefact, made_of).map(|()| Built {
                    since,
                    artefact: artefact.clone(),
                }),
                Some(None) => Err(anyhow!(
                    "the package `{}` makes no WebAssembly: its Cargo.toml needs [lib] crate-type = [\"cdylib\"]",
                    package.name
                )),
                None => Err(match output.take() {
                    Some(output) => anyhow!("cargo could not build `{}`\n{}", package.name, output.trim_end()),
                    None => anyhow!("cargo could not build `{}`, see above", package.name),
                }),
            };
            tell(&package.manifest.name, built);
        }
    }

    /// One call of cargo for all packages. It goes on after a failure, so that one plugin does not hinder another.
    fn run(&self, console: &Console, mut message: impl FnMut(Message)) -> anyhow::Result<process::Finished> {
        let mut command = self.compiler.cargo(&self.metadata.workspace_root)?;
        command.args(self.compiler.build_arguments());
        command.args(["--lib", "--keep-going", "--message-format", "json-render-diagnostics"]);
        command.args(["--color", if console.is_watched() { "always" } else { "never" }]);
        for package in &self.packages {
            command.args(["--package", &package.name]);
        }
        let read = |line: &str| {
            if let Ok(read) = serde_json::from_str(line) {
                message(read);
            }
        };
        process::run(&mut command, console, read).context("cannot run cargo")
    }

    /// The time that artefacts are given: when the build began, so that a source which was changed meanwhile is newer; but
    /// not before the lock file that cargo may have written.
    fn made_of(&self, started: SystemTime) -> SystemTime {
        let locked = modified(&self.metadata.workspace_root.join("Cargo.lock"));
        locked.map_or(started, |locked| locked.max(started))
    }
}

fn modified(file: &Path) -> Option<SystemTime> {
    fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

// === impl Metadata ===

impl Metadata {
    fn package(&self, name: &str) -> Option<&PackageMetadata> {
        self.packages.iter().find(|package| package.name == name)
    }
}
