//! The debug header: a request that carries the operator's secret explains itself.
//!
//! In the order of events: the header is taken off before anything else sees it, whether or not it means anything; the
//! request is decided by running every policy; the whole account goes to the log, with an id; the answer carries the id,
//! the account as far as it fits into a header field, and the policies' times, and is never stored by a cache.

use super::key::Key;
use crate::{
    explain::{Account, account::Ruling, secrets},
    request::{Arrival, Reply},
    sites::Sites,
};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde::Serialize;
use std::{
    fmt::Write,
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, Read},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use wasmserve_policy::{
    Step,
    explain::{Decided, Keeping},
};

/// Carries the secret.
pub const DEBUG: HeaderName = HeaderName::from_static("wasmserve-debug");
/// The id under which the log has the whole account.
const TRACE: HeaderName = HeaderName::from_static("wasmserve-trace");
/// The account as JSON.
const EXPLAIN: HeaderName = HeaderName::from_static("wasmserve-explain");
/// What browsers show beside the times that they measure (W3C Server Timing).
const TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Bytes of the account in a header field. Clients and proxies take 8 KiB of head at least.
const MAX_FIELD: usize = 4 * 1024;
/// Bytes of the account in the log.
const MAX_LOGGED: usize = 64 * 1024;
const MAX_TIMING: usize = 1024;

/// Bytes of a secret: what cannot be guessed, and what fits into a header field.
const MIN_SECRET: usize = 16;
const MAX_SECRET: usize = 1024;

/// The operator's secret. The secret itself is not kept.
#[derive(Debug)]
pub struct Secret {
    key: Key,
    digest: [u8; 32],
}

/// Why a file holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("cannot read {what} {}", .path.display())]
    Io {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{what} {} {problem}", .path.display())]
    Unfit {
        what: &'static str,
        path: PathBuf,
        problem: String,
    },
}

// === impl Secret ===

impl Secret {
    /// Reads a file that holds the secret and perhaps a line's end. `what` it is, for errors: `the debug secret`.
    ///
    /// # Errors
    /// When it cannot be read, when others may read it, or when it is not a secret that a header field can carry.
    pub fn read(what: &'static str, path: &Path) -> Result<Self, SecretError> {
        let (text, mode) = read(path).map_err(|source| SecretError::Io {
            what,
            path: path.to_owned(),
            source,
        })?;
        let unfit = |problem: String| SecretError::Unfit {
            what,
            path: path.to_owned(),
            problem,
        };
        if mode & 0o007 != 0 {
            return Err(unfit("can be read by everyone: chmod o= it".into()));
        }
        Self::new(text.trim_end_matches(['\r', '\n'])).map_err(unfit)
    }

    pub(crate) fn new(secret: &str) -> Result<Self, String> {
        if !(MIN_SECRET..=MAX_SECRET).contains(&secret.len()) {
            let length = secret.len();
            return Err(format!(
                "has {length} bytes; it must have {MIN_SECRET} to {MAX_SECRET}: openssl rand -hex 16"
            ));
        }
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("must be one line of visible ASCII characters without spaces".into());
        }
        let key = Key::random();
        let digest = key.digest(secret.as_bytes());
        Ok(Self { key, digest })
    }

    /// Digests are compared. How long that takes tells about the digests alone, which nobody can aim at without the key.
    pub(crate) fn is(&self, given: &[u8]) -> bool {
        given.len() <= MAX_SECRET && self.key.digest(given) == self.digest
    }
}

fn read(path: &Path) -> io::Result<(String, u32)> {
    let mut file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut text = String::new();
    // One more than can be right, so that too much is seen.
    file.by_ref().take(MAX_SECRET as u64 + 3).read_to_string(&mut text)?;
    Ok((text, mode))
}

/// Takes the header off, so that no policy, kept decision or recording has it. Whether it was the secret: once, alone.
pub fn asked(secret: Option<&Secret>, headers: &mut HeaderMap) -> bool {
    let asked = secret.is_some_and(|secret| {
        let mut given = headers.get_all(DEBUG).iter();
        matches!((given.next(), given.next()), (Some(value), None) if secret.is(value.as_bytes()))
    });
    // Nobody sends it, and looking at a few names costs less than hashing one.
    if headers.keys().any(|name| *name == DEBUG) {
        headers.remove(DEBUG);
    }
    asked
}

/// Answers a request that is to explain itself. No kept decision is used, and none is kept.
pub async fn traced(sites: &Sites, arrival: Arrival) -> Reply {
    let (mut account, mut reply) = Account::of(sites, arrival).await;
    // The log and proxies on the way see what follows.
    secrets::hide(&mut account);
    secrets::hide_queries(&mut account);
    let trace = format!("{:016x}", RandomState::new().hash_one(0_u8));
    tracing::info!(
        target: "explain",
        trace,
        site = reply.request.as_ref().map(|request| &*request.site),
        account = within(MAX_LOGGED, &account, &trace),
        "a request explains itself"
    );
    let headers = &mut reply.answer.headers;
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let timing = timing(&account.policies);
    let fields = [
        (EXPLAIN, within(MAX_FIELD, &account, &trace)),
        (TRACE, trace),
        (TIMING, timing),
    ];
    for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
        // All of them are visible ASCII.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
    reply
}

/// An account in few words.
#[derive(Debug, Serialize)]
struct Short<'a> {
    trace: &'a str,
    policies: Vec<ShortStep<'a>>,
    #[serde(flatten)]
    verdict: &'a Ruling,
    /// What is left out to fit; the log has more.
    #[serde(skip_serializing_if = "Option::is_none")]
    without: Option<&'static str>,
}

