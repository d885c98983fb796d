//! What is measured, of whom.
use crate::{
    Extent, Settings, curves,
    load::{self, Load},
    peers::{Kind, Ours, Peer},
    report::{Failure, Run, Sample},
    site::Site,
    tokens,
};
use std::{
    fmt::Display,
    time::{Duration, Instant},
};
use support::{Chain, Launch, Policy, password_hash, process};

/// A workload: a name for the command line, and what it shows.
pub struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    pub part: Part,
    pub measure: fn(&Settings, &mut Run) -> Result<(), String>,
}

/// What a workload belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A run without arguments: the README's table.
    Table,
    /// How cost grows: `curves`.
    Curve,
    /// When it is named.
    Alone,
}

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "small",
        what: "files of 1, 10 and 100 KiB over 8 kept connections, as fast as one client can",
        part: Part::Table,
        measure: small,
    },
    Workload {
        name: "policy",
        what: "1 KiB behind a policy, 8 kept connections",
        part: Part::Table,
        measure: policy,
    },
    Workload {
        name: "many",
        what: "1 KiB to 1,000 kept connections, and of 10,000 different files",
        part: Part::Table,
        measure: many,
    },
    Workload {
        name: "large",
        what: "100 MiB to 1, 10 and 100 clients at once",
        part: Part::Table,
        measure: large,
    },
    Workload {
        name: "latency",
        what: "1 KiB at a fixed rate: alone, and beside 8 downloads",
        part: Part::Table,
        measure: latency,
    },
    Workload {
        name: "memory",
        what: "resident memory: idle, with 100 downloads of 1 GiB, and of 10,000 idle connections",
        part: Part::Table,
        measure: memory,
    },
    Workload {
        name: "store",
        what: "8 objects of 64 MiB in object storage through a cache on local disk: cold, and warm",
        part: Part::Alone,
        measure: crate::store::store,
    },
    Workload {
        name: "start",
        what: "from start to the first byte; of policies with and without their compiled code on disk",
        part: Part::Table,
        measure: start,
    },
    Workload {
        name: "password",
        what: "what asking for a password costs beyond the request itself",
        part: Part::Table,
        measure: password,
    },
    Workload {
        name: "tokens",
        what: "1 KiB to the bearer of a token signed by RS256, 8 kept connections",
        part: Part::Alone,
        measure: tokens::measure,
    },
    Workload {
        name: "connections",
        what: "curve: 1 to 10,000 kept connections, 1 KiB",
        part: Part::Curve,
        measure: curves::connections,
    },
    Workload {
        name: "files",
        what: "curve: 1 to 1,000,000 different files of 1 KiB",
        part: Part::Curve,
        measure: curves::files,
    },
    Workload {
        name: "sites",
        what: "curve: 1 to 10,000 sites, each with files and a policy of its own: CPU, memory and start",
        part: Part::Curve,
        measure: curves::sites,
    },
    Workload {
        name: "policies",
        what: "curve: 0 to 10 policies, decisions kept, 1 KiB",
        part: Part::Curve,
        measure: curves::policies,
    },
    Workload {
        name: "sizes",
        what: "curve: file size, 1 KiB to 10 GiB",
        part: Part::Curve,
        measure: curves::sizes,
    },
];

pub const OURS: Kind = Kind::Ours(Ours::NoPlugins);

/// Those of the contestants that were asked for. The first is what the others are compared with.
pub fn chosen(settings: &Settings, kinds: &[Kind]) -> Vec<Kind> {
    let wanted = |kind: &Kind| {
        let name = kind.name().to_lowercase();
        let asked = settings.only.is_empty() || settings.only.iter().any(|word| name.contains(&word.to_lowercase()));
        if asked && !kind.is_installed() {
            eprintln!("  {} is not installed, and left out", kind.name());
        }
        asked && kind.is_installed()
    };
    kinds.iter().copied().filter(wanted).collect()
}

pub fn start_all(settings: &Settings, kinds: &[Kind], site: &Site) -> Result<Vec<Peer>, String> {
    chosen(settings, kinds)
        .into_iter()
        .map(|kind| Peer::start(kind, site))
        .collect()
}

/// A place on the axis of a workload.
#[derive(Clone)]
pub struct Point {
    pub label: String,
    pub at: f64,
}

