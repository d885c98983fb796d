//! One line of the access log.

use super::Format;
use serde::{Serialize, Serializer};
use std::{
    borrow::Cow,
    fmt::Write as _,
    io::Write as _,
    net::IpAddr,
    time::{Duration, SystemTime},
};
use wasmserve_policy::Ending;

/// What is told of one exchange. `None`: it is not known, or there is none.
#[derive(Debug, Serialize)]
pub struct Entry<'a> {
    /// When it ended.
    #[serde(serialize_with = "rfc_3339")]
    pub time: SystemTime,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<&'static str>,
    pub host: &'a str,
    /// Canonical; as sent when the request was refused because it is not. Without the query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// Such as `HTTP/1.1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Of body, handed to the connection.
    pub bytes: u64,
    /// From the first byte of the request to the last of the answer.
    #[serde(rename = "duration_us", serialize_with = "microseconds")]
    pub duration: Duration,
    /// To the head of the answer: what the server took, however slow the client is.
    #[serde(
        rename = "head_us",
        serialize_with = "some_microseconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub head: Option<Duration>,
    #[serde(rename = "outcome", serialize_with = "word")]
    pub ending: Ending,
    /// Why it was not completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyPart<'a>>,
    /// `tls.version`, `tls.server-name` and, of a client that showed a certificate, `tls.client-subject` and its like.
    #[serde(serialize_with = "handshake", skip_serializing_if = "<[_]>::is_empty")]
    pub tls: &'a [(String, String)],
    #[serde(serialize_with = "pairs", skip_serializing_if = "<[_]>::is_empty")]
    pub facts: &'a [(String, String)],
    /// Without its query.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub referer: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<Cow<'a, str>>,
}

/// What policies decided.
#[derive(Debug, Serialize)]
pub struct PolicyPart<'a> {
    /// `proceed`, `respond` or `fault`.
    pub verdict: &'static str,
    /// Which policy ended the chain.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<&'a str>,
    /// How many were run,
    pub ran: u32,
    /// and of how many a kept decision held.
    pub kept: u32,
    /// Time of the runs.
    #[serde(rename = "us", serialize_with = "microseconds")]
    pub spent: Duration,
}

/// The fact that the combined format has a place for.
const USER: &str = "user";

// === impl Entry ===

impl Entry<'_> {
    /// Appends the line, with its end.
    pub fn write(&self, format: Format, line: &mut Vec<u8>) {
        match format {
            Format::Json => {
                if serde_json::to_writer(&mut *line, self).is_err() {
                    // Nothing in it can fail to be written to memory.
                    line.clear();
                    return;
                }
                line.push(b'\n');
            }
            Format::Combined => self.combine(line),
        }
    }

    /// `CLIENT - USER [TIME] "METHOD PATH PROTOCOL" STATUS BYTES "REFERER" "USER-AGENT"`, as Apache defined it.
    fn combine(&self, line: &mut Vec<u8>) {
        let user = self.facts.iter().find(|(name, _)| name == USER);
        let _ = match self.client {
            Some(client) => write!(line, "{client} - "),
            None => write!(line, "- - "),
        };
        match user {
            Some((_, user)) => plain(line, user, |byte| byte == b' '),
            None => line.push(b'-'),
        }
        clf_time(line, self.time);
        match self.method {
            Some(method) => {
                plain(line, method, |_| false);
                line.push(b' ');
                plain(line, self.path.unwrap_or("-"), |byte| byte == b' ');
                let _ = write!(line, " {}", self.protocol.unwrap_or("-"));
            }
            None => line.push(b'-'),
        }
        // nginx writes 499 for a client that left before any answer, and readers of its logs know that.
        let status = self.status.unwrap_or(499);
        let _ = write!(line, "\" {status} {} \"", self.bytes);
        plain(line, self.referer.as_deref().unwrap_or("-"), |_| false);
        line.extend_from_slice(b"\" \"");
        plain(line, self.user_agent.as_deref().unwrap_or("-"), |_| false);
        line.extend_from_slice(b"\"\n");
    }

    /// As an event of the server's log.
    pub fn log(&self) {
        tracing::info!(
            target: "access",
            method = self.method,
            site = self.site,
            host = self.method.is_some().then_some(self.host),
            path = self.path,
            status = self.status,
            bytes = self.bytes,
            duration_us = self.method.map(|_| in_microseconds(self.duration)),
            client = self.client.map(tracing::field::display),
            outcome = match self.method {
                Some(_) => ending(self.ending),
                None => "unreadable",
            },
            facts = facts(self.facts),
        );
    }
}

/// Bytes that could be taken for something else are written as `\xHH`, as nginx does it.
fn plain(line: &mut Vec<u8>, text: &str, also: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if !(b' '..=b'~').contains(&byte) || byte == b'"' || byte == b'\\' || also(byte) {
            let _ = write!(line, "\\x{byte:02X}");
        } else {
            line.push(byte);
        }
    }
}

/// ` [20/Nov/2026:16:40:36 +0000] "`.
fn clf_time(line: &mut Vec<u8>, time: SystemTime) {
    // Fri, 20 Nov 2026 16:40:36 GMT (RFC 9110, section 5.6.7): all its parts have a fixed length.
    let date = httpdate::fmt_http_date(time);
    let (day, month, year, clock) = (&date[5..7], &date[8..11], &date[12..16], &date[17..25]);
    let _ = write!(line, " [{day}/{month}/{year}:{clock} +0000] \"");
}

