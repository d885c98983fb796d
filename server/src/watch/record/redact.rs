//! What a recording does not tell, by [`Rules`]: a digest that only this process could make again stands for it.
//!
//! A digest says whether two values are the same, within one run of the server, and nothing else. What is redacted is
//! named beside it ([`Withheld`]), so that whoever decides the request again knows what he does not know.

use super::rules::{Part, Rules, Treatment};
use crate::watch::key::Key;
use http::{HeaderName, HeaderValue, header};
use std::borrow::Cow;
use wasmserve_policy::{
    Request, Summary, Withheld,
    summary::{Change, Conclusion},
    withheld::parameter_name,
};

/// Begins what stands for a value.
const MARK: char = '~';
/// Hexadecimal digits of a digest.
const DIGITS: usize = 16;

/// Applies rules.
#[derive(Debug)]
pub struct Redactor {
    rules: Rules,
    /// `None`: nothing but the mark stands for a value.
    key: Option<Key>,
}

// === impl Redactor ===

impl Redactor {
    /// With a key of its own.
    pub fn new(rules: Rules) -> Self {
        let key = Some(Key::random());
        Self { rules, key }
    }

    /// That marks what it redacts, and nothing else: for comparing.
    pub fn blank(rules: Rules) -> Self {
        Self { rules, key: None }
    }

    /// What is not told of a request.
    pub fn withheld(&self, request: &Request) -> Withheld {
        let mut withheld = Withheld {
            client: self.rules.of(Part::Client, "") != Treatment::Keep,
            ..Withheld::default()
        };
        let names = request.headers.keys();
        let hidden = names.filter(|name| self.rules.of_header(name) != Treatment::Keep);
        withheld.headers = hidden.cloned().collect();
        for value in request.headers.get_all(header::COOKIE) {
            let names = cookies(value).map(|(name, _)| name);
            let hidden = names.filter(|name| self.rules.of(Part::Cookie, name) != Treatment::Keep);
            withheld.cookies.extend(hidden.map(Cow::into_owned));
        }
        for piece in request
            .query
            .iter()
            .flat_map(|query| query.split('&'))
            .filter(|piece| !piece.is_empty())
        {
            match parameter_name(piece) {
                Some(name) if self.rules.of(Part::Query, &name) != Treatment::Keep => {
                    withheld.parameters.insert(name.into_owned());
                }
                None if self.rules.of(Part::Query, "") != Treatment::Keep => withheld.nameless = true,
                _ => {}
            }
        }
        withheld
    }

    /// The value of a request's field.
    pub fn field<'a>(&self, name: &HeaderName, value: &'a HeaderValue) -> Cow<'a, [u8]> {
        match self.rules.of_header(name) {
            Treatment::Keep if *name == header::COOKIE => Cow::Owned(self.cookie_field(value).into_bytes()),
            Treatment::Keep => Cow::Borrowed(value.as_bytes()),
            treatment => Cow::Owned(self.stand_in(treatment, value.as_bytes()).into_bytes()),
        }
    }

    pub fn query(&self, query: &str) -> String {
        let pieces = query.split('&').map(|piece| match parameter_name(piece) {
            _ if piece.is_empty() => String::new(),
            None => self.treated(Part::Query, "", piece),
            Some(name) => {
                let (raw, value) = piece.split_once('=').unwrap_or((piece, ""));
                format!("{raw}={}", self.treated(Part::Query, &name, value))
            }
        });
        pieces.collect::<Vec<_>>().join("&")
    }

    pub fn client(&self, client: &str) -> String {
        self.treated(Part::Client, "", client)
    }

    /// The values of an answer's fields, and of its changes.
    pub fn summary(&self, mut summary: Summary) -> Summary {
        match &mut summary.conclusion {
            Conclusion::Respond { headers, .. } => {
                for (name, value) in headers {
                    *value = self.answer_field(name, value);
                }
            }
            Conclusion::Serve {
                missing: Some((300..=399, location)),
                ..
            } => {
                for value in location {
                    *value = self.answer_field(header::LOCATION.as_str(), value);
                }
            }
            Conclusion::Serve { .. } | Conclusion::Fault { .. } => {}
        }
        for Change { name, value, .. } in &mut summary.changes {
            *value = self.answer_field(name, value);
        }
        summary
    }

    fn answer_field(&self, name: &str, value: &str) -> String {
        match self.rules.of(Part::Header, name) {
            _ if value.is_empty() => String::new(),
            Treatment::Keep if name == header::SET_COOKIE.as_str() => {
                // What comes after the first semicolon is no secret (RFC 6265, section 4.1.1).
                let (cookie, attributes) = value.split_at(value.find(';').unwrap_or(value.len()));
                let (name, value) = cookie.split_once('=').unwrap_or(("", cookie));
                format!("{name}={}{attributes}", self.treated(Part::Cookie, name.trim(), value))
            }
            Treatment::Keep if [header::LOCATION.as_str(), "content-location", "refresh", "link"].contains(&name) => {
                match value.split_once('?') {
                    Some((path, query)) => format!("{path}?{}", self.query(query)),
                    None => value.to_owned(),
                }
            }
            Treatment::Keep => value.to_owned(),
            treatment => self.stand_in(treatment, value.as_bytes()),
        }
    }

    fn cookie_field(&self, value: &HeaderValue) -> String {
        let pieces = cookies(value).map(|(name, value)| {
            let value = self.treated(Part::Cookie, &name, &value);
            match &*name {
                "" => value,
                name => format!("{name}={value}"),
            }
        });
        pieces.collect::<Vec<_>>().join("; ")
    }

    fn treated(&self, part: Part, name: &str, value: &str) -> String {
        match self.rules.of(part, name) {
            Treatment::Keep => value.to_owned(),
            treatment => self.stand_in(treatment, value.as_bytes()),
        }
    }

    fn stand_in(&self, treatment: Treatment, value: &[u8]) -> String {
        let mut text = String::from(MARK);
        if let (Treatment::Hash, Some(key)) = (treatment, &self.key) {
            let digest = key.digest(value);
            text.extend(digest[..DIGITS / 2].iter().map(|byte| format!("{byte:02x}")));
        }
        text
    }
}

