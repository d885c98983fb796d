//! The command line: what was typed, what it starts, and how an error is told.

pub mod build;
mod check;
mod descriptors;
mod dev;
mod explain;
mod fetch;
mod manual;
mod new;
mod observing;
mod operators;
mod options;
mod password;
mod publish;
mod reload;
mod replay;
mod report;
mod serve;
mod sign;
mod test;
mod upgrade;

pub use options::ServeOptions;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Serves files over HTTP; sandboxed plugins decide who gets what.
///
/// Without a command: serves. `wasmserve` alone serves the current folder on 127.0.0.1:8080.
#[derive(Debug, Parser)]
#[command(
    name = "wasmserve",
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100,
    after_help = EXIT
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeOptions,
}

const EXIT: &str = "Exit status: 0 when a signal ended it or the command did its work; 1 when it could not (the reason is on \
                    standard error); 2 when the command line means nothing.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Load everything as serving would, print what each plugin is, and exit
    ///
    /// The exit status is 0 when all is well; otherwise the reasons are printed and it is 1. Nothing is listened on.
    Check(Box<check::CheckOptions>),
    /// Decide one request and say why it is answered so: loading everything as serving would, or by a server that runs
    ///
    /// For every plugin in order: what it asked, what it was told, what it decided and logged, whether the decision would
    /// be kept, and the time it took. Then which file was found, and the head of the answer. Nothing is listened on. With
    /// --server it is decided by a server that runs, with what it has loaded. The exit status is 0 whatever the answer is,
    /// and 1 when something cannot be loaded or the server does not answer.
    Explain(Box<explain::ExplainOptions>),
    /// Decide recorded requests again with other plugins, and say what differs
    ///
    /// Each request is decided at the time and for the client that were recorded, without looking at any file. Where a
    /// plugin asks for what was not recorded (--record-redact), the request is not decided, and counted. Random numbers,
    /// and what services answer, are asked anew. The exit status is 0 when every decision that was compared is the same, 1
    /// when one differs or nothing could be compared.
    Replay(replay::ReplayOptions),
    /// Build the plugins whose source folders lie beneath a folder
    ///
    /// Every folder with a plugin.toml is built by what that file says, unless its artefact is newer than its sources.
    Build(build::BuildOptions),
    /// Fetch plugins that are named by reference, and keep them for the servers of this machine
    ///
    /// Each is verified by its digest, and by its signature when keys are configured, before it is kept. A server reads
    /// the local store alone, unless it is told to fetch at load.
    Fetch(Box<fetch::FetchOptions>),
    /// Make one file of a plugin, with its manifest in it, and send it to a registry
    ///
    /// Prints the reference that pins it. What is sent has the layout that other tools for WebAssembly in registries read.
    Publish(publish::PublishOptions),
    /// Make a folder in which a policy is written, built, tested and tried
    ///
    /// It holds the policy, its manifest, a test, a chain, the SDK of the language and the contract, and needs nothing else
    /// of this server's sources. Nothing is overwritten.
    New(new::NewOptions),
    /// Serve a chain, or one plugin, while it is written: on a save it is built, tested and replaced
    ///
    /// On loopback, unless --listen says otherwise. Every request is explained as it comes. What cannot be built or loaded
    /// is told, and what was there before is served on.
    Dev(dev::DevOptions),
    /// Run the tests that lie beside plugins: requests, and what each policy is expected to decide about them
    ///
    /// Every tests/*.toml in the folder of a plugin is run against the built plugin, without a server and without files.
    /// The exit status is 0 when every case is decided as expected, and 1 when one is not or nothing could be run.
    Test(test::TestOptions),
    /// Turn a password into a hash for the configuration of basic-auth
    ///
    /// Asks for the password on a terminal; otherwise reads one line from standard input. Prints an argon2id hash with its
    /// salt and parameters (a PHC string), which is what `users` in the configuration of basic-auth takes.
    Password,
    /// Make a link that expires, as the policy signed-url admits it
    ///
    /// Prints the URL with the parameters `expires` and `signature`, and with `prefix` and `client` where they are given.
    Sign(sign::SignOptions),
    /// Print completions for a shell
    ///
    /// To be written to where the shell looks for them, such as /usr/share/bash-completion/completions/wasmserve.
    Completions(manual::CompletionOptions),
    /// Print the manual page, or write one for each command into a folder
    Man(manual::ManOptions),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let outcome = match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Check(options)) => check::run(&options),
        Some(Command::Explain(options)) => explain::run(&options),
        Some(Command::Replay(options)) => replay::run(&options),
        Some(Command::Build(options)) => build::run(&options),
        Some(Command::Fetch(options)) => fetch::run(&options),
        Some(Command::Publish(options)) => publish::run(&options),
        Some(Command::New(options)) => new::run(&options),
        Some(Command::Dev(options)) => dev::run(&options),
        Some(Command::Test(options)) => test::run(&options),
        Some(Command::Password) => password::run(),
        Some(Command::Sign(options)) => sign::run(&options),
        Some(Command::Completions(options)) => manual::completions(&options),
        Some(Command::Man(options)) => manual::man(&options),
    };
    outcome.unwrap_or_else(|error| {
        report::print(&*error);
        ExitCode::FAILURE
    })
}

/// What a command ends with: its exit status, or the reason why it could not do its work.
pub(crate) type Outcome = Result<ExitCode, anyhow::Error>;

#[cfg(test)]
mod tests {
    use super::Cli;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
