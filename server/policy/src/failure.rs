//! Why a call came to nothing: all of it for the log, a status for the client.
use crate::{Fault, decision::Malformed, running::RanTooLong};
use http::StatusCode;
use std::{fmt, time::Duration};
use wasmtime::{PoolConcurrencyLimitError, WasmBacktrace};

/// What a busy server asks clients to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Characters of a guest's own words in a log line.
const MAX_WORDS: usize = 2000;

#[derive(Debug)]
pub(crate) enum Failure {
    /// The policy's own `err`.
    Said(String),
    Trapped(wasmtime::Error),
    Malformed(Malformed),
    /// No turn or no instance within the wall time.
    Busy,
    /// The call took longer than the wall time.
    TooSlow(Duration),
}

impl Failure {
    /// What the client sees.
    pub fn fault(&self) -> Fault {
        let busy = match self {
            Self::Busy | Self::TooSlow(_) => true,
            Self::Trapped(error) => error.is::<RanTooLong>() || error.is::<PoolConcurrencyLimitError>(),
            Self::Said(_) | Self::Malformed(_) => false,
        };
        if busy {
            Fault {
                status: StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(RETRY_AFTER),
            }
        } else {
            Fault {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                retry_after: None,
            }
        }
    }

    /// Where the guest was, with the names of its functions.
    pub fn backtrace(&self) -> Option<String> {
        let Self::Trapped(error) = self else { return None };
        error.downcast_ref::<WasmBacktrace>().map(WasmBacktrace::to_string)
    }

    pub fn backtrace_in_one_line(&self) -> String {
        let frames = self.backtrace().unwrap_or_default();
        let names: Vec<&str> = frames
            .lines()
            .skip(1)
            .filter_map(|line| line.rsplit(" - ").next())
            .collect();
        if names.is_empty() {
            String::new()
        } else {
            format!(" (in {})", names.join(", called by "))
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(words) => f.write_str(clipped(words)),
            Self::Trapped(error) => {
                // The backtrace is one of the causes; it has a field of its own.
                let causes = error.chain().map(ToString::to_string);
                let causes: Vec<String> = causes.filter(|c| !c.contains("wasm backtrace:")).collect();
                f.write_str(clipped(&causes.join(": ").replace('\n', " ")))
            }
            Self::Malformed(malformed) => f.write_str(clipped(&malformed.to_string())),
            Self::Busy => f.write_str("no turn within its wall time: too many calls are under way"),
            Self::TooSlow(wall) => write!(f, "took longer than its wall time of {wall:?}"),
        }
    }
}

fn clipped(words: &str) -> &str {
    let end = words.char_indices().nth(MAX_WORDS).map_or(words.len(), |(at, _)| at);
    &words[..end]
}
