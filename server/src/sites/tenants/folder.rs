//! Reading what a tenant wrote: beneath its folder, one segment after the other, and no link is followed. So neither a
//! link nor a pipe nor a file of any length that a tenant puts there makes the server read, wait for or hold more.
//!
//! Tenants copy files to their places as they like, byte after byte. Half of a `site.toml` may be a whole one that leaves
//! out whoever guards the rest: so what changed a moment ago is not what is served yet ([`Folder::is_settled`]), and what
//! looks like a half has to rest for longer ([`CUT`], [`LESS`]).

use rustix::{
    fd::{AsFd, OwnedFd},
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, open, openat, statat},
    io::Errno,
};
use std::{
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Component, Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::config::tenants::TenantFolder;

/// A tenant's folder, open. Remembers what was looked at, so that changes are noticed.
pub struct Folder {
    handle: OwnedFd,
    seen: Seen,
    /// When the folder itself last changed: something came or went.
    changed: Time,
    /// Whether a file changed while it was read.
    torn: bool,
}

/// What lay in a tenant's folder when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Device and inode of the folder itself.
    folder: (u64, u64),
    /// Those of what is served of it, or of the link that leads there.
    root: Option<(u64, u64)>,
    files: Vec<(PathBuf, Option<Stamp>)>,
}

/// Tells one state of a file from another: device, inode, length, and the times of the last change of content and of
/// anything, in nanoseconds.
type Stamp = (u64, u64, u64, Time, Time);

/// Nanoseconds since 1970.
type Time = i128;

/// What did not change for so long is taken to be whole.
pub const SETTLED: Duration = Duration::from_secs(1);

/// So long has a `site.toml` to rest that is empty or ends within a line: below what a request waits for its tenant.
pub const CUT: Duration = Duration::from_secs(4);

/// So long, one that leaves out what it said when it was last served: a copy that rests in the middle looks like that.
pub const LESS: Duration = Duration::from_secs(10);

const DIRECTORY: OFlags = OFlags::PATH
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

// === impl Folder ===

impl Folder {
    /// Opens the folder of a host; `None`: there is none, or something else has that name. Blocks.
    ///
    /// # Errors
    /// Whatever else the file system says.
    pub fn open(directory: &Path, host: &str, root: &str) -> io::Result<Option<Self>> {
        // Links in the operator's own path are the operator's.
        let directory = open(
            directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let handle = match openat(&directory, host, DIRECTORY, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&handle)?;
        let root = statat(&handle, root, AtFlags::SYMLINK_NOFOLLOW).ok();
        Ok(Some(Self {
            handle,
            seen: Seen {
                folder: (stat.st_dev, stat.st_ino),
                root: root.map(|stat| (stat.st_dev, stat.st_ino)),
                files: Vec::new(),
            },
            changed: changed(&stat),
            torn: false,
        }))
    }

    /// Whether what was read is whole, as far as times tell: no file changed while it was read, or within `rest`. Where one
    /// is missing, none was taken away a moment ago: another may be on its way to its place. Times in the future are
    /// another machine's, and tell nothing.
    pub fn is_settled(&self, now: SystemTime, rest: Duration) -> bool {
        let time = |since: Duration| Time::try_from(since.as_nanos()).unwrap_or(Time::MAX);
        let now = time(now.duration_since(UNIX_EPOCH).unwrap_or_default());
        let settled = |changed: Time| !(0..time(rest)).contains(&(now - changed));
        let of_file = |stamp: &Option<Stamp>| stamp.map_or(self.changed, |(.., changed)| changed);
        !self.torn && self.seen.files.iter().all(|(_, stamp)| settled(of_file(stamp)))
    }

    /// What was looked at, and what it was.
    pub fn into_seen(self) -> Seen {
        self.seen
    }

    /// Whether everything is what it was. Blocks.
    pub fn is_as(&self, seen: &Seen) -> bool {
        (self.seen.folder, self.seen.root) == (seen.folder, seen.root)
            && seen.files.iter().all(|(path, stamp)| {
                let now = self.look(path).ok().flatten().map(|(_, stamp)| stamp);
                now == *stamp
            })
    }

    /// The file at a path, opened, and its stamp; `None`: nothing is there.
    fn look(&self, path: &Path) -> io::Result<Option<(OwnedFd, Stamp)>> {
        let refused = || io::Error::other("is not a path within the folder");
        let mut segments = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) if !name.as_bytes().contains(&0) => segments.push(name),
                Component::CurDir => {}
                _ => return Err(refused()),
            }
        }
        let last = segments.pop().ok_or_else(refused)?;
        let mut above: Option<OwnedFd> = None;
        for segment in segments {
            let from = above.as_ref().map_or(self.handle.as_fd(), OwnedFd::as_fd);
            above = match openat(from, segment, DIRECTORY, Mode::empty()) {
                Ok(handle) => Some(handle),
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(error) => return Err(told(error)),
            };
        }
        let from = above.as_ref().map_or(self.handle.as_fd(), OwnedFd::as_fd);
        // Not blocking: a pipe would wait for whoever writes into it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match openat(from, last, flags, Mode::empty()) {
            Ok(file) => {
                let stat = fstat(&file)?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::RegularFile => Ok(Some((file, stamp(&stat)))),
                    _ => Err(io::Error::other("is no file")),
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(error) => Err(told(error)),
        }
    }
}

