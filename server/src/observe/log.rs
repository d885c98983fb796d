//! The log: one line an event, to standard error, written by a thread of its own.
//!
//! Nothing waits for it. A request that would have to wait because standard error is not being read loses its line instead;
//! lost lines are counted and reported at the end.

use super::line::Line;
use crate::config::ServerSettings;
use std::{io, panic, sync::OnceLock};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people: time, level, target, then `key=value` pairs.
    Text,
    /// For programs: a JSON object a line.
    Json,
}

/// Keeps the log being written. Dropped last, it writes what is left.
#[derive(Debug)]
pub struct LogGuard {
    _worker: WorkerGuard,
    refilter: reload::Handle<EnvFilter, Registry>,
}

/// Counts the lines that were lost.
static LOST: OnceLock<ErrorCounter> = OnceLock::new();

/// Lines that were lost so far because nobody took them in time.
pub fn lost() -> u64 {
    LOST.get().map_or(0, |lost| lost.dropped_lines() as u64)
}

/// Lines that may wait to be written: some 4 MiB of access log.
const WAITING_LINES: usize = 16 * 1024;

/// Sends every event that the settings let through to standard error, from now on.
///
/// # Panics
/// When called twice in a process.
pub fn start(settings: &ServerSettings) -> LogGuard {
    // The writer's thread takes all that waits before it flushes: one system call for many lines when it is busy.
    let (writer, worker) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .finish(io::BufWriter::new(io::stderr()));
    let _ = LOST.set(writer.error_counter());
    let (filter, refilter) = reload::Layer::new(EnvFilter::new(&settings.log));
    let lines = fmt::layer().with_writer(writer).with_ansi(false);
    let filtered = tracing_subscriber::registry().with(filter);
    match settings.log_format {
        LogFormat::Text => filtered.with(lines.event_format(Line)).init(),
        LogFormat::Json => filtered.with(lines.json().flatten_event(true)).init(),
    }
    // A bug ends one connection and nothing else; it is told like everything else.
    panic::set_hook(Box::new(|bug| tracing::error!(%bug, "a bug")));
    LogGuard {
        _worker: worker,
        refilter,
    }
}

// === impl LogGuard ===

impl LogGuard {
    /// From now on lets through what this filter does.
    pub fn set_filter(&self, filter: &str) {
        // It fails only when nothing logs any more.
        let _ = self.refilter.reload(EnvFilter::new(filter));
    }
}
