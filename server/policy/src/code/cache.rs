//! Code on disk, a file for each key. Several servers may share a folder.
//!
//! A file is written under a name of its own and renamed, so it is whole or not there. It is read to memory and checked
//! before anything of it is used: whose it is (asked of the opened descriptor), then its key and its digest. Whatever is
//! wrong with a file, it is as if it were not there, and what is compiled instead replaces it.
//!
//! The folder is bounded in bytes: files that were not used for longest are removed.
use super::{Code, Key};
use rustix::{
    fs::{AtFlags, Dir, Timespec, Timestamps, UTIME_NOW, futimens, statat, unlinkat},
    io::Errno,
};
use sha2::{Digest, Sha256};
use std::{
    fmt::Write as _,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{SystemTime, UNIX_EPOCH},
};
use wasmserve_files::trusted::{Durability, Folder, UNFINISHED, Untrusted};

/// The folder within the given one. Its version is that of the files' layout.
const FOLDER: &str = "code-1";
const MAGIC: &[u8; 16] = b"wasmserve code 1";
/// Magic, key, digest of the rest, and what the rest is.
const HEADER: usize = 16 + 32 + 32 + 1;
const IS_CODE: u8 = b'c';
const IS_REASON: u8 = b'r';
const ENDING: &str = ".cwasm";
/// Seconds after which an unfinished file is one that nobody will finish.
const ABANDONED: i64 = 3600;

/// What is kept for a key.
pub(super) enum Entry {
    Code(Code),
    /// Why there is no code.
    Reason(String),
}

/// Compiled code on disk, in a folder that nobody else can change.
#[derive(Debug)]
pub struct CodeCache {
    folder: Folder,
    /// Bytes of all files together.
    most: u64,
    /// Whether the log was told that files cannot be written.
    told: AtomicBool,
}

impl CodeCache {
    /// Bytes that all files may take together, if nothing else is said: some twenty language runtimes, or thousands of
    /// small policies.
    pub const MOST: u64 = 1 << 30;

    /// Opens the cache in a folder, which is made if it is not there. `roots`: folders that are served, none of which may
    /// be above it.
    ///
    /// # Errors
    /// When somebody else than root or this process's user could change what is in it; the text says what to do.
    pub fn open(folder: &Path, roots: &[PathBuf], most: u64) -> Result<Self, Untrusted> {
        Ok(Self {
            folder: Folder::open(folder, FOLDER, roots)?,
            most,
            told: AtomicBool::new(false),
        })
    }

    /// The folder that the files are in, without links: never to be served.
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// What is kept for a key.
    pub(super) fn find(&self, key: &Key) -> Option<Entry> {
        let name = name(key);
        match self.read(&name, key) {
            Ok(entry) => Some(entry),
            Err(unusable) if unusable.kind() == io::ErrorKind::NotFound => None,
            Err(unusable) => {
                tracing::warn!(
                    file = %self.folder.path.join(&name).display(),
                    reason = %unusable,
                    "a file of cached code is not used, and will be replaced"
                );
                None
            }
        }
    }

    fn read(&self, name: &str, key: &Key) -> io::Result<Entry> {
        let (file, bytes) = self.folder.read(name, self.most)?;
        let entry = parse(bytes, key)?;
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_NOW,
        };
        // It was used just now. When that cannot be written down, it will go a little earlier.
        let _ = futimens(
            &file,
            &Timestamps {
                last_access: now,
                last_modification: now,
            },
        );
        Ok(entry)
    }

    /// Keeps something for a key. When that cannot be done, the log says so, once.
    pub(super) fn keep(&self, key: &Key, entry: &Entry) {
        let content = match entry {
            Entry::Code(code) => (IS_CODE, code.image()),
            Entry::Reason(reason) => (IS_REASON, reason.as_bytes()),
        };
        if content.1.len() as u64 + HEADER as u64 > self.most {
            return;
        }
        let kept = self.write(key, content).and_then(|()| self.make_room());
        if let Err(error) = kept
            && !self.told.swap(true, Ordering::Relaxed)
        {
            let folder = self.folder.path.display();
            tracing::warn!(%folder, %error, "compiled code cannot be kept: it will be compiled again at the next start");
        }
    }

    fn write(&self, key: &Key, (kind, content): (u8, &[u8])) -> io::Result<()> {
        let parts = [&header(key, kind, content)[..], content];
        self.folder.write(&name(key), &parts, Durability::Lost)
    }

    /// Removes what was not used for longest until there are few enough bytes, and what nobody will finish.
    fn make_room(&self) -> io::Result<()> {
        let folder = &self.folder.descriptor;
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |now| now.as_secs());
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        let mut files = Vec::new();
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let text = name.to_bytes();
            // Another server may have removed it.
            let Ok(stat) = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if text.ends_with(ENDING.as_bytes()) {
                let used = (stat.st_mtime, stat.st_mtime_nsec);
                files.push((used, name.to_owned(), u64::try_from(stat.st_size).unwrap_or(0)));
            } else if text.ends_with(UNFINISHED.as_bytes()) && now.saturating_sub(stat.st_mtime) > ABANDONED {
                remove(folder, name)?;
            }
        }
        let mut bytes: u64 = files.iter().map(|(.., size)| size).sum();
        files.sort();
        for (_, name, size) in files {
            if bytes <= self.most {
                break;
            }
            remove(folder, &name)?;
            bytes -= size;
        }
        Ok(())
    }
}

fn remove(folder: impl std::os::fd::AsFd, name: &std::ffi::CStr) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn name(key: &Key) -> String {
    let mut name = String::with_capacity(64 + ENDING.len());
    for byte in key.0 {
        let _ = write!(name, "{byte:02x}");
    }
    name + ENDING
}

fn header(key: &Key, kind: u8, content: &[u8]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    header[..16].copy_from_slice(MAGIC);
    header[16..48].copy_from_slice(&key.0);
    header[48..80].copy_from_slice(&digest(kind, content));
    header[80] = kind;
    header
}

fn digest(kind: u8, content: &[u8]) -> [u8; 32] {
    Sha256::new()
        .chain_update([kind])
        .chain_update(content)
        .finalize()
        .into()
}

/// What a file holds, if it is whole and for this key.
fn parse(mut bytes: Vec<u8>, key: &Key) -> io::Result<Entry> {
    let refuse = |reason: &str| Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    let Some((found, content)) = bytes.split_at_checked(HEADER) else {
        return refuse("it is cut short");
    };
    let kind = found[80];
    if found[..16] != *MAGIC || found[16..48] != key.0 {
        return refuse("it is not what its name says");
    }
    if found[48..80] != digest(kind, content) {
        return refuse("it is damaged: its digest is another");
    }
    match kind {
        IS_CODE => Ok(Entry::Code(Code { bytes, start: HEADER })),
        IS_REASON => match String::from_utf8(bytes.split_off(HEADER)) {
            Ok(reason) => Ok(Entry::Reason(reason)),
            Err(_) => refuse("it holds no text"),
        },
        _ => refuse("it holds something unknown"),
    }
}
