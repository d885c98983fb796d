//! `cargo xtask bench`, `cargo xtask stress` and `cargo xtask cluster`: the programs under `tests/bench`.
use crate::{
    build,
    command::{Result, command, run as run_command},
    setup,
};

/// Builds everything and runs one of the programs.
pub fn run(program: &str, arguments: &[String]) -> Result {
    match program {
        "bench" => setup::for_bench()?,
        "cluster" => setup::for_cluster()?,
        _ => setup::for_measuring()?,
    }
    build::measuring()?;
    build::plugins()?;
    build::guests()?;
    if program == "bench" {
        build::bench_filter()?;
    }
    let mut measure = command(build::target().join("release").join(program), &[]);
    measure.args(arguments);
    run_command(&mut measure)
}
