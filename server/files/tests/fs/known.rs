//! What is known without looking is what looking finds, and no longer than a second.
use crate::support::{Ask, Tree, say};
use std::time::{Duration, Instant};
use wasmserve_files::{Files, FilesOptions, Found, Resolver};

fn tree() -> Tree {
    let tree = Tree::new();
    tree.write("a.txt", "a")
        .write("b.txt", "b")
        .write("b.txt.gz", "packed")
        .write("d/index.html", "index")
        .write("e/x", "x")
        .write(".hidden", "hidden")
        .write(".well-known/x", "known")
        .write("tenants/one/a.txt", "one's")
        .write("tenants/one/index.html", "one's index");
    tree
}

fn files(tree: &Tree, resolver: Resolver) -> Files {
    let mut options = FilesOptions {
        resolver,
        ..FilesOptions::new(tree.root())
    };
    options.roots[0].1.precompressed = vec![wasmserve_files::Coding::Gzip];
    Files::new(options).unwrap()
}

fn asks() -> Vec<Ask> {
    vec![
        Ask::new("/a.txt"),
        Ask::new("/a.txt/"),
        Ask::new("/b.txt"),
        Ask::new("/b.txt").header("accept-encoding", "gzip"),
        Ask::new("/b.txt").header("accept-encoding", "identity;q=0, br"),
        Ask::new("/d"),
        Ask::new("/d/"),
        Ask::new("/e/"),
        Ask::new("/.hidden"),
        Ask::new("/.well-known/x"),
        Ask::new("/nothing"),
        Ask::new("/nothing").missing(&["/a.txt"], 404),
        Ask::new("/x").targets(&["/nothing", "/e/", "/b.txt"]),
        Ask::new("/x").targets(&["/nothing", "/a.txt/", "/b.txt"]),
        Ask::new("/x").targets(&["/.hidden", "/b.txt"]),
        Ask::new("/a.txt").place("default", "/tenants/one"),
        Ask::new("/").place("default", "/tenants/one"),
        Ask::new("/b.txt").place("default", "/tenants/one"),
        Ask::new("/a.txt").place("default", "/tenants/nobody"),
        Ask::new("/a.txt").place("default", "/"),
        Ask::new("/a.txt").place("other", "/"),
    ]
}

#[tokio::test]
async fn what_is_known_is_what_looking_finds() {
    let tree = tree();
    for resolver in [Resolver::Automatic, Resolver::Steps] {
        let mut known = 0;
        for ask in asks() {
            let files = files(&tree, resolver);
            let now = Instant::now();
            assert!(
                ask.known_to(&files, now).is_none(),
                "{}: nothing was looked up yet",
                ask.path
            );
            let found = ask.of(&files).await;
            let Some(selected) = ask.known_to(&files, now) else {
                continue;
            };
            let is_file = matches!(found, Found::File(_));
            assert!(is_file, "{}: only files are known", ask.path);
            let etag = selected.representation.etag.clone();
            let told = say(Found::File(selected)).await;
            if let Found::File(found) = &found {
                assert_eq!(found.representation.etag, etag, "{}", ask.path);
            }
            assert_eq!(say(found).await, told, "{}", ask.path);
            known += 1;
            let later = Instant::now() + Duration::from_secs(1);
            assert!(ask.known_to(&files, later).is_none(), "{}: a second is over", ask.path);
        }
        // All that are files, but for what stands behind something hidden, or behind a folder without an index.
        assert_eq!(known, 9, "by {resolver:?}");
    }
}

#[tokio::test]
async fn what_is_protected_is_not_known_any_more() {
    let tree = tree();
    let files = files(&tree, Resolver::Automatic);
    let ask = Ask::new("/a.txt");
    assert_eq!(say(ask.of(&files).await).await, "file a");
    let now = Instant::now();
    assert!(ask.known_to(&files, now).is_some());
    files.protect(vec![tree.root().join("a.txt")]);
    assert!(ask.known_to(&files, now).is_none());
    assert_eq!(say(ask.of(&files).await).await, "missing 404");
}
