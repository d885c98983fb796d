//! A disk that is slow or fails on purpose: a file system in this process, over the kernel's FUSE protocol (version 7.31,
//! `linux/fuse.h`). Only what reading a few files in one folder takes.
//!
//! Needs root and `/dev/fuse`: [`Disk::mount`] says when a machine has neither.
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use std::{
    fs::File,
    io::{Read, Write},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
};
use tempfile::TempDir;

/// A file of the disk.
pub struct DiskFile {
    pub name: String,
    pub content: Vec<u8>,
    pub fault: Fault,
}

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Reading at or past this offset is an input/output error.
    FailsFrom(u64),
    /// Looking it up waits until [`Disk::release`].
    HeldAtLookup,
    /// Reading from it waits until [`Disk::release`].
    HeldAtRead,
}

/// A mounted disk. Unmounted when dropped.
pub struct Disk {
    folder: TempDir,
    device: Arc<Device>,
}

struct Device {
    channel: File,
    files: Vec<DiskFile>,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Default)]
struct Gate {
    open: bool,
    /// Requests that wait.
    held: usize,
}

// Operations of the protocol.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const OPENDIR: u32 = 27;
const READDIR: u32 = 28;
const RELEASEDIR: u32 = 29;
const INTERRUPT: u32 = 36;
const BATCH_FORGET: u32 = 42;

const IN_HEADER: usize = 40;
const ROOT_NODE: u64 = 1;
/// Node numbers of files begin after the root's.
const FIRST_FILE: u64 = 2;

/// One request of the kernel.
struct Request {
    operation: u32,
    unique: u64,
    node: u64,
    body: Vec<u8>,
}

// === impl Disk ===

impl Disk {
    /// Mounts a disk with these files; `None`, with a word on standard error, where the machine cannot.
    pub fn mount(files: Vec<DiskFile>) -> Option<Self> {
        let channel = match File::options().read(true).write(true).open("/dev/fuse") {
            Ok(channel) if rustix::process::geteuid().is_root() => channel,
            _ => {
                eprintln!("not tested: disks that fail need root and /dev/fuse");
                return None;
            }
        };
        let folder = tempfile::tempdir().expect("the machine has room for temporary files");
        // mount(8) hands its own copy of the descriptor to the kernel: it has to inherit it.
        fcntl_setfd(&channel, FdFlags::empty()).expect("the descriptor is open");
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", channel.as_raw_fd());
        let mounted = Command::new("mount")
            .args(["-i", "-t", "fuse", "-o", &options, "disk"])
            .arg(folder.path())
            .status();
        fcntl_setfd(&channel, FdFlags::CLOEXEC).expect("the descriptor is open");
        if !mounted.is_ok_and(|status| status.success()) {
            eprintln!("not tested: this machine does not mount FUSE file systems");
            return None;
        }
        let device = Arc::new(Device {
            channel,
            files,
            gate: Mutex::default(),
            changed: Condvar::new(),
        });
        let served = Arc::clone(&device);
        thread::spawn(move || served.serve());
        Some(Self { folder, device })
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// How many requests wait.
    pub fn held(&self) -> usize {
        self.device.gate.lock().unwrap_or_else(PoisonError::into_inner).held
    }

    /// Lets everything that waits, and will wait, go on.
    pub fn release(&self) {
        self.device.gate.lock().unwrap_or_else(PoisonError::into_inner).open = true;
        self.device.changed.notify_all();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.release();
        unmount(self.folder.path());
    }
}

fn unmount(folder: &Path) {
    // Lazily: a server under test may still have files open.
    if !Command::new("umount")
        .arg("-l")
        .arg(folder)
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("{} stays mounted", folder.display());
    }
}

// === impl Device ===

impl Device {
    /// Answers the kernel until the disk is unmounted.
    fn serve(self: Arc<Self>) {
        let mut buffer = vec![0; 1 << 20];
        while let Ok(length) = (&self.channel).read(&mut buffer) {
            let message = &buffer[..length];
            let request = Request {
                operation: word(message, 4),
                unique: double(message, 8),
                node: double(message, 16),
                body: message[IN_HEADER..].to_vec(),
            };
            if self.is_held(&request) {
                let device = Arc::clone(&self);
                thread::spawn(move || {
                    device.wait();
                    device.answer(&request);
                });
            } else {
                self.answer(&request);
            }
        }
    }

    fn is_held(&self, request: &Request) -> bool {
        match request.operation {
            LOOKUP => self
                .named(&request.body)
                .is_some_and(|(_, file)| file.fault == Fault::HeldAtLookup),
            READ => self
                .file(request.node)
                .is_some_and(|file| file.fault == Fault::HeldAtRead),
            _ => false,
        }
    }

    fn wait(&self) {
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        gate.held += 1;
        gate = self
            .changed
            .wait_while(gate, |gate| !gate.open)
            .unwrap_or_else(PoisonError::into_inner);
        gate.held -= 1;
    }

