//! What a request costs, in instructions: counted by callgrind, so that a slow-down is seen on a machine that is too busy
//! to measure time.
//!
//! In the order of events: each test starts this program again under valgrind, as a server and its client in one process
//! ([`driver`]), for one way a request can go; requests are sent over one kept connection through the real connection code,
//! and the instructions of the process while it answers them are counted; the count of one request is compared with what
//! is written down in `baseline.toml` ([`baseline`]).
//!
//! Counted is user mode alone, of every thread. The client is a thread that writes and reads, some hundred instructions.
//! Instructions do not depend on what else a machine does, and hardly on its processor: memory functions are pinned to
//! one kind. They do depend on the compiler, which is what the tolerance is for.
#![cfg(target_arch = "x86_64")]

mod baseline;
mod callgrind;
mod driver;

use baseline::{Baseline, Verdict};
use driver::{EXTRA, WAY, Way};
use std::{env, process::Command};
use tikv_jemallocator::Jemalloc;

/// The server's own.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Requests that are counted.
const REQUESTS: u64 = 300;

/// Instructions of one request that goes this way. `extra`: more that each is given, to see whether that is seen.
fn count(way: Way, extra: u64) -> f64 {
    let this = env::current_exe().expect("this program has a path");
    let ran = Command::new("valgrind")
        .args([
            "--tool=callgrind",
            "--instr-atstart=no",
            "--callgrind-out-file=/dev/null",
        ])
        .arg(this)
        .args(["serves_what_is_counted", "--exact", "--ignored", "--nocapture"])
        .env(WAY, way.name())
        .env(EXTRA, extra.to_string())
        // The kinds of memory functions that every processor of this architecture has.
        .env(
            "GLIBC_TUNABLES",
            "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW,-AVX2,-AVX,-ERMS,-FSRM",
        )
        .output()
        .expect("valgrind is installed: `cargo xtask test` sees to it");
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{}\n{said}", String::from_utf8_lossy(&ran.stdout));
    let total = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))
        .map(|(_, total)| total.trim());
    let total: f64 = total
        .and_then(|total| total.parse().ok())
        .unwrap_or_else(|| panic!("no count: {said}"));
    total / REQUESTS as f64
}

/// Not a test by itself: what the others start under valgrind.
#[test]
#[ignore = "is started under valgrind by the other tests"]
fn serves_what_is_counted() {
    driver::run(REQUESTS);
}

#[test]
fn a_request_takes_no_more_instructions_than_are_written_down() {
    let baseline = Baseline::read();
    let counts = Way::ALL.map(|way| (way, count(way, 0)));
    let found = baseline.compare(&counts);
    for line in &found {
        println!("{line}");
    }
    let slower: Vec<String> = found
        .iter()
        .filter(|line| line.verdict == Verdict::Slower)
        .map(ToString::to_string)
        .collect();
    assert!(
        slower.is_empty(),
        "{}\nFind what was added (valgrind --tool=callgrind, decision 0021), or write the new count into {} with the reason in the \
         commit.",
        slower.join("\n"),
        baseline::FILE
    );
}

#[test]
fn a_slow_down_beyond_the_tolerance_is_seen() {
    let baseline = Baseline::read();
    let expected = baseline.of(Way::Off);
    let extra = expected * (baseline.tolerance() + 0.2);
    let slowed = count(Way::Off, extra as u64);
    let found = baseline.compare(&[(Way::Off, slowed)]);
    assert!(found.iter().any(|line| line.verdict == Verdict::Slower), "{found:?}");
}
