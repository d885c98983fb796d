//! Lines to a file or to standard output, written by a thread of its own.
//!
//! Nobody waits for it. A line is appended to what waits, under a lock that is held for a copy of some 300 bytes; where
//! that is [`WAITING`] bytes already, the line is lost instead, counted, and told of in the server's log. The thread wakes
//! up for the first line, lets others come for [`GATHERING`], and writes all of them with one call.
//!
//! A disk that is full takes a part of a line: what follows begins on a line of its own, in the same process and in the next.

use std::{
    cell::RefCell,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// Bytes that may wait to be written: some 15,000 lines.
const WAITING: usize = 4 << 20;

/// How long the first line of many waits for others, so that a busy server writes 50 times a second, not 50,000 times.
const GATHERING: Duration = Duration::from_millis(20);

/// Losses are told of once in so long.
const TELL: Duration = Duration::from_secs(10);

/// How long the end of the process waits for the last lines.
const LAST: Duration = Duration::from_secs(2);

/// As nginx creates its logs: for the owner, and the group that reads logs.
const MODE: u32 = 0o640;

/// Why lines cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("cannot write the access log {}", .path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot start the thread that writes the access log")]
    Thread(#[source] io::Error),
}

/// Where lines are handed over.
#[derive(Debug)]
pub struct Lines {
    queue: Arc<Queue>,
}

#[derive(Debug)]
struct Queue {
    state: Mutex<State>,
    /// The writer waits for something to do; whoever ends waits for the writer.
    changed: Condvar,
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    lines: u64,
    /// The writer has taken bytes that are not written yet.
    writing: bool,
    reopen: bool,
    /// Nothing more is gathered.
    finishing: bool,
}

/// What the thread writes to.
struct Sink {
    output: Output,
    /// As it was given.
    path: Option<PathBuf>,
    /// Whether what was written last does not end a line.
    torn: bool,
    told: Told,
}

enum Output {
    Stdout(io::Stdout),
    File(File),
    /// It could not be opened anew: lines are lost until it can.
    Nothing,
}

// === impl Lines ===

impl Lines {
    /// # Errors
    /// When no thread can be started.
    pub fn to_stdout() -> Result<Self, AccessError> {
        Self::start(Sink::new(Output::Stdout(io::stdout()), None, false))
    }

    /// Appends to a file, which is made when it is not there.
    ///
    /// # Errors
    /// When it cannot be opened, or when no thread can be started.
    pub fn to_file(path: &Path) -> Result<Self, AccessError> {
        let (file, torn) = open(path).map_err(|source| AccessError::Open {
            path: path.to_owned(),
            source,
        })?;
        Self::start(Sink::new(Output::File(file), Some(path.to_owned()), torn))
    }

    fn start(sink: Sink) -> Result<Self, AccessError> {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            lost: AtomicU64::new(0),
        });
        let writer = queue.clone();
        thread::Builder::new()
            .name("access log".into())
            .spawn(move || writer.run(sink))
            .map_err(AccessError::Thread)?;
        Ok(Self { queue })
    }

    /// Hands over the line that `make` appends.
    pub fn write(&self, make: impl FnOnce(&mut Vec<u8>)) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|line| {
            line.clear();
            make(line);
            self.queue.take(line);
        });
    }

    pub fn reopen(&self) {
        self.queue.state().reopen = true;
        self.queue.changed.notify_all();
    }

    /// Waits until all is written, but not for long: a reader that has stopped reading must not keep the process.
    pub fn finish(&self) {
        let mut state = self.queue.state();
        state.finishing = true;
        self.queue.changed.notify_all();
        let busy = |state: &mut State| state.writing || !state.waiting.is_empty();
        let waited = self.queue.changed.wait_timeout_while(state, LAST, busy);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.queue.lost.fetch_add(state.lines, Relaxed);
    }

    pub fn lost(&self) -> u64 {
        self.queue.lost.load(Relaxed)
    }
}

// === impl Queue ===

