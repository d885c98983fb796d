//! JavaScript and TypeScript: one file is made of the plugin and what it imports (esbuild), and put into a component with an
//! interpreter (componentize-qjs). TypeScript is checked first (tsc). The tools are those that the plugin's `package.json`
//! names, in the versions that its lock file names.

use super::{
    console::Console,
    process::succeed,
    tools::{in_shell, on_path, up_from},
};
use crate::config::{Manifest, recipe::Entry};
use anyhow::{bail, ensure};
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Builds a component at `made`; `workshop` is a folder for what is made on the way.
pub fn build(
    manifest: &Manifest,
    entry: &Entry,
    workshop: &Path,
    made: &Path,
    console: &Console,
) -> anyhow::Result<()> {
    let typed = entry
        .file
        .extension()
        .is_some_and(|extension| extension == "ts" || extension == "mts");
    let tools = Tools::find(&manifest.folder, typed)?;
    console.line(&format!("building {} with esbuild and componentize-qjs", manifest.name));
    if let Some(tsc) = &tools.tsc {
        let mut check = in_folder(tsc, manifest);
        check.args(["--noEmit", "--pretty", "false", "--project", "."]);
        succeed(&mut check, "tsc --noEmit", console)?;
    }
    let bundle = workshop.join("plugin.js");
    let mut esbuild = in_folder(&tools.esbuild, manifest);
    esbuild
        .arg(&entry.file)
        .args(["--bundle", "--format=esm", "--platform=neutral", "--target=es2023"])
        // Some packages have no other entry than this old one.
        .arg("--main-fields=module,main")
        // What the server answers.
        .args(["--external:wasmserve:*", "--external:wasi:*"])
        .args(["--log-level=warning", "--color=false"])
        .arg(format!("--outfile={}", bundle.display()));
    succeed(&mut esbuild, "esbuild", console)?;
    let mut componentize = in_folder(&tools.componentize, manifest);
    componentize
        .args(["--wit", "wit", "--world", &entry.world, "--js"])
        .arg(&bundle)
        // Without it, the component waits for promises, for which the server has no use.
        .arg("--sync")
        .arg("--output")
        .arg(made);
    succeed(&mut componentize, "componentize-qjs", console)
}

fn in_folder(program: &Path, manifest: &Manifest) -> Command {
    let mut command = Command::new(program);
    command.current_dir(&manifest.folder);
    command
}

struct Tools {
    esbuild: PathBuf,
    componentize: PathBuf,
    /// For TypeScript.
    tsc: Option<PathBuf>,
}

impl Tools {
    fn find(folder: &Path, typed: bool) -> anyhow::Result<Self> {
        ensure!(
            on_path("node").is_some(),
            "there is no `node`: install Node.js 18 or newer (Debian: `apt-get install nodejs npm`)"
        );
        let tool = |name: &str| up_from(folder, &format!("node_modules/.bin/{name}"));
        let tsc = typed.then(|| tool("tsc"));
        match (tool("esbuild"), tool("componentize-qjs"), tsc) {
            (Some(esbuild), Some(componentize), None) => Ok(Self {
                esbuild,
                componentize,
                tsc: None,
            }),
            (Some(esbuild), Some(componentize), Some(Some(tsc))) => Ok(Self {
                esbuild,
                componentize,
                tsc: Some(tsc),
            }),
            (esbuild, componentize, tsc) => {
                let missing: Vec<&str> = [
                    ("esbuild", esbuild.is_none()),
                    ("componentize-qjs", componentize.is_none()),
                    ("typescript", tsc.is_some_and(|tsc| tsc.is_none())),
                ]
                .into_iter()
                .filter_map(|(name, missing)| missing.then_some(name))
                .collect();
                let get = match folder.join("package.json").is_file() {
                    // Not `npm ci`: that refuses a lock file which lacks packages for other machines.
                    true => "npm install".to_owned(),
                    false => format!("npm install --save-dev {}", missing.join(" ")),
                };
                bail!(
                    "its tools are not there ({}): run `cd {} && {get}`",
                    missing.join(", "),
                    in_shell(folder)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_is_missing_is_said_with_what_brings_it() {
        let folder = tempfile::tempdir().unwrap();
        let missing = |typed| Tools::find(folder.path(), typed).err().unwrap().to_string();
        let there = |name: &str| {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        };
        if on_path("node").is_none() {
            assert!(missing(false).contains("install Node.js"));
            return;
        }
        let ending = |get: &str| format!("run `cd {} && {get}`", folder.path().display());
        let found = missing(true);
        assert!(found.contains("(esbuild, componentize-qjs, typescript)"), "{found}");
        let install = "npm install --save-dev esbuild componentize-qjs typescript";
        assert!(found.ends_with(&ending(install)), "{found}");
        there("package.json");
        there("node_modules/.bin/esbuild");
        let found = missing(false);
        assert!(
            found.contains("(componentize-qjs)") && found.ends_with(&ending("npm install")),
            "{found}"
        );
        there("node_modules/.bin/componentize-qjs");
        assert!(Tools::find(folder.path(), false).is_ok());
        assert!(missing(true).contains("(typescript)"));
        there("node_modules/.bin/tsc");
        assert!(Tools::find(folder.path(), true).is_ok());
    }
}
