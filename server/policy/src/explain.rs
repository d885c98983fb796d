//! Why a request is decided as it is: what each policy asked, what it was told, and what it made of it.
use crate::{
    Verdict,
    decided::NotKept,
    decision::{Changes, Decision, HeaderChange, Operation, Respond, Sharing},
    policy::Ran,
    recorder::Exchange,
};
use serde::{Deserialize, Serialize};

/// The line of a decision to proceed that leaves no trace for caches. No other change is written so.
const SHARING_ALLOWED: &str = "sharing: allowed";

/// How a chain decides a request.
#[derive(Debug)]
pub struct Explanation {
    /// In the order of the chain, up to the policy that ended it.
    pub steps: Vec<Step>,
    pub verdict: Verdict,
    /// The question that could not be answered, because its answer was not recorded; the verdict is then none.
    pub unrecorded: Option<String>,
}

/// What one policy did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub policy: String,
    /// Every question in the order asked.
    pub asked: Vec<Exchange>,
    pub decision: Decided,
    /// What it wrote to the log, as `level context: message`.
    pub said: Vec<String>,
    pub keeping: Keeping,
    /// From the call to its end, with waiting.
    pub microseconds: u64,
}

/// What a policy decided, for someone to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decided {
    /// What it changes, a line each.
    Proceed(Vec<String>),
    Respond {
        status: u16,
        /// `name: value`.
        headers: Vec<String>,
        /// Bytes.
        body: usize,
        sharing: String,
    },
    /// Why it came to nothing, and where: functions of the guest, each called by the next.
    Failed {
        status: u16,
        reason: String,
        backtrace: Vec<String>,
    },
}

/// Whether a decision is used again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keeping {
    /// The same questions and answers are known: the policy would not have run.
    Kept,
    /// It would be kept.
    WouldBe,
    /// It would not, for a reason.
    No(String),
    /// Nothing is kept for this policy.
    Off,
}

impl Keeping {
    pub(crate) fn of(ran: &Ran, keeps: bool) -> Self {
        match (&ran.outcome, &ran.recorder) {
            _ if !keeps => Self::Off,
            (Ok(decided), Some(recorder)) => {
                NotKept::of(decided, recorder).map_or(Self::WouldBe, |reason| Self::No(reason.to_string()))
            }
            _ => Self::No("it failed".into()),
        }
    }
}

impl Step {
    pub(crate) fn new(policy: String, ran: &Ran, keeping: Keeping, microseconds: u64) -> Self {
        let asked = ran
            .recorder
            .as_ref()
            .and_then(|recorder| recorder.transcript.clone())
            .unwrap_or_default();
        let said = ran.said.iter().flat_map(|said| &said.lines);
        let said = said
            .map(|line| format!("{} {}: {}", line.level, line.context, line.message))
            .collect();
        let decision = match &ran.outcome {
            Ok(decided) => Decided::of(&decided.decision),
            Err(failure) => Decided::Failed {
                status: failure.fault().status.as_u16(),
                reason: failure.to_string(),
                backtrace: failure.backtrace(),
            },
        };
        Self {
            policy,
            asked,
            decision,
            said,
            keeping,
            microseconds,
        }
    }
}

impl Step {
    /// What the policy said of caches: `derived` or `allowed`; `None` when it failed.
    pub fn sharing(&self) -> Option<&str> {
        match &self.decision {
            Decided::Proceed(lines) if lines.iter().any(|line| line == SHARING_ALLOWED) => Some(told(Sharing::Allowed)),
            Decided::Proceed(_) => Some(told(Sharing::Derived)),
            Decided::Respond { sharing, .. } => Some(sharing),
            Decided::Failed { .. } => None,
        }
    }

    /// A decision that was used again: nothing was asked.
    pub(crate) fn kept(policy: String, decision: &Decision) -> Self {
        Self {
            policy,
            asked: Vec::new(),
            decision: Decided::of(decision),
            said: Vec::new(),
            keeping: Keeping::Kept,
            microseconds: 0,
        }
    }
}

impl Decided {
    fn of(decision: &Decision) -> Self {
        match decision {
            Decision::Proceed(changes) => Self::Proceed(lines(changes)),
            Decision::Respond(Respond {
                status,
                headers,
                body,
                sharing,
            }) => {
                let headers = headers.iter();
                let headers =
                    headers.map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())));
                let (status, headers, body) = (status.as_u16(), headers.collect(), body.len());
                Self::Respond {
                    status,
                    headers,
                    body,
                    sharing: told(*sharing).into(),
                }
            }
        }
    }
}

fn told(sharing: Sharing) -> &'static str {
    match sharing {
        Sharing::Derived => "derived",
        Sharing::Allowed => "allowed",
    }
}

fn lines(changes: &Changes) -> Vec<String> {
    let joined = |paths: &[wasmserve_files::SitePath]| -> String {
        let paths: Vec<&str> = paths.iter().map(|path| path.as_str()).collect();
        paths.join(", ")
    };
    let mut lines = Vec::new();
    if !changes.paths.is_empty() {
        lines.push(format!("paths: {}", joined(&changes.paths)));
    }
    if let Some(place) = &changes.place {
        lines.push(format!("place: root {}, directory {}", place.root, place.directory));
    }
    if let Some(missing) = &changes.missing {
        lines.push(format!("missing: {missing}"));
    }
    lines.extend(changes.headers.iter().map(header));
    lines.extend(
        changes
            .facts
            .iter()
            .map(|(name, value)| format!("fact {name}: {value}")),
    );
    if let Some(pace) = changes.pace {
        lines.push(format!("pace: {pace} bytes a second"));
    }
    if changes.sharing == Sharing::Allowed {
        lines.push(SHARING_ALLOWED.into());
    }
    lines
}

fn header(change: &HeaderChange) -> String {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let what = match &change.operation {
        Operation::Set(value) => format!("set {}: {}", change.name, text(value)),
        Operation::Append(value) => format!("append {}: {}", change.name, text(value)),
        Operation::Remove => format!("remove {}", change.name),
    };
    format!("{what}{}", change.conditions())
}