/// What a tenant can do about it.
fn told(error: Errno) -> io::Error {
    match error {
        Errno::LOOP => io::Error::other("is or lies behind a symbolic link, which are not followed here"),
        other => other.into(),
    }
}

fn stamp(stat: &Stat) -> Stamp {
    let (device, inode, size) = (stat.st_dev, stat.st_ino, stat.st_size.unsigned_abs());
    let written = nanoseconds(stat.st_mtime, stat.st_mtime_nsec);
    (device, inode, size, written, changed(stat))
}

/// By the time that nobody can set.
fn changed(stat: &Stat) -> Time {
    nanoseconds(stat.st_ctime, stat.st_ctime_nsec)
}

fn nanoseconds(seconds: i64, rest: u64) -> Time {
    Time::from(seconds) * 1_000_000_000 + Time::from(rest)
}

impl TenantFolder for Folder {
    fn read(&mut self, path: &Path, most: u64) -> Result<Option<Vec<u8>>, String> {
        let found = self.look(path);
        let seen = found.as_ref().ok().and_then(Option::as_ref).map(|(_, stamp)| *stamp);
        self.seen.files.push((path.to_owned(), seen));
        let cannot = |error: io::Error| match error.raw_os_error() {
            Some(_) => format!("cannot be read: {}", crate::config::errors::reason(&error)),
            None => error.to_string(),
        };
        let Some((file, before)) = found.map_err(cannot)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let mut file = File::from(file).take(most + 1);
        file.read_to_end(&mut bytes).map_err(cannot)?;
        let after = fstat(file.get_ref()).map_err(|error| cannot(error.into()))?;
        self.torn |= stamp(&after) != before;
        if bytes.len() as u64 > most {
            return Err(format!("is longer than {}", crate::config::units::exact_size(most)));
        }
        Ok(Some(bytes))
    }
}

