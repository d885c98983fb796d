//! Clients that ask at a fixed rate over kept connections, whatever becomes of the answers before, and compare every byte.
use std::{
    net::SocketAddr,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};
use support::{Connection, client::request_head};

/// One request and the body that must come.
pub struct Question<'a> {
    pub host: &'a str,
    pub path: &'a str,
    pub body: &'a [u8],
}

/// What a connection that ended between two requests is to a client. A server may end it there at any time; then the client
/// asks again by another one (RFC 9112, section 9.6).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Failure,
    AskAgain,
}

/// What came of a load.
#[derive(Default)]
pub struct Outcome {
    /// Of the right answers, from the moment at which each request was due: a stall counts for all that fell into it.
    pub latencies: Vec<Duration>,
    pub failed: usize,
    /// Requests that were asked again because their connection had ended before them.
    pub asked_again: usize,
    /// What went wrong first.
    pub first: Option<String>,
}

/// `rate` requests a second on so many connections, while `going`.
pub fn steady<'a>(
    address: SocketAddr,
    rate: u64,
    connections: u64,
    going: &(dyn Fn() -> bool + Sync),
    ask: &(dyn Fn(u64) -> Question<'a> + Sync),
) -> Outcome {
    steady_with(address, rate, connections, Ended::Failure, going, ask)
}

/// The same, with a word on connections that end between two requests.
pub fn steady_with<'a>(
    address: SocketAddr,
    rate: u64,
    connections: u64,
    ended: Ended,
    going: &(dyn Fn() -> bool + Sync),
    ask: &(dyn Fn(u64) -> Question<'a> + Sync),
) -> Outcome {
    let begin = Instant::now() + Duration::from_millis(20);
    let outcome = Mutex::new(Outcome::default());
    thread::scope(|scope| {
        for client in 0..connections {
            let outcome = &outcome;
            scope.spawn(move || {
                let mut own = Outcome::default();
                let mut connection = None;
                let mut number = client;
                while going() {
                    let due = begin + Duration::from_nanos(number * 1_000_000_000 / rate);
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    let was_kept = connection.is_some();
                    let mut answer = one(address, &mut connection, &ask(number));
                    if ended == Ended::AskAgain && was_kept && matches!(answer, Err(Trouble::Ended(_))) {
                        own.asked_again += 1;
                        connection = None;
                        answer = one(address, &mut connection, &ask(number));
                    }
                    match answer {
                        Ok(()) => own.latencies.push(due.elapsed()),
                        Err(Trouble::Ended(problem) | Trouble::Answer(problem)) => {
                            connection = None;
                            own.failed += 1;
                            own.first.get_or_insert(problem);
                        }
                    }
                    number += connections;
                }
                outcome.lock().expect("no client panics").add(own);
            });
        }
    });
    outcome.into_inner().expect("no client panics")
}

/// Why there is no right answer.
enum Trouble {
    /// The connection ended before anything of an answer came.
    Ended(String),
    Answer(String),
}

fn one(address: SocketAddr, kept: &mut Option<Connection>, question: &Question<'_>) -> Result<(), Trouble> {
    let told =
        |what: &str, error: &dyn std::fmt::Display| format!("{} {}: {what}: {error}", question.host, question.path);
    let failed = |what: &str, error: &dyn std::fmt::Display| Trouble::Answer(told(what, error));
    let connection = match kept {
        Some(connection) => connection,
        None => kept.insert(Connection::try_open(address).map_err(|error| failed("connecting", &error))?),
    };
    connection
        .try_send(request_head("GET", question.path, &[("Host", question.host)]))
        .map_err(|error| Trouble::Ended(told("asking", &error)))?;
    let response = connection.try_head().map_err(|error| match connection.has_nothing() {
        true => Trouble::Ended(told("reading", &error)),
        false => failed("reading", &error),
    })?;
    if response.status != 200 {
        return Err(failed("status", &response.status));
    }
    let length = response.header("content-length").and_then(|length| length.parse().ok());
    let length = length.ok_or_else(|| failed("length", &"none"))?;
    let body = connection.take(length).map_err(|error| failed("reading", &error))?;
    if body != question.body {
        return Err(failed("body", &format!("{} other bytes", body.len())));
    }
    if response
        .header("connection")
        .is_some_and(|word| word.eq_ignore_ascii_case("close"))
    {
        *kept = None;
    }
    Ok(())
}

// === impl Outcome ===

impl Outcome {
    pub fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.failed += other.failed;
        self.asked_again += other.asked_again;
        if self.first.is_none() {
            self.first = other.first;
        }
    }

    /// The latency that this share of the requests did not exceed, in microseconds.
    pub fn quantile(&self, share: f64) -> u128 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let last = sorted.len().saturating_sub(1);
        let at = (last as f64 * share).round() as usize;
        sorted.get(at).copied().unwrap_or_default().as_micros()
    }

    /// What went wrong, for a verdict; empty when nothing did.
    pub fn trouble(&self) -> String {
        self.first
            .as_ref()
            .map_or_else(String::new, |first| format!(", FIRST FAILURE: {first}"))
    }
}
