//! What a verdict took: for the access log, which tells it of every request.
use crate::policy::Policy;
use std::{fmt, sync::Arc, time::Duration};

/// How the policies of a chain came to their verdict.
#[derive(Clone, Debug, Default)]
pub struct Effort {
    /// Policies that were run.
    pub ran: u32,
    /// Policies whose kept decision held, so that they were not.
    pub reused: u32,
    /// Time that the runs took together, with the turns that they waited for.
    pub spent: Duration,
    last_word: Option<LastWord>,
}

/// The policy that ended a chain before its end.
#[derive(Clone)]
struct LastWord(Arc<Policy>);

// === impl Effort ===

impl Effort {
    /// The name of the policy that answered itself or failed; none when all let the request proceed.
    pub fn decided_by(&self) -> Option<&str> {
        self.last_word.as_ref().map(|last| last.0.spec.name.as_str())
    }

    pub(crate) fn end_with(&mut self, policy: &Arc<Policy>) {
        self.last_word = Some(LastWord(policy.clone()));
    }
}

impl fmt::Debug for LastWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.spec.name)
    }
}
