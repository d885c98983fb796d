//! Why a call came to nothing: all of it for the log, a status for the client.
use crate::{Fault, decision::Malformed, recorder::Unanswered, running::RanTooLong, text::printable};
use http::StatusCode;
use std::{fmt, time::Duration};
use wasmtime::{PoolConcurrencyLimitError, WasmBacktrace};

/// What a busy server asks clients to wait.
const RETRY_AFTER: Duration = Duration::from_secs(1);

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
    /// The host panicked in the call.
    Lost,
}

impl Failure {
    /// What the client sees.
    pub fn fault(&self) -> Fault {
        let busy = match self {
            Self::Busy | Self::TooSlow(_) => true,
            Self::Trapped(error) => error.is::<RanTooLong>() || error.is::<PoolConcurrencyLimitError>(),
            Self::Said(_) | Self::Malformed(_) | Self::Lost => false,
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

    /// The question that could not be answered, because its answer was not recorded.
    pub fn unrecorded(&self) -> Option<&str> {
        let Self::Trapped(error) = self else { return None };
        match error.downcast_ref::<Unanswered>()? {
            Unanswered::NotRecorded(question) => Some(question),
            Unanswered::TooMany(_) => None,
        }
    }

    /// Where the guest was: the names of its functions, each called by the next; empty when it was not within any.
    pub fn backtrace(&self) -> Vec<String> {
        let Self::Trapped(error) = self else { return Vec::new() };
        let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
            return Vec::new();
        };
        // A frame is shown as `number: address - module!function`.
        let frames = backtrace.to_string();
        let names = frames.lines().filter_map(|line| line.split_once(" - "));
        names.map(|(_, name)| printable(name).into_owned()).collect()
    }

    /// The backtrace in one line.
    pub fn place(&self) -> String {
        self.backtrace().join(", called by ")
    }
}

impl Failure {
    /// What the operator is told when `configure` failed at load.
    pub fn while_configuring(&self) -> String {
        match self.place() {
            place if place.is_empty() => format!("cannot be configured: {self}"),
            place => format!("cannot be configured: {self} (in {place})"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Said(words) => f.write_str(&printable(words)),
            Self::Trapped(error) => {
                // The backtrace is one of the causes; it has a field of its own.
                let causes = error.chain().map(ToString::to_string);
                let causes: Vec<String> = causes.filter(|cause| !cause.contains("wasm backtrace:")).collect();
                f.write_str(&printable(&causes.join(": ")))
            }
            Self::Malformed(malformed) => f.write_str(&printable(&malformed.to_string())),
            Self::Busy => f.write_str("no turn within its wall time: too many calls are under way"),
            Self::TooSlow(wall) => write!(f, "took longer than its wall time of {wall:?}"),
            Self::Lost => f.write_str("its call was lost: the server's own fault, which the log tells of elsewhere"),
        }
    }
}
