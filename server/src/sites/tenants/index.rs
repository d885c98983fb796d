//! Which hosts may have a folder: the names in the operator's folder of tenants, so that a flood of unknown hosts asks
//! the disk nothing.
//!
//! Of each name 8 bytes are kept. The folder's own time tells whether names came or went: it is asked at most once a
//! second, whoever asks for whatever, and its names are read again when it changed.

use super::folder::open_directory;
use crate::config::tenants::is_host;
use rustix::{
    fd::OwnedFd,
    fs::{Dir, FileType, fstat},
};
use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How late a new folder is seen.
const FRESH: Duration = Duration::from_secs(1);

/// The kernel stamps changes with the time of its last tick: what changed within the same one as the reading may be missed.
const TICK: Duration = Duration::from_millis(20);

/// Reading all names is repeated no sooner than this many times what it took.
const REST: u32 = 20;

/// A folder that cannot be read is told of so often.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Names that are told of; the rest is counted.
const TOLD: usize = 20;

/// The names in the folder of tenants.
pub struct Index {
    directory: PathBuf,
    /// Names of other sites: a tenant of that name would share what is kept under it.
    taken: HashSet<Arc<str>>,
    hash: RandomState,
    names: Mutex<Names>,
    /// Held by the thread that looks again, although whoever asked for it has left: where the disk hangs, one waits for it.
    looking: Arc<tokio::sync::Mutex<()>>,
    /// When the log told last that the folder cannot be read.
    told: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Names {
    /// Hashes, in order.
    hosts: Arc<[u64]>,
    /// The folder's own time of change when they were read; `None`: read them again.
    changed: Option<(i64, u64)>,
    looked: Instant,
    read: Instant,
    took: Duration,
}

/// Names that are no tenant's, and why.
#[derive(Debug, Default)]
pub struct Ignored(Vec<String>);

// === impl Index ===

impl Index {
    /// Reads the names. Blocks.
    ///
    /// # Errors
    /// When there is no such folder, or it cannot be read.
    pub fn new(directory: PathBuf, taken: HashSet<Arc<str>>) -> io::Result<Self> {
        let hash = RandomState::new();
        let (names, ignored) = Names::read(&directory, &taken, &hash)?;
        ignored.tell(&directory);
        Ok(Self {
            directory,
            taken,
            hash,
            names: Mutex::new(names),
            looking: Arc::default(),
            told: Mutex::default(),
        })
    }

    pub fn taken(&self) -> &HashSet<Arc<str>> {
        &self.taken
    }

    /// Whether a host may have a folder, by names that are at most a second old; `None`: they are older.
    pub fn knows(&self, host: &str) -> Option<bool> {
        let names = self.names();
        (names.looked.elapsed() < FRESH).then(|| names.has(self.hash.hash_one(host)))
    }

    /// Whether a host had a folder, however long ago the names were read.
    pub fn last_knew(&self, host: &str) -> bool {
        self.names().has(self.hash.hash_one(host))
    }

    /// The same, looking again first where that is due. Whoever comes meanwhile waits. Where the folder cannot be read now,
    /// the last known names hold, and the log says so.
    ///
    /// # Errors
    /// When looking was broken off.
    pub async fn look(self: &Arc<Self>, host: &str) -> io::Result<bool> {
        let looking = self.looking.clone().lock_owned().await;
        if let Some(known) = self.knows(host) {
            return Ok(known);
        }
        let index = self.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let _looking = looking;
            if let Err(error) = index.refresh() {
                index.names().looked = Instant::now();
                index.tell(&error);
            }
        });
        looked.await.map_err(io::Error::other)?;
        Ok(self.names().has(self.hash.hash_one(host)))
    }

    /// All hosts, in order. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn list(&self) -> io::Result<Vec<String>> {
        let mut hosts = Vec::new();
        each_name(&open_directory(&self.directory)?, |name, kind| {
            if tenant(name, kind, &self.taken).is_ok() {
                hosts.push(name.to_owned());
            }
        })?;
        hosts.sort();
        Ok(hosts)
    }

    fn refresh(&self) -> io::Result<()> {
        let known = self.names().clone();
        let handle = open_directory(&self.directory)?;
        let stat = fstat(&handle)?;
        let changed = known.changed != Some((stat.st_mtime, stat.st_mtime_nsec));
        if !changed || known.read.elapsed() < known.took * REST {
            self.names().looked = Instant::now();
            return Ok(());
        }
        let (names, ignored) = Names::read(&self.directory, &self.taken, &self.hash)?;
        ignored.tell(&self.directory);
        *self.names() = names;
        Ok(())
    }

    fn tell(&self, error: &io::Error) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            let directory = self.directory.display();
            tracing::error!(%directory, %error, "the folder of tenants cannot be read: its last known names hold");
        }
    }

    fn names(&self) -> std::sync::MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Names ===

impl Names {
    fn read(directory: &std::path::Path, taken: &HashSet<Arc<str>>, hash: &RandomState) -> io::Result<(Self, Ignored)> {
        let begun = Instant::now();
        let handle = open_directory(directory)?;
        let stat = fstat(&handle)?;
        let (mut hosts, mut ignored) = (Vec::new(), Ignored::default());
        each_name(&handle, |name, kind| match tenant(name, kind, taken) {
            Ok(()) => hosts.push(hash.hash_one(name)),
            Err(why) => ignored.0.push(format!("{name:?}: {why}")),
        })?;
        hosts.sort_unstable();
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let changed = Duration::new(
            stat.st_mtime.unsigned_abs(),
            u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        );
        let settled = since.saturating_sub(changed) > TICK + begun.elapsed();
        let names = Self {
            hosts: hosts.into(),
            changed: settled.then_some((stat.st_mtime, stat.st_mtime_nsec)),
            looked: begun,
            read: begun,
            took: begun.elapsed(),
        };
        Ok((names, ignored))
    }

    fn has(&self, host: u64) -> bool {
        self.hosts.binary_search(&host).is_ok()
    }
}

/// Whether a name is that of a tenant; why not.
fn tenant(name: &str, kind: FileType, taken: &HashSet<Arc<str>>) -> Result<(), &'static str> {
    if kind == FileType::Symlink {
        Err("is a symbolic link, which is not followed here")
    } else if taken.contains(name) {
        Err("is the name of a [[site]]")
    } else if !is_host(name) {
        Err("is no host in lower case, without port and final dot")
    } else {
        Ok(())
    }
}

/// The names of folders, and of what may be one; hidden ones are not looked at.
fn each_name(directory: &OwnedFd, mut each: impl FnMut(&str, FileType)) -> io::Result<()> {
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let may_be = matches!(
            entry.file_type(),
            FileType::Directory | FileType::Symlink | FileType::Unknown
        );
        let name = entry.file_name().to_string_lossy();
        if may_be && !name.starts_with('.') {
            each(&name, entry.file_type());
        }
    }
    Ok(())
}

impl Ignored {
    fn tell(&self, directory: &std::path::Path) {
        for name in self.0.iter().take(TOLD) {
            tracing::warn!(directory = %directory.display(), name, "a folder is no tenant's and ignored");
        }
        if let Some(more) = self.0.len().checked_sub(TOLD).filter(|more| *more > 0) {
            tracing::warn!(directory = %directory.display(), more, "further folders are no tenants' and ignored");
        }
    }
}
