//! Large files: in bounded memory, for many and for slow clients, and while they change.
use std::{
    fs,
    io::{ErrorKind, Write},
    time::Duration,
};
use support::{Connection, Launch, Server, Tree, client::request_head, eventually, kernel_copies, pattern, process};

const MIB: u64 = 1 << 20;
const LENGTH: usize = 48 << 20;

/// Starts a download and reads its head.
fn start(server: &Server, target: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(request_head("GET", target, &[]));
    assert_eq!(connection.try_head().expect("a head comes").status, 200);
    connection
}

#[test]
fn a_large_file_arrives_whole() {
    let tree = Tree::new().file("large.bin", pattern(5, LENGTH + 12_345));
    let server = Launch::new(&tree).start();
    assert!(server.get("/large.bin").body == pattern(5, LENGTH + 12_345));
}

/// Memory grows neither with the size of files nor with the clients that are slow to read them.
#[test]
fn memory_does_not_grow_with_downloads() {
    let tree = Tree::new().sparse("large.bin", 4 << 30);
    let server = Launch::new(&tree).start();
    let warm = start(&server, "/large.bin");
    let before = process::resident(server.pid());
    let mut clients: Vec<Connection> = (0..60).map(|_| start(&server, "/large.bin")).collect();
    for _ in 0..4 {
        for client in &mut clients {
            client.take(1 << 20).expect("the file goes on");
        }
        let grown = process::resident(server.pid()).saturating_sub(before);
        assert!(grown < 32 * MIB, "60 downloads took {} MiB", grown / MIB);
    }
    drop(warm);
}

#[test]
fn clients_that_leave_leave_nothing_behind() {
    let tree = Tree::new().sparse("large.bin", 100 << 20).file("file.txt", "content");
    let server = Launch::new(&tree).start();
    let leave = |times: usize| {
        for _ in 0..times {
            start(&server, "/large.bin").take(1).expect("a byte comes");
        }
    };
    leave(50);
    let path = tree.at("large.bin").to_string_lossy().into_owned();
    let held = || {
        process::open_files(server.pid())
            .iter()
            .filter(|file| **file == path)
            .count()
    };
    // A cache may hold one descriptor of a file; the clients none.
    eventually("the first ones are forgotten", || held() <= 1);
    let (descriptors, resident) = (process::descriptors(server.pid()), process::resident(server.pid()));
    leave(300);
    eventually("no descriptor is left", || {
        process::descriptors(server.pid()) <= descriptors && held() <= 1
    });
    let grown = process::resident(server.pid()).saturating_sub(resident);
    assert!(grown < 8 * MIB, "{} KiB after 300 clients", grown / 1024);
    assert_eq!(server.get("/file.txt").text(), "content");
}

#[test]
fn clients_that_do_not_read_stop_nobody() {
    let tree = Tree::new().sparse("large.bin", 1 << 30).file("file.txt", "content");
    let server = Launch::new(&tree).start();
    let stalled: Vec<Connection> = (0..100).map(|_| start(&server, "/large.bin")).collect();
    for _ in 0..100 {
        assert_eq!(server.get("/file.txt").text(), "content");
    }
    drop(stalled);
}

#[test]
fn a_file_that_shrinks_is_not_padded() {
    let content = pattern(11, LENGTH);
    let tree = Tree::new().file("shrinking.bin", &content);
    let server = Launch::new(&tree).start();
    let mut connection = start(&server, "/shrinking.bin");
    let mut received = connection.take(1 << 16).expect("the file begins");
    let file = fs::File::options()
        .write(true)
        .open(tree.at("shrinking.bin"))
        .expect("the tree is writable");
    file.set_len(1 << 16).expect("the tree is writable");
    received.extend(connection.rest());
    assert!(received.len() < LENGTH, "bytes that are no longer there were sent");
    // What the kernel has of a file, and the client does not yet, changes with the file (decision 0006).
    let sure = if kernel_copies() { 1 << 16 } else { received.len() };
    assert!(
        content.starts_with(&received[..sure]),
        "something else was sent in their place"
    );
    assert!(server.get("/shrinking.bin").body.len() <= 1 << 16, "the server goes on");
}

#[test]
fn a_file_that_grows_gives_what_was_promised_or_nothing_more() {
    let content = pattern(12, LENGTH);
    let tree = Tree::new().file("growing.bin", &content);
    let server = Launch::new(&tree).start();
    let mut connection = start(&server, "/growing.bin");
    let mut received = connection.take(1 << 16).expect("the file begins");
    let mut file = fs::File::options()
        .append(true)
        .open(tree.at("growing.bin"))
        .expect("the tree is writable");
    file.write_all(&pattern(13, 1 << 20)).expect("the tree is writable");
    match connection.take(LENGTH - (1 << 16)) {
        Ok(rest) => {
            received.extend(rest);
            assert!(received == content);
            assert!(
                connection.is_silent_for(Duration::from_millis(200)),
                "more than was promised"
            );
            let response = connection.request("HEAD", "/growing.bin", &[]);
            assert_eq!(response.status, 200, "the connection is still in step");
        }
        // A change while it is sent may also end the connection: the file is no longer the version that was promised.
        Err(error) => assert!(
            matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
            "{error}"
        ),
    }
}

#[test]
fn a_file_that_is_replaced_or_removed_is_finished() {
    let content = pattern(14, LENGTH);
    for replaced in [true, false] {
        let tree = Tree::new()
            .file("file.bin", &content)
            .file("next.bin", pattern(15, LENGTH));
        let server = Launch::new(&tree).start();
        let mut connection = start(&server, "/file.bin");
        let mut received = connection.take(1 << 16).expect("the file begins");
        if replaced {
            fs::rename(tree.at("next.bin"), tree.at("file.bin")).expect("the tree is writable");
        } else {
            fs::remove_file(tree.at("file.bin")).expect("the tree is writable");
        }
        received.extend(connection.take(LENGTH - (1 << 16)).expect("the file goes on"));
        assert!(received == content, "replaced: {replaced}");
    }
}

#[test]
fn other_chunk_sizes_send_the_same_bytes() {
    let content = pattern(16, (3 << 20) + 7);
    let tree = Tree::new().file("file.bin", &content);
    for size in ["4KiB", "1MiB"] {
        let server = Launch::new(&tree).arguments(["--chunk-size", size]).start();
        assert!(server.get("/file.bin").body == content, "{size}");
    }
}
