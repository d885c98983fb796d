//! What a policy says while it decides: log lines of `wasi:logging`, and whatever its runtime prints.
//!
//! Bounded, and written to the log after the call, so that a kept decision can write the same lines again.
use bytes::Bytes;
use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};
use wasmtime_wasi::{
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamResult},
};

/// Bytes of text that one call may log. What is over is dropped, and the journal says so.
const MAX_BYTES: usize = 16 << 10;
const MAX_LINES: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub level: Level,
    pub context: String,
    pub message: String,
}

/// The lines of one call.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    lines: Vec<Line>,
    bytes: usize,
    overflowed: bool,
}

/// The lines of a call that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub lines: Vec<Line>,
    /// Something was dropped.
    pub overflowed: bool,
}

impl Journal {
    pub fn log(&self, level: Level, context: &str, message: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = context.len() + message.len();
        if lines.overflowed || lines.lines.len() == MAX_LINES || lines.bytes + bytes > MAX_BYTES {
            lines.overflowed = true;
            return;
        }
        lines.bytes += bytes;
        lines.lines.push(Line {
            level,
            context: context.into(),
            message: message.into(),
        });
    }

    /// `None`: nothing was said, as by most calls.
    pub fn take(&self) -> Option<Arc<Said>> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Lines { lines, overflowed, .. } = std::mem::take(&mut *lines);
        (overflowed || !lines.is_empty()).then(|| Arc::new(Said { lines, overflowed }))
    }
}

impl Said {
    /// Bytes of text.
    pub fn bytes(&self) -> usize {
        self.lines
            .iter()
            .map(|line| line.context.len() + line.message.len())
            .sum()
    }

    /// Writes the lines to the server's log.
    pub fn write(&self, policy: &str, site: &str) {
        for Line {
            level,
            context,
            message,
        } in &self.lines
        {
            // As fields, which the log quotes: what a guest says makes neither lines nor fields of its own.
            let (context, message) = (context.as_str(), message.as_str());
            match level {
                Level::Trace => tracing::trace!(policy, site, context, said = message, "a policy says"),
                Level::Debug => tracing::debug!(policy, site, context, said = message, "a policy says"),
                Level::Info => tracing::info!(policy, site, context, said = message, "a policy says"),
                Level::Warn => tracing::warn!(policy, site, context, said = message, "a policy says"),
                Level::Error => tracing::error!(policy, site, context, said = message, "a policy says"),
            }
        }
        if self.overflowed {
            tracing::warn!(
                policy,
                site,
                "a policy logged more than {MAX_BYTES} bytes in one call: the rest was dropped"
            );
        }
    }
}

/// Standard output or error of a guest: its lines go to the journal.
#[derive(Clone)]
pub(crate) struct Stdio {
    journal: Journal,
    level: Level,
    name: &'static str,
    partial: Arc<Mutex<Vec<u8>>>,
}

impl Stdio {
    pub fn new(journal: Journal, level: Level, name: &'static str) -> Self {
        Self {
            journal,
            level,
            name,
            partial: Arc::default(),
        }
    }

    fn push(&self, bytes: &[u8]) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in bytes.split_inclusive(|b| *b == b'\n') {
            partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || partial.len() > MAX_BYTES {
                let line = String::from_utf8_lossy(&partial);
                self.journal
                    .log(self.level, self.name, line.trim_end_matches(['\r', '\n']));
                drop(line);
                partial.clear();
            }
        }
    }
}

impl Drop for Stdio {
    /// The last line may lack its end.
    fn drop(&mut self) {
        let partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&self.partial) == 1 && !partial.is_empty() {
            self.journal
                .log(self.level, self.name, &String::from_utf8_lossy(&partial));
        }
    }
}

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this, and it is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stdio {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.push(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_BYTES)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}
