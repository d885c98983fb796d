//! Conditions at the end of a rule.
use std::cmp::Reverse;
use wasmserve_plugin::{LanguageRange, Request};

/// What has to hold beside the URL.
#[derive(Debug, PartialEq, Eq)]
pub enum Condition {
    /// The language that the visitor prefers is one of these.
    Language(Vec<String>),
    /// One of these cookies is there.
    Cookie(Vec<String>),
}

impl Condition {
    /// Reads `Name=a,b`.
    ///
    /// # Errors
    /// Why it cannot be decided here.
    pub fn parse(name: &str, values: &str) -> Result<Self, String> {
        let values: Vec<String> = values
            .split(',')
            .filter(|value| !value.is_empty())
            .map(str::to_owned)
            .collect();
        if values.is_empty() {
            return Err(format!("has the condition {name} without a value"));
        }
        match name.to_ascii_lowercase().as_str() {
            "language" => Ok(Self::Language(values)),
            "cookie" => Ok(Self::Cookie(values)),
            "country" => Err("has the condition Country, and where clients are is not known here".to_owned()),
            "role" => Err("has the condition Role: see the policy jwt, whose `require` guards prefixes".to_owned()),
            _ => Err(format!("has the condition {name}: known are Language and Cookie")),
        }
    }

    pub fn holds(&self, request: &Request) -> bool {
        match self {
            Self::Cookie(names) => names.iter().any(|name| request.cookie(name).is_some()),
            Self::Language(languages) => {
                let field = request.header("accept-language").unwrap_or_default();
                preferred(&field).is_some_and(|preferred| {
                    let primary = preferred.split('-').next().unwrap_or_default();
                    languages.iter().any(|language| {
                        language.eq_ignore_ascii_case(preferred) || language.eq_ignore_ascii_case(primary)
                    })
                })
            }
        }
    }
}

/// The language that is wanted most; the first among equals.
fn preferred(field: &str) -> Option<&str> {
    let wanted = LanguageRange::all(field).filter(|range| range.weight > 0).enumerate();
    let (_, most) = wanted.max_by_key(|(place, range)| (range.weight, Reverse(*place)))?;
    Some(most.tag)
}
