//! What a case expects beside what was decided. Only what is named is compared.

use super::run::Decided;
use http::{HeaderMap, HeaderName};
use serde::Serialize;
use std::fmt::{self, Display, Formatter, Write};

/// What is expected of one decision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    pub conclusion: Option<Conclusion>,
    /// Of the answer, after header changes and what caches are told.
    pub headers: Vec<(HeaderName, Field)>,
    pub body: Option<String>,
    pub targets: Option<Vec<String>>,
    /// A root, and a directory beneath it.
    pub place: Option<Result<(String, String), Absent>>,
    /// A status, and the pages that are looked for or where a redirect leads, as `explain` says it.
    pub missing: Option<Result<String, Absent>>,
    pub facts: Vec<(String, Result<String, Absent>)>,
    pub sharing: Option<&'static str>,
    /// Bytes a second.
    pub pace: Option<Result<usize, Absent>>,
    /// Every question in the order asked: as `explain` names them, or shorter, as in `header accept`.
    pub asked: Option<Vec<String>>,
    pub kept: Option<bool>,
}

/// What a policy comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// A status.
    Respond(usize),
    Proceed,
    Fault,
    /// The configuration is refused, with these words in the reason.
    Refused(String),
}

/// What is expected of a header field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Absent,
    Present,
    /// All of its values, joined as RFC 9110, section 5.3 permits.
    Joined(String),
    /// Each of its values.
    Each(Vec<String>),
}

/// There has to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absent;

/// One thing that was named, as it was expected and as it was decided: equal texts are equal decisions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The key of `[case.expect]`.
    pub key: &'static str,
    pub expected: String,
    pub decided: String,
}

/// Stands for what is not there. Values have no brackets around them that are not their own, so a value that looks the
/// same differs by its other line alone; no policy has a reason to send it.
const NOTHING: &str = "(none)";
const ANYTHING: &str = "(there)";

/// Questions that take one argument, which is a name, a block or a moment.
const WITH_ARGUMENT: [&str; 8] = [
    "query-parameter",
    "query-parameter-values",
    "header",
    "header-values",
    "cookie",
    "client-within",
    "fact",
    "before",
];

// === impl Expect ===

impl Expect {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Everything that was decided otherwise than expected, in the order in which it is written.
    pub fn differences(&self, decided: &Decided) -> Vec<Difference> {
        let all = [
            Some(self.conclusion(decided)),
            self.headers(&decided.headers),
            self.body(decided),
            compare("targets", self.targets.as_ref(), decided.targets.as_ref(), |targets| {
                lines(targets)
            }),
            compare_or_absent(
                "place",
                self.place.as_ref(),
                decided.place.as_ref(),
                |(root, directory)| format!("root {root}, directory {directory}"),
            ),
            compare_or_absent(
                "missing",
                self.missing.as_ref(),
                decided.missing.as_ref(),
                String::clone,
            ),
            self.facts(&decided.facts),
            compare(
                "sharing",
                self.sharing.as_ref(),
                decided.sharing.as_deref().as_ref(),
                |word| (*word).to_owned(),
            ),
            compare_or_absent("pace", self.pace.as_ref(), decided.pace.as_ref(), usize::to_string),
            self.asked(&decided.asked),
            self.kept(decided),
        ];
        let all = all.into_iter().flatten();
        all.filter(|difference| difference.expected != difference.decided)
            .collect()
    }

    /// A fault fails every case that does not expect it.
    fn conclusion(&self, decided: &Decided) -> Difference {
        let told = decided.conclusion.to_string();
        let expected = match &self.conclusion {
            Some(expected) => expected.to_string(),
            None if decided.conclusion == Conclusion::Fault => "a decision".to_owned(),
            None => told.clone(),
        };
        difference("decision", expected, told)
    }

    fn headers(&self, decided: &HeaderMap) -> Option<Difference> {
        let (mut wanted, mut found) = (String::new(), String::new());
        for (name, field) in &self.headers {
            let values = decided.get_all(name).iter();
            let values: Vec<_> = values.map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
            let there = if values.is_empty() { NOTHING } else { ANYTHING };
            match field {
                Field::Present => both(&mut wanted, &mut found, name, ANYTHING, there),
                Field::Joined(text) if !values.is_empty() => {
                    both(&mut wanted, &mut found, name, text, &values.join(", "))
                }
                Field::Joined(text) => both(&mut wanted, &mut found, name, text, NOTHING),
                Field::Absent if values.is_empty() => both(&mut wanted, &mut found, name, NOTHING, NOTHING),
                Field::Absent => both(&mut wanted, &mut found, name, NOTHING, &values.join(", ")),
                Field::Each(texts) => {
                    pairs(&mut wanted, name, texts);
                    pairs(&mut found, name, &values);
                }
            }
        }
        (!self.headers.is_empty()).then(|| difference("headers", wanted, found))
    }

