//! Disks that fail, lie or do not answer, by a file system of our own in user space.
//!
//! Where there is no /dev/fuse, or it may not be used, these tests say so and pass: there is no disk to fail.
use crate::support::{Ask, Tree, all_of, get, rest, say};
use fuser::{
    BackgroundSession, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyOpen, Request,
};
use std::{
    ffi::OsStr,
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, UNIX_EPOCH},
};
use tempfile::TempDir;
use wasmserve_files::{FileSpan, Files, FilesOptions, Found, OpenFile};

const LENGTH: u64 = 300_000;

/// Where `eio` ends: on a page, and within the second piece that is read.
const GOOD: u64 = 98_304;

/// The directory's files.
const NAMES: [&str; 6] = ["good", "eio", "short", "gated-read", "gated-open", "gated-flush"];

/// Inodes of `gated-open-0` and so on, which are opened as `gated-open` is.
const MANY: u64 = 1000;

/// Some answers wait until it is opened.
#[derive(Default)]
struct Gate {
    open: Mutex<bool>,
    opened: Condvar,
    waiting: AtomicUsize,
}

impl Gate {
    fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut open = self.open.lock().unwrap();
        while !*open {
            open = self.opened.wait(open).unwrap();
        }
    }

    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }
}

struct Faulty {
    gate: Arc<Gate>,
    opens: Arc<AtomicUsize>,
    /// `good` is shorter now.
    shrunk: Arc<AtomicBool>,
}

impl Faulty {
    fn attributes(&self, inode: INodeNo) -> FileAttr {
        let directory = inode == INodeNo::ROOT;
        let shrunk = self.shrunk.load(Ordering::SeqCst) && inode == INodeNo(2);
        FileAttr {
            ino: inode,
            size: if shrunk { 1000 } else { LENGTH },
            blocks: 1,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if directory {
                FileType::Directory
            } else {
                FileType::RegularFile
            },
            perm: 0o755,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }

    fn name(inode: INodeNo) -> &'static str {
        if u64::from(inode) >= MANY {
            return "gated-open";
        }
        usize::try_from(u64::from(inode))
            .ok()
            .and_then(|inode| NAMES.get(inode.wrapping_sub(2)))
            .unwrap_or(&"")
    }
}

impl Filesystem for Faulty {
    fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let name = name.to_str().unwrap();
        let forever = Duration::from_secs(1000);
        if let Some(index) = NAMES.iter().position(|known| *known == name) {
            reply.entry(&forever, &self.attributes(INodeNo(index as u64 + 2)), Generation(0));
        } else if name == "forbidden" {
            reply.error(Errno::EACCES);
        } else if name == "broken" {
            reply.error(Errno::EIO);
        } else if let Some(number) = name.strip_prefix("gated-open-") {
            let inode = INodeNo(MANY + number.parse::<u64>().unwrap());
            reply.entry(&forever, &self.attributes(inode), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, inode: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&Duration::from_secs(1000), &self.attributes(inode));
    }

    fn open(&self, _request: &Request, inode: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        self.opens.fetch_add(1, Ordering::SeqCst);
        let name = Self::name(inode);
        // Without the page cache in between what is answered here is what is read.
        let flags = if name == "good" {
            FopenFlags::empty()
        } else {
            FopenFlags::FOPEN_DIRECT_IO
        };
        let gate = Arc::clone(&self.gate);
        if name == "gated-open" {
            std::thread::spawn(move || {
                gate.pass();
                reply.opened(FileHandle(0), flags);
            });
        } else {
            reply.opened(FileHandle(0), flags);
        }
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
        let end = match Self::name(inode) {
            "short" => GOOD,
            _ => LENGTH,
        };
        let size = end.saturating_sub(offset).min(size.into()) as usize;
        let data = vec![b'd'; size];
        match Self::name(inode) {
            "eio" if offset + size as u64 > GOOD => reply.error(Errno::EIO),
            // What the test reads; the kernel reads ahead in pages.
            "gated-read" if size <= 1000 => {
                let gate = Arc::clone(&self.gate);
                std::thread::spawn(move || {
                    gate.pass();
                    reply.data(&data);
                });
            }
            _ => reply.data(&data),
        }
    }

    fn flush(&self, _request: &Request, inode: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        if Self::name(inode) == "gated-flush" {
            let gate = Arc::clone(&self.gate);
            std::thread::spawn(move || {
                gate.pass();
                reply.ok();
            });
        } else {
            reply.ok();
        }
    }
}

/// A mounted faulty disk. Dropped, everything that waits goes on and it is unmounted.
struct Disk {
    gate: Arc<Gate>,
    opens: Arc<AtomicUsize>,
    shrunk: Arc<AtomicBool>,
    files: Files,
    session: BackgroundSession,
    directory: TempDir,
}