impl Point {
    pub fn new(label: impl Into<String>, at: f64) -> Self {
        Self {
            label: label.into(),
            at,
        }
    }
}

/// Where a figure belongs.
pub struct Cell<'a> {
    pub workload: &'static str,
    pub point: &'a Point,
    pub contestant: &'a str,
    pub round: usize,
}

impl Cell<'_> {
    pub fn add(&self, run: &mut Run, figure: &'static str, unit: &'static str, value: f64) {
        run.add(Sample {
            workload: self.workload,
            point: self.point.label.clone(),
            at: self.point.at,
            contestant: self.contestant.to_owned(),
            round: self.round,
            figure,
            unit,
            value,
        });
    }

    /// Does what the cell is about. A peer that fails is noted and not asked here again, so that the others are measured;
    /// `None` then. That this server fails is an error.
    pub fn attempt<T, E: Display>(
        &self,
        run: &mut Run,
        peer: &Peer,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<Option<T>, String> {
        if run.has_failed(self.workload, &self.point.label, self.contestant) {
            return Ok(None);
        }
        match work() {
            Ok(done) => Ok(Some(done)),
            Err(error) if peer.is_ours() => Err(format!("{}, {}: {error}", peer.name, self.point.label)),
            Err(error) => {
                run.fail(Failure {
                    workload: self.workload,
                    point: self.point.label.clone(),
                    contestant: self.contestant.to_owned(),
                    error: error.to_string(),
                });
                Ok(None)
            }
        }
    }
}

/// Closed-loop rounds over these contestants and points; the first round warms up and is not counted.
pub fn rounds(
    settings: &Settings,
    run: &mut Run,
    workload: &'static str,
    peers: &[Peer],
    points: &[Point],
    ask: impl Fn(&Peer, &Point) -> Result<Load, String>,
) -> Result<(), String> {
    for round in 0..=settings.rounds {
        for point in points {
            for peer in peers {
                let cell = Cell {
                    workload,
                    point,
                    contestant: &peer.name,
                    round,
                };
                let before = peer.cpu();
                let Some(load) = cell.attempt(run, peer, || ask(peer, point))? else {
                    continue;
                };
                let cpu = peer.cpu().saturating_sub(before).as_secs_f64();
                if round == 0 || load.requests == 0.0 {
                    continue;
                }
                cell.add(run, "CPU per request", "µs", cpu * 1e6 / load.requests);
                cell.add(run, "requests per second", "1/s", load.requests / load.seconds);
            }
        }
    }
    Ok(())
}

fn small(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let kinds = [
        Kind::Nginx,
        OURS,
        Kind::Ours(Ours::WithAccessLog),
        Kind::Ours(Ours::Kept),
        Kind::Lighttpd,
        Kind::NginxWithoutSendfile,
        Kind::StaticWebServer,
        Kind::Caddy,
        Kind::Tornado,
    ];
    let peers = start_all(settings, &kinds, &site)?;
    let points = [
        Point::new("1KiB", 1024.0),
        Point::new("10KiB", 10240.0),
        Point::new("100KiB", 102_400.0),
    ];
    rounds(settings, run, "small", &peers, &points, |peer, point| {
        let path = format!("/{}.bin", point.label);
        load::closed(peer.address, &path, peer.headers, 8, settings.seconds, None)
    })?;
    // The floor knows one size.
    let floor = start_all(settings, &[Kind::Floor], &site)?;
    rounds(settings, run, "small", &floor, &points[..1], |peer, _| {
        peer.small_file(settings, 8, None)
    })
}

fn policy(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let kinds = [
        Kind::Nginx,
        OURS,
        Kind::Ours(Ours::Kept),
        Kind::Ours(Ours::Fresh),
        Kind::Ours(Ours::Reused),
        Kind::NginxLua,
        Kind::NginxNjs,
        Kind::NginxBasicAuth,
        Kind::EnvoyWasm,
    ];
    let peers = start_all(settings, &kinds, &site)?;
    let points = [Point::new("1KiB", 1024.0)];
    rounds(settings, run, "policy", &peers, &points, |peer, _| {
        peer.small_file(settings, 8, None)
    })
}

