//! Running other programs: shown before they run, from the project's folder, without standard input.
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a task returns: the error is shown to the person who ran it and says what to do.
pub type Result<T = ()> = std::result::Result<T, String>;

/// The project's folder.
pub fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("this package is two folders beneath the project's")
        .to_owned()
}

/// A command in the project's folder.
pub fn command(program: impl AsRef<OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(project()).stdin(Stdio::null());
    command
}

/// The cargo that runs this task.
pub fn cargo(arguments: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// Shows and runs a command to its end.
pub fn run(command: &mut Command) -> Result {
    announce(command);
    let status = command
        .status()
        .map_err(|e| format!("{} does not start: {e}", line(command)))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{} failed ({status})", line(command)))
    }
}

/// What a command prints, when it succeeds.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stderr(Stdio::null()).output().ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Shows a command that is about to run.
pub fn announce(command: &Command) {
    eprintln!("\n$ {}", line(command));
}

/// A command as one would type it, with its folder when that is not the project's.
pub fn line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| {
            let name = Path::new(word)
                .file_name()
                .filter(|_| Path::new(word).is_absolute())
                .unwrap_or(word);
            name.to_string_lossy().into_owned()
        })
        .collect();
    let project = project();
    let folder = command.get_current_dir().and_then(|d| d.strip_prefix(&project).ok());
    match folder.filter(|f| !f.as_os_str().is_empty()) {
        Some(folder) => format!("(cd {} && {})", folder.display(), words.join(" ")),
        None => words.join(" "),
    }
}
