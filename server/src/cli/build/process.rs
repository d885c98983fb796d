//! Programs that are run to their end, with what they print kept.

use super::console::Console;
use anyhow::{Context, bail};
use std::{
    env,
    ffi::OsStr,
    io::{self, BufRead, BufReader, Read},
    process::{Command, ExitStatus, Stdio},
    thread,
};

/// A program that has ended.
pub struct Finished {
    /// How, unless well.
    pub failure: Option<ExitStatus>,
    /// What it wrote to standard error.
    pub output: String,
}

/// Runs a program without input. `line` is given each line of its standard output; its standard error is shown in passing
/// and kept.
///
/// # Errors
/// It cannot be started, or its output cannot be read.
pub fn run(command: &mut Command, console: &Console, mut line: impl FnMut(&str)) -> io::Result<Finished> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut output = String::new();
    thread::scope(|scope| {
        let messages = scope.spawn(|| {
            each_line(stderr, |text| {
                console.passing(text);
                output.push_str(text);
                output.push('\n');
            })
        });
        let read = each_line(stdout, &mut line);
        read.and(
            messages
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("its output could not be kept"))),
        )
    })?;
    let status = child.wait()?;
    Ok(Finished {
        failure: (!status.success()).then_some(status),
        output,
    })
}

/// Runs a program that is to end well, without what another build put into its environment. `words` is what errors call it.
///
/// # Errors
/// It cannot be started, or ended otherwise: with what it printed.
pub fn succeed(command: &mut Command, words: &str, console: &Console) -> anyhow::Result<()> {
    without_outer_cargo(command);
    let mut printed = String::new();
    let finished = run(command, console, |line| {
        printed.push_str(line);
        printed.push('\n');
    });
    let finished = finished.with_context(|| format!("cannot run `{}`", command.get_program().display()))?;
    match finished.failure {
        None => Ok(()),
        Some(status) => bail!("`{words}` ended with {status}\n{printed}{}", finished.output),
    }
}

/// Gives each line, in whatever encoding, as well as it can be read.
fn each_line(stream: Option<impl Read>, mut line: impl FnMut(&str)) -> io::Result<()> {
    for bytes in stream
        .into_iter()
        .flat_map(|stream| BufReader::new(stream).split(b'\n'))
    {
        line(String::from_utf8_lossy(&bytes?).trim_end_matches('\r'));
    }
    Ok(())
}

/// Takes out of a program's environment what a cargo around this process (`cargo run`, `cargo xtask`) or a host build put
/// there: it is about another package, compiler and target.
pub fn without_outer_cargo(command: &mut Command) {
    for (name, _) in env::vars_os().filter(|(name, _)| is_of_outer_cargo(name)) {
        command.env_remove(name);
    }
}

/// What people set on purpose, for every cargo, stays.
fn is_of_outer_cargo(name: &OsStr) -> bool {
    const KEPT: [&str; 8] = [
        "CARGO_HOME",
        "CARGO_TARGET_DIR",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTRIES_",
        "CARGO_REGISTRY_",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
    ];
    let name = name.to_string_lossy();
    let stays = KEPT.iter().any(|kept| {
        if kept.ends_with('_') {
            name.starts_with(kept)
        } else {
            name == *kept
        }
    });
    let cargo = name == "CARGO" || name.starts_with("CARGO_") || name == "OUT_DIR";
    let compiler = name.starts_with("RUSTC") || name.starts_with("RUSTDOC") || name == "RUSTFLAGS";
    (cargo && !stays) || compiler
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_another_build_are_told_from_the_users_own() {
        for (name, of_outer_cargo) in [
            ("CARGO", true),
            ("CARGO_MANIFEST_DIR", true),
            ("CARGO_PKG_NAME", true),
            ("CARGO_ENCODED_RUSTFLAGS", true),
            ("CARGO_BUILD_TARGET", true),
            ("CARGO_HOME_OF_MINE", true),
            ("RUSTC", true),
            ("RUSTC_WRAPPER", true),
            ("RUSTC_BOOTSTRAP", true),
            ("RUSTFLAGS", true),
            ("RUSTDOCFLAGS", true),
            ("CARGO_HOME", false),
            ("CARGO_TARGET_DIR", false),
            ("CARGO_HTTP_PROXY", false),
            ("CARGO_REGISTRIES_MINE_TOKEN", false),
            ("RUSTUP_HOME", false),
            ("RUSTUP_TOOLCHAIN", false),
            ("RUST_LOG", false),
            ("PATH", false),
        ] {
            assert_eq!(is_of_outer_cargo(OsStr::new(name)), of_outer_cargo, "{name}");
        }
    }

    #[test]
    fn output_and_failure_are_kept() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; printf 'no end'; exit 3"]);
        let finished = run(&mut command, &Console::new(), |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["out", "no end"]);
        assert_eq!(finished.output, "err\n");
        assert_eq!(finished.failure.and_then(|status| status.code()), Some(3));
        assert!(run(&mut Command::new("/no/such/program"), &Console::new(), |_| ()).is_err());
    }

    /// More than a pipe holds, on both streams at once.
    #[test]
    fn much_output_does_not_block() {
        let mut bytes = 0;
        let mut command = Command::new("sh");
        command.args(["-c", "yes 1234567 | head -c 300000 >&2; yes 1234567 | head -c 300000"]);
        let finished = run(&mut command, &Console::new(), |line| bytes += line.len() + 1).unwrap();
        assert_eq!(
            (bytes, finished.output.len(), finished.failure.is_none()),
            (300_000, 300_000, true)
        );
    }
}
