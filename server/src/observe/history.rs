//! The last hour, for whoever looks at the status page: what was counted, in samples.
//!
//! Every [`STEP`] the counters are looked at and what came since the last look is a sample: for the server, [`LENGTH`] of
//! them; for each site that was asked for anything in the last hour, one a minute. Bounded: some 8 KiB for each of
//! [`super::meter::SITES`] sites at most, and nothing for sites that nobody asks for.

use super::meter::{BOUNDS, Meter, STATUSES, Times, Totals, meters};
use crate::sites::Sites;
use serde::Serialize;
use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

/// Between two looks.
pub const STEP: Duration = Duration::from_secs(10);

/// Samples of an hour.
const LENGTH: usize = 360;

/// Looks that make one sample of a site.
const LOOKS: usize = 6;

/// Samples of a site: an hour too.
const SITE_LENGTH: usize = LENGTH / LOOKS;

/// Sites that are told of, those with most requests first.
const TOLD: usize = 100;

/// What was seen so far.
#[derive(Default)]
pub struct History(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// Since when samples are taken.
    looks: usize,
    last: HashMap<Arc<str>, Look>,
    whole: VecDeque<Sample>,
    sites: HashMap<Arc<str>, SiteSeen>,
}

/// What the counters of a site came to at the last look.
#[derive(Default)]
struct Look {
    totals: Totals,
    policies: PolicySums,
}

#[derive(Default)]
struct SiteSeen {
    /// The minute that has not ended.
    current: Sample,
    minutes: VecDeque<Sample>,
}

/// What policies did, all of a chain together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PolicySums {
    ran: u64,
    reused: u64,
    failed: u64,
    spent_us: u64,
}

/// What happened within one step.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    statuses: [u32; STATUSES],
    bytes: u64,
    /// Times to an answer's head, by class.
    heads: [u32; BOUNDS.len() + 1],
    ran: u32,
    reused: u32,
    failed: u32,
    spent_us: u64,
    /// Open at its end; of the whole server alone.
    connections: u32,
}

/// The last hour.
#[derive(Debug, Serialize)]
pub struct HistoryReport {
    /// Seconds between two samples.
    step: u64,
    /// Milliseconds since 1970: now, shortly after the last sample.
    now: u64,
    server: Columns,
    sites: Vec<SiteHour>,
    /// Sites with requests that are not told of.
    more_sites: usize,
}

/// The oldest sample first.
#[derive(Debug, Default, Serialize)]
struct Columns {
    /// By hundreds; first those of exchanges without an answer.
    statuses: [Vec<u32>; STATUSES],
    bytes: Vec<u64>,
    /// Microseconds to the head of an answer; none where there was no answer.
    p50: Vec<Option<u64>>,
    p99: Vec<Option<u64>>,
    ran: Vec<u32>,
    reused: Vec<u32>,
    failed: Vec<u32>,
    spent_us: Vec<u64>,
    connections: Vec<u32>,
}

/// One site's last hour.
#[derive(Debug, Serialize)]
struct SiteHour {
    site: String,
    requests: u64,
    client_errors: u64,
    server_errors: u64,
    bytes: u64,
    p50: Option<u64>,
    p99: Option<u64>,
    ran: u64,
    reused: u64,
    failed: u64,
    spent_us: u64,
    /// Requests of each minute; the last one has not ended.
    minutes: Vec<u32>,
}

// === impl History ===

impl History {
    /// Takes a sample. To be called every [`STEP`].
    pub fn look(&self, sites: &Sites) {
        let policies: HashMap<&str, PolicySums> = sites.iter().map(|site| (&*site.name, sums(site))).collect();
        let (_, connections) = meters().connections.accepted();
        self.seen().look(&meters().all(), &policies, connections);
    }

