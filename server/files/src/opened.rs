//! From a path beneath a root to something open: located, judged, and only then opened for reading.
use crate::{
    OpenFile,
    beneath::{self, Located, Origin, Patience},
    device::{Device, Nature},
    protect::{Beneath, Judgement, Protected},
    root::{Base, Root},
    stat::{Freshness, Identity, Stat},
    trouble::Trouble,
};
use rustix::{
    fd::AsFd,
    fs::FileType,
    io::{Errno, Result},
};
use std::sync::Arc;

/// What a path led to.
#[derive(Debug)]
pub(crate) enum Opened {
    File(OpenFile),
    Directory,
}

/// Somebody who swaps files in a loop makes opening fail this often before we give up.
const ATTEMPTS: usize = 8;

/// Opens what `path` names beneath `base`, unless it is protected.
///
/// # Errors
/// [`Trouble::WouldBlock`] only without patience. Whatever has no meaning for a client is logged here.
pub(crate) fn open(
    root: &Root,
    base: &Base,
    path: &str,
    protected: &Protected,
    patience: Patience,
) -> std::result::Result<Opened, Trouble> {
    let mut attempts = 1;
    loop {
        match attempt(root, base, path, protected, patience) {
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
        Trouble::Busy => tracing::warn!(root = root.name, path, error, "cannot open a file now"),
        Trouble::NotThere | Trouble::Forbidden | Trouble::WouldBlock => {}
    }
    trouble
}

fn attempt(root: &Root, base: &Base, path: &str, protected: &Protected, patience: Patience) -> Result<Opened> {
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
            .filter(|device| device.nature == Nature::Local)
            .ok_or(Errno::AGAIN)?,
        Patience::AsLongAsItTakes => Device::of(number, &located.handle)?,
    };
    admit(&located, base, &stat, protected, patience)?;
    if stat.kind == FileType::Directory {
        return Ok(Opened::Directory);
    }
    let descriptor = located.open_for_reading()?;
    Ok(Opened::File(OpenFile::new(
        descriptor,
        stat,
        device,
        root.options.growing,
    )))
}

/// # Errors
/// ENOENT when it is protected, EAGAIN when that cannot be said without waiting.
pub(crate) fn admit(
    located: &Located,
    base: &Base,
    stat: &Stat,
    protected: &Protected,
    patience: Patience,
) -> Result<()> {
    if protected.is_empty() {
        return Ok(());
    }
    let real_path;
    let trail: Vec<Identity>;
    let beneath = match &located.origin {
        Origin::Kernel => {
            real_path = beneath::real_path(located.handle.as_fd())?;
            Beneath::RealPath(&real_path)
        }
        Origin::Steps { trail: below, .. } => {
            trail = base.trail.iter().chain(below).copied().collect();
            Beneath::Trail(&trail)
        }
    };
    loop {
        match protected.judge(stat, &beneath) {
            Judgement::Open => return Ok(()),
            Judgement::Protected => return Err(Errno::NOENT),
            Judgement::Stale if patience == Patience::Never => return Err(Errno::AGAIN),
            Judgement::Stale => protected.refresh(stat.links),
        }
    }
}

/// Does something without waiting, or else on the root's lane of the blocking pool.
pub(crate) async fn patiently<T: Send + 'static>(
    root: &Arc<Root>,
    job: impl Fn(&Root, Patience) -> std::result::Result<T, Trouble> + Send + 'static,
) -> std::result::Result<T, Trouble> {
    match job(root, Patience::Never) {
        Err(Trouble::WouldBlock) => {
            let on_lane = Arc::clone(root);
            root.lane
                .run(move || job(&on_lane, Patience::AsLongAsItTakes))
                .await
                .unwrap_or(Err(Trouble::Busy))
        }
        done => done,
    }
}