    fn body(&self, decided: &Decided) -> Option<Difference> {
        let expected = self.body.clone()?;
        let body = decided
            .body
            .as_ref()
            .map(|body| String::from_utf8_lossy(body).into_owned());
        Some(difference("body", expected, body.unwrap_or_else(|| NOTHING.to_owned())))
    }

    fn facts(&self, decided: &[(String, String)]) -> Option<Difference> {
        let (mut wanted, mut found) = (String::new(), String::new());
        for (name, value) in &self.facts {
            let established = decided.iter().find(|(other, _)| other == name);
            let established = established.map_or(NOTHING, |(_, value)| value);
            both(
                &mut wanted,
                &mut found,
                name,
                value.as_deref().unwrap_or(NOTHING),
                established,
            );
        }
        (!self.facts.is_empty()).then(|| difference("facts", wanted, found))
    }

    fn asked(&self, decided: &[String]) -> Option<Difference> {
        let all = |questions: &[String]| lines(&questions.iter().map(|question| short(question)).collect::<Vec<_>>());
        let expected = self.asked.as_ref()?;
        Some(difference("asked", all(expected), all(decided)))
    }

    fn kept(&self, decided: &Decided) -> Option<Difference> {
        let expected = self.kept?;
        let told = if decided.kept == expected {
            expected.to_string()
        } else {
            match &decided.not_kept {
                Some(reason) => format!("{}: {reason}", decided.kept),
                None => decided.kept.to_string(),
            }
        };
        Some(difference("kept", expected.to_string(), told))
    }
}

fn compare<T: ?Sized>(
    key: &'static str,
    expected: Option<&T>,
    decided: Option<&T>,
    told: impl Fn(&T) -> String,
) -> Option<Difference> {
    let decided = decided.map_or_else(|| NOTHING.to_owned(), &told);
    Some(difference(key, told(expected?), decided))
}

fn compare_or_absent<T>(
    key: &'static str,
    expected: Option<&Result<T, Absent>>,
    decided: Option<&T>,
    told: impl Fn(&T) -> String,
) -> Option<Difference> {
    let nothing = || NOTHING.to_owned();
    let expected = expected?.as_ref().map_or_else(|Absent| nothing(), &told);
    Some(difference(key, expected, decided.map_or_else(nothing, &told)))
}

fn difference(key: &'static str, expected: String, decided: String) -> Difference {
    Difference { key, expected, decided }
}

fn both(wanted: &mut String, found: &mut String, name: impl Display, expected: &str, decided: &str) {
    pairs(wanted, &name, &[expected]);
    pairs(found, &name, &[decided]);
}

/// One line for each value.
fn pairs(text: &mut String, name: impl Display, values: &[impl Display]) {
    let separator = |text: &str| if text.is_empty() { "" } else { "\n" };
    for value in values {
        let before = separator(text);
        // Writing to a text cannot fail.
        let _ = write!(text, "{before}{name}: {value}");
    }
    if values.is_empty() {
        let before = separator(text);
        let _ = write!(text, "{before}{name}: {NOTHING}");
    }
}

fn lines(texts: &[String]) -> String {
    if texts.is_empty() {
        return NOTHING.to_owned();
    }
    texts.join("\n")
}

/// A question in words: `header("accept")` is `header accept`, `path()` is `path`. What services are asked stays as it is,
/// and so does a name that needs its quotes.
pub fn short(question: &str) -> String {
    if let Some(name) = question.strip_suffix("()") {
        return name.to_owned();
    }
    let called = question.strip_suffix(')').and_then(|call| call.split_once('('));
    let Some((name, argument)) = called.filter(|(name, _)| WITH_ARGUMENT.contains(name)) else {
        return question.to_owned();
    };
    let bare = argument.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    match bare.unwrap_or(argument) {
        text if text.contains(['"', '\\']) => question.to_owned(),
        text => format!("{name} {text}"),
    }
}

// === impl Conclusion ===

impl Display for Conclusion {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Respond(status) => write!(f, "respond {status}"),
            Self::Proceed => f.write_str("proceed"),
            Self::Fault => f.write_str("fault"),
            Self::Refused(words) => write!(f, "the configuration is refused: {words}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_have_a_short_form() {
        for (question, expected) in [
            ("path()", "path"),
            ("header(\"accept\")", "header accept"),
            ("client-within(\"10.0.0.0/8\")", "client-within 10.0.0.0/8"),
            ("before(17)", "before 17"),
            ("cookie(\"a\\\"b\")", "cookie(\"a\\\"b\")"),
            ("take(\"a\", 5, 1)", "take(\"a\", 5, 1)"),
            ("header accept", "header accept"),
            ("path", "path"),
        ] {
            assert_eq!(short(question), expected);
        }
    }

