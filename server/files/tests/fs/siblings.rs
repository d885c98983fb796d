//! Siblings that are known not to be there: every way in which one can come is seen within a second.
use crate::support::{Ask, Tree, all_of, rest};
use std::{fs, path::Path, sync::Arc, time::Duration};
use wasmserve_files::{Files, FilesOptions, Found, Resolver, Selected};

/// A little more than the second that something is believed.
async fn a_second() {
    tokio::time::sleep(Duration::from_millis(1050)).await;
}

/// Until what was just written is told from what is written now.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(2100)).await;
}

async fn selected(files: &Files, path: &str) -> Selected {
    match Ask::new(path).header("accept-encoding", "gzip").of(files).await {
        Found::File(selected) => selected,
        _ => panic!("{path} is a file"),
    }
}

async fn content(files: &Files, path: &str) -> String {
    let selected = selected(files, path).await;
    String::from_utf8(all_of(selected.source.file().unwrap()).await.unwrap()).unwrap()
}

fn files(tree: &Tree, resolver: Resolver) -> Files {
    Files::new(FilesOptions {
        resolver,
        ..FilesOptions::new(tree.root())
    })
    .unwrap()
}

/// One change of a directory that leads to a sibling where none was.
struct Arrival {
    folder: &'static str,
    /// Beside `a.html`, before anything is asked for.
    before: fn(&Path),
    /// The change, made in the folder or beside it.
    change: fn(&Path),
}

const NOTHING: fn(&Path) = |_| {};

const ARRIVALS: &[Arrival] = &[
    Arrival {
        folder: "written",
        before: NOTHING,
        change: |folder| fs::write(folder.join("a.html.gz"), "packed").unwrap(),
    },
    Arrival {
        folder: "renamed",
        before: |folder| fs::write(folder.join("x"), "packed").unwrap(),
        change: |folder| fs::rename(folder.join("x"), folder.join("a.html.gz")).unwrap(),
    },
    Arrival {
        folder: "linked",
        before: |folder| fs::write(folder.join("x"), "packed").unwrap(),
        change: |folder| fs::hard_link(folder.join("x"), folder.join("a.html.gz")).unwrap(),
    },
    Arrival {
        folder: "led-to",
        before: |folder| fs::write(folder.join("x"), "packed").unwrap(),
        change: |folder| std::os::unix::fs::symlink("x", folder.join("a.html.gz")).unwrap(),
    },
    // The directory of the link does not change.
    Arrival {
        folder: "dangling",
        before: |folder| {
            fs::create_dir(folder.join("elsewhere")).unwrap();
            std::os::unix::fs::symlink("elsewhere/x", folder.join("a.html.gz")).unwrap();
        },
        change: |folder| fs::write(folder.join("elsewhere/x"), "packed").unwrap(),
    },
    // Nor does that of a sibling that was too old.
    Arrival {
        folder: "outdated",
        before: |folder| {
            fs::write(folder.join("a.html.gz"), "packed").unwrap();
            crate::support::touch(&folder.join("a.html.gz"), Duration::from_secs(3600));
        },
        change: |folder| rest(&folder.join("a.html.gz")),
    },
    Arrival {
        folder: "replaced",
        before: |folder| {
            let other = folder.with_extension("other");
            fs::create_dir(&other).unwrap();
            fs::hard_link(folder.join("a.html"), other.join("a.html")).unwrap();
            fs::write(other.join("a.html.gz"), "packed").unwrap();
        },
        change: |folder| {
            fs::rename(folder, folder.with_extension("former")).unwrap();
            fs::rename(folder.with_extension("other"), folder).unwrap();
        },
    },
    // Somebody hides it.
    Arrival {
        folder: "set-back",
        before: NOTHING,
        change: |folder| {
            let modified = fs::metadata(folder).unwrap().modified().unwrap();
            fs::write(folder.join("a.html.gz"), "packed").unwrap();
            fs::File::open(folder).unwrap().set_modified(modified).unwrap();
        },
    },
];

#[tokio::test]
async fn a_sibling_that_comes_is_seen_within_a_second() {
    seen_after(Resolver::Automatic, Duration::from_millis(1050)).await;
}

#[tokio::test]
async fn a_sibling_that_comes_is_seen_step_by_step_too() {
    seen_after(Resolver::Steps, Duration::from_millis(1050)).await;
}

/// Nobody asks until the directory has rested again: it is told from what it was by its times alone.
#[tokio::test]
async fn a_sibling_that_came_a_while_ago_is_seen() {
    seen_after(Resolver::Automatic, Duration::from_millis(2500)).await;
}

/// Siblings come, and go again; each time nobody asks for so long.
async fn seen_after(resolver: Resolver, after: Duration) {
    let tree = Tree::new();
    for arrival in ARRIVALS {
        tree.write(&format!("{}/a.html", arrival.folder), "identity");
        rest(&tree.root().join(arrival.folder).join("a.html"));
        (arrival.before)(&tree.root().join(arrival.folder));
    }
    settle().await;
    let files = files(&tree, resolver);
    // Asked for, then found out about its directory, then believed.
    for _ in 0..3 {
        for arrival in ARRIVALS {
            let path = format!("/{}/a.html", arrival.folder);
            assert_eq!(content(&files, &path).await, "identity", "{path} by {resolver:?}");
        }
        a_second().await;
    }
    for arrival in ARRIVALS {
        (arrival.change)(&tree.root().join(arrival.folder));
    }
    tokio::time::sleep(after).await;
    for arrival in ARRIVALS {
        let path = format!("/{}/a.html", arrival.folder);
        assert_eq!(content(&files, &path).await, "packed", "{path} by {resolver:?}");
    }
    for arrival in ARRIVALS {
        fs::remove_file(tree.root().join(arrival.folder).join("a.html.gz")).unwrap();
    }
    tokio::time::sleep(after).await;
    for arrival in ARRIVALS {
        let path = format!("/{}/a.html", arrival.folder);
        assert_eq!(content(&files, &path).await, "identity", "{path} by {resolver:?}");
    }
}

/// What a file looks like to clients is made once, and made again when the file is another.
#[tokio::test]
async fn what_is_known_of_a_file_is_kept_while_it_is_the_same() {
    let tree = Tree::new();
    tree.write("a.html", "one").write("big.html", vec![b'x'; 100_000]);
    for name in ["a.html", "big.html"] {
        rest(&tree.root().join(name));
    }
    let files = tree.files();
    for path in ["/a.html", "/big.html"] {
        let first = selected(&files, path).await.representation;
        a_second().await;
        let again = selected(&files, path).await.representation;
        assert!(Arc::ptr_eq(&first, &again), "{path} is the same");
        fs::write(tree.root().join(&path[1..]), "other").unwrap();
        a_second().await;
        let other = selected(&files, path).await.representation;
        assert_ne!(first.etag, other.etag, "{path} was written anew");
        assert!(other.etag.as_bytes().starts_with(b"W/"), "{path} was written just now");
        settle().await;
        a_second().await;
        let rested = selected(&files, path).await.representation;
        assert!(!rested.etag.as_bytes().starts_with(b"W/"), "{path} has rested");
    }
}
