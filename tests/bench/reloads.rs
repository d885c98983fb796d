//! A server that is reloaded (SIGHUP) under a steady load and running downloads: no request fails, no download is cut.
use crate::{
    MIB, Verdict,
    steady::{Outcome, Question, steady},
};
use rustix::process::Signal;
use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{Hosting, PATIENCE, Server, client::request_head, pattern};

pub const DOWNLOADS: usize = 50;
pub const SIZE: usize = 16 << 20;
/// What a download takes at a time, and how long it rests: 50 of them last longer than the load.
const PIECE: usize = 128 << 10;
const REST: Duration = Duration::from_millis(50);
const RATES: [u64; 2] = [1_000, 2_000];
pub const CONNECTIONS: u64 = 32;
/// What a reload says is waited for; what each request says is not kept.
const QUIET: &str = "log = \"info,access=off\"";
/// Reloads under each rate.
const RELOADS: u64 = 8;

pub fn reloads() -> Verdict {
    println!("{DOWNLOADS} downloads, {RATES:?} requests a second, reloads meanwhile ...");
    let large = pattern(3, SIZE);
    let small = pattern(4, 1 << 10);
    let hosting = Hosting::new()
        .guest("probe")
        .file("root/large.bin", &large)
        .file("root/small.bin", &small);
    hosting.configure(QUIET, &site(0));
    let server = hosting.start();
    let (stop, whole, cut) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let generation = AtomicU64::new(1);
    let mut text = String::new();
    let mut holds = true;
    thread::scope(|scope| {
        for _ in 0..DOWNLOADS {
            // Each begins anew when it is done: some are under way at every reload.
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match download(server.address(), &large) {
                        Ok(()) => whole.fetch_add(1, Ordering::Relaxed),
                        Err(problem) => {
                            eprintln!("a download: {problem}");
                            cut.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        for rate in RATES {
            let outcome = under(&hosting, &server, rate, &small, &generation);
            holds &= outcome.failed == 0 && !outcome.latencies.is_empty();
            text += &format!(
                "\n      {rate}/s: {} answered, {} failed, p50 {} µs, p99 {} µs, {RELOADS} reloads{}",
                outcome.latencies.len(),
                outcome.failed,
                outcome.quantile(0.5),
                outcome.quantile(0.99),
                outcome.trouble()
            );
        }
        stop.store(true, Ordering::Relaxed);
    });
    let (whole, cut) = (whole.into_inner(), cut.into_inner());
    Verdict {
        holds: holds && cut == 0 && whole >= DOWNLOADS,
        text: format!(
            "reload: {DOWNLOADS} downloads of {} MiB at once: {whole} whole, {cut} cut{text}",
            SIZE as u64 / MIB
        ),
    }
}

/// The load at this rate, until the reloads are done.
fn under(hosting: &Hosting, server: &Server, rate: u64, body: &[u8], generation: &AtomicU64) -> Outcome {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let going = || !done.load(Ordering::Relaxed);
        let ask = |_| Question {
            host: "a.test",
            path: "/small.bin",
            body,
        };
        let address = server.address();
        let load = scope.spawn(move || steady(address, rate, CONNECTIONS, &going, &ask));
        for _ in 0..RELOADS {
            thread::sleep(Duration::from_millis(300));
            let next = generation.fetch_add(1, Ordering::Relaxed) + 1;
            // A chain that differs, so that policies are configured anew.
            hosting.configure(QUIET, &site(next));
            server.signal(Signal::HUP);
            let begun = Instant::now();
            while !server.log().contains(&format!("generation={next} ")) && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(5));
            }
        }
        thread::sleep(Duration::from_millis(300));
        done.store(true, Ordering::Relaxed);
        let mut outcome = load.join().expect("no client panics");
        if !server
            .log()
            .contains(&format!("generation={} ", generation.load(Ordering::Relaxed)))
        {
            outcome.failed += 1;
            outcome.first.get_or_insert("a reload did not happen".into());
        }
        outcome
    })
}

fn site(word: u64) -> String {
    format!(
        "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n[[site.policy]]\nplugin = \"probe\"\n\
         config = {{ headers = \"set | x-word | {word}\" }}\n"
    )
}

/// One download, with a client that takes its time; every byte is compared.
pub fn download(address: SocketAddr, content: &[u8]) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(address).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    let head = request_head("GET", "/large.bin", &[("Connection", "close")]);
    std::io::Write::write_all(&mut stream, &head).map_err(failed)?;
    let mut came = Vec::new();
    let mut piece = vec![0; PIECE];
    let begin = loop {
        if let Some(end) = came.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        match stream.read(&mut piece).map_err(failed)? {
            0 => return Err("ended before its head did".into()),
            count => came.extend_from_slice(&piece[..count]),
        }
    };
    let mut received = came.len() - begin;
    if came[begin..] != content[..received] {
        return Err("other bytes came first".into());
    }
    loop {
        let count = stream.read(&mut piece).map_err(failed)?;
        if count == 0 {
            break;
        }
        if content.get(received..received + count) != Some(&piece[..count]) {
            return Err(format!("other bytes came after {received}"));
        }
        received += count;
        thread::sleep(REST.mul_f64(count as f64 / PIECE as f64));
    }
    match received == content.len() {
        true => Ok(()),
        false => Err(format!("cut after {received} bytes")),
    }
}