impl Queue {
    fn take(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > WAITING {
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        state.waiting.extend_from_slice(line);
        state.lines += 1;
        let first = state.lines == 1 && !state.writing;
        drop(state);
        if first {
            self.changed.notify_all();
        }
    }

    fn run(&self, mut sink: Sink) {
        let mut batch = Vec::new();
        loop {
            let (lines, reopen) = self.next(&mut batch);
            if reopen {
                sink.reopen();
            }
            let whole = sink.write(&batch);
            self.lost.fetch_add(lines.saturating_sub(whole), Relaxed);
            batch.clear();
            sink.told.losses(self.lost.load(Relaxed));
        }
    }

    /// Waits for lines, or for another thing to do; moves all there are to `batch`.
    fn next(&self, batch: &mut Vec<u8>) -> (u64, bool) {
        let mut state = self.state();
        state.writing = false;
        self.changed.notify_all();
        let idle = |state: &mut State| state.lines == 0 && !state.reopen;
        state = self
            .changed
            .wait_while(state, idle)
            .unwrap_or_else(PoisonError::into_inner);
        if !state.finishing && !state.reopen {
            let alone = |state: &mut State| !state.finishing && !state.reopen && state.waiting.len() < WAITING / 4;
            let gathered = self.changed.wait_timeout_while(state, GATHERING, alone);
            state = gathered.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut state.waiting, batch);
        state.writing = true;
        (std::mem::take(&mut state.lines), std::mem::take(&mut state.reopen))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Sink ===

impl Sink {
    fn new(output: Output, path: Option<PathBuf>, torn: bool) -> Self {
        Self {
            output,
            path,
            torn,
            told: Told::default(),
        }
    }

    /// How many of these lines were written whole.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        if let Output::Nothing = self.output {
            self.reopen();
        }
        let (written, failed) = match &mut self.output {
            Output::Stdout(stdout) => {
                let (written, failed) = append(stdout, &mut self.torn, lines);
                (written, failed.or_else(|| stdout.flush().err()))
            }
            Output::File(file) => append(file, &mut self.torn, lines),
            // That was told of.
            Output::Nothing => (0, None),
        };
        if let Some(error) = failed {
            self.told.failure(&error);
        }
        lines[..written].iter().filter(|byte| **byte == b'\n').count() as u64
    }

    fn reopen(&mut self) {
        let Some(path) = &self.path else { return };
        match open(path) {
            Ok((file, torn)) => (self.output, self.torn) = (Output::File(file), torn),
            Err(error) => {
                self.told.unopened(path, &error);
                self.output = Output::Nothing;
            }
        }
    }
}

/// Writes lines, on a line of their own where the last one is `torn`: how many bytes of them, and why not all.
fn append(output: &mut impl Write, torn: &mut bool, lines: &[u8]) -> (usize, Option<io::Error>) {
    let mut written = 0;
    while *torn || written < lines.len() {
        let rest = match *torn && written == 0 {
            true => b"\n",
            false => &lines[written..],
        };
        match output.write(rest) {
            Ok(0) => return (written, Some(io::ErrorKind::WriteZero.into())),
            Ok(_) if *torn && written == 0 => *torn = false,
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                *torn |= written > 0 && lines[written - 1] != b'\n';
                return (written, Some(error));
            }
        }
    }
    (written, None)
}

/// The file, and whether its last line has no end.
fn open(path: &Path) -> io::Result<(File, bool)> {
    let options = || {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(MODE);
        options
    };
    let file = options().open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() == 0 {
        return Ok((file, false));
    }
    // Whoever may write to it and not read it does without.
    match options().read(true).open(path) {
        Ok(file) => {
            let mut last = *b"\n";
            let _ = file.read_at(&mut last, metadata.len() - 1);
            Ok((file, last != *b"\n"))
        }
        Err(_) => Ok((file, false)),
    }
}

/// What was told of losses, and when of each kind of failure.
#[derive(Default)]
struct Told {
    losses: u64,
    when: Option<Instant>,
    failed: Option<Instant>,
    unopened: Option<Instant>,
}

// === impl Told ===

impl Told {
    fn losses(&mut self, lost: u64) {
        let lately = self.when.is_some_and(|when| when.elapsed() < TELL);
        if lost == self.losses || lately {
            return;
        }
        let lines = lost - self.losses;
        tracing::warn!(
            lines,
            lost,
            "lines of the access log were lost: they are not written as fast as they come"
        );
        (self.losses, self.when) = (lost, Some(Instant::now()));
    }

