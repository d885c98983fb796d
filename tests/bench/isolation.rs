//! Two sites in one process: one has a policy that misbehaves in each of nine ways, at full load; the other serves small
//! files.
use crate::{MIB, Verdict, idle_and_busy};
use rustix::process::Signal;
use std::{
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{Connection, Hosting, Server, process};

/// What a policy can do wrong.
const MISBEHAVIOURS: &[&str] = &[
    "endless_loop",
    // At each reload.
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

/// What its policy never lets go.
const SECRET: &[u8] = b"a file that its policy never let go";

pub fn isolation() -> Verdict {
    let mut holds = true;
    let mut text =
        format!("{CLIENTS} clients of a site that misbehaves; p99 of small files of another site (limit 2x):");
    for behaviour in MISBEHAVIOURS {
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
        .file("a/a/secret.txt", SECRET)
        .file("b/file.bin", [7; 1024])
        .config(&sites(
            match behaviour {
                "configure_loops" => "trap",
                other => other,
            },
            &hanging,
        ));
    let server = hosting.start();
    let (asked, refused, peak) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let ask = |client: usize, going: &dyn Fn() -> bool| {
        let network = u8::try_from(client).expect("there are few") + 1;
        let mut connection = Connection::open_from(Ipv4Addr::new(127, 0, network, 1), server.address());
        if behaviour == "configure_loops" && client == 0 {
            return reload_in_vain(&hosting, &server, &sites(behaviour, &hanging), going);
        }
        while going() {
            let number = asked.fetch_add(1, Ordering::Relaxed);
            let target = match behaviour {
                "log_flood" => format!("/a/none-{number}"),
                "outbound_hangs" => format!("/http/1?GET%20{}/{number}%200", hanging.url()),
                _ => format!("/a/secret.txt?{number}"),
            };
            let response = connection.request("GET", &target, &[("Host", "a.test")]);
            assert_ne!(response.status, 200, "{behaviour}");
            let leaked = response.body.windows(SECRET.len()).any(|part| part == SECRET);
            assert!(!leaked, "{behaviour}");
            if response.header("retry-after").is_some() {
                // As a client that does as it is told, but for the time.
                refused.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
            peak.fetch_max(process::resident(server.pid()), Ordering::Relaxed);
        }
    };
    let (idle, busy) = idle_and_busy(&server, CLIENTS, ask, || {});
    let ratio = busy.as_secs_f64() / idle.as_secs_f64();
    let peak = peak.into_inner() / MIB;
    let heals = behaviour != "endless_loop" || healed(&server);
    let line = format!(
        "\n      {behaviour}: {} µs idle, {} µs: {ratio:.1}x, {} asked, {} told to wait, peak {peak} MiB{}",
        idle.as_micros(),
        busy.as_micros(),
        asked.into_inner(),
        refused.into_inner(),
        if heals { "" } else { ", and its breaker did not close" }
    );
    (ratio <= 2.0 && peak < 512 && heals, line)
}

/// The tables of both sites.
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
        other => format!("plugin = \"misbehaving\"\n[site.policy.config]\nonly = \"/a/\"\nbehaviour = {other:?}\n"),
    };
    format!(
        "[[site]]\nname = \"a\"\nhosts = [\"a.test\"]\nroot = \"a\"\n[[site.policy]]\n{policy}\
         [[site]]\nname = \"b\"\nhosts = [\"*\"]\nroot = \"b\"\n"
    )
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
