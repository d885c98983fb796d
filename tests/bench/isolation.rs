//! Three sites in one process: one has a policy that misbehaves in each of nine ways, at full load; another refuses
//! everything, at the same load; the third serves small files.
//!
//! In the order of events, for each way: the small files are timed alone, beside the harmless load, and beside the policy
//! that misbehaves, in turns, so that what else the machine does falls on all three. The clients of the load stand for
//! other machines: they have the lowest priority, so that they take no processor from the server or from whoever is timed,
//! and ask as fast as they are answered with what is left. What the generator and the server used is told for each.
//! `WASMSERVE_MISBEHAVIOUR` names the one way that is wanted.
use crate::{MIB, Verdict, latencies, quantile};
use rustix::{process::Signal, time::ClockId};
use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};
use support::{Connection, Hosting, Server, process};

/// What a policy can do wrong.
const MISBEHAVIOURS: &[&str] = &[
    "endless_loop",
    // At each reload, while the policy that was there before refuses everything.
    "configure_loops",
    "memory_growth",
    "stack_overflow",
    "trap",
    "host_calls",
    "body_huge",
    "log_flood",
    "outbound_hangs",
];

/// Clients of the site that misbehaves, each from a network of its own.
const CLIENTS: usize = 8;
/// Turns of the three phases, and requests that are timed in each.
const TURNS: usize = 6;
const TIMED: usize = 1000;
/// The p99 of small files beside a policy that misbehaves is at most this many times that of an idle server. What harmless
/// requests of as many clients do to it is printed beside it: so many that ask as fast as they can are felt whatever they ask.
const LIMIT: f64 = 2.0;

/// What the load's clients add to the niceness of the process.
const NICENESS: i32 = 19;

/// What its policy never lets go.
const SECRET: &[u8] = b"a file that its policy never let go";

/// What was seen in the turns of one phase.
#[derive(Default)]
struct Phase {
    /// The p99 of each turn.
    p99: Vec<Duration>,
    seconds: f64,
    asked: u64,
    told_to_wait: u64,
    /// Processor time.
    server: Duration,
    generator: Duration,
}

/// What the clients of a load did.
#[derive(Default)]
struct Load {
    asked: AtomicU64,
    told_to_wait: AtomicU64,
    generator: Mutex<Duration>,
}

pub fn isolation() -> Verdict {
    let wanted = std::env::var("WASMSERVE_MISBEHAVIOUR").ok();
    let mut holds = true;
    let mut text = format!(
        "{CLIENTS} clients of a site that misbehaves; p99 of small files of another site, median of {TURNS} turns (limit {LIMIT}x \
         of idle):"
    );
    for behaviour in MISBEHAVIOURS {
        if wanted.as_deref().is_some_and(|wanted| wanted != *behaviour) {
            continue;
        }
        println!("a policy misbehaves ({behaviour}) for {CLIENTS} clients ...");
        let (well, line) = misbehaving(behaviour);
        holds &= well;
        text += &line;
    }
    Verdict { holds, text }
}

fn misbehaving(behaviour: &str) -> (bool, String) {
    let hanging = Hanging::start();
    let hosting = Hosting::new()
        .guest("misbehaving")
        .guest("talkative")
        .guest("outbound")
        .guest("probe")
        .file("a/a/secret.txt", SECRET)
        .file("b/file.bin", [7; 1024])
        .config(&sites(
            match behaviour {
                "configure_loops" => "refuses",
                other => other,
            },
            &hanging,
        ));
    let server = hosting.start();
    let misbehaves = |client: usize, load: &Load, going: &dyn Fn() -> bool| {
        if behaviour == "configure_loops" && client == 0 {
            return reload_in_vain(&hosting, &server, &sites(behaviour, &hanging), going);
        }
        asks(&server, client, "a.test", behaviour, &hanging, load, going);
    };
    let harmless = |client: usize, load: &Load, going: &dyn Fn() -> bool| {
        asks(&server, client, "harmless.test", "refuses", &hanging, load, going);
    };
    let (peak, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let [mut idle, mut beside_harmless, mut busy] = <[Phase; 3]>::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                peak.fetch_max(process::resident(server.pid()), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        latencies(&server, 500);
        for _ in 0..TURNS {
            idle.turn(&server, 0, |_, _, _| {});
            beside_harmless.turn(&server, CLIENTS, harmless);
            busy.turn(&server, CLIENTS, misbehaves);
        }
        done.store(true, Ordering::Relaxed);
    });
    let peak = peak.into_inner() / MIB;
    let heals = behaviour != "endless_loop" || healed(&server);
    let ratio = busy.median() / idle.median();
    let line = format!(
        "\n      {behaviour}: idle {:.0} µs, beside harmless requests {:.0} µs, beside it {:.0} µs: {ratio:.1}x of idle, {:.1}x of harmless; peak \
         {peak} MiB{}\
         \n        harmless {beside_harmless}\n        it       {busy}",
        idle.median(),
        beside_harmless.median(),
        busy.median(),
        busy.median() / beside_harmless.median(),
        if heals { "" } else { ", and its breaker did not close" }
    );
    (ratio <= LIMIT && peak < 512 && heals, line)
}