    fn answer(&self, request: &Request) {
        let answer = match request.operation {
            FORGET | BATCH_FORGET | INTERRUPT => return,
            INIT => Ok(initialized(&request.body)),
            LOOKUP => self
                .named(&request.body)
                .map(|(node, file)| entry(node, file))
                .ok_or(Errno::NOENT),
            GETATTR => Ok([&NEVER_STALE.to_ne_bytes()[..], &[0; 8], &self.attributes(request.node)].concat()),
            OPEN | OPENDIR => Ok(vec![0; 16]),
            READ => self.read(request),
            READDIR | RELEASE | RELEASEDIR | FLUSH => Ok(Vec::new()),
            _ => Err(Errno::NOSYS),
        };
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error.raw_os_error(), Vec::new()),
        };
        let length = u32::try_from(16 + body.len()).expect("no answer is longer than a read");
        let message = [
            &length.to_ne_bytes()[..],
            &error.to_ne_bytes(),
            &request.unique.to_ne_bytes(),
            &body,
        ]
        .concat();
        // The kernel may have given up on the request.
        let _ = (&self.channel).write(&message);
    }

    fn read(&self, request: &Request) -> Result<Vec<u8>, Errno> {
        let file = self.file(request.node).ok_or(Errno::NOENT)?;
        let (offset, size) = (double(&request.body, 8), word(&request.body, 16) as usize);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.content.len());
        let end = (start + size).min(file.content.len());
        match file.fault {
            Fault::FailsFrom(at) if end as u64 > at => Err(Errno::IO),
            _ => Ok(file.content[start..end].to_vec()),
        }
    }

    fn named(&self, name: &[u8]) -> Option<(u64, &DiskFile)> {
        let name = name.strip_suffix(b"\0").unwrap_or(name);
        (FIRST_FILE..)
            .zip(&self.files)
            .find(|(_, file)| file.name.as_bytes() == name)
    }

    fn file(&self, node: u64) -> Option<&DiskFile> {
        self.files.get(usize::try_from(node.checked_sub(FIRST_FILE)?).ok()?)
    }

    fn attributes(&self, node: u64) -> Vec<u8> {
        match self.file(node) {
            Some(file) => attributes(node, 0o100_644, file.content.len() as u64),
            None => attributes(ROOT_NODE, 0o040_755, 0),
        }
    }
}

/// Seconds that the kernel may keep what it was told.
const NEVER_STALE: u64 = 3600;

fn initialized(asked: &[u8]) -> Vec<u8> {
    const VERSION: [u32; 2] = [7, 31];
    const ASYNC_READ: u32 = 1;
    let read_ahead = word(asked, 8).min(128 << 10);
    let requests_at_once: [u16; 2] = [1024, 1024];
    let mut answer = [VERSION[0], VERSION[1], read_ahead, ASYNC_READ]
        .map(u32::to_ne_bytes)
        .concat();
    answer.extend(requests_at_once.map(u16::to_ne_bytes).concat());
    answer.extend([128 << 10, 1].map(u32::to_ne_bytes).concat());
    answer.resize(64, 0);
    answer
}

fn entry(node: u64, file: &DiskFile) -> Vec<u8> {
    let attributes = attributes(node, 0o100_644, file.content.len() as u64);
    let head = [node, 0, NEVER_STALE, NEVER_STALE, 0].map(u64::to_ne_bytes).concat();
    [head, attributes].concat()
}

fn attributes(node: u64, mode: u32, size: u64) -> Vec<u8> {
    const MOMENT: u64 = 1_700_000_000;
    let mut bytes = [node, size, size.div_ceil(512), MOMENT, MOMENT, MOMENT]
        .map(u64::to_ne_bytes)
        .concat();
    bytes.extend([0, 0, 0, mode, 1, 0, 0, 0, 4096, 0].map(u32::to_ne_bytes).concat());
    bytes
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn double(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_disk_gives_what_it_has_and_fails_where_it_should() {
        let file = |name: &str, fault| DiskFile {
            name: name.into(),
            content: crate::pattern(1, 300_000),
            fault,
        };
        let Some(disk) = Disk::mount(vec![
            file("failing", Fault::FailsFrom(0)),
            file("held", Fault::HeldAtRead),
        ]) else {
            return;
        };
        assert!(fs::read(disk.path().join("none")).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound));
        assert!(fs::read(disk.path().join("failing")).is_err_and(|e| e.raw_os_error() == Some(5)));
        let held = disk.path().join("held");
        let reader = thread::spawn(move || fs::read(held));
        crate::eventually("the read waits", || disk.held() > 0);
        disk.release();
        assert!(reader.join().expect("no panic").expect("it was released") == crate::pattern(1, 300_000));
    }
}
