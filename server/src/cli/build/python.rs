//! Python: the plugin's module and what it imports are run once and put into a component with the interpreter
//! (componentize-py), from a virtual environment beside the plugin.

use super::{
    console::Console,
    process::succeed,
    tools::{in_shell, on_path, up_from},
};
use crate::config::{Manifest, recipe::Entry};
use anyhow::{Context, anyhow};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const TOOL: &str = "componentize-py";

/// The module that is built. It imports the SDK before the plugin's own module, because the SDK takes care that random
/// numbers are random: whoever imports `random` first would have numbers that were drawn when the plugin was built.
const MAIN: &str = "wasmserve_main";

/// Builds a component at `made`; `workshop` is a folder for what is made on the way.
pub fn build(
    manifest: &Manifest,
    entry: &Entry,
    workshop: &Path,
    made: &Path,
    console: &Console,
) -> anyhow::Result<()> {
    let tool = find(&manifest.folder)?;
    let module = entry.file.file_stem().unwrap_or_default().display();
    let main = format!("import wasmserve_plugin\nfrom {module} import *\n");
    fs::write(workshop.join(MAIN).with_extension("py"), main).context("cannot write a temporary file")?;
    console.line(&format!("building {} with {TOOL}", manifest.name));
    let mut command = Command::new(&tool);
    command
        .current_dir(&manifest.folder)
        .args(["--wit-path", "wit", "--world", &entry.world, "componentize"])
        .arg("--python-path")
        .arg(workshop)
        .arg("--python-path")
        .arg(
            entry
                .file
                .parent()
                .filter(|folder| *folder != Path::new(""))
                .unwrap_or(Path::new(".")),
        )
        .args(["--python-path", "sdk", "--output"])
        .arg(made)
        .arg(MAIN)
        // Compiled modules beside the sources would be younger than the plugin.
        .env("PYTHONDONTWRITEBYTECODE", "1");
    // The packages that are installed beside the tool are the plugin's to import.
    if let Some(environment) = tool.parent().and_then(Path::parent)
        && environment.join("pyvenv.cfg").is_file()
    {
        command.env("VIRTUAL_ENV", environment);
    }
    succeed(&mut command, TOOL, console)
}

/// In the plugin's virtual environment, the one that is active, or on the search path.
fn find(folder: &Path) -> anyhow::Result<PathBuf> {
    let active = env::var_os("VIRTUAL_ENV").map(|active| PathBuf::from(active).join("bin").join(TOOL));
    up_from(folder, &format!(".venv/bin/{TOOL}"))
        .or_else(|| active.filter(|file| file.is_file()))
        .or_else(|| on_path(TOOL))
        .ok_or_else(|| anyhow!("there is no `{TOOL}`: {}", advice(folder)))
}

fn advice(folder: &Path) -> String {
    if on_path("python3").is_none() {
        return "install Python 3.10 or newer (Debian: `apt-get install python3 python3-venv`)".into();
    }
    let what = match folder.join("requirements.txt").is_file() {
        true => "-r requirements.txt",
        false => TOOL,
    };
    format!(
        "run `cd {} && python3 -m venv .venv && .venv/bin/pip install {what}`",
        in_shell(folder)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_with_what_brings_it() {
        let folder = tempfile::tempdir().unwrap();
        if on_path("python3").is_none() {
            assert!(advice(folder.path()).contains("install Python"));
            return;
        }
        let ending = |what: &str| format!("python3 -m venv .venv && .venv/bin/pip install {what}`");
        assert!(advice(folder.path()).ends_with(&ending(TOOL)));
        fs::write(folder.path().join("requirements.txt"), "").unwrap();
        assert!(advice(folder.path()).ends_with(&ending("-r requirements.txt")));
        let tool = folder.path().join(".venv/bin").join(TOOL);
        fs::create_dir_all(tool.parent().unwrap()).unwrap();
        fs::write(&tool, "").unwrap();
        assert_eq!(find(folder.path()).unwrap(), tool.canonicalize().unwrap());
    }
}
