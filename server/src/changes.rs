//! Watching what a configuration was read from, so that a change is served without anybody asking.
//!
//! In the order of events: the kernel tells that something happened in a folder where a source lies; when nothing more has
//! happened for a while, what the sources are now is compared with what they were; only a difference counts. So neither an
//! editor's backup file nor our own reading leads to a reload, and a file that is being written is left alone until it is:
//! whoever has it open and has written to it may rest in the middle, where half of it looks like the whole.

use notify::{
    EventKind, RecommendedWatcher, RecursiveMode, Watcher,
    event::{AccessKind, AccessMode, CreateKind, ModifyKind},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// Nothing has happened for so long: whoever wrote is done.
const QUIET: Duration = Duration::from_millis(200);

/// Something happens all the time: then what is there counts after so long.
const LONGEST: Duration = Duration::from_secs(3);

/// A file that was written to and is still open is waited for so long.
const UNCLOSED: Duration = Duration::from_secs(30);

/// The kernel stamps changes with the time of its last tick.
const TICK: Duration = Duration::from_millis(10);

/// Tells when the sources of a configuration change.
pub struct Changes {
    sources: BTreeSet<PathBuf>,
    /// What they were when they were last read; `None` when another reading is due whatever they are.
    seen: Option<Fingerprint>,
    /// Something happened that was not looked at yet.
    pending: bool,
    events: Arc<Notify>,
    open: Arc<Mutex<Open>>,
    /// Kept, because dropping it ends the watching.
    watcher: Option<RecommendedWatcher>,
}

/// Sources that were written to, and not closed since.
#[derive(Debug, Default)]
struct Open(BTreeSet<PathBuf>);

/// What sources are at a time, without what is in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Fingerprint(BTreeMap<PathBuf, Option<Stamp>>);

/// Device, inode, length, and times of the last change of content and of anything, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp(u64, u64, u64, i128, i128);

// === impl Changes ===

impl Changes {
    /// Watches the sources of a configuration whose reading began at `since`.
    pub fn new(sources: &BTreeSet<PathBuf>, since: SystemTime) -> Self {
        let mut changes = Self {
            sources: BTreeSet::new(),
            seen: None,
            pending: false,
            events: Arc::default(),
            open: Arc::default(),
            watcher: None,
        };
        changes.follow(sources, since);
        changes
    }

    /// Watches these from now on. What changed after `since` may have been missed by the reading, and counts as a change.
    pub fn follow(&mut self, sources: &BTreeSet<PathBuf>, since: SystemTime) {
        self.sources.clone_from(sources);
        self.watcher = self.watch_folders();
        let now = Fingerprint::of(&self.sources);
        let changed = now.changed_after(since) || folders_changed_after(&self.sources, since);
        let missed = changed && self.seen.as_ref() != Some(&now);
        self.pending |= missed;
        self.seen = (!missed).then_some(now);
    }

    /// The sources, and others that a configuration that cannot be used names, are watched for anything that may mend it.
    /// What changed after `since`, when its reading began, may have mended it already.
    pub fn follow_failure<'a>(&mut self, named: impl Iterator<Item = &'a Path>, since: SystemTime) {
        self.sources.extend(named.map(Path::to_owned));
        self.watcher = self.watch_folders();
        self.pending |=
            Fingerprint::of(&self.sources).changed_after(since) || folders_changed_after(&self.sources, since);
        self.seen = None;
    }

    /// Ends when the sources have changed. May be dropped and called again: nothing is missed.
    pub async fn changed(&mut self) {
        loop {
            if !self.pending {
                self.events.notified().await;
                self.pending = true;
            }
            let latest = Instant::now() + LONGEST;
            while timeout_at((Instant::now() + QUIET).min(latest), self.events.notified())
                .await
                .is_ok()
                && Instant::now() < latest
            {}
            let closed = Instant::now() + UNCLOSED;
            while self.is_being_written() && timeout_at(closed, self.events.notified()).await.is_ok() {}
            self.pending = false;
            let now = Fingerprint::of(&self.sources);
            if self.seen.as_ref() != Some(&now) {
                self.seen = Some(now);
                return;
            }
        }
    }

    fn is_being_written(&self) -> bool {
        !self.open.lock().unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    fn watch_folders(&mut self) -> Option<RecommendedWatcher> {
        let events = self.events.clone();
        // What another watcher saw opened, this one may not see closed.
        self.open = Arc::default();
        let open = self.open.clone();
        let names: BTreeSet<_> = self
            .sources
            .iter()
            .filter_map(|source| source.file_name())
            .map(OsStr::to_owned)
            .collect();
        let handler = move |event: notify::Result<notify::Event>| match event {
            Ok(event) if !may_matter(&event, |name| names.contains(name)) => {}
            Ok(event) => {
                open.lock().unwrap_or_else(PoisonError::into_inner).note(&event);
                events.notify_one();
            }
            // It may be that events were lost.
            Err(_) => {
                open.lock().unwrap_or_else(PoisonError::into_inner).0.clear();
                events.notify_one();
            }
        };
        let mut watcher = match notify::recommended_watcher(handler) {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "changes cannot be watched: reload with SIGHUP");
                return None;
            }
        };
        for folder in folders(&self.sources) {
            if let Err(error) = watcher.watch(&folder, RecursiveMode::NonRecursive) {
                tracing::warn!(folder = %folder.display(), %error, "changes in a folder cannot be watched: reload with SIGHUP");
            }
        }
        Some(watcher)
    }
}