    fn failure(&mut self, error: &io::Error) {
        if is_due(&mut self.failed) {
            tracing::error!(%error, "the access log cannot be written");
        }
    }

    fn unopened(&mut self, path: &Path, error: &io::Error) {
        if is_due(&mut self.unopened) {
            tracing::error!(path = %path.display(), %error, "the access log cannot be opened anew: its lines are lost");
        }
    }
}

/// Whether it was not told of lately; it is now.
fn is_due(told: &mut Option<Instant>) -> bool {
    let due = told.is_none_or(|when| when.elapsed() >= TELL);
    if due {
        *told = Some(Instant::now());
    }
    due
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Takes a few bytes at a time, and so many altogether.
    struct Disk {
        holds: Vec<u8>,
        most: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match bytes.len().min(4).min(self.most - self.holds.len()) {
                0 => Err(io::ErrorKind::StorageFull.into()),
                count => {
                    self.holds.extend_from_slice(&bytes[..count]);
                    Ok(count)
                }
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// However full a disk was, lines that are written after it has room again are whole.
    #[test]
    fn a_torn_line_is_nobody_elses() {
        for room in 0..20 {
            let (mut torn, mut disk) = (
                false,
                Disk {
                    holds: Vec::new(),
                    most: room,
                },
            );
            let (written, failed) = append(&mut disk, &mut torn, b"first\nsecond\n");
            assert_eq!((written, failed.is_some()), (room.min(13), room < 13), "{room}");
            let _ = append(&mut disk, &mut torn, b"lost\n");
            disk.most = usize::MAX;
            let (_, failed) = append(&mut disk, &mut torn, b"third\nfourth\n");
            assert!(failed.is_none() && !torn);
            let text = String::from_utf8(disk.holds).expect("text");
            assert!(text.lines().all(|line| !line.is_empty()), "{room}: {text:?}");
            let last: Vec<&str> = text.lines().rev().take(2).collect();
            assert_eq!(last, ["fourth", "third"], "{room}: {text:?}");
        }
    }

    /// Waits for a state, not for a time.
    fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn every_line_of_every_thread_is_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("access.log");
        let lines = Lines::to_file(&path).expect("a file");
        thread::scope(|scope| {
            for thread in 0..4 {
                let lines = &lines;
                scope.spawn(move || {
                    for number in 0..500 {
                        lines.write(|line| writeln!(line, "thread {thread} line {number}").expect("memory"));
                    }
                });
            }
        });
        lines.finish();
        let text = fs::read_to_string(&path).expect("text");
        let mut read: Vec<&str> = text.lines().collect();
        read.sort_unstable();
        read.dedup();
        assert_eq!((read.len(), lines.lost()), (2000, 0));
        assert!(
            read.iter()
                .all(|line| line.starts_with("thread ") && line.contains(" line "))
        );
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
        let lines = Lines::to_file(&path).expect("a file");
        lines.write(|line| line.extend_from_slice(b"first\n"));
        eventually("the first line is written", || {
            fs::read(&path).is_ok_and(|text| text == b"first\n")
        });
        fs::rename(&path, &moved).expect("our folder");
        lines.reopen();
        eventually("it is made anew", || path.exists());
        lines.write(|line| line.extend_from_slice(b"second\n"));
        lines.finish();
        assert_eq!(fs::read(&moved).expect("the old one"), b"first\n");
        assert_eq!(fs::read(&path).expect("the new one"), b"second\n");
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        // Every write to it fails: no space is left.
        let lines = Lines::to_file(Path::new("/dev/full")).expect("a device");
        lines.write(|line| line.extend_from_slice(b"lost\n"));
        eventually("the loss is counted", || lines.lost() == 1);
        assert!(Lines::to_file(Path::new("/nowhere/access.log")).is_err());
    }

    #[test]
    fn a_writer_that_is_stuck_holds_up_nobody() {
        let queue = Queue {
            state: Mutex::default(),
            changed: Condvar::new(),
            lost: AtomicU64::new(0),
        };
        let line = vec![b'x'; WAITING / 4];
        for _ in 0..5 {
            queue.take(&line);
        }
        assert_eq!(queue.lost.load(Relaxed), 1);
        assert_eq!(queue.state().waiting.len(), WAITING);
    }
}
