//! What is kept, and for how long it is believed.
use crate::support::{Ask, Tree, all_of, get, rest, say};
use std::{fs, path::Path, sync::Arc, time::Duration};
use wasmserve_files::{CacheOptions, Files, FilesOptions, Found, OpenFile, Pool};

/// A little more than the second that something is believed.
async fn a_second() {
    tokio::time::sleep(Duration::from_millis(1050)).await;
}

async fn file(files: &Files, path: &str) -> Arc<OpenFile> {
    match Ask::new(path).of(files).await {
        Found::File(selected) => selected.source.file().expect("a file").clone(),
        _ => panic!("{path} is a file"),
    }
}

/// Descriptors of this process that lead to somewhere beneath a directory, deleted files among them.
fn descriptors(beneath: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.flatten()
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|path| path.starts_with(beneath))
        .count()
}

#[tokio::test]
async fn what_is_kept_is_the_same_until_it_changes() {
    let tree = Tree::new();
    tree.write("small", "small").write("big", vec![b'x'; 100_000]);
    rest(&tree.root().join("small"));
    rest(&tree.root().join("big"));
    let files = tree.files();
    for path in ["/small", "/big"] {
        let first = file(&files, path).await;
        assert!(Arc::ptr_eq(&first, &file(&files, path).await), "{path} is opened once");
        a_second().await;
        assert!(Arc::ptr_eq(&first, &file(&files, path).await), "{path} has not changed");
    }
}

#[tokio::test]
async fn changes_are_seen_within_a_second() {
    let tree = Tree::new();
    for path in ["replaced", "deleted", "written", "becomes-directory", "d/replaced"] {
        tree.write(path, "old");
        rest(&tree.root().join(path));
    }
    let files = tree.files();
    for path in ["/replaced", "/deleted", "/written", "/becomes-directory", "/d/replaced"] {
        assert_eq!(get(&files, path).await, "file old", "{path}");
    }
    assert_eq!(get(&files, "/created").await, "missing 404");
    let in_flight = file(&files, "/replaced").await;
    tree.write("fresh", "new")
        .write("written", "new")
        .write("created", "new")
        .write("e/replaced", "new");
    fs::rename(tree.root().join("fresh"), tree.root().join("replaced")).unwrap();
    fs::remove_file(tree.root().join("deleted")).unwrap();
    fs::remove_file(tree.root().join("becomes-directory")).unwrap();
    tree.write("becomes-directory/index.html", "index");
    fs::rename(tree.root().join("d"), tree.root().join("old-d")).unwrap();
    fs::rename(tree.root().join("e"), tree.root().join("d")).unwrap();
    a_second().await;
    for (path, said) in [
        ("/replaced", "file new"),
        ("/deleted", "missing 404"),
        ("/written", "file new"),
        ("/created", "file new"),
        ("/becomes-directory", "redirect becomes-directory/"),
        ("/becomes-directory/", "file index"),
        ("/d/replaced", "file new"),
    ] {
        assert_eq!(get(&files, path).await, said, "{path}");
    }
    assert_eq!(
        all_of(&in_flight).await.unwrap(),
        b"old",
        "a download keeps its descriptor"
    );
}

/// A head must not promise a length that the body then cannot keep.
#[tokio::test]
async fn a_change_in_place_of_a_bigger_file_is_seen_at_once() {
    let tree = Tree::new();
    tree.write("big", vec![b'a'; 100_000]);
    rest(&tree.root().join("big"));
    let files = tree.files();
    let before = file(&files, "/big").await;
    assert!(all_of(&before).await.unwrap() == vec![b'a'; 100_000]);
    tree.write("big", vec![b'b'; 50_000]);
    let after = file(&files, "/big").await;
    assert_eq!(after.length(), 50_000);
    assert!(all_of(&after).await.unwrap() == vec![b'b'; 50_000]);
    assert!(all_of(&before).await.is_err());
}

