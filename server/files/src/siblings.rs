//! Siblings that a file does not have, known without looking for each of them again.
//!
//! Whoever makes, removes or renames a name sets the modification time of its directory. So a name that was not in a
//! directory is not in it now when that is the same directory and has not changed. That is looked at once a second for all
//! files of the directory together, where looking for three siblings of each file took longer than all else about it.
//!
//! A name that is there is never taken for known: what it leads to may change without its directory.
use crate::{
    Coding,
    beneath::{Located, Patience},
    cache::{Asked, Key},
    device::{Device, Nature},
    root::FRESH,
    search::Scope,
    stat::{Freshness, Identity, Stat, Timestamp},
};
use rustix::{fd::AsFd, fs::FileType};
use std::{sync::Arc, time::Instant};

/// The state of a directory that has rested: as long as it is equal, no name has come or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Names {
    directory: Identity,
    modified: Timestamp,
    /// Tells when somebody set `modified` back.
    changed: Timestamp,
}

/// A directory when it was last looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Looked {
    /// `None`: it changed a moment ago and another change could hide behind the same time, or nobody can tell.
    names: Option<Names>,
    at: Instant,
}

/// Codings in which a file has no sibling while its directory has these names.
#[derive(Debug)]
pub(crate) struct Absent {
    names: Names,
    codings: Vec<Coding>,
}

// === impl Names ===

impl Names {
    /// On a file system of the network, times are what another machine says, and when it says so.
    fn of(stat: &Stat) -> Option<Self> {
        let is_here = || Device::known(stat.identity.device).is_some_and(|device| device.nature != Nature::Remote);
        let has_rested = stat.modified.is_settled() && stat.changed.is_settled();
        (stat.kind == FileType::Directory && has_rested && is_here()).then_some(Self {
            directory: stat.identity,
            modified: stat.modified,
            changed: stat.changed,
        })
    }
}

// === impl Looked ===

impl Looked {
    /// The directory of `path`, seen at most [`FRESH`] ago.
    fn lately(scope: &Scope, path: &str, patience: Patience) -> Option<Self> {
        let (base, path) = (scope.base.key, directory_of(path));
        let kept = scope.shared.pool.names.get(&Asked { base, path });
        match kept.filter(|looked| looked.at.elapsed() < FRESH) {
            Some(looked) => Some(looked),
            None => Self::now(scope, path, patience).map(|(looked, _)| looked),
        }
    }

    /// A directory as it is, and where it is.
    fn now(scope: &Scope, path: &str, patience: Patience) -> Option<(Self, Located)> {
        let at = Instant::now();
        let (root, base) = (&scope.root, &scope.base);
        let located = root
            .method
            .locate(base.as_fd(), path, root.options.symlinks, patience)
            .ok()?;
        let freshness = match patience {
            Patience::Never => Freshness::Known,
            Patience::AsLongAsItTakes => Freshness::Asked,
        };
        let stat = Stat::of(&located.handle, freshness).ok()?;
        let looked = Self {
            names: Names::of(&stat),
            at,
        };
        let key = Key {
            base: base.key,
            path: path.into(),
        };
        scope.shared.pool.names.insert(key, looked);
        Some((looked, located))
    }
}

// === impl Absent ===

impl Absent {
    /// In which of these codings the file at `path` has no sibling, and when that was so: `former` when it still holds.
    /// `None`: that cannot be told without looking for each.
    pub(crate) fn find(
        scope: &Scope,
        path: &str,
        wanted: &[Coding],
        former: Option<&Arc<Self>>,
        patience: Patience,
    ) -> Option<(Arc<Self>, Instant)> {
        let looked = Looked::lately(scope, path, patience)?;
        let names = looked.names?;
        if let Some(former) = former.filter(|former| former.names == names) {
            return Some((Arc::clone(former), looked.at));
        }
        let (looked, located) = Looked::now(scope, directory_of(path), patience)?;
        // Before the siblings were looked for: one that is made meanwhile makes these names old.
        let names = looked.names?;
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_absent = |coding: &Coding| {
            let sibling = format!("{name}{}", coding.suffix());
            scope.root.method.lacks(&located.handle, &sibling, patience)
        };
        let codings = wanted.iter().copied().filter(is_absent).collect();
        Some((Arc::new(Self { names, codings }), looked.at))
    }

    pub(crate) fn contains(&self, coding: Coding) -> bool {
        self.codings.contains(&coding)
    }
}

fn directory_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}
