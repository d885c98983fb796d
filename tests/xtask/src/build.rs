//! Building server and plugins.
use crate::command::{Result, cargo, command, project, run};
use std::{path::PathBuf, process::Command};

/// The built server.
pub fn server_binary() -> PathBuf {
    target().join("release/wasmserve")
}

/// Where cargo builds: CARGO_TARGET_DIR, or `target` beneath the project.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(folder) => project().join(folder),
        None => project().join("target"),
    }
}

/// Builds the server and the standard policies.
pub fn server_and_plugins() -> Result {
    run(&mut cargo(&["build", "--release"]))?;
    run(&mut wasmserve(&["build", "plugins/"]))
}

/// Builds the guests that the tests load. They share the standard policies' target folder, and so the standard library
/// that is built for both.
pub fn guests() -> Result {
    run(wasmserve(&["build", "tests/guests"]).env("CARGO_TARGET_DIR", plugins_target()))
}

/// Where cargo builds what is WebAssembly.
pub fn plugins_target() -> PathBuf {
    project().join("plugins/target")
}

/// The server's command, as built.
pub fn wasmserve(arguments: &[&str]) -> Command {
    command(server_binary(), arguments)
}
