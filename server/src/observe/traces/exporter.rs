//! Spans on their way to the collector. Nobody waits for it: what finds no room in the queue is dropped and counted.
//!
//! In the order of events: an exchange's spans wait in a bounded queue; a task of its own takes some hundred of them, or what
//! came within an interval, and posts them; when the collector does not take them now, they are posted again, less and less
//! often, until they are given up. Meanwhile the queue fills, and no more than it holds is ever in memory.

use super::{
    TraceOptions,
    span::{Attribute, Span, export},
};
use crate::net::outgoing::{Outgoing, OutgoingError};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, timeout_at},
};

/// Exchanges whose spans may wait: of some 2 KiB each, and 16 KiB at the most beside those of policies.
pub const WAITING: usize = 2048;

/// Spans of one request to the collector, about.
const BATCH: usize = 512;

/// Pauses between attempts: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Spans that a collector did not take for so long are given up.
const GIVE_UP: Duration = Duration::from_secs(120);

/// What became of spans.
#[derive(Debug, Default)]
pub struct Counts {
    pub sent: AtomicU64,
    /// There was no room in the queue.
    pub dropped: AtomicU64,
    /// The collector did not take them.
    pub undelivered: AtomicU64,
}

/// The end of the queue that is read.
pub struct Exporter {
    options: TraceOptions,
    headers: HeaderMap,
    client: Outgoing,
    resource: Vec<Attribute>,
    queue: mpsc::Receiver<Vec<Span>>,
    counts: Arc<Counts>,
    /// The process ends: what is there is sent once.
    finishing: watch::Receiver<bool>,
    /// Whether the last attempt failed, and that was told.
    troubled: bool,
}

/// What the collector said.
enum Answer {
    Taken {
        rejected: u64,
    },
    /// It is worth trying again.
    NotNow {
        problem: String,
        after: Option<Duration>,
    },
    Refused {
        problem: String,
    },
}

// === impl Exporter ===

impl Exporter {
    pub fn new(
        options: TraceOptions,
        headers: HeaderMap,
        client: Outgoing,
        queue: mpsc::Receiver<Vec<Span>>,
        counts: Arc<Counts>,
        finishing: watch::Receiver<bool>,
    ) -> Self {
        let resource = vec![
            Attribute::text("service.name", options.service_name.as_str()),
            Attribute::text("service.version", env!("CARGO_PKG_VERSION")),
            Attribute::number("process.pid", std::process::id().into()),
        ];
        Self {
            options,
            headers,
            client,
            resource,
            queue,
            counts,
            finishing,
            troubled: false,
        }
    }

    /// Sends what comes until the process ends.
    pub async fn run(mut self) {
        while let Some(batch) = self.next().await {
            let count = batch.len() as u64;
            match self.deliver(&batch).await {
                Some(rejected) => {
                    self.counts.sent.fetch_add(count.saturating_sub(rejected), Relaxed);
                    self.counts.undelivered.fetch_add(rejected.min(count), Relaxed);
                }
                None => {
                    self.counts.undelivered.fetch_add(count, Relaxed);
                }
            }
        }
    }

    /// Waits for spans, and for a while for more. `None`: the process ends, and all are taken.
    async fn next(&mut self) -> Option<Vec<Span>> {
        let first = tokio::select! {
            biased;
            first = self.queue.recv() => first,
            () = is_set(&mut self.finishing) => None,
        };
        let mut batch = first?;
        let full = Instant::now() + self.options.interval;
        let mut finishing = self.finishing.clone();
        while batch.len() < BATCH {
            if let Ok(more) = self.queue.try_recv() {
                batch.extend(more);
                continue;
            }
            let more = tokio::select! {
                more = timeout_at(full, self.queue.recv()) => more,
                () = is_set(&mut finishing) => break,
            };
            match more {
                Ok(Some(more)) => batch.extend(more),
                Ok(None) | Err(_) => break,
            }
        }
        Some(batch)
    }

