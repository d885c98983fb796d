//! `--sendfile`: whoever copies the bytes, the kernel or the server, a complete response is the file as it was opened.
use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Instant,
};
use support::{Chain, Launch, Policy, Server, Tree, client::request_head, pattern};

const RULES: [&str; 3] = ["remote", "always", "off"];
/// Longer than a turn, a window of reading ahead and the sockets' buffers.
const LENGTH: usize = (24 << 20) + 7;

fn start(tree: &Tree, rule: &str) -> Server {
    Launch::new(tree).arguments(["--sendfile", rule]).start()
}

#[test]
fn every_rule_sends_the_same_bytes() {
    let content = pattern(41, LENGTH);
    let tree = Tree::new()
        .file("large.bin", &content)
        .file("small.bin", pattern(42, 30_000));
    for rule in RULES {
        let server = start(&tree, rule);
        let mut connection = server.connect();
        for _ in 0..2 {
            assert!(connection.request("GET", "/large.bin", &[]).body == content, "{rule}");
            assert_eq!(
                connection.request("HEAD", "/large.bin", &[]).header("content-length"),
                Some("25165831")
            );
            for (range, expected) in [
                ("bytes=0-0", 0..1),
                ("bytes=4095-1000000", 4095..1_000_001),
                ("bytes=-5000000", LENGTH - 5_000_000..LENGTH),
                ("bytes=65535-", 65_535..LENGTH),
            ] {
                let part = connection.request("GET", "/large.bin", &[("Range", range)]);
                assert_eq!(part.status, 206, "{rule}");
                assert!(part.body == content[expected], "{rule}: {range}");
            }
            assert!(
                connection.request("GET", "/small.bin", &[]).body == pattern(42, 30_000),
                "{rule}"
            );
        }
    }
}

/// Frames and spans in turn, of which some are short enough to be read and some are not.
#[test]
fn several_ranges_are_the_same_by_every_rule() {
    let content = pattern(43, LENGTH);
    let tree = Tree::new().file("large.bin", &content);
    let ranges = "bytes=0-9,100000-3000000,4000000-4000009,5000000-5200000,-2000000";
    let parts = [
        0..10,
        100_000..3_000_001,
        4_000_000..4_000_010,
        5_000_000..5_200_001,
        LENGTH - 2_000_000..LENGTH,
    ];
    for rule in RULES {
        let response = start(&tree, rule).request("GET", "/large.bin", &[("Range", ranges)]);
        assert_eq!(response.status, 206, "{rule}");
        let media_type = response.header("content-type").expect("parts have a type");
        let (_, boundary) = media_type.split_once("boundary=").expect("parts have a boundary");
        let boundary = boundary.trim_matches('"');
        let mut rest = &response.body[..];
        for part in parts.clone() {
            let head = format!(
                "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {}-{}/{LENGTH}\r\n\r\n",
                part.start,
                part.end - 1
            );
            let head = if part.start == 0 { head.trim_start() } else { &head };
            rest = rest.strip_prefix(head.as_bytes()).expect("a part begins");
            rest = rest.strip_prefix(&content[part]).expect("with the bytes of its range");
        }
        assert_eq!(rest, format!("\r\n--{boundary}--\r\n").as_bytes(), "{rule}");
    }
}

#[test]
fn a_pace_holds_for_every_rule() {
    let content = pattern(44, 400_000);
    let tree = Tree::new().file("paced.bin", &content);
    let chain = Chain::new([Policy::guest("probe").config("pace = \"400000\"")]);
    for rule in RULES {
        let server = Launch::new(&tree)
            .arguments(["--sendfile", rule])
            .plugins(&chain)
            .start();
        let start = Instant::now();
        assert!(server.get("/paced.bin").body == content, "{rule}");
        assert!(start.elapsed().as_millis() >= 900, "{rule}: {:?}", start.elapsed());
    }
}

/// What the kernel has of a file is the file itself: bytes that are on their way change with it. So such a response must
/// not be completed, and what came of it is of no use.
#[test]
fn a_response_is_not_completed_after_its_file_was_written_to() {
    for rule in RULES {
        let content = pattern(45, LENGTH);
        let tree = Tree::new().file("file.bin", &content);
        let server = start(&tree, rule);
        let mut connection = server.connect();
        connection.send(request_head("GET", "/file.bin", &[]));
        let head = connection.try_head().expect("a head comes");
        let etag = head.header("etag").expect("a file has an entity tag").to_owned();
        let begun = connection.take(1 << 16).expect("the file begins");
        assert!(content.starts_with(&begun), "{rule}");
        let file = fs::File::options()
            .write(true)
            .open(tree.at("file.bin"))
            .expect("the tree is writable");
        for at in (0..LENGTH).step_by(4096) {
            file.write_all_at(b"changed", at as u64).expect("the tree is writable");
        }
        let rest = connection.take(LENGTH - begun.len());
        let error = rest
            .expect_err("a complete response of a file that changed meanwhile")
            .kind();
        assert!(
            matches!(error, ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
            "{rule}: {error}"
        );
        // Who goes on where it broke gets the new version from its beginning.
        let range = format!("bytes={}-", begun.len());
        let resumed = server.request("GET", "/file.bin", &[("Range", &range), ("If-Range", &etag)]);
        assert_eq!((resumed.status, resumed.body.len()), (200, LENGTH), "{rule}");
        assert!(resumed.body.starts_with(b"changed"), "{rule}");
    }
}

/// A client that takes bytes as fast as they come has its turn, and then the others have theirs.
#[test]
fn fast_downloads_starve_nobody() {
    let tree = Tree::new().sparse("large.bin", 64 << 20).file("small.txt", "content");
    for rule in RULES {
        let server = start(&tree, rule);
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let mut connection = server.connect();
                        connection.send(request_head("GET", "/large.bin", &[("Connection", "close")]));
                        assert!(connection.count_rest() > 64 << 20, "{rule}");
                    }
                });
            }
            let mut connection = server.connect();
            for _ in 0..100 {
                assert_eq!(connection.request("GET", "/small.txt", &[]).text(), "content", "{rule}");
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn rules_that_do_not_exist_are_refused() {
    let tree = Tree::new();
    let refusal = Launch::new(&tree).arguments(["--sendfile", "on"]).refusal();
    for word in ["--sendfile", "remote", "always", "off"] {
        assert!(refusal.contains(word), "{refusal}");
    }
}
