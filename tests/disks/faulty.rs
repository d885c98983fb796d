//! The file system behind a disk: what the kernel asks, and how each fault answers.
use super::{DiskFile, Fault, Refusal};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, InitFlags, KernelConfig,
    LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};
use std::{
    ffi::OsStr,
    io,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, UNIX_EPOCH},
};

/// How long the kernel may keep what it was told.
const KEEP: Duration = Duration::from_secs(3600);

/// Inode numbers of files begin after the root's.
const FIRST_FILE: u64 = 2;

/// What the kernel talks to.
pub(super) struct Faulty(pub(super) Arc<Shared>);

/// What the disk's owner and the kernel's requests share.
pub(super) struct Shared {
    files: Vec<Served>,
    pub(super) gate: Gate,
    pub(super) opens: AtomicUsize,
    pub(super) reading: AtomicUsize,
}

/// A file as it is now.
pub(super) struct Served {
    file: DiskFile,
    /// The length that the disk tells.
    pub(super) told: AtomicU64,
}

/// Where held requests wait.
#[derive(Default)]
pub(super) struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(files: Vec<DiskFile>) -> Self {
        let serve = |file: DiskFile| Served {
            told: AtomicU64::new(file.content.len() as u64),
            file,
        };
        Self {
            files: files.into_iter().map(serve).collect(),
            gate: Gate::default(),
            opens: AtomicUsize::new(0),
            reading: AtomicUsize::new(0),
        }
    }

    /// The file of a name and its inode number.
    pub(super) fn named(&self, name: &OsStr) -> Option<(u64, &Served)> {
        (FIRST_FILE..)
            .zip(&self.files)
            .find(|(_, served)| *served.file.name == *name)
    }

    fn served(&self, inode: INodeNo) -> Option<&Served> {
        self.files
            .get(usize::try_from(u64::from(inode).checked_sub(FIRST_FILE)?).ok()?)
    }

    fn fault(&self, inode: INodeNo) -> Fault {
        self.served(inode).map_or(Fault::None, |served| served.file.fault)
    }

    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let served = self.served(inode);
        let moment = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        FileAttr {
            ino: inode,
            size: served.map_or(0, |served| served.told.load(Ordering::SeqCst)),
            blocks: 1,
            atime: moment,
            mtime: moment,
            ctime: moment,
            crtime: moment,
            kind: if served.is_some() {
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

    /// Answers once the gate is open, without keeping the next request from being read.
    fn hold(self: &Arc<Self>, answer: impl FnOnce() + Send + 'static) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            shared.gate.pass();
            answer();
        });
    }

    /// Answers now, or once the gate is open.
    fn answer(self: &Arc<Self>, held: bool, answer: impl FnOnce() + Send + 'static) {
        if held { self.hold(answer) } else { answer() }
    }

    /// Answers after a while.
    fn delay(self: &Arc<Self>, delay: Duration, answer: impl FnOnce() + Send + 'static) {
        let shared = Arc::clone(self);
        shared.reading.fetch_add(1, Ordering::SeqCst);
        thread::spawn(move || {
            thread::sleep(delay);
            shared.reading.fetch_sub(1, Ordering::SeqCst);
            answer();
        });
    }
}

// === impl Served ===

impl Served {
    /// What is read at an offset.
    fn read(&self, offset: u64, size: u32) -> Result<Vec<u8>, Errno> {
        let content = match self.file.fault {
            Fault::EndsAt(end) => &self.file.content[..usize::try_from(end).unwrap_or(usize::MAX)],
            _ => &self.file.content,
        };
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let end = (start + size as usize).min(content.len());
        match self.file.fault {
            Fault::FailsFrom(at) if end as u64 > at => Err(Errno::EIO),
            _ => Ok(content[start..end].to_vec()),
        }
    }
}

// === impl Faulty ===

impl Filesystem for Faulty {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        // Several names at once, so that one that is held keeps no other from being asked for. Old kernels do without.
        let _ = config.add_capabilities(InitFlags::FUSE_PARALLEL_DIROPS);
        Ok(())
    }

    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let Some((inode, served)) = self.0.named(name) else {
            return reply.error(Errno::ENOENT);
        };
        match served.file.fault {
            Fault::Refused(Refusal::Forbidden) => reply.error(Errno::EACCES),
            Fault::Refused(Refusal::Broken) => reply.error(Errno::EIO),
            fault => {
                let attributes = self.0.attributes(INodeNo(inode));
                self.0.answer(fault == Fault::HeldAtLookup, move || {
                    reply.entry(&KEEP, &attributes, Generation(0));
                });
            }
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&KEEP, &self.0.attributes(inode));
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.0.opens.fetch_add(1, Ordering::SeqCst);
        let fault = self.0.fault(inode);
        // Without the page cache in between each read is a request of its own, and what is answered is what is read.
        let flags = match fault {
            Fault::None => FopenFlags::empty(),
            _ => FopenFlags::FOPEN_DIRECT_IO,
        };
        self.0
            .answer(fault == Fault::HeldAtOpen, move || reply.opened(FileHandle(0), flags));
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
        let Some(served) = self.0.served(inode) else {
            return reply.error(Errno::ENOENT);
        };
        let data = match served.read(offset, size) {
            Ok(data) => data,
            Err(error) => return reply.error(error),
        };
        match served.file.fault {
            Fault::SlowToRead(delay) => self.0.delay(delay, move || reply.data(&data)),
            Fault::HeldAtRead { longest } if size <= longest => self.0.hold(move || reply.data(&data)),
            _ => reply.data(&data),
        }
    }

    fn flush(&self, request: &Request, inode: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        // A child that another test starts has copies of all descriptors until it runs its program, which closes them.
        let ours = std::path::Path::new("/proc/self/task")
            .join(request.pid().to_string())
            .exists();
        let held = ours && self.0.fault(inode) == Fault::HeldAtFlush;
        self.0.answer(held, move || reply.ok());
    }
}

// === impl Gate ===

impl Gate {
    pub(super) fn waiting(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).waiting
    }

    pub(super) fn open(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).open = true;
        self.changed.notify_all();
    }

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
