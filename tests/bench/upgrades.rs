//! A server that is replaced by another process (SIGUSR2), and reloaded in between, under a steady load and running
//! downloads: no request fails, no download is cut.
use crate::{
    MIB, Verdict,
    reloads::{CONNECTIONS, DOWNLOADS, SIZE, download},
    steady::{Ended, Question, steady_with},
};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};
use support::{Hosting, Server, eventually, pattern};

const RATE: u64 = 2_000;
/// Each with a reload of the new process after it.
const UPGRADES: usize = 4;
const REST: Duration = Duration::from_millis(500);
const UPGRADED: &str = "upgraded: another process serves";

pub fn upgrades() -> Verdict {
    println!("{DOWNLOADS} downloads, {RATE} requests a second, upgrades and reloads meanwhile ...");
    let (large, small) = (pattern(3, SIZE), pattern(4, 1 << 10));
    let hosting = Hosting::new()
        .file("root/large.bin", &large)
        .file("root/small.bin", &small);
    hosting.configure(
        "log = \"info,access=off\"",
        "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n",
    );
    let server = hosting.start();
    let address = server.address();
    let (stop, whole, cut) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let (outcome, last) = thread::scope(|scope| {
        for _ in 0..DOWNLOADS {
            // Each begins anew when it is done: some are under way at every upgrade.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match download(address, &large) {
                        Ok(()) => whole.fetch_add(1, Ordering::Relaxed),
                        Err(problem) => {
                            eprintln!("a download: {problem}");
                            cut.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        let going = || !stop.load(Ordering::Relaxed);
        let ask = |_| Question {
            host: "a.test",
            path: "/small.bin",
            body: &small,
        };
        let load = scope.spawn(move || steady_with(address, RATE, CONNECTIONS, Ended::AskAgain, &going, &ask));
        let mut serving = None;
        for count in 1..=UPGRADES {
            thread::sleep(REST);
            signal(&server, serving, Signal::USR2);
            serving = Some(successor(&server, count));
            thread::sleep(REST);
            signal(&server, serving, Signal::HUP);
            eventually("it is reloaded", || {
                server.log().matches("generation=2 ").count() == count
            });
        }
        // Downloads that began before the first upgrade have ended by then.
        eventually("all downloads were made", || {
            whole.load(Ordering::Relaxed) + cut.load(Ordering::Relaxed) >= 2 * DOWNLOADS
        });
        stop.store(true, Ordering::Relaxed);
        (load.join().expect("no client panics"), serving)
    });
    signal(&server, last, Signal::KILL);
    let (whole, cut) = (whole.into_inner(), cut.into_inner());
    Verdict {
        holds: outcome.failed == 0 && !outcome.latencies.is_empty() && cut == 0,
        text: format!(
            "upgrade: {UPGRADES} upgrades and {UPGRADES} reloads, {DOWNLOADS} downloads of {} MiB at once: {whole} whole, {cut} cut\n      \
             {RATE}/s: {} answered, {} failed, {} asked again because their idle connection had ended, p50 {} µs, p99 {} µs{}",
            SIZE as u64 / MIB,
            outcome.latencies.len(),
            outcome.failed,
            outcome.asked_again,
            outcome.quantile(0.5),
            outcome.quantile(0.99),
            outcome.trouble()
        ),
    }
}

/// To the process that serves: the first one, or what took over.
fn signal(server: &Server, serving: Option<Pid>, signal: Signal) {
    match serving {
        Some(pid) => kill_process(pid, signal).expect("the process is alive"),
        None => server.signal(signal),
    }
}

/// The process that took over, after so many upgrades.
fn successor(server: &Server, count: usize) -> Pid {
    eventually("another process serves", || {
        server.log().matches(UPGRADED).count() == count
    });
    let log = server.log();
    let line = log.lines().filter(|line| line.contains(UPGRADED)).nth(count - 1);
    let (_, pid) = line
        .and_then(|line| line.split_once("pid="))
        .expect("the line has the process");
    let digits: String = pid.chars().take_while(char::is_ascii_digit).collect();
    let pid = digits.parse().ok().and_then(Pid::from_raw);
    pid.expect("a process")
}
