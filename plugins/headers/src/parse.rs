//! The text of a `_headers` file: URLs, each followed by indented lines with header fields.
use wasmserve_plugin::{Mistakes, Route, is_token};

/// A URL and what is set where it matches.
#[derive(Debug)]
pub struct Rule {
    pub route: Route,
    pub lines: Vec<Line>,
}

/// `Name: value`, or `! Name`.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Set(String, String),
    Remove(String),
}

/// Fields that the server refuses from policies: they are about the connection, or describe the file.
const REFUSED: [&str; 13] = [
    "accept-ranges",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "date",
    "etag",
    "keep-alive",
    "last-modified",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Reads every line; what is wrong is noted with the number of its line.
pub fn rules(text: &str, mistakes: &mut Mistakes) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    // A URL that could not be read: its fields are another error each, and help nobody.
    let mut skipping = false;
    for (number, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        let mut note = |problem: String| mistakes.note("rules", format_args!("line {}: {problem}", number + 1));
        if !line.starts_with([' ', '\t']) {
            match Route::parse(trimmed) {
                Ok(route) => {
                    rules.push(Rule {
                        route,
                        lines: Vec::new(),
                    });
                    skipping = false;
                }
                Err(problem) => {
                    note(format!("{trimmed:?} {problem}"));
                    skipping = true;
                }
            }
        } else if let Some(rule) = rules.last_mut().filter(|_| !skipping) {
            match field(trimmed) {
                Ok(line) => rule.lines.push(line),
                Err(problem) => note(problem),
            }
        } else if !skipping {
            note("is indented, and no URL stands before it".to_owned());
        }
    }
    rules
}

fn field(text: &str) -> Result<Line, String> {
    if let Some(name) = text.strip_prefix('!') {
        let name = checked_name(name.trim())?;
        if name.eq_ignore_ascii_case("vary") {
            return Err("Vary cannot be taken away: caches would mix answers up".to_owned());
        }
        return Ok(Line::Remove(name));
    }
    let (name, value) = text
        .split_once(':')
        .ok_or_else(|| format!("{text:?} is neither `Name: value` nor `! Name`"))?;
    let name = checked_name(name.trim())?;
    let value = value.trim();
    if value.is_empty() {
        return Err(format!("{name} has no value"));
    }
    if value.chars().any(char::is_control) {
        return Err(format!("{name} has a control character in its value"));
    }
    Ok(Line::Set(name, value.to_owned()))
}

fn checked_name(name: &str) -> Result<String, String> {
    let lower = name.to_ascii_lowercase();
    if !is_token(name) {
        return Err(format!("{name:?} is no name of a header field"));
    }
    if lower == "basic-auth" {
        return Err("Basic-Auth is no header field: see the policy basic-auth".to_owned());
    }
    if REFUSED.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        return Err(format!("{name} is the server's to set"));
    }
    Ok(name.to_owned())
}
