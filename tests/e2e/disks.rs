//! Disks that fail or hang: felt by nobody but who asked for what lies on them, and never as wrong bytes.
use support::{
    Launch, Tree,
    client::request_head,
    disk::{Disk, DiskFile, Fault},
    eventually, pattern,
};

const LENGTH: usize = 4 << 20;

fn disk(files: impl IntoIterator<Item = (String, usize, Fault)>) -> Option<Disk> {
    let files = files.into_iter().map(|(name, length, fault)| DiskFile {
        name,
        content: pattern(31, length),
        fault,
    });
    Disk::mount(files.collect())
}

#[test]
fn a_read_error_ends_the_connection() {
    for (target, from) in [("/late.bin", 1 << 20), ("/early.bin", 0)] {
        let Some(disk) = disk([(target[1..].to_owned(), LENGTH, Fault::FailsFrom(from))]) else {
            return;
        };
        let server = Launch::at(&disk.path()).start();
        for _ in 0..2 {
            let mut connection = server.connect();
            connection.send(request_head("GET", target, &[]));
            match connection.try_head() {
                Ok(head) if head.status == 200 => {
                    let received = connection.rest();
                    assert!(
                        received.len() <= from as usize,
                        "bytes that could not be read were sent"
                    );
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
            let response = server.request("GET", target, &[("Range", "bytes=0-99")]);
            assert_eq!(response.body, pattern(31, 100), "what can be read is served");
        }
    }
}

/// Two hundred clients wait for a disk that does not answer; nobody else does.
#[test]
fn a_disk_that_hangs_stops_nobody_else() {
    for fault in [Fault::HeldAtRead, Fault::HeldAtLookup] {
        let names = (0..200).map(|n| format!("{n}.bin"));
        let Some(disk) = disk(names.map(|name| (name, 10_000, fault))) else {
            return;
        };
        let tree = Tree::new()
            .file("file.txt", "content")
            .file("large.bin", pattern(32, LENGTH))
            .directory("slow");
        let bind = |arguments: &[&str]| {
            let status = std::process::Command::new(arguments[0]).args(&arguments[1..]).status();
            assert!(status.is_ok_and(|status| status.success()), "{arguments:?}");
        };
        let (from, to) = (disk.path(), tree.at("slow"));
        let (from, to) = (
            from.to_str().expect("the path is text"),
            to.to_str().expect("the path is text"),
        );
        bind(&["mount", "--bind", from, to]);
        let server = Launch::new(&tree).start();
        let mut waiting: Vec<_> = (0..200)
            .map(|n| {
                let mut connection = server.connect();
                connection.send(request_head("GET", &format!("/slow/{n}.bin"), &[]));
                connection
            })
            .collect();
        eventually("the disk is asked", || disk.held() >= 100);
        for _ in 0..50 {
            assert_eq!(server.get("/file.txt").text(), "content", "{fault:?}");
        }
        assert!(server.get("/large.bin").body == pattern(32, LENGTH), "{fault:?}");
        // Some give up; the others get what they waited for.
        waiting.truncate(150);
        disk.release();
        for connection in &mut waiting {
            assert!(connection.response_to("GET").body == pattern(31, 10_000), "{fault:?}");
        }
        drop(server);
        bind(&["umount", "-l", to]);
    }
}
