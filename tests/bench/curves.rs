//! How cost grows: with connections, files, sites, policies and the size of a file.
use crate::{
    Extent, Settings, load,
    peers::{Kind, Ours, Peer},
    report::Run,
    site::Site,
    workloads::{Cell, OURS, Point, chosen, rounds, start_all},
};

fn points(counts: &[usize]) -> Vec<Point> {
    let point = |count: &usize| Point::new(count.to_string(), *count as f64);
    counts.iter().map(point).collect()
}

pub fn connections(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let kinds = [Kind::Nginx, OURS, Kind::Ours(Ours::Kept), Kind::Lighttpd];
    let peers = start_all(settings, &kinds, &site)?;
    let counts: &[usize] = match settings.extent {
        Extent::Quick => &[1, 100],
        Extent::Whole => &[1, 10, 100, 1_000, load::possible(10_000)],
    };
    let points = points(counts);
    rounds(settings, run, "connections", &peers, &points, |peer, point| {
        peer.small_file(settings, point.at as usize, None)
    })
}

pub fn files(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let counts: &[usize] = match settings.extent {
        Extent::Quick => &[1, 1000],
        Extent::Whole => &[1, 100, 10_000, 100_000, 1_000_000],
    };
    site.many(counts.last().copied().unwrap_or(1));
    let kinds = [
        Kind::Nginx,
        OURS,
        Kind::Ours(Ours::ManyFiles),
        Kind::Ours(Ours::Kept),
        Kind::Lighttpd,
    ];
    let peers = start_all(settings, &kinds, &site)?;
    rounds(settings, run, "files", &peers, &points(counts), |peer, point| {
        let next = any_file(point.at as usize);
        peer.small_file(settings, 8, Some(&next))
    })
}

/// For wrk: the path of any of so many files.
pub fn any_file(count: usize) -> String {
    format!(
        "(function() local n = math.random(0, {}) return \"/many/\" .. math.floor(n / 1000) .. \"/\" .. (n % 1000) .. \
         \".bin\" end)()",
        count - 1
    )
}

/// Sites of one server, each of its own host, over the same files.
pub fn sites(settings: &Settings, run: &mut Run) -> Result<(), String> {
    const MIB: f64 = (1 << 20) as f64;
    let site = Site::new();
    let counts: &[usize] = match settings.extent {
        Extent::Quick => &[1, 100],
        Extent::Whole => &[1, 100, 1_000, 10_000],
    };
    let kinds: [fn(usize) -> Kind; 3] = [
        Kind::NginxSites,
        |count| Kind::Ours(Ours::Sites(count)),
        |count| Kind::Ours(Ours::SitesWithPolicy(count)),
    ];
    for point in points(counts) {
        let count = point.at as usize;
        let mut peers = Vec::new();
        for kind in chosen(settings, &kinds.map(|kind| kind(count))) {
            let (peer, took) = Peer::timed(kind, &site)?;
            let cell = Cell {
                workload: "sites",
                point: &point,
                contestant: &peer.name,
                round: 1,
            };
            cell.add(run, "from start to first byte", "ms", took.as_secs_f64() * 1e3);
            cell.add(run, "resident", "MiB", peer.memory() as f64 / MIB);
            peers.push(peer);
        }
        let next = format!(
            "\"/1KiB.bin\", {{ [\"Host\"] = \"s\" .. math.random(0, {}) .. \".test\" }}",
            count - 1
        );
        rounds(
            settings,
            run,
            "sites",
            &peers,
            std::slice::from_ref(&point),
            |peer, _| peer.small_file(settings, 8, Some(&next)),
        )?;
    }
    Ok(())
}

pub fn policies(settings: &Settings, run: &mut Run) -> Result<(), String> {
    let site = Site::new();
    let counts: &[usize] = match settings.extent {
        Extent::Quick => &[0, 3],
        Extent::Whole => &[0, 1, 2, 3, 5, 10],
    };
    let points = points(counts);
    let peers = points
        .iter()
        .map(|point| Peer::start(Kind::Ours(Ours::Policies(point.at as usize)), &site))
        .collect::<Result<Vec<Peer>, String>>()?;
    let nginx = start_all(settings, &[Kind::Nginx], &site)?;
    for round in 0..=settings.rounds {
        for (point, peer) in points.iter().zip(&peers).chain(points.iter().take(1).zip(&nginx)) {
            let before = peer.cpu();
            let load = peer.small_file(settings, 8, None)?;
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

pub fn sizes(settings: &Settings, run: &mut Run) -> Result<(), String> {
    /// Larger ones are fetched once a round.
    const LARGEST_REPEATED: u64 = 1 << 20;
    let site = Site::new();
    let mut sizes: Vec<(String, u64)> = vec![
        ("1KiB".into(), 1 << 10),
        ("10KiB".into(), 10 << 10),
        ("100KiB".into(), 100 << 10),
        ("1MiB".into(), 1 << 20),
        ("10MiB".into(), 10 << 20),
        ("100MiB".into(), 100 << 20),
    ];
    if settings.extent == Extent::Whole {
        sizes.push(("1GiB".into(), 1 << 30));
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
                let cell = Cell {
                    workload: "sizes",
                    point: &point,
                    contestant: &peer.name,
                    round,
                };
                let path = format!("/{name}.bin");
                let before = peer.cpu();
                let asked = cell.attempt(run, peer, || match *size {
                    ..=LARGEST_REPEATED => load::closed(peer.address, &path, peer.headers, 8, settings.seconds, None),
                    _ => load::downloads(peer.address, &path, 1).map_err(|error| error.to_string()),
                });
                let Some(load) = asked? else { continue };
                let cpu = peer.cpu().saturating_sub(before).as_secs_f64();
                if round > 0 {
                    let bytes = load.requests * *size as f64;
                    cell.add(run, "CPU per GB", "s", cpu * 1e9 / bytes);
                    cell.add(run, "throughput", "MB/s", bytes / 1e6 / load.seconds);
                }
            }
        }
    }
    Ok(())
}
