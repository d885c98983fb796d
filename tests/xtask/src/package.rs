//! Making the Debian package: by cargo-deb, from `[package.metadata.deb]` in `server/Cargo.toml` and `server/packaging`.
use crate::{
    build,
    command::{Result, announce, cargo, command, project, run},
    installed, setup,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What the package has beside the binary is gathered here; the same path is in `server/Cargo.toml`.
const STAGE: &str = "target/package";

/// Where the package is found.
const OUTPUT: &str = "target/debian";

/// What packs, installed from crates.io within the target folder.
const CARGO_DEB: &str = "3.8.0";

/// The shells that Debian has folders for, and the names of their files there.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "wasmserve"), ("zsh", "_wasmserve"), ("fish", "wasmserve.fish")];

/// Makes the package, and tests it where that is asked for.
pub fn run_all(arguments: &[String]) -> Result {
    match arguments {
        [] => make_package(),
        [word] if word == "test" => {
            make_package()?;
            installed::test(&newest(&project().join(OUTPUT))?)
        }
        _ => Err("cargo xtask package takes `test` or nothing".into()),
    }
}

/// The package that was made last.
fn newest(folder: &Path) -> Result<PathBuf> {
    let packages = read(folder)?
        .into_iter()
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "deb"));
    let newest = packages.max_by_key(|entry| entry.metadata().and_then(|file| file.modified()).ok());
    newest
        .map(|entry| entry.path())
        .ok_or_else(|| format!("there is no package in {}", folder.display()))
}

/// Builds server and plugins, gathers what is shipped, and packs it.
fn make_package() -> Result {
    setup::for_build()?;
    build::server()?;
    build::plugins()?;
    let stage = project().join(STAGE);
    let _ = fs::remove_dir_all(&stage);
    plugins(&stage.join("plugins"))?;
    copy_all(&project().join("wit"), &stage.join("wit"))?;
    run(build::wasmserve(&["man", "--output"]).arg(stage.join("man")))?;
    completions(&stage.join("completions"))?;
    let tools = build::target().join("tools");
    if !tools.join("bin/cargo-deb").exists() {
        let mut install = cargo(&["install", "--locked", "cargo-deb", "--version", CARGO_DEB, "--root"]);
        run(install.arg(&tools))?;
    }
    let mut deb = command(
        tools.join("bin/cargo-deb"),
        &["--package", "wasmserve", "--no-build", "--output"],
    );
    run(deb.arg(project().join(OUTPUT)).current_dir(project()))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether anything matches a path whose last parts may be patterns of cargo-deb's.
    fn is_there(path: &Path) -> bool {
        let text = path.to_string_lossy();
        match text.split_once('*') {
            None => path.exists(),
            Some((folder, _)) => fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()),
        }
    }

    /// Making the package needs everything built and takes minutes; that it names what is not there is seen at once.
    #[test]
    fn what_the_package_is_made_of_is_there() {
        let folder = project().join("server");
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("the server has a manifest");
        let (_, assets) = manifest.split_once("\nassets = [\n").expect("the package has assets");
        let (assets, _) = assets.split_once("\n]").expect("the list has an end");
        let mut staged = 0;
        for line in assets.lines() {
            let source = line.split('"').nth(1).expect("an asset has a source");
            match source.strip_prefix("../").unwrap_or(source).starts_with("target/") {
                // Made before packing.
                true => staged += 1,
                false => assert!(is_there(&folder.join(source)), "{source}"),
            }
        }
        assert_eq!(staged, 7, "the binary, and what `run_all` gathers");
        for folder_of in ["maintainer-scripts = \"", "unit-scripts = \""] {
            let (_, path) = manifest.split_once(folder_of).expect("the package names it");
            let (path, _) = path.split_once('"').expect("a string has an end");
            assert!(folder.join(path).is_dir(), "{path}");
        }
        for file in [
            "docs/systemd/wasmserve.service",
            "packaging/debian/postinst",
            "packaging/debian/postrm",
        ] {
            assert!(folder.join(file).is_file(), "{file}");
        }
    }
}
