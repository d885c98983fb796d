//! The lines of a recording, as written and as read again.

use super::{Observed, redact::Redactor, rules::Rules};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde::{Deserialize, Serialize};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use wasmserve_files::SitePath;
use wasmserve_policy::{
    Exchange, Request, Step, Summary, Withheld,
    explain::{Decided, Keeping},
};

/// Of the lines. One that is not known is not read.
const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub enum Line {
    /// Holds for what follows, up to the next of its kind.
    Begin(Begin),
    Decision(Box<Decision>),
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Begin {
    pub version: u32,
    /// The operator's rules of redaction.
    pub rules: Vec<String>,
    /// One request of so many was recorded.
    pub one_in: u64,
}

/// A request and what was decided about it. Values that begin with `~` where [`Decision::withheld`] names them are not
/// the request's own.
#[derive(Debug, Serialize, Deserialize)]
pub struct Decision {
    /// When the request arrived, in milliseconds since 1970.
    pub at: u64,
    pub site: String,
    pub client: Option<String>,
    pub method: String,
    /// Canonical.
    pub path: String,
    pub query: Option<String>,
    pub scheme: String,
    pub host: String,
    pub headers: Vec<Field>,
    /// What the server knew.
    pub facts: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Hidden::is_empty")]
    pub withheld: Hidden,
    pub policies: Vec<Note>,
    pub verdict: Summary,
}

/// A header field.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Field {
    Text(String, String),
    /// A value that is not UTF-8: its bytes.
    Bytes(String, Vec<u8>),
}

/// Names of what is withheld.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hidden {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    headers: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cookies: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    parameters: Vec<String>,
    nameless: bool,
    client: bool,
}

/// What one policy did.
#[derive(Debug, Serialize, Deserialize)]
pub struct Note {
    pub policy: String,
    /// Whether a kept decision was used; nothing was asked then.
    pub kept: bool,
    pub asked: Vec<Exchange>,
    pub decision: String,
}

/// Why a line cannot be decided again.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    #[error("is not a line of a recording: {0}")]
    Syntax(#[from] serde_json::Error),
    #[error("is of version {0}, and this command reads version {VERSION}")]
    Version(u32),
    #[error("has a {0} that cannot be one")]
    Value(&'static str),
}

// === impl Line ===

impl Line {
    /// The line that a file begins with, and its end.
    pub fn begin(rules: &Rules, one_in: u64) -> Vec<u8> {
        let begin = Self::Begin(Begin {
            version: VERSION,
            rules: rules.texts(),
            one_in,
        });
        let mut line = serde_json::to_vec(&begin).expect("strings and numbers are JSON");
        line.push(b'\n');
        line
    }

    /// # Errors
    /// When it is not one.
    pub fn read(text: &[u8]) -> Result<Self, EntryError> {
        let line = serde_json::from_slice(text)?;
        match line {
            Self::Begin(Begin { version, .. }) if version != VERSION => Err(EntryError::Version(version)),
            line => Ok(line),
        }
    }
}

// === impl Decision ===

impl Decision {
    /// What may be written of a decision.
    pub fn of(observed: &Observed, redactor: &Redactor) -> Self {
        let Observed {
            request,
            withheld,
            steps,
            summary,
        } = observed;
        let at = request.arrived.duration_since(UNIX_EPOCH).unwrap_or_default();
        let headers = request.headers.iter();
        Self {
            at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX),
            site: request.site.to_string(),
            client: request.client.map(|client| redactor.client(&client.to_string())),
            method: request.method.to_string(),
            path: request.path.to_string(),
            query: request.query.as_deref().map(|query| redactor.query(query)),
            scheme: request.scheme.to_owned(),
            host: request.host.to_string(),
            headers: headers
                .map(|(name, value)| Field::new(name, &redactor.field(name, value)))
                .collect(),
            facts: request.facts.clone(),
            withheld: Hidden::of(withheld),
            policies: steps.iter().map(Note::of).collect(),
            verdict: redactor.summary(summary.clone()),
        }
    }

    /// The request as far as it is known, and what is not.
    ///
    /// # Errors
    /// When it cannot have been a request.
    pub fn request(&self) -> Result<(Request, Withheld), EntryError> {
        let bad = EntryError::Value;
        let withheld = self.withheld.read()?;
        let client = match &self.client {
            Some(client) if !withheld.client => Some(client.parse::<IpAddr>().map_err(|_| bad("client"))?),
            _ => None,
        };
        let mut headers = HeaderMap::new();
        for field in &self.headers {
            let (name, value) = field.read().ok_or(bad("header field"))?;
            headers.append(name, value);
        }
        let request = Request {
            method: Method::from_bytes(self.method.as_bytes()).map_err(|_| bad("method"))?,
            path: SitePath::from_decoded(&self.path).map_err(|_| bad("path"))?,
            query: self.query.clone(),
            headers,
            scheme: match &*self.scheme {
                "http" => "http",
                "https" => "https",
                _ => return Err(bad("scheme")),
            },
            host: self.host.as_str().into(),
            site: Arc::from(&*self.site),
            client,
            arrived: self.arrived().ok_or(bad("time"))?,
            facts: self.facts.clone(),
        };
        Ok((request, withheld))
    }

    /// `None`: beyond what the system's clock knows.
    pub fn arrived(&self) -> Option<SystemTime> {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.at))
    }
}

