//! Opening beneath a directory: from a path to a descriptor that names a place in the file system and reads nothing.
//!
//! Nothing outside the directory is ever named, whatever links say and whoever swaps them meanwhile. Devices, FIFOs and
//! sockets are not opened: the descriptors are `O_PATH`, and only [`Located::open_for_reading`] makes one that reads,
//! which its callers do after they have seen that it is a regular file or a directory.
use crate::{
    options::{Resolver, Symlinks},
    stat::{Freshness, Identity, Stat},
};
use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, open, openat, openat2, readlinkat},
    io::{Errno, Result},
};
use std::{
    ffi::{CString, OsStr, OsString},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    sync::Arc,
};

/// Whether the calling thread may wait for a disk or a server. With `Never`, EAGAIN says that it would have had to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    Never,
    AsLongAsItTakes,
}

/// openat2 gives up with EAGAIN when anything anywhere on the machine is renamed or mounted while it looks at a `..`
/// (openat2(2)). Somebody who renames in a loop must not keep us from opening: step by step it does not matter.
const ATTEMPTS: usize = 8;

/// As many links in one path as Linux follows.
const MAX_LINKS: usize = 40;

/// The way paths are opened here, chosen once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// openat2, and /proc to open again what it found. `cached`: the kernel can tell what would block (Linux 5.12).
    Kernel { cached: bool },
    /// One component at a time, nothing but openat. Cannot tell what would block.
    Steps,
}

/// A place in the file system.
#[derive(Debug)]
pub(crate) struct Located {
    /// `O_PATH`.
    pub(crate) handle: OwnedFd,
    pub(crate) origin: Origin,
}

/// How a place was found: what it takes to open it for reading and to know what it is beneath.
#[derive(Debug)]
pub(crate) enum Origin {
    /// /proc tells.
    Kernel,
    Steps {
        /// The directories that it is beneath, below the one that the search began in.
        trail: Vec<Identity>,
        /// The last of them, and the name in it.
        parent: Arc<OwnedFd>,
        name: OsString,
    },
}

const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

// === impl Method ===

impl Method {
    pub(crate) fn choose(resolver: Resolver) -> Self {
        if resolver == Resolver::Steps {
            return Self::Steps;
        }
        let probe = |resolve| openat2(CWD, ".", HANDLE | OFlags::DIRECTORY, Mode::empty(), resolve);
        // Without /proc a descriptor cannot be opened again for reading, nor asked for its path.
        let Ok(here) = probe(ResolveFlags::BENEATH) else {
            return Self::Steps;
        };
        if real_path(here.as_fd()).is_err() {
            return Self::Steps;
        }
        let cached = probe(ResolveFlags::BENEATH | ResolveFlags::CACHED);
        Self::Kernel {
            cached: matches!(cached, Ok(_) | Err(Errno::AGAIN)),
        }
    }

    /// The place that `path` names beneath `base`: segments separated by `/`, none of them empty, `.` or `..`; `""` is
    /// `base` itself. The last one is followed too when it is a link.
    ///
    /// # Errors
    /// EXDEV when a link leads out of `base`, ELOOP for a link under [`Symlinks::Deny`], EAGAIN when it would block; ENOENT, ENOTDIR, EACCES and the like as openat.
    pub(crate) fn locate(
        self,
        base: BorrowedFd<'_>,
        path: &str,
        symlinks: Symlinks,
        patience: Patience,
    ) -> Result<Located> {
        let path = if path.is_empty() { "." } else { path };
        match (self, patience) {
            (Self::Kernel { cached: true }, Patience::Never) => {
                let handle = kernel(base, path, symlinks, ResolveFlags::CACHED)?;
                Ok(Located {
                    handle,
                    origin: Origin::Kernel,
                })
            }
            (_, Patience::Never) => Err(Errno::AGAIN),
            (Self::Kernel { .. }, Patience::AsLongAsItTakes) => {
                let handle = (0..ATTEMPTS)
                    .map(|_| kernel(base, path, symlinks, ResolveFlags::empty()))
                    .find(|found| !matches!(found, Err(Errno::AGAIN | Errno::INTR)))
                    .unwrap_or_else(|| steps(base, path, symlinks).map(|located| located.handle))?;
                Ok(Located {
                    handle,
                    origin: Origin::Kernel,
                })
            }
            (Self::Steps, Patience::AsLongAsItTakes) => steps(base, path, symlinks),
        }
    }

    /// Whether a directory has no such name: not even that of a link which leads nowhere. `false` when that cannot be told.
    pub(crate) fn lacks(self, directory: impl AsFd, name: &str, patience: Patience) -> bool {
        let flags = HANDLE | OFlags::NOFOLLOW;
        let found = match (self, patience) {
            (Self::Kernel { cached: true }, Patience::Never) => {
                openat2(directory, name, flags, Mode::empty(), ResolveFlags::CACHED)
            }
            (_, Patience::Never) => Err(Errno::AGAIN),
            (_, Patience::AsLongAsItTakes) => openat(directory, name, flags, Mode::empty()),
        };
        matches!(found, Err(Errno::NOENT))
    }

