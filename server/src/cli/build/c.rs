//! C: the plugin's files and those of the SDK beside it are compiled and linked by one call, to a core module without a C
//! library. Any clang that knows WebAssembly does it, with LLVM's linker for it; or Zig's.

use super::{
    console::Console,
    process::succeed,
    tools::{in_shell, on_path, up_from},
};
use crate::config::Manifest;
use anyhow::{Context, anyhow};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What the clangs and linkers of Debian and its relatives are called besides their bare names.
const VERSIONS: std::ops::RangeInclusive<u32> = 14..=30;

/// A compiler that makes WebAssembly.
#[derive(Debug, PartialEq, Eq)]
enum Compiler {
    Clang(PathBuf),
    /// A program and its first arguments.
    Zig(PathBuf, &'static [&'static str]),
}

/// Builds a core module at `made`.
pub fn build(manifest: &Manifest, files: &[PathBuf], made: &Path, console: &Console) -> anyhow::Result<()> {
    let compiler = Compiler::find(&manifest.folder)?;
    let sdk = sdk_files(&manifest.folder.join("sdk")).context("cannot read the SDK in the folder `sdk`")?;
    console.line(&format!("building {} with {}", manifest.name, compiler.name()));
    let mut command = compiler.command();
    command
        .current_dir(&manifest.folder)
        .args(["-std=c11", "-O2", "-Wall", "-Wextra", "-fno-builtin"])
        .args(["-ffreestanding", "-nostdlib", "-I", "sdk", "-isystem", "sdk/libc"])
        // The server calls functions; there is no program.
        .args(["-Wl,--no-entry", "-Wl,-z,stack-size=65536"])
        .args(files)
        .args(sdk)
        .arg("-o")
        .arg(made);
    succeed(&mut command, &compiler.name(), console)
}

/// The SDK's own files, in the order of names.
fn sdk_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "c") {
            files.push(Path::new("sdk").join(path.file_name().unwrap_or_default()));
        }
    }
    files.sort();
    Ok(files)
}

impl Compiler {
    fn find(folder: &Path) -> anyhow::Result<Self> {
        let newest_first = VERSIONS.rev().map(|version| format!("-{version}"));
        let clang = std::iter::once(String::new())
            .chain(newest_first)
            .filter(|version| on_path(&format!("wasm-ld{version}")).is_some())
            .filter_map(|version| on_path(&format!("clang{version}")))
            .find(|clang| knows_wasm(clang));
        if let Some(clang) = clang {
            return Ok(Self::Clang(clang));
        }
        if let Some(zig) = on_path("zig") {
            return Ok(Self::Zig(zig, &["cc"]));
        }
        if up_from(folder, ".venv/bin/python-zig").is_some()
            && let Some(python) = up_from(folder, ".venv/bin/python")
        {
            return Ok(Self::Zig(python, &["-m", "ziglang", "cc"]));
        }
        Err(anyhow!(
            "there is no C compiler for WebAssembly: run `apt-get install clang lld`, or where that is not possible `cd {} \
             && python3 -m venv .venv && .venv/bin/pip install ziglang`",
            in_shell(folder)
        ))
    }

    fn command(&self) -> Command {
        match self {
            Self::Clang(clang) => {
                let mut command = Command::new(clang);
                command.arg("--target=wasm32-unknown-unknown");
                // A stack that overflows traps: it ends where memory begins. Zig puts it there unasked, and knows no such
                // option.
                command.arg("-Wl,--stack-first");
                command
            }
            Self::Zig(program, arguments) => {
                let mut command = Command::new(program);
                command.args(*arguments).args(["-target", "wasm32-freestanding"]);
                // Seven times as much as the code, unless told otherwise.
                command.arg("-g0");
                command
            }
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Clang(clang) => clang.file_name().unwrap_or_default().display().to_string(),
            Self::Zig(..) => "zig cc".into(),
        }
    }
}

/// Not every clang makes WebAssembly.
fn knows_wasm(clang: &Path) -> bool {
    let answer = Command::new(clang).arg("--print-targets").stdin(Stdio::null()).output();
    answer.is_ok_and(|answer| String::from_utf8_lossy(&answer.stdout).contains("wasm32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sdk_is_compiled_with_the_plugin() {
        let folder = tempfile::tempdir().unwrap();
        assert!(sdk_files(folder.path()).unwrap().is_empty());
        for file in ["b.c", "a.c", "a.h"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let files = ["sdk/a.c", "sdk/b.c"].map(PathBuf::from);
        assert_eq!(sdk_files(folder.path()).unwrap(), files);
        assert!(sdk_files(&folder.path().join("none")).is_err());
    }
}
