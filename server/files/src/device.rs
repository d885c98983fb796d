//! The devices that files lie on: whether opening and asking about a file there can make a thread wait, and the share of
//! the blocking pool that reading from it may take. Of the whole process, because the disks are and the pool is.
use crate::lane::{Lane, Lanes};
use rustix::{fd::AsFd, fs::fstatfs, io::Result};
use std::{
    collections::HashMap,
    sync::{
        Arc, LazyLock, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Reads of one device that run at once. tokio's pool has 512 threads; a disk's own queue is rarely deeper than this.
const READERS: usize = 64;

/// Opens and look-ups on one device that run at once, for all roots together, unless the device is known to be local: so
/// that one that hangs takes these, its [`READERS`] and its [`CLOSERS`] from the pool and no more. What waits beyond is
/// bounded by the queues of the roots.
const OPENERS: usize = 64;

/// Descriptors of one device that are closed at once. What waits beyond is bounded by the descriptors that may be open.
const CLOSERS: usize = 8;

/// How long a device number is believed to mean the same file system. Numbers of unmounted ones are given out again.
const BELIEVED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) nature: Nature,
    /// Whether the file system can tell when a read would block (RWF_NOWAIT); believed until it says no.
    pub(crate) tells: AtomicBool,
    /// Reading bodies waits for its turn without a bound: every response has at most one read under way.
    pub(crate) readers: Lane,
    /// Closing may wait for the server of a remote file system.
    pub(crate) closers: Lane,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// There is no disk to wait for, so that reading needs no asking (tmpfs cannot tell what would block: swap may).
    Memory,
    /// Names and metadata that the kernel has cached are had without waiting, and opening is only bookkeeping.
    Local,
    /// Opening, asking or closing may wait for a server or a process (NFS, SMB, FUSE; whatever is not known).
    Remote,
}

/// By number, with the time when that was last seen to be so.
type Seen = HashMap<u64, (Arc<Device>, Instant)>;

static DEVICES: LazyLock<RwLock<Seen>> = LazyLock::new(RwLock::default);

static OPENING: LazyLock<Lanes> = LazyLock::new(|| Lanes::new(OPENERS, usize::MAX));

/// The lane that opening and looking up on a device has to go through beside its root's; `None` on a local one.
pub(crate) fn openers(number: u64) -> Option<Arc<Lane>> {
    let local = Device::known(number).is_some_and(|device| device.nature != Nature::Remote);
    (!local).then(|| OPENING.of(number))
}

impl Device {
    /// The device of this number, when it is known.
    pub(crate) fn known(number: u64) -> Option<Arc<Self>> {
        let devices = DEVICES.read().unwrap_or_else(|poisoned| poisoned.into_inner());
        devices
            .get(&number)
            .filter(|(_, at)| at.elapsed() < BELIEVED)
            .map(|(device, _)| Arc::clone(device))
    }

    /// The device of this number, on which the descriptor is. May block.
    pub(crate) fn of(number: u64, descriptor: impl AsFd) -> Result<Arc<Self>> {
        if let Some(known) = Self::known(number) {
            return Ok(known);
        }
        let nature = Nature::of(fstatfs(descriptor)?.f_type as u64);
        let mut devices = DEVICES.write().unwrap_or_else(|poisoned| poisoned.into_inner());
        let (device, at) = devices
            .entry(number)
            .or_insert_with(|| (Arc::new(Self::new(nature)), Instant::now()));
        if device.nature != nature {
            *device = Arc::new(Self::new(nature));
        }
        *at = Instant::now();
        Ok(Arc::clone(device))
    }

    fn new(nature: Nature) -> Self {
        Self {
            nature,
            tells: AtomicBool::new(true),
            readers: Lane::new(READERS, usize::MAX),
            closers: Lane::new(CLOSERS, usize::MAX),
        }
    }

    pub(crate) fn cannot_tell(&self) {
        self.tells.store(false, Ordering::Relaxed);
    }
}

impl Nature {
    /// By the magic number of statfs(2).
    fn of(magic: u64) -> Self {
        match magic & 0xffff_ffff {
            // tmpfs, ramfs
            0x0102_1994 | 0x8584_58f6 => Self::Memory,
            // ext2 to ext4, xfs, btrfs, zfs, f2fs, bcachefs, overlayfs, squashfs, erofs, iso9660
            0xef53 | 0x5846_5342 | 0x9123_683e | 0x2fc1_2fc1 | 0xf2f5_2010 | 0xca45_1a4e | 0x794c_7630
            | 0x7371_7368 | 0xe0f5_e1e2 | 0x9660 => Self::Local,
            _ => Self::Remote,
        }
    }
}