#[derive(Debug, Serialize)]
struct ShortStep<'a> {
    policy: &'a str,
    decision: String,
    /// `question = answer`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    asked: Vec<String>,
    kept: bool,
    microseconds: u64,
}

/// As much of an account as fits: the whole, without questions, or without policies.
fn within(bytes: usize, account: &Account, trace: &str) -> String {
    let whole = || account.policies.iter().map(ShortStep::of).collect();
    let unasked = || {
        let steps = account.policies.iter().map(ShortStep::of);
        steps
            .map(|step| ShortStep {
                asked: Vec::new(),
                ..step
            })
            .collect()
    };
    let short = |policies, without| {
        let verdict = &account.verdict;
        json(&Short {
            trace,
            policies,
            verdict,
            without,
        })
    };
    let attempts: [&dyn Fn() -> String; 3] = [
        &|| short(whole(), None),
        &|| short(unasked(), Some("questions")),
        &|| short(Vec::new(), Some("policies")),
    ];
    let fitting = attempts
        .iter()
        .map(|attempt| attempt())
        .find(|text| text.len() <= bytes);
    fitting.unwrap_or_else(|| format!(r#"{{"trace":"{trace}","without":"everything"}}"#))
}

impl<'a> ShortStep<'a> {
    fn of(step: &'a Step) -> Self {
        Self {
            policy: &step.policy,
            decision: match &step.decision {
                Decided::Proceed(_) => "proceeds".into(),
                Decided::Respond { status, .. } => format!("responds {status}"),
                Decided::Failed { status, reason, .. } => format!("fails with {status}: {reason}"),
            },
            asked: step
                .asked
                .iter()
                .map(|exchange| format!("{} = {}", exchange.question, exchange.answer))
                .collect(),
            kept: step.keeping == Keeping::Kept,
            microseconds: step.microseconds,
        }
    }
}

/// JSON in visible ASCII, which every header field may hold (RFC 9110, section 5.5).
fn json(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        // Other characters are within strings, and there an escape means the same (RFC 8259, section 7).
        match c {
            ' '..='~' => plain.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(plain, "\\u{unit:04x}").expect("a string grows");
                }
            }
        }
    }
    plain
}

/// A metric for each policy: its name as far as it is a token, and milliseconds.
fn timing(steps: &[Step]) -> String {
    let mut timing = String::new();
    for step in steps {
        let name: String = step
            .policy
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let milliseconds = step.microseconds / 1000;
        let rest = step.microseconds % 1000;
        let metric = format!("{name};dur={milliseconds}.{rest:03}");
        if timing.len() + metric.len() + 2 > MAX_TIMING {
            break;
        }
        if !timing.is_empty() {
            timing.push_str(", ");
        }
        timing.push_str(&metric);
    }
    timing
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    #[test]
    fn secrets_are_long_enough_and_fit_into_a_field() {
        let long = "x".repeat(MAX_SECRET + 1);
        for (text, fits) in [
            (SECRET, true),
            (&long[1..], true),
            (&SECRET[1..], false),
            ("", false),
            (&*long, false),
            ("0123456789 abcdef", false),
            ("0123456789\nabcdef", false),
            ("0123456789äbcdef", false),
        ] {
            assert_eq!(Secret::new(text).is_ok(), fits, "{text:?}");
        }
    }

    #[test]
    fn only_the_secret_itself_asks_and_nobody_sees_the_header() {
        let secret = Secret::new(SECRET).expect("long enough");
        for (values, expected) in [
            (&[SECRET][..], true),
            (&[], false),
            (&["0123456789abcdeF"], false),
            (&["0123456789abcde"], false),
            (&["0123456789abcdef0"], false),
            (&[""], false),
            (&[SECRET, SECRET], false),
        ] {
            let fields = values.iter().map(|value| (DEBUG, HeaderValue::from_static(value)));
            let given = || {
                let mut headers = HeaderMap::new();
                fields.clone().for_each(|(name, value)| {
                    headers.append(name, value);
                });
                headers
            };
            let mut headers = given();
            assert_eq!(asked(Some(&secret), &mut headers), expected, "{values:?}");
            assert!(headers.is_empty());
            let mut headers = given();
            assert!(!asked(None, &mut headers));
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn accounts_shrink_to_what_fits() {
        let step = |answer: &str| Step {
            policy: "ä\u{7f}".into(),
            asked: vec![wasmserve_policy::Exchange {
                question: "path()".into(),
                answer: answer.into(),
            }],
            decision: Decided::Proceed(Vec::new()),
            said: Vec::new(),
            keeping: Keeping::Kept,
            microseconds: 1234,
        };
        let account = |steps: Vec<Step>| Account {
            policies: steps,
            ..Account::empty()
        };
        for (steps, contains) in [
            (vec![step("\"/x\"")], r#""asked":["path() = \"/x\""]"#),
            (vec![step(&"x".repeat(1000))], r#""without":"questions""#),
            (vec![step(""); 20], r#""without":"policies""#),
        ] {
            let text = within(800, &account(steps), "1");
            assert!(text.len() <= 800 && text.contains(contains), "{text}");
            assert!(HeaderValue::from_str(&text).is_ok());
            let parsed: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            if let Some(name) = parsed["policies"][0]["policy"].as_str() {
                assert_eq!(name, "ä\u{7f}");
            }
        }
        assert_eq!(timing(&[step(""), step("")]), "__;dur=1.234, __;dur=1.234");
        assert!(timing(&vec![step(""); 1000]).len() <= MAX_TIMING);
    }
}
