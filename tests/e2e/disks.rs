//! Disks that fail or hang: felt by nobody but who asked for what lies on them, and never as wrong bytes.
use disks::{Disk, DiskFile, Fault};
use std::time::{Duration, Instant};
use support::{Launch, Tree, client::request_head, eventually, pattern};

const LENGTH: usize = 4 << 20;

const HELD_AT_READ: Fault = Fault::HeldAtRead { longest: u32::MAX };

/// A tree with such a disk in its folder `slow`.
fn tree_with(files: impl IntoIterator<Item = (String, usize, Fault)>) -> Option<(Tree, Disk)> {
    let files = files.into_iter().map(|(name, length, fault)| DiskFile {
        name,
        content: pattern(31, length),
        fault,
    });
    let tree = Tree::new()
        .directory("slow")
        .file("file.txt", "content")
        .file("large.bin", pattern(32, LENGTH));
    let disk = Disk::mount(&tree.at("slow"), files)?;
    Some((tree, disk))
}

#[test]
fn a_read_error_ends_the_connection() {
    for (name, from) in [("late.bin", 1 << 20), ("early.bin", 0)] {
        let Some((tree, _disk)) = tree_with([(name.to_owned(), LENGTH, Fault::FailsFrom(from))]) else {
            return;
        };
        let server = Launch::new(&tree).start();
        let target = format!("/slow/{name}");
        for _ in 0..2 {
            let mut connection = server.connect();
            connection.send(request_head("GET", &target, &[]));
            match connection.try_head() {
                Ok(head) if head.status == 200 => {
                    let received = connection.rest();
                    assert!(received.len() as u64 <= from, "bytes that could not be read were sent");
                    assert!(
                        pattern(31, LENGTH).starts_with(&received),
                        "something else was sent in their place"
                    );
                }
                Ok(head) => assert_eq!(head.status, 500, "{head:?}"),
                Err(_) => {}
            }
        }
        if from > 0 {
            let response = server.request("GET", &target, &[("Range", "bytes=0-99")]);
            assert_eq!(response.body, pattern(31, 100), "what can be read is served");
        }
    }
}

/// Two hundred clients wait for a disk that is mounted beneath the root and does not answer; those who want a file beside
/// it do not, whether it was opened before or not.
#[test]
fn a_disk_that_hangs_stops_nobody_else() {
    // Of the longer ones the kernel would copy bytes by itself if it were let.
    for (fault, length) in [
        (HELD_AT_READ, 10_000),
        (Fault::HeldAtOpen, 10_000),
        (Fault::HeldAtLookup, 10_000),
        (HELD_AT_READ, 100_000),
    ] {
        let names = (0..200).map(|n| format!("{n}.bin"));
        let Some((tree, disk)) = tree_with(names.map(|name| (name, length, fault))) else {
            return;
        };
        let server = Launch::new(&tree).arguments(["--sendfile", "always"]).start();
        let cached = || {
            assert_eq!(server.get("/file.txt").text(), "content", "{fault:?}");
            assert!(server.get("/large.bin").body == pattern(32, LENGTH), "{fault:?}");
        };
        let mut asked = 0;
        let mut uncached = || {
            asked += 1;
            tree.write(&format!("new/{asked}.txt"), "new");
            assert_eq!(server.get(&format!("/new/{asked}.txt")).text(), "new", "{fault:?}");
            assert_eq!(server.get(&format!("/no/{asked}.txt")).status, 404, "{fault:?}");
        };
        cached();
        // Dropped before the server: a process cannot die while one of its threads waits for a disk.
        let disk = disk;
        let mut waiting: Vec<_> = (0..200)
            .map(|n| {
                let mut connection = server.connect();
                connection.send(request_head("GET", &format!("/slow/{n}.bin"), &[]));
                connection
            })
            .collect();
        // The server bounds how many of its threads one disk may hold.
        eventually("the disk is asked", || disk.waiting() >= 16);
        // Longer than a cached file is taken for fresh.
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            cached();
            uncached();
        }
        // Some give up; the others get what they waited for.
        waiting.truncate(150);
        disk.release();
        for connection in &mut waiting {
            assert!(connection.response_to("GET").body == pattern(31, length), "{fault:?}");
        }
    }
}