/// The operator's folder of tenants. Blocks.
///
/// # Errors
/// When it is not there.
pub fn open_directory(directory: &Path) -> io::Result<OwnedFd> {
    Ok(openat(
        CWD,
        directory,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    /// A folder of tenants with two of them.
    fn tenants() -> tempfile::TempDir {
        let tenants = tempfile::tempdir().expect("a temporary folder");
        for host in ["a.org", "b.org"] {
            fs::create_dir_all(tenants.path().join(host).join("plugins")).expect("a folder");
            fs::write(tenants.path().join(host).join("site.toml"), host).expect("a file");
        }
        tenants
    }

    fn open(tenants: &tempfile::TempDir, host: &str) -> Option<Folder> {
        Folder::open(tenants.path(), host, "public").expect("a file system")
    }

    #[test]
    fn nothing_but_files_of_the_folder_is_read() {
        let tenants = tenants();
        let at = |name: &str| tenants.path().join("a.org").join(name);
        symlink("../b.org/site.toml", at("link")).expect("a link");
        symlink("../b.org", at("folder")).expect("a link");
        symlink("b.org", tenants.path().join("alias.org")).expect("a link");
        rustix::fs::mkfifoat(CWD, at("pipe"), Mode::from_raw_mode(0o600)).expect("a pipe");
        fs::write(at("long"), [0; 11]).expect("a file");
        let mut folder = open(&tenants, "a.org").expect("a tenant");
        let mut read = |path: &str| folder.read(Path::new(path), 10);
        assert_eq!(read("site.toml"), Ok(Some(b"a.org".to_vec())));
        assert_eq!(read("none"), Ok(None));
        assert_eq!(read("none/none"), Ok(None));
        for (path, expected) in [
            ("link", "symbolic link"),
            ("pipe", "is no file"),
            ("plugins", "is no file"),
            ("long", "is longer than 10B"),
            ("../b.org/site.toml", "is not a path within"),
            ("/etc/hostname", "is not a path within"),
            ("", "is not a path within"),
        ] {
            let refused = read(path).expect_err(path);
            assert!(refused.contains(expected), "{path}: {refused}");
        }
        // A link to a folder is no folder (ENOTDIR), whatever is behind it.
        assert_eq!(read("folder/site.toml"), Ok(None));
        assert!(open(&tenants, "alias.org").is_none(), "a link is no tenant");
        assert!(open(&tenants, "c.org").is_none());
    }

    #[test]
    fn what_changed_a_moment_ago_is_not_settled() {
        let tenants = tenants();
        let read = |name: &str| {
            let mut folder = open(&tenants, "a.org").expect("a tenant");
            let _ = folder.read(Path::new(name), 100);
            folder
        };
        for name in ["site.toml", "missing.toml"] {
            let folder = read(name);
            let at = |time: Time| UNIX_EPOCH + Duration::from_nanos(u64::try_from(time).expect("after 1970"));
            let changed = match folder.seen.files[0].1 {
                Some((.., changed)) => changed,
                None => folder.changed,
            };
            for (later, settled) in [(0, false), (999_999_999, false), (1_000_000_000, true), (-1, true)] {
                assert_eq!(
                    folder.is_settled(at(changed + later), SETTLED),
                    settled,
                    "{name}, {later}"
                );
            }
        }
        let mut folder = read("site.toml");
        folder.torn = true;
        assert!(!folder.is_settled(SystemTime::now() + Duration::from_secs(60), SETTLED));
        // What was not looked at may change all the time.
        let folder = open(&tenants, "a.org").expect("a tenant");
        assert!(folder.is_settled(SystemTime::now(), SETTLED));
    }

    #[test]
    fn what_was_read_is_known_to_have_changed() {
        let tenants = tenants();
        let at = |name: &str| tenants.path().join("a.org").join(name);
        let look = || {
            let mut folder = open(&tenants, "a.org").expect("a tenant");
            let _ = folder.read(Path::new("site.toml"), 100);
            let _ = folder.read(Path::new("plugins/new.wasm"), 100);
            folder.into_seen()
        };
        let is_as = |seen: &Seen| open(&tenants, "a.org").expect("a tenant").is_as(seen);
        let seen = look();
        fs::write(at("other"), "").expect("a file");
        assert!(is_as(&seen), "nobody read it");
        fs::write(at("plugins/new.wasm"), "").expect("a file");
        assert!(!is_as(&seen), "what was missing came");
        let seen = look();
        fs::write(at("aside"), "c.org").expect("a file");
        fs::rename(at("aside"), at("site.toml")).expect("a file");
        assert!(!is_as(&seen), "another file of the same length");
        let seen = look();
        fs::create_dir(at("public")).expect("a folder");
        assert!(!is_as(&seen), "what is served came");
        let seen = look();
        fs::remove_file(at("site.toml")).expect("a file");
        assert!(!is_as(&seen));
        let seen = look();
        fs::rename(tenants.path().join("a.org"), tenants.path().join("old")).expect("a folder");
        fs::rename(tenants.path().join("b.org"), tenants.path().join("a.org")).expect("a folder");
        fs::remove_file(at("site.toml")).expect("a file");
        assert!(!is_as(&seen), "another folder");
    }
}
