//! How tests went: lines with colours for people, JSON for programs.

use super::{expect::Difference, run::Decided};
use crate::explain::printable;
use anstyle::{AnsiColor, Style};
use serde::Serialize;
use similar::{ChangeTag, TextDiff};
use std::{
    fmt::{self, Display, Formatter},
    path::PathBuf,
};

/// All that was run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub passed: usize,
    pub failed: usize,
    pub plugins: Vec<PluginReport>,
}

#[derive(Debug, Serialize)]
pub struct PluginReport {
    pub plugin: String,
    pub files: Vec<FileReport>,
}

#[derive(Debug, Serialize)]
pub struct FileReport {
    pub file: PathBuf,
    pub cases: Vec<CaseReport>,
}

#[derive(Debug, Serialize)]
pub struct CaseReport {
    pub name: String,
    /// Of the file, from 1.
    pub line: usize,
    #[serde(flatten)]
    pub ending: Ending,
}

/// What came of a case.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "ending")]
pub enum Ending {
    Passed,
    /// It was decided otherwise.
    Failed {
        differences: Vec<Difference>,
        /// When the policy failed: the reason, and the functions it was in.
        failure: Vec<String>,
        /// What it wrote to the log.
        logged: Vec<String>,
    },
    /// Nothing could be decided.
    Broken {
        reason: String,
    },
}

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const FAINT: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();

// === impl Report ===

impl Report {
    pub fn add(&mut self, plugin: PluginReport) {
        let cases = || plugin.files.iter().flat_map(|file| &file.cases);
        let passed = cases().filter(|case| matches!(case.ending, Ending::Passed)).count();
        self.passed += passed;
        self.failed += cases().count() - passed;
        self.plugins.push(plugin);
    }

    /// Whether anything was run, and all of it went well.
    pub fn is_success(&self) -> bool {
        self.failed == 0 && self.passed > 0
    }

    /// One line: how many passed and failed.
    pub fn tally(&self) -> String {
        let (passed, failed) = (self.passed, self.failed);
        let style = if self.is_success() { GOOD } else { BAD };
        format!("{style}{passed} passed, {failed} failed{style:#}")
    }
}

/// With escape sequences for colours, which [`anstream`] takes away where nobody sees them.
impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for plugin in &self.plugins {
            write!(f, "{plugin}")?;
        }
        writeln!(f, "{}", self.tally())
    }
}

// === impl PluginReport ===

impl Display for PluginReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for FileReport { file, cases } in self.files.iter().filter(|file| !file.cases.is_empty()) {
            let file = printable(&file.display().to_string());
            writeln!(
                f,
                "{STRONG}{}{STRONG:#} {FAINT}{file}{FAINT:#}",
                printable(&self.plugin)
            )?;
            for case in cases {
                write_case(f, &file, case)?;
            }
        }
        Ok(())
    }
}

fn write_case(f: &mut Formatter<'_>, file: &str, case: &CaseReport) -> fmt::Result {
    let name = printable(&case.name);
    let heading =
        |f: &mut Formatter<'_>| writeln!(f, "  {BAD}FAILED{BAD:#}  {name} {FAINT}({file}:{}){FAINT:#}", case.line);
    match &case.ending {
        Ending::Passed => writeln!(f, "  {GOOD}ok{GOOD:#}      {name}"),
        Ending::Broken { reason } => {
            heading(f)?;
            reason
                .lines()
                .try_for_each(|line| writeln!(f, "    {}", printable(line)))
        }
        Ending::Failed {
            differences,
            failure,
            logged,
        } => {
            heading(f)?;
            writeln!(f, "    {BAD}- expected{BAD:#}  {GOOD}+ decided{GOOD:#}")?;
            for difference in differences {
                write_difference(f, difference)?;
            }
            for (index, line) in failure.iter().enumerate() {
                let what = if index == 0 { "reason  " } else { "        in " };
                writeln!(f, "    {what}{}", printable(line))?;
            }
            logged
                .iter()
                .try_for_each(|line| writeln!(f, "    logged  {}", printable(line)))
        }
    }
}

/// Line by line, with what differs within a line underlined.
fn write_difference(f: &mut Formatter<'_>, difference: &Difference) -> fmt::Result {
    writeln!(f, "    {}", difference.key)?;
    let diff = TextDiff::from_lines(&difference.expected, &difference.decided);
    for operation in diff.ops() {
        for change in diff.iter_inline_changes(operation) {
            let (sign, style) = match change.tag() {
                ChangeTag::Delete => ('-', BAD),
                ChangeTag::Insert => ('+', GOOD),
                ChangeTag::Equal => (' ', Style::new()),
            };
            write!(f, "    {style}{sign} {style:#}")?;
            for (emphasized, text) in change.iter_strings_lossy() {
                let style = if emphasized { style.underline() } else { style };
                write!(f, "{style}{}{style:#}", printable(text.trim_end_matches('\n')))?;
            }
            writeln!(f)?;
        }
    }
    Ok(())
}

// === impl Ending ===

impl Ending {
    /// Of a decision.
    pub fn of(differences: Vec<Difference>, decided: Decided) -> Self {
        if differences.is_empty() {
            return Self::Passed;
        }
        Self::Failed {
            differences,
            failure: decided.failure,
            logged: decided.logged,
        }
    }

    /// Of what never came to a decision.
    pub fn differing(difference: Difference) -> Self {
        Self::Failed {
            differences: vec![difference],
            failure: Vec::new(),
            logged: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(ending: Ending) -> String {
        let case = CaseReport {
            name: "a stranger".into(),
            line: 3,
            ending,
        };
        let mut report = Report::default();
        report.add(PluginReport {
            plugin: "guard".into(),
            files: vec![FileReport {
                file: "tests/first.toml".into(),
                cases: vec![case],
            }],
        });
        anstream::adapter::strip_str(&report.to_string()).to_string()
    }

    #[test]
    fn a_difference_is_shown_line_by_line() {
        let difference = Difference {
            key: "headers",
            expected: "vary: accept\nx-a: 1".into(),
            decided: "vary: accept\nx-a: 2\u{1b}[m".into(),
        };
        let text = shown(Ending::Failed {
            differences: vec![difference],
            failure: vec!["it trapped".into(), "decide".into()],
            logged: vec!["info x: y".into()],
        });
        assert_eq!(
            text,
            "guard tests/first.toml\n  FAILED  a stranger (tests/first.toml:3)\n    - expected  + decided\n    headers\n      \
             vary: accept\n    - x-a: 1\n    + x-a: 2\\u{1b}[m\n    reason  it trapped\n            in decide\n    \
             logged  info x: y\n0 passed, 1 failed\n"
        );
    }

    #[test]
    fn nothing_is_no_success() {
        assert!(!Report::default().is_success());
        assert_eq!(
            shown(Ending::Passed),
            "guard tests/first.toml\n  ok      a stranger\n1 passed, 0 failed\n"
        );
    }
}