/// One client that asks as fast as it is answered.
fn asks(
    server: &Server,
    client: usize,
    host: &str,
    behaviour: &str,
    hanging: &Hanging,
    load: &Load,
    going: &dyn Fn() -> bool,
) {
    let network = u8::try_from(client).expect("there are few") + 1;
    let mut connection = Connection::open_from(Ipv4Addr::new(127, 0, network, 1), server.address());
    while going() {
        let number = load.asked.fetch_add(1, Ordering::Relaxed);
        let target = match behaviour {
            "log_flood" => format!("/a/none-{number}"),
            "outbound_hangs" => format!("/http/1?GET%20{}/{number}%200", hanging.url()),
            _ => format!("/a/secret.txt?{number}"),
        };
        let response = connection.request("GET", &target, &[("Host", host)]);
        assert_ne!(response.status, 200, "{behaviour}");
        let leaked = response.body.windows(SECRET.len()).any(|part| part == SECRET);
        assert!(!leaked, "{behaviour}");
        if response.header("retry-after").is_some() {
            // As a client that does as it is told, but for the time.
            load.told_to_wait.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A policy that is called for each request, as those that misbehave are.
const REFUSES: &str = "plugin = \"probe\"\nevidence = \"never\"\n[site.policy.config]\nrespond = \"403\"\n";

/// The tables of the three sites.
fn sites(behaviour: &str, hanging: &Hanging) -> String {
    let policy = match behaviour {
        "log_flood" => {
            "plugin = \"talkative\"\ngrants = [\"logging\"]\n[site.policy.config]\nonly = \"/a/\"\nlines = \"1000\"\n\
                        length = \"1000\"\nmessage = \"\"\n"
                .to_owned()
        }
        "outbound_hangs" => format!(
            "plugin = \"outbound\"\nhttp = {{ allow = [{:?}], timeout = \"1h\" }}\nlimits = {{ wall = \"300ms\" }}\n",
            hanging.url()
        ),
        "refuses" => REFUSES.into(),
        other => format!("plugin = \"misbehaving\"\n[site.policy.config]\nonly = \"/a/\"\nbehaviour = {other:?}\n"),
    };
    format!(
        "[[site]]\nname = \"a\"\nhosts = [\"a.test\"]\nroot = \"a\"\n[[site.policy]]\n{policy}\
         [[site]]\nname = \"harmless\"\nhosts = [\"harmless.test\"]\nroot = \"a\"\n[[site.policy]]\n{REFUSES}\
         [[site]]\nname = \"b\"\nhosts = [\"*\"]\nroot = \"b\"\n"
    )
}

// === impl Phase ===

impl Phase {
    /// Times the small file while so many clients `work`.
    fn turn(&mut self, server: &Server, clients: usize, work: impl Fn(usize, &Load, &dyn Fn() -> bool) + Sync) {
        let (load, done) = (Load::default(), AtomicBool::new(false));
        let going = || !done.load(Ordering::Relaxed);
        let (begun, used) = (Instant::now(), process::exact_cpu_time(server.pid()));
        thread::scope(|scope| {
            for client in 0..clients {
                let (load, going, work) = (&load, &going, &work);
                scope.spawn(move || {
                    lower_priority();
                    work(client, load, going);
                    *load.generator.lock().expect("no client panics") += thread_time();
                });
            }
            if clients > 0 {
                thread::sleep(Duration::from_millis(100));
            }
            self.p99.push(quantile(latencies(server, TIMED), 0.99));
            done.store(true, Ordering::Relaxed);
        });
        self.server += process::exact_cpu_time(server.pid()).saturating_sub(used);
        self.seconds += begun.elapsed().as_secs_f64();
        self.asked += load.asked.into_inner();
        self.told_to_wait += load.told_to_wait.into_inner();
        self.generator += load.generator.into_inner().expect("no client panics");
    }

    /// Of the turns, in microseconds.
    fn median(&self) -> f64 {
        quantile(self.p99.clone(), 0.5).as_secs_f64() * 1e6
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let share = |used: Duration| used.as_secs_f64() / self.seconds;
        write!(
            f,
            "{:.0} requests/s, {} told to wait; processors used: server {:.2}, generator {:.2}",
            self.asked as f64 / self.seconds,
            self.told_to_wait,
            share(self.server),
            share(self.generator)
        )
    }
}

/// Takes what others leave of the processors.
fn lower_priority() {
    let own = rustix::process::getpriority_process(None).expect("a thread has a priority");
    rustix::process::setpriority_process(None, (own + NICENESS).min(19)).expect("a thread may lower its priority");
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Asks for a reload of what cannot be configured, again and again.
fn reload_in_vain(hosting: &Hosting, server: &Server, sites: &str, going: &dyn Fn() -> bool) {
    hosting.configure("", sites);
    while going() {
        let refusals = || server.log().matches("not reloaded").count();
        let before = refusals();
        server.signal(Signal::HUP);
        while going() && refusals() == before {
            thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Whether the breaker opened, and closes when the policy behaves for a client that is not known yet.
fn healed(server: &Server) -> bool {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(90) {
        let target = format!("/none-{}", began.elapsed().as_nanos());
        Connection::open_from(Ipv4Addr::new(127, 0, 200, 1), server.address()).request(
            "GET",
            &target,
            &[("Host", "a.test")],
        );
        if server.log().contains("breaker=\"closed\"") {
            return server.log().contains("breaker=\"open\"");
        }
        thread::sleep(Duration::from_millis(200));
    }
    false
}

/// A server that takes requests and never answers. Ends with its listener, when the scenario does.
struct Hanging(SocketAddr);

impl Hanging {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Until the client gives up.
                thread::spawn(move || (&stream).read_to_end(&mut Vec::new()));
            }
        });
        Self(address)
    }

    fn url(&self) -> String {
        format!("http://{}", self.0)
    }
}
