//! Three servers behind a balancer, under load: one is killed (SIGKILL), later another is stopped (SIGTERM), both are
//! started again. What was answered, what failed, what the balancer asked anew, and how many bytes were wrong.
//!
//! A server that dies takes the answers with it that it has begun: those fail, and their clients know, because the length
//! that was announced did not come. What it had not begun to answer is asked of another one. Wrong is only a byte that is
//! not the file's, or a request that a limit did not admit: there must be none.
use crate::Verdict;
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};
use support::{Connection, client::request_head, cluster::Cluster, pattern, project};

const CLIENTS: usize = 32;
/// Requests of each client between two of a limited file.
const PAUSE: usize = 50;
const LIMIT: usize = 100;
/// How long each phase lasts: all up, one killed, all up, one stopped, all up.
const PHASE: Duration = Duration::from_secs(4);

/// Sizes of the files: an answer in one piece, in a few, and one that is long under way.
const SIZES: [usize; 3] = [1 << 10, 200_000, 8 << 20];

#[derive(Default)]
struct Counts {
    right: usize,
    /// The connection ended early, or the balancer found no server.
    failed: usize,
    wrong: usize,
    first_failure: Option<String>,
    first_wrong: Option<String>,
}

/// What became of one request.
enum Came {
    Right,
    Failed(String),
    Wrong(String),
}

pub fn cluster() -> Verdict {
    println!("{CLIENTS} clients of three servers; one is killed, one is stopped ...");
    let files: Vec<Vec<u8>> = (1..).zip(SIZES).map(|(seed, size)| pattern(seed, size)).collect();
    let folder = project().join("target/cluster-stress");
    let mut cluster = Cluster::start(&folder, 0, |www| {
        for (number, content) in files.iter().enumerate() {
            std::fs::write(www.join(format!("{number}.bin")), content).expect("the folder is writable");
        }
    });
    let (stop, counts) = (AtomicBool::new(false), Mutex::new(Counts::default()));
    let (admitted, unsure) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let address = cluster.address();
    let began = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (stop, counts, files, admitted, unsure) = (&stop, &counts, &files, &admitted, &unsure);
            scope.spawn(move || {
                let (mut own, mut kept) = (Counts::default(), None);
                for number in client.. {
                    if stop.load(Relaxed) {
                        break;
                    }
                    if number % PAUSE == 0 {
                        match limited(address, &mut kept) {
                            Ok(true) => drop(admitted.fetch_add(1, Relaxed)),
                            Ok(false) => {}
                            Err(problem) => {
                                unsure.fetch_add(1, Relaxed);
                                own.add(Came::Failed(problem));
                            }
                        }
                    } else {
                        // Few of the long ones: they take the most of the time.
                        let file = [0, 0, 0, 1, 0, 0, 1, 2][number % 8];
                        own.add(ask(address, &mut kept, file, &files[file]));
                    }
                }
                counts.lock().expect("no client panics").sum(own);
            });
        }
        thread::sleep(PHASE);
        cluster.kill(1);
        thread::sleep(PHASE);
        cluster.start_again(1);
        thread::sleep(PHASE);
        cluster.stop(2);
        thread::sleep(PHASE);
        cluster.start_again(2);
        thread::sleep(PHASE);
        // What is left of the limit, so that all of it is used.
        let mut kept = None;
        for _ in 0..2 * LIMIT {
            match limited(address, &mut kept) {
                Ok(granted) => drop(admitted.fetch_add(usize::from(granted), Relaxed)),
                Err(_) => drop(unsure.fetch_add(1, Relaxed)),
            }
        }
        stop.store(true, Relaxed);
    });
    let counts = counts.into_inner().expect("no client panics");
    let (admitted, unsure, retried) = (admitted.into_inner(), unsure.into_inner(), cluster.retried());
    let exact = admitted <= LIMIT && admitted + unsure + usize::try_from(retried).unwrap_or(usize::MAX) >= LIMIT;
    let first = counts.first_wrong.or(counts.first_failure);
    Verdict {
        holds: counts.wrong == 0 && exact && counts.right > 0,
        text: format!(
            "three servers, {CLIENTS} clients, one killed and one stopped, {:.0} s: {} right, {} failed, {retried} retried by the \
             balancer, {} wrong (limit 0); {admitted} of {LIMIT} admitted by a limit of all three, {unsure} of unknown end{}",
            began.elapsed().as_secs_f64(),
            counts.right,
            counts.failed,
            counts.wrong,
            first.map_or_else(String::new, |first| format!("; first: {first}")),
        ),
    }
}

/// Asks for a file, and compares what comes byte by byte, also of an answer that is cut.
fn ask(address: std::net::SocketAddr, kept: &mut Option<Connection>, file: usize, content: &[u8]) -> Came {
    let asked = format!("/{file}.bin");
    let came = request(address, kept, &asked).map(|mut connection| {
        let head = match connection.try_head() {
            Ok(head) => head,
            Err(error) => return Came::Failed(format!("{asked}: no answer: {error}")),
        };
        if head.status != 200 {
            return Came::Failed(format!("{asked}: {}", head.status));
        }
        if head.header("content-length") != Some(&content.len().to_string()) {
            return Came::Wrong(format!("{asked}: a length of {:?}", head.header("content-length")));
        }
        let mut body = Vec::with_capacity(content.len());
        let cut = loop {
            match connection.take_some(content.len() - body.len()) {
                Ok(piece) => body.extend(piece),
                Err(error) => break Some(error.to_string()),
            }
            if body.len() == content.len() {
                break None;
            }
        };
        if body != content[..body.len()] {
            return Came::Wrong(format!("{asked}: a byte is not the file's"));
        }
        match cut {
            Some(problem) => Came::Failed(format!("{asked}: cut after {} KiB: {problem}", body.len() / 1024)),
            None => {
                *kept = Some(connection);
                Came::Right
            }
        }
    });
    came.unwrap_or_else(Came::Failed)
}

/// Whether a limited file was given.
fn limited(address: std::net::SocketAddr, kept: &mut Option<Connection>) -> Result<bool, String> {
    let mut connection = request(address, kept, "/limited/index.txt")?;
    let response = connection.try_response_to("GET").map_err(|error| error.to_string())?;
    *kept = Some(connection);
    match response.status {
        200 => Ok(true),
        429 => Ok(false),
        other => Err(format!("/limited/index.txt: {other}")),
    }
}

fn request(address: std::net::SocketAddr, kept: &mut Option<Connection>, path: &str) -> Result<Connection, String> {
    let mut connection = match kept.take() {
        Some(connection) => connection,
        None => Connection::try_open(address).map_err(|error| format!("connecting: {error}"))?,
    };
    connection
        .try_send(request_head("GET", path, &[("Host", "files.example")]))
        .map_err(|error| format!("asking: {error}"))?;
    Ok(connection)
}

// === impl Counts ===

impl Counts {
    fn add(&mut self, came: Came) {
        match came {
            Came::Right => self.right += 1,
            Came::Failed(problem) => {
                self.failed += 1;
                self.first_failure.get_or_insert(problem);
            }
            Came::Wrong(problem) => {
                self.wrong += 1;
                self.first_wrong.get_or_insert(problem);
            }
        }
    }

    fn sum(&mut self, other: Self) {
        self.right += other.right;
        self.failed += other.failed;
        self.wrong += other.wrong;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.first_wrong = self.first_wrong.take().or(other.first_wrong);
    }
}
