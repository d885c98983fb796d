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

/// Builds the server, with the features that everything is built with for the tests.
pub fn server() -> Result {
    run(&mut cargo(&["build", "--release", "--workspace", "--bin", "wasmserve"]))
}

/// Builds the server and the programs that measure it, with the features that everything is built with for the tests: so
/// nothing that they have built is built again.
pub fn measuring() -> Result {
    let bins = [
        "--bin",
        "wasmserve",
        "--bin",
        "bench",
        "--bin",
        "stress",
        "--bin",
        "languages",
        "--bin",
        "cluster",
    ];
    run(cargo(&["build", "--release", "--workspace"]).args(bins))
}

/// Builds the standard policies, with a server that is built.
pub fn plugins() -> Result {
    run(&mut wasmserve(&["build", "plugins/"]))
}

/// Builds the server together with every test. All at once and with the features that tests need, so that nothing is
/// compiled a second time for them.
pub fn server_with_tests() -> Result {
    run(&mut cargo(&["build", "--release", "--workspace", "--all-targets"]))
}

/// Builds the guests that the tests load. They share the standard policies' target folder, and so the standard library
/// that is built for both.
pub fn guests() -> Result {
    run(wasmserve(&["build", "tests/guests"]).env("CARGO_TARGET_DIR", plugins_target()))
}

/// Builds the filter that Envoy runs in the comparison.
pub fn bench_filter() -> Result {
    run(wasmserve(&["build", "tests/bench/peers"]).env("CARGO_TARGET_DIR", plugins_target()))
}

/// Where cargo builds what is WebAssembly.
pub fn plugins_target() -> PathBuf {
    project().join("plugins/target")
}

/// The server's command, as built.
pub fn wasmserve(arguments: &[&str]) -> Command {
    command(server_binary(), arguments)
}
