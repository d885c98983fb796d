//! What the file system says of an open descriptor.
use crate::etag::SETTLED_AFTER;
use rustix::{
    fd::AsFd,
    fs::{AtFlags, FileType, Statx, StatxFlags, makedev, statx},
    io::Result,
};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

/// What tells one file from another, whatever it is called: its device and inode numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) inode: u64,
}

impl Identity {
    pub(crate) fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// A point in time as the file system keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

impl Timestamp {
    /// The same, to the nanosecond.
    pub(crate) fn system_time(self) -> SystemTime {
        let whole = Duration::from_secs(self.seconds.unsigned_abs());
        let second = if self.seconds < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(whole)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(whole)
        };
        let exact = second.and_then(|second| second.checked_add(Duration::from_nanos(self.nanoseconds.into())));
        // Linux's SystemTime holds the same 64 bits of seconds; elsewhere a time that cannot be is as good as none.
        exact.unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether it was so long ago that nothing that happens now is given the same.
    pub(crate) fn is_settled(self) -> bool {
        let age = self.system_time().elapsed();
        age.is_ok_and(|age| age >= SETTLED_AFTER)
    }
}

/// What the file system says of a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) identity: Identity,
    pub(crate) kind: FileType,
    /// Hard links.
    pub(crate) links: u32,
    pub(crate) length: u64,
    pub(crate) modified: Timestamp,
    /// Of the inode: also set when somebody sets `modified` back.
    pub(crate) changed: Timestamp,
}

/// Whether to ask the server of a network or user-space file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// What this machine knows already: never waits for anybody.
    Known,
    /// What is so now.
    Asked,
}

impl Stat {
    pub(crate) fn of(descriptor: impl AsFd, freshness: Freshness) -> Result<Self> {
        Self::at(descriptor, c"", AtFlags::EMPTY_PATH, freshness)
    }

    /// Of a name in a directory, not following a link.
    pub(crate) fn of_entry(directory: impl AsFd, name: &std::ffi::CStr) -> Result<Self> {
        Self::at(directory, name, AtFlags::SYMLINK_NOFOLLOW, Freshness::Asked)
    }

    fn at(directory: impl AsFd, name: &std::ffi::CStr, flags: AtFlags, freshness: Freshness) -> Result<Self> {
        let sync = match freshness {
            Freshness::Known => AtFlags::STATX_DONT_SYNC,
            Freshness::Asked => AtFlags::empty(),
        };
        let found = statx(directory, name, flags | sync, StatxFlags::BASIC_STATS)?;
        Ok(Self::from(&found))
    }

    /// Whether the file was modified so long ago that a second write cannot hide behind the same time.
    pub(crate) fn has_settled(&self) -> bool {
        self.modified.is_settled()
    }

    /// Whether this is the version of the file that `other` is. `changed` does not count: it is also set when the file is
    /// renamed, replaced or linked to, which leaves what is being sent as it was.
    pub(crate) fn same_version(&self, other: &Self) -> bool {
        self.identity == other.identity && self.length == other.length && self.modified == other.modified
    }
}

impl From<&Statx> for Stat {
    fn from(found: &Statx) -> Self {
        let timestamp = |t: rustix::fs::StatxTimestamp| Timestamp {
            seconds: t.tv_sec,
            nanoseconds: t.tv_nsec,
        };
        Self {
            identity: Identity {
                device: makedev(found.stx_dev_major, found.stx_dev_minor),
                inode: found.stx_ino,
            },
            kind: FileType::from_raw_mode(found.stx_mode.into()),
            links: found.stx_nlink,
            length: found.stx_size,
            modified: timestamp(found.stx_mtime),
            changed: timestamp(found.stx_ctime),
        }
    }
}
