//! A host, chains of test guests, and requests to decide.
use crate::guest::Guest;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use std::{
    collections::BTreeSet,
    sync::{Arc, LazyLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tempfile::TempDir;
use wasmserve_files::SitePath;
use wasmserve_policy::{
    Budget, Chain, ChainSpec, Fault, Grants, Host, HostOptions, Limits, LoadError, Mapping, Outcome, PolicySpec,
    Request, Response, Reuse, Verdict,
};

/// The frozen time of every request: 2001-09-09T01:46:40Z.
pub const NOW: u64 = 1_000_000_000;

/// One engine for all tests: what it reserves is large.
pub fn host() -> Host {
    static HOST: LazyLock<Host> = LazyLock::new(|| {
        Host::new(HostOptions {
            instances: 64,
            ..HostOptions::default()
        })
        .unwrap()
    });
    HOST.clone()
}

/// A chain under construction.
pub struct Chains {
    folder: TempDir,
    pub spec: ChainSpec,
}

impl Chains {
    pub fn new() -> Self {
        let roots = ["main", "tenants"].map(String::from).into();
        Self {
            folder: TempDir::new().unwrap(),
            spec: ChainSpec {
                site: "test".into(),
                policies: Vec::new(),
                observers: Vec::new(),
                roots,
                budget: Budget::default(),
            },
        }
    }

    pub fn one(guest: &Guest) -> Self {
        let mut chains = Self::new();
        chains.add(guest);
        chains
    }

    /// Adds a policy, and gives its specification to change.
    pub fn add(&mut self, guest: &Guest) -> &mut PolicySpec {
        self.add_bytes(&guest.build())
    }

    pub fn add_bytes(&mut self, wasm: &[u8]) -> &mut PolicySpec {
        let name = format!("policy-{}", self.spec.policies.len());
        let file = self.folder.path().join(format!("{name}.wasm"));
        std::fs::write(&file, wasm).unwrap();
        self.spec.policies.push(PolicySpec {
            name,
            wasm: file,
            config: toml::Table::new(),
            limits: Limits {
                wall: Duration::from_secs(20),
                ..Limits::default()
            },
            grants: Grants::default(),
            establishes: BTreeSet::new(),
            reads: BTreeSet::new(),
            reuse: Reuse::default(),
            shadow: None,
            pin: None,
        });
        self.spec.policies.last_mut().unwrap()
    }

    pub async fn try_load(&self) -> Result<Chain, LoadError> {
        host().load(self.spec.clone()).await
    }

    pub async fn load(&self) -> Chain {
        self.try_load().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Why the chain cannot be loaded.
    pub async fn refused(&self) -> String {
        self.try_load().await.err().expect("the chain was loaded").to_string()
    }
}

/// `GET /path?query`.
pub fn get(target: &str) -> Request {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
    Request {
        method: Method::GET,
        path: SitePath::from_uri(path).unwrap(),
        query,
        headers: HeaderMap::new(),
        scheme: "http",
        host: "example.org".into(),
        site: "test".into(),
        client: Some([192, 0, 2, 1].into()),
        arrived: UNIX_EPOCH + Duration::from_secs(NOW),
        facts: Vec::new(),
    }
}

/// As [`get`], by a client in a network of its own.
pub fn from(network: u8, target: &str) -> Request {
    let mut request = get(target);
    request.client = Some([10, 0, network, 1].into());
    request
}

pub fn with(mut request: Request, name: &str, value: &str) -> Request {
    let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
    request
        .headers
        .append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    request
}

pub fn at(mut request: Request, seconds: u64) -> Request {
    request.arrived = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    request
}

pub async fn decide(chain: &Chain, request: Request) -> Verdict {
    chain.decide(&Arc::new(request)).await
}

pub fn mapping(verdict: &Verdict) -> &Mapping {
    match &verdict.outcome {
        Outcome::Proceed(mapping) => mapping,
        other => panic!("not proceeding: {other:?}"),
    }
}

pub fn response(verdict: &Verdict) -> &Response {
    match &verdict.outcome {
        Outcome::Respond(response) => response,
        other => panic!("not responding: {other:?}"),
    }
}

pub fn fault(verdict: &Verdict) -> Fault {
    match &verdict.outcome {
        Outcome::Fault(fault) => *fault,
        other => panic!("no fault: {other:?}"),
    }
}

/// The targets of a verdict that proceeds.
pub fn targets(verdict: &Verdict) -> Vec<&str> {
    mapping(verdict).targets.iter().map(SitePath::as_str).collect()
}

/// The header fields of an answer after the verdict was applied, as sorted `name: value` lines.
pub fn applied(verdict: &Verdict, status: u16, media_type: Option<&str>, before: &[(&str, &str)]) -> Vec<String> {
    let mut headers = HeaderMap::new();
    for (name, value) in before {
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let status = StatusCode::from_u16(status).unwrap();
    verdict.apply_at(|| verdict.arrived, status, media_type, &mut headers);
    let mut lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    lines.sort();
    lines
}
