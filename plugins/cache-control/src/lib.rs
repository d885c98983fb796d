//! Says how long caches may keep which files. README.md is the reference.
//!
//! A decision asks the path alone. What a rule says of media types is declared with the header, because the type is not
//! known yet: the matching rules are set from the last to the first, so that the first that applies is what stays.
#![forbid(unsafe_code)]

mod directives;
mod fingerprint;

use serde::Deserialize;
use wasmserve_plugin::{Config, Decision, HeaderChange, Mistakes, Outcomes, Pattern, Policy, Request, proceed};

struct CacheControl {
    immutable: Vec<Pattern>,
    fingerprints: bool,
    /// Most wanted first.
    rules: Vec<Rule>,
    errors: Option<String>,
}

wasmserve_plugin::export!(CacheControl);

/// What is said about some files.
struct Rule {
    /// None: every path.
    paths: Vec<Pattern>,
    /// None: every type.
    types: Vec<String>,
    value: String,
}

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    immutable: Vec<String>,
    #[serde(default = "yes")]
    fingerprints: bool,
    #[serde(default)]
    rules: Vec<WrittenRule>,
    default: Option<String>,
    errors: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    #[serde(default)]
    paths: Vec<String>,
    #[serde(default)]
    types: Vec<String>,
    value: String,
}

fn yes() -> bool {
    true
}

const CACHE_CONTROL: &str = "Cache-Control";

/// A year, and no asking whether it changed (RFC 8246): a changed file has another name.
const IMMUTABLE: &str = "public, max-age=31536000, immutable";

/// What a decision may hold of header changes; see the contract.
const MOST_RULES: usize = 100;

impl Policy for CacheControl {
    fn configure(config: &Config) -> Result<Self, String> {
        let written: Written = config.read()?;
        let mut mistakes = Mistakes::default();
        let mut rules = Vec::new();
        if written.rules.len() > MOST_RULES {
            mistakes.note(
                "rules",
                format_args!("has {}: more than {MOST_RULES}", written.rules.len()),
            );
        }
        for rule in written.rules {
            if rule.paths.is_empty() && rule.types.is_empty() {
                mistakes.note(
                    "rules",
                    "has one without `paths` and `types`: what holds for all files is `default`",
                );
            }
            mistakes.take("rules", &rule.value, directives::check(&rule.value));
            for media_range in &rule.types {
                mistakes.take("rules", media_range, check_media_range(media_range));
            }
            rules.push(Rule {
                paths: mistakes.parse_all("rules", &rule.paths),
                types: rule.types,
                value: rule.value,
            });
        }
        if let Some(value) = written.default {
            mistakes.take("default", &value, directives::check(&value));
            rules.push(Rule {
                paths: Vec::new(),
                types: Vec::new(),
                value,
            });
        }
        if let Some(value) = &written.errors {
            mistakes.take("errors", value, directives::check(value));
        }
        let immutable = mistakes.parse_all("immutable", &written.immutable);
        mistakes.check()?;
        Ok(Self {
            immutable,
            fingerprints: written.fingerprints,
            rules,
            errors: written.errors,
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        let mut changes = proceed();
        if let Some(value) = &self.errors {
            let errors = Outcomes::MISSING | Outcomes::FAILED;
            changes = changes.change(HeaderChange::set(CACHE_CONTROL, value).when(errors));
        }
        let path = request.path();
        if self.is_immutable(&path) {
            changes = changes.change(HeaderChange::set(CACHE_CONTROL, IMMUTABLE).when(Outcomes::FOUND));
            if !path.ends_with(".html") {
                // An application's page in the place of a file that is gone: a deploy must be seen.
                let page = HeaderChange::set(CACHE_CONTROL, "no-cache").when(Outcomes::FOUND);
                changes = changes.change(page.types(["text/html"]));
            }
            return Ok(changes.into());
        }
        for rule in self.rules.iter().rev().filter(|rule| rule.is_for(&path)) {
            let change = HeaderChange::set(CACHE_CONTROL, &rule.value).when(Outcomes::FOUND);
            changes = changes.change(change.types(&rule.types));
        }
        Ok(changes.into())
    }
}

impl CacheControl {
    fn is_immutable(&self, path: &str) -> bool {
        let name = path.rsplit('/').next().unwrap_or_default();
        (self.fingerprints && fingerprint::is_in(name)) || self.immutable.iter().any(|pattern| pattern.matches(path))
    }
}

impl Rule {
    fn is_for(&self, path: &str) -> bool {
        self.paths.is_empty() || self.paths.iter().any(|pattern| pattern.matches(path))
    }
}

/// `type/subtype` or `type/*`, as the contract takes it.
fn check_media_range(text: &str) -> Result<(), &'static str> {
    let token = |part: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
        !part.is_empty() && part.bytes().all(fits)
    };
    match text.split_once('/') {
        Some((kind, subtype)) if token(kind) && (subtype == "*" || token(subtype)) => Ok(()),
        _ => Err("is no media type: expected one such as \"text/html\", or \"image/*\""),
    }
}

#[cfg(test)]
mod tests;