fn many(settings: &Settings, run: &mut Run) -> Result<(), String> {
    const FILES: usize = 10_000;
    let site = Site::new();
    site.many(FILES);
    let kinds = [
        Kind::Nginx,
        OURS,
        Kind::Ours(Ours::ManyFiles),
        Kind::Ours(Ours::Kept),
        Kind::Lighttpd,
        Kind::StaticWebServer,
        Kind::Caddy,
    ];
    let peers = start_all(settings, &kinds, &site)?;
    let points = [
        Point::new("1,000 connections", load::possible(1000) as f64),
        Point::new("10,000 files", FILES as f64),
    ];
    rounds(settings, run, "many", &peers, &points, |peer, point| {
        if point.label == points[0].label {
            let connections = point.at as usize;
            return peer.small_file(settings, connections, None);
        }
        let next = curves::any_file(FILES);
        peer.small_file(settings, 8, Some(&next))
    })
}

fn large(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let kinds = [
        Kind::Nginx,
        OURS,
        Kind::Ours(Ours::SendfileAlways),
        Kind::Ours(Ours::Kept),
        Kind::NginxWithoutSendfile,
        Kind::Lighttpd,
        Kind::Caddy,
        Kind::StaticWebServer,
        Kind::Tornado,
        Kind::TornadoFlush,
    ];
    let peers = start_all(settings, &kinds, &site)?;
    let clients: &[usize] = match settings.extent {
        Extent::Quick => &[1, 10],
        Extent::Whole => &[1, 10, 100],
    };
    // Each round moves some 11 GB for every contestant.
    for round in 0..=settings.rounds.min(3) {
        let clients = if round == 0 { &clients[..1] } else { clients };
        for &clients in clients {
            let point = Point::new(format!("{clients} clients"), clients as f64);
            for peer in &peers {
                let cell = Cell {
                    workload: "large",
                    point: &point,
                    contestant: &peer.name,
                    round,
                };
                let before = peer.cpu();
                let downloads = || load::downloads(peer.address, "/100MiB.bin", clients);
                let Some(load) = cell.attempt(run, peer, downloads)? else {
                    continue;
                };
                let cpu = peer.cpu().saturating_sub(before).as_secs_f64();
                if round > 0 {
                    cell.add(run, "CPU per GB", "s", cpu * 1e9 / load.bytes);
                    cell.add(run, "time for all to finish", "s", load.seconds);
                }
            }
        }
    }
    Ok(())
}

fn latency(settings: &Settings, run: &mut Run) -> Result<(), String> {
    const RATE: u64 = 500;
    let site = Site::new();
    let kinds = [Kind::Nginx, OURS, Kind::Ours(Ours::Kept), Kind::Lighttpd, Kind::Caddy];
    let peers = start_all(settings, &kinds, &site)?;
    // The first request of a connection and of a file is the warm-up here: one that was ruined by it would not be at p99.9.
    let duration = Duration::from_secs(settings.seconds * if settings.extent == Extent::Quick { 1 } else { 4 });
    for round in 0..=settings.rounds.min(3) {
        for (label, downloads) in [("alone", 0), ("8 downloads", 8)] {
            let point = Point::new(label, downloads as f64);
            for peer in &peers {
                let cell = Cell {
                    workload: "latency",
                    point: &point,
                    contestant: &peer.name,
                    round,
                };
                let ask = || load::at_rate(peer.address, "/1KiB.bin", RATE, 16, duration);
                let asked = cell.attempt(run, peer, || match downloads {
                    0 => ask(),
                    clients => load::beside(peer.address, "/100MiB.bin", clients, ask),
                })?;
                let Some(latencies) = asked.filter(|_| round > 0) else {
                    continue;
                };
                cell.add(run, "p50 at 500/s", "µs", latencies.quantile(0.5));
                cell.add(run, "p99 at 500/s", "µs", latencies.quantile(0.99));
                cell.add(run, "p99.9 at 500/s", "µs", latencies.quantile(0.999));
            }
        }
    }
    Ok(())
}