/// Names and values as sent; the name is empty where there is none.
fn cookies(value: &HeaderValue) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let pieces = value.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    pieces.filter(|piece| !piece.is_empty()).map(|piece| {
        let (name, value) = match piece.iter().position(|byte| *byte == b'=') {
            Some(at) => (piece[..at].trim_ascii_end(), &piece[at + 1..]),
            None => (&b""[..], piece),
        };
        (String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    })
}

/// A summary whose digests are gone, so that it can be compared with one of another process.
pub fn without_digests(mut summary: Summary) -> Summary {
    match &mut summary.conclusion {
        Conclusion::Respond { headers, .. } => {
            for (_, value) in headers {
                *value = without_digest(value);
            }
        }
        Conclusion::Serve {
            missing: Some((300..=399, location)),
            ..
        } => {
            for value in location {
                *value = without_digest(value);
            }
        }
        Conclusion::Serve { .. } | Conclusion::Fault { .. } => {}
    }
    for Change { value, .. } in &mut summary.changes {
        *value = without_digest(value);
    }
    summary
}

fn without_digest(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(MARK) {
        let (before, after) = rest.split_at(at + MARK.len_utf8());
        plain.push_str(before);
        let digest = after.bytes().take(DIGITS).filter(u8::is_ascii_hexdigit).count() == DIGITS;
        rest = if digest { &after[DIGITS..] } else { after };
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, Method};
    use std::{collections::BTreeSet, str::FromStr, time::SystemTime};
    use wasmserve_files::SitePath;

    fn redactor(rules: &[&str]) -> Redactor {
        let rules = rules.iter().map(|text| text.parse().expect("a rule")).collect();
        Redactor::new(Rules::new(rules))
    }

    fn request(query: Option<&str>, fields: &[(HeaderName, &'static str)]) -> Request {
        let fields = fields.iter().cloned();
        Request {
            method: Method::GET,
            path: SitePath::from_uri("/").expect("a path"),
            query: query.map(str::to_owned),
            headers: HeaderMap::from_iter(fields.map(|(name, value)| (name, HeaderValue::from_static(value)))),
            scheme: "http",
            host: "localhost".into(),
            site: "default".into(),
            client: None,
            arrived: SystemTime::UNIX_EPOCH,
            facts: Vec::new(),
        }
    }

    #[test]
    fn secrets_are_withheld_unless_a_rule_keeps_them() {
        const KEEP: &[&str] = &["header:*=keep", "cookie:*=keep", "query:*=keep"];
        let field = |name: &str| HeaderName::from_str(name).expect("a name");
        for (rules, name, kept) in [
            (&[][..], "accept", true),
            (&[], "authorization", false),
            (&[], "proxy-authorization", false),
            (&[], "x-api-key", false),
            (&[], "x-csrf-token", false),
            (&[], "referer", false),
            (KEEP, "x-api-key", true),
            (KEEP, "authorization", false),
            (&["header:authorization=keep"], "authorization", true),
            (&["header:accept=drop"], "accept", false),
            (&["header:accept=drop", "header:accept=keep"], "accept", true),
            (&["header:accept=keep", "header:*=drop"], "accept", true),
            (&["header:*=drop"], "accept", false),
        ] {
            let request = request(None, &[(field(name), "s3cret")]);
            let redactor = redactor(rules);
            let withheld = redactor.withheld(&request);
            assert_eq!(withheld.headers.is_empty(), kept, "{rules:?} {name}");
            let value = redactor.field(&field(name), &request.headers[name]);
            assert_eq!(value.as_ref() == b"s3cret", kept, "{rules:?} {name}");
        }
    }

    #[test]
    fn cookies_and_parameters_are_told_apart() {
        let redactor = redactor(&["cookie:theme=keep", "query:page=drop", "query:sort by=keep"]);
        let cookie = "theme=dark; session=s3cret;s3cret; a = s3cret ";
        let request = request(
            Some("page=s3cret&sort+by=x&token=s3cret&s3cret&&"),
            &[(header::COOKIE, cookie)],
        );
        let withheld = redactor.withheld(&request);
        let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(names(&withheld.cookies), " a session");
        assert_eq!(names(&withheld.parameters), "page token");
        assert!(withheld.nameless && !withheld.client && withheld.headers.is_empty());
        let query = redactor.query("page=s3cret&sort+by=x&token=s3cret&s3cret&&");
        assert_eq!(without_digest(&query), "page=~&sort+by=x&token=~&~&&");
        assert!(query.starts_with("page=~&"), "{query}");
        let field = redactor.field(&header::COOKIE, &request.headers[header::COOKIE]);
        let field = String::from_utf8_lossy(&field);
        assert_eq!(without_digest(&field), "theme=dark; session=~; ~; a=~");
        assert!(!field.contains("s3cret"));
    }

    #[test]
    fn digests_say_what_is_the_same_and_no_more() {
        let (one, other) = (redactor(&[]), redactor(&[]));
        assert_eq!(one.query("a=1"), one.query("a=1"));
        assert_ne!(one.query("a=1"), one.query("a=2"));
        assert_ne!(one.query("a=1"), other.query("a=1"), "a key for each run");
        for (text, expected) in [
            ("~0123456789abcdef", "~"),
            ("a=~0123456789abcdef; b", "a=~; b"),
            ("~0123", "~0123"),
            ("~~0123456789abcdef0", "~~0"),
            ("/~user/", "/~user/"),
            ("~é123456789abcdef", "~é123456789abcdef"),
        ] {
            assert_eq!(without_digest(text), expected);
        }
    }

    #[test]
    fn answers_are_redacted_too() {
        let change = |name: &str, value: &str| Change {
            operation: "set".into(),
            name: name.into(),
            value: value.into(),
            when: String::new(),
        };
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let summary = Summary {
            conclusion: Conclusion::Respond {
                status: 302,
                headers: vec![
                    pair("location", "/next?token=s3cret"),
                    pair("set-cookie", "session=s3cret; Path=/"),
                ],
                body: 0,
                digest: String::new(),
            },
            changes: vec![
                change("x-auth-token", "s3cret"),
                change("x-a", "1"),
                change("set-cookie", "s3cret"),
            ],
            facts: Vec::new(),
            pace: None,
        };
        let redacted = redactor(&[]).summary(summary.clone());
        assert!(!format!("{redacted:?}").contains("s3cret"), "{redacted:?}");
        let blank = Redactor::blank(Rules::default()).summary(summary);
        assert_eq!(without_digests(redacted), blank);
        let Conclusion::Respond { headers, .. } = &blank.conclusion else {
            panic!("it was a response")
        };
        assert_eq!(headers[0].1, "/next?token=~");
        assert_eq!(headers[1].1, "session=~; Path=/");
        assert_eq!(blank.changes[1].value, "1");
        let serving = |status, location: &str| Summary {
            conclusion: Conclusion::Serve {
                targets: vec!["/a".into()],
                place: None,
                missing: Some((status, vec![location.into()])),
            },
            changes: Vec::new(),
            facts: Vec::new(),
            pace: None,
        };
        let redacted = redactor(&[]).summary(serving(301, "/next?token=s3cret"));
        assert!(!format!("{redacted:?}").contains("s3cret"), "{redacted:?}");
        assert_eq!(without_digests(redacted), serving(301, "/next?token=~"));
        assert_eq!(redactor(&[]).summary(serving(404, "/a?b=c")), serving(404, "/a?b=c"));
    }
}
