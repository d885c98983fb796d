//! Whether a folder can be trusted with code that this process will run.
//!
//! Its path is walked from `/`, on descriptors, a link at a time. Each folder and each link on the way has to belong to
//! root or to this process's user, and nobody else may be able to replace what is in it; then nobody else can change where
//! the path leads, or what is there.
//!
//! Files in it are written under names of their own and renamed, so they are whole or not there, and read only when this
//! user alone can have written them.
use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, fsync, mkdirat, openat, readlinkat, renameat, statat,
        unlinkat,
    },
    io::Errno,
    process::geteuid,
};
use std::{
    collections::VecDeque,
    ffi::{OsStr, OsString},
    fs::File,
    hash::{BuildHasher, RandomState},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
};

/// How names of files end that are being written, or that nobody will finish.
pub const UNFINISHED: &str = ".unfinished";

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

/// Whether a file that was written outlives a power failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It may be cut short then: whoever reads it can tell, and make it again.
    Lost,
    /// It is on the disk before it has its name.
    Kept,
}

/// What the walk does about a folder that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    Made,
    Told,
}

/// The folders from `/` to where the walk is.
struct Walk<'a> {
    above: Vec<Step>,
    path: PathBuf,
    /// Device and inode of each served folder.
    roots: Vec<((u64, u64), &'a Path)>,
    missing: Missing,
}

struct Step {
    descriptor: OwnedFd,
    /// Device and inode.
    identity: (u64, u64),
}

// === impl Folder ===

impl Folder {
    /// Opens `path` and the folder `name` in it, which is this user's alone. What is missing is made.
    ///
    /// # Errors
    /// When somebody else could change what is in it, or it lies beneath one of the roots.
    pub fn open(path: &Path, name: &str, roots: &[PathBuf]) -> Result<Self, Untrusted> {
        Self::walk(path, name, roots, Missing::Made)
    }

    /// The same, of a folder that may be missing. Nothing is made.
    ///
    /// # Errors
    /// As [`Folder::open`].
    pub fn find(path: &Path, name: &str, roots: &[PathBuf]) -> Result<Option<Self>, Untrusted> {
        match Self::walk(path, name, roots, Missing::Told) {
            Ok(folder) => Ok(Some(folder)),
            Err(Untrusted::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(untrusted) => Err(untrusted),
        }
    }

    /// A file of the folder and what it holds, if it is a regular file that only this user can have written, without
    /// another name, and at most `most` bytes long.
    ///
    /// # Errors
    /// When it is not there or anything else, or cannot be read.
    pub fn read(&self, name: &str, most: u64) -> io::Result<(File, Vec<u8>)> {
        // Not waiting, in case that it is a FIFO.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.descriptor, name, flags, Mode::empty())?;
        let size = trusted_size(&fstat(&file)?, most)?;
        let mut bytes = vec![0; size];
        let mut file = File::from(file);
        file.read_exact(&mut bytes)?;
        Ok((file, bytes))
    }

    /// Writes a file that holds these parts one after the other, in place of the one that has its name.
    ///
    /// # Errors
    /// When it cannot be written; then what was there before still is.
    pub fn write(&self, name: &str, parts: &[&[u8]], durability: Durability) -> io::Result<()> {
        let folder = &self.descriptor;
        let unfinished = format!("{:016x}{UNFINISHED}", RandomState::new().hash_one(name));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(folder, &unfinished, flags, Mode::RUSR | Mode::WUSR)?);
        let mut write = || {
            for part in parts {
                file.write_all(part)?;
            }
            if durability == Durability::Kept {
                file.sync_all()?;
            }
            renameat(folder, &unfinished, folder, name)?;
            if durability == Durability::Kept {
                fsync(folder)?;
            }
            Ok(())
        };
        let written = write();
        if written.is_err() {
            let _ = unlinkat(folder, &unfinished, AtFlags::empty());
        }
        written
    }

    fn walk(path: &Path, name: &str, roots: &[PathBuf], missing: Missing) -> Result<Self, Untrusted> {
        let absolute = std::path::absolute(path).map_err(|source| Untrusted::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut walk = Walk::begin(roots, missing)?;
        walk.along(&absolute.join(name))?;
        walk.is_outside()?;
        walk.is_ours_alone()?;
        walk.arrive()
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn begin(roots: &'a [PathBuf], missing: Missing) -> Result<Self, Untrusted> {
        // A root that is not there serves nothing.
        let stat = |root: &'a PathBuf| Some((identity(&statat(CWD, root, AtFlags::empty()).ok()?), root.as_path()));
        let roots = roots.iter().filter_map(stat).collect();
        let path = PathBuf::from("/");
        let descriptor = openat(CWD, "/", folder_flags(), Mode::empty()).map_err(|error| io_error(&path, error))?;
        let mut walk = Self {
            above: Vec::new(),
            path,
            roots,
            missing,
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
            Err(Errno::NOENT) if self.missing == Missing::Made => {
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

/// The size of a file that only this user can have written.
fn trusted_size(stat: &Stat, most: u64) -> io::Result<usize> {
    let refuse = |reason: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return refuse("it is not a regular file");
    }
    if stat.st_uid != geteuid().as_raw() {
        return refuse("it belongs to another user");
    }
    if stat.st_mode & 0o077 != 0 {
        return refuse("it is open to others");
    }
    // Removed in the meantime is none, and as good.
    if stat.st_nlink > 1 {
        return refuse("it has another name somewhere");
    }
    match usize::try_from(stat.st_size) {
        Ok(size) if size as u64 <= most => Ok(size),
        _ => refuse("it is larger than may be"),
    }
}