fn memory(settings: &Settings, run: &mut Run) -> Result<(), String> {
    const MIB: f64 = (1 << 20) as f64;
    let (idle_connections, downloads) = match settings.extent {
        Extent::Quick => (1000, 10),
        Extent::Whole => (load::possible(10_000), 100),
    };
    let site = Site::new();
    site.sparse("1GiB.bin", 1 << 30);
    let kinds = [
        Kind::Nginx,
        OURS,
        Kind::Ours(Ours::Kept),
        Kind::Lighttpd,
        Kind::StaticWebServer,
        Kind::Caddy,
    ];
    fn cell<'a>(peer: &'a Peer, point: &'a Point) -> Cell<'a> {
        Cell {
            workload: "memory",
            point,
            contestant: &peer.name,
            round: 1,
        }
    }
    // One after the other: what one keeps must not press on the next.
    for kind in chosen(settings, &kinds) {
        let peer = Peer::start(kind, &site)?;
        let idle = peer.memory() as f64;
        let busy = load::beside(peer.address, "/1GiB.bin", downloads, || {
            let until = Instant::now() + Duration::from_secs(settings.seconds * 3);
            let mut most = 0;
            while Instant::now() < until {
                most = most.max(peer.memory());
                std::thread::sleep(Duration::from_millis(50));
            }
            most as f64
        });
        let mut add = |label: String, value| cell(&peer, &Point::new(label, 0.0)).add(run, "resident", "MiB", value);
        add("idle".into(), idle / MIB);
        add(format!("{downloads} x 1 GiB"), busy / MIB);
        add("over idle".into(), (busy - idle).max(0.0) / MIB);
        let point = Point::new(format!("{idle_connections} idle connections"), 0.0);
        let before = peer.memory() as f64;
        let ask = || load::idle(peer.address, "/1KiB.bin", idle_connections);
        if let Some(connections) = cell(&peer, &point).attempt(run, &peer, ask)? {
            // What a server gives back of connections that stay idle, it gives back soon.
            std::thread::sleep(Duration::from_secs(3));
            let held = (peer.memory() as f64 - before).max(0.0) / connections.len() as f64;
            cell(&peer, &point).add(run, "for each connection", "KiB", held / 1024.0);
        }
    }
    Ok(())
}

fn start(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let kinds = [
        Kind::Nginx,
        OURS,
        Kind::Ours(Ours::Kept),
        Kind::Ours(Ours::KeptWarm),
        Kind::Lighttpd,
        Kind::StaticWebServer,
        Kind::Caddy,
    ];
    let point = Point::new("first byte", 1.0);
    for round in 0..=settings.rounds {
        for kind in chosen(settings, &kinds) {
            // The first round fills the cache of compiled code.
            let (peer, took) = Peer::timed(kind, &site)?;
            if round > 0 {
                let cell = Cell {
                    workload: "start",
                    point: &point,
                    contestant: &peer.name,
                    round,
                };
                cell.add(run, "from start to first byte", "ms", took.as_secs_f64() * 1e3);
            }
        }
    }
    Ok(())
}

fn password(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let users = format!(
        "prefixes = [\"/private/\"]\nusers = {{ alice = \"{}\" }}",
        password_hash("correct horse")
    );
    let chain = Chain::new([Policy::standard("basic-auth").config(&users)]);
    let server = Launch::new(site.tree()).plugins(&chain).start();
    let name = OURS.name();
    // In base64: `alice:` and passwords that are all wrong and all different, because a kept refusal costs nothing.
    const ALICE: &str = "YWxpY2U6";
    const PARTS: [&str; 9] = ["YWFh", "YmJi", "Y2Nj", "ZGRk", "ZWVl", "ZmZm", "Z2dn", "aGho", "aWlp"];
    for round in 1..=settings.rounds.min(PARTS.len()) {
        let before = process::cpu_time(server.pid());
        for part in PARTS {
            let password = format!("Basic {ALICE}{}{part}", PARTS[round - 1]);
            let response = server.request("GET", "/private/", &[("Authorization", &password)]);
            if response.status != 401 {
                return Err(format!("a wrong password was answered with {response:?}"));
            }
        }
        let spent = process::cpu_time(server.pid()) - before;
        let cell = Cell {
            workload: "password",
            point: &Point::new("argon2id", 1.0),
            contestant: &name,
            round,
        };
        cell.add(
            run,
            "CPU per check",
            "ms",
            spent.as_secs_f64() * 1e3 / PARTS.len() as f64,
        );
    }
    Ok(())
}
