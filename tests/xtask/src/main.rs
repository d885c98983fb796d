//! The project's tasks behind `cargo xtask`: what README.md's two commands do.
//!
//! Each task is a module. [`setup`] installs what is missing, [`build`] makes server and plugins, [`serve`] runs them,
//! [`test`] runs every check and test, [`package`] makes a Debian package, [`measure`] starts the programs under
//! `tests/bench`, [`reference`] writes the page of all keys. Uses nothing but the standard
//! library, so that it is built in seconds on a machine that has built nothing yet.
#![forbid(unsafe_code)]

mod build;
mod command;
mod installed;
mod languages;
mod measure;
mod package;
mod reference;
mod serve;
mod setup;
mod test;

use std::process::ExitCode;

const HELP: &str = "\
Tasks of the wasmserve project.

Usage: cargo xtask <TASK> [ARGUMENTS]

Tasks:
  serve [ARGUMENTS]   Install what is missing, build server and plugins, serve `.` under the policies of plugins/.
                      ARGUMENTS are handed to wasmserve: cargo xtask serve --listen 127.0.0.1:9000
  test [FILTER]       Install what the tests need, then run every check and test. With FILTER: only the tests whose
                      names contain it, without the checks.
  setup               Only install what the build and the tests need.
  bench [WORKLOAD]    Install other servers, and measure wasmserve beside them in one interleaved run: 12 minutes.
                      `cargo xtask bench --list` names the workloads, `cargo xtask bench small policy` runs two, and
                      `cargo xtask bench curves` shows how cost grows: 12 minutes more. --quick: whether all of it works.
  bench languages     What a policy costs in each language, as a table in plugins/examples/README.md.
  stress [SCENARIO]   Many clients at once, and hostile ones: memory, descriptors and latency stay within bounds. Takes
                      minutes; tests/bench/stress.rs names the scenarios.
  cluster [PORT]      Install what is missing, and run three servers as one behind HAProxy, with a Redis and an S3, until
                      Ctrl-C: server/docs/several-servers.md.
  messages            Write what nginx answers into the table of malformed messages, tests/e2e/malformed.txt.
  reference           Write server/docs/reference.md anew, from the docs of what configuration is read into.
  package [test]      Build server and plugins, and make a Debian package of them in target/debian. Installs
                      cargo-deb within target/tools. With test: install it on this machine, serve a file as its user,
                      remove and purge it, as root.
  help                Print this.

Tests of disks that fail or hang mount file systems in user space; where that cannot be done they fail, unless
WASMSERVE_TESTS_WITHOUT_FUSE=1 leaves them out. Tests of object storage ask moto, which is installed from PyPI within
target/test-peers; WASMSERVE_TESTS_WITHOUT_S3=1 leaves those out.

Missing packages are installed with apt-get, and only by root on Debian or a relative of it. Elsewhere one line says what
to install. Toolchains are never downloaded.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    if rest.iter().any(|a| a == "--help" || a == "-h") && task != "serve" {
        print!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let result = match task.as_str() {
        "serve" => serve::run(&rest),
        "test" => test::run(&rest),
        "setup" => setup::for_tests(),
        "reference" => reference::run(&rest),
        "bench" if rest == ["languages"] => languages::measure(),
        "package" => package::run_all(&rest),
        "messages" => test::record_messages(),
        "bench" | "stress" | "cluster" => measure::run(&task, &rest),
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        "" => Err(format!("which task?\n\n{HELP}")),
        other => Err(format!("unknown task `{other}`\n\n{HELP}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {}", message.trim_end());
            ExitCode::FAILURE
        }
    }
}