/// Whether an event may be about a source: reading is none, and other files lie beside them.
fn may_matter(event: &notify::Event, is_source: impl Fn(&OsStr) -> bool) -> bool {
    let is_reading = matches!(event.kind, EventKind::Access(kind) if !matches!(kind, AccessKind::Close(_)));
    let may_be_source = |path: &PathBuf| {
        let extension = path.extension();
        extension.is_none_or(|extension| extension == "toml" || extension == "wasm")
            || path.file_name().is_some_and(&is_source)
            // A link that is pointed elsewhere, as volumes of Kubernetes are.
            || path.is_symlink()
    };
    !is_reading && (event.paths.is_empty() || event.paths.iter().any(may_be_source))
}

/// The folders in which something happens when a source changes: those that sources lie in, those that are sources, and
/// those that hold a symbolic link on the way.
fn folders(sources: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut folders = BTreeSet::new();
    let mut looked_at = BTreeSet::new();
    for source in sources {
        let source = std::path::absolute(source).unwrap_or_else(|_| source.clone());
        if source.is_dir() {
            folders.insert(source.clone());
        }
        folders.extend(source.parent().map(Path::to_owned));
        for above in source.ancestors() {
            if !looked_at.insert(above.to_owned()) {
                break;
            }
            if above.is_symlink() {
                folders.extend(above.parent().map(Path::to_owned));
            }
        }
    }
    folders.retain(|folder| folder.is_dir());
    folders
}

// === impl Open ===

impl Open {
    fn note(&mut self, event: &notify::Event) {
        for path in event.paths.iter().filter(|path| path.extension().is_some()) {
            match event.kind {
                EventKind::Create(CreateKind::File) | EventKind::Modify(ModifyKind::Data(_)) => {
                    self.0.insert(path.clone());
                }
                EventKind::Access(AccessKind::Close(AccessMode::Write))
                | EventKind::Modify(ModifyKind::Name(_))
                | EventKind::Remove(_) => {
                    self.0.remove(path);
                }
                _ => {}
            }
        }
    }
}

// === impl Fingerprint ===

impl Fingerprint {
    /// Reads the file system. Of a folder, what lies in it that could be a part of a configuration.
    fn of(sources: &BTreeSet<PathBuf>) -> Self {
        let mut stamps = BTreeMap::new();
        for source in sources {
            let metadata = fs::metadata(source).ok();
            if !metadata.as_ref().is_some_and(Metadata::is_dir) {
                stamps.insert(source.clone(), metadata.as_ref().map(Stamp::of));
                continue;
            }
            let entries = fs::read_dir(source).into_iter().flatten().flatten();
            let parts = entries.map(|entry| entry.path()).filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "toml" || extension == "wasm")
            });
            stamps.extend(parts.map(|path| {
                let stamp = fs::metadata(&path).ok().as_ref().map(Stamp::of);
                (path, stamp)
            }));
        }
        Self(stamps)
    }

    fn changed_after(&self, time: SystemTime) -> bool {
        let since = in_nanoseconds(time);
        self.0.values().flatten().any(|Stamp(.., changed)| *changed >= since)
    }
}

/// What was removed has no time of its own; the folder that it was in has.
fn folders_changed_after(sources: &BTreeSet<PathBuf>, time: SystemTime) -> bool {
    let since = in_nanoseconds(time);
    let folders: BTreeSet<&Path> = sources
        .iter()
        .filter_map(|source| {
            if source.is_dir() {
                Some(&**source)
            } else {
                source.parent()
            }
        })
        .collect();
    let mut stamps = folders.into_iter().filter_map(|folder| fs::metadata(folder).ok());
    stamps.any(|metadata| Stamp::of(&metadata).4 >= since)
}

