//! `cargo xtask bench-small`: server CPU time per request for a 1 KiB file over kept connections, with the standard chain,
//! without a chain, and by Debian's nginx, in one interleaved run: what else the machine does falls on all alike. Prints a
//! table of medians and ratios, and the cost of a password check apart.
#![forbid(unsafe_code)]

use std::{
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};
use support::{Chain, Launch, Nginx, Policy, Tree, password_hash, process, project, tool};

const ROUNDS: usize = 7;
const SECONDS: &str = "3s";

fn main() -> ExitCode {
    let tree = Tree::new().file("file.bin", [7; 1024]);
    let chain = project().join("plugins");
    // What the log costs is asked of one alone.
    let quiet = |launch: Launch| launch.arguments(["--log", "warn"]).start();
    let on = quiet(Launch::new(&tree).plugins_at(&chain));
    let off = quiet(Launch::new(&tree));
    let nginx = nginx_over(&tree);
    // As most have it: a line for each request. nginx writes none here.
    let logging = Launch::new(&tree).start();
    let contestants: [(&str, String, Vec<u32>); 4] = [
        ("nginx", nginx.url("/file.bin"), nginx.processes()),
        ("wasmserve, no chain", off.url("/file.bin"), vec![off.pid()]),
        ("the same, access log", logging.url("/file.bin"), vec![logging.pid()]),
        ("wasmserve, plugins/", on.url("/file.bin"), vec![on.pid()]),
    ];
    let mut costs = [const { Vec::new() }; 4];
    let mut rates = [const { Vec::new() }; 4];
    for round in 0..=ROUNDS {
        for (place, (_, url, processes)) in contestants.iter().enumerate() {
            let (cost, rate) = measure(tree.root().as_path(), url, processes);
            // The first round warms up.
            if round > 0 {
                costs[place].push(cost);
                rates[place].push(rate);
            }
        }
    }
    println!("1 KiB, 8 kept connections, {ROUNDS} interleaved rounds of {SECONDS}; medians (lowest to highest)");
    println!(
        "{:22} {:>28} {:>12} {:>8}",
        "", "CPU per request", "requests/s", "ratio"
    );
    let base = median(&mut costs[0]);
    for (place, (name, ..)) in contestants.iter().enumerate() {
        let middle = median(&mut costs[place]);
        let range = format!(
            "{middle:.2} µs ({:.2} to {:.2})",
            costs[place][0],
            costs[place][ROUNDS - 1]
        );
        println!(
            "{name:22} {range:>28} {:>12.0} {:>8.2}",
            median(&mut rates[place]),
            middle / base
        );
    }
    password_check(&tree);
    ExitCode::SUCCESS
}

/// CPU microseconds per request of these processes under load, and requests a second.
fn measure(folder: &Path, url: &str, processes: &[u32]) -> (f64, f64) {
    let spent = || processes.iter().map(|&pid| process::cpu_time(pid)).sum::<Duration>();
    let (before, start) = (spent(), Instant::now());
    let ran = tool::run(folder, "wrk", ["-t1", "-c8", "-d", SECONDS, url]).success();
    let (cpu, wall) = (spent() - before, start.elapsed());
    let report = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(
        !report.contains("Non-2xx") && !report.contains("Socket errors"),
        "{report}"
    );
    let requests: f64 = report
        .lines()
        .find_map(|line| line.trim().split_once(" requests in ")?.0.parse().ok())
        .expect("wrk reports how many requests it made");
    (cpu.as_secs_f64() * 1e6 / requests, requests / wall.as_secs_f64())
}

/// The middle one; sorts the values.
fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What asking for a password costs beyond the request itself.
fn password_check(tree: &Tree) {
    let users = format!(
        "prefixes = [\"/private/\"]\nusers = {{ alice = \"{}\" }}",
        password_hash("correct horse")
    );
    let chain = Chain::new([Policy::standard("basic-auth").config(&users)]);
    let server = Launch::new(tree).plugins(&chain).start();
    // In base64: `alice:` and passwords that are all wrong and all different, because a kept refusal costs nothing.
    const ALICE: &str = "YWxpY2U6";
    const PARTS: [&str; 5] = ["YWFh", "YmJi", "Y2Nj", "ZGRk", "ZWVl"];
    let passwords = PARTS
        .iter()
        .flat_map(|first| PARTS.map(|second| format!("Basic {ALICE}{first}{second}")));
    let passwords: Vec<String> = passwords.collect();
    let before = process::cpu_time(server.pid());
    for password in &passwords {
        let response = server.request("GET", "/private/", &[("Authorization", password)]);
        assert_eq!(response.status, 401, "{response:?}");
    }
    let spent = process::cpu_time(server.pid()) - before;
    println!(
        "a password check: {:.1} ms of CPU",
        spent.as_secs_f64() * 1e3 / passwords.len() as f64
    );
}

/// Debian's nginx over the same tree, tuned as its documentation advises for small files.
fn nginx_over(tree: &Tree) -> Nginx {
    Nginx::start(
        |_| {
            "sendfile on; tcp_nopush on; keepalive_requests 1000000000;\n\
             open_file_cache max=1000 inactive=60s; open_file_cache_valid 1s; open_file_cache_min_uses 1;"
                .into()
        },
        |_| format!("root {};", tree.root().display()),
    )
}
