//! What a replay prints: each decision that is not the same, then how many there were of each kind.

use super::compare::{Compared, Comparison, Differences};
use crate::{explain::printable, watch::record::entry::Decision};
use anyhow::Context;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// What has been compared so far.
#[derive(Debug)]
pub struct Report {
    file: PathBuf,
    pub tally: Tally,
}

#[derive(Debug, Default, Serialize)]
pub struct Tally {
    pub same: u64,
    pub differ: u64,
    /// A policy asks for what was not recorded.
    pub not_recorded: u64,
    /// The server was too busy to decide.
    pub busy: u64,
    /// Lines that are no decisions.
    pub unreadable: u64,
    /// How often each question of each policy could not be answered: `policy: question`.
    pub missing: BTreeMap<String, u64>,
}

/// A decision that is not the same, for `--json`.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    line: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<&'a Decision>,
    #[serde(flatten)]
    finding: Finding<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result")]
enum Finding<'a> {
    Differs(&'a Differences),
    NotRecorded { policy: &'a str, question: &'a str },
    Unreadable { reason: &'a str },
}

#[derive(Debug, Serialize)]
struct Summary<'a> {
    summary: &'a Tally,
}

// === impl Report ===

impl Report {
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            tally: Tally::default(),
        }
    }

    /// Counts one line of the recording, and prints it unless all is the same.
    pub fn add(&mut self, line: u64, compared: Result<Comparison, String>, json: bool) -> Result<(), anyhow::Error> {
        let (request, finding) = match &compared {
            Ok(Comparison { decision, outcome }) => match outcome {
                Compared::Same => {
                    self.tally.same += 1;
                    return Ok(());
                }
                Compared::Busy => {
                    self.tally.busy += 1;
                    return Ok(());
                }
                Compared::Differ(differences) => {
                    self.tally.differ += 1;
                    (Some(decision), Finding::Differs(differences))
                }
                Compared::NotRecorded { policy, question } => {
                    self.tally.not_recorded += 1;
                    *self.tally.missing.entry(format!("{policy}: {question}")).or_default() += 1;
                    (Some(decision), Finding::NotRecorded { policy, question })
                }
            },
            Err(reason) => {
                self.tally.unreadable += 1;
                (None, Finding::Unreadable { reason })
            }
        };
        let text = match (json, &finding) {
            (true, _) => json_line(&Printed { line, request, finding })?,
            // These are many, and alike: the summary counts them.
            (false, Finding::NotRecorded { .. }) => return Ok(()),
            (false, Finding::Unreadable { reason }) => format!("line {line} {}\n\n", printable(reason)),
            (false, Finding::Differs(differences)) => in_words(line, request, differences),
        };
        print(&text)
    }

    pub fn summarize(&self, json: bool) -> Result<(), anyhow::Error> {
        if json {
            return print(&json_line(&Summary { summary: &self.tally })?);
        }
        let Tally {
            same,
            differ,
            not_recorded,
            busy,
            unreadable,
            missing,
        } = &self.tally;
        let mut text = format!(
            "{}: {same} decisions are the same, {differ} differ\n",
            self.file.display()
        );
        let mut also = |count: u64, what: &str| {
            if count > 0 {
                writeln!(text, "{count} {what}").expect("a string grows");
            }
        };
        also(*not_recorded, "were not decided: plugins ask for what was not recorded");
        for (question, count) in missing {
            also(*count, &format!("by {}", printable(question)));
        }
        also(*busy, "were not compared: the server was too busy to decide them");
        also(*unreadable, "lines are not decisions");
        print(&text)
    }
}

impl Tally {
    pub fn compared(&self) -> u64 {
        self.same + self.differ
    }
}

fn in_words(line: u64, request: Option<&Decision>, differences: &Differences) -> String {
    let mut text = format!("line {line}");
    if let Some(decision) = request {
        let query = decision
            .query
            .as_ref()
            .map(|query| format!("?{query}"))
            .unwrap_or_default();
        let url = format!("{}://{}{}{query}", decision.scheme, decision.host, decision.path);
        write!(text, ": {} {}", printable(&decision.method), printable(&url)).expect("a string grows");
        if let Some(client) = &decision.client {
            write!(text, " from {}", printable(client)).expect("a string grows");
        }
        if let Some(at) = decision.arrived() {
            write!(text, " at {}", humantime::format_rfc3339_millis(at)).expect("a string grows");
        }
    }
    text.push('\n');
    for (sign, lines) in [('-', &differences.recorded), ('+', &differences.replayed)] {
        for line in lines {
            writeln!(text, "  {sign} {}", printable(line)).expect("a string grows");
        }
    }
    text.push('\n');
    text
}

fn json_line(value: &impl Serialize) -> Result<String, anyhow::Error> {
    Ok(serde_json::to_string(value).context("cannot be written as JSON")? + "\n")
}

fn print(text: &str) -> Result<(), anyhow::Error> {
    io::stdout()
        .lock()
        .write_all(text.as_bytes())
        .context("cannot write to standard output")
}