/// Since 1970, less a tick.
fn in_nanoseconds(time: SystemTime) -> i128 {
    let since = time.checked_sub(TICK).unwrap_or(time).duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i128::try_from(since.as_nanos()).unwrap_or(i128::MAX))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self(
            metadata.dev(),
            metadata.ino(),
            metadata.len(),
            nanoseconds(metadata.mtime(), metadata.mtime_nsec()),
            nanoseconds(metadata.ctime(), metadata.ctime_nsec()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, ModifyKind};
    use std::os::unix::fs::symlink;

    #[test]
    fn only_what_may_be_a_source_matters() {
        let is_source = |name: &OsStr| name == "sites.conf";
        for (kind, path, expected) in [
            (EventKind::Create(CreateKind::File), "/etc/new.wasm", true),
            (EventKind::Modify(ModifyKind::Any), "/etc/wasmserve.toml", true),
            (EventKind::Modify(ModifyKind::Any), "/etc/sites.conf", true),
            (EventKind::Modify(ModifyKind::Any), "/etc/current", true),
            (EventKind::Modify(ModifyKind::Any), "/etc/wasmserve.toml.swp", false),
            (EventKind::Modify(ModifyKind::Any), "/etc/access.log", false),
            (EventKind::Access(AccessKind::Read), "/etc/wasmserve.toml", false),
            (
                EventKind::Access(AccessKind::Open(notify::event::AccessMode::Any)),
                "/etc/wasmserve.toml",
                false,
            ),
        ] {
            let event = notify::Event::new(kind).add_path(path.into());
            assert_eq!(may_matter(&event, is_source), expected, "{event:?}");
        }
    }

    #[test]
    fn what_is_open_is_being_written_until_it_is_closed_or_gone() {
        let event = |kind, path: &str| notify::Event::new(kind).add_path(path.into());
        let written = EventKind::Modify(ModifyKind::Data(notify::event::DataChange::Any));
        for end in [
            EventKind::Access(AccessKind::Close(AccessMode::Write)),
            EventKind::Remove(notify::event::RemoveKind::File),
            EventKind::Modify(ModifyKind::Name(notify::event::RenameMode::From)),
        ] {
            let mut open = Open::default();
            open.note(&event(EventKind::Create(CreateKind::File), "/etc/a.toml"));
            open.note(&event(written, "/etc/a.toml"));
            open.note(&event(written, "/etc/b.toml"));
            open.note(&event(
                EventKind::Access(AccessKind::Close(AccessMode::Read)),
                "/etc/a.toml",
            ));
            open.note(&event(end, "/etc/b.toml"));
            assert_eq!(open.0, BTreeSet::from(["/etc/a.toml".into()]), "{end:?}");
            open.note(&event(end, "/etc/a.toml"));
            assert!(open.0.is_empty(), "{end:?}");
        }
    }

    #[test]
    fn links_on_the_way_are_watched_where_they_are() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |path: &str| folder.path().join(path);
        fs::create_dir_all(at("releases/7/guard")).expect("a folder");
        fs::write(at("releases/7/guard/guard.wasm"), "").expect("a file");
        fs::create_dir(at("links")).expect("a folder");
        symlink(at("releases/7"), at("links/current")).expect("a link");
        let sources = BTreeSet::from([at("links/current/guard"), at("links/current/guard/guard.wasm")]);
        let watched = folders(&sources);
        for expected in ["links", "links/current", "links/current/guard"] {
            assert!(watched.contains(&at(expected)), "{expected}: {watched:?}");
        }
        let before = Fingerprint::of(&sources);
        assert_eq!(Fingerprint::of(&sources), before);
        fs::create_dir_all(at("releases/8/guard")).expect("a folder");
        fs::write(at("releases/8/guard/guard.wasm"), "").expect("a file");
        symlink(at("releases/8"), at("links/next")).expect("a link");
        fs::rename(at("links/next"), at("links/current")).expect("a link");
        assert_ne!(
            Fingerprint::of(&sources),
            before,
            "another file of the same length is another"
        );
    }

    #[test]
    fn parts_of_a_folder_count_and_others_do_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sources = BTreeSet::from([folder.path().to_owned()]);
        let empty = Fingerprint::of(&sources);
        fs::write(folder.path().join("notes.txt"), "").expect("a file");
        assert_eq!(Fingerprint::of(&sources), empty);
        fs::write(folder.path().join("a.wasm"), "").expect("a file");
        assert_ne!(Fingerprint::of(&sources), empty);
        assert!(Fingerprint::of(&sources).changed_after(UNIX_EPOCH));
        assert!(!Fingerprint::of(&sources).changed_after(SystemTime::now() + Duration::from_secs(60)));
    }
}