#[tokio::test]
async fn an_entity_tag_becomes_strong_when_the_file_has_rested() {
    let tree = Tree::new();
    tree.write("a", "a");
    let files = tree.files();
    let tag = async || match Ask::new("/a").of(&files).await {
        Found::File(selected) => selected.representation.etag.to_str().unwrap().to_owned(),
        _ => panic!("a file"),
    };
    let weak = tag().await;
    assert!(weak.starts_with("W/"), "{weak}");
    tokio::time::sleep(Duration::from_millis(3100)).await;
    assert_eq!(tag().await, weak.trim_start_matches("W/"));
    assert!(file(&files, "/a").await.in_memory().is_some());
}

#[tokio::test]
async fn places_do_not_share_what_is_kept() {
    let tree = Tree::new();
    tree.write("a/x", "a's")
        .write("b/x", "b's")
        .write("x", "top")
        .link("b/y", "x")
        .link("a/y", "../x");
    let files = tree.files();
    for _ in 0..2 {
        assert_eq!(
            say(Ask::new("/x").place("default", "/a").of(&files).await).await,
            "file a's"
        );
        assert_eq!(
            say(Ask::new("/x").place("default", "/b").of(&files).await).await,
            "file b's"
        );
        assert_eq!(get(&files, "/x").await, "file top");
        // Beneath the root, and not beneath the place.
        assert_eq!(get(&files, "/a/y").await, "file top");
        assert_eq!(
            say(Ask::new("/y").place("default", "/a").of(&files).await).await,
            "missing 404"
        );
    }
}

#[tokio::test]
async fn what_is_kept_is_judged_again_when_the_protected_set_changes() {
    let tree = Tree::new();
    tree.write("keys/a", "a").write("b", "b");
    let files = tree.files();
    assert_eq!(get(&files, "/keys/a").await, "file a");
    files.protect(vec![tree.root().join("keys")]);
    assert_eq!(get(&files, "/keys/a").await, "missing 404");
    assert_eq!(get(&files, "/b").await, "file b");
    files.protect(Vec::new());
    assert_eq!(get(&files, "/keys/a").await, "file a");
}

#[tokio::test]
async fn descriptors_and_bytes_are_bounded() {
    let tree = Tree::new();
    for i in 0..600 {
        // Beyond what is held in memory.
        tree.write(&format!("{i}"), vec![b'x'; 20_000]);
        rest(&tree.root().join(format!("{i}")));
    }
    let asked = async |cache| {
        let files = Files::new(FilesOptions {
            cache,
            ..FilesOptions::new(tree.root())
        })
        .unwrap();
        for i in 0..600 {
            assert!(get(&files, &format!("/{i}")).await.starts_with("file xxx"));
        }
        for i in 0..600 {
            assert_eq!(get(&files, &format!("/nothing/{i}")).await, "missing 404");
        }
        let open = descriptors(&tree.root());
        // One is the root.
        (files, open - 1)
    };
    let (_, open) = asked(CacheOptions {
        descriptors: 0,
        bytes: 1 << 20,
    })
    .await;
    assert_eq!(open, 0, "nothing is kept");
    let (_, open) = asked(CacheOptions {
        descriptors: 100,
        bytes: 100 << 20,
    })
    .await;
    assert!((50..=100).contains(&open), "{open} descriptors");
    let (_, open) = asked(CacheOptions {
        descriptors: 1000,
        bytes: 150 * 1600,
    })
    .await;
    assert!(
        (50..=150).contains(&open),
        "{open} files, each known by some 1,600 bytes"
    );
    let (files, open) = asked(CacheOptions {
        descriptors: 2000,
        bytes: 100 << 20,
    })
    .await;
    assert_eq!(open, 600);
    drop(files);
    assert_eq!(descriptors(&tree.root()), 0, "nothing is left open");
}

