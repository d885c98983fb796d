//! An account for people: a block for each policy, then what came of it.

use super::account::{Account, Candidate, Field, Finding, Head, Ruling};
use http::StatusCode;
use std::fmt::{self, Display, Formatter, Write};
use wasmserve_policy::{
    Exchange, Step,
    explain::{Decided, Keeping},
};

/// Questions that are longer than this do not push the answers of all others to the right.
const WIDEST_QUESTION: usize = 40;

impl Display for Account {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", printable(&self.method), printable(&self.url))?;
        if let Some(client) = &self.client {
            write!(f, " from {client}")?;
        }
        f.write_str("\n\n")?;
        for (index, step) in self.policies.iter().enumerate() {
            policy(f, index + 1, step)?;
        }
        if !self.policies.is_empty() {
            f.write_char('\n')?;
        }
        rows(f, "", "verdict", &ruling(&self.verdict))?;
        rows(f, "", "facts", &self.facts.iter().map(pair).collect::<Vec<_>>())?;
        let pace = self.pace.map(|pace| format!("{pace} bytes a second"));
        rows(f, "", "pace", pace.as_slice())?;
        rows(f, "", "files", &candidates(&self.files))?;
        rows(f, "", "answer", &head(&self.answer))
    }
}

fn policy(f: &mut Formatter<'_>, number: usize, step: &Step) -> fmt::Result {
    const INDENT: &str = "   ";
    let Step {
        policy,
        asked,
        decision,
        said,
        keeping,
        microseconds,
    } = step;
    match decision {
        Decided::Proceed(changes) => {
            writeln!(f, "{number}. {policy}: proceeds")?;
            rows(f, INDENT, "asked", &exchanges(asked))?;
            rows(f, INDENT, "changes", changes)?;
        }
        Decided::Respond {
            status,
            headers,
            body,
            sharing,
        } => {
            writeln!(f, "{number}. {policy}: responds {}", named(*status))?;
            rows(f, INDENT, "asked", &exchanges(asked))?;
            rows(f, INDENT, "headers", headers)?;
            rows(f, INDENT, "body", &[format!("{body} bytes")])?;
            rows(f, INDENT, "sharing", std::slice::from_ref(sharing))?;
        }
        Decided::Failed {
            status,
            reason,
            backtrace,
        } => {
            writeln!(f, "{number}. {policy}: fails, the client gets {}", named(*status))?;
            rows(f, INDENT, "asked", &exchanges(asked))?;
            rows(f, INDENT, "reason", std::slice::from_ref(reason))?;
            let frames = backtrace.iter().flat_map(|backtrace| backtrace.lines());
            rows(
                f,
                INDENT,
                "where",
                &frames.map(|frame| frame.trim().to_owned()).collect::<Vec<_>>(),
            )?;
        }
    }
    rows(f, INDENT, "logged", said)?;
    rows(f, INDENT, "kept", &[kept(keeping)])?;
    rows(f, INDENT, "took", &[time(*microseconds)])
}

/// A name and what belongs to it, one value a line; nothing when there is none.
fn rows(f: &mut Formatter<'_>, indent: &str, name: &str, values: &[String]) -> fmt::Result {
    for (index, value) in values.iter().enumerate() {
        let name = if index == 0 { name } else { "" };
        writeln!(f, "{indent}{name:<9}{}", printable(value))?;
    }
    Ok(())
}

fn exchanges(asked: &[Exchange]) -> Vec<String> {
    let lengths = asked.iter().map(|exchange| exchange.question.chars().count());
    let width = lengths.filter(|length| *length <= WIDEST_QUESTION).max().unwrap_or(0);
    let lines = asked.iter();
    lines
        .map(|Exchange { question, answer }| format!("{question:<width$}  {answer}"))
        .collect()
}

fn ruling(ruling: &Ruling) -> Vec<String> {
    match ruling {
        Ruling::Refused { reason } => vec![format!("refused before any policy is asked: {reason}")],
        Ruling::Server => vec!["about the server itself: no policy is asked".into()],
        Ruling::Response { policy } => vec![format!("{policy} answers: no file is looked for")],
        Ruling::Fault { policy } => vec![format!("{policy} failed: no file is looked for")],
        Ruling::File {
            targets,
            place,
            missing,
        } => {
            let mut lines = vec![format!("serve {}", targets.join(", else "))];
            lines.extend(place.iter().map(|place| format!("in {place}")));
            lines.extend(
                missing
                    .iter()
                    .map(|missing| format!("when nothing is there: {missing}")),
            );
            lines
        }
    }
}

fn candidates(candidates: &[Candidate]) -> Vec<String> {
    let width = candidates
        .iter()
        .map(|candidate| candidate.path.chars().count())
        .max()
        .unwrap_or(0);
    let lines = candidates.iter();
    lines
        .map(|Candidate { path, finding }| format!("{path:<width$}  {}", finding_in_words(finding)))
        .collect()
}

fn finding_in_words(finding: &Finding) -> String {
    match finding {
        Finding::File {
            content_type,
            bytes,
            coding,
        } => {
            let coding = coding
                .as_ref()
                .map(|coding| format!(", in {coding}"))
                .unwrap_or_default();
            format!("{content_type}, {bytes} bytes{coding}")
        }
        Finding::Listing => "a listing of the folder".into(),
        Finding::Folder { location } => format!("a folder: redirects to {location} when nothing else is there"),
        Finding::Nothing => "nothing there".into(),
        Finding::Failed { status } => format!("cannot be given: {}", named(*status)),
    }
}

fn head(head: &Head) -> Vec<String> {
    let status = std::iter::once(named(head.status));
    status.chain(head.headers.iter().map(pair)).collect()
}

fn pair(Field { name, value }: &Field) -> String {
    format!("{name}: {value}")
}

fn kept(keeping: &Keeping) -> String {
    match keeping {
        Keeping::Kept => "already: it would not run again".into(),
        Keeping::WouldBe => "would be".into(),
        Keeping::No(reason) => format!("would not be: {reason}"),
        Keeping::Off => "nothing is, of this policy".into(),
    }
}

fn time(microseconds: u64) -> String {
    match microseconds {
        0..10_000 => format!("{microseconds} µs"),
        _ => format!("{} ms", microseconds / 1000),
    }
}

/// `404 Not Found`
fn named(status: u16) -> String {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    match reason {
        Some(reason) => format!("{status} {reason}"),
        None => status.to_string(),
    }
}

/// What a plugin or a client wrote cannot steer a terminal.
pub fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_on_its_line() {
        assert_eq!(printable("a\nb\u{1b}[31m\u{9b}é"), "a\\nb\\u{1b}[31m\\u{9b}é");
    }

    #[test]
    fn answers_are_aligned_unless_a_question_is_long() {
        let exchange = |question: &str| Exchange {
            question: question.into(),
            answer: "none".into(),
        };
        let long = format!("cookie({:?})", "x".repeat(WIDEST_QUESTION));
        let lines = exchanges(&[exchange("query()"), exchange("cookie(\"a\")"), exchange(&long)]);
        assert_eq!(lines[..2], ["query()      none", "cookie(\"a\")  none"]);
        assert_eq!(lines[2], format!("{long}  none"));
    }

    #[test]
    fn times_have_units() {
        assert_eq!([9_999, 10_000, 1_234_567].map(time), ["9999 µs", "10 ms", "1234 ms"]);
    }
}
