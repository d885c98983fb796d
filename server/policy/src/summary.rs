//! A verdict as plain data: what can be written down and compared later.
use crate::{
    Outcome, Verdict,
    decision::{HeaderChange, Operation},
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use wasmserve_files::Missing;

/// What a chain decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    #[serde(flatten)]
    pub conclusion: Conclusion,
    /// In the order of the chain.
    pub changes: Vec<Change>,
    pub facts: Vec<(String, String)>,
    /// Bytes of body a second.
    pub pace: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Conclusion {
    /// The first of the targets that exists is served.
    Serve {
        targets: Vec<String>,
        /// A root and a directory beneath it.
        place: Option<(String, String)>,
        /// A status, and the pages that are looked for; of a redirect, where it leads.
        missing: Option<(u16, Vec<String>)>,
    },
    /// A policy's own answer.
    Respond {
        status: u16,
        headers: Vec<(String, String)>,
        /// Bytes.
        body: usize,
        /// The first 16 bytes of SHA-256 in hexadecimal; empty without a body.
        digest: String,
    },
    /// A policy failed.
    Fault { status: u16 },
}

/// A change of a header field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// `set`, `append` or `remove`.
    pub operation: String,
    pub name: String,
    /// Empty when it is removed.
    pub value: String,
    /// When it applies, such as ` (when found)`; empty: always.
    pub when: String,
}

impl Verdict {
    /// The verdict as plain data.
    pub fn summary(&self) -> Summary {
        Summary {
            conclusion: Conclusion::of(&self.outcome),
            changes: self.changes.iter().flat_map(|all| all.iter()).map(Change::of).collect(),
            facts: self.facts.clone(),
            pace: self.pace,
        }
    }
}

impl Conclusion {
    fn of(outcome: &Outcome) -> Self {
        let texts = |paths: &[wasmserve_files::SitePath]| paths.iter().map(ToString::to_string).collect::<Vec<_>>();
        match outcome {
            Outcome::Proceed(mapping) => {
                let (place, missing) = (mapping.place.as_ref(), mapping.missing.as_ref());
                Self::Serve {
                    targets: texts(&mapping.targets),
                    place: place.map(|place| (place.root.clone(), place.directory.to_string())),
                    missing: missing.map(|missing| match missing {
                        Missing::Page { paths, status } => (status.as_u16(), texts(paths)),
                        Missing::Redirect { status, location } => (status.as_u16(), vec![text(location)]),
                    }),
                }
            }
            Outcome::Respond(response) => Self::Respond {
                status: response.status.as_u16(),
                headers: response
                    .headers
                    .iter()
                    .map(|(name, value)| (name.to_string(), text(value)))
                    .collect(),
                body: response.body.len(),
                digest: digest(&response.body),
            },
            Outcome::Fault(fault) => Self::Fault {
                status: fault.status.as_u16(),
            },
        }
    }
}

impl Change {
    fn of(change: &HeaderChange) -> Self {
        let (operation, value) = match &change.operation {
            Operation::Set(value) => ("set", text(value)),
            Operation::Append(value) => ("append", text(value)),
            Operation::Remove => ("remove", String::new()),
        };
        Self {
            operation: operation.into(),
            name: change.name.to_string(),
            value,
            when: change.conditions(),
        }
    }
}

fn text(value: &http::HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn digest(body: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    let digest = Sha256::digest(body);
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
