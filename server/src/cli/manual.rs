//! What packages ship beside the binary: completions for shells, and pages for man(1). Both are made from what
//! `--help` is made from.

use super::{Cli, Outcome};
use anyhow::Context;
use clap::{Args, CommandFactory};
use clap_complete::Shell;
use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

/// The name that pages and completions are for.
const NAME: &str = "wasmserve";

#[derive(Debug, Args)]
pub struct CompletionOptions {
    /// The shell that they are for
    shell: Shell,
}

#[derive(Debug, Args)]
pub struct ManOptions {
    /// Write a page for each command into this folder, instead of the first one to standard output
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

/// Prints completions.
pub fn completions(options: &CompletionOptions) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Cli::command(), NAME, &mut text);
    print(&text)
}

/// Prints the page of the program, or writes those of all commands.
pub fn man(options: &ManOptions) -> Outcome {
    match &options.output {
        None => {
            let mut text = Vec::new();
            let page = clap_mangen::Man::new(Cli::command());
            page.render(&mut text).context("cannot make the page")?;
            print(&text)
        }
        Some(folder) => {
            let cannot = || format!("cannot write into {}", folder.display());
            fs::create_dir_all(folder).with_context(cannot)?;
            clap_mangen::generate_to(Cli::command(), folder).with_context(cannot)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn print(text: &[u8]) -> Outcome {
    let mut output = io::stdout().lock();
    let written = output.write_all(text).and_then(|()| output.flush());
    written.context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}