/// Small files that rested are in memory: as many as there is room for, and none of them is open.
#[tokio::test]
async fn what_is_in_memory_holds_no_descriptor_and_is_bounded_by_bytes() {
    let tree = Tree::new();
    for i in 0..600 {
        tree.write(&format!("{i}"), vec![b'x'; 10_000]);
        rest(&tree.root().join(format!("{i}")));
    }
    for (bytes, kept) in [(1 << 20, 50..=104), (100 << 20, 600..=600)] {
        let cache = CacheOptions { descriptors: 10, bytes };
        let pool = Pool::new(&cache, Vec::new());
        let files = Files::within(pool.clone(), FilesOptions::new(tree.root())).unwrap();
        for i in 0..600 {
            assert!(get(&files, &format!("/{i}")).await.starts_with("file xxx"));
        }
        assert_eq!(descriptors(&tree.root()), 1, "the root");
        let entries = pool.counts().entries;
        assert!(kept.contains(&entries), "{entries} files of 10,000 bytes in {bytes}");
    }
}

/// Whoever sends it has it, whatever becomes of the file.
#[tokio::test]
async fn what_is_in_memory_is_one_version_of_the_file() {
    let tree = Tree::new();
    tree.write("a", "old");
    rest(&tree.root().join("a"));
    let files = tree.files();
    let before = file(&files, "/a").await;
    assert_eq!(before.in_memory().map(|bytes| &bytes[..]), Some(&b"old"[..]));
    // The same length and time, and yet another file.
    tree.write("b", "new");
    let modified = fs::metadata(tree.root().join("a")).unwrap().modified().unwrap();
    let fresh = fs::File::options().write(true).open(tree.root().join("b")).unwrap();
    fresh.set_modified(modified).unwrap();
    fs::rename(tree.root().join("b"), tree.root().join("a")).unwrap();
    a_second().await;
    assert_eq!(get(&files, "/a").await, "file new");
    assert!(before.unchanged().is_ok());
    assert_eq!(all_of(&before).await.unwrap(), b"old");
    fs::remove_file(tree.root().join("a")).unwrap();
    a_second().await;
    assert_eq!(get(&files, "/a").await, "missing 404");
}

/// A deleted file gives its space back although nobody asks for anything any more.
#[tokio::test]
async fn what_nobody_asks_for_is_let_go() {
    let tree = Tree::new();
    tree.write("a", "a");
    let files = tree.files();
    assert_eq!(get(&files, "/a").await, "file a");
    fs::remove_file(tree.root().join("a")).unwrap();
    assert_eq!(descriptors(&tree.root()), 2);
    for _ in 0..200 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if descriptors(&tree.root()) == 1 {
            return;
        }
    }
    panic!("still open after 20 seconds");
}

/// When descriptors run out, those that are only kept for later are given back.
#[test]
fn exhausted_descriptors_are_answered_with_503_and_kept_ones_given_back() {
    // The limit is the process's: in one of its own.
    const INSIDE: &str = "WASMSERVE_TEST_FEW_DESCRIPTORS";
    if std::env::var_os(INSIDE).is_none() {
        let name = "cache::exhausted_descriptors_are_answered_with_503_and_kept_ones_given_back";
        let this = std::env::current_exe().unwrap();
        let run = std::process::Command::new(this)
            .args(["--exact", name])
            .env(INSIDE, "1")
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
        assert!(String::from_utf8_lossy(&run.stdout).contains("1 passed"));
        return;
    }
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(async {
            let tree = Tree::new();
            for i in 0..20 {
                tree.write(&format!("{i}"), "x");
            }
            let files = tree.files();
            for i in 0..10 {
                assert_eq!(get(&files, &format!("/{i}")).await, "file x");
            }
            let kept = descriptors(&tree.root());
            assert_eq!(kept, 11);
            let mut hoard = Vec::new();
            let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
            limit.current = Some(100);
            rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
            while let Ok(file) = fs::File::open("/dev/null") {
                hoard.push(file);
            }
            assert_eq!(get(&files, "/15").await, "file x", "those that are kept make room");
            while let Ok(file) = fs::File::open("/dev/null") {
                hoard.push(file);
            }
            let _in_use = file(&files, "/15").await;
            assert_eq!(get(&files, "/16").await, "failed 503 retry");
            hoard.clear();
            assert_eq!(get(&files, "/16").await, "file x");
        });
}
