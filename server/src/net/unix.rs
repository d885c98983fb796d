//! A Unix socket that is never open to others than its mode says, and that replaces what a dead process left behind.
//!
//! In the order of events: the folder is locked against others who bind there, what has the name already is looked at, the
//! socket is bound in a private folder and given its mode, and only then it gets its name. It is removed with its value,
//! unless another process listens on it: a successor of this one ([`hand_over`]), or, until this one serves, the one that it
//! was inherited from ([`take_over`]).

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, RenameFlags};
use std::{
    fs::{self, DirBuilder, Permissions},
    hash::{BuildHasher, RandomState},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt},
            net::{UnixListener as StdListener, UnixStream},
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};
use tokio::net::UnixListener;

/// How long another process may take to bind in the same folder.
const PATIENCE: Duration = Duration::from_secs(2);

/// A socket that is listening.
#[derive(Debug)]
pub struct Socket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of its name; `None` when the name is another's to remove.
    identity: Option<(u64, u64)>,
    inherited: bool,
}

/// Whether this process serves: until then the names of inherited sockets are the predecessor's, who serves on if this one
/// fails.
static TAKEN_OVER: AtomicBool = AtomicBool::new(false);

/// Whether the process that comes after this one listens on its sockets.
static HANDED_OVER: AtomicBool = AtomicBool::new(false);

/// Why a socket cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("cannot listen on the socket {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot listen on the socket {}: a server that runs has it", .0.display())]
    InUse(PathBuf),
    #[error("cannot listen on the socket {}: there is something else, and it is left alone", .0.display())]
    NotASocket(PathBuf),
    #[error("cannot listen on the socket {}: another process keeps its folder locked", .0.display())]
    Locked(PathBuf),
}

/// What has the name of a socket that is to be bound.
enum Occupant {
    Nobody,
    /// A socket that nobody listens on.
    Stale,
}

/// Who removes the name of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// This server, which made it, or whose predecessor did.
    Ours,
    /// Whoever made it, such as systemd.
    Theirs,
}

/// From now on the names of all sockets are a successor's, who listens on them: none is removed.
pub fn hand_over() {
    HANDED_OVER.store(true, Relaxed);
}

/// From now on the names of inherited sockets are this process's.
pub fn take_over() {
    TAKEN_OVER.store(true, Relaxed);
}

// === impl Socket ===

impl Socket {
    /// Binds a path, for those whom `mode` lets write. To be called within a runtime.
    ///
    /// # Errors
    /// When a process listens there, when there is something that is no socket, or when the folder cannot be written.
    pub fn bind(path: &Path, mode: u32) -> Result<Self, SocketError> {
        let failed = |source| SocketError::Io {
            path: path.to_owned(),
            source,
        };
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let _lock = lock(folder, path)?;
        let occupant = occupant(path)?;
        let (listener, identity) = bind_privately(folder, path, mode, &occupant).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self {
            listener: UnixListener::from_std(listener).map_err(failed)?,
            path: path.to_owned(),
            identity: Some(identity),
            inherited: false,
        })
    }

    /// One that was inherited from the process before this one. To be called within a runtime.
    ///
    /// # Errors
    /// When it is no listening socket.
    pub fn inherited(listener: StdListener, path: &Path, name: Name) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let found = fs::symlink_metadata(path).ok().map(|found| (found.dev(), found.ino()));
        Ok(Self {
            listener: UnixListener::from_std(listener)?,
            path: path.to_owned(),
            identity: found.filter(|_| name == Name::Ours),
            inherited: true,
        })
    }

    /// Lets those connect whom `mode` lets write, from now on.
    ///
    /// # Errors
    /// When the mode cannot be changed.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who removes its name in the end.
    pub fn name(&self) -> Name {
        match self.identity {
            Some(_) => Name::Ours,
            None => Name::Theirs,
        }
    }
}

impl Drop for Socket {
    /// Leaves alone what has taken its place.
    fn drop(&mut self) {
        let found = fs::symlink_metadata(&self.path).map(|found| (found.dev(), found.ino()));
        let others = HANDED_OVER.load(Relaxed) || (self.inherited && !TAKEN_OVER.load(Relaxed));
        let ours = found.is_ok_and(|found| Some(found) == self.identity) && !others;
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "the socket cannot be removed");
        }
    }
}

/// Keeps others from binding in the folder between a look and a rename. Ends when it is dropped, or with the process.
fn lock(folder: &Path, path: &Path) -> Result<OwnedFd, SocketError> {
    let failed = |error: rustix::io::Errno| SocketError::Io {
        path: path.to_owned(),
        source: error.into(),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(folder),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SocketError::Locked(path.to_owned())),
            Err(error) => return Err(failed(error)),
        }
    }
}

fn occupant(path: &Path) -> Result<Occupant, SocketError> {
    let failed = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Occupant::Nobody),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => return Err(SocketError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(Occupant::Stale),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Occupant::Nobody),
        // Its queue is full: somebody listens.
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse(path.to_owned())),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
    }
}

/// The umask belongs to the whole process, so it is no way to a mode: the socket is made where nobody else can reach it.
fn bind_privately(folder: &Path, path: &Path, mode: u32, occupant: &Occupant) -> io::Result<(StdListener, (u64, u64))> {
    let private = Private::new(folder)?;
    let inside = private.0.join("s");
    let listener = StdListener::bind(&inside)?;
    fs::set_permissions(&inside, Permissions::from_mode(mode))?;
    let made = fs::symlink_metadata(&inside)?;
    let flags = match occupant {
        Occupant::Nobody => RenameFlags::NOREPLACE,
        Occupant::Stale => RenameFlags::empty(),
    };
    rustix::fs::renameat_with(rustix::fs::CWD, &inside, rustix::fs::CWD, path, flags)?;
    Ok((listener, (made.dev(), made.ino())))
}

/// A folder of ours alone. Removed with this value.
struct Private(PathBuf);

impl Private {
    fn new(folder: &Path) -> io::Result<Self> {
        // Short, because the address of a socket is at most 107 bytes.
        let chance = RandomState::new().hash_one(std::process::id());
        let private = folder.join(format!(".{:08x}", chance & 0xffff_ffff));
        DirBuilder::new().mode(0o700).create(&private)?;
        Ok(Self(private))
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Whatever is left of a bind that failed.
        let _ = rustix::fs::unlinkat(rustix::fs::CWD, self.0.join("s"), AtFlags::empty());
        let _ = fs::remove_dir(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_owner_may_connect_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("admin.sock");
        let socket = Socket::bind(&path, 0o600).expect("the folder is writable");
        let mode = fs::symlink_metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
        drop(socket);
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
    }

    #[tokio::test]
    async fn the_dead_are_replaced_and_the_living_are_not() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("admin.sock");
        // As a process that was killed leaves it.
        drop(StdListener::bind(&path).expect("the folder is writable"));
        assert!(path.symlink_metadata().is_ok(), "it was removed");
        let living = Socket::bind(&path, 0o600).expect("nobody listens");
        assert!(matches!(Socket::bind(&path, 0o600), Err(SocketError::InUse(_))));
        drop(living);
        fs::write(&path, "something").expect("a file");
        assert!(matches!(Socket::bind(&path, 0o600), Err(SocketError::NotASocket(_))));
        assert_eq!(fs::read(&path).expect("it is left alone"), b"something");
    }

    #[tokio::test]
    async fn a_socket_that_took_its_place_stays() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("admin.sock");
        let first = Socket::bind(&path, 0o600).expect("the folder is writable");
        fs::remove_file(&path).expect("it is there");
        let second = Socket::bind(&path, 0o600).expect("nothing is there");
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
