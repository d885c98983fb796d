//! The log: one line an event, to standard error, written by a thread of its own.
//!
//! Nothing waits for it. A request that would have to wait because standard error is not being read loses its line instead;
//! lost lines are counted and reported at the end.

use super::line::Line;
use crate::config::ServerSettings;
use std::{
    io::{self, BufWriter, Write},
    panic,
    sync::OnceLock,
    thread,
    time::Duration,
};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, Registry, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt};
use wasmserve_policy::turns;

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

/// How long the writer rests after it has written. Whoever logs meanwhile need not wake it, nor does it wake whoever reads
/// the log for every line: beside a policy that floods the log, both took the processors of those that serve.
const REST: Duration = Duration::from_millis(2);
/// Bytes that are written at once: what a pipe holds.
const BATCH: usize = 64 << 10;

/// What the writer's thread writes to.
struct Batches<W: Write> {
    lines: BufWriter<W>,
    /// The thread has the priority that it is to have.
    lowered: bool,
}

/// Sends every event that the settings let through to standard error, from now on.
///
/// # Panics
/// When called twice in a process.
pub fn start(settings: &ServerSettings) -> LogGuard {
    // The writer's thread takes all that waits before it flushes: one system call for many lines when it is busy.
    let (writer, worker) = NonBlockingBuilder::default()
        .buffered_lines_limit(WAITING_LINES)
        .thread_name("log")
        .finish(Batches {
            lines: BufWriter::with_capacity(BATCH, io::stderr()),
            lowered: false,
        });
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

// === impl Batches ===

impl<W: Write> Write for Batches<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !std::mem::replace(&mut self.lowered, true) {
            // Where this is refused, it takes turns with those that serve.
            let _ = turns::run_long();
        }
        self.lines.write(bytes)
    }

    /// Nothing waits to be written any more.
    fn flush(&mut self) -> io::Result<()> {
        self.lines.flush()?;
        thread::sleep(REST);
        Ok(())
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