fn in_microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn rfc_3339<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&humantime::format_rfc3339_micros(*time))
}

fn microseconds<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(in_microseconds(*time))
}

fn some_microseconds<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    time.map(in_microseconds).serialize(to)
}

fn word<S: Serializer>(how: &Ending, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(ending(*how))
}

fn pairs<S: Serializer>(facts: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(facts.iter().map(|(name, value)| (name, value)))
}

/// Named as the other members of the object: `tls.server-name` is `server_name` in `tls`.
fn handshake<S: Serializer>(facts: &[(String, String)], to: S) -> Result<S::Ok, S::Error> {
    let short = |name: &str| name.strip_prefix("tls.").unwrap_or(name).replace('-', "_");
    to.collect_map(facts.iter().map(|(name, value)| (short(name), value)))
}

/// In a word.
pub fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "completed",
        Ending::Aborted => "aborted",
        Ending::Failed => "failed",
    }
}

/// `user=alice tier="two words"`; none at all when there are none.
fn facts(facts: &[(String, String)]) -> Option<String> {
    let mut text = String::new();
    for (name, value) in facts {
        let space = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{space}{name}={}", quoted(value));
    }
    (!text.is_empty()).then_some(text)
}

/// A value in quotes, unless it cannot be mistaken for anything else without them.
fn quoted(value: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._@/:".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.into()
    } else {
        format!("{value:?}").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(facts: &'a [(String, String)], tls: &'a [(String, String)]) -> Entry<'a> {
        Entry {
            time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_795_192_836_000_001),
            client: Some(IpAddr::from([192, 0, 2, 7])),
            site: Some("docs"),
            method: Some("GET"),
            scheme: Some("https"),
            host: "docs.example.org",
            path: Some("/a b\"c"),
            protocol: Some("HTTP/2.0"),
            status: Some(200),
            bytes: 12,
            duration: Duration::from_micros(1500),
            head: Some(Duration::from_micros(90)),
            ending: Ending::Completed,
            abort: None,
            policy: Some(PolicyPart {
                verdict: "respond",
                by: Some("guard"),
                ran: 1,
                kept: 2,
                spent: Duration::from_micros(30),
            }),
            tls,
            facts,
            referer: None,
            user_agent: Some("curl \"8\"\n\u{fc}".into()),
        }
    }

    fn written(entry: &Entry<'_>, format: Format) -> String {
        let mut line = Vec::new();
        entry.write(format, &mut line);
        String::from_utf8(line).expect("text")
    }

    #[test]
    fn a_line_is_one_object() {
        let facts = [("user".to_owned(), "ada\n".to_owned())];
        let tls = [
            ("version", "TLSv1.3"),
            ("server-name", "docs.example.org"),
            ("client-subject", "CN=ada"),
        ]
        .map(|(name, value)| (format!("tls.{name}"), value.to_owned()));
        let line = written(&entry(&facts, &tls), Format::Json);
        assert_eq!(line.matches('\n').count(), 1);
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            read,
            serde_json::json!({
                "time": "2026-11-20T16:40:36.000001Z", "client": "192.0.2.7", "site": "docs", "method": "GET",
                "scheme": "https", "host": "docs.example.org", "path": "/a b\"c", "protocol": "HTTP/2.0", "status": 200,
                "bytes": 12, "duration_us": 1500, "head_us": 90, "outcome": "completed",
                "policy": { "verdict": "respond", "by": "guard", "ran": 1, "kept": 2, "us": 30 },
                "tls": { "version": "TLSv1.3", "server_name": "docs.example.org", "client_subject": "CN=ada" },
                "facts": { "user": "ada\n" }, "user_agent": "curl \"8\"\n\u{fc}",
            })
        );
    }

    #[test]
    fn nothing_in_a_combined_line_can_pass_for_another_part() {
        let facts = [("user".to_owned(), "ada [x] \"y\"".to_owned())];
        assert_eq!(
            written(&entry(&facts, &[]), Format::Combined),
            "192.0.2.7 - ada\\x20[x]\\x20\\x22y\\x22 [20/Nov/2026:16:40:36 +0000] \"GET /a\\x20b\\x22c HTTP/2.0\" 200 12 \"-\" \
             \"curl \\x228\\x22\\x0A\\xC3\\xBC\"\n"
        );
        let nothing = Entry {
            client: None,
            method: None,
            status: None,
            path: None,
            user_agent: None,
            ..entry(&[], &[])
        };
        assert_eq!(
            written(&nothing, Format::Combined),
            "- - - [20/Nov/2026:16:40:36 +0000] \"-\" 499 12 \"-\" \"-\"\n"
        );
    }

    #[test]
    fn no_fact_can_pass_for_another() {
        for (given, expected) in [
            (&[][..], None),
            (&[("user", "ada")][..], Some("user=ada")),
            (
                &[("user", "ada"), ("tier", "two words")],
                Some(r#"user=ada tier="two words""#),
            ),
            (&[("user", "ada role=admin")], Some(r#"user="ada role=admin""#)),
            (&[("user", "a\"b\n")], Some(r#"user="a\"b\n""#)),
            (&[("user", "")], Some(r#"user="""#)),
        ] {
            let given: Vec<_> = given
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect();
            assert_eq!(facts(&given).as_deref(), expected);
        }
    }
}
