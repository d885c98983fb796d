//! Sets header fields by the rules of a `_headers` file. README.md is the reference.
//!
//! Every rule whose URL matches applies, in the order of the file. A field that several of them set is one field with all
//! values. The path is asked, and scheme and host where a rule that matches the path has them.
#![forbid(unsafe_code)]

mod parse;

use parse::{Line, Rule};
use serde::Deserialize;
use wasmserve_plugin::{Captures, Config, Decision, HeaderChange, Mistakes, Outcomes, Policy, Request, path, proceed};

struct Headers(Vec<Rule>);

wasmserve_plugin::export!(Headers);

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    rules: String,
}

/// What becomes of a field.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Set(String, String),
    /// One field beside others: Set-Cookie, which cannot be joined, and Vary, to which the server adds.
    Append(String, String),
    Remove(String),
}

impl Policy for Headers {
    fn configure(config: &Config) -> Result<Self, String> {
        let written: Written = config.read()?;
        let mut mistakes = Mistakes::default();
        let rules = parse::rules(&written.rules, &mut mistakes);
        mistakes.check()?;
        Ok(Self(rules))
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let path = request.path();
        let mut changes = Vec::new();
        for rule in &self.0 {
            let Some(captures) = captures(rule, &path, request) else {
                continue;
            };
            for line in &rule.lines {
                apply(line, &captures, &mut changes);
            }
        }
        let applied = changes.into_iter().map(|change| match change {
            Change::Set(name, value) => HeaderChange::set(name, value),
            Change::Append(name, value) => HeaderChange::append(name, value),
            Change::Remove(name) => HeaderChange::remove(name),
        });
        // For files and for the page that says there is none; not for redirects, nor for refusals of other policies.
        let decision = applied.fold(proceed(), |decision, change| {
            decision.change(change.when(Outcomes::FOUND | Outcomes::MISSING))
        });
        Ok(decision.into())
    }
}

fn captures(rule: &Rule, path: &str, request: &Request) -> Option<Captures> {
    let captures = rule.route.match_path(path)?;
    match rule.route.has_host() {
        true => Some(captures.and(rule.route.match_host(&request.scheme(), &request.host())?)),
        false => Some(captures),
    }
}

/// Adds what a line says to what the lines before it said.
fn apply(line: &Line, captures: &Captures, changes: &mut Vec<Change>) {
    match line {
        Line::Set(name, value) => {
            // What a client chose stays one value: what could end it is encoded.
            let encode = |captured: &str| path::encode(captured).replace(',', "%2C").replace(';', "%3B");
            let value = captures.fill(value, encode);
            let single = ["set-cookie", "vary"]
                .iter()
                .any(|single| name.eq_ignore_ascii_case(single));
            let earlier = changes.iter_mut().find_map(|change| match change {
                Change::Set(set, values) if set.eq_ignore_ascii_case(name) => Some(values),
                _ => None,
            });
            match earlier {
                _ if single => changes.push(Change::Append(name.clone(), value)),
                Some(values) => *values += &format!(", {value}"),
                None => changes.push(Change::Set(name.clone(), value)),
            }
        }
        Line::Remove(name) => {
            changes.retain(|change| match change {
                Change::Set(set, _) | Change::Append(set, _) | Change::Remove(set) => !set.eq_ignore_ascii_case(name),
            });
            changes.push(Change::Remove(name.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
