//! A disk that fails or hangs on purpose: a file system of this process, in user space.
use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen, Request,
};
use std::{
    ffi::OsStr,
    path::Path,
    process::Command,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, UNIX_EPOCH},
};

/// A file of the disk.
pub struct FaultyFile {
    pub name: String,
    pub content: Vec<u8>,
    pub fault: Fault,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Reading at or past this offset is an input/output error.
    FailsFrom(u64),
    /// Opening it waits until [`Disk::release`].
    HeldAtOpen,
    /// Reading from it waits until [`Disk::release`].
    HeldAtRead,
}

/// A mounted disk. Unmounted when dropped.
pub struct Disk {
    session: Option<BackgroundSession>,
    mounted_at: std::path::PathBuf,
    gate: Arc<Gate>,
}

struct Faulty {
    files: Vec<FaultyFile>,
    gate: Arc<Gate>,
}

/// Where held requests wait.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

/// How long the kernel may keep what it was told.
const KEEP: Duration = Duration::from_secs(3600);

/// Inode numbers of files begin after the root's.
const FIRST_FILE: u64 = 2;

// === impl Disk ===

impl Disk {
    /// Mounts a disk with these files over an empty folder; `None`, with a word on standard error, where the machine
    /// cannot.
    pub fn mount(at: &Path, files: Vec<FaultyFile>) -> Option<Self> {
        let gate = Arc::<Gate>::default();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("faulty".into())];
        match fuser::spawn_mount(
            Faulty {
                files,
                gate: Arc::clone(&gate),
            },
            at,
            &config,
        ) {
            Ok(session) => Some(Self {
                session: Some(session),
                mounted_at: at.to_owned(),
                gate,
            }),
            Err(error) => {
                eprintln!("not tested: this machine mounts no file systems in user space: {error}");
                None
            }
        }
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.gate.state.lock().unwrap_or_else(PoisonError::into_inner).waiting
    }

    /// Lets everything that waits, and will wait, go on.
    pub fn release(&self) {
        self.gate.state.lock().unwrap_or_else(PoisonError::into_inner).open = true;
        self.gate.changed.notify_all();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.release();
        // Lazily: a server under test may still have files open, which an ordinary unmount would wait for.
        let unmounted = Command::new("fusermount3").arg("-uz").arg(&self.mounted_at).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.mounted_at.display());
        }
        drop(self.session.take());
    }
}

// === impl Faulty ===

impl Faulty {
    fn file(&self, inode: INodeNo) -> Option<&FaultyFile> {
        self.files
            .get(usize::try_from(u64::from(inode).checked_sub(FIRST_FILE)?).ok()?)
    }

    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let file = self.file(inode);
        let moment = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        FileAttr {
            ino: inode,
            size: file.map_or(0, |file| file.content.len() as u64),
            blocks: 1,
            atime: moment,
            mtime: moment,
            ctime: moment,
            crtime: moment,
            kind: if file.is_some() {
                FileType::RegularFile
            } else {
                FileType::Directory
            },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        }
    }

    /// Answers now, or once the gate is open.
    fn answer(&self, held: bool, answer: impl FnOnce() + Send + 'static) {
        if held {
            let gate = Arc::clone(&self.gate);
            thread::spawn(move || {
                gate.pass();
                answer();
            });
        } else {
            answer();
        }
    }
}

impl Filesystem for Faulty {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match (FIRST_FILE..).zip(&self.files).find(|(_, file)| *file.name == *name) {
            Some((inode, _)) => reply.entry(&KEEP, &self.attributes(INodeNo(inode)), Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&KEEP, &self.attributes(inode));
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        let held = self.file(inode).is_some_and(|file| file.fault == Fault::HeldAtOpen);
        // Without the page cache in between each read is a request of its own; the kernel bounds how many read-aheads wait.
        self.answer(held, || reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO));
    }

    fn read(
        &self,
        _request: &Request,
        inode: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let Some(file) = self.file(inode) else {
            return reply.error(Errno::ENOENT);
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.content.len());
        let end = (start + size as usize).min(file.content.len());
        match file.fault {
            Fault::FailsFrom(at) if end as u64 > at => reply.error(Errno::EIO),
            fault => {
                let data = file.content[start..end].to_vec();
                self.answer(fault == Fault::HeldAtRead, move || reply.data(&data));
            }
        }
    }
}

// === impl Gate ===

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        let mut state = self
            .changed
            .wait_while(state, |state| !state.open)
            .unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
    }
}
