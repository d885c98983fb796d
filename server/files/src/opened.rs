//! From a path beneath a root to something open: located, judged, and only then opened for reading.
use crate::{
    OpenFile,
    beneath::{self, Located, Origin, Patience},
    device::{Device, Nature},
    protect::{Judgement, Protected},
    root::{Base, Root},
    stat::{Freshness, Identity, Stat},
    trouble::Trouble,
};
use rustix::{
    fd::AsFd,
    fs::FileType,
    io::{Errno, Result},
};
use std::{path::PathBuf, sync::Arc};

/// What a path led to.
#[derive(Debug)]
pub(crate) enum Opened {
    File(Arc<OpenFile>),
    Directory,
}

/// What something is beneath.
#[derive(Clone, Debug)]
pub(crate) enum Whereabouts {
    /// Its real path.
    RealPath(PathBuf),
    /// Identities of the directories above it.
    Trail(Vec<Identity>),
}

/// Somebody who swaps files in a loop makes opening fail this often before we give up.
const ATTEMPTS: usize = 8;

/// Opens what `path` names beneath `base`, unless it is protected. `earlier` is given back when it is that, unchanged.
///
/// # Errors
/// [`Trouble::WouldBlock`] only without patience. Whatever has no meaning for a client is logged here.
pub(crate) fn open(
    root: &Root,
    base: &Base,
    path: &str,
    protected: &Protected,
    earlier: Option<&Arc<OpenFile>>,
    patience: Patience,
) -> std::result::Result<Opened, Trouble> {
    let mut attempts = 1;
    loop {
        match attempt(root, base, path, protected, earlier, patience) {
            Ok(opened) => return Ok(opened),
            Err(Errno::AGAIN) if patience == Patience::AsLongAsItTakes && attempts < ATTEMPTS => attempts += 1,
            Err(errno) => return Err(sort(errno, root, path, patience)),
        }
    }
}

/// What an error means, and a line in the log when it means something to the operator alone.
pub(crate) fn sort(errno: Errno, root: &Root, path: &str, patience: Patience) -> Trouble {
    let trouble = match Trouble::of(errno) {
        Trouble::WouldBlock if patience == Patience::AsLongAsItTakes => Trouble::Busy,
        trouble => trouble,
    };
    let error: &dyn std::error::Error = &errno;
    match trouble {
        Trouble::Broken => tracing::error!(root = root.name, path, error, "cannot open a file"),
        Trouble::Exhausted | Trouble::Busy => tracing::warn!(root = root.name, path, error, "cannot open a file now"),
        Trouble::NotThere | Trouble::Forbidden | Trouble::WouldBlock | Trouble::StoreBroken | Trouble::StoreSlow => {}
    }
    trouble
}

fn attempt(
    root: &Root,
    base: &Base,
    path: &str,
    protected: &Protected,
    earlier: Option<&Arc<OpenFile>>,
    patience: Patience,
) -> Result<Opened> {
    let located = root
        .method
        .locate(base.as_fd(), path, root.options.symlinks, patience)?;
    let freshness = match patience {
        Patience::Never => Freshness::Known,
        Patience::AsLongAsItTakes => Freshness::Asked,
    };
    let stat = Stat::of(&located.handle, freshness)?;
    if !matches!(stat.kind, FileType::RegularFile | FileType::Directory) {
        return Err(Errno::NXIO);
    }
    let number = stat.identity.device;
    let device = match patience {
        Patience::Never => Device::known(number)
            .filter(|device| device.nature != Nature::Remote)
            .ok_or(Errno::AGAIN)?,
        Patience::AsLongAsItTakes => Device::of(number, &located.handle)?,
    };
    admit(&located, base, &stat, protected, patience)?;
    if stat.kind == FileType::Directory {
        return Ok(Opened::Directory);
    }
    if let Some(earlier) = earlier.filter(|earlier| *earlier.stat() == stat && earlier.holds_what_it_may()) {
        return Ok(Opened::File(Arc::clone(earlier)));
    }
    let mut file = OpenFile::new(located.open_for_reading()?, stat, device, root.options.growing);
    file.hold(patience)?;
    Ok(Opened::File(Arc::new(file)))
}

/// Says where it is, when anything is protected at all.
///
/// # Errors
/// ENOENT when it is protected, EAGAIN when that cannot be said without waiting.
pub(crate) fn admit(
    located: &Located,
    base: &Base,
    stat: &Stat,
    protected: &Protected,
    patience: Patience,
) -> Result<Option<Whereabouts>> {
    if protected.is_empty() {
        return Ok(None);
    }
    let whereabouts = match &located.origin {
        Origin::Kernel => Whereabouts::RealPath(beneath::real_path(located.handle.as_fd())?),
        Origin::Steps { trail, .. } => Whereabouts::Trail(base.trail.iter().chain(trail).copied().collect()),
    };
    whereabouts.admit(stat, protected, patience)?;
    Ok(Some(whereabouts))
}

// === impl Whereabouts ===

impl Whereabouts {
    /// Of an entry of this directory.
    pub(crate) fn of_entry(&self, name: &str) -> Self {
        match self {
            Self::RealPath(path) => Self::RealPath(path.join(name)),
            // What it is beneath is the same; the entry itself is told by its identity.
            Self::Trail(trail) => Self::Trail(trail.clone()),
        }
    }

    /// # Errors
    /// As [`admit`].
    pub(crate) fn admit(&self, stat: &Stat, protected: &Protected, patience: Patience) -> Result<()> {
        loop {
            match protected.judge(stat, self) {
                Judgement::Open => return Ok(()),
                Judgement::Protected => return Err(Errno::NOENT),
                Judgement::Stale if patience == Patience::Never => return Err(Errno::AGAIN),
                Judgement::Stale => protected.refresh(stat.links),
            }
        }
    }
}

/// Does something without waiting, or else on the root's share of the blocking pool, where it is expected to wait for the
/// device `ahead`.
pub(crate) async fn patiently<T: Send + 'static>(
    root: &Arc<Root>,
    ahead: impl FnOnce() -> u64,
    job: impl Fn(&Root, Patience) -> std::result::Result<T, Trouble> + Send + 'static,
) -> std::result::Result<T, Trouble> {
    match job(root, Patience::Never) {
        Err(Trouble::WouldBlock) => {
            let patient = Arc::clone(root);
            // On the heap: most jobs are done by now, and should not carry the room for this one.
            Box::pin(root.elsewhere(ahead(), move || job(&patient, Patience::AsLongAsItTakes))).await
        }
        done => done,
    }
}
