//! A store whose every byte is known, that counts and fails as it is told; and reading that compares every byte.
#![allow(dead_code, reason = "each test uses a part of it")]
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use rustix::{
    fs::{CWD, Mode, OFlags, mkdirat, openat},
    io::{Errno, pread},
};
use std::{
    io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use wasmserve_pieces::{Cache, Chunks, Fetching, Object, Opener, Options, Origin, Part, Span, Store};

pub const PIECE: u64 = 4096;

/// Of all objects of a test.
pub struct Fake {
    pub store: Store,
    pub fetched: Mutex<Vec<(String, Range<u64>)>>,
    /// How fetches end, in turn; afterwards all are well.
    pub ends: Mutex<Vec<End>>,
    /// One for each chunk that may be sent; closed: as many as there are.
    pub gate: Semaphore,
    pub sent: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
pub enum End {
    Well,
    Refused,
    /// An error after so many bytes.
    Broken(u64),
    Short(u64),
    Long,
}

pub struct Source {
    fake: Arc<Fake>,
    key: String,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        let fake = Self::gated();
        fake.gate.close();
        fake
    }

    /// Sends nothing until permits are added to the gate.
    pub fn gated() -> Arc<Self> {
        Arc::new(Self {
            store: Store::new("store", 8),
            fetched: Mutex::default(),
            ends: Mutex::default(),
            gate: Semaphore::new(0),
            sent: AtomicU64::new(0),
        })
    }

    pub fn object(self: &Arc<Self>, key: &str, size: u64) -> Object {
        let source = Source {
            fake: self.clone(),
            key: key.to_owned(),
        };
        self.store.object(key, "1", size, Arc::new(source))
    }

    /// The ranges that were asked for since the last time.
    pub fn fetched(&self) -> Vec<Range<u64>> {
        let fetched = std::mem::take(&mut *self.fetched.lock().unwrap());
        fetched.into_iter().map(|(_, range)| range).collect()
    }

    /// The first and the last byte of the one range that was asked for since the last time.
    pub fn fetched_one(&self) -> (u64, u64) {
        let fetched = self.fetched();
        assert_eq!(fetched.len(), 1, "{fetched:?}");
        (fetched[0].start, fetched[0].end - 1)
    }

    pub fn will_end(&self, ends: impl IntoIterator<Item = End>) {
        *self.ends.lock().unwrap() = ends.into_iter().collect();
    }
}

impl Origin for Source {
    fn fetch(&self, range: Range<u64>) -> Fetching {
        self.fake
            .fetched
            .lock()
            .unwrap()
            .push((self.key.clone(), range.clone()));
        let end = {
            let mut ends = self.fake.ends.lock().unwrap();
            if ends.is_empty() { End::Well } else { ends.remove(0) }
        };
        let (fake, key) = (self.fake.clone(), self.key.clone());
        Box::pin(async move {
            let length = range.end - range.start;
            let (sends, error) = match end {
                End::Refused => return Err(io::Error::other("refused")),
                End::Well => (length, None),
                End::Short(bytes) => (length.min(bytes), None),
                End::Long => (length + 1, None),
                End::Broken(bytes) => (length.min(bytes), Some(io::Error::other("broken"))),
            };
            let begin = range.start;
            let chunks = stream::unfold((0, error), move |(at, error)| {
                let (fake, key) = (fake.clone(), key.clone());
                async move {
                    if let Ok(permit) = fake.gate.acquire().await {
                        permit.forget();
                    }
                    if at == sends {
                        return error.map(|error| (Err(error), (at, None)));
                    }
                    // Chunks of changing lengths that fit nothing.
                    let length = (sends - at).min(1 + (begin + at) * 7 % 3001);
                    fake.sent.fetch_add(length, SeqCst);
                    let bytes = content(&key, begin + at..begin + at + length);
                    Some((Ok(Bytes::from(bytes)), (at + length, error)))
                }
            });
            Ok(chunks.boxed() as Chunks)
        })
    }
}

/// What an object has in a range.
pub fn content(key: &str, range: Range<u64>) -> Vec<u8> {
    let seed = key
        .bytes()
        .fold(17_u64, |seed, byte| seed.wrapping_mul(31) + u64::from(byte));
    range
        .map(|at| ((at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8)
        .collect()
}

pub fn opener(folder: &Path) -> Opener {
    let folder: PathBuf = folder.to_owned();
    Box::new(move || {
        match mkdirat(CWD, &folder, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(openat(
            CWD,
            &folder,
            OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    })
}

/// A cache with room for so many pieces of 4 KiB.
pub fn cache(folder: &Path, pieces: u64) -> Cache {
    let cache = Cache::new(Options::new(pieces * PIECE, PIECE).expect("options"), opener(folder));
    // What is left of the one before may still be at work.
    while let Err(error) = cache.open() {
        assert_eq!(error.kind(), io::ErrorKind::ResourceBusy, "{error}");
        std::thread::sleep(Duration::from_millis(1));
    }
    cache
}

pub fn bytes_of(span: &Span) -> Vec<u8> {
    let mut bytes = vec![0; span.length() as usize];
    let read = pread(span, &mut bytes, span.offset()).expect("a span can be read");
    bytes.truncate(read);
    bytes
}

/// Reads a range and compares every byte; gives back how many came from the disk, and how many straight from the store.
pub async fn read(cache: &Cache, object: &Object, key: &str, range: Range<u64>) -> io::Result<(u64, u64)> {
    let mut reader = cache.read(object, range.clone());
    let (mut at, mut local, mut direct) = (range.start, 0, 0);
    while let Some(part) = reader.next().await? {
        let bytes = match &part {
            Part::Local(span) => bytes_of(span),
            Part::Bytes(bytes) => bytes.to_vec(),
        };
        let length = bytes.len() as u64;
        match &part {
            Part::Local(span) => {
                assert_eq!(length, span.length(), "a span is as long as it says");
                local += length;
            }
            Part::Bytes(_) => direct += length,
        }
        assert!(length > 0, "no part is empty");
        assert!(bytes == content(key, at..at + length), "{key} at {at} + {length}");
        at += length;
    }
    assert_eq!(
        at,
        range.end.min(object.size()).max(range.start),
        "the range was read to its end"
    );
    Ok((local, direct))
}

/// Numbers that look random and are the same every time.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % most.max(1)
    }
}

/// Bytes that all files of a folder take on disk.
pub fn on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let files = std::fs::read_dir(folder).expect("a folder");
    files
        .filter_map(|file| Some(file.ok()?.metadata().ok()?.blocks() * 512))
        .sum()
}