    /// Opens a directory by its path on the machine; links in it are the operator's and followed.
    pub(crate) fn open_directory(self, path: &Path, patience: Patience) -> Result<OwnedFd> {
        let flags = HANDLE | OFlags::DIRECTORY;
        match (self, patience) {
            (Self::Kernel { cached: true }, Patience::Never) => {
                openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED)
            }
            (_, Patience::Never) => Err(Errno::AGAIN),
            (_, Patience::AsLongAsItTakes) => open(path, flags, Mode::empty()),
        }
    }
}

fn kernel(base: BorrowedFd<'_>, path: &str, symlinks: Symlinks, extra: ResolveFlags) -> Result<OwnedFd> {
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | extra;
    if symlinks == Symlinks::Deny {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    openat2(base, path, HANDLE, Mode::empty(), resolve)
}

/// The same, one component at a time. `..` in a link is answered from the directories that were passed, never by the
/// kernel, so that renaming one of them meanwhile leads nowhere else.
fn steps(base: BorrowedFd<'_>, path: &str, symlinks: Symlinks) -> Result<Located> {
    let mut passed: Vec<(Arc<OwnedFd>, Identity)> = Vec::new();
    let base = Arc::new(openat(base, ".", HANDLE | OFlags::DIRECTORY, Mode::empty())?);
    let mut pending: Vec<OsString> = path.rsplit('/').map(OsString::from).collect();
    let mut links = 0;
    while let Some(name) = pending.pop() {
        let directory = passed.last().map_or(&base, |(directory, _)| directory);
        if name.is_empty() || name == "." {
            continue;
        }
        if name == ".." {
            passed.pop().ok_or(Errno::XDEV)?;
            continue;
        }
        let handle = openat(directory, &name, HANDLE | OFlags::NOFOLLOW, Mode::empty())?;
        let stat = Stat::of(&handle, Freshness::Asked)?;
        match stat.kind {
            FileType::Symlink => {
                links += 1;
                if symlinks == Symlinks::Deny || links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                // Of the descriptor, so that it is the link that was seen.
                let target = readlinkat(&handle, "", Vec::new())?;
                let target = target.as_bytes();
                if target.starts_with(b"/") {
                    return Err(Errno::XDEV);
                }
                pending.extend(
                    target
                        .rsplit(|byte| *byte == b'/')
                        .map(|part| OsStr::from_bytes(part).into()),
                );
            }
            FileType::Directory => passed.push((Arc::new(handle), stat.identity)),
            // A link that ends in a slash leaves an empty name behind: that too asks for a directory.
            _ if !pending.is_empty() => return Err(Errno::NOTDIR),
            _ => {
                let parent = Arc::clone(directory);
                let trail = passed.iter().map(|(_, identity)| *identity).collect();
                return Ok(Located {
                    handle,
                    origin: Origin::Steps { trail, parent, name },
                });
            }
        }
    }
    let trail = passed.iter().map(|(_, identity)| *identity).collect();
    let parent = passed.pop().map_or(base, |(directory, _)| directory);
    let handle = openat(&parent, ".", HANDLE, Mode::empty())?;
    Ok(Located {
        handle,
        origin: Origin::Steps {
            trail,
            parent,
            name: ".".into(),
        },
    })
}

// === impl Located ===

impl Located {
    /// A descriptor that reads. Only for what has been seen to be a regular file or a directory: opening a device may do
    /// things, and a FIFO wakes its writer.
    ///
    /// # Errors
    /// EACCES and the like; EAGAIN when somebody put something else in its place meanwhile.
    pub(crate) fn open_for_reading(&self) -> Result<OwnedFd> {
        match &self.origin {
            Origin::Kernel => open(descriptor_path(self.handle.as_fd()), READ, Mode::empty()),
            Origin::Steps { parent, name, .. } => {
                let opened = openat(parent, name, READ | OFlags::NOFOLLOW, Mode::empty())?;
                let (wanted, got) = (
                    Stat::of(&self.handle, Freshness::Known)?,
                    Stat::of(&opened, Freshness::Known)?,
                );
                if wanted.identity == got.identity {
                    Ok(opened)
                } else {
                    Err(Errno::AGAIN)
                }
            }
        }
    }
}

fn descriptor_path(descriptor: BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd())
}

/// Where the file behind a descriptor is now, without links. Of a deleted file it ends in ` (deleted)`.
pub(crate) fn real_path(descriptor: BorrowedFd<'_>) -> Result<PathBuf> {
    let path: CString = readlinkat(CWD, descriptor_path(descriptor), Vec::with_capacity(256))?;
    Ok(PathBuf::from(OsStr::from_bytes(path.as_bytes())))
}

/// The directory behind a descriptor and those above it, up to the root of the file system, nearest first.
pub(crate) fn ancestors(directory: BorrowedFd<'_>) -> Result<Vec<Identity>> {
    /// Nothing is deeper than PATH_MAX allows names.
    const DEEPEST: usize = 2048;
    let mut trail = vec![Stat::of(directory, Freshness::Asked)?.identity];
    let mut above = openat(directory, "..", HANDLE | OFlags::DIRECTORY, Mode::empty())?;
    while trail.len() < DEEPEST {
        let identity = Stat::of(&above, Freshness::Asked)?.identity;
        if trail.last() == Some(&identity) {
            return Ok(trail);
        }
        trail.push(identity);
        above = openat(&above, "..", HANDLE | OFlags::DIRECTORY, Mode::empty())?;
    }
    Err(Errno::LOOP)
}
