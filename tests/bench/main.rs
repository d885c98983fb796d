//! `cargo xtask bench`: wasmserve beside its peers, in one run on one machine.
//!
//! Every workload is a set of points (a file size, a number of connections ...) and contestants. Each contestant is started
//! over the same files and must give the same bytes ([`site`], [`peers`]); then rounds are interleaved, so that what else the
//! machine does falls on all alike ([`workloads`], [`load`]). What was measured is kept raw, as a table of medians and as
//! plots ([`report`], [`plot`]). Ratios of one run can be compared with each other; absolute figures of two runs cannot.
//!
//! Touches loopback only. Every loop is bounded; every process that is started is ended.
#![forbid(unsafe_code)]

mod load;
mod peers;
mod plot;
mod report;
mod site;
mod workloads;

use clap::Parser;
use report::Run;
use std::{path::PathBuf, process::ExitCode};
use workloads::WORKLOADS;

/// Measures wasmserve beside its peers. Without arguments: every workload of the README's table.
#[derive(Parser)]
struct Options {
    /// What to measure: see --list
    workloads: Vec<String>,

    /// Print the workloads and the contestants of each
    #[arg(long)]
    list: bool,

    /// Interleaved rounds; medians are taken over them
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// Seconds that one contestant is under load in one round
    #[arg(long, default_value_t = 3)]
    seconds: u64,

    /// Only contestants whose names contain one of these words; may be given several times
    #[arg(long = "only", value_name = "WORD")]
    only: Vec<String>,

    /// Larger points of the curves: a million files, ten thousand sites, 10 GiB
    #[arg(long)]
    large: bool,

    /// Folder for raw figures, table and plots
    #[arg(long, default_value = "target/bench", value_name = "DIR")]
    output: PathBuf,

    /// Also put the table between the markers of this file
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
}

/// What every workload is told.
pub struct Settings {
    pub rounds: usize,
    pub seconds: u64,
    pub only: Vec<String>,
    pub large: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for workload in WORKLOADS {
            println!("{:12} {}", workload.name, workload.what);
        }
        return ExitCode::SUCCESS;
    }
    match measure(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: Options) -> Result<(), String> {
    load::allow_descriptors();
    let settings = Settings {
        rounds: options.rounds.max(1),
        seconds: options.seconds.max(1),
        only: options.only,
        large: options.large,
    };
    if let Some(unknown) = options
        .workloads
        .iter()
        .find(|name| WORKLOADS.iter().all(|workload| workload.name != **name))
    {
        return Err(format!("there is no workload {unknown:?}: see --list"));
    }
    let mut run = Run::begin(&options.output)?;
    for workload in WORKLOADS {
        let chosen = match options.workloads.as_slice() {
            [] => workload.usual,
            names => names.iter().any(|name| name == workload.name),
        };
        if !chosen {
            continue;
        }
        eprintln!("\n== {}: {}", workload.name, workload.what);
        (workload.measure)(&settings, &mut run)?;
        // After each, so that a run that is cut short has shown something.
        run.write()?;
    }
    let table = run.table();
    println!("{table}");
    if let Some(readme) = options.readme {
        report::put_into(&readme, &table)?;
    }
    eprintln!("raw figures and plots: {}", run.folder().display());
    Ok(())
}
