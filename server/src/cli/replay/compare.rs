//! What differs between a recorded decision and the one that was made again.

use crate::watch::record::{
    entry::Decision,
    redact::{Redactor, without_digests},
};
use serde::Serialize;
use wasmserve_policy::{Explanation, Summary, summary::Conclusion};

/// What became of one recorded decision.
#[derive(Debug)]
pub struct Comparison {
    pub decision: Decision,
    pub outcome: Compared,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Compared {
    Same,
    Differ(Differences),
    /// A policy asks for what was not recorded.
    NotRecorded {
        policy: String,
        question: String,
    },
    /// The server was too busy to decide when it was recorded.
    Busy,
}

/// What is on one side only, a line each.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Differences {
    pub recorded: Vec<String>,
    pub replayed: Vec<String>,
}

const BUSY: u16 = 503;

// === impl Comparison ===

impl Comparison {
    /// `redactor` redacts as the recording was, without digests.
    pub fn new(decision: Decision, explanation: &Explanation, redactor: &Redactor) -> Self {
        let outcome = if let Some(question) = &explanation.unrecorded {
            let policy = explanation.steps.last().map(|step| step.policy.clone());
            Compared::NotRecorded {
                policy: policy.unwrap_or_default(),
                question: question.clone(),
            }
        } else if decision.verdict.conclusion == (Conclusion::Fault { status: BUSY }) {
            Compared::Busy
        } else {
            let recorded = without_digests(decision.verdict.clone());
            let replayed = without_digests(redactor.summary(explanation.verdict.summary()));
            Differences::between(&recorded, &replayed).map_or(Compared::Same, Compared::Differ)
        };
        Self { decision, outcome }
    }
}

impl Differences {
    /// `None`: they are the same.
    fn between(recorded: &Summary, replayed: &Summary) -> Option<Self> {
        if recorded == replayed {
            return None;
        }
        let (recorded, replayed) = (lines(recorded), lines(replayed));
        let mut differences = Self {
            recorded: without(&recorded, &replayed),
            replayed: without(&replayed, &recorded),
        };
        if differences.recorded.is_empty() && differences.replayed.is_empty() {
            // The same lines in another order, which may decide which of two changes of a field holds.
            (differences.recorded, differences.replayed) = (recorded, replayed);
        }
        Some(differences)
    }
}

/// The lines of one that the other does not have, each as often as it is more.
fn without(lines: &[String], others: &[String]) -> Vec<String> {
    let mut others: Vec<&String> = others.iter().collect();
    let mut left = Vec::new();
    for line in lines {
        match others.iter().position(|other| *other == line) {
            Some(at) => {
                others.swap_remove(at);
            }
            None => left.push(line.clone()),
        }
    }
    left
}

fn lines(summary: &Summary) -> Vec<String> {
    let mut lines = Vec::new();
    match &summary.conclusion {
        Conclusion::Serve {
            targets,
            place,
            missing,
        } => {
            lines.push(format!("serves {}", targets.join(", else ")));
            lines.extend(
                place
                    .iter()
                    .map(|(root, directory)| format!("in root {root}, directory {directory}")),
            );
            let missing = missing.iter();
            lines
                .extend(missing.map(|(status, paths)| format!("when nothing is there: {status} {}", paths.join(", "))));
        }
        Conclusion::Respond {
            status,
            headers,
            body,
            digest,
        } => {
            lines.push(format!("responds {status}"));
            lines.extend(headers.iter().map(|(name, value)| format!("{name}: {value}")));
            if *body > 0 {
                lines.push(format!("body of {body} bytes, {digest}"));
            }
        }
        Conclusion::Fault { status } => lines.push(format!("fails with {status}")),
    }
    for change in &summary.changes {
        let value = match &*change.value {
            "" => String::new(),
            value => format!(": {value}"),
        };
        lines.push(format!("{} {}{value}{}", change.operation, change.name, change.when));
    }
    lines.extend(
        summary
            .facts
            .iter()
            .map(|(name, value)| format!("fact {name}: {value}")),
    );
    lines.extend(summary.pace.iter().map(|pace| format!("pace: {pace} bytes a second")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasmserve_policy::summary::Change;

    fn change(name: &str, value: &str) -> Change {
        Change {
            operation: "set".into(),
            name: name.into(),
            value: value.into(),
            when: String::new(),
        }
    }

    fn serving(targets: &[&str], changes: &[Change], facts: &[(&str, &str)]) -> Summary {
        Summary {
            conclusion: Conclusion::Serve {
                targets: targets.iter().map(|target| (*target).into()).collect(),
                place: None,
                missing: None,
            },
            changes: changes.to_vec(),
            facts: facts
                .iter()
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            pace: None,
        }
    }

    fn responding(status: u16, digest: &str) -> Summary {
        Summary {
            conclusion: Conclusion::Respond {
                status,
                headers: vec![("x-a".into(), "1".into())],
                body: 4,
                digest: digest.into(),
            },
            changes: Vec::new(),
            facts: Vec::new(),
            pace: Some(1000),
        }
    }

    #[test]
    fn only_what_differs_is_said() {
        for (recorded, replayed, expected) in [
            (serving(&["/a"], &[], &[]), serving(&["/a"], &[], &[]), None),
            (
                serving(
                    &["/a", "/b"],
                    &[change("x-a", "1"), change("x-b", "1")],
                    &[("user", "ada")],
                ),
                serving(&["/b"], &[change("x-a", "1"), change("x-b", "2")], &[]),
                Some((
                    &["serves /a, else /b", "set x-b: 1", "fact user: ada"][..],
                    &["serves /b", "set x-b: 2"][..],
                )),
            ),
            (
                responding(401, "aa"),
                responding(403, "bb"),
                Some((
                    &["responds 401", "body of 4 bytes, aa"],
                    &["responds 403", "body of 4 bytes, bb"],
                )),
            ),
            (
                serving(&["/a"], &[change("x-a", "1"), change("x-a", "2")], &[]),
                serving(&["/a"], &[change("x-a", "2"), change("x-a", "1")], &[]),
                Some((
                    &["serves /a", "set x-a: 1", "set x-a: 2"],
                    &["serves /a", "set x-a: 2", "set x-a: 1"],
                )),
            ),
            (
                serving(&["/a"], &[change("x-a", "1"), change("x-a", "1")], &[]),
                serving(&["/a"], &[change("x-a", "1")], &[]),
                Some((&["set x-a: 1"], &[])),
            ),
        ] {
            let found = Differences::between(&recorded, &replayed);
            let expected = expected.map(|(recorded, replayed)| {
                let owned = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
                Differences {
                    recorded: owned(recorded),
                    replayed: owned(replayed),
                }
            });
            assert_eq!(found, expected);
        }
    }
}
