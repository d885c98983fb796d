//! Rules of redaction: what is told of a value. The operator's come first; without them, credentials, the values of
//! cookies and of queries are not told.

use http::{HeaderName, header};
use std::{fmt, str::FromStr};

/// What becomes of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Treatment {
    Keep,
    /// A digest stands for it.
    Hash,
    /// Nothing stands for it.
    Drop,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A header field, of requests and of answers.
    Header,
    Cookie,
    /// A parameter of the query.
    Query,
    /// The client's address.
    Client,
}

/// Such as `header:x-team=keep`, `cookie:*=drop` or `client=hash`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    part: Part,
    /// `None`: each one that no other rule names. Names of header fields are in lower case.
    name: Option<String>,
    treatment: Treatment,
}

/// The operator's rules over those that hold without any.
#[derive(Clone, Debug, Default)]
pub struct Rules(Vec<Rule>);

const PARTS: [(&str, Part); 4] = [
    ("header", Part::Header),
    ("cookie", Part::Cookie),
    ("query", Part::Query),
    ("client", Part::Client),
];

const TREATMENTS: [(&str, Treatment); 3] = [
    ("keep", Treatment::Keep),
    ("hash", Treatment::Hash),
    ("drop", Treatment::Drop),
];

/// Fields that only a rule of their own keeps.
const CREDENTIALS: [HeaderName; 2] = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION];

/// A field whose name has one of these in it carries a secret, as far as anybody can tell from outside.
const SECRET_WORDS: [&str; 9] = [
    "auth",
    "token",
    "secret",
    "key",
    "session",
    "password",
    "signature",
    "credential",
    "jwt",
];

/// Whether a header field is taken for a secret when nobody says what it is.
pub fn is_secret_field(name: &str) -> bool {
    // The page before this one comes with its query.
    name == header::REFERER.as_str() || SECRET_WORDS.iter().any(|word| name.contains(word))
}

// === impl Rules ===

impl Rules {
    /// The last rule for a name wins.
    pub fn new(rules: Vec<Rule>) -> Self {
        Self(rules)
    }

    /// The last rule for a name, else the last for every name, else what holds without rules.
    pub fn of(&self, part: Part, name: &str) -> Treatment {
        let about = || self.0.iter().rev().filter(|rule| rule.part == part);
        let named = about().find(|rule| rule.name.as_deref() == Some(name));
        let every = || about().find(|rule| rule.name.is_none());
        let credentials = part == Part::Header && CREDENTIALS.iter().any(|field| field.as_str() == name);
        match named {
            Some(rule) => rule.treatment,
            None if credentials => Treatment::Hash,
            None => every().map_or_else(|| by_default(part, name), |rule| rule.treatment),
        }
    }

    pub fn of_header(&self, name: &HeaderName) -> Treatment {
        self.of(Part::Header, name.as_str())
    }

    /// As they are typed.
    pub fn texts(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

fn by_default(part: Part, name: &str) -> Treatment {
    match part {
        Part::Client => Treatment::Keep,
        Part::Cookie | Part::Query => Treatment::Hash,
        Part::Header if is_secret_field(name) => Treatment::Hash,
        Part::Header => Treatment::Keep,
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let example = "a rule is such as header:x-team=keep, cookie:theme=keep, query:*=drop or client=hash";
        let (what, treatment) = text.rsplit_once('=').ok_or(example)?;
        let (part, name) = what
            .split_once(':')
            .map_or((what, None), |(part, name)| (part, Some(name)));
        let find = |name: &str| PARTS.iter().find(|(word, _)| *word == name).map(|(_, part)| *part);
        let part = find(part).ok_or_else(|| format!("{part:?} is no part of a request: {example}"))?;
        let treated = TREATMENTS.iter().find(|(word, _)| *word == treatment);
        let treatment = treated
            .ok_or_else(|| format!("{treatment:?} is not keep, hash or drop: {example}"))?
            .1;
        let name = match (part, name) {
            (Part::Client, None) => None,
            (Part::Client, Some(_)) => return Err("a request has one client: client=hash".into()),
            (_, None | Some("")) => return Err(format!("there is no name: {example}")),
            (_, Some("*")) => None,
            (Part::Header, Some(name)) => {
                let name = HeaderName::from_str(name).map_err(|_| format!("{name:?} is not the name of a field"))?;
                Some(name.to_string())
            }
            (_, Some(name)) => Some(name.to_owned()),
        };
        Ok(Self { part, name, treatment })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |found: Option<&'static str>| found.unwrap_or_default();
        let part = word(PARTS.iter().find(|(_, part)| *part == self.part).map(|(word, _)| *word));
        let treatment = TREATMENTS.iter().find(|(_, treatment)| *treatment == self.treatment);
        let treatment = word(treatment.map(|(word, _)| *word));
        match (self.part, &self.name) {
            (Part::Client, _) => write!(f, "{part}={treatment}"),
            (_, None) => write!(f, "{part}:*={treatment}"),
            (_, Some(name)) => write!(f, "{part}:{name}={treatment}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_shown() {
        for text in [
            "header:x-team=keep",
            "header:*=drop",
            "cookie:a:b=c=hash",
            "query:*=drop",
            "client=hash",
        ] {
            let rule: Rule = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(rule.to_string(), text);
        }
        let upper: Rule = "header:X-Team=keep".parse().expect("a rule");
        assert_eq!(upper.to_string(), "header:x-team=keep");
        for text in [
            "",
            "x",
            "header=keep",
            "header:=keep",
            "header:a b=keep",
            "cookie:a=hide",
            "client:a=keep",
            "body=drop",
        ] {
            assert!(text.parse::<Rule>().is_err(), "{text}");
        }
    }
}
