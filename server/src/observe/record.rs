//! The record of one exchange. It rides in the response's body, so that it is complete when the body ends: after the last
//! byte, or when the client went away. However an exchange ends, it leaves exactly one line in the access log, and its
//! site's observers are told once.
//!
//! The query is not written down: links carry tokens in it.

use crate::{
    request::{Host, Reply, target::Scheme},
    site::Site,
    sites::Sites,
};
use http::{HeaderValue, Method, StatusCode, Uri, header, request::Parts};
use std::{
    net::IpAddr,
    sync::Arc,
    time::{Instant, SystemTime},
};
use wasmserve_policy::{Ending, Finished, Request};

/// What is known of an exchange so far.
pub struct Record {
    arrived: Instant,
    scheme: Scheme,
    /// The site, when it has observers.
    observed: Option<Arc<Site>>,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    client: Option<IpAddr>,
    request: Option<Arc<Request>>,
    status: Option<StatusCode>,
    facts: Vec<(String, String)>,
    /// Bytes of body that were handed to the connection.
    pub bytes: u64,
    pub ending: Ending,
}

// === impl Record ===

impl Record {
    /// Begins with a request's head, whose first byte `arrived` then.
    pub fn begin(head: &Parts, client: Option<IpAddr>, scheme: Scheme, arrived: Instant) -> Self {
        Self {
            arrived,
            scheme,
            observed: None,
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(header::HOST).cloned(),
            client,
            request: None,
            status: None,
            facts: Vec::new(),
            bytes: 0,
            ending: Ending::Aborted,
        }
    }

    /// Finds the site whose observers are told. What the request is refused for later makes no difference.
    pub fn of_site(&mut self, sites: &Sites) {
        if self.observed.is_some() || !sites.are_observed() {
            return;
        }
        let host = Host::parse(self.host()).unwrap_or_default();
        let site = sites.loaded(&host.name);
        self.observed = site.filter(|site| !site.chain.observers().is_empty());
    }

    /// Takes over what was decided and will be sent.
    pub fn decided(&mut self, reply: &mut Reply) {
        self.status = Some(reply.answer.status);
        self.request = reply.request.clone();
        self.facts = std::mem::take(&mut reply.facts);
    }

    fn host(&self) -> &str {
        match (&self.request, &self.host) {
            (Some(request), _) => &request.host,
            (None, Some(field)) => field.to_str().unwrap_or_default(),
            (None, None) => "",
        }
    }

    /// Canonical; as sent when the request was refused because it is not.
    pub fn path(&self) -> &str {
        self.request
            .as_ref()
            .map_or_else(|| self.uri.path(), |request| request.path.as_str())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.log();
        self.tell();
    }
}

impl Record {
    fn log(&self) {
        if !tracing::enabled!(target: "access", tracing::Level::INFO) {
            return;
        }
        tracing::info!(
            target: "access",
            method = self.method.as_str(),
            site = self.request.as_ref().map(|request| &*request.site),
            host = self.host(),
            path = self.path(),
            status = self.status.map(|status| status.as_u16()),
            bytes = self.bytes,
            duration_us = u64::try_from(self.arrived.elapsed().as_micros()).unwrap_or(u64::MAX),
            client = self.client.map(tracing::field::display),
            outcome = word(self.ending),
            facts = facts(&self.facts),
        );
    }

    fn tell(&mut self) {
        let Some(site) = self.observed.take() else { return };
        let duration = self.arrived.elapsed();
        site.chain.observers().observe(Finished {
            arrived: SystemTime::now()
                .checked_sub(duration)
                .unwrap_or(SystemTime::UNIX_EPOCH),
            duration,
            site: site.name.clone(),
            host: self.host().to_owned(),
            scheme: self.scheme.as_str(),
            method: self.method.to_string(),
            path: self
                .request
                .as_ref()
                .map_or_else(String::new, |request| request.path.to_string()),
            client: self.client,
            status: self.status.map_or(0, |status| status.as_u16()),
            body_bytes: self.bytes,
            ending: self.ending,
            facts: std::mem::take(&mut self.facts),
        });
    }
}

/// The line of a head that could not be read: no policy was asked, and nothing in it is known. `status` is what it was
/// answered with, if with anything.
pub fn unreadable(status: Option<StatusCode>, client: Option<IpAddr>) {
    tracing::info!(
        target: "access",
        status = status.map(|status| status.as_u16()),
        bytes = 0,
        client = client.map(tracing::field::display),
        outcome = "unreadable",
    );
}

/// `user=alice tier="two words"`; none at all when there are none.
fn facts(facts: &[(String, String)]) -> Option<String> {
    let text: Vec<String> = facts
        .iter()
        .map(|(name, value)| format!("{name}={}", quoted(value)))
        .collect();
    (!text.is_empty()).then(|| text.join(" "))
}

/// A value in quotes, unless it cannot be mistaken for anything else without them.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._@/:".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}

/// In the access log.
fn word(ending: Ending) -> &'static str {
    match ending {
        Ending::Completed => "completed",
        Ending::Aborted => "aborted",
        Ending::Failed => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
