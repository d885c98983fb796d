//! How a policy is doing: what an operator sees at a glance beside its counts.
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// The state of one policy now.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    pub breaker: BreakerState,
    /// Networks of clients that its breaker keeps out.
    pub kept_out: usize,
    /// None: it has not failed since it was loaded.
    pub last_failure: Option<LastFailure>,
}

/// Whether a policy is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum BreakerState {
    Closed,
    /// For nobody.
    Open {
        /// Until single requests are let through; zero when the next one is.
        seconds: u64,
    },
    /// For single requests.
    HalfOpen,
}

/// The failure that came last.
#[derive(Clone, Debug, Serialize)]
pub struct LastFailure {
    /// Milliseconds since 1970.
    pub at: u64,
    /// As the log has it.
    pub reason: String,
}

/// Bytes of a reason: a guest chooses its words.
const LONGEST: usize = 512;

// === impl LastFailure ===

impl LastFailure {
    pub(crate) fn now(mut reason: String) -> Self {
        let end = reason.floor_char_boundary(LONGEST);
        reason.truncate(end);
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        Self {
            at: milliseconds(since.unwrap_or_default()),
            reason,
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
