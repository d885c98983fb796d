//! Names of files, and that nothing outside the root is reached by any of them.
use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};
use support::{Connection, Launch, Tree};

const SECRET: &str = "SECRET-FROM-OUTSIDE";
const CONTENT: &str = "content";

#[test]
fn names_are_bytes_that_urls_escape() {
    let longest = "n".repeat(255);
    let names = [
        "with space.txt",
        "plus+plus.txt",
        "percent%41.txt",
        "question?.txt",
        "hash#.txt",
        "ünïcödé.txt",
        "日本語.txt",
        "😀.txt",
        "semicolon;v=1.txt",
        "colon:name.txt",
        "quote\"'.txt",
        "<script>.txt",
        "tilde~.txt",
        "..hidden-parent.txt",
        "dots...txt",
        longest.as_str(),
    ];
    let tree = names
        .iter()
        .fold(Tree::new(), |tree, name| tree.file(&format!("folder/{name}"), name));
    let server = Launch::new(&tree).start();
    for name in names {
        let hidden = name.starts_with('.');
        let escaped: String = name.bytes().map(|b| format!("%{b:02X}")).collect();
        let response = server.get(&format!("/folder/{escaped}"));
        if hidden {
            assert_eq!(response.status, 404, "{name}: {response:?}");
            continue;
        }
        assert_eq!((response.status, response.text()), (200, name), "{escaped}");
        let unreserved = |c: char| c.is_ascii_alphanumeric() || "-._~+;:'!()*,=@$&".contains(c);
        if name.chars().all(unreserved) {
            assert_eq!(server.get(&format!("/folder/{name}")).text(), name);
        }
    }
}

/// A name decoded twice would be another file's.
#[test]
fn a_path_is_decoded_once() {
    let tree = Tree::new().file("percent%41.txt", "once").file("percentA.txt", "twice");
    let server = Launch::new(&tree).start();
    assert_eq!(server.get("/percent%2541.txt").text(), "once");
    assert_eq!(server.get("/percent%41.txt").text(), "twice");
}

#[test]
fn names_too_long_for_a_file_system_are_refused() {
    let tree = Tree::new().file("file.txt", CONTENT);
    let server = Launch::new(&tree).start();
    for (target, statuses) in [
        (format!("/{}", "n".repeat(256)), [404, 404]),
        (format!("/{}", "n/".repeat(2000)), [404, 404]),
        (format!("/{}", "n/".repeat(2500)), [400, 414]),
    ] {
        let response = server.get(&target);
        assert!(
            statuses.contains(&response.status),
            "{} bytes: {response:?}",
            target.len()
        );
    }
    assert_eq!(server.get("/file.txt").text(), CONTENT);
}

#[test]
fn dotfiles_are_hidden_but_well_known_is_not() {
    let tree = Tree::new()
        .file(".env", SECRET)
        .file(".git/config", SECRET)
        .file("folder/.htpasswd", SECRET)
        .file(".well-known/security.txt", CONTENT)
        .file(".well-known/.hidden", SECRET)
        .file("folder/.well-known/acme", SECRET);
    let server = Launch::new(&tree).start();
    for target in [
        "/.env",
        "/%2eenv",
        "/.git/config",
        "/.git/",
        "/.git",
        "/folder/.htpasswd",
        "/.well-known/.hidden",
    ] {
        let response = server.get(target);
        assert_eq!(response.status, 404, "{target}: {response:?}");
        assert!(!response.text().contains(SECRET), "{target}: {response:?}");
    }
    assert_eq!(server.get("/.well-known/security.txt").text(), CONTENT);
}

#[test]
fn links_are_followed_beneath_the_root_only() {
    let tree = Tree::new()
        .file("folder/inner.txt", CONTENT)
        .link("inside", "folder")
        .link("inside.txt", "folder/inner.txt")
        .link("folder/sideways.txt", "../folder/inner.txt")
        .file_outside("secret.txt", SECRET)
        .link("out.txt", "../secret.txt");
    let absolute = tree.outside("secret.txt");
    let tree = tree.link("absolute.txt", absolute);
    let server = Launch::new(&tree).start();
    for target in ["/inside/inner.txt", "/inside.txt", "/folder/sideways.txt"] {
        assert_eq!(server.get(target).text(), CONTENT, "{target}");
    }
    for target in ["/out.txt", "/absolute.txt"] {
        let response = server.get(target);
        assert!(matches!(response.status, 403 | 404), "{target}: {response:?}");
        assert!(!response.text().contains(SECRET), "{target}: {response:?}");
    }
}

