//! `GET /metrics`: what was counted, in Prometheus' text format (version 0.0.4).
//!
//! The number of series is bounded: requests are told of together unless the operator wants them by site, of which there are
//! [`crate::observe::meter::SITES`] at most; policies by their names. Read when asked for: nothing is prepared for it while
//! requests are answered.

use super::{Desk, Serving};
use crate::observe::{
    access, log,
    meter::{BOUNDS, OTHERS, SITES, STATUSES, Times, Totals, meters},
    process::Process,
    traces,
};
use std::{
    collections::BTreeMap,
    fmt::{Display, Write},
    sync::atomic::Ordering::Relaxed,
    time::{Duration, SystemTime},
};
use wasmserve_policy::{BreakerState, Counts};
use wasmserve_shared::redis::{RedisCounts, redises};

pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// By the first digit of a status.
const STATUS_NAMES: [&str; STATUSES] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// One text, metric by metric.
struct Page(String);

/// Names and values of labels.
type Labels<'a> = &'a [(&'static str, &'a str)];

/// Everything there is to tell.
pub fn exposition(desk: &Desk, serving: &Serving) -> String {
    let mut page = Page(String::with_capacity(16 * 1024));
    server(&mut page, serving);
    requests(&mut page, desk.metrics_by_site);
    connections(&mut page);
    certificates(&mut page, serving);
    policies(&mut page, desk, serving);
    redis(&mut page);
    files(&mut page, serving);
    logs(&mut page, serving);
    process(&mut page);
    page.0
}

