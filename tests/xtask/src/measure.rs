//! `cargo xtask bench` and `cargo xtask stress`: the programs under `tests/bench`.
use crate::{
    build,
    command::{Result, cargo, run as run_command},
    setup,
};

/// Builds everything and runs one of the programs.
pub fn run(program: &str, arguments: &[String]) -> Result {
    match program {
        "bench" => setup::for_bench()?,
        _ => setup::for_measuring()?,
    }
    build::server()?;
    build::plugins()?;
    match program {
        "bench" => build::bench_filter()?,
        _ => build::guests()?,
    }
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
