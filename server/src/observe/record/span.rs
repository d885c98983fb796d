//! What a trace tells of an exchange, as OpenTelemetry's semantic conventions for HTTP servers name it. What is theirs no name
//! for is `wasmserve.*`. Queries are never told, as in the access log.

use super::{Record, field, protocol};
use crate::{
    observe::{
        access,
        traces::{self, Attribute, Period, Traced},
    },
    request::Host,
};
use http::{Method, StatusCode, header};
use std::time::{Duration, SystemTime};
use wasmserve_policy::Ending;

/// Methods that go by their own names: those of RFC 9110 and RFC 5789. Clients make up any others.
const KNOWN: [Method; 9] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::DELETE,
    Method::CONNECT,
    Method::OPTIONS,
    Method::TRACE,
    Method::PATCH,
];

// === impl Record ===

impl Record {
    /// Hands over what the exchange was, at its end.
    pub(super) fn trace(&mut self, traced: Traced, duration: Duration) {
        let judged = self.judged.as_mut();
        let passages = judged.map(|judged| std::mem::take(&mut judged.passages));
        let mut attributes = self.attributes();
        let failure = self.failure();
        let failed = failure.is_some();
        attributes.extend(failure.map(|failure| Attribute::text("error.type", failure)));
        let ended = SystemTime::now();
        let told = traces::Request {
            name: match self.method() {
                Some(method) if KNOWN.contains(method) => method.to_string(),
                _ => "HTTP".to_owned(),
            },
            attributes,
            failed,
            period: Period {
                begun: ended.checked_sub(duration).unwrap_or(SystemTime::UNIX_EPOCH),
                ended,
            },
            arrived: self.arrived,
        };
        traces::tell(traced, told, passages.unwrap_or_default());
    }

    fn attributes(&self) -> Vec<Attribute> {
        let text = |key, text: &str| Attribute::text(key, text.to_owned());
        let mut attributes = vec![
            text("url.scheme", self.scheme.as_str()),
            text("url.path", self.path()),
            text("server.address", &Host::parse(self.host()).unwrap_or_default().name),
            text("network.protocol.version", version(protocol(self.version))),
            Attribute::number("http.response.body.size", self.bytes),
            text("wasmserve.outcome", access::ending(self.ending)),
        ];
        match self.method() {
            Some(method) if KNOWN.contains(method) => attributes.push(text("http.request.method", method.as_str())),
            Some(method) => {
                attributes.push(text("http.request.method", "_OTHER"));
                attributes.push(text("http.request.method_original", method.as_str()));
            }
            None => {}
        }
        if let Some(status) = self.status {
            attributes.push(Attribute::number("http.response.status_code", status.as_u16().into()));
        }
        if let Some(client) = self.client {
            attributes.push(text("client.address", &client.to_string()));
        }
        if let Some(request) = self.request() {
            attributes.push(text("wasmserve.site", &request.site));
            let agent = field(Some(&request.headers), &header::USER_AGENT);
            attributes.extend(agent.map(|agent| Attribute::text("user_agent.original", agent)));
        }
        if let Some(judged) = &self.judged {
            attributes.push(text("wasmserve.verdict", judged.verdict));
            attributes.push(Attribute::number("wasmserve.policies.ran", judged.effort.ran.into()));
            attributes.push(Attribute::number(
                "wasmserve.policies.kept",
                judged.effort.reused.into(),
            ));
            let by = judged.effort.decided_by();
            attributes.extend(by.map(|by| text("wasmserve.decided_by", by)));
        }
        attributes
    }

    /// What went wrong by the server's fault; a client's mistake is none, and neither is that it left.
    fn failure(&self) -> Option<String> {
        let status = self.status.filter(StatusCode::is_server_error);
        match (status, self.ending) {
            (Some(status), _) => Some(status.as_str().to_owned()),
            (None, Ending::Failed) => self.abort_reason().map(str::to_owned),
            (None, Ending::Completed | Ending::Aborted) => None,
        }
    }
}

/// `1.1` and `2`.
fn version(protocol: &str) -> &str {
    let version = protocol.trim_start_matches("HTTP/");
    match version {
        "2.0" => "2",
        "3.0" => "3",
        other => other,
    }
}
