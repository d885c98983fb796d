//! What is told of one request as spans, named as the semantic conventions of OpenTelemetry name it, and written as
//! OTLP is in JSON (opentelemetry-proto, "JSON Protobuf Encoding": identifiers in hexadecimal, 64-bit numbers as text).
//!
//! What the access log leaves out is left out here: queries are never told.

use super::context::{Parent, SpanId, TraceId};
use serde::{Serialize, Serializer};
use std::{
    borrow::Cow,
    fmt::Display,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use wasmserve_policy::{
    Step,
    explain::{Decided, Keeping},
};

/// A request that is traced, from its head on.
#[derive(Debug)]
pub struct Traced {
    pub(super) trace: TraceId,
    /// That of the span that the request becomes.
    pub(super) span: SpanId,
    /// Whose part it is, when its client is believed.
    pub(super) parent: Option<Parent>,
}

/// What one policy did for a request that is traced.
#[derive(Debug)]
pub struct Passage {
    policy: String,
    begun: Instant,
    took: Duration,
    evidence: &'static str,
    decision: &'static str,
    /// Of an answer or a fault.
    status: Option<u16>,
}

/// A span as it is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Span {
    #[serde(serialize_with = "shown")]
    trace_id: TraceId,
    #[serde(serialize_with = "shown")]
    span_id: SpanId,
    #[serde(serialize_with = "some_shown", skip_serializing_if = "Option::is_none")]
    parent_span_id: Option<SpanId>,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_state: String,
    flags: u32,
    name: String,
    kind: u8,
    #[serde(serialize_with = "nanoseconds")]
    start_time_unix_nano: SystemTime,
    #[serde(serialize_with = "nanoseconds")]
    end_time_unix_nano: SystemTime,
    attributes: Vec<Attribute>,
    status: Status,
}

/// A name and a value.
#[derive(Debug, Serialize)]
pub struct Attribute {
    key: &'static str,
    value: Value,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Value {
    StringValue(String),
    #[serde(serialize_with = "shown")]
    IntValue(u64),
}

#[derive(Debug, Serialize)]
struct Status {
    /// 0: nothing is said of it; 2: an error.
    code: u8,
}

/// When a span begins and ends.
#[derive(Clone, Copy, Debug)]
pub struct Period {
    pub begun: SystemTime,
    pub ended: SystemTime,
}

const SERVER: u8 = 2;
const INTERNAL: u8 = 1;
const ERROR: u8 = 2;

/// The span is recorded, its parent is another machine's, and that is known (the flags of a span, OTLP 1.1).
const SAMPLED: u32 = 1;
const PARENT_IS_KNOWN: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x200;

/// Bytes of a value that a client chooses.
const LONGEST: usize = 1024;

// === impl Passage ===

impl Passage {
    /// Those of a chain whose first policy began then: one begins when the one before has ended. A decision that was kept
    /// took no time that could be measured.
    pub fn of(mut begun: Instant, steps: &[Step]) -> Vec<Self> {
        let passage = |step: &Step| {
            let took = Duration::from_micros(step.microseconds);
            let (decision, status) = match &step.decision {
                Decided::Proceed(_) => ("proceed", None),
                Decided::Respond { status, .. } => ("respond", Some(*status)),
                Decided::Failed { status, .. } => ("fault", Some(*status)),
            };
            let passage = Self {
                policy: step.policy.clone(),
                begun,
                took,
                evidence: if step.keeping == Keeping::Kept { "kept" } else { "fresh" },
                decision,
                status,
            };
            begun += took;
            passage
        };
        steps.iter().map(passage).collect()
    }

