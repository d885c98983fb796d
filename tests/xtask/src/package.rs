//! Making the Debian package: by cargo-deb, from `[package.metadata.deb]` in `server/Cargo.toml` and `server/packaging`.
use crate::{
    build,
    command::{Result, announce, cargo, project, run},
    setup,
};
use std::{fs, path::Path};

/// What the package has beside the binary is gathered here; the same path is in `server/Cargo.toml`.
const STAGE: &str = "target/package";

/// Where the package is found.
const OUTPUT: &str = "target/debian";

/// The shells that Debian has folders for, and the names of their files there.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "wasmserve"), ("zsh", "_wasmserve"), ("fish", "wasmserve.fish")];

/// Builds server and plugins, gathers what is shipped, and packs it.
pub fn run_all() -> Result {
    setup::for_build()?;
    build::server()?;
    build::plugins()?;
    let stage = project().join(STAGE);
    let _ = fs::remove_dir_all(&stage);
    plugins(&stage.join("plugins"))?;
    copy_all(&project().join("wit"), &stage.join("wit"))?;
    run(build::wasmserve(&["man", "--output"]).arg(stage.join("man")))?;
    completions(&stage.join("completions"))?;
    if !cargo(&["deb", "--version"])
        .output()
        .is_ok_and(|ran| ran.status.success())
    {
        return Err("cargo-deb is missing: cargo install --locked cargo-deb".into());
    }
    run(cargo(&["deb", "--package", "wasmserve", "--no-build", "--output"]).arg(project().join(OUTPUT)))
}

/// Of every standard policy what serving needs, and what its author says of it.
fn plugins(to: &Path) -> Result {
    let from = project().join("plugins");
    for entry in read(&from)? {
        let name = entry.file_name().into_string().unwrap_or_default();
        let wasm = format!("{name}.wasm");
        if !entry.path().join(&wasm).exists() {
            continue;
        }
        make(&to.join(&name))?;
        for file in ["plugin.toml", "README.md", &wasm] {
            copy(&entry.path().join(file), &to.join(&name).join(file))?;
        }
    }
    Ok(())
}

fn completions(to: &Path) -> Result {
    make(to)?;
    for (shell, file) in COMPLETIONS {
        let mut printing = build::wasmserve(&["completions", shell]);
        announce(&printing);
        let printed = printing.output().map_err(|error| error.to_string())?;
        if !printed.status.success() {
            return Err(format!("no completions for {shell}: {}", printed.status));
        }
        let path = to.join(file);
        fs::write(&path, printed.stdout).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    Ok(())
}

fn copy_all(from: &Path, to: &Path) -> Result {
    make(to)?;
    for entry in read(from)? {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy_all(&from, &to)?,
            false => copy(&from, &to)?,
        }
    }
    Ok(())
}

fn read(folder: &Path) -> Result<Vec<fs::DirEntry>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect);
    entries.map_err(|error| format!("{}: {error}", folder.display()))
}

fn make(folder: &Path) -> Result {
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn copy(from: &Path, to: &Path) -> Result {
    match fs::copy(from, to) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("{}: {error}", from.display())),
    }
}
