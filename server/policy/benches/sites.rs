//! What many sites cost: one plugin, a chain each, all configured differently.
//!
//! `cargo bench -p wasmserve-policy --bench sites -- 10000`
#[path = "../tests/policy/guest.rs"]
mod guest;

use guest::{Guest, proceed};
use http::{HeaderMap, Method};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Instant, SystemTime},
};
use wasmserve_files::SitePath;
use wasmserve_policy::{
    Budget, Chain, ChainSpec, Configured, Grants, Host, HostOptions, Limits, PolicySpec, Request, Reuse,
};

/// Reads its configuration in `configure`, and asks for the path in `decide`.
fn policy() -> Guest {
    let mut guest = Guest::new();
    guest.pages = 16;
    let (key, reply) = (guest.text("name"), guest.reply(&proceed()));
    guest.configure = format!("(call $config.get {key} (i32.const 64)) (i32.const 16)");
    guest.decide = format!("(call $request.path (i32.const 64)) {reply}");
    guest
}

/// KiB of resident memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn request(path: &str) -> Arc<Request> {
    Arc::new(Request {
        method: Method::GET,
        path: SitePath::from_uri(path).unwrap(),
        query: None,
        headers: HeaderMap::new(),
        scheme: "https",
        host: "example.org".into(),
        site: "bench".into(),
        client: None,
        arrived: SystemTime::now(),
        facts: Vec::new(),
    })
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let words = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    let sites: usize = words.filter_map(|word| word.parse().ok()).next().unwrap_or(1000);
    let host = Host::new(HostOptions {
        instances: 64,
        ..HostOptions::default()
    })
    .unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let wasm = policy().write(folder.path(), "policy.wasm");
    let (begun, before) = (Instant::now(), resident());
    let mut chains: Vec<Chain> = Vec::with_capacity(sites);
    for site in 0..sites {
        let policy = PolicySpec {
            name: "policy".into(),
            wasm: wasm.clone(),
            config: toml::Table::from_iter([("name".to_owned(), format!("site-{site}").into())]),
            limits: Limits::default(),
            grants: Grants::default(),
            establishes: BTreeSet::new(),
            reads: BTreeSet::new(),
            reuse: Reuse::default(),
            shadow: None,
            pin: None,
        };
        let (policies, roots) = (vec![policy], BTreeSet::new());
        let spec = ChainSpec {
            site: format!("site-{site}").into(),
            policies,
            observers: Vec::new(),
            roots,
            budget: Budget::default(),
        };
        chains.push(host.load(spec).await.unwrap());
    }
    let tell = |what: &str, begun: Instant| {
        let once = chains
            .iter()
            .filter(|chain| chain.policies()[0].configured == Configured::Once)
            .count();
        let each = (resident() - before) as f64 / sites as f64;
        println!(
            "{what}: {:.2} s, {each:.1} KiB a site, {once} captured",
            begun.elapsed().as_secs_f64()
        );
    };
    tell(&format!("{sites} sites loaded"), begun);
    for (what, paths) in [("a decision of each", 1), ("twenty more of each", 20)] {
        let begun = Instant::now();
        for chain in &chains {
            for path in 0..paths {
                chain
                    .decide(&request(&format!("/{what}/{path}").replace(' ', "-")))
                    .await;
            }
        }
        tell(what, begun);
    }
}