// === impl Field, Hidden, Note ===

impl Field {
    fn new(name: &HeaderName, value: &[u8]) -> Self {
        let name = name.to_string();
        match str::from_utf8(value) {
            Ok(text) => Self::Text(name, text.to_owned()),
            Err(_) => Self::Bytes(name, value.to_vec()),
        }
    }

    fn read(&self) -> Option<(HeaderName, HeaderValue)> {
        let (name, value) = match self {
            Self::Text(name, text) => (name, text.as_bytes()),
            Self::Bytes(name, bytes) => (name, &**bytes),
        };
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        Some((name, HeaderValue::from_bytes(value).ok()?))
    }
}

impl Hidden {
    fn of(withheld: &Withheld) -> Self {
        let mut headers: Vec<String> = withheld.headers.iter().map(ToString::to_string).collect();
        headers.sort();
        Self {
            headers,
            cookies: withheld.cookies.iter().cloned().collect(),
            parameters: withheld.parameters.iter().cloned().collect(),
            nameless: withheld.nameless,
            client: withheld.client,
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn read(&self) -> Result<Withheld, EntryError> {
        let headers = self.headers.iter().map(|name| name.parse());
        Ok(Withheld {
            headers: headers
                .collect::<Result<_, _>>()
                .map_err(|_| EntryError::Value("withheld header field"))?,
            cookies: self.cookies.iter().cloned().collect(),
            parameters: self.parameters.iter().cloned().collect(),
            nameless: self.nameless,
            client: self.client,
        })
    }
}

impl Note {
    fn of(step: &Step) -> Self {
        Self {
            policy: step.policy.clone(),
            kept: step.keeping == Keeping::Kept,
            asked: step.asked.iter().map(Exchange::without_key).collect(),
            decision: match &step.decision {
                Decided::Proceed(_) => "proceeds".into(),
                Decided::Respond { status, .. } => format!("responds {status}"),
                // The reason is the guest's own words, which may tell what is withheld; the log has it.
                Decided::Failed { status, .. } => format!("fails with {status}"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header;
    use wasmserve_policy::summary::Conclusion;

    #[test]
    fn what_is_written_is_read_again() {
        let mut headers = HeaderMap::new();
        headers.append(header::ACCEPT, HeaderValue::from_static("text/html"));
        headers.append(header::ACCEPT, HeaderValue::from_bytes(b"\xff").expect("a value"));
        headers.append(header::COOKIE, HeaderValue::from_static("session=s3cret"));
        let request = Request {
            method: Method::from_bytes(b"PURGE").expect("a method"),
            path: SitePath::from_decoded("/a b/é").expect("a path"),
            query: Some("a=s3cret".into()),
            headers,
            scheme: "https",
            host: "example.org".into(),
            site: "one".into(),
            client: Some(IpAddr::from([192, 0, 2, 1])),
            arrived: UNIX_EPOCH + Duration::from_millis(1_000_000_000_123),
            facts: vec![("tls.subject".into(), "ada".into())],
        };
        let redactor = Redactor::new(Rules::default());
        let withheld = redactor.withheld(&request);
        let observed = Observed {
            request: Arc::new(request.clone()),
            withheld: Arc::new(withheld.clone()),
            steps: Vec::new(),
            summary: Summary {
                conclusion: Conclusion::Fault { status: 500 },
                changes: Vec::new(),
                facts: Vec::new(),
                pace: Some(1),
            },
        };
        let line = Line::Decision(Box::new(Decision::of(&observed, &redactor)));
        let text = serde_json::to_string(&line).expect("plain data");
        assert!(!text.contains("s3cret") && !text.contains('\n'), "{text}");
        let Ok(Line::Decision(decision)) = Line::read(text.as_bytes()) else {
            panic!("not read: {text}")
        };
        assert_eq!(decision.verdict, observed.summary);
        let (read, known) = decision.request().expect("a request");
        assert_eq!(known, withheld);
        assert_eq!(
            (
                read.method,
                read.path,
                read.scheme,
                read.host,
                read.client,
                read.arrived,
                read.facts
            ),
            (
                request.method,
                request.path,
                request.scheme,
                request.host,
                request.client,
                request.arrived,
                request.facts
            )
        );
        let accepted = |headers: &HeaderMap| headers.get_all(header::ACCEPT).iter().cloned().collect::<Vec<_>>();
        assert_eq!(accepted(&read.headers), accepted(&request.headers));
    }

    #[test]
    fn other_versions_are_refused() {
        let begin = String::from_utf8(Line::begin(&Rules::default(), 1)).expect("JSON is text");
        assert!(Line::read(begin.as_bytes()).is_ok());
        let later = begin.replace("\"version\":1", "\"version\":2");
        assert!(matches!(Line::read(later.as_bytes()), Err(EntryError::Version(2))));
        assert!(matches!(Line::read(b"{}"), Err(EntryError::Syntax(_))));
    }
}
