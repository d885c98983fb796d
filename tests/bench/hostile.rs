//! Ten thousand connections that say nothing and five hundred that send their heads slowly, beside a client that behaves.
use crate::{MIB, Verdict, latencies, p99};
use rustix::process::{Resource, getrlimit};
use std::{
    io::Write,
    net::{Ipv4Addr, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};
use support::{Connection, Hosting, process};

const IDLE: usize = 10_000;
const SLOW: usize = 500;
/// After which the server gives them up: long enough to make all connections on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long after that they may still be there.
const GRACE: Duration = Duration::from_secs(60);
/// What a connection that waits may cost: hyper's and the transport's buffers, and the task.
const MOST_BYTES: u64 = 24 << 10;
/// Descriptors that are needed for everything else, in this process or in the server's.
const SPARE: usize = 700;

pub fn hostile() -> Verdict {
    // The server has the same limit, and keeps half of it for files.
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let room = usize::try_from(limit).unwrap_or(usize::MAX).saturating_sub(SPARE);
    let idle = IDLE.min(room.saturating_sub(SLOW));
    println!("{idle} connections that say nothing and {SLOW} that send slowly ...");
    let timeouts = format!(
        "log = \"warn\"\nidle-timeout = \"{0}s\"\nhead-timeout = \"{0}s\"\nmax-connections = {1}",
        TIMEOUT.as_secs(),
        idle + SLOW + SPARE / 2
    );
    let hosting = Hosting::new().file("root/file.bin", [7; 1024]);
    hosting.configure(&timeouts, "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n");
    let server = hosting.start();
    latencies(&server, 500);
    let alone = p99(latencies(&server, 1500));
    let (memory, descriptors) = (process::resident(server.pid()), process::descriptors(server.pid()));

    let begun = Instant::now();
    let open = |count: usize, first: &[u8]| -> Vec<TcpStream> {
        let connections = (0..count).map(|number| {
            // From many addresses, as they would come; each may have some hundred.
            let network = u8::try_from(number / 200 % 250).expect("less than 250") + 1;
            let stream = Connection::open_from(Ipv4Addr::new(127, 0, network, 1), server.address()).into_stream();
            let sent = (&stream).write_all(first);
            sent.map(|()| stream).expect("the server reads")
        });
        connections.collect()
    };
    let silent = open(idle, b"");
    let slow = open(SLOW, b"GET /file.bin HTTP/1.1\r\nHost: a.test\r\n");
    let connected = begun.elapsed();
    let done = AtomicBool::new(false);
    let (beside, held) = thread::scope(|scope| {
        scope.spawn(|| {
            // A byte of a field a second each. What is given up already cannot be written to.
            while !done.load(Ordering::Relaxed) {
                for mut stream in &slow {
                    let _ = stream.write_all(b"X");
                }
                thread::sleep(Duration::from_secs(1));
            }
        });
        // The kernel may have dropped some, when its queue was full: so until no more come.
        let mut held = (0, 0);
        while process::descriptors(server.pid()) > held.1 && begun.elapsed() < TIMEOUT {
            held = (process::resident(server.pid()), process::descriptors(server.pid()));
            thread::sleep(Duration::from_secs(1));
        }
        let beside = p99(latencies(&server, 1500));
        while process::descriptors(server.pid()) > descriptors && begun.elapsed() < connected + TIMEOUT + GRACE {
            thread::sleep(Duration::from_millis(100));
        }
        done.store(true, Ordering::Relaxed);
        (beside, held)
    });
    let left = process::descriptors(server.pid()).saturating_sub(descriptors);
    let gone = begun.elapsed();
    drop((silent, slow));
    let after = p99(latencies(&server, 1500));
    let there = held.1.saturating_sub(descriptors);
    let each = held.0.saturating_sub(memory) / (there as u64).max(1);
    let short = match idle < IDLE {
        true => format!(" (the limit of {limit} descriptors leaves no room for {IDLE})"),
        false => String::new(),
    };
    Verdict {
        holds: left == 0 && there > 0 && each <= MOST_BYTES,
        text: format!(
            "{idle} silent and {SLOW} slow connections{short}, {there} there at once, made in {:.1} s: p99 of small files {} µs \
             without, {} µs beside them, {} µs after; resident {} MiB before, {} MiB with, {:.1} KiB each (limit {}); {left} left {:.0} s \
             after the first (timeout {} s)",
            connected.as_secs_f64(),
            alone.as_micros(),
            beside.as_micros(),
            after.as_micros(),
            memory / MIB,
            held.0 / MIB,
            each as f64 / 1024.0,
            MOST_BYTES >> 10,
            gone.as_secs_f64(),
            TIMEOUT.as_secs()
        ),
    }
}
