//! `--code-cache`: compiled code is found at the next start, and never kept where others could change or read it.
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use support::{Chain, Launch, Policy, Server, Tree, eventually};
use tempfile::TempDir;

fn chain() -> Chain {
    Chain::new([
        Policy::standard("security-headers"),
        Policy::standard("basic-auth").config("prefixes = [\"/private/\"]\n[policy.config.users]"),
    ])
}

fn tree() -> Tree {
    Tree::new().file("index.html", "home").file("private/a", "SECRET")
}

/// The chain decides, and every policy's code came from there.
#[track_caller]
fn assert_code(server: &Server, from: &str) {
    assert_eq!(server.get("/").header("x-content-type-options"), Some("nosniff"));
    assert_eq!(server.get("/private/a").status, 401);
    let found = || {
        let log = server.log();
        let loaded = log.lines().filter(|line| line.contains("a policy is loaded"));
        loaded
            .map(|line| line.contains(&format!("code=\"{from}\"")))
            .collect::<Vec<bool>>()
    };
    // The log is another stream than the one that says where the server listens.
    eventually("both are told", || found().len() == 2);
    assert_eq!(found(), [true, true], "{}", server.log());
}

fn files(folder: &Path) -> usize {
    fs::read_dir(folder.join("code-1")).map_or(0, Iterator::count)
}

#[test]
fn the_second_start_finds_compiled_code() {
    let (tree, chain, cache) = (tree(), chain(), TempDir::new().expect("there is room"));
    for from in ["compiled", "cached", "cached"] {
        let launch = Launch::new(&tree).plugins(&chain);
        let server = launch.arguments(["--code-cache"]).arguments([cache.path()]).start();
        assert_code(&server, from);
        assert_eq!(files(cache.path()), 2);
    }
    let checked = Launch::check(&tree);
    let checked = checked
        .plugins(&chain)
        .arguments(["--code-cache"])
        .arguments([cache.path()]);
    let checked = checked.run_to_end();
    assert_eq!(
        checked.log.matches("code       from the cache").count(),
        2,
        "{}",
        checked.log
    );
}

#[test]
fn code_is_kept_where_caches_are_unless_it_is_off() {
    let (tree, chain, home) = (tree(), chain(), TempDir::new().expect("there is room"));
    let launch = || {
        Launch::new(&tree)
            .plugins(&chain)
            .variable("XDG_CACHE_HOME", home.path())
    };
    let folder = home.path().join("wasmserve");
    assert_code(&launch().arguments(["--code-cache", "off"]).start(), "compiled");
    assert!(!folder.exists());
    assert_code(&launch().start(), "compiled");
    assert_eq!(files(&folder), 2);
    assert_code(&launch().start(), "cached");
    let service = home.path().join("service");
    assert_code(&launch().variable("CACHE_DIRECTORY", &service).start(), "compiled");
    assert_eq!(files(&service), 2);
}

#[test]
fn a_folder_that_others_can_change_or_read_over_http_is_not_used() {
    let (tree, chain, open) = (tree(), chain(), TempDir::new().expect("there is room"));
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).expect("it is ours");
    for (folder, reason) in [
        (
            open.path().to_owned(),
            "can be changed by others: take it from them with chmod go-w",
        ),
        (tree.root().join("cache"), "lies beneath the served folder"),
        (tree.at("index.html"), "is not a folder"),
    ] {
        let launch = Launch::new(&tree).plugins(&chain);
        let server = launch.arguments(["--code-cache"]).arguments([&folder]).start();
        let line = server.logged("compiled code is not kept");
        assert!(line.contains(reason), "{line}");
        assert_code(&server, "compiled");
        assert!(!folder.join("code-1").exists());
    }
    assert!(!tree.root().join("cache").exists());
}

#[test]
fn damaged_code_is_compiled_again() {
    let (tree, chain, cache) = (tree(), chain(), TempDir::new().expect("there is room"));
    let launch = || {
        let launch = Launch::new(&tree).plugins(&chain);
        launch.arguments(["--code-cache"]).arguments([cache.path()]).start()
    };
    assert_code(&launch(), "compiled");
    for entry in fs::read_dir(cache.path().join("code-1")).expect("it was made") {
        let file = entry.expect("it can be read").path();
        let mut bytes = fs::read(&file).expect("it is ours");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&file, bytes).expect("it is ours");
    }
    let server = launch();
    let line = server.logged("a file of cached code is not used, and will be replaced");
    assert!(line.contains("it is damaged: its digest is another"), "{line}");
    assert_code(&server, "compiled");
    assert_code(&launch(), "cached");
}
