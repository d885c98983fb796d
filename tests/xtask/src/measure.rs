//! `cargo xtask bench-small`, `cargo xtask bench-large` and `cargo xtask stress`: the programs under `tests/bench`.
use crate::{
    build,
    command::{Result, cargo, run as run_command},
    setup,
};

/// Builds everything and runs one of the programs.
pub fn run(program: &str, arguments: &[String]) -> Result {
    setup::for_bench()?;
    build::server()?;
    build::plugins()?;
    build::guests()?;
    let mut command = cargo(&[
        "run",
        "--quiet",
        "--release",
        "--package",
        "wasmserve-tests",
        "--bin",
        program,
        "--",
    ]);
    command.args(arguments);
    run_command(&mut command)
}
