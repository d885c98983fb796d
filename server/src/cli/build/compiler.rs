//! Which compiler builds Rust plugins on this machine.
//!
//! The toolchain in use, when it has a standard library for WebAssembly (`rustup target add` brings it; some
//! distributions package it). Otherwise Debian's, which lacks the library too but packages its sources, and builds it.

use super::process::without_outer_cargo;
use anyhow::{Context, bail};
use std::{
    env,
    ffi::OsString,
    fmt, fs,
    path::Path,
    process::{Command, Stdio},
};

pub const TARGET: &str = "wasm32-unknown-unknown";

/// A compiler that can build for [`TARGET`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// The cargo on the path.
    InUse,
    /// Debian's, with a standard library built from its sources.
    Debian,
}

/// What Debian's compiler needs to build the standard library: itself, the sources, a linker for WebAssembly.
const DEBIAN_FILES: [&str; 4] = [
    "/usr/bin/cargo",
    "/usr/bin/rustc",
    "/usr/lib/rustlib/src/rust/library/std/Cargo.toml",
    "/usr/bin/rust-lld",
];

const DEBIAN_PACKAGES: &str = "rustc-web cargo-web rust-web-src rust-web-llvm lld-22 llvm-22 clang-22";

// === impl Compiler ===

impl Compiler {
    /// The compiler for a folder, which may have a toolchain of its own.
    ///
    /// # Errors
    /// There is none; what to install.
    pub fn find(folder: &Path) -> anyhow::Result<Self> {
        if has_target(folder) {
            return Ok(Self::InUse);
        }
        if DEBIAN_FILES.iter().all(|file| Path::new(file).is_file()) {
            return Ok(Self::Debian);
        }
        bail!(
            "there is no compiler for WebAssembly: run `rustup target add {TARGET}`, or on Debian \
             `apt-get install {DEBIAN_PACKAGES}`"
        )
    }

    /// A call of this compiler's cargo in a folder.
    pub fn cargo(self, folder: &Path) -> anyhow::Result<Command> {
        let mut command = match self {
            Self::InUse => Command::new("cargo"),
            Self::Debian => {
                let mut command = Command::new("/usr/bin/cargo");
                command.env("PATH", first_usr_bin()?);
                command
            }
        };
        command.current_dir(folder);
        without_outer_cargo(&mut command);
        if self == Self::Debian {
            // rustup's proxies, and libraries of the toolchain that a `cargo run` puts before the system's.
            command.env_remove("RUSTUP_TOOLCHAIN").env_remove("LD_LIBRARY_PATH");
            // Building the standard library is not a stable feature of cargo.
            command.env("RUSTC_BOOTSTRAP", "1");
        }
        Ok(command)
    }

    /// The arguments that build for [`TARGET`].
    pub fn build_arguments(self) -> &'static [&'static str] {
        match self {
            Self::InUse => &["build", "--release", "--target", TARGET],
            Self::Debian => &["build", "--release", "--target", TARGET, "-Zbuild-std=std,panic_abort"],
        }
    }
}

impl fmt::Display for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::InUse => "cargo",
            Self::Debian => "Debian's cargo (and the standard library, the first time)",
        })
    }
}

/// Whether the toolchain in use has a standard library for the target. Asks where it would be, and looks.
fn has_target(folder: &Path) -> bool {
    let mut command = Command::new("rustc");
    command
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(folder)
        .stdin(Stdio::null());
    without_outer_cargo(&mut command);
    let Ok(answer) = command.output() else { return false };
    let library = String::from_utf8_lossy(&answer.stdout);
    let is_std = |entry: fs::DirEntry| entry.file_name().to_string_lossy().starts_with("libstd-");
    answer.status.success()
        && fs::read_dir(library.trim()).is_ok_and(|mut entries| entries.any(|entry| entry.is_ok_and(is_std)))
}

/// The search path with Debian's programs before all others: cargo looks `rustc` up there.
fn first_usr_bin() -> anyhow::Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(
        [Path::new("/usr/bin").to_owned()]
            .into_iter()
            .chain(env::split_paths(&path)),
    )
    .context("PATH cannot be extended")
}
