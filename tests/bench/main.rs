//! `cargo xtask bench`: wasmserve beside its peers, in one run on one machine.
//!
//! Every workload is a set of points (a file size, a number of connections ...) and contestants. Each contestant is started
//! over the same files and must give the same bytes ([`site`], [`peers`]); then rounds are interleaved, so that what else the
//! machine does falls on all alike ([`workloads`], [`load`]). What was measured is kept raw, as a table of medians and as
//! plots ([`report`], [`plot`]). Ratios of one run can be compared with each other; absolute figures of two runs cannot.
//!
//! Touches loopback only. Every loop is bounded; every process that is started is ended.
#![forbid(unsafe_code)]

mod curves;
mod load;
mod peers;
mod plot;
mod report;
mod site;
mod store;
mod tokens;
mod workloads;

use clap::Parser;
use report::{Run, Shown};
use std::{path::PathBuf, process::ExitCode};
use workloads::{Part, WORKLOADS, Workload};

/// Measures wasmserve beside its peers. Without arguments: every workload of the README's table.
#[derive(Parser)]
struct Options {
    /// What to measure: names of --list, or `curves` for how cost grows
    workloads: Vec<String>,

    /// Print the workloads and the contestants of each
    #[arg(long)]
    list: bool,

    /// Interleaved rounds; medians are taken over them [default: 5, of curves 2]
    #[arg(long)]
    rounds: Option<usize>,

    /// Seconds that one contestant is under load in one round
    #[arg(long, default_value_t = 1)]
    seconds: u64,

    /// One round with fewer points: whether everything works, rather than how fast
    #[arg(long)]
    quick: bool,

    /// Only contestants whose names contain one of these words; may be given several times
    #[arg(long = "only", value_name = "WORD")]
    only: Vec<String>,

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
    pub extent: Extent,
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Whether everything works.
    Quick,
    Whole,
}

/// What stands for all curves on the command line.
const CURVES: &str = "curves";

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        for workload in WORKLOADS {
            println!("{:12} {}", workload.name, workload.what);
        }
        println!("{CURVES:12} all of those that are curves");
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
    let curves = options.workloads.iter().any(|name| name == CURVES);
    let (extent, rounds) = match options.quick {
        true => (Extent::Quick, 1),
        false => (Extent::Whole, if curves { 2 } else { 5 }),
    };
    let settings = Settings {
        rounds: options.rounds.unwrap_or(rounds).max(1),
        seconds: options.seconds.max(1),
        only: options.only,
        extent,
    };
    if let Some(unknown) = options
        .workloads
        .iter()
        .find(|name| **name != CURVES && WORKLOADS.iter().all(|workload| workload.name != **name))
    {
        return Err(format!("there is no workload {unknown:?}: see --list"));
    }
    let chosen = |workload: &&Workload| match options.workloads.as_slice() {
        [] => workload.part == Part::Table,
        names => names
            .iter()
            .any(|name| name == workload.name || (name == CURVES && workload.part == Part::Curve)),
    };
    let mut run = Run::begin(&options.output, &options.workloads)?;
    let mut problems = Vec::new();
    for workload in WORKLOADS.iter().filter(chosen) {
        eprintln!("\n== {}: {}", workload.name, workload.what);
        if let Err(problem) = (workload.measure)(&settings, &mut run) {
            eprintln!("error: {problem}");
            problems.push(format!("{}: {problem}", workload.name));
        }
        // After each, so that a run that is cut short has shown something.
        run.write()?;
    }
    println!("{}", run.table(Shown::Everything));
    if let Some(readme) = options.readme {
        report::put_into(&readme, &run.table(Shown::Chosen))?;
    }
    eprintln!("raw figures and plots: {}", run.folder().display());
    match problems.is_empty() {
        true => Ok(()),
        false => Err(format!("not everything was measured: {}", problems.join("; "))),
    }
}