fn server(page: &mut Page, serving: &Serving) {
    let sites = serving.server.sites.load();
    page.head("wasmserve_build_info", "gauge", "The version that runs.");
    page.line("wasmserve_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    let ready = u8::from(!meters().is_draining());
    page.gauge("wasmserve_ready", "1: requests are wanted; 0: it stops.", ready);
    page.gauge("wasmserve_sites", "Sites that are loaded.", sites.len());
    page.gauge(
        "wasmserve_generation",
        "Configurations that served since the start, this one included.",
        sites.generation,
    );
    let (done, refused) = meters().reloads.counts();
    page.head("wasmserve_reloads_total", "counter", "Reloads, by how they ended.");
    page.line("wasmserve_reloads_total", &[("result", "done")], done);
    page.line("wasmserve_reloads_total", &[("result", "refused")], refused);
    let last = meters().reloads.last();
    let went_well = last.is_none_or(|last| last.errors.is_empty());
    page.gauge(
        "wasmserve_last_reload_successful",
        "1: the last reload was done, or there was none; 0: the old configuration is served on.",
        u8::from(went_well),
    );
}

fn requests(page: &mut Page, by_site: bool) {
    let mut whole = Totals::default();
    let mut sites: BTreeMap<&str, Totals> = BTreeMap::new();
    for meter in meters().all() {
        let totals = meter.totals();
        whole.add(&totals);
        if by_site && totals.requests() > 0 {
            sites.insert(&meter.site, totals);
        }
    }
    if !by_site {
        sites.insert("", whole);
    }
    let name = "wasmserve_requests_total";
    page.head(
        name,
        "counter",
        "Exchanges that ended, by the first digit of their status; none: there was no answer.",
    );
    for (site, totals) in &sites {
        for (status, count) in STATUS_NAMES.iter().zip(totals.statuses) {
            page.of_site(name, site, &[("status", status)], count);
        }
    }
    let unfinished = "wasmserve_responses_unfinished_total";
    page.head(
        unfinished,
        "counter",
        "Exchanges that ended early: by their client, or because something failed.",
    );
    for (site, totals) in &sites {
        page.of_site(unfinished, site, &[("by", "client")], totals.aborted);
        page.of_site(unfinished, site, &[("by", "server")], totals.failed);
    }
    let bytes = "wasmserve_response_body_bytes_total";
    page.head(bytes, "counter", "Bytes of bodies that were handed to connections.");
    for (site, totals) in &sites {
        page.of_site(bytes, site, &[], totals.bytes);
    }
    let head = "wasmserve_response_head_seconds";
    page.head(
        head,
        "histogram",
        "Time from the first byte of a request to the head of its answer.",
    );
    for (site, totals) in &sites {
        page.histogram(head, site, &totals.head);
    }
    let duration = "wasmserve_request_duration_seconds";
    page.head(
        duration,
        "histogram",
        "Time from the first byte of a request to the end of its answer.",
    );
    for (site, totals) in &sites {
        page.histogram(duration, site, &totals.whole);
    }
    page.gauge(
        "wasmserve_requests_under_way",
        "Requests whose answer has not ended: bodies that are being sent included.",
        meters().under_way(whole.requests()),
    );
}

fn connections(page: &mut Page) {
    let connections = &meters().connections;
    let (accepted, open) = connections.accepted();
    page.gauge("wasmserve_connections_open", "Connections of clients.", open);
    page.counter(
        "wasmserve_connections_accepted_total",
        "Connections of clients since the start.",
        accepted,
    );
    page.counter(
        "wasmserve_accept_errors_total",
        "Attempts to accept connections that failed: descriptors or memory ran out.",
        connections.not_accepted(),
    );
    let (done, failed) = connections.handshakes();
    page.head(
        "wasmserve_tls_handshakes_total",
        "counter",
        "TLS handshakes, by how they ended.",
    );
    page.line("wasmserve_tls_handshakes_total", &[("result", "done")], done);
    page.line("wasmserve_tls_handshakes_total", &[("result", "failed")], failed);
}

fn certificates(page: &mut Page, serving: &Serving) {
    let counts = serving.server.acme.counts();
    let orders = "wasmserve_acme_orders_total";
    page.head(orders, "counter", "Orders of certificates, by how they ended.");
    page.line(orders, &[("result", "done")], counts.done);
    page.line(orders, &[("result", "failed")], counts.failed);
    let names = "wasmserve_acme_names";
    page.head(
        names,
        "gauge",
        "Names whose certificates are ordered; failing: whose last order failed, with a certificate or without.",
    );
    page.line(names, &[("state", "ready")], counts.names - counts.missing);
    page.line(names, &[("state", "missing")], counts.missing);
    page.line(names, &[("state", "failing")], counts.failing);
    if let Some(soonest) = counts.soonest {
        let since = soonest.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        page.gauge(
            "wasmserve_acme_first_expiry_timestamp_seconds",
            "When the first of the ordered certificates expires.",
            since.as_secs(),
        );
    }
}

/// A part of a metric's name, what it is, and its value.
type PolicyCounter = (&'static str, &'static str, fn(&Counts) -> u64);

const POLICY_COUNTERS: [PolicyCounter; 10] = [
    ("runs", "Decisions that were made by running a policy.", |counts| {
        counts.ran
    }),
    (
        "deferred",
        "Runs at a lower priority, because their site had used more than its part.",
        |counts| counts.deferred,
    ),
    ("reused", "Decisions that were kept and used again.", |counts| {
        counts.reused
    }),
    ("kept", "Decisions that were kept with their evidence.", |counts| {
        counts.kept
    }),
    ("failed", "Runs that came to nothing.", |counts| counts.failed),
    ("burnt", "Runs that used up most of their time in vain.", |counts| {
        counts.burnt
    }),
    ("breaker_opened", "How often a breaker opened.", |counts| counts.opened),
    (
        "refused",
        "Requests that were refused because a breaker was open.",
        |counts| counts.refused,
    ),
    (
        "throttled",
        "Requests that were refused because runs for their client burnt.",
        |counts| counts.throttled,
    ),
    (
        "over_budget",
        "Requests that were refused because a site's budget was spent.",
        |counts| counts.over_budget,
    ),
];

fn policies(page: &mut Page, desk: &Desk, serving: &Serving) {
    let sites = serving.server.sites.load();
    let mut policies: BTreeMap<(String, String), Counts> = BTreeMap::new();
    for ((site, policy), counts) in meters().retired.with(&sites) {
        let key = match desk.metrics_by_site {
            true => (site.to_string(), policy),
            false => (String::new(), policy),
        };
        policies.entry(bounded(&policies, key)).or_default().add(&counts);
    }
    for (short, help, count) in POLICY_COUNTERS {
        let name = format!("wasmserve_policy_{short}_total");
        page.head(&name, "counter", help);
        for ((site, policy), counts) in &policies {
            page.of_site(&name, site, &[("policy", policy)], count(counts));
        }
    }
    let time = "wasmserve_policy_seconds_total";
    page.head(
        time,
        "counter",
        "Time that runs took, with the turns that they waited for.",
    );
    for ((site, policy), counts) in &policies {
        let spent = Duration::from_micros(counts.spent_microseconds);
        page.of_site(time, site, &[("policy", policy)], spent.as_secs_f64());
    }
    let (mut open, mut bytes, mut decisions) = (BTreeMap::<String, u64>::new(), 0, 0);
    for site in sites.iter() {
        for (policy, health) in site.chain.policies().into_iter().zip(site.chain.health()) {
            let count = open.entry(policy.name).or_default();
            *count += u64::from(health.breaker != BreakerState::Closed);
        }
        let room = site.chain.evidence();
        (bytes, decisions) = (bytes + room.bytes, decisions + room.decisions);
    }
    let breakers = "wasmserve_policy_breakers_open";
    page.head(
        breakers,
        "gauge",
        "Sites in which the breaker of a policy is open or half open.",
    );
    for (policy, count) in open.iter().take(SITES) {
        page.line(breakers, &[("policy", policy)], count);
    }
    page.gauge("wasmserve_evidence_bytes", "Room that kept decisions take.", bytes);
    page.gauge("wasmserve_evidence_decisions", "Decisions that are kept.", decisions);
}

/// As many series as there may be: what is beyond is counted together.
fn bounded(known: &BTreeMap<(String, String), Counts>, key: (String, String)) -> (String, String) {
    match known.contains_key(&key) || known.len() < SITES {
        true => key,
        false => (OTHERS.into(), OTHERS.into()),
    }
}

/// Nothing where no site keeps anything in a Redis. Operators name them: there are few.
fn redis(page: &mut Page) {
    let all = redises().counts();
    if all.is_empty() {
        return;
    }
    let operations = "wasmserve_redis_operations_total";
    page.head(
        operations,
        "counter",
        "Operations of services on a Redis: done, failed, or refused because its breaker was open.",
    );
    for RedisCounts {
        endpoint,
        done,
        failed,
        refused,
        ..
    } in &all
    {
        for (result, count) in [("done", done), ("failed", failed), ("refused", refused)] {
            page.line(operations, &[("redis", endpoint), ("result", result)], count);
        }
    }
    let connections = "wasmserve_redis_connections";
    page.head(
        connections,
        "gauge",
        "Connections to a Redis that are used when needed.",
    );
    for counts in &all {
        page.line(connections, &[("redis", &counts.endpoint)], counts.connections);
    }
    let broken = "wasmserve_redis_breakers_open";
    page.head(
        broken,
        "gauge",
        "Connections to a Redis that are refused, until one can be used again.",
    );
    for counts in &all {
        page.line(broken, &[("redis", &counts.endpoint)], counts.broken);
    }
}

fn files(page: &mut Page, serving: &Serving) {
    let counts = serving.pool.counts();
    let lookups = "wasmserve_file_cache_lookups_total";
    page.head(
        lookups,
        "counter",
        "Lookups of files, by whether they were open already.",
    );
    page.line(lookups, &[("result", "hit")], counts.hits);
    page.line(lookups, &[("result", "miss")], counts.misses);
    page.gauge(
        "wasmserve_file_cache_entries",
        "Files that are kept open.",
        counts.entries,
    );
    if let Some(cache) = serving.pool.disk_cache() {
        disk_cache(page, &cache.counts());
    }
}

fn disk_cache(page: &mut Page, counts: &wasmserve_pieces::Counts) {
    let lookups = "wasmserve_disk_cache_lookups_total";
    page.head(
        lookups,
        "counter",
        "Pieces of objects that were asked for, by whether they were on local disk.",
    );
    page.line(lookups, &[("result", "hit")], counts.hits);
    page.line(lookups, &[("result", "miss")], counts.misses);
    for (name, help, count) in [
        (
            "wasmserve_disk_cache_hit_bytes_total",
            "Bytes that were on local disk when they were asked for.",
            counts.hit_bytes,
        ),
        (
            "wasmserve_disk_cache_fetched_bytes_total",
            "Bytes that came from stores.",
            counts.fetched_bytes,
        ),
        (
            "wasmserve_disk_cache_bypassed_bytes_total",
            "Bytes that came from stores and were not kept: the disk failed or had no room.",
            counts.bypassed_bytes,
        ),
        (
            "wasmserve_disk_cache_evicted_bytes_total",
            "Bytes of pieces that were evicted.",
            counts.evicted_bytes,
        ),
        (
            "wasmserve_disk_cache_damaged_total",
            "Pieces that could not be read, or were not what was written.",
            counts.damaged,
        ),
        (
            "wasmserve_disk_cache_troubles_total",
            "Times that the disk failed, so that nothing was kept for a while.",
            counts.troubles,
        ),
    ] {
        page.head(name, "counter", help);
        page.line(name, &[], count);
    }
    page.gauge(
        "wasmserve_disk_cache_bytes",
        "Bytes that the disk cache takes.",
        counts.bytes,
    );
    page.gauge(
        "wasmserve_disk_cache_capacity_bytes",
        "Bytes that the disk cache may take.",
        counts.capacity,
    );
}

fn spans(page: &mut Page, counts: &traces::Counts, waiting: usize) {
    let name = "wasmserve_trace_spans_total";
    page.head(
        name,
        "counter",
        "Spans, by what became of them: dropped ones found no room to wait, undelivered ones were not taken.",
    );
    let counts = [
        ("sent", &counts.sent),
        ("dropped", &counts.dropped),
        ("undelivered", &counts.undelivered),
    ];
    for (result, count) in counts {
        page.line(name, &[("result", result)], count.load(Relaxed));
    }
    page.gauge(
        "wasmserve_trace_requests_waiting",
        "Requests whose spans wait to be sent.",
        waiting,
    );
}

fn logs(page: &mut Page, serving: &Serving) {
    let lost = "wasmserve_log_lines_lost_total";
    page.head(
        lost,
        "counter",
        "Lines that were not written because nobody took them in time.",
    );
    page.line(lost, &[("log", "server")], log::lost());
    page.line(lost, &[("log", "access")], access::lost());
    if let Some((counts, waiting)) = traces::counts() {
        spans(page, counts, waiting);
    }
    if let Some(recording) = &serving.server.watch.record {
        let dropped = recording.counts().dropped;
        page.counter(
            "wasmserve_recording_dropped_total",
            "Decisions that were not recorded because they came too fast.",
            dropped,
        );
    }
}

fn process(page: &mut Page) {
    let process = Process::now();
    page.counter(
        "process_cpu_seconds_total",
        "Processor time of the process.",
        process.cpu_seconds,
    );
    page.gauge(
        "process_resident_memory_bytes",
        "Memory of the process.",
        process.resident_bytes,
    );
    page.gauge("process_open_fds", "Open descriptors.", process.descriptors);
    if let Some(most) = process.most_descriptors {
        page.gauge("process_max_fds", "The limit of open descriptors.", most);
    }
    page.gauge("process_threads", "Threads of the process.", process.threads);
    let started = meters().started_at.duration_since(SystemTime::UNIX_EPOCH);
    page.gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since 1970.",
        started.unwrap_or_default().as_secs_f64(),
    );
}

