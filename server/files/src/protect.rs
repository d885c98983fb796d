//! What is never served: the server's configuration, plugins, caches and keys, however they are reached.
//!
//! The opened descriptor is compared, never a name: with the protected files by identity (hard links), and by its real
//! path with the protected paths and what is beneath them (links, renamed and freshly written files). Hard links to files
//! within a protected directory are known from a scan of it, which is repeated when a file with several links is opened.
use crate::{
    opened::Whereabouts,
    stat::{Identity, Stat},
};
use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{
        Mutex, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// How old what is known of the protected paths may be.
const FRESH: Duration = Duration::from_secs(1);

/// Looking, and scanning, is repeated no sooner than this many times what it took: at most a twentieth of one core each.
const REST: u32 = 20;

/// Files in protected directories that are recognised by their hard links. More is not a plugin folder.
const MAX_SCANNED: usize = 200_000;

/// The protected paths, and what they were when last looked at.
#[derive(Debug)]
pub(crate) struct Protected {
    /// Tells one set from the one that replaced it.
    generation: u64,
    paths: Vec<PathBuf>,
    known: RwLock<Known>,
    /// Held by whoever looks again, so that nobody scans beside him.
    looking: Mutex<()>,
}

#[derive(Debug)]
struct Known {
    /// Identities of the protected files and directories themselves.
    named: HashSet<Identity>,
    /// Real paths of the same, whether or not anything is there yet.
    real: HashSet<PathBuf>,
    /// Identities of the files within protected directories.
    within: HashSet<Identity>,
    looked: Instant,
    look_took: Duration,
    scanned: Instant,
    scan_took: Duration,
}

/// Whether something may be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    Open,
    Protected,
    /// What is known is too old to say: [`Protected::refresh`], which may block.
    Stale,
}

impl Protected {
    /// Reads the file system. Paths where nothing is are protected too.
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        static GENERATIONS: AtomicU64 = AtomicU64::new(0);
        let generation = GENERATIONS.fetch_add(1, Ordering::Relaxed);
        let known = RwLock::new(Known::read(&paths));
        Self {
            generation,
            paths,
            known,
            looking: Mutex::default(),
        }
    }

    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation
    }

    /// Whether what `stat` says, which was opened where `whereabouts` says, may be served.
    pub(crate) fn judge(&self, stat: &Stat, whereabouts: &Whereabouts) -> Judgement {
        if self.paths.is_empty() {
            return Judgement::Open;
        }
        let known = self.known.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        let covers = |identity| known.named.contains(identity) || known.within.contains(identity);
        let reached = match whereabouts {
            Whereabouts::RealPath(path) => path.ancestors().any(|above| known.real.contains(above)),
            Whereabouts::Trail(trail) => trail.iter().any(|identity| known.named.contains(identity)),
        };
        if reached || covers(&stat.identity) {
            return Judgement::Protected;
        }
        if known.is_stale() || (stat.links > 1 && known.scan_is_stale()) {
            return Judgement::Stale;
        }
        Judgement::Open
    }

    /// Whether anything is protected at all: without, nobody needs to know where a descriptor is.
    pub(crate) fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Looks at the protected paths again. Blocks.
    pub(crate) fn refresh(&self, links: u32) {
        let _looking = self.looking.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let previous = {
            let known = self.known.read().unwrap_or_else(|poisoned| poisoned.into_inner());
            let scan = links > 1 && known.scan_is_stale();
            if !known.is_stale() && !scan {
                return;
            }
            (!scan).then(|| (known.within.clone(), known.scanned, known.scan_took))
        };
        let fresh = match previous {
            None => Known::read(&self.paths),
            Some((within, scanned, scan_took)) => {
                let began = Instant::now();
                let (named, real, _) = look(&self.paths);
                Known {
                    named,
                    real,
                    within,
                    looked: began,
                    look_took: began.elapsed(),
                    scanned,
                    scan_took,
                }
            }
        };
        *self.known.write().unwrap_or_else(|poisoned| poisoned.into_inner()) = fresh;
    }
}

impl Known {
    fn read(paths: &[PathBuf]) -> Self {
        let began = Instant::now();
        let (named, real, directories) = look(paths);
        let look_took = began.elapsed();
        let mut within = HashSet::new();
        for directory in directories {
            if !scan(directory.clone(), &mut within) {
                tracing::warn!(
                    directory = %directory.display(),
                    "a protected directory holds more than {MAX_SCANNED} files: hard links to the rest are not recognised"
                );
            }
        }
        let now = Instant::now();
        Self {
            named,
            real,
            within,
            looked: began,
            look_took,
            scanned: began,
            scan_took: now - began,
        }
    }

    fn is_stale(&self) -> bool {
        self.looked.elapsed() >= FRESH.max(self.look_took * REST)
    }

    fn scan_is_stale(&self) -> bool {
        self.scanned.elapsed() >= FRESH.max(self.scan_took * REST)
    }
}

/// Identities and real paths of what the paths name, and which of them are directories.
fn look(paths: &[PathBuf]) -> (HashSet<Identity>, HashSet<PathBuf>, Vec<PathBuf>) {
    let (mut named, mut real, mut directories) = (HashSet::new(), HashSet::new(), Vec::new());
    for path in paths {
        // The link itself is as protected as what it leads to: writing it anew must not uncover it.
        if let (Some(Ok(parent)), Some(name)) = (path.parent().map(canonical_or_here), path.file_name()) {
            real.insert(parent.join(name));
        }
        if let Ok(there) = path.canonicalize()
            && let Ok(metadata) = there.metadata()
        {
            named.insert(Identity::of(&metadata));
            if metadata.is_dir() {
                directories.push(there.clone());
            }
            real.insert(there);
        }
    }
    (named, real, directories)
}

fn canonical_or_here(parent: &Path) -> std::io::Result<PathBuf> {
    if parent.as_os_str().is_empty() {
        std::env::current_dir()
    } else {
        parent.canonicalize()
    }
}

/// Adds the identities of the files beneath a directory; links are not followed. `false` when there are too many.
/// What cannot be read is left out: it cannot be served either, but by its real path, which is protected.
fn scan(directory: PathBuf, within: &mut HashSet<Identity>) -> bool {
    let mut pending = vec![directory];
    while let Some(directory) = pending.pop() {
        let Ok(entries) = std::fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if within.len() >= MAX_SCANNED {
                return false;
            }
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => pending.push(entry.path()),
                Ok(metadata) if metadata.is_file() => {
                    within.insert(Identity::of(&metadata));
                }
                _ => {}
            }
        }
    }
    true
}
