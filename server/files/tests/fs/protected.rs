//! What is never served, however it is reached.
use crate::support::{Ask, Tree, get, say};
use std::{
    fs,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use wasmserve_files::{Files, FilesOptions, Resolver};

fn serving(tree: &Tree, resolver: Resolver, protected: &[&str]) -> Files {
    let protected = protected.iter().map(|path| tree.root().join(path)).collect();
    Files::new(FilesOptions {
        resolver,
        protected,
        ..FilesOptions::new(tree.root())
    })
    .unwrap()
}

const BOTH: [Resolver; 2] = [Resolver::Automatic, Resolver::Steps];

#[tokio::test]
async fn protected_files_are_not_there_by_whatever_name() {
    for resolver in BOTH {
        let tree = Tree::new();
        tree.write("site.toml", "key")
            .write("plugins/plugins.toml", "chain")
            .write("plugins/a/b.wasm", "wasm");
        tree.write("a", "a")
            .link("link", "site.toml")
            .link("linked", "plugins")
            .link("deep", "plugins/a/b.wasm");
        tree.write("pluginsfile", "not in plugins");
        let hard = |from: &str, to: &str| fs::hard_link(tree.root().join(from), tree.root().join(to)).unwrap();
        hard("site.toml", "hard");
        hard("plugins/a/b.wasm", "hardwasm");
        let files = serving(&tree, resolver, &["site.toml", "plugins"]);
        for asked in [
            "/site.toml",
            "/link",
            "/hard",
            "/hardwasm",
            "/plugins",
            "/plugins/",
            "/plugins/plugins.toml",
            "/plugins/a",
            "/plugins/a/b.wasm",
            "/linked",
            "/linked/plugins.toml",
            "/deep",
        ] {
            assert_eq!(get(&files, asked).await, "missing 404", "{asked} by {resolver:?}");
        }
        let placed = Ask::new("/b.wasm").place("default", "/plugins/a").of(&files).await;
        assert_eq!(say(placed).await, "missing 404");
        assert_eq!(get(&files, "/a").await, "file a");
        assert_eq!(get(&files, "/pluginsfile").await, "file not in plugins");
    }
}

#[tokio::test]
async fn what_is_written_anew_stays_protected() {
    for resolver in BOTH {
        let tree = Tree::new();
        tree.write("site.toml", "old")
            .write("plugins/x", "x")
            .write("fresh", "new");
        let files = serving(&tree, resolver, &["site.toml", "plugins", "later.toml"]);
        assert_eq!(get(&files, "/site.toml").await, "missing 404");
        // Editors write a new file and rename it.
        fs::rename(tree.root().join("fresh"), tree.root().join("site.toml")).unwrap();
        tree.write("plugins/y", "y").write("later.toml", "later");
        tokio::time::sleep(Duration::from_millis(1100)).await;
        for asked in ["/site.toml", "/plugins/y", "/later.toml"] {
            assert_eq!(get(&files, asked).await, "missing 404", "{asked} by {resolver:?}");
        }
        fs::hard_link(tree.root().join("plugins/y"), tree.root().join("hard")).unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(get(&files, "/hard").await, "missing 404", "by {resolver:?}");
    }
}

#[tokio::test]
async fn the_protected_set_is_replaced() {
    for resolver in BOTH {
        let tree = Tree::new();
        tree.write("a", "a").write("b", "b");
        let files = serving(&tree, resolver, &["a"]);
        assert_eq!(get(&files, "/a").await, "missing 404");
        assert_eq!(get(&files, "/b").await, "file b");
        files.protect(vec![tree.root().join("b")]);
        assert_eq!(get(&files, "/a").await, "file a");
        assert_eq!(get(&files, "/b").await, "missing 404");
    }
}

#[tokio::test]
async fn a_root_within_a_protected_directory_serves_nothing() {
    for resolver in BOTH {
        let tree = Tree::new();
        tree.write("keys/public/a", "a");
        let mut options = FilesOptions::new(tree.root().join("keys/public"));
        options.protected = vec![tree.root().join("keys")];
        options.resolver = resolver;
        let files = Files::new(options).unwrap();
        assert_eq!(get(&files, "/a").await, "missing 404", "by {resolver:?}");
    }
}

/// Whoever began to look before the set was replaced must not leave behind what the former set allowed.
#[test]
fn a_lookup_that_races_the_replacement_leaves_nothing_behind() {
    let tree = Tree::new();
    tree.write("key", "key");
    let key = tree.root().join("key");
    let files = tree.files();
    let stop = AtomicBool::new(false);
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                runtime().block_on(async {
                    while !stop.load(Ordering::Relaxed) {
                        let said = get(&files, "/key").await;
                        assert!(said == "file key" || said == "missing 404", "{said}");
                    }
                });
            });
        }
        let replaced = scope.spawn(|| {
            runtime().block_on(async {
                for round in 0..3000 {
                    files.protect(vec![key.clone()]);
                    assert_eq!(get(&files, "/key").await, "missing 404", "round {round}");
                    assert_eq!(get(&files, "/key").await, "missing 404", "round {round}");
                    files.protect(Vec::new());
                    assert_eq!(get(&files, "/key").await, "file key", "round {round}");
                }
            });
        });
        let replaced = replaced.join();
        stop.store(true, Ordering::Relaxed);
        replaced.unwrap();
    });
}