// === impl Page ===

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to memory does not fail; here and below.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, &[], value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "counter", help);
        self.line(name, &[], value);
    }

    /// With the site as its first label; `""`: all sites together.
    fn of_site(&mut self, name: &str, site: &str, labels: Labels<'_>, value: impl Display) {
        match site {
            "" => self.line(name, labels, value),
            site => {
                let all: Vec<_> = [("site", site)].into_iter().chain(labels.iter().copied()).collect();
                self.line(name, &all, value);
            }
        }
    }

    fn histogram(&mut self, name: &str, site: &str, times: &Times) {
        let (bucket, mut sum) = (format!("{name}_bucket"), 0);
        let bounds = BOUNDS.iter().map(|bound| (*bound as f64 / 1e6).to_string());
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(times.classes) {
            sum += count;
            self.of_site(&bucket, site, &[("le", &bound)], sum);
        }
        let seconds = Duration::from_micros(times.microseconds).as_secs_f64();
        self.of_site(&format!("{name}_sum"), site, &[], seconds);
        self.of_site(&format!("{name}_count"), site, &[], sum);
    }

    fn line(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.0.push_str(name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for c in text.chars() {
                match c {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    c => self.0.push(c),
                }
            }
            self.0.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_line() {
        let mut page = Page(String::new());
        page.of_site("x_total", "a\"b\\c\nd", &[("status", "2xx")], 1);
        assert_eq!(page.0, "x_total{site=\"a\\\"b\\\\c\\nd\",status=\"2xx\"} 1\n");
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let mut times = Times::default();
        (times.classes[0], times.classes[2], times.microseconds) = (2, 1, 1_500_000);
        let mut page = Page(String::new());
        page.histogram("t", "", &times);
        let lines: Vec<_> = page.0.lines().collect();
        assert_eq!(lines[0], "t_bucket{le=\"0.0001\"} 2");
        assert_eq!(lines[2], "t_bucket{le=\"0.0005\"} 3");
        assert_eq!(
            lines[BOUNDS.len()..],
            ["t_bucket{le=\"+Inf\"} 3", "t_sum 1.5", "t_count 3"]
        );
    }
}
