//! Disks that fail, lie or do not answer, by a file system of our own in user space.
use crate::support::{Ask, Tree, all_of, get, rest, say};
use disks::{DiskFile, Fault, Refusal};
use std::{sync::Arc, time::Duration};
use tempfile::TempDir;
use wasmserve_files::{FileSpan, Files, FilesOptions, Found, Listings, OpenFile};

const LENGTH: u64 = 300_000;

/// Where `eio` ends: on a page, and within the second piece that is read.
const GOOD: u64 = 98_304;

/// A mounted disk and a site on it.
struct Disk {
    faulty: disks::Disk,
    files: Files,
    directory: TempDir,
}

impl Disk {
    /// `None` where tests may go without.
    fn mount() -> Option<Self> {
        let file = |name: &str, fault| DiskFile {
            name: name.into(),
            content: vec![b'd'; LENGTH as usize],
            fault,
        };
        Self::holding([
            file("good", Fault::None),
            file("eio", Fault::FailsFrom(GOOD)),
            file("short", Fault::EndsAt(GOOD)),
            file("gated-read", Fault::HeldAtRead { longest: 1000 }),
            file("gated-open", Fault::HeldAtOpen),
            file("gated-flush", Fault::HeldAtFlush),
            file("forbidden", Fault::Refused(Refusal::Forbidden)),
            file("broken", Fault::Refused(Refusal::Broken)),
        ])
    }

    fn holding(files: impl IntoIterator<Item = DiskFile>) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let faulty = disks::Disk::mount(directory.path(), files)?;
        let mut options = FilesOptions::new(directory.path());
        options.roots[0].1.precompressed.clear();
        let files = Files::new(options).unwrap();
        Some(Self {
            faulty,
            files,
            directory,
        })
    }

    async fn open(&self, path: &str) -> Arc<OpenFile> {
        open(&self.files, path).await
    }
}

/// Short files of which one thing waits, `0`, `1` and so on.
fn held(count: usize, fault: Fault) -> impl Iterator<Item = DiskFile> {
    (0..count).map(move |number| DiskFile {
        name: number.to_string(),
        content: b"held".to_vec(),
        fault,
    })
}

async fn open(files: &Files, path: &str) -> Arc<OpenFile> {
    match Ask::new(path).of(files).await {
        Found::File(selected) => selected.source.file().expect("a file").clone(),
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
    disk.faulty.shrink("good", 1000);
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
    until("64 reads at the disk", || disk.faulty.waiting() >= 64).await;
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
    assert_eq!(disk.faulty.waiting(), 64, "nobody was let through");
    assert!(reads.iter().all(|read| !read.is_finished()));
    disk.faulty.release();
    for read in reads {
        assert_eq!(read.await.unwrap().unwrap(), vec![b'd'; 1000]);
    }
}

#[tokio::test]
async fn opens_that_hang_are_bounded_and_refused_beyond() {
    let Some(disk) = Disk::holding(held(1200, Fault::HeldAtOpen)) else {
        return;
    };
    let disk = Arc::new(disk);
    let lookups: Vec<_> = (0..1200)
        .map(|i| {
            let disk = Arc::clone(&disk);
            tokio::spawn(async move { Ask::new(&format!("/{i}")).of(&disk.files).await })
        })
        .collect();
    until("the refusals", || {
        lookups.iter().filter(|lookup| lookup.is_finished()).count() >= 144
    })
    .await;
    until("32 opens at the disk, as many as one root may have under way", || {
        disk.faulty.waiting() == 32
    })
    .await;
    let tree = Tree::new();
    tree.write("a", "a");
    assert_eq!(get(&tree.files(), "/a").await, "file a");
    disk.faulty.release();
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

/// A disk that is mounted somewhere beneath a root hangs: what lies beside it is opened, looked up and listed as ever,
/// though nothing of it was asked for before.
#[tokio::test]
async fn a_mount_that_hangs_is_not_felt_beside_it() {
    for fault in [
        Fault::HeldAtLookup,
        Fault::HeldAtOpen,
        Fault::HeldAtRead { longest: u32::MAX },
    ] {
        let tree = Tree::new();
        for i in 0..100 {
            tree.write(&format!("{i}"), format!("{i}"))
                .write(&format!("deep/er/{i}"), format!("{i}"));
        }
        std::fs::create_dir(tree.root().join("mount")).unwrap();
        let Some(disk) = disks::Disk::mount(&tree.root().join("mount"), held(200, fault)) else {
            return;
        };
        let files = Arc::new(tree.files_with(|root| root.listing = Listings::On));
        let lookups: Vec<_> = (0..200)
            .map(|i| {
                let files = Arc::clone(&files);
                tokio::spawn(async move { get(&files, &format!("/mount/{i}")).await })
            })
            .collect();
        until("as many waiting as one root may have on a device", || {
            disk.waiting() == 32
        })
        .await;
        for i in 0..100 {
            assert_eq!(get(&files, &format!("/{i}")).await, format!("file {i}"), "{fault:?}");
            assert_eq!(
                get(&files, &format!("/deep/er/{i}")).await,
                format!("file {i}"),
                "{fault:?}"
            );
            assert_eq!(get(&files, &format!("/nothing/{i}")).await, "missing 404", "{fault:?}");
        }
        let placed = Ask::new("/1").place("default", "/deep/er").of(&files).await;
        assert_eq!(say(placed).await, "file 1");
        assert_eq!(get(&files, "/deep/").await, "listing");
        assert_eq!(disk.waiting(), 32, "nobody was let through");
        assert!(lookups.iter().all(|lookup| !lookup.is_finished()));
        disk.release();
        for lookup in lookups {
            assert_eq!(lookup.await.unwrap(), "file held", "{fault:?}");
        }
    }
}

/// The kernel cannot always name a mount without waiting while others are made and unmade; what waits for it is counted
/// as its own all the same, and not as its neighbours'.
#[tokio::test]
async fn a_mount_that_hangs_is_told_apart_while_others_come_and_go() {
    let (tree, elsewhere) = (Tree::new(), tempfile::tempdir().unwrap());
    tree.write("beside", "beside");
    std::fs::create_dir_all(tree.root().join("a/b/mount")).unwrap();
    let disk = disks::Disk::mount(&tree.root().join("a/b/mount"), held(1000, Fault::HeldAtOpen));
    let (Some(disk), Some(mounting)) = (disk, disks::Mounting::begin(elsewhere.path())) else {
        return;
    };
    let files = Arc::new(tree.files());
    let mut lookups = Vec::new();
    for i in 0..1000 {
        let files = Arc::clone(&files);
        lookups.push(tokio::spawn(
            async move { get(&files, &format!("/a/b/mount/{i}")).await },
        ));
        // While the other thread runs, so that many of them are looked for at the time of a mount.
        let before = mounting.mounts();
        let another = async {
            while mounting.mounts() == before {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), another)
            .await
            .expect("another mount");
    }
    until("as many waiting as one root may have on a device", || {
        disk.waiting() == 32
    })
    .await;
    assert_eq!(get(&files, "/beside").await, "file beside");
    assert_eq!(disk.waiting(), 32, "nobody was let through");
    disk.release();
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap(), "file held");
    }
}