impl Disk {
    /// `None`, and the reason on standard error, where nothing can be mounted.
    fn mount() -> Option<Self> {
        if !std::path::Path::new("/dev/fuse").exists() {
            eprintln!("skipped: there is no /dev/fuse here");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let (gate, opens, shrunk) = (Arc::default(), Arc::default(), Arc::default());
        let system = Faulty {
            gate: Arc::clone(&gate),
            opens: Arc::clone(&opens),
            shrunk: Arc::clone(&shrunk),
        };
        let mut config = fuser::Config::default();
        config.mount_options = vec![MountOption::RO, MountOption::FSName("faulty".into())];
        let session = match fuser::spawn_mount(system, directory.path(), &config) {
            Ok(session) => session,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                eprintln!("skipped: /dev/fuse may not be used here: {error}");
                return None;
            }
            Err(error) => panic!("/dev/fuse is there and cannot be used (is fuse3 installed?): {error}"),
        };
        let mut options = FilesOptions::new(directory.path());
        options.roots[0].1.precompressed.clear();
        let files = Files::new(options).unwrap();
        Some(Self {
            gate,
            opens,
            shrunk,
            files,
            session,
            directory,
        })
    }

    async fn open(&self, path: &str) -> Arc<OpenFile> {
        open(&self.files, path).await
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.gate.open();
        // Lazily: what is still open holds it a little longer.
        let unmounted = std::process::Command::new("fusermount3")
            .arg("-uz")
            .arg(self.directory.path())
            .status();
        // A second panic would hide the first.
        assert!(
            std::thread::panicking() || unmounted.is_ok_and(|status| status.success()),
            "cannot unmount"
        );
    }
}

async fn open(files: &Files, path: &str) -> Arc<OpenFile> {
    match Ask::new(path).of(files).await {
        Found::File(selected) => selected.file,
        found => panic!("{path}: {}", say(found).await),
    }
}

/// Waits for what other threads do; fails the test when it never comes.
async fn until(what: &str, reached: impl Fn() -> bool) {
    for _ in 0..3000 {
        if reached() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen within 30 seconds");
}

#[tokio::test]
async fn a_disk_that_fails_while_a_file_is_sent_ends_the_body() {
    let Some(disk) = Disk::mount() else { return };
    for (path, error) in [("/eio", "Input/output error"), ("/short", "")] {
        let mut span = FileSpan {
            file: disk.open(path).await,
            offset: 0,
            length: LENGTH,
        };
        let mut sent = Vec::new();
        let ended = loop {
            match span.read_next(32 << 10).await {
                Ok(Some(bytes)) => sent.extend_from_slice(&bytes),
                ended => break ended,
            }
        };
        let ended = ended.expect_err("fewer bytes than promised").to_string();
        assert!(ended.contains(error), "{path}: {ended}");
        assert!(sent.iter().all(|byte| *byte == b'd'), "{path}: no padding");
        // Reading ahead may find out early that a file is shorter than it says.
        let complete = if path == "/eio" { GOOD } else { 0 };
        assert!(
            (complete..=GOOD).contains(&(sent.len() as u64)),
            "{path}: {} bytes",
            sent.len()
        );
    }
}

#[tokio::test]
async fn a_remote_file_that_shrinks_ends_the_body() {
    let Some(disk) = Disk::mount() else { return };
    let file = disk.open("/good").await;
    assert_eq!(all_of(&file).await.unwrap().len(), LENGTH as usize);
    disk.shrunk.store(true, Ordering::SeqCst);
    disk.session.notifier().inval_inode(INodeNo(2), 0, 0).unwrap();
    // Somebody else asks, and this machine learns.
    std::fs::metadata(disk.directory.path().join("good")).unwrap();
    assert!(all_of(&file).await.is_err());
}

#[tokio::test]
async fn errors_of_the_disk_are_told_apart() {
    let Some(disk) = Disk::mount() else { return };
    assert_eq!(get(&disk.files, "/forbidden").await, "failed 403");
    assert_eq!(get(&disk.files, "/broken").await, "failed 500");
    assert_eq!(get(&disk.files, "/nothing").await, "missing 404");
    // The search ends at what fails; it does not at what is not there.
    assert_eq!(
        say(Ask::new("/x").targets(&["/forbidden", "/good"]).of(&disk.files).await).await,
        "failed 403"
    );
    assert!(matches!(
        Ask::new("/x").targets(&["/nothing", "/good"]).of(&disk.files).await,
        Found::File(_)
    ));
}

/// On one worker: whatever blocked it would block everything here.
#[tokio::test]
async fn reads_that_hang_are_felt_by_nobody_else() {
    let Some(disk) = Disk::mount() else { return };
    let tree = Tree::new();
    for i in 0..200 {
        tree.write(&format!("{i}"), vec![b'x'; 50_000]);
        rest(&tree.root().join(format!("{i}")));
    }
    let file = disk.open("/gated-read").await;
    let reads: Vec<_> = (0..200_u64)
        .map(|i| {
            let file = Arc::clone(&file);
            tokio::spawn(async move { file.read_at(i * 1000, 1000).await })
        })
        .collect();
    // As many as one device may have under way; the others wait without a thread.
    until("64 reads at the disk", || disk.gate.waiting() >= 64).await;
    let files = tree.files();
    for round in 0..2 {
        for i in 0..200 {
            let file = open(&files, &format!("/{i}")).await;
            if round == 0 {
                // Cold: it has to go to the blocking pool and find room there.
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
            }
            assert_eq!(all_of(&file).await.unwrap().len(), 50_000);
        }
    }
    assert_eq!(disk.gate.waiting(), 64, "nobody was let through");
    assert!(reads.iter().all(|read| !read.is_finished()));
    disk.gate.open();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap(), vec![b'd'; 1000]);
    }
}

