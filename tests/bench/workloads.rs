//! What is measured, of whom.
use crate::{
    Settings,
    load::{self, Load},
    peers::{Kind, Ours, Peer},
    report::{Run, Sample},
    site::{Site, many_path},
};
use std::time::{Duration, Instant};
use support::{Chain, Launch, Policy, password_hash, process};

/// A workload: a name for the command line, and what it shows.
pub struct Workload {
    pub name: &'static str,
    pub what: &'static str,
    /// Part of a run without arguments.
    pub usual: bool,
    pub measure: fn(&Settings, &mut Run) -> Result<(), String>,
}

pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "small",
        what: "files of 1, 10 and 100 KiB over 8 kept connections, as fast as a client can",
        usual: true,
        measure: small,
    },
    Workload {
        name: "policy",
        what: "1 KiB behind a policy, 8 kept connections",
        usual: true,
        measure: policy,
    },
    Workload {
        name: "large",
        what: "100 MiB to 1, 10 and 100 clients at once",
        usual: true,
        measure: large,
    },
    Workload {
        name: "latency",
        what: "1 KiB at a fixed rate: alone, and beside 8 downloads",
        usual: true,
        measure: latency,
    },
    Workload {
        name: "memory",
        what: "resident memory: idle, with 100 downloads of 1 GiB, with 10,000 idle connections",
        usual: true,
        measure: memory,
    },
    Workload {
        name: "start",
        what: "from start to the first byte",
        usual: true,
        measure: start,
    },
    Workload {
        name: "password",
        what: "what asking for a password costs beyond the request itself",
        usual: true,
        measure: password,
    },
    Workload {
        name: "connections",
        what: "curve: 1 to 10,000 kept connections, 1 KiB",
        usual: false,
        measure: connections,
    },
    Workload {
        name: "files",
        what: "curve: 1 to 100,000 (--large: 1,000,000) different files of 1 KiB",
        usual: false,
        measure: files,
    },
    Workload {
        name: "policies",
        what: "curve: 0 to 10 policies, decisions kept, 1 KiB",
        usual: false,
        measure: policies,
    },
    Workload {
        name: "sizes",
        what: "curve: file size, 1 KiB to 1 GiB (--large: 10 GiB)",
        usual: false,
        measure: sizes,
    },
];

const OURS: Kind = Kind::Ours(Ours::NoPlugins);

/// Those of the contestants that were asked for. The first is what the others are compared with.
fn chosen(settings: &Settings, kinds: &[Kind]) -> Vec<Kind> {
    let wanted = |kind: &Kind| {
        let name = kind.name().to_lowercase();
        settings.only.is_empty() || settings.only.iter().any(|word| name.contains(&word.to_lowercase()))
    };
    kinds.iter().copied().filter(wanted).collect()
}

fn start_all(settings: &Settings, kinds: &[Kind], site: &Site) -> Result<Vec<Peer>, String> {
    chosen(settings, kinds)
        .into_iter()
        .map(|kind| Peer::start(kind, site))
        .collect()
}

/// A place on the axis of a workload.
#[derive(Clone)]
struct Point {
    label: String,
    at: f64,
}

impl Point {
    fn new(label: impl Into<String>, at: f64) -> Self {
        Self {
            label: label.into(),
            at,
        }
    }
}

/// Where a figure belongs.
struct Cell<'a> {
    workload: &'static str,
    point: &'a Point,
    contestant: &'a str,
    round: usize,
}

impl Cell<'_> {
    fn add(&self, run: &mut Run, figure: &'static str, unit: &'static str, value: f64) {
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
}

/// Closed-loop rounds over these contestants and points; the first round warms up and is not counted.
fn rounds(
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
                let before = peer.cpu();
                let load = ask(peer, point).map_err(|error| format!("{}: {error}", peer.name))?;
                let cpu = peer.cpu().saturating_sub(before).as_secs_f64();
                if round == 0 || load.requests == 0.0 {
                    continue;
                }
                let cell = Cell {
                    workload,
                    point,
                    contestant: &peer.name,
                    round,
                };
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
        load::closed(peer.address, "/1KiB.bin", peer.headers, 8, settings.seconds, None)
    })
}

