//! `[case.expect]`, read.

use super::expect::{Absent, Conclusion, Expect, Field};
use super::file::{ROOT, texts};
use crate::config::{
    ConfigErrors,
    document::{Located, Section},
};
use http::HeaderName;

/// The words of `sharing`.
const SHARINGS: [(&str, &str); 2] = [("derived", "derived"), ("allowed", "allowed")];

pub(super) fn read(mut section: Section<'_>, errors: &mut ConfigErrors) -> Expect {
    let expect = Expect {
        conclusion: read_conclusion(&mut section, errors),
        headers: read_expected_headers(&mut section, errors),
        body: section.string("body", errors).map(|text| text.value),
        targets: list(&mut section, "targets", errors),
        place: unless_false(&mut section, "place", errors, |section, errors| {
            section.section("place", errors).map(|place| read_place(place, errors))
        }),
        missing: unless_false(&mut section, "missing", errors, |section, errors| {
            section
                .section("missing", errors)
                .map(|missing| read_missing(missing, errors))
        }),
        facts: read_expected_facts(&mut section, errors),
        sharing: section.choice("sharing", &SHARINGS, errors),
        pace: unless_false(&mut section, "pace", errors, |section, errors| {
            section.count("pace", errors)
        }),
        asked: list(&mut section, "asked", errors),
        kept: section.flag("kept", errors),
    };
    section.report_unknown(errors);
    if expect.is_empty() && errors.is_empty() {
        errors.push(section.error("[case.expect] names nothing: it would pass whatever is decided"));
    }
    expect
}

/// `respond`, `proceed`, `fault` or `refused`: at most one of them.
fn read_conclusion(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Conclusion> {
    let given = ["respond", "proceed", "fault", "refused"].map(|key| section.contains(key));
    if given.into_iter().filter(|given| *given).count() > 1 {
        errors
            .push(section.error("`respond`, `proceed`, `fault` and `refused` exclude each other: expect one of them"));
    }
    let respond = section.count("respond", errors);
    let mut must = |key, errors: &mut ConfigErrors| {
        let flag = section.flag(key, errors)?;
        if !flag {
            let problem = format!("`{key}` can only be true: say what is expected instead");
            errors.push(section.error(problem));
        }
        Some(())
    };
    let (proceed, fault) = (must("proceed", errors), must("fault", errors));
    let refused = section.string("refused", errors).map(|text| text.value);
    let respond = respond.map(Conclusion::Respond);
    let proceed = proceed.map(|()| Conclusion::Proceed);
    let fault = fault.map(|()| Conclusion::Fault);
    respond.or(proceed).or(fault).or(refused.map(Conclusion::Refused))
}

fn read_expected_headers(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Vec<(HeaderName, Field)> {
    let mut headers = Vec::new();
    for (name, value) in section.values("headers", errors).unwrap_or_default() {
        let field = match &value.value {
            toml::Value::Boolean(false) => Some(Field::Absent),
            toml::Value::Boolean(true) => Some(Field::Present),
            toml::Value::String(text) => Some(Field::Joined(text.clone())),
            other => texts(other).map(Field::Each),
        };
        match (name.value.parse(), field) {
            (Ok(name), Some(field)) => headers.push((name, field)),
            (Err(_), _) => errors.push(section.error_at(&name, format!("{:?} is not the name of a field", name.value))),
            (_, None) => {
                let problem = format!(
                    "`{}` must be a string, a list of strings, true (it is there) or false (it is not)",
                    name.value
                );
                errors.push(section.error_at(&value, problem));
            }
        }
    }
    headers
}

fn read_expected_facts(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Vec<(String, Result<String, Absent>)> {
    let mut facts = Vec::new();
    for (name, value) in section.values("facts", errors).unwrap_or_default() {
        match &value.value {
            toml::Value::String(text) => facts.push((name.value, Ok(text.clone()))),
            toml::Value::Boolean(false) => facts.push((name.value, Err(Absent))),
            _ => {
                let problem = format!("`{}` must be a string, or false (it is not established)", name.value);
                errors.push(section.error_at(&value, problem));
            }
        }
    }
    facts
}

fn list(section: &mut Section<'_>, key: &'static str, errors: &mut ConfigErrors) -> Option<Vec<String>> {
    let items = section.strings(key, errors)?;
    Some(items.into_iter().map(|item| item.value).collect())
}

/// What is read, or `false` where there has to be none.
fn unless_false<T>(
    section: &mut Section<'_>,
    key: &'static str,
    errors: &mut ConfigErrors,
    read: impl FnOnce(&mut Section<'_>, &mut ConfigErrors) -> Option<T>,
) -> Option<Result<T, Absent>> {
    if !section.holds_flag(key) {
        return read(section, errors).map(Ok);
    }
    if section.flag(key, errors) == Some(true) {
        errors.push(section.error(format!(
            "`{key}` cannot be true: say what it is, or false where there is none"
        )));
    }
    Some(Err(Absent))
}

fn read_place(mut section: Section<'_>, errors: &mut ConfigErrors) -> (String, String) {
    let text = |located: Option<Located<String>>| located.map(|located| located.value).unwrap_or_default();
    let root = section
        .string("root", errors)
        .map_or_else(|| ROOT.to_owned(), |root| root.value);
    let place = (root, text(section.required_string("directory", errors)));
    section.finish(errors);
    place
}

/// In the words of `explain`.
fn read_missing(mut section: Section<'_>, errors: &mut ConfigErrors) -> String {
    let status = section.count("status", errors).unwrap_or(404);
    let paths = list(&mut section, "paths", errors).unwrap_or_default();
    let missing = match section.string("location", errors) {
        Some(location) => format!("{status} to {}", location.value),
        None if paths.is_empty() => status.to_string(),
        None => format!("{status} {}", paths.join(", ")),
    };
    section.finish(errors);
    missing
}
