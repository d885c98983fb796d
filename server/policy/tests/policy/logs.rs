//! What the operator reads: one line for a failure, and the lines that policies write.
use crate::{
    guest::{Guest, Reply, proceed},
    harness::{Chains, decide, get},
};
use std::{
    io::Write,
    sync::{Arc, Mutex, Once},
};
use tracing::subscriber::DefaultGuard;

/// Collects what is logged by this thread as lines of JSON.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<u8>>>);

/// For threads without a log of their own.
static OTHERS: Once = Once::new();

impl Log {
    pub fn start() -> (Self, DefaultGuard) {
        // tracing may ask the subscriber of the thread that comes first whether anybody wants an event, and remembers the
        // answer for all: a thread of another test, without a subscriber, would say no.
        OTHERS.call_once(|| {
            tracing::subscriber::set_global_default(tracing_subscriber::registry()).expect("nobody else sets one");
        });
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// The lines whose `key` is `value`.
    pub fn lines(&self, key: &str, value: &str) -> Vec<serde_json::Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line[key] == value).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_failure_is_one_line_that_names_everything() {
    let (log, _guard) = Log::start();
    let mut trap = Guest::new();
    trap.decide = "(call $check_token) (i32.const 16)".into();
    trap.more = "(func $check_token (unreachable))".into();
    let chains = Chains::one(&trap);
    let chain = chains.load().await;
    decide(&chain, get("/secret/path")).await;
    let lines = log.lines("message", "a policy failed");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!(line["level"], "ERROR");
    assert_eq!(line["policy"], "policy-0");
    assert_eq!(line["site"], "test");
    assert_eq!(line["status"], 500);
    assert_eq!(line["path"], "/secret/path");
    assert_eq!(line["digest"], chain.policies()[0].digest.as_str());
    assert!(line["reason"].as_str().unwrap().contains("unreachable"), "{line}");
    let backtrace = line["backtrace"].as_str().unwrap();
    assert!(
        backtrace.starts_with("guest!check_token, called by guest!decide"),
        "{backtrace}"
    );
}

#[tokio::test]
async fn the_words_of_a_policy_are_in_the_log() {
    let (log, _guard) = Log::start();
    let chain = Chains::one(&Guest::replying(&Reply::Fail(
        "no such user\nin the table".repeat(1000),
    )))
    .load()
    .await;
    decide(&chain, get("/")).await;
    let lines = log.lines("message", "a policy failed");
    let reason = lines[0]["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("no such user\\nin the table"),
        "a break of the guest's begins no line: {reason}"
    );
    assert!(reason.len() < 3000, "{}", reason.len());
}

/// A guest that logs `count` messages of `length` bytes, prints a line and a half, and proceeds.
pub fn logging(count: u32, length: u32) -> Guest {
    let mut guest = Guest::new();
    guest.pages = 40;
    let (context, message) = (guest.text("tokens"), guest.text("seen"));
    let address = message.split_inclusive(')').next().unwrap().to_owned();
    let (print, reply) = (guest.text("one\ntw"), guest.reply(&proceed()));
    guest.decide = format!(
        "(local $i i32) (local $out i32)
         (loop $more
            (call $logging.log (i32.const 3) {context} {address} (i32.const {length}))
            (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const {count}))))
         (local.set $out (call $stdout.get))
         (call $stream.write (local.get $out) {print} (i32.const 64))
         (call $stream.drop (local.get $out))
         {reply}"
    );
    guest
}

#[tokio::test]
async fn lines_of_a_policy_are_written_with_its_name() {
    let (log, _guard) = Log::start();
    let mut chains = Chains::one(&logging(1, 4));
    chains.spec.policies[0].grants.logging = true;
    let chain = chains.load().await;
    decide(&chain, get("/")).await;
    let said = log.lines("policy", "policy-0");
    let said: Vec<(&str, &str, &str)> = said
        .iter()
        .filter_map(|line| {
            Some((
                line["level"].as_str()?,
                line["context"].as_str()?,
                line["said"].as_str()?,
            ))
        })
        .collect();
    assert_eq!(
        said,
        [
            ("WARN", "tokens", "seen"),
            ("INFO", "stdout", "one"),
            ("INFO", "stdout", "tw")
        ]
    );
}

#[tokio::test]
async fn a_flood_of_lines_is_cut_and_says_so() {
    for (count, length, written) in [(1000, 4, 64), (100, 4000, 4), (1, 20_000, 0)] {
        let (log, _guard) = Log::start();
        let mut chains = Chains::one(&logging(count, length));
        chains.spec.policies[0].grants.logging = true;
        let chain = chains.load().await;
        decide(&chain, get("/")).await;
        assert_eq!(log.lines("context", "tokens").len(), written);
        let cut = log.lines("policy", "policy-0");
        let cut = cut
            .iter()
            .filter(|line| line["message"].as_str().unwrap().contains("the rest was dropped"));
        assert_eq!(cut.count(), 1);
    }
}
