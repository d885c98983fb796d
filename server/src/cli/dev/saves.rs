//! When something that plugins are built or tested of was saved.
//!
//! In the order of events: the kernel tells that something happened in a folder of theirs; when nothing more has happened
//! for a while, the times of all files are compared with those of the last time. So what a build itself writes is none, and
//! an editor's many steps are one.

use crate::{
    cases::file,
    cli::build,
    config::{Manifest, manifest::MANIFEST_FILE},
};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher, event::AccessKind};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{sync::Notify, time::timeout};
use walkdir::{DirEntry, WalkDir};

/// Nothing has happened for so long: whoever saved is done.
const QUIET: Duration = Duration::from_millis(100);

/// Watches plugins in a folder and beneath it.
pub struct Saves {
    dir: PathBuf,
    /// Another folder whose files count.
    site: Option<PathBuf>,
    events: Arc<Notify>,
    /// Kept, because dropping it ends the watching.
    watcher: Option<RecommendedWatcher>,
    /// Times of last modification when they were last looked at.
    seen: BTreeMap<PathBuf, Option<SystemTime>>,
}

impl Saves {
    /// `site`: another folder whose files count.
    ///
    /// # Errors
    /// There is no such folder, or no plugin in it.
    pub fn watch(dir: &Path, site: Option<&Path>) -> anyhow::Result<Self> {
        build::find(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            site: site.map(Path::to_owned),
            events: Arc::default(),
            watcher: None,
            seen: BTreeMap::new(),
        })
    }

    /// Ends when something happened and nothing more does. May be dropped and called again: nothing is missed.
    pub async fn changed(&self) {
        self.events.notified().await;
        while timeout(QUIET, self.events.notified()).await.is_ok() {}
        // If this is dropped while it waits, there is still something to look at.
    }

    /// Whether anything was saved since this was asked last; the first time, yes.
    ///
    /// # Errors
    /// The folder is gone.
    pub fn are_new(&mut self) -> anyhow::Result<bool> {
        let folders = build::find(&self.dir)?;
        // Before the files are looked at, so that nothing is missed; anew, because there may be other folders now.
        self.watcher = self.watch_folders(&folders);
        let now: BTreeMap<_, _> = folders
            .iter()
            .flat_map(|folder| files(folder))
            .chain(self.site.iter().flat_map(|site| all_files(site)))
            .map(|file| {
                let modified = fs::metadata(&file).and_then(|metadata| metadata.modified());
                (file, modified.ok())
            })
            .collect();
        let new = self.seen != now;
        self.seen = now;
        Ok(new)
    }

    fn watch_folders(&self, plugins: &[PathBuf]) -> Option<RecommendedWatcher> {
        let events = self.events.clone();
        let handler = move |event: notify::Result<notify::Event>| {
            let reading = event.is_ok_and(
                |event| matches!(event.kind, EventKind::Access(kind) if !matches!(kind, AccessKind::Close(_))),
            );
            if !reading {
                events.notify_one();
            }
        };
        let mut watcher = match notify::recommended_watcher(handler) {
            Ok(watcher) => watcher,
            Err(error) => {
                tracing::warn!(%error, "saves cannot be seen: start again after a change");
                return None;
            }
        };
        let site = self.site.iter().map(|site| (site.clone(), RecursiveMode::Recursive));
        for (folder, mode) in plugins.iter().flat_map(|plugin| watched(plugin)).chain(site) {
            // What is not there yet is seen when its folder changes.
            let _ = watcher.watch(&folder, mode);
        }
        Some(watcher)
    }
}

/// The folders in which something happens when a plugin's sources or tests are saved.
fn watched(plugin: &Path) -> Vec<(PathBuf, RecursiveMode)> {
    let sources = Manifest::read(plugin).ok().and_then(|manifest| manifest.build);
    let sources = sources.into_iter().flat_map(|build| build.sources).map(|source| {
        if source.is_dir() {
            (source, RecursiveMode::Recursive)
        } else {
            let folder = source.parent().map(Path::to_owned);
            (folder.unwrap_or(source), RecursiveMode::NonRecursive)
        }
    });
    let own = [plugin.to_owned(), plugin.join(file::TESTS_FOLDER)];
    let own = own.into_iter().map(|folder| (folder, RecursiveMode::NonRecursive));
    sources.chain(own).collect()
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let entries = WalkDir::new(folder).into_iter().flatten();
    let files = entries.filter(|entry| !entry.file_type().is_dir());
    files.map(DirEntry::into_path).collect()
}

/// Everything that a plugin is built and tested of. A manifest that cannot be read is looked at itself.
fn files(plugin: &Path) -> Vec<PathBuf> {
    let mut files = file::find(plugin).unwrap_or_default();
    files.push(plugin.join(MANIFEST_FILE));
    if let Ok(manifest) = Manifest::read(plugin) {
        files.extend(manifest.source_files());
    }
    files
}