#[test]
fn only_regular_files_are_read() {
    let tree = Tree::new().fifo("pipe").file("file.txt", CONTENT);
    let _socket = std::os::unix::net::UnixListener::bind(tree.at("socket")).expect("the tree is writable");
    let tree = tree.link("zero", "/dev/zero").link("tty", "/dev/tty");
    let server = Launch::new(&tree).start();
    for target in ["/pipe", "/socket", "/zero", "/tty"] {
        let response = server.get(target);
        assert!(matches!(response.status, 403 | 404), "{target}: {response:?}");
    }
    assert_eq!(server.get("/file.txt").text(), CONTENT);
}

#[test]
fn an_unreadable_file_is_refused_without_a_word_about_it() {
    let tree = Tree::new()
        .file("file.txt", CONTENT)
        .mode("file.txt", 0o000)
        .file("next.txt", CONTENT);
    let response = Launch::new(&tree).start().get("/file.txt");
    // Root may read everything: then there is nothing to refuse.
    if fs::read(tree.at("file.txt")).is_err() {
        assert!(matches!(response.status, 403 | 404), "{response:?}");
        assert!(!response.text().contains("ermission"), "{response:?}");
    } else {
        assert_eq!(response.text(), CONTENT);
    }
}

/// Everything of `traversal.txt`, with links out of the root in every form.
#[test]
fn nothing_outside_the_root_is_ever_sent() {
    let tree = Tree::new()
        .file("file.txt", CONTENT)
        .file("folder/inner.txt", CONTENT)
        .file("folder/deep/inner.txt", CONTENT)
        .file_outside("secret.txt", SECRET)
        .file_outside("outside/secret.txt", SECRET)
        .file_outside("root-old/secret.txt", SECRET)
        .link("out", "../outside")
        .link("out-file", "../secret.txt")
        .link("chain", "out")
        .link("abs", "/etc")
        .link("abs-file", "/etc/passwd")
        .link("up", "..")
        .link("loop", "loop")
        .link("folder/out", "../../outside")
        .link("folder/out-file", "../../secret.txt")
        .link("proc", "/proc")
        .link("fd", "/proc/self/fd/0")
        .link("sibling", "../root-old")
        .link("dangling", "../nothing")
        .link("inside-then-out", "folder/out");
    let server = Launch::new(&tree).start();
    let passwd = fs::read("/etc/passwd").unwrap_or_default();
    let mut tried = 0;
    for line in include_str!("traversal.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        let mut request = b"GET ".to_vec();
        request.extend(unescape(line));
        request.extend(b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = server.raw(request);
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains(SECRET), "{line}: {text}");
        assert!(
            passwd.is_empty() || !contains(&answer, &passwd[..passwd.len().min(20)]),
            "{line}: {text}"
        );
        assert!(!text.contains("PATH="), "{line}: {text}");
        let status = text
            .strip_prefix("HTTP/1.1 ")
            .and_then(|t| t.get(..3))
            .unwrap_or("none");
        let served = text.ends_with(CONTENT);
        assert!(["400", "403", "404"].contains(&status) || served, "{line}: {text}");
        tried += 1;
    }
    assert!(tried >= 300, "only {tried} were tried");
    assert_eq!(server.get("/file.txt").text(), CONTENT, "the server is still well");
}

/// A directory that is swapped for a link out of the root between any two steps of a lookup.
#[test]
fn a_directory_swapped_for_a_link_leads_nowhere() {
    let tree = Tree::new()
        .file("moving/file.txt", CONTENT)
        .file_outside("outside/file.txt", SECRET)
        .link("other", "../outside");
    let server = Launch::new(&tree).start();
    let done = AtomicBool::new(false);
    let (mut served, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                swap(&tree.at("moving"), &tree.at("other"));
            }
        });
        let mut connection = Connection::open(server.address());
        for _ in 0..3000 {
            let response = connection.request("GET", "/moving/file.txt", &[("Cache-Control", "no-cache")]);
            if response.body.windows(SECRET.len()).any(|w| w == SECRET.as_bytes()) {
                done.store(true, Ordering::Relaxed);
                panic!("sent from outside the root: {response:?}");
            }
            if response.status == 200 {
                served += 1
            } else {
                refused += 1
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(served + refused, 3000);
}

fn swap(one: &Path, other: &Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).expect("both are there");
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|w| w == part)
}

/// `\xNN` as a byte.
fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find("\\x") {
        let byte = rest
            .get(at + 2..at + 4)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.push(byte.expect("two hexadecimal digits follow \\x"));
        rest = &rest[at + 4..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}
