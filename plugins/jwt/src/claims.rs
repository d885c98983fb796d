//! What a verified token claims (RFC 7519, section 4.1), and what follows.
use crate::settings::{Expiry, Settings};
use serde_json::{Map, Value};
use wasmserve_plugin::Request;

/// What becomes of a token.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// Names and values of facts.
    Valid(Vec<(String, String)>),
    /// Not of this issuer, not for this audience, expired, or not yet valid.
    Invalid,
    /// Valid, and lacks what is required.
    Insufficient,
}

/// Judges claims. Times are asked last, because only they end a decision's use.
pub fn judge(claims: &Map<String, Value>, settings: &Settings, request: &Request) -> Verdict {
    let issuer = settings.issuer.as_ref();
    if issuer.is_some_and(|issuer| claims.get("iss").and_then(Value::as_str) != Some(issuer)) {
        return Verdict::Invalid;
    }
    let meant = |audience: &String| claims.get("aud").is_some_and(|claimed| names(claimed, audience));
    if !settings.audience.is_empty() && !settings.audience.iter().any(meant) {
        return Verdict::Invalid;
    }
    if !is_current(claims, settings, request) {
        return Verdict::Invalid;
    }
    let has = |(name, wanted): (&String, &String)| claims.get(name).is_some_and(|claimed| holds(name, claimed, wanted));
    if !settings.require.iter().all(has) {
        return Verdict::Insufficient;
    }
    let established = settings.claims.iter();
    let facts = established.filter_map(|(claim, fact)| Some((fact.clone(), text(claims.get(claim)?)?)));
    Verdict::Valid(facts.collect())
}

/// `exp` and `nbf`, each with the leeway. A time that is no number makes the token invalid.
fn is_current(claims: &Map<String, Value>, settings: &Settings, request: &Request) -> bool {
    let begun = match claims.get("nbf").map(numeric_date) {
        None => true,
        Some(None) => false,
        Some(Some(begins)) => {
            let begins = begins.saturating_sub(settings.leeway);
            begins == 0 || !request.before(begins)
        }
    };
    begun
        && match claims.get("exp").map(numeric_date) {
            None => settings.expiry == Expiry::Optional,
            Some(None) => false,
            Some(Some(ends)) => request.before(ends.saturating_add(settings.leeway)),
        }
}

/// Seconds since 1970 (RFC 7519, section 2). A fraction is allowed, and dropped.
fn numeric_date(value: &Value) -> Option<u64> {
    let fraction = || {
        let seconds = value.as_f64().filter(|seconds| (0.0..9e15).contains(seconds))?;
        // Within what a double counts exactly.
        Some(seconds as u64)
    };
    value.as_u64().or_else(fraction)
}

/// A text, or a list of texts with this one in it.
fn names(claimed: &Value, wanted: &str) -> bool {
    match claimed {
        Value::String(text) => text == wanted,
        Value::Array(values) => values.iter().any(|value| value.as_str() == Some(wanted)),
        _ => false,
    }
}

/// As [`names`]; `scope` is a text of words (RFC 8693, section 4.2), and numbers and truth values are compared as JSON has
/// them.
fn holds(name: &str, claimed: &Value, wanted: &str) -> bool {
    match claimed {
        Value::String(words) if name == "scope" => words.split(' ').any(|word| word == wanted),
        Value::Number(_) | Value::Bool(_) => claimed.to_string() == wanted,
        _ => names(claimed, wanted),
    }
}

/// A claim as a fact: texts as they are, lists of texts with commas between.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) | Value::Bool(_) => Some(value.to_string()),
        Value::Array(values) => {
            let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
            Some(texts?.join(","))
        }
        Value::Object(_) | Value::Null => None,
    }
}
