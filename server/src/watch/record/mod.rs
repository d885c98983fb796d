//! Recording: what real requests were, what policies asked about them, and what was decided, as lines of JSON.
//!
//! In the order of events: a request is chosen (one of so many), [`redact`] names what must not be told of it by the
//! operator's [`rules`], the chain decides it as any other while it takes notes, and all of it goes into a bounded queue; a
//! thread of its own redacts it, makes it a line ([`entry`]) and writes it ([`file`]). Where there is no room the line is
//! dropped and counted: nobody waits for a recording.

pub mod entry;
pub mod file;
pub mod redact;
pub mod rules;

use crate::site::Site;
use entry::{Decision, Line};
use file::{RecordError, RecordFile};
use redact::Redactor;
use rules::{Rule, Rules};
use serde::Serialize;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};
use wasmserve_policy::{Request, Step, Summary, Verdict, Withheld};

/// Decisions that wait to be written, and bytes of them.
const WAITING: usize = 1024;
const WAITING_BYTES: usize = 16 << 20;

/// Bytes that are written at once.
const BATCH: usize = 64 << 10;

/// How long the last lines may take to be written when the server ends.
const FINISH: Duration = Duration::from_secs(5);

/// Failures of the disk are logged as often as this.
const LOGGED_EVERY: Duration = Duration::from_secs(60);

/// What is recorded, and where.
#[derive(Clone, Debug, PartialEq)]
pub struct RecordOptions {
    pub file: PathBuf,
    /// Bytes of the file, and of the one before it.
    pub limit: u64,
    /// One request of so many; at least 1.
    pub one_in: u64,
    /// The operator's, in order.
    pub rules: Vec<Rule>,
}

/// A recording under way.
#[derive(Debug)]
pub struct Recording {
    options: RecordOptions,
    seen: AtomicU64,
    queue: SyncSender<Message>,
    shared: Arc<Shared>,
}

/// What became of the decisions that were chosen.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct RecordCounts {
    pub written: u64,
    /// There was no room for them.
    pub dropped: u64,
    /// They could not be written.
    pub failed: u64,
}