    /// As a part of a request whose first byte `arrived` then.
    fn span(self, traced: &Traced, span: SpanId, period: Period, arrived: Instant) -> Span {
        let begun = period.begun + self.begun.saturating_duration_since(arrived);
        let mut attributes = vec![
            Attribute::text("wasmserve.policy", self.policy.clone()),
            Attribute::text("wasmserve.evidence", self.evidence),
            Attribute::text("wasmserve.decision", self.decision),
        ];
        attributes.extend(
            self.status
                .map(|status| Attribute::number("wasmserve.status", status.into())),
        );
        let faulty = self.decision == "fault";
        if faulty {
            // Why is in the server's log: what a policy says of it may be a secret.
            attributes.push(Attribute::text("error.type", "policy"));
        }
        Span {
            trace_id: traced.trace,
            span_id: span,
            parent_span_id: Some(traced.span),
            trace_state: traced.state(),
            flags: SAMPLED | PARENT_IS_KNOWN,
            name: format!("policy {}", self.policy),
            kind: INTERNAL,
            start_time_unix_nano: begun,
            end_time_unix_nano: begun + self.took,
            attributes,
            status: Status::of(faulty),
        }
    }
}

// === impl Traced ===

impl Traced {
    /// The spans of a request: its own, then one for each policy, with these identifiers.
    pub fn spans(self, told: Request, passages: Vec<Passage>, identifiers: impl Iterator<Item = SpanId>) -> Vec<Span> {
        let Request {
            name,
            attributes,
            failed,
            period,
            arrived,
        } = told;
        let remote = self.parent.as_ref().map_or(0, |_| PARENT_IS_REMOTE);
        let own = Span {
            trace_id: self.trace,
            span_id: self.span,
            parent_span_id: self.parent.as_ref().map(|parent| parent.span),
            trace_state: self.state(),
            flags: SAMPLED | PARENT_IS_KNOWN | remote,
            // There is no route: paths are not few.
            name,
            kind: SERVER,
            start_time_unix_nano: period.begun,
            end_time_unix_nano: period.ended,
            attributes,
            status: Status::of(failed),
        };
        let policies = passages.into_iter().zip(identifiers);
        let policies = policies.map(|(passage, span)| passage.span(&self, span, period, arrived));
        let policies: Vec<Span> = policies.collect();
        std::iter::once(own).chain(policies).collect()
    }

    fn state(&self) -> String {
        self.parent
            .as_ref()
            .map(|parent| parent.state.clone())
            .unwrap_or_default()
    }
}

/// What a request's own span tells.
#[derive(Debug)]
pub struct Request {
    /// A known method, or `HTTP`.
    pub name: String,
    pub attributes: Vec<Attribute>,
    /// By the server's fault.
    pub failed: bool,
    pub period: Period,
    pub arrived: Instant,
}

// === impl Attribute ===

impl Attribute {
    /// A text, of which a client may have chosen any length: the rest is cut off.
    pub fn text<'a>(key: &'static str, text: impl Into<Cow<'a, str>>) -> Self {
        let mut text = text.into().into_owned();
        text.truncate(text.floor_char_boundary(LONGEST));
        Self {
            key,
            value: Value::StringValue(text),
        }
    }

    pub fn number(key: &'static str, number: u64) -> Self {
        Self {
            key,
            value: Value::IntValue(number),
        }
    }
}

// === impl Status ===

impl Status {
    fn of(failed: bool) -> Self {
        Self {
            code: if failed { ERROR } else { 0 },
        }
    }
}

/// Spans as one request to a collector.
pub fn export(resource: &[Attribute], spans: &[Span]) -> Vec<u8> {
    let request = Export {
        resource_spans: [ResourceSpans {
            resource: Resource { attributes: resource },
            scope_spans: [ScopeSpans {
                scope: Scope {
                    name: env!("CARGO_PKG_NAME"),
                    version: env!("CARGO_PKG_VERSION"),
                },
                spans,
            }],
        }],
    };
    // Nothing in it can fail to be written to memory.
    serde_json::to_vec(&request).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Export<'a> {
    resource_spans: [ResourceSpans<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans<'a> {
    resource: Resource<'a>,
    scope_spans: [ScopeSpans<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: &'a [Attribute],
}

#[derive(Serialize)]
struct ScopeSpans<'a> {
    scope: Scope,
    spans: &'a [Span],
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
    version: &'static str,
}

fn shown<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

fn some_shown<S: Serializer>(value: &Option<SpanId>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => to.collect_str(value),
        None => to.serialize_none(),
    }
}

fn nanoseconds<S: Serializer>(time: &SystemTime, to: S) -> Result<S::Ok, S::Error> {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    to.collect_str(&since.as_nanos())
}
