//! `GET /sites`, `/plugins` and `/breakers`: what is loaded, and what it did so far.

use crate::{
    config::grants,
    net::Server,
    site::Site,
    watch::{Recording, record::RecordCounts},
};
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};
use wasmserve_policy::{
    BreakerState, CodeFrom, Configured, Counts, Health, Limits, ObserverCounts, PolicyInfo, Room, ShadowCounts,
    ShadowInfo,
};

/// Everything, for one answer.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Counts up with every reload.
    generation: u64,
    sites: Vec<SiteReport>,
    /// `None`: nothing is recorded.
    recording: Option<RecordingReport>,
}

#[derive(Debug, Serialize)]
struct RecordingReport {
    file: String,
    one_in: u64,
    #[serde(flatten)]
    counts: RecordCounts,
}

#[derive(Debug, Serialize)]
struct SiteReport {
    name: String,
    hosts: Vec<String>,
    policies: Vec<PolicyReport>,
    observers: Vec<ObserverReport>,
    /// The room that kept decisions take.
    evidence: Room,
}

#[derive(Debug, Serialize)]
struct ObserverReport {
    name: String,
    counts: ObserverCounts,
}

#[derive(Debug, Serialize)]
struct PolicyReport {
    name: String,
    file: String,
    digest: String,
    contract: String,
    imports: Vec<String>,
    grants: Vec<String>,
    limits: LimitsReport,
    /// How often `configure` runs: `once`, `ahead` of each call that runs, for `each-call`, or for
    /// `each-instance` of an observer.
    configured: &'static str,
    /// Why more often than once.
    configured_because: Option<String>,
    /// Whether the code that calls run came from the cache on disk when it was loaded.
    code_from_cache: bool,
    counts: Counts,
    /// The candidate that runs beside it.
    shadow: Option<ShadowReport>,
}

#[derive(Debug, Serialize)]
struct ShadowReport {
    file: String,
    digest: String,
    limits: LimitsReport,
    /// One request of so many is compared, at most.
    one_in: u64,
    counts: ShadowCounts,
}

#[derive(Debug, Serialize)]
struct LimitsReport {
    running_microseconds: u64,
    wall_microseconds: u64,
    configure_microseconds: u64,
    memory_bytes: usize,
    answers_bytes: usize,
    concurrent: usize,
}

/// `GET /plugins`: one file of a plugin, and who runs it.
#[derive(Debug, Serialize)]
pub struct PluginReport {
    digest: String,
    file: String,
    contract: String,
    imports: Vec<String>,
    /// `SITE/POLICY`, the first [`USERS`] of them,
    used_by: Vec<String>,
    /// and how many there are.
    uses: usize,
}

/// `GET /breakers`: whether a policy of a site is run, and how it failed last.
#[derive(Debug, Serialize)]
pub struct BreakerReport {
    site: String,
    policy: String,
    #[serde(flatten)]
    health: Health,
    burnt: u64,
    opened: u64,
    failed: u64,
    refused: u64,
    throttled: u64,
}

/// Sites that are named as users of a plugin.
const USERS: usize = 20;

/// Every plugin file that is loaded, once.
pub fn plugins(server: &Server) -> Vec<PluginReport> {
    let mut plugins: BTreeMap<String, PluginReport> = BTreeMap::new();
    for site in server.sites.load().iter() {
        let observers = site.chain.observers().infos();
        for info in site.chain.policies().into_iter().chain(observers) {
            let user = format!("{}/{}", site.name, info.name);
            let plugin = plugins.entry(info.digest).or_insert_with_key(|digest| PluginReport {
                digest: format!("sha256:{digest}"),
                file: info.wasm.display().to_string(),
                contract: info.contract,
                imports: info.imports,
                used_by: Vec::new(),
                uses: 0,
            });
            plugin.uses += 1;
            if plugin.used_by.len() < USERS {
                plugin.used_by.push(user);
            }
        }
    }
    plugins.into_values().collect()
}

/// Every policy of every site.
pub fn breakers(server: &Server) -> Vec<BreakerReport> {
    let mut breakers = Vec::new();
    for site in server.sites.load().iter() {
        let policies = site.chain.policies().into_iter().zip(site.chain.counts());
        for ((policy, counts), health) in policies.zip(site.chain.health()) {
            breakers.push(BreakerReport {
                site: site.name.to_string(),
                policy: policy.name,
                health,
                burnt: counts.burnt,
                opened: counts.opened,
                failed: counts.failed,
                refused: counts.refused,
                throttled: counts.throttled,
            });
        }
    }
    breakers
}

// === impl BreakerReport ===

impl BreakerReport {
    /// Whether an operator should know of it.
    pub fn is_trouble(&self) -> bool {
        let Health {
            breaker,
            kept_out,
            last_failure,
        } = &self.health;
        *breaker != BreakerState::Closed || *kept_out > 0 || last_failure.is_some()
    }
}

// === impl Report ===

impl Report {
    pub fn of(server: &Server) -> Self {
        let sites = server.sites.load();
        Self {
            generation: sites.generation,
            sites: sites.all().iter().map(|site| SiteReport::of(site)).collect(),
            recording: server.watch.record.as_ref().map(RecordingReport::of),
        }
    }
}

impl RecordingReport {
    fn of(recording: &Recording) -> Self {
        Self {
            file: recording.file().display().to_string(),
            one_in: recording.one_in(),
            counts: recording.counts(),
        }
    }
}

impl SiteReport {
    fn of(site: &Site) -> Self {
        let policies = site.chain.policies().into_iter().zip(site.chain.counts());
        Self {
            name: site.name.to_string(),
            hosts: site.spec.hosts.iter().map(ToString::to_string).collect(),
            policies: policies.map(|(info, counts)| PolicyReport::of(info, counts)).collect(),
            observers: site
                .chain
                .observers()
                .counts()
                .map(|(name, counts)| ObserverReport {
                    name: name.to_owned(),
                    counts,
                })
                .collect(),
            evidence: site.chain.evidence(),
        }
    }
}

impl PolicyReport {
    fn of(info: PolicyInfo, counts: Counts) -> Self {
        let (configured, configured_because) = match info.configured {
            Configured::Once => ("once", None),
            Configured::EachInstance => ("each-instance", None),
            Configured::Ahead { reason } => ("ahead", Some(reason)),
            Configured::EachCall { reason } => ("each-call", Some(reason)),
        };
        Self {
            grants: grants::describe(&info.grants),
            limits: LimitsReport::of(&info.limits),
            name: info.name,
            file: info.wasm.display().to_string(),
            digest: format!("sha256:{}", info.digest),
            contract: info.contract,
            imports: info.imports,
            configured,
            configured_because,
            code_from_cache: info.code == CodeFrom::Cache,
            counts,
            shadow: info.shadow.map(ShadowReport::of),
        }
    }
}

impl ShadowReport {
    fn of(info: ShadowInfo) -> Self {
        Self {
            file: info.wasm.display().to_string(),
            digest: format!("sha256:{}", info.digest),
            limits: LimitsReport::of(&info.limits),
            one_in: info.one_in,
            counts: info.counts,
        }
    }
}

impl LimitsReport {
    fn of(limits: &Limits) -> Self {
        let microseconds = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        Self {
            running_microseconds: microseconds(limits.running),
            wall_microseconds: microseconds(limits.wall),
            configure_microseconds: microseconds(limits.configure),
            memory_bytes: limits.memory,
            answers_bytes: limits.answers,
            concurrent: limits.concurrent,
        }
    }
}
