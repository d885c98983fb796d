//! Whether a folder can be trusted with code that this process will run.
//!
//! Its path is walked from `/`, on descriptors, a link at a time. Each folder and each link on the way has to belong to
//! root or to this process's user, and nobody else may be able to replace what is in it; then nobody else can change where
//! the path leads, or what is there.
use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, mkdirat, openat, readlinkat, statat},
    io::Errno,
    process::geteuid,
};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

/// Links on the way, as Linux has it.
const MAX_LINKS: usize = 40;
/// Writable by the group or by others.
const OTHERS_WRITE: u32 = 0o022;
/// Only the owner of an entry can rename or remove it.
const STICKY: u32 = 0o1000;
/// Anything at all by the group or by others.
const OTHERS: u32 = 0o077;

/// Why a folder is not trusted with code.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    #[error("{} belongs to user {owner}, and only root and the server's own user (id {user}) are trusted", .path.display())]
    Owner { path: PathBuf, owner: u32, user: u32 },
    #[error("{} can be changed by others: take it from them with chmod go-w", .path.display())]
    Writable { path: PathBuf },
    #[error("{} is open to others: close it with chmod 700", .path.display())]
    Open { path: PathBuf },
    #[error("{} lies beneath the served folder {}", .path.display(), .root.display())]
    Served { path: PathBuf, root: PathBuf },
    #[error("{} is not a folder", .path.display())]
    NoFolder { path: PathBuf },
    #[error("{} leads through too many links", .path.display())]
    Links { path: PathBuf },
    #[error("{} cannot be opened", .path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// A folder that was checked, and is held open.
#[derive(Debug)]
pub struct Folder {
    pub descriptor: OwnedFd,
    /// Where it was found, without links.
    pub path: PathBuf,
}

/// The folders from `/` to where the walk is.
struct Walk<'a> {
    above: Vec<Step>,
    path: PathBuf,
    /// Device and inode of each served folder.
    roots: Vec<((u64, u64), &'a Path)>,
}

struct Step {
    descriptor: OwnedFd,
    /// Device and inode.
    identity: (u64, u64),
}