    fn decided() -> Decided {
        let mut decided = Decided::new(Conclusion::Respond(401));
        decided.headers = HeaderMap::from_iter([
            (http::header::VARY, "accept".parse().expect("a value")),
            (http::header::CACHE_CONTROL, "private".parse().expect("a value")),
        ]);
        decided
            .headers
            .append(http::header::VARY, "origin".parse().expect("a value"));
        decided.body = Some(b"no".as_slice().into());
        decided.facts = vec![("user".into(), "alice".into())];
        decided.sharing = Some("derived".into());
        decided.asked = vec!["path()".into(), "header(\"accept\")".into()];
        decided.kept = true;
        decided
    }

    #[test]
    fn what_is_as_expected_is_no_difference() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let field = |name: &'static str, field| (HeaderName::from_static(name), field);
        let expect = Expect {
            conclusion: Some(Conclusion::Respond(401)),
            headers: vec![
                field("vary", Field::Joined("accept, origin".into())),
                field("vary", Field::Each(texts(&["accept", "origin"]))),
                field("cache-control", Field::Present),
                field("location", Field::Absent),
            ],
            body: Some("no".into()),
            facts: vec![("user".into(), Ok("alice".into())), ("group".into(), Err(Absent))],
            place: Some(Err(Absent)),
            missing: Some(Err(Absent)),
            pace: Some(Err(Absent)),
            sharing: Some("derived"),
            asked: Some(texts(&["path", "header accept"])),
            kept: Some(true),
            targets: None,
        };
        assert_eq!(expect.differences(&decided()), []);
        assert_eq!(Expect::default().differences(&decided()), []);
    }

    #[test]
    fn each_thing_that_differs_is_a_difference() {
        let field = |name: &'static str, field| (HeaderName::from_static(name), field);
        for (expect, key, expected, told) in [
            (
                Expect {
                    conclusion: Some(Conclusion::Proceed),
                    ..Expect::default()
                },
                "decision",
                "proceed",
                "respond 401",
            ),
            (
                Expect {
                    headers: vec![field("vary", Field::Absent)],
                    ..Expect::default()
                },
                "headers",
                "vary: (none)",
                "vary: accept, origin",
            ),
            (
                Expect {
                    headers: vec![field("age", Field::Present)],
                    ..Expect::default()
                },
                "headers",
                "age: (there)",
                "age: (none)",
            ),
            (
                Expect {
                    headers: vec![field("vary", Field::Each(vec!["accept".into()]))],
                    ..Expect::default()
                },
                "headers",
                "vary: accept",
                "vary: accept\nvary: origin",
            ),
            (
                Expect {
                    headers: vec![field("age", Field::Joined("1".into()))],
                    ..Expect::default()
                },
                "headers",
                "age: 1",
                "age: (none)",
            ),
            (
                Expect {
                    body: Some("yes".into()),
                    ..Expect::default()
                },
                "body",
                "yes",
                "no",
            ),
            (
                Expect {
                    facts: vec![("user".into(), Err(Absent))],
                    ..Expect::default()
                },
                "facts",
                "user: (none)",
                "user: alice",
            ),
            (
                Expect {
                    targets: Some(vec!["/a".into()]),
                    ..Expect::default()
                },
                "targets",
                "/a",
                "(none)",
            ),
            (
                Expect {
                    place: Some(Ok(("default".into(), "/a".into()))),
                    ..Expect::default()
                },
                "place",
                "root default, directory /a",
                "(none)",
            ),
            (
                Expect {
                    sharing: Some("allowed"),
                    ..Expect::default()
                },
                "sharing",
                "allowed",
                "derived",
            ),
            (
                Expect {
                    pace: Some(Ok(1)),
                    ..Expect::default()
                },
                "pace",
                "1",
                "(none)",
            ),
            (
                Expect {
                    asked: Some(Vec::new()),
                    ..Expect::default()
                },
                "asked",
                "(none)",
                "path\nheader accept",
            ),
            (
                Expect {
                    kept: Some(false),
                    ..Expect::default()
                },
                "kept",
                "false",
                "true",
            ),
        ] {
            let found = expect.differences(&decided());
            let [difference] = &*found else {
                panic!("{expect:?}: {found:?}")
            };
            assert_eq!(
                (difference.key, &*difference.expected, &*difference.decided),
                (key, expected, told)
            );
        }
    }

    #[test]
    fn a_fault_is_never_expected_by_leaving_it_out() {
        let expect = Expect {
            kept: Some(false),
            ..Expect::default()
        };
        let found = expect.differences(&Decided::new(Conclusion::Fault));
        assert_eq!(found.len(), 1, "{found:?}");
        let expect = Expect {
            conclusion: Some(Conclusion::Fault),
            ..Expect::default()
        };
        assert_eq!(expect.differences(&Decided::new(Conclusion::Fault)), []);
    }
}