#[derive(Debug)]
struct Shared {
    redactor: Redactor,
    /// Bytes that wait, about.
    waiting: AtomicUsize,
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

enum Message {
    Observed(Box<Observed>),
    /// Everything before it has been written when the sender is dropped.
    Finish(SyncSender<()>),
}

/// One decision, before it is redacted.
#[derive(Debug)]
pub struct Observed {
    pub request: Arc<Request>,
    pub withheld: Arc<Withheld>,
    pub steps: Vec<Step>,
    pub summary: Summary,
}

// === impl Recording ===

impl Recording {
    /// Opens the file and starts to record.
    ///
    /// # Errors
    /// When the file cannot be written, or when others may read it.
    pub fn start(options: RecordOptions) -> Result<Self, RecordError> {
        let rules = Rules::new(options.rules.clone());
        let begin = Line::begin(&rules, options.one_in);
        let file = RecordFile::open(&options.file, options.limit, begin)?;
        let shared = Arc::new(Shared {
            redactor: Redactor::new(rules),
            waiting: AtomicUsize::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let (queue, waiting) = sync_channel(WAITING);
        let writer = Writer {
            file,
            shared: shared.clone(),
            told: None,
        };
        thread::Builder::new()
            .name("record".into())
            .spawn(move || writer.write_all(&waiting))
            .map_err(|source| RecordError::Io {
                path: options.file.clone(),
                source,
            })?;
        Ok(Self {
            options,
            seen: AtomicU64::new(0),
            queue,
            shared,
        })
    }

    /// Whether the next request is one of those that are recorded.
    pub fn is_due(&self) -> bool {
        self.seen
            .fetch_add(1, Relaxed)
            .is_multiple_of(self.options.one_in.max(1))
    }

    /// Decides a request as [`wasmserve_policy::Chain::decide`] does, and records it if there is room.
    pub async fn decide(&self, site: &Site, request: &Arc<Request>, note: impl FnOnce(&[Step])) -> Verdict {
        let withheld = Arc::new(self.shared.redactor.withheld(request));
        let (verdict, steps) = site.chain.decide_noting(request, withheld.clone()).await;
        note(&steps);
        self.offer(Observed {
            request: request.clone(),
            withheld,
            steps,
            summary: verdict.summary(),
        });
        verdict
    }

    fn offer(&self, observed: Observed) {
        let bytes = observed.weight();
        let waiting = self.shared.waiting.fetch_add(bytes, Relaxed);
        let sent = waiting < WAITING_BYTES && self.queue.try_send(Message::Observed(Box::new(observed))).is_ok();
        if !sent {
            self.shared.waiting.fetch_sub(bytes, Relaxed);
            self.shared.dropped.fetch_add(1, Relaxed);
        }
    }

    /// Writes what waits. Gives up after a while: a disk that does not answer must not keep the process.
    pub fn finish(&self) {
        let (sender, finished) = sync_channel(0);
        let deadline = Instant::now() + FINISH;
        let mut message = Message::Finish(sender);
        while let Err(TrySendError::Full(again)) = self.queue.try_send(message) {
            if Instant::now() > deadline {
                break;
            }
            message = again;
            thread::sleep(Duration::from_millis(10));
        }
        // It is dropped, never sent to.
        let _ = finished.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        let RecordCounts {
            written,
            dropped,
            failed,
        } = self.counts();
        let file = self.file().display();
        if dropped + failed == 0 {
            tracing::info!(%file, written, "decisions were recorded");
        } else {
            tracing::warn!(%file, written, dropped, failed, "decisions were recorded, but not all of them");
        }
    }

    pub fn counts(&self) -> RecordCounts {
        RecordCounts {
            written: self.shared.written.load(Relaxed),
            dropped: self.shared.dropped.load(Relaxed),
            failed: self.shared.failed.load(Relaxed),
        }
    }

    pub fn file(&self) -> &Path {
        &self.options.file
    }

    pub fn one_in(&self) -> u64 {
        self.options.one_in
    }
}

impl Observed {
    /// Bytes in memory, about.
    fn weight(&self) -> usize {
        let headers = self.request.headers.iter();
        let headers: usize = headers.map(|(name, value)| name.as_str().len() + value.len()).sum();
        let asked = self.steps.iter().flat_map(|step| &step.asked);
        let asked: usize = asked.map(|e| e.question.len() + e.answer.len() + 48).sum();
        let changes = self.summary.changes.iter();
        let changes: usize = changes.map(|change| change.name.len() + change.value.len() + 96).sum();
        1024 + headers + asked + changes
    }
}

// === the thread that writes ===

struct Writer {
    file: RecordFile,
    shared: Arc<Shared>,
    /// When a failure was last logged.
    told: Option<Instant>,
}

impl Writer {
    fn write_all(mut self, queue: &Receiver<Message>) {
        let mut batch = Batch::default();
        while let Ok(message) = queue.recv() {
            let mut next = Some(message);
            while let Some(message) = next {
                match message {
                    Message::Observed(observed) => self.add(&observed, &mut batch),
                    Message::Finish(waiting) => {
                        self.write(&mut batch);
                        drop(waiting);
                    }
                }
                next = (batch.text.len() < BATCH).then(|| queue.try_recv().ok()).flatten();
            }
            self.write(&mut batch);
        }
    }

    fn add(&mut self, observed: &Observed, batch: &mut Batch) {
        self.shared.waiting.fetch_sub(observed.weight(), Relaxed);
        let line = Line::Decision(Box::new(Decision::of(observed, &self.shared.redactor)));
        let before = batch.text.len();
        match serde_json::to_writer(&mut batch.text, &line) {
            Ok(()) => {
                batch.text.push(b'\n');
                batch.lines += 1;
            }
            Err(_) => {
                batch.text.truncate(before);
                self.shared.failed.fetch_add(1, Relaxed);
            }
        }
    }

    fn write(&mut self, batch: &mut Batch) {
        if batch.lines == 0 {
            return;
        }
        match self.file.write(&batch.text) {
            Ok(()) => {
                self.shared.written.fetch_add(batch.lines, Relaxed);
            }
            Err(error) => {
                self.shared.failed.fetch_add(batch.lines, Relaxed);
                if self.told.is_none_or(|told| told.elapsed() > LOGGED_EVERY) {
                    self.told = Some(Instant::now());
                    tracing::error!(%error, file = %self.file.path().display(), "decisions cannot be recorded");
                }
            }
        }
        *batch = Batch::default();
    }
}

/// Whole lines.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    lines: u64,
}
