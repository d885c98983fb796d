//! What a decision costs: processor time per request, all cases beside each other in one run.
//!
//! `cargo bench -p wasmserve-policy` (a few seconds). Each case is run in rounds that take turns, and the median round
//! counts, so that a busy machine shifts all of them alike.
#[path = "../tests/policy/guest.rs"]
mod guest;

use guest::{Guest, proceed, respond};
use http::{HeaderMap, HeaderValue, Method};
use rustix::time::{ClockId, clock_gettime};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tikv_jemallocator::Jemalloc;
use wasmserve_files::SitePath;
use wasmserve_policy::{
    Budget, Chain, ChainSpec, Configured, Grants, Host, HostOptions, Isolation, Limits, Outcome, PolicySpec, Request,
    Reuse,
};

/// As in the server: a call asks for memory some twenty times.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

const ROUNDS: usize = 9;

struct Case {
    name: &'static str,
    chain: Chain,
    calls: u32,
    /// Nanoseconds a call, of each round.
    rounds: Vec<f64>,
}

/// Asks three questions and proceeds. `rules`: builds a table of as many rules of 64 bytes in `configure`, and looks at one.
fn policy(rules: u32, capturable: bool) -> Guest {
    let mut guest = Guest::new();
    let (cookie, header) = (guest.text("session"), guest.text("accept-language"));
    let (yes, no) = (guest.reply(&proceed()), guest.reply(&respond(403)));
    guest.pages = 32;
    guest.configure = format!(
        "(local $i i32) (local $at i32)
         (block $end (loop $next
            (br_if $end (i32.ge_u (local.get $i) (i32.const {rules})))
            (local.set $at (i32.add (i32.const 1048576) (i32.mul (local.get $i) (i32.const 64))))
            (i32.store (local.get $at) (local.get $i))
            (i32.store offset=4 (local.get $at) (call $hash (local.get $at) (i32.const 64)))
            (i32.store offset=60 (local.get $at) (i32.const 1))
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br $next)))
         (i32.const 16)"
    );
    guest.decide = format!(
        "(call $request.path (i32.const 64))
         (drop (call $hash (i32.load (i32.const 64)) (i32.load (i32.const 68))))
         (call $request.header {header} (i32.const 64))
         (call $request.cookie {cookie} (i32.const 64))
         (if (result i32) (i32.and (i32.load8_u (i32.const 64)) (i32.ge_u (i32.load (i32.const 1048636)) (i32.const {})))
          (then {yes}) (else {no}))",
        u32::from(rules > 0),
    );
    if !capturable {
        guest.more = "(table $table 1 1 funcref) (elem declare func $hash)
            (func (export \"unused\") (table.set $table (i32.const 0) (ref.func $hash)))"
            .into();
    }
    guest
}

async fn load(host: &Host, guest: &Guest, reuse: Reuse) -> Chain {
    let folder = tempfile::TempDir::new().unwrap();
    let policy = PolicySpec {
        name: "policy".into(),
        wasm: guest.write(folder.path(), "policy.wasm"),
        config: toml::Table::new(),
        limits: Limits::default(),
        grants: Grants::default(),
        establishes: BTreeSet::new(),
        reads: BTreeSet::new(),
        reuse,
        shadow: None,
        pin: None,
    };
    let spec = ChainSpec {
        site: "bench".into(),
        policies: vec![policy],
        observers: Vec::new(),
        roots: BTreeSet::new(),
        budget: Budget::default(),
    };
    host.load(spec).await.unwrap()
}

fn request() -> Arc<Request> {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "example.org"),
        (
            "user-agent",
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
        ),
        (
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ),
        ("accept-language", "en-US,en;q=0.5"),
        ("accept-encoding", "gzip, deflate, br, zstd"),
        ("cookie", "theme=dark; session=0123456789abcdef0123456789abcdef"),
    ] {
        headers.append(name, HeaderValue::from_static(value));
    }
    Arc::new(Request {
        method: Method::GET,
        path: SitePath::from_uri("/docs/guide/index.html").unwrap(),
        query: None,
        headers,
        scheme: "https",
        host: "example.org".into(),
        site: "bench".into(),
        client: Some([192, 0, 2, 1].into()),
        arrived: SystemTime::now(),
        facts: Vec::new(),
    })
}

fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

async fn round(case: &mut Case, request: &Arc<Request>) {
    let before = processor_time();
    for _ in 0..case.calls {
        let verdict = case.chain.decide(request).await;
        assert!(matches!(verdict.outcome, Outcome::Proceed(_)));
        std::hint::black_box(verdict);
    }
    let spent = processor_time() - before;
    case.rounds.push(spent.as_nanos() as f64 / f64::from(case.calls));
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let host = Host::new(HostOptions {
        instances: 64,
        ..HostOptions::default()
    })
    .unwrap();
    let (off, on) = (
        Reuse {
            evidence: false,
            ..Reuse::default()
        },
        Reuse::default(),
    );
    let reuse = Reuse {
        isolation: Isolation::Reuse,
        ..off
    };
    let mut cases = vec![Case {
        name: "no policy",
        chain: Chain::empty("bench".into()),
        calls: 200_000,
        rounds: Vec::new(),
    }];
    let names = [
        [
            "kept decision",
            "fresh from a snapshot",
            "configured ahead",
            "reused warm instance",
        ],
        [
            "kept decision, 1,000 rules",
            "fresh from a snapshot, 1,000 rules",
            "configured ahead, 1,000 rules",
            "reused warm instance, 1,000 rules",
        ],
    ];
    for (names, rules) in names.into_iter().zip([0, 1000]) {
        let begun = Instant::now();
        for (at, (name, reuse)) in names.into_iter().zip([on, off, off, reuse]).enumerate() {
            let chain = load(&host, &policy(rules, at != 2), reuse).await;
            assert_eq!(chain.policies()[0].configured == Configured::Once, at != 2);
            let calls = if at == 0 { 200_000 } else { 5_000 };
            cases.push(Case {
                name,
                chain,
                calls,
                rounds: Vec::new(),
            });
        }
        println!(
            "four chains with {rules} rules loaded in {:.3} s",
            begun.elapsed().as_secs_f64()
        );
    }
    // `cargo bench -p wasmserve-policy -- warm`: those cases alone.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    cases.retain(|case| wanted.is_empty() || wanted.iter().any(|word| case.name.contains(word)));
    let request = request();
    for _ in 0..=ROUNDS {
        for case in &mut cases {
            round(case, &request).await;
        }
    }
    let mut nothing = 0.0;
    for case in &mut cases {
        // The first round warms up.
        case.rounds.remove(0);
        case.rounds.sort_by(f64::total_cmp);
        let (median, best) = (case.rounds[ROUNDS / 2] / 1000.0, case.rounds[0] / 1000.0);
        if case.name == "no policy" {
            nothing = median;
        }
        println!(
            "{:40} {median:9.3} us (best {best:.3}), {:+9.3} us over no policy",
            case.name,
            median - nothing
        );
    }
}
