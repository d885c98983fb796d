//! Disks that fail, hang or are slow on purpose: file systems of this process, in user space (FUSE).
//!
//! A disk has one directory. Each of its files has at most one [`Fault`]; what is held waits until [`Disk::release`].
//!
//! Where nothing can be mounted, tests that need a disk fail, unless [`WITHOUT_FUSE`] says that this is known: a test that
//! returns early looks like one that passed.
#![forbid(unsafe_code)]

mod faulty;
mod mounting;

pub use mounting::Mounting;

use faulty::{Faulty, Shared};
use fuser::{BackgroundSession, Config, INodeNo, MountOption};
use std::{
    io,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

/// The environment variable that lets tests be left out where FUSE cannot be used.
pub const WITHOUT_FUSE: &str = "WASMSERVE_TESTS_WITHOUT_FUSE";

/// A file of a disk.
#[derive(Clone, Debug)]
pub struct DiskFile {
    pub name: String,
    pub content: Vec<u8>,
    pub fault: Fault,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing. Only these files pass through the page cache.
    None,
    /// Looking its name up fails.
    Refused(Refusal),
    /// Reading at or past this offset is an input/output error.
    FailsFrom(u64),
    /// Reading finds its end here, before the length that the disk tells.
    EndsAt(u64),
    /// Looking its name up waits.
    HeldAtLookup,
    /// Opening it waits.
    HeldAtOpen,
    /// Reading up to so many bytes at once waits. What the kernel reads ahead of its own accord is longer than a test's
    /// reads and can be let through.
    HeldAtRead { longest: u32 },
    /// Closing it waits.
    HeldAtFlush,
    /// Each read is answered after this time.
    SlowToRead(Duration),
}

/// Why a name cannot be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// EACCES.
    Forbidden,
    /// EIO.
    Broken,
}

/// A mounted disk. Dropped, it lets go of everything that waits and is unmounted.
pub struct Disk {
    session: Option<BackgroundSession>,
    mounted_at: PathBuf,
    shared: Arc<Shared>,
}

// === impl Disk ===

impl Disk {
    /// Mounts a disk with these files over an empty folder. `None`, with the reason on standard error, where that cannot
    /// be done and [`WITHOUT_FUSE`] is set.
    ///
    /// # Panics
    /// Where that cannot be done otherwise.
    #[track_caller]
    pub fn mount(at: &Path, files: impl IntoIterator<Item = DiskFile>) -> Option<Self> {
        let shared = Arc::new(Shared::new(files.into_iter().collect()));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("faulty".into())];
        match fuser::spawn_mount(Faulty(Arc::clone(&shared)), at, &config) {
            Ok(session) => Some(Self {
                session: Some(session),
                mounted_at: at.to_owned(),
                shared,
            }),
            Err(error) => {
                leave_out(&error);
                None
            }
        }
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mounted_at
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.shared.gate.waiting()
    }

    /// How often files were opened so far.
    pub fn opens(&self) -> usize {
        self.shared.opens.load(Ordering::SeqCst)
    }

    /// How many reads are being answered slowly at this moment.
    pub fn reading(&self) -> usize {
        self.shared.reading.load(Ordering::SeqCst)
    }

    /// Lets everything that waits, and will wait, go on.
    pub fn release(&self) {
        self.shared.gate.open();
    }

    /// Lets a file be shorter from now on, and the kernel know.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn shrink(&self, name: &str, length: u64) {
        let (inode, file) = self.shared.named(name.as_ref()).expect("a file of the disk");
        file.told.store(length, Ordering::SeqCst);
        let session = self.session.as_ref().expect("taken by drop alone");
        session
            .notifier()
            .inval_inode(INodeNo(inode), 0, 0)
            .expect("the kernel takes the note");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.release();
        // Lazily: a server under test may still have files open, which an ordinary unmount would wait for.
        let unmounted = Command::new("fusermount3").arg("-uz").arg(&self.mounted_at).status();
        // A second panic would hide the first.
        assert!(
            std::thread::panicking() || unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.mounted_at.display()
        );
        drop(self.session.take());
    }
}

#[track_caller]
fn leave_out(error: &io::Error) {
    if std::env::var_os(WITHOUT_FUSE).is_some() {
        eprintln!("NOT TESTED ({WITHOUT_FUSE} is set): nothing can be mounted here: {error}");
    } else {
        panic!(
            "nothing can be mounted here: {error}. These tests need /dev/fuse, the right to mount and fusermount3 (Debian's \
             fuse3); set {WITHOUT_FUSE}=1 to leave them out"
        );
    }
}
