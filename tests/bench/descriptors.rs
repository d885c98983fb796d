//! A thousand clients of a server that may open 256 files: it never ends, never spins, serves what it can, and recovers.
use crate::{MIB, Verdict};
use std::{
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};
use support::{Connection, Launch, Tree, client::request_head, eventually, process};

const LIMIT: u64 = 256;
const CLIENTS: usize = 1000;
/// More than a socket's buffers hold, so that who does not read keeps a descriptor of a file too.
const SIZE: u64 = 6 << 20;
/// How long nobody reads.
const HOLD: Duration = Duration::from_secs(3);
/// What the server may use of a processor while nobody reads.
const MOST_CPU: Duration = Duration::from_millis(1000);

/// With as many connections as the server takes by itself, and with so many that files cannot all be opened.
pub fn descriptors() -> Verdict {
    let (usual, greedy) = (clients(&[]), clients(&["--max-connections", "116"]));
    Verdict {
        holds: usual.holds && greedy.holds,
        text: format!("{}\n      with --max-connections 116: {}", usual.text, greedy.text),
    }
}

fn clients(arguments: &[&str]) -> Verdict {
    println!("{CLIENTS} clients of a server with {LIMIT} descriptors {arguments:?} ...");
    let tree = (0..CLIENTS).fold(Tree::new(), |tree, number| tree.sparse(&format!("{number}.bin"), SIZE));
    let tree = tree.file("small.txt", "content");
    let mut server = Launch::new(&tree)
        .arguments(["--log", "error"])
        .arguments(arguments)
        .descriptors(LIMIT)
        .start();
    let address = server.address();
    // All ask before any reads.
    let (asked, held) = (Barrier::new(CLIENTS + 1), Barrier::new(CLIENTS + 1));
    let [whole, refused, lost] = [const { AtomicUsize::new(0) }; 3];
    let (spent, most) = thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (asked, held, whole, refused, lost) = (&asked, &held, &whole, &refused, &lost);
            let client = move || {
                let connection = Connection::try_open(address);
                let path = format!("/{number}.bin");
                let head = request_head("GET", &path, &[("Connection", "close")]);
                let connection = connection.and_then(|mut connection| {
                    connection.try_send(head)?;
                    Ok(connection)
                });
                asked.wait();
                held.wait();
                let came = connection.and_then(|mut connection| {
                    let status = connection.try_head()?.status;
                    Ok((status, connection.count_rest()))
                });
                match came {
                    Ok((200, SIZE)) => whole,
                    Ok((503, _)) => refused,
                    other => {
                        eprintln!("{path}: {other:?}");
                        lost
                    }
                }
                .fetch_add(1, Ordering::Relaxed);
            };
            // A small stack each: there are a thousand.
            thread::Builder::new()
                .stack_size(1 << 20)
                .spawn_scoped(scope, client)
                .expect("threads can be made");
        }
        asked.wait();
        thread::sleep(Duration::from_millis(500));
        let before = process::cpu_time(server.pid());
        thread::sleep(HOLD);
        let spent = process::cpu_time(server.pid()) - before;
        let most = process::descriptors(server.pid());
        held.wait();
        (spent, most)
    });
    let running = server.is_running();
    let recovers = running && (0..20).all(|_| server.get("/small.txt").text() == "content");
    if running {
        // Files are let go a moment after they are no longer used.
        eventually("connections are closed", || {
            process::descriptors(server.pid()) < LIMIT as usize / 2
        });
    }
    let [whole, refused, lost] = [whole, refused, lost].map(AtomicUsize::into_inner);
    Verdict {
        holds: running && recovers && lost == 0 && whole > 0 && whole + refused == CLIENTS && spent <= MOST_CPU,
        text: format!(
            "{CLIENTS} clients of {} MiB each, {LIMIT} descriptors: {whole} whole, {refused} told to come again, {lost} lost; while \
             nobody read for {} s: {} descriptors open, {} ms of CPU (limit {}); afterwards {}",
            SIZE / MIB,
            HOLD.as_secs(),
            most,
            spent.as_millis(),
            MOST_CPU.as_millis(),
            if recovers {
                "it serves as before"
            } else {
                "IT DOES NOT SERVE"
            }
        ),
    }
}
