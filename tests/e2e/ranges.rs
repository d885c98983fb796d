//! Ranges (RFC 9110, section 14) through the whole server.
use support::{Launch, Response, Server, Tree, pattern};

const LENGTH: usize = 1000;

fn tree() -> Tree {
    Tree::new().file("file.bin", pattern(1, LENGTH))
}

fn ranged(server: &Server, range: &str) -> Response {
    server.request("GET", "/file.bin", &[("Range", range)])
}

#[test]
fn one_range_is_sent_as_it_is() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let content = pattern(1, LENGTH);
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-99", 0, 99),
        ("bytes=500-500", 500, 500),
        ("bytes=990-", 990, 999),
        ("bytes=999-", 999, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-10", 990, 999),
        ("bytes=-2000", 0, 999),
        ("bytes=0-999", 0, 999),
        ("bytes=0-5000", 0, 999),
        ("bytes=0-0,2000-3000", 0, 0),
    ] {
        let response = ranged(&server, range);
        assert_eq!(response.status, 206, "{range}: {response:?}");
        assert_eq!(
            response.header("content-range"),
            Some(format!("bytes {first}-{last}/{LENGTH}").as_str()),
            "{range}"
        );
        assert_eq!(response.body, content[first..=last], "{range}");
        assert_eq!(response.header("accept-ranges"), Some("bytes"));
    }
}

#[test]
fn what_cannot_be_satisfied_is_416_with_the_length() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    for range in ["bytes=1000-", "bytes=1000-1001", "bytes=-0", "bytes=5000-,6000-"] {
        let response = ranged(&server, range);
        assert_eq!(response.status, 416, "{range}: {response:?}");
        assert_eq!(
            response.header("content-range"),
            Some("bytes */1000"),
            "{range}: {response:?}"
        );
    }
}

#[test]
fn what_is_no_range_is_ignored() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    for range in [
        "bytes=5-2",
        "bytes=",
        "bytes",
        "bytes=a-b",
        "bytes=1",
        "bytes=--1",
        "items=0-5",
        "",
        "bytes=0-1-2",
    ] {
        let response = ranged(&server, range);
        assert_eq!(
            (response.status, response.body.len()),
            (200, LENGTH),
            "{range}: {response:?}"
        );
    }
}

#[test]
fn a_range_of_another_method_is_ignored() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let response = server.request("POST", "/file.bin", &[("Range", "bytes=0-0")]);
    assert_eq!(response.status, 405, "{response:?}");
}

#[test]
fn several_ranges_are_parts() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let content = pattern(1, LENGTH);
    let response = ranged(&server, "bytes=0-9,500-509,-5");
    assert_eq!(response.status, 206, "{response:?}");
    assert_eq!(
        response.header("content-range"),
        None,
        "the parts have theirs (RFC 9110, section 15.3.7.2)"
    );
    let parts = parts(&response);
    let expected = [(0, 9), (500, 509), (995, 999)];
    assert_eq!(parts.len(), expected.len(), "{response:?}");
    for (part, (first, last)) in parts.iter().zip(expected) {
        assert!(
            part.head
                .contains(&format!("content-range: bytes {first}-{last}/{LENGTH}")),
            "{}",
            part.head
        );
        assert!(part.head.contains("content-type: "), "{}", part.head);
        assert_eq!(part.body, content[first..=last]);
    }
}

#[test]
fn a_boundary_does_not_occur_in_the_content() {
    let tree = Tree::new().file("file.bin", "--\r\n--boundary\r\n".repeat(100));
    let response = Launch::new(&tree)
        .start()
        .request("GET", "/file.bin", &[("Range", "bytes=0-99,500-599")]);
    assert_eq!(parts(&response).len(), 2, "{response:?}");
}

/// Apache's old weakness (CVE-2011-3192): many overlapping ranges must not cost more than the file.
#[test]
fn a_flood_of_ranges_is_not_amplified() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let overlapping = (0..500).map(|n| format!("{n}-")).collect::<Vec<_>>().join(",");
    let tiny = (0..500)
        .map(|n| format!("{0}-{0}", n * 2))
        .collect::<Vec<_>>()
        .join(",");
    let backwards = (0..500).rev().map(|n| format!("{n}-{n}")).collect::<Vec<_>>().join(",");
    for ranges in [overlapping, tiny, backwards] {
        let response = ranged(&server, &format!("bytes={ranges}"));
        assert!(matches!(response.status, 200 | 206 | 416), "{response:?}");
        assert!(
            response.body.len() <= 2 * LENGTH,
            "{} bytes for a file of {LENGTH}",
            response.body.len()
        );
    }
}

#[test]
fn a_range_beyond_four_gigabytes() {
    let length = (5_u64 << 30) + 3;
    let tree = Tree::new().sparse("large.bin", length);
    let server = Launch::new(&tree).start();
    std::fs::File::options()
        .write(true)
        .open(tree.at("large.bin"))
        .and_then(|file| std::os::unix::fs::FileExt::write_all_at(&file, b"end", length - 3))
        .expect("the tree is writable");
    let response = server.request("GET", "/large.bin", &[("Range", "bytes=-3")]);
    assert_eq!(response.status, 206, "{response:?}");
    assert_eq!(response.text(), "end");
    let head = server.request("HEAD", "/large.bin", &[]);
    assert_eq!(head.header("content-length"), Some(length.to_string().as_str()));
}

struct Part {
    /// In lower case.
    head: String,
    body: Vec<u8>,
}

/// The parts of multipart/byteranges (RFC 9110, section 14.6; RFC 2046, section 5.1).
#[track_caller]
fn parts(response: &Response) -> Vec<Part> {
    let content_type = response.header("content-type").expect("a multipart body has a type");
    let (kind, boundary) = content_type
        .split_once("boundary=")
        .expect("a multipart type has a boundary");
    assert!(kind.starts_with("multipart/byteranges;"), "{content_type}");
    let delimiter = format!("\r\n--{}", boundary.trim_matches('"'));
    // The first delimiter may begin the body: then its line break is the head's.
    let body = [b"\r\n", response.body.as_slice()].concat();
    let mut pieces = split(&body, delimiter.as_bytes());
    let last = pieces.pop().expect("a body has pieces");
    assert!(last.starts_with(b"--"), "the last delimiter is closed");
    pieces.remove(0);
    let part = |piece: &[u8]| {
        let piece = piece.strip_prefix(b"\r\n").expect("a delimiter ends its line");
        let end = piece
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .expect("a part has a head");
        Part {
            head: String::from_utf8_lossy(&piece[..end]).to_lowercase(),
            body: piece[end + 4..].to_vec(),
        }
    };
    pieces.into_iter().map(part).collect()
}

fn split<'a>(mut bytes: &'a [u8], delimiter: &[u8]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    while let Some(at) = bytes.windows(delimiter.len()).position(|w| w == delimiter) {
        pieces.push(&bytes[..at]);
        bytes = &bytes[at + delimiter.len()..];
    }
    pieces.push(bytes);
    pieces
}
