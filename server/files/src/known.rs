//! What is known already: a search that comes to its end without a system call, and without waiting.
//!
//! It is the search of [`crate::search`] over what that kept, for as long as it is kept: whatever is not certain here is
//! looked up there.
use crate::{
    Lookup, Selected, SitePath,
    cache::Cache,
    entry::{Entry, What},
    root::{BaseKey, Root},
    search,
};
use std::{sync::Arc, time::Instant};

/// A directory that was looked up less than a second ago, and what was found beneath it since.
pub(crate) struct Known<'a> {
    pub root: &'a Root,
    pub base: BaseKey,
    pub cache: &'a Cache,
    /// Of what is protected.
    pub generation: u64,
    pub now: Instant,
}

impl Known<'_> {
    /// The file that is sent. `None`: that has to be found out, or it is no file.
    pub fn file(&self, lookup: &Lookup<'_>) -> Option<Selected> {
        let mut hits = 0;
        let selected = self.search(lookup, &mut hits)?;
        self.cache.note_hits(hits);
        Some(selected)
    }

    fn search(&self, lookup: &Lookup<'_>, hits: &mut u64) -> Option<Selected> {
        for target in lookup.targets {
            if search::is_hidden(target, &self.root.options) {
                return None;
            }
            let entry = self.entry(target.relative(), hits)?;
            match (&entry.what, target.is_directory()) {
                (What::File(variants), false) => return variants.negotiate(lookup.headers),
                (What::File(_), true) | (What::NotThere, _) => {}
                (What::Directory, true) => return self.index(target, hits)?.negotiated(lookup),
                (What::Directory, false) | (What::Failed(_), _) => return None,
            }
        }
        None
    }

    /// The index of a directory.
    fn index(&self, directory: &SitePath, hits: &mut u64) -> Option<Arc<Entry>> {
        let directory = directory.relative();
        for name in &self.root.options.index {
            let entry = self.entry(&search::within(directory, name), hits)?;
            match &entry.what {
                What::File(_) => return Some(entry),
                What::Directory | What::NotThere => {}
                What::Failed(_) => return None,
            }
        }
        None
    }

    fn entry(&self, path: &str, hits: &mut u64) -> Option<Arc<Entry>> {
        *hits += 1;
        let entry = self.cache.get(self.base, path)?;
        entry.is_fresh(self.generation, self.now).then_some(entry)
    }
}

impl Entry {
    fn negotiated(&self, lookup: &Lookup<'_>) -> Option<Selected> {
        match &self.what {
            What::File(variants) => variants.negotiate(lookup.headers),
            What::Directory | What::NotThere | What::Failed(_) => None,
        }
    }
}