    /// Posts until the collector takes them: how many of them it rejected. `None`: all are lost.
    async fn deliver(&mut self, batch: &[Span]) -> Option<u64> {
        let body = Bytes::from(export(&self.resource, batch));
        let (begun, mut pause) = (Instant::now(), FIRST_PAUSE);
        loop {
            match self.post(body.clone()).await {
                Answer::Taken { rejected } => {
                    if self.troubled {
                        tracing::info!("the collector takes traces again");
                        self.troubled = false;
                    }
                    return Some(rejected);
                }
                Answer::Refused { problem } => {
                    self.tell(&problem);
                    return None;
                }
                Answer::NotNow { problem, after } => {
                    self.tell(&problem);
                    let pause_now = after.unwrap_or(pause).min(LONGEST_PAUSE);
                    let is_late = begun.elapsed() + pause_now > GIVE_UP;
                    tokio::select! {
                        () = sleep(pause_now) => {}
                        () = is_set(&mut self.finishing) => return None,
                    }
                    if is_late {
                        return None;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn post(&self, body: Bytes) -> Answer {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.options.url.clone();
        *request.headers_mut() = self.headers.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        match self.client.ask(request).await {
            Ok(answer) => Answer::of(answer.status(), answer.headers(), answer.body()),
            Err(error) => Answer::NotNow {
                problem: told(&error),
                after: None,
            },
        }
    }

    /// Once, until it works again.
    fn tell(&mut self, problem: &str) {
        if !self.troubled {
            tracing::warn!(collector = %self.options.shown_url(), problem, "traces are not delivered");
            self.troubled = true;
        }
    }
}

/// Ends when it is set, or when nobody can set it any more.
async fn is_set(flag: &mut watch::Receiver<bool>) {
    let _ = flag.wait_for(|set| *set).await;
}

fn told(error: &OutgoingError) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

// === impl Answer ===

impl Answer {
    /// As OTLP over HTTP has it: these four statuses are worth another attempt, no other is.
    fn of(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let problem = format!("it answers {status}");
        match status.as_u16() {
            200..=299 => Self::Taken {
                rejected: rejected(body),
            },
            429 | 502 | 503 | 504 => {
                let after = headers.get(header::RETRY_AFTER).and_then(|after| after.to_str().ok());
                let after = after.and_then(|after| after.parse().ok()).map(Duration::from_secs);
                Self::NotNow { problem, after }
            }
            _ => Self::Refused { problem },
        }
    }
}

/// `partialSuccess.rejectedSpans`, a number or its text.
fn rejected(body: &[u8]) -> u64 {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let rejected = &body["partialSuccess"]["rejectedSpans"];
    let as_text = || rejected.as_str().and_then(|text| text.parse().ok());
    rejected.as_u64().or_else(as_text).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_rejected_is_read_in_either_form() {
        for (body, expected) in [
            ("", 0),
            ("{}", 0),
            ("no JSON", 0),
            (r#"{"partialSuccess":{}}"#, 0),
            (r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"x"}}"#, 3),
            (r#"{"partialSuccess":{"rejectedSpans":4}}"#, 4),
        ] {
            assert_eq!(rejected(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let of = |status: u16| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static("7"))]);
            match Answer::of(StatusCode::from_u16(status).expect("a status"), &headers, b"") {
                Answer::Taken { .. } => "taken",
                Answer::NotNow { after, .. } if after == Some(Duration::from_secs(7)) => "in 7 s",
                Answer::NotNow { .. } => "at once",
                Answer::Refused { .. } => "refused",
            }
        };
        for (status, expected) in [
            (200, "taken"),
            (202, "taken"),
            (429, "in 7 s"),
            (502, "in 7 s"),
            (503, "in 7 s"),
            (504, "in 7 s"),
            (500, "refused"),
            (400, "refused"),
            (404, "refused"),
            (301, "refused"),
        ] {
            assert_eq!(of(status), expected, "{status}");
        }
    }
}