fn policy(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let kinds = [
        Kind::Nginx,
        Kind::Ours(Ours::Kept),
        Kind::Ours(Ours::Fresh),
        Kind::NginxLua,
        Kind::NginxNjs,
        Kind::NginxBasicAuth,
        Kind::EnvoyWasm,
    ];
    let peers = start_all(settings, &kinds, &site)?;
    let points = [Point::new("1KiB", 1024.0)];
    rounds(settings, run, "policy", &peers, &points, |peer, _| {
        load::closed(peer.address, "/1KiB.bin", peer.headers, 8, settings.seconds, None)
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
    for round in 0..=settings.rounds {
        for clients in [1, 10, 100] {
            let point = Point::new(format!("{clients} clients"), clients as f64);
            for peer in &peers {
                let before = peer.cpu();
                let load = load::downloads(peer.address, "/100MiB.bin", clients)
                    .map_err(|error| format!("{}: {error}", peer.name))?;
                let cpu = peer.cpu().saturating_sub(before).as_secs_f64();
                if round > 0 {
                    let cell = Cell {
                        workload: "large",
                        point: &point,
                        contestant: &peer.name,
                        round,
                    };
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
    let duration = Duration::from_secs(settings.seconds * 2);
    for round in 0..=settings.rounds {
        for (label, downloads) in [("alone", 0), ("8 downloads", 8)] {
            let point = Point::new(label, downloads as f64);
            for peer in &peers {
                let ask = || load::at_rate(peer.address, "/1KiB.bin", RATE, 16, duration);
                let latencies = match downloads {
                    0 => ask(),
                    clients => load::beside(peer.address, "/100MiB.bin", clients, ask),
                };
                let latencies = latencies.map_err(|error| format!("{}: {error}", peer.name))?;
                if round == 0 {
                    continue;
                }
                let cell = Cell {
                    workload: "latency",
                    point: &point,
                    contestant: &peer.name,
                    round,
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
    const IDLE: usize = 9000;
    let site = Site::new();
    site.sparse("1GiB.bin", 1 << 30);
    let kinds = [Kind::Nginx, OURS, Kind::Ours(Ours::Kept), Kind::Lighttpd, Kind::Caddy];
    // One after the other: what one keeps must not press on the next.
    for kind in chosen(settings, &kinds) {
        let peer = Peer::start(kind, &site)?;
        let cell = |label: &str| Point::new(label, 0.0);
        let points = [cell("idle"), cell("100 x 1 GiB"), cell("9,000 idle connections")];
        let idle = peer.memory() as f64;
        let failed = |error: std::io::Error| format!("{}: {error}", peer.name);
        let busy = load::beside(peer.address, "/1GiB.bin", 100, || {
            let until = Instant::now() + Duration::from_secs(settings.seconds);
            let mut most = 0;
            while Instant::now() < until {
                most = most.max(peer.memory());
                std::thread::sleep(Duration::from_millis(50));
            }
            most as f64
        });
        let before = peer.memory() as f64;
        let connections = load::idle(peer.address, "/1KiB.bin", IDLE).map_err(failed)?;
        let held = (peer.memory() as f64 - before).max(0.0) / connections.len() as f64;
        drop(connections);
        let mut add = |point: &Point, figure, unit, value| {
            let cell = Cell {
                workload: "memory",
                point,
                contestant: &peer.name,
                round: 1,
            };
            cell.add(run, figure, unit, value);
        };
        add(&points[0], "resident", "MiB", idle / MIB);
        add(&points[1], "resident", "MiB", busy / MIB);
        add(&points[2], "for each connection", "KiB", held / 1024.0);
    }
    Ok(())
}

fn start(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let kinds = [Kind::Nginx, OURS, Kind::Ours(Ours::Kept), Kind::Lighttpd, Kind::Caddy];
    let point = Point::new("first byte", 1.0);
    for round in 0..=settings.rounds {
        for kind in chosen(settings, &kinds) {
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

fn connections(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let kinds = [Kind::Nginx, OURS, Kind::Ours(Ours::Kept), Kind::Lighttpd];
    let peers = start_all(settings, &kinds, &site)?;
    let points = [1, 10, 100, 1_000, 9_000].map(|count| Point::new(count.to_string(), f64::from(count)));
    rounds(settings, run, "connections", &peers, &points, |peer, point| {
        load::closed(
            peer.address,
            "/1KiB.bin",
            peer.headers,
            point.at as usize,
            settings.seconds,
            None,
        )
    })
}

fn files(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let mut counts = vec![1, 100, 10_000, 100_000];
    if settings.large {
        counts.push(1_000_000);
    }
    site.many(counts.last().copied().unwrap_or(1));
    let kinds = [Kind::Nginx, OURS, Kind::Ours(Ours::Kept), Kind::Lighttpd];
    let peers = start_all(settings, &kinds, &site)?;
    let points: Vec<Point> = counts
        .iter()
        .map(|count| Point::new(count.to_string(), *count as f64))
        .collect();
    rounds(settings, run, "files", &peers, &points, |peer, point| {
        let paths = format!(
            "(function() local n = math.random(0, {}) return \"/many/\" .. math.floor(n / 1000) .. \"/\" .. \
             (n % 1000) .. \".bin\" end)()",
            point.at as usize - 1
        );
        load::closed(
            peer.address,
            &many_path(0),
            peer.headers,
            8,
            settings.seconds,
            Some(&paths),
        )
    })
}

fn policies(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let points: Vec<Point> = [0, 1, 2, 3, 5, 10]
        .iter()
        .map(|count| Point::new(count.to_string(), f64::from(*count)))
        .collect();
    let peers = points
        .iter()
        .map(|point| Peer::start(Kind::Ours(Ours::Policies(point.at as usize)), &site))
        .collect::<Result<Vec<Peer>, String>>()?;
    let nginx = start_all(settings, &[Kind::Nginx], &site)?;
    for round in 0..=settings.rounds {
        for (point, peer) in points.iter().zip(&peers).chain(points.iter().take(1).zip(&nginx)) {
            let before = peer.cpu();
            let load = load::closed(peer.address, "/1KiB.bin", &[], 8, settings.seconds, None)?;
            let cpu = peer.cpu().saturating_sub(before).as_secs_f64();
            if round > 0 {
                let contestant = if peer.name == "nginx" {
                    "nginx, no policy"
                } else {
                    "wasmserve"
                };
                let cell = Cell {
                    workload: "policies",
                    point,
                    contestant,
                    round,
                };
                cell.add(run, "CPU per request", "µs", cpu * 1e6 / load.requests);
            }
        }
    }
    Ok(())
}

fn sizes(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let mut sizes: Vec<(String, u64)> = vec![
        ("1KiB".into(), 1 << 10),
        ("10KiB".into(), 10 << 10),
        ("100KiB".into(), 100 << 10),
        ("1MiB".into(), 1 << 20),
        ("10MiB".into(), 10 << 20),
        ("100MiB".into(), 100 << 20),
        ("1GiB".into(), 1 << 30),
    ];
    if settings.large {
        sizes.push(("10GiB".into(), 10 << 30));
    }
    for (name, size) in sizes.iter().filter(|(_, size)| *size == 10 << 20 || *size > 100 << 20) {
        site.sparse(&format!("{name}.bin"), *size);
    }
    let kinds = [Kind::Nginx, OURS, Kind::Ours(Ours::SendfileAlways), Kind::Lighttpd];
    let peers = start_all(settings, &kinds, &site)?;
    for round in 0..=settings.rounds {
        for (name, size) in &sizes {
            let point = Point::new(name.clone(), *size as f64);
            for peer in &peers {
                let path = format!("/{name}.bin");
                let before = peer.cpu();
                let load = if *size <= 1 << 20 {
                    load::closed(peer.address, &path, peer.headers, 8, settings.seconds, None)?
                } else {
                    load::downloads(peer.address, &path, 1).map_err(|error| format!("{}: {error}", peer.name))?
                };
                let cpu = peer.cpu().saturating_sub(before).as_secs_f64();
                if round > 0 {
                    let cell = Cell {
                        workload: "sizes",
                        point: &point,
                        contestant: &peer.name,
                        round,
                    };
                    let bytes = load.requests * *size as f64;
                    cell.add(run, "CPU per GB", "s", cpu * 1e9 / bytes);
                    cell.add(run, "throughput", "MB/s", bytes / 1e6 / load.seconds);
                }
            }
        }
    }
    Ok(())
}
