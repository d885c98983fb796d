//! `cargo xtask test`: every check and every test, from a clean checkout.
//!
//! All steps run even when one fails, so that one run shows everything that is wrong. The last line counts the tests of
//! all steps; a step without tests of its own counts as one.
use crate::{
    build,
    command::{self, Result, announce, cargo, line, project},
    languages, setup,
};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

/// The workspaces, by their folders: the server's, and those that another compiler builds.
const SERVER: &str = ".";
const PLUGINS: &str = "plugins";
const GUESTS: &str = "tests/guests";

/// Lets the tests that mount a disk be left out, where that cannot be done (`tests/disks`). They count as passed: what is
/// left out has to be said.
const WITHOUT_FUSE: &str = "WASMSERVE_TESTS_WITHOUT_FUSE";

/// Runs everything, or only the tests whose names contain the filter.
pub fn run(arguments: &[String]) -> Result {
    setup::for_tests()?;
    build::server_with_tests()?;
    build::plugins()?;
    build::guests()?;
    languages::build()?;
    let mut count = Count::default();
    if arguments.is_empty() {
        for workspace in [SERVER, PLUGINS, GUESTS] {
            count.step(within(workspace, &["fmt", "--all", "--check"]))?;
        }
        for workspace in [SERVER, PLUGINS, GUESTS] {
            count.step(within(
                workspace,
                &[
                    "clippy",
                    "--release",
                    "--workspace",
                    "--all-targets",
                    "--",
                    "-D",
                    "warnings",
                ],
            ))?;
        }
    }
    for workspace in [SERVER, PLUGINS] {
        let mut test = within(workspace, &["test", "--release", "--workspace", "--no-fail-fast", "--"]);
        test.args(arguments);
        count.step(test)?;
    }
    // Once more with files that the kernel sends by itself to clients of this machine, as it does to others.
    let mut test = within(SERVER, &["test", "--release", "--workspace", "--test", "e2e", "--"]);
    test.args(arguments).env("WASMSERVE_TEST_SENDFILE", "always");
    count.step(test)?;
    if std::env::var_os(WITHOUT_FUSE).is_some() {
        println!("\nNOT TESTED: disks that fail, hang or are slow ({WITHOUT_FUSE} is set)");
    }
    if std::env::var_os(setup::WITHOUT_S3).is_some() {
        println!("\nNOT TESTED: roots in a whole S3 ({} is set)", setup::WITHOUT_S3);
    }
    println!("\n{} passed, {} failed", count.passed, count.failed);
    if count.failed == 0 {
        Ok(())
    } else {
        Err(format!("failed: {}", count.failures.join("; ")))
    }
}

/// Writes what nginx answers into the table of malformed messages.
pub fn record_messages() -> Result {
    setup::for_tests()?;
    build::server_with_tests()?;
    let mut test = within(
        SERVER,
        &["test", "--release", "--workspace", "--test", "e2e", "--", "malformed"],
    );
    command::run(test.env("WASMSERVE_RECORD_NGINX", "1"))
}

/// A cargo command in one of the workspaces.
fn within(workspace: &str, arguments: &[&str]) -> Command {
    let mut command = cargo(arguments);
    if workspace != SERVER {
        command
            .current_dir(project().join(workspace))
            .env("CARGO_TARGET_DIR", build::plugins_target());
    }
    command
}

#[derive(Default)]
struct Count {
    passed: u64,
    failed: u64,
    failures: Vec<String>,
}

impl Count {
    /// Runs a step, showing what it prints and counting the tests that it reports. The error is that it cannot be run.
    fn step(&mut self, mut command: Command) -> Result {
        announce(&command);
        let mut child = command
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{} does not start: {e}", line(&command)))?;
        let (mut passed, mut failed) = (0, 0);
        let printed = child.stdout.take().expect("it was piped just above");
        for line in BufReader::new(printed).lines().map_while(std::io::Result::ok) {
            println!("{line}");
            if let Some((p, f)) = summary(&line) {
                passed += p;
                failed += f;
            }
        }
        let status = child.wait().map_err(|e| format!("{} is lost: {e}", line(&command)))?;
        if status.success() {
            self.passed += passed.max(1);
        } else {
            self.passed += passed;
            // A test program that does not compile or is killed reports no failed test, and is one.
            self.failed += failed.max(1);
            self.failures.push(line(&command));
        }
        Ok(())
    }
}

/// The counts in a closing line of cargo's test runner: `test result: ok. 5 passed; 0 failed; 0 ignored; ...`.
fn summary(line: &str) -> Option<(u64, u64)> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |what: &str| counts.split("; ").find_map(|c| c.strip_suffix(what)?.parse().ok());
    Some((count(" passed")?, count(" failed")?))
}

#[cfg(test)]
mod tests {
    use super::summary;

    #[test]
    fn closing_lines_are_counted() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.05s";
        assert_eq!(summary(line), Some((12, 3)));
        assert_eq!(summary("test paths::empty ... ok"), None);
    }
}