/// Many sites on one disk that hangs: together they hold no more threads than it is given.
#[tokio::test]
async fn a_disk_that_hangs_holds_a_bounded_number_of_threads_for_all_roots() {
    let Some(disk) = Disk::holding(held(200, Fault::HeldAtOpen)) else {
        return;
    };
    let lookups: Vec<_> = (0..20)
        .map(|_| Arc::new(Files::new(FilesOptions::new(disk.directory.path())).unwrap()))
        .flat_map(|files| (0..20).map(move |i| (Arc::clone(&files), i)))
        .map(|(files, i)| tokio::spawn(async move { get(&files, &format!("/{i}")).await }))
        .collect();
    until("64 opens at the disk", || disk.faulty.waiting() >= 64).await;
    let tree = Tree::new();
    for i in 0..100 {
        tree.write(&format!("{i}"), format!("{i}"));
    }
    let files = tree.files();
    for i in 0..100 {
        assert_eq!(get(&files, &format!("/{i}")).await, format!("file {i}"));
    }
    assert_eq!(disk.faulty.waiting(), 64, "400 ask");
    disk.faulty.release();
    for lookup in lookups {
        assert_eq!(lookup.await.unwrap(), "file held");
    }
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
    until("the open", || disk.faulty.waiting() == 1).await;
    // Whoever asked first going away changes nothing for the others.
    asking[0].abort();
    disk.faulty.release();
    let mut opened = Vec::new();
    for asked in asking.into_iter().skip(1) {
        opened.push(asked.await.unwrap());
    }
    assert!(opened.iter().all(|file| Arc::ptr_eq(file, &opened[0])));
    assert!(disk.faulty.opens() <= 2, "once, and once more for him who went away");
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
    until("the open", || disk.faulty.waiting() == 1).await;
    disk.files.protect(vec![disk.directory.path().join("gated-open")]);
    let meanwhile = ask();
    tokio::task::yield_now().await;
    disk.faulty.release();
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
    until("the flush", || disk.faulty.waiting() == 1).await;
    let tree = Tree::new();
    tree.write("a", "a");
    assert_eq!(get(&tree.files(), "/a").await, "file a");
    disk.faulty.release();
}

/// Many files are let go of at once, and their disk does not answer: the pool is for others too.
#[tokio::test]
async fn closing_many_files_holds_a_bounded_number_of_threads() {
    let Some(disk) = Disk::holding(held(100, Fault::HeldAtFlush)) else {
        return;
    };
    for i in 0..100 {
        drop(disk.open(&format!("/{i}")).await);
    }
    // The cache is the last to hold them.
    disk.files.protect(Vec::new());
    until("8 flushes", || disk.faulty.waiting() >= 8).await;
    let tree = Tree::new();
    tree.write("a", "a");
    assert_eq!(get(&tree.files(), "/a").await, "file a");
    assert_eq!(disk.faulty.waiting(), 8, "100 are closed");
}