impl Folder {
    /// Opens `path` and the folder `name` in it, which is this user's alone. What is missing is made.
    ///
    /// # Errors
    /// When somebody else could change what is in it, or it lies beneath one of the roots.
    pub fn open(path: &Path, name: &str, roots: &[PathBuf]) -> Result<Self, Untrusted> {
        let absolute = std::path::absolute(path).map_err(|source| Untrusted::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut walk = Walk::begin(roots)?;
        walk.along(&absolute.join(name))?;
        walk.is_outside()?;
        walk.is_ours_alone()?;
        walk.arrive()
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn begin(roots: &'a [PathBuf]) -> Result<Self, Untrusted> {
        // A root that is not there serves nothing.
        let stat = |root: &'a PathBuf| Some((identity(&statat(CWD, root, AtFlags::empty()).ok()?), root.as_path()));
        let roots = roots.iter().filter_map(stat).collect();
        let path = PathBuf::from("/");
        let descriptor = openat(CWD, "/", folder_flags(), Mode::empty()).map_err(|error| io_error(&path, error))?;
        let mut walk = Self {
            above: Vec::new(),
            path,
            roots,
        };
        let stat = walk.stat(&descriptor)?;
        walk.enter(descriptor, &stat)?;
        Ok(walk)
    }

    fn along(&mut self, path: &Path) -> Result<(), Untrusted> {
        let mut links = 0;
        let mut names = names(path);
        while let Some(name) = names.pop_front() {
            if name == ".." {
                self.leave();
                continue;
            }
            if let Some(target) = self.step(&name)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Untrusted::Links { path: path.to_owned() });
                }
                if target.is_absolute() {
                    while self.above.len() > 1 {
                        self.leave();
                    }
                }
                for name in self::names(&target).into_iter().rev() {
                    names.push_front(name);
                }
            }
        }
        Ok(())
    }

    /// Goes to an entry of the folder. `Some`: it is a link to there.
    fn step(&mut self, name: &OsStr) -> Result<Option<PathBuf>, Untrusted> {
        let path = self.path.join(name);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(self.here(), name, flags, Mode::empty());
        let opened = match open() {
            Err(Errno::NOENT) => {
                self.is_outside()?;
                match mkdirat(self.here(), name, Mode::RWXU) {
                    Ok(()) | Err(Errno::EXIST) => open(),
                    Err(error) => Err(error),
                }
            }
            opened => opened,
        };
        let entry = opened.map_err(|error| io_error(&path, error))?;
        let stat = fstat(&entry).map_err(|error| io_error(&path, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                is_of_someone_trusted(&path, &stat)?;
                let target = readlinkat(&entry, "", Vec::new()).map_err(|error| io_error(&path, error))?;
                Ok(Some(OsString::from_vec(target.into_bytes()).into()))
            }
            FileType::Directory => {
                self.path = path;
                self.enter(entry, &stat)?;
                Ok(None)
            }
            _ => Err(Untrusted::NoFolder { path }),
        }
    }

    fn enter(&mut self, descriptor: OwnedFd, stat: &Stat) -> Result<(), Untrusted> {
        is_of_someone_trusted(&self.path, stat)?;
        if stat.st_mode & OTHERS_WRITE != 0 && stat.st_mode & STICKY == 0 {
            return Err(Untrusted::Writable {
                path: self.path.clone(),
            });
        }
        self.above.push(Step {
            descriptor,
            identity: identity(stat),
        });
        Ok(())
    }

    fn leave(&mut self) {
        // What is above `/` is `/`.
        if self.above.len() > 1 {
            self.above.pop();
            self.path.pop();
        }
    }

    fn here(&self) -> &OwnedFd {
        let step = self
            .above
            .last()
            .expect("`begin` entered `/`, and `leave` never leaves that");
        &step.descriptor
    }

    fn stat(&self, descriptor: impl AsFd) -> Result<Stat, Untrusted> {
        fstat(descriptor).map_err(|error| io_error(&self.path, error))
    }

    /// The last folder belongs to this user, and others can neither read nor write it.
    fn is_ours_alone(&self) -> Result<(), Untrusted> {
        let stat = self.stat(self.here())?;
        let (path, user) = (self.path.clone(), geteuid().as_raw());
        if stat.st_uid != user {
            let owner = stat.st_uid;
            return Err(Untrusted::Owner { path, owner, user });
        }
        if stat.st_mode & OTHERS != 0 {
            return Err(Untrusted::Open { path });
        }
        Ok(())
    }

    /// No root is on the way, by whatever name.
    fn is_outside(&self) -> Result<(), Untrusted> {
        let is_above = |root: &&((u64, u64), &Path)| self.above.iter().any(|step| step.identity == root.0);
        match self.roots.iter().find(is_above) {
            Some((_, root)) => Err(Untrusted::Served {
                path: self.path.clone(),
                root: (*root).to_owned(),
            }),
            None => Ok(()),
        }
    }

    fn arrive(self) -> Result<Folder, Untrusted> {
        let opened = openat(self.here(), ".", folder_flags(), Mode::empty());
        let descriptor = opened.map_err(|error| io_error(&self.path, error))?;
        Ok(Folder {
            descriptor,
            path: self.path,
        })
    }
}

fn folder_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// The names of a path, in order; `..` is one of them.
fn names(path: &Path) -> VecDeque<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().filter_map(name).collect()
}

fn is_of_someone_trusted(path: &Path, stat: &Stat) -> Result<(), Untrusted> {
    let (owner, user) = (stat.st_uid, geteuid().as_raw());
    if owner == 0 || owner == user {
        return Ok(());
    }
    Err(Untrusted::Owner {
        path: path.to_owned(),
        owner,
        user,
    })
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn io_error(path: &Path, error: Errno) -> Untrusted {
    Untrusted::Io {
        path: path.to_owned(),
        source: error.into(),
    }
}
