//! A thousand tenants in one process, one of them under attack: a policy that loops without end, and clients that ask for
//! large files and hardly read. What the others feel of it, with and without, in one run.
use crate::{
    MIB, Verdict,
    steady::{Outcome, Question, steady},
};
use std::{
    fmt::Write as _,
    net::Ipv4Addr,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{Connection, Hosting, Server, client::request_head, pattern, process};

const TENANTS: usize = 1000;
/// Half ask what the policy loops for, half read slowly.
const ATTACKERS: usize = 100;
/// Requests a second for the others' latency.
const RATE: u64 = 500;
const CONNECTIONS: u64 = 16;
/// What is asked for throughput: more than can be answered.
const FLOOD: u64 = 1_000_000;
const ROUNDS: usize = 3;
const LATENCY: Duration = Duration::from_secs(2);
const THROUGHPUT: Duration = Duration::from_secs(1);
const MOST_MEMORY: u64 = 512 * MIB;

/// What the others got in some rounds.
#[derive(Default)]
struct Felt {
    steady: Outcome,
    flooded: Outcome,
}

pub fn tenants() -> Verdict {
    println!("{TENANTS} tenants, one of them under attack by {ATTACKERS} connections ...");
    let bodies: Vec<Vec<u8>> = (0..TENANTS).map(|number| pattern(number as u64, 1 << 10)).collect();
    let hosts: Vec<String> = (0..TENANTS).map(|number| format!("t{number}.test")).collect();
    let mut hosting = Hosting::new().guest("probe").guest("misbehaving");
    let mut sites = String::new();
    for (number, body) in bodies.iter().enumerate() {
        hosting = hosting.file(&format!("t{number}/file.bin"), body);
        let policy = match number {
            0 => "plugin = \"misbehaving\"\nconfig = { behaviour = \"endless_loop\", only = \"/spin\" }".to_owned(),
            _ => format!("plugin = \"probe\"\nconfig = {{ headers = \"set | x-tenant | {number}\" }}"),
        };
        let _ = write!(
            sites,
            "[[site]]\nname = \"t{number}\"\nhosts = [\"t{number}.test\"]\nroot = \"t{number}\"\n[[site.policy]]\n{policy}\n"
        );
    }
    hosting.configure("log = \"error\"", &sites);
    let large = std::fs::File::create(hosting.at("t0/large.bin")).expect("the folder is writable");
    large.set_len(1 << 30).expect("the file system knows sparse files");
    let begun = Instant::now();
    let server = hosting.start();
    let started = begun.elapsed();

    let others = |number: u64| {
        // Never the first, which is under attack.
        let tenant = 1 + usize::try_from(number).unwrap_or(0) % (TENANTS - 1);
        Question {
            host: &hosts[tenant],
            path: "/file.bin",
            body: &bodies[tenant],
        }
    };
    // Each tenant's policy is configured when it is first asked.
    felt(&server, &others);
    let (mut without, mut with) = (Felt::default(), Felt::default());
    let (spun, given, peak) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    for _ in 0..ROUNDS {
        without.add(felt(&server, &others));
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for attacker in 0..ATTACKERS {
                let (server, stop, spun, given, peak) = (&server, &stop, &spun, &given, &peak);
                scope.spawn(move || attack(server, attacker, stop, spun, given, peak));
            }
            thread::sleep(Duration::from_millis(300));
            with.add(felt(&server, &others));
            stop.store(true, Ordering::Relaxed);
        });
    }
    let (peak, given) = (peak.into_inner(), given.into_inner());
    let failed = [&without, &with].map(|felt| felt.steady.failed + felt.flooded.failed);
    let trouble: String = [&without, &with]
        .map(|felt| felt.steady.trouble() + &felt.flooded.trouble())
        .concat();
    let line = |felt: &Felt| {
        format!(
            "p50 {} µs, p99 {} µs at {RATE}/s; {:.0}/s at most",
            felt.steady.quantile(0.5),
            felt.steady.quantile(0.99),
            felt.flooded.latencies.len() as f64 / (THROUGHPUT.as_secs_f64() * ROUNDS as f64)
        )
    };
    Verdict {
        holds: failed == [0, 0] && given == 0 && peak < MOST_MEMORY,
        text: format!(
            "{TENANTS} tenants, started in {:.1} s; {ATTACKERS} connections attack one of them ({} calls of an endless loop):\n      \
             the others without: {}\n      the others beside:  {}\n      {} and {} of their requests failed{trouble}; peak \
             resident {} MiB (limit {}); answered by the looping policy: {given}",
            started.as_secs_f64(),
            spun.into_inner(),
            line(&without),
            line(&with),
            failed[0],
            failed[1],
            peak / MIB,
            MOST_MEMORY / MIB
        ),
    }
}

/// What the others get now: at a fixed rate, and as fast as they can.
fn felt<'a>(server: &Server, others: &(dyn Fn(u64) -> Question<'a> + Sync)) -> Felt {
    let during = |rate, connections, time: Duration| {
        let until = Instant::now() + time;
        let going = move || Instant::now() < until;
        steady(server.address(), rate, connections, &going, others)
    };
    Felt {
        steady: during(RATE, CONNECTIONS, LATENCY),
        flooded: during(FLOOD, 4, THROUGHPUT),
    }
}

/// One connection after the other from an address of its own: odd ones ask what the policy loops for, even ones take a
/// few bytes of a large file at a time.
fn attack(server: &Server, attacker: usize, stop: &AtomicBool, spun: &AtomicU64, given: &AtomicU64, peak: &AtomicU64) {
    let network = u8::try_from(attacker).expect("there are a hundred") + 1;
    let host = [("Host", "t0.test")];
    while !stop.load(Ordering::Relaxed) {
        let mut connection = Connection::open_from(Ipv4Addr::new(127, 0, network, 1), server.address());
        peak.fetch_max(process::resident(server.pid()), Ordering::Relaxed);
        if attacker % 2 == 1 {
            if connection.try_send(request_head("GET", "/spin", &host)).is_err() {
                continue;
            }
            spun.fetch_add(1, Ordering::Relaxed);
            if let Ok(response) = connection.try_response_to("GET")
                && response.status < 500
                && response.status != 429
            {
                given.fetch_add(1, Ordering::Relaxed);
            }
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        if connection.try_send(request_head("GET", "/large.bin", &host)).is_err() {
            continue;
        }
        while !stop.load(Ordering::Relaxed) && connection.take(512).is_ok() {
            thread::sleep(Duration::from_millis(100));
        }
    }
}

// === impl Felt ===

impl Felt {
    fn add(&mut self, other: Self) {
        self.steady.add(other.steady);
        self.flooded.add(other.flooded);
    }
}