    pub fn report(&self) -> HistoryReport {
        self.seen().report(SystemTime::now())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sums(site: &crate::site::Site) -> PolicySums {
    let mut sums = PolicySums::default();
    for counts in site.chain.counts() {
        sums.ran += counts.ran;
        sums.reused += counts.reused;
        sums.failed += counts.failed;
        sums.spent_us += counts.spent_microseconds;
    }
    sums
}

// === impl Seen ===

impl Seen {
    fn look(&mut self, meters: &[&'static Meter], policies: &HashMap<&str, PolicySums>, connections: u64) {
        let mut whole = Sample::default();
        let minute_ends = (self.looks + 1).is_multiple_of(LOOKS);
        for meter in meters {
            let now = Look {
                totals: meter.totals(),
                policies: policies.get(&*meter.site).copied().unwrap_or_default(),
            };
            let before = self.last.entry(meter.site.clone()).or_default();
            let sample = Sample::between(before, &now);
            *before = now;
            whole.add(&sample);
            if sample.requests() > 0 || self.sites.contains_key(&meter.site) {
                let seen = self.sites.entry(meter.site.clone()).or_default();
                seen.current.add(&sample);
            }
        }
        whole.connections = narrow(connections);
        push(&mut self.whole, whole, LENGTH);
        if minute_ends {
            self.sites.retain(|_, seen| {
                push(&mut seen.minutes, std::mem::take(&mut seen.current), SITE_LENGTH);
                seen.minutes.iter().any(|minute| minute.requests() > 0)
            });
        }
        self.looks += 1;
    }

    fn report(&self, now: SystemTime) -> HistoryReport {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut sites: Vec<SiteHour> = self.sites.iter().map(|(site, seen)| SiteHour::of(site, seen)).collect();
        sites.sort_by(|a, b| b.requests.cmp(&a.requests).then_with(|| a.site.cmp(&b.site)));
        let more_sites = sites.len().saturating_sub(TOLD);
        sites.truncate(TOLD);
        HistoryReport {
            step: STEP.as_secs(),
            now: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
            server: Columns::of(&self.whole),
            sites,
            more_sites,
        }
    }
}

fn push(samples: &mut VecDeque<Sample>, sample: Sample, length: usize) {
    if samples.len() == length {
        samples.pop_front();
    }
    samples.push_back(sample);
}

fn narrow(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

// === impl Sample ===

impl Sample {
    fn between(before: &Look, now: &Look) -> Self {
        let totals = now.totals.since(&before.totals);
        // A chain that was loaded anew counts from nothing.
        let since = |count: fn(&PolicySums) -> u64| {
            let (before, now) = (count(&before.policies), count(&now.policies));
            if now < before { now } else { now - before }
        };
        Self {
            statuses: totals.statuses.map(narrow),
            bytes: totals.bytes,
            heads: totals.head.classes.map(narrow),
            ran: narrow(since(|sums| sums.ran)),
            reused: narrow(since(|sums| sums.reused)),
            failed: narrow(since(|sums| sums.failed)),
            spent_us: since(|sums| sums.spent_us),
            connections: 0,
        }
    }

    fn add(&mut self, other: &Self) {
        let add = |own: &mut u32, other: u32| *own = own.saturating_add(other);
        for (own, other) in self.statuses.iter_mut().zip(other.statuses) {
            add(own, other);
        }
        for (own, other) in self.heads.iter_mut().zip(other.heads) {
            add(own, other);
        }
        self.bytes = self.bytes.saturating_add(other.bytes);
        add(&mut self.ran, other.ran);
        add(&mut self.reused, other.reused);
        add(&mut self.failed, other.failed);
        self.spent_us = self.spent_us.saturating_add(other.spent_us);
    }

    fn requests(&self) -> u64 {
        self.statuses.iter().map(|count| u64::from(*count)).sum()
    }

    fn quantile(&self, part: f64) -> Option<u64> {
        let times = Times {
            classes: self.heads.map(u64::from),
            microseconds: 0,
        };
        times.quantile(part)
    }
}

// === impl Columns, SiteHour ===

impl Columns {
    fn of(samples: &VecDeque<Sample>) -> Self {
        let mut columns = Self::default();
        for sample in samples {
            for (column, count) in columns.statuses.iter_mut().zip(sample.statuses) {
                column.push(count);
            }
            columns.bytes.push(sample.bytes);
            columns.p50.push(sample.quantile(0.5));
            columns.p99.push(sample.quantile(0.99));
            columns.ran.push(sample.ran);
            columns.reused.push(sample.reused);
            columns.failed.push(sample.failed);
            columns.spent_us.push(sample.spent_us);
            columns.connections.push(sample.connections);
        }
        columns
    }
}

impl SiteHour {
    fn of(site: &Arc<str>, seen: &SiteSeen) -> Self {
        let minutes = seen.minutes.iter().chain([&seen.current]);
        let mut hour = Sample::default();
        for minute in minutes.clone() {
            hour.add(minute);
        }
        Self {
            site: site.to_string(),
            requests: hour.requests(),
            client_errors: hour.statuses[4].into(),
            server_errors: hour.statuses[5].into(),
            bytes: hour.bytes,
            p50: hour.quantile(0.5),
            p99: hour.quantile(0.99),
            ran: hour.ran.into(),
            reused: hour.reused.into(),
            failed: hour.failed.into(),
            spent_us: hour.spent_us,
            minutes: minutes.map(|minute| narrow(minute.requests())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::meter::Exchange;
    use http::StatusCode;
    use wasmserve_policy::Ending;

    fn count(meter: &Meter, status: StatusCode, times: usize) {
        for _ in 0..times {
            meter.count(&Exchange {
                status: Some(status),
                ending: Ending::Completed,
                bytes: 100,
                head: Some(Duration::from_micros(80)),
                whole: Duration::from_millis(1),
            });
        }
    }

    #[test]
    fn an_hour_is_kept_and_no_more() {
        let meter = meters().of_site(&"history".into());
        let idle = meters().of_site(&"history idle".into());
        let (mut seen, mut policies) = (Seen::default(), HashMap::new());
        let of = |ran, reused| PolicySums {
            ran,
            reused,
            ..PolicySums::default()
        };
        count(meter, StatusCode::OK, 3);
        policies.insert("history", of(3, 9));
        seen.look(&[meter, idle], &policies, 7);
        count(meter, StatusCode::NOT_FOUND, 2);
        // A reload: it counts from nothing.
        policies.insert("history", of(1, 1));
        seen.look(&[meter, idle], &policies, 8);
        let report = seen.report(SystemTime::now());
        assert_eq!(report.server.statuses[2], [3, 0]);
        assert_eq!(report.server.statuses[4], [0, 2]);
        assert_eq!(report.server.bytes, [300, 200]);
        assert_eq!(
            (&*report.server.ran, &*report.server.reused),
            (&[3, 1][..], &[9, 1][..])
        );
        assert_eq!(report.server.connections, [7, 8]);
        assert_eq!(report.server.p50[0], Some(66));
        let [site] = &report.sites[..] else {
            panic!("only one was asked for: {:?}", report.sites)
        };
        assert_eq!((&*site.site, site.requests, site.client_errors), ("history", 5, 2));
        assert_eq!(site.minutes, [5]);

        for _ in 0..LENGTH * 2 {
            seen.look(&[meter, idle], &policies, 0);
        }
        let report = seen.report(SystemTime::now());
        assert_eq!(report.server.bytes.len(), LENGTH);
        assert!(report.sites.is_empty() && seen.sites.is_empty());
    }

    #[test]
    fn a_minute_has_six_looks() {
        let meter = meters().of_site(&"history minutes".into());
        let mut seen = Seen::default();
        for _ in 0..LOOKS * 2 + 1 {
            count(meter, StatusCode::OK, 1);
            seen.look(&[meter], &HashMap::new(), 0);
        }
        let report = seen.report(SystemTime::now());
        assert_eq!(report.sites[0].minutes, [6, 6, 1]);
    }
}
