//! The access log: one line for every exchange, however it ended.
//!
//! In the order of events: [`start`] says once where lines go; [`Entry`] is what one says, and writes itself as a JSON object
//! or in the combined format; [`writer`] takes it to a file or to standard output, on a thread of its own. Without any of
//! that, lines are events of the target `access` in the server's own log.
//!
//! One for the process, as that log is. Queries are never written: links carry secrets in them. Neither are those of the
//! pages that clients came from.

mod entry;
mod writer;

pub use entry::{Entry, PolicyPart, ending};
pub use writer::{AccessError, Lines};

use std::{path::PathBuf, sync::OnceLock};

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Destination {
    /// Into the server's log, as events of the target `access`.
    #[default]
    Log,
    /// Nowhere.
    Off,
    /// To standard output.
    Stdout,
    /// To a file, which is opened anew on SIGUSR1.
    File(PathBuf),
}

/// How a line of a destination of its own is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A JSON object
    #[default]
    Json,
    /// As Apache and nginx write it (combined): for tools that read theirs
    Combined,
}

/// Where lines go, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessOptions {
    pub destination: Destination,
    pub format: Format,
}

static STARTED: OnceLock<Access> = OnceLock::new();

enum Access {
    Log,
    Off,
    Lines(Format, Lines),
}

/// Says where lines go, from now on and until the process ends. Before that, and when it was said already, nothing changes.
///
/// # Errors
/// A file that cannot be written.
pub fn start(options: &AccessOptions) -> Result<(), AccessError> {
    let access = match &options.destination {
        Destination::Log => Access::Log,
        Destination::Off => Access::Off,
        Destination::Stdout => Access::Lines(options.format, Lines::to_stdout()?),
        Destination::File(path) => Access::Lines(options.format, Lines::to_file(path)?),
    };
    let _ = STARTED.set(access);
    Ok(())
}

/// Opens the file anew: what had its name may have been moved away.
pub fn reopen() {
    if let Some(lines) = lines() {
        lines.reopen();
    }
}

/// Writes what waits to be written, and waits for that, but not for long.
pub fn finish() {
    if let Some(lines) = lines() {
        lines.finish();
    }
}

/// Lines that were lost because they could not be written in time, or not at all. Those of the server's log are counted there.
pub fn lost() -> u64 {
    lines().map_or(0, Lines::lost)
}

fn lines() -> Option<&'static Lines> {
    match STARTED.get() {
        Some(Access::Lines(_, lines)) => Some(lines),
        _ => None,
    }
}

/// Writes an entry, if anyone wants it.
pub fn write<'a>(entry: impl FnOnce() -> Entry<'a>) {
    match STARTED.get() {
        None | Some(Access::Log) => {
            if tracing::enabled!(target: "access", tracing::Level::INFO) {
                entry().log();
            }
        }
        Some(Access::Off) => {}
        Some(Access::Lines(format, lines)) => lines.write(|line| entry().write(*format, line)),
    }
}

// === impl Destination ===

impl Destination {
    const LOG: &str = "log";
    const OFF: &str = "off";
    const STDOUT: &str = "stdout";

    /// The words mean what they say; anything else is a file.
    pub fn of(text: &str, file: impl FnOnce(&str) -> PathBuf) -> Self {
        match text {
            Self::LOG => Self::Log,
            Self::OFF => Self::Off,
            Self::STDOUT => Self::Stdout,
            path => Self::File(file(path)),
        }
    }

    /// As [`Destination::of`] takes it.
    pub fn text(&self) -> String {
        match self {
            Self::Log => Self::LOG.into(),
            Self::Off => Self::OFF.into(),
            Self::Stdout => Self::STDOUT.into(),
            Self::File(path) => path.display().to_string(),
        }
    }
}

impl std::str::FromStr for Destination {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self::of(text, |path| PathBuf::from(path)))
    }
}
