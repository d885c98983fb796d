//! `GET /status`: what the status page shows. No secrets: names, counts and the words that the log has.

use super::{
    Desk, Serving,
    report::{BreakerReport, breakers},
};
use crate::acme::CertificateReport;
use crate::observe::{
    access,
    history::HistoryReport,
    log,
    meter::{Totals, meters},
    process::Process,
};
use serde::Serialize;
use std::{
    cmp::Reverse,
    collections::BTreeMap,
    time::{Duration, SystemTime},
};
use wasmserve_policy::Counts;

/// Everything, for one answer.
#[derive(Debug, Serialize)]
pub struct StatusReport {
    version: &'static str,
    /// `ready` or `draining`.
    state: &'static str,
    uptime_seconds: u64,
    generation: u64,
    sites: usize,
    history: HistoryReport,
    policies: Vec<PolicyRow>,
    /// Policies that failed, or are not run for everybody.
    troubles: Vec<BreakerReport>,
    /// Those that are ordered, the ones that fail first.
    certificates: Vec<CertificateReport>,
    requests: u64,
    under_way: u64,
    connections: Connections,
    evidence: Evidence,
    cache: Cache,
    /// Where `[server.disk-cache]` is configured.
    disk_cache: Option<DiskCache>,
    logs_lost: u64,
    reloads: Reloads,
    process: Process,
}

/// What the policies of one name did since the start, in all sites.
#[derive(Debug, Serialize)]
struct PolicyRow {
    policy: String,
    #[serde(flatten)]
    counts: Counts,
}

#[derive(Debug, Serialize)]
struct Connections {
    open: u64,
    accepted: u64,
    errors: u64,
    handshakes: u64,
    handshakes_failed: u64,
}

#[derive(Debug, Default, Serialize)]
struct Evidence {
    bytes: usize,
    decisions: usize,
}

#[derive(Debug, Serialize)]
struct Cache {
    hits: u64,
    misses: u64,
    entries: usize,
}

/// What is kept on local disk of roots in object storage.
#[derive(Debug, Serialize)]
struct DiskCache {
    hits: u64,
    misses: u64,
    fetched_bytes: u64,
    bytes: u64,
    capacity: u64,
    troubles: u64,
}

#[derive(Debug, Serialize)]
struct Reloads {
    done: u64,
    refused: u64,
    /// Milliseconds since 1970.
    last_at: Option<u64>,
    /// Why the last one was refused.
    last_errors: Vec<String>,
}

/// Policies, troubles and certificates that are told of.
const TOLD: usize = 100;

// === impl StatusReport ===

impl StatusReport {
    pub fn of(desk: &Desk, serving: &Serving) -> Self {
        let sites = serving.server.sites.load();
        let mut totals = Totals::default();
        for meter in meters().all() {
            totals.add(&meter.totals());
        }
        let mut evidence = Evidence::default();
        for room in sites.iter().map(|site| site.chain.evidence()) {
            evidence.bytes += room.bytes;
            evidence.decisions += room.decisions;
        }
        let cache = serving.pool.counts();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            state: if meters().is_draining() { "draining" } else { "ready" },
            uptime_seconds: meters().started.elapsed().as_secs(),
            generation: sites.generation,
            sites: sites.len(),
            history: desk.history.report(),
            policies: policies(serving),
            troubles: breakers(&serving.server)
                .into_iter()
                .filter(BreakerReport::is_trouble)
                .take(TOLD)
                .collect(),
            certificates: serving.server.acme.report(TOLD),
            requests: totals.requests(),
            under_way: meters().under_way(totals.requests()),
            connections: Connections::now(),
            evidence,
            cache: Cache {
                hits: cache.hits,
                misses: cache.misses,
                entries: cache.entries,
            },
            disk_cache: serving.pool.disk_cache().map(|cache| DiskCache::of(&cache.counts())),
            logs_lost: log::lost() + access::lost(),
            reloads: Reloads::now(),
            process: Process::now(),
        }
    }
}

/// Those that took most time first.
fn policies(serving: &Serving) -> Vec<PolicyRow> {
    let mut policies: BTreeMap<String, Counts> = BTreeMap::new();
    for ((_, policy), counts) in meters().retired.with(&serving.server.sites.load()) {
        policies.entry(policy).or_default().add(&counts);
    }
    let mut rows: Vec<PolicyRow> = policies
        .into_iter()
        .map(|(policy, counts)| PolicyRow { policy, counts })
        .collect();
    rows.sort_by_key(|row| Reverse(row.counts.spent_microseconds));
    rows.truncate(TOLD);
    rows
}

// === impl DiskCache, Connections, Reloads ===

impl DiskCache {
    fn of(counts: &wasmserve_pieces::Counts) -> Self {
        Self {
            hits: counts.hits,
            misses: counts.misses,
            fetched_bytes: counts.fetched_bytes,
            bytes: counts.bytes,
            capacity: counts.capacity,
            troubles: counts.troubles,
        }
    }
}

impl Connections {
    fn now() -> Self {
        let connections = &meters().connections;
        let (accepted, open) = connections.accepted();
        let (handshakes, handshakes_failed) = connections.handshakes();
        Self {
            open,
            accepted,
            errors: connections.not_accepted(),
            handshakes,
            handshakes_failed,
        }
    }
}

impl Reloads {
    fn now() -> Self {
        let (done, refused) = meters().reloads.counts();
        let last = meters().reloads.last();
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            done,
            refused,
            last_at: last
                .as_ref()
                .and_then(|last| last.at.duration_since(SystemTime::UNIX_EPOCH).ok())
                .map(milliseconds),
            last_errors: last.map(|last| last.errors).unwrap_or_default(),
        }
    }
}