#[tokio::test]
async fn opens_that_hang_are_bounded_and_refused_beyond() {
    let Some(disk) = Disk::mount() else { return };
    let disk = Arc::new(disk);
    let lookups: Vec<_> = (0..1200)
        .map(|i| {
            let disk = Arc::clone(&disk);
            tokio::spawn(async move { Ask::new(&format!("/gated-open-{i}")).of(&disk.files).await })
        })
        .collect();
    until("the refusals", || {
        lookups.iter().filter(|lookup| lookup.is_finished()).count() >= 144
    })
    .await;
    until("32 opens at the disk, as many as one root may have under way", || {
        disk.gate.waiting() == 32
    })
    .await;
    let tree = Tree::new();
    tree.write("a", "a");
    assert_eq!(get(&tree.files(), "/a").await, "file a");
    disk.gate.open();
    let (mut refused, mut opened) = (0, 0);
    for lookup in lookups {
        match lookup.await.unwrap() {
            Found::Failed {
                status: http::StatusCode::SERVICE_UNAVAILABLE,
                retry_after: Some(_),
            } => refused += 1,
            Found::File(_) => opened += 1,
            found => panic!("{}", say(found).await),
        }
    }
    // 32 under way and 1024 in the queue.
    assert_eq!((opened, refused), (1056, 144));
}

#[tokio::test]
async fn many_who_ask_for_one_file_open_it_once() {
    let Some(disk) = Disk::mount() else { return };
    let disk = Arc::new(disk);
    let asking: Vec<_> = (0..100)
        .map(|_| {
            let disk = Arc::clone(&disk);
            tokio::spawn(async move { disk.open("/gated-open").await })
        })
        .collect();
    until("the open", || disk.gate.waiting() == 1).await;
    // Whoever asked first going away changes nothing for the others.
    asking[0].abort();
    disk.gate.open();
    let mut opened = Vec::new();
    for asked in asking.into_iter().skip(1) {
        opened.push(asked.await.unwrap());
    }
    assert!(opened.iter().all(|file| Arc::ptr_eq(file, &opened[0])));
    assert!(
        disk.opens.load(Ordering::SeqCst) <= 2,
        "once, and once more for him who went away"
    );
}

/// What somebody began to load before the protected set was replaced is not given to those who ask after it was.
#[tokio::test]
async fn a_load_under_way_does_not_outlive_the_protected_set() {
    let Some(disk) = Disk::mount() else { return };
    let disk = Arc::new(disk);
    let ask = || {
        let disk = Arc::clone(&disk);
        tokio::spawn(async move { say(Ask::new("/gated-open").of(&disk.files).await).await })
    };
    let before = ask();
    until("the open", || disk.gate.waiting() == 1).await;
    disk.files.protect(vec![disk.directory.path().join("gated-open")]);
    let meanwhile = ask();
    tokio::task::yield_now().await;
    disk.gate.open();
    assert!(
        before.await.unwrap().starts_with("file ddd"),
        "it was asked for under the former set"
    );
    assert_eq!(meanwhile.await.unwrap(), "missing 404");
    assert_eq!(ask().await.unwrap(), "missing 404");
}

/// Closing a file of a remote file system may wait for its server.
#[tokio::test]
async fn closing_does_not_wait_for_the_disk() {
    let Some(disk) = Disk::mount() else { return };
    let mut options = FilesOptions::new(disk.directory.path());
    options.cache.descriptors = 0;
    let files = Files::new(options).unwrap();
    drop(open(&files, "/gated-flush").await);
    until("the flush", || disk.gate.waiting() == 1).await;
    let tree = Tree::new();
    tree.write("a", "a");
    assert_eq!(get(&tree.files(), "/a").await, "file a");
    disk.gate.open();
}
