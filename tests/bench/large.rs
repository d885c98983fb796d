//! `cargo xtask bench-large`: 100 MiB to 1, 10 and 100 clients of loopback at once. Server CPU time per GB and the
//! time until all have it, by Debian's nginx with and without sendfile, and by wasmserve with sendfile for clients of this
//! machine (`--sendfile always`) and as it is by default, when it reads for them. Interleaved rounds: what else the machine
//! does falls on all alike. Prints a table of medians and ratios to nginx with sendfile.
#![forbid(unsafe_code)]

use std::{
    net::SocketAddr,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};
use support::{Connection, Launch, Nginx, Tree, client::request_head, process};

const LENGTH: u64 = 100 << 20;
/// How many clients, and how often each of them downloads the file in a round: the clock of a process's CPU ticks every
/// 10 ms, which one download takes.
const CLIENTS: [(usize, usize); 3] = [(1, 10), (10, 2), (100, 1)];
const ROUNDS: usize = 5;

struct Contestant {
    name: &'static str,
    address: SocketAddr,
    processes: Vec<u32>,
}

/// What one round cost.
#[derive(Clone, Copy)]
struct Cost {
    /// CPU seconds per GB.
    cpu: f64,
    /// Seconds until the last client had everything.
    wall: f64,
}

fn main() -> ExitCode {
    let tree = Tree::new().sparse("large.bin", LENGTH);
    let server = |sendfile| {
        Launch::new(&tree)
            .arguments(["--log", "warn", "--sendfile", sendfile])
            .start()
    };
    let (always, default) = (server("always"), server("remote"));
    let (sending, reading) = (nginx(&tree, "on"), nginx(&tree, "off"));
    let of_nginx = |name, nginx: &Nginx| Contestant {
        name,
        address: nginx.address(),
        processes: nginx.processes(),
    };
    let of_server = |name, server: &support::Server| Contestant {
        name,
        address: server.address(),
        processes: vec![server.pid()],
    };
    let contestants = [
        of_nginx("nginx, sendfile", &sending),
        of_server("wasmserve, always", &always),
        of_nginx("nginx, no sendfile", &reading),
        of_server("wasmserve, default", &default),
    ];
    println!(
        "{:>7}  {:20} {:>26} {:>6}  {:>24} {:>6}",
        "clients", "", "CPU s/GB", "ratio", "seconds for all", "ratio"
    );
    for (clients, times) in CLIENTS {
        let mut costs = [const { Vec::new() }; 4];
        for round in 0..=ROUNDS {
            for (costs, contestant) in costs.iter_mut().zip(&contestants) {
                let cost = measure(contestant, clients, times);
                // The first round warms up.
                if round > 0 {
                    costs.push(cost);
                }
            }
        }
        let base = (
            spread(&costs[0], |cost| cost.cpu).0,
            spread(&costs[0], |cost| cost.wall).0,
        );
        for (costs, contestant) in costs.iter().zip(&contestants) {
            let (cpu, cpu_range) = spread(costs, |cost| cost.cpu);
            let (wall, wall_range) = spread(costs, |cost| cost.wall);
            println!(
                "{clients:>7}  {:20} {cpu_range:>26} {:>6.2}  {wall_range:>24} {:>6.2}",
                contestant.name,
                cpu / base.0,
                wall / base.1
            );
        }
    }
    ExitCode::SUCCESS
}

/// Every client downloads the file so many times, one after the other.
fn measure(contestant: &Contestant, clients: usize, times: usize) -> Cost {
    let spent = || {
        contestant
            .processes
            .iter()
            .map(|&pid| process::cpu_time(pid))
            .sum::<Duration>()
    };
    let (before, start) = (spent(), Instant::now());
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| (0..times).for_each(|_| download(contestant)));
        }
    });
    let wall = start.elapsed().as_secs_f64();
    let gigabytes = LENGTH as f64 * (clients * times) as f64 / 1e9;
    Cost {
        cpu: (spent() - before).as_secs_f64() / gigabytes,
        wall,
    }
}

fn download(contestant: &Contestant) {
    let mut connection = Connection::open(contestant.address);
    connection.send(request_head("GET", "/large.bin", &[("Connection", "close")]));
    assert_eq!(connection.try_head().expect("a head comes").status, 200);
    assert_eq!(connection.count_rest(), LENGTH, "{}", contestant.name);
}

/// The median, and a text of it with the lowest and the highest.
fn spread(costs: &[Cost], of: fn(&Cost) -> f64) -> (f64, String) {
    let mut values: Vec<f64> = costs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let middle = values[values.len() / 2];
    let text = format!("{middle:.3} ({:.3} to {:.3})", values[0], values[values.len() - 1]);
    (middle, text)
}

fn nginx(tree: &Tree, sendfile: &str) -> Nginx {
    Nginx::start(
        |_| {
            format!(
                "sendfile {sendfile}; tcp_nopush on; keepalive_requests 1000000000;\n\
                 open_file_cache max=1000 inactive=60s; open_file_cache_valid 1s; open_file_cache_min_uses 1;"
            )
        },
        |_| format!("root {};", tree.root().display()),
    )
}
