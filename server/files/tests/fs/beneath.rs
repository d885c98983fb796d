//! Nothing outside the root, ever: both ways of opening compared on random trees, races, and a list of attempts.
use crate::support::{Ask, Random, Tree, get, say};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use wasmserve_files::{CacheOptions, Files, FilesOptions, Found, Resolver, SitePath, Symlinks};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// A few directories, files and links, the links to anywhere: up, across, out, to themselves, to nothing.
fn grow(random: &mut Random, root: &Path) {
    let mut directories = vec![PathBuf::new()];
    for _ in 0..random.below(16) + 10 {
        let parent = directories[random.below(directories.len())].clone();
        let path = parent.join(NAMES[random.below(NAMES.len())]);
        if fs::symlink_metadata(root.join(&path)).is_ok() {
            continue;
        }
        match random.below(5) {
            0 | 1 => {
                fs::create_dir(root.join(&path)).unwrap();
                directories.push(path);
            }
            2 => fs::write(root.join(&path), format!("in {}", path.display())).unwrap(),
            _ => std::os::unix::fs::symlink(target(random, root), root.join(&path)).unwrap(),
        }
    }
}

fn target(random: &mut Random, root: &Path) -> String {
    if random.below(12) == 0 {
        return root.join(NAMES[random.below(NAMES.len())]).display().to_string();
    }
    let mut parts: Vec<&str> = (0..random.below(4) + 1)
        .map(|_| match random.below(9) {
            0..3 => "..",
            3 => ".",
            _ => NAMES[random.below(NAMES.len())],
        })
        .collect();
    match random.below(8) {
        0 => parts.extend(["..", "..", "..", "secret"]),
        1 => parts.push(""),
        2 => parts.push("."),
        _ => {}
    }
    parts.join("/")
}

#[tokio::test]
async fn both_ways_of_opening_agree_on_random_trees() {
    const TREES: u64 = 150;
    let (mut files_seen, mut redirects, mut missing) = (0, 0, 0);
    for seed in 0..TREES {
        let tree = Tree::new();
        let mut random = Random::new(seed);
        grow(&mut random, &tree.root());
        let symlinks = if random.below(4) == 0 {
            Symlinks::Deny
        } else {
            Symlinks::Beneath
        };
        let [fast, slow] = [Resolver::Automatic, Resolver::Steps].map(|resolver| {
            let mut options = FilesOptions {
                resolver,
                ..FilesOptions::new(tree.root())
            };
            options.roots[0].1.symlinks = symlinks;
            Files::new(options).unwrap()
        });
        for _ in 0..60 {
            let path: String = (0..random.below(5) + 1)
                .map(|_| format!("/{}", NAMES[random.below(4)]))
                .collect();
            let place = (random.below(3) == 0).then(|| format!("/{}", NAMES[random.below(4)]));
            let ask = |path: &str| match &place {
                Some(directory) => Ask::new(path).place("default", directory),
                None => Ask::new(path),
            };
            let said = say(ask(&path).of(&fast).await).await;
            assert_eq!(
                said,
                say(ask(&path).of(&slow).await).await,
                "{path} in {place:?} of tree {seed}"
            );
            assert!(!said.contains("secret"), "{path} in {place:?} of tree {seed} leads out");
            match said.split(' ').next() {
                Some("file") => files_seen += 1,
                Some("redirect") => redirects += 1,
                _ => missing += 1,
            }
        }
    }
    // Trees in which nothing is found would agree about nothing.
    assert!(
        files_seen > 300 && redirects > 300 && missing > 300,
        "{files_seen} {redirects} {missing}"
    );
}

/// Two names change places again and again while files are asked for through them.
#[tokio::test]
async fn directories_that_become_links_out_lead_nowhere() {
    let tree = Tree::new();
    tree.write("d/e/x", "inside")
        .write("t/u/x", "inside")
        .write("t/v/x", "other tenant");
    let outside = tree.directory.path().join("outside");
    fs::create_dir_all(outside.join("e")).unwrap();
    fs::create_dir_all(outside.join("u")).unwrap();
    for name in ["x", "e/x", "u/x"] {
        fs::write(outside.join(name), "OUTSIDE").unwrap();
    }
    tree.link("swap", "../outside")
        .link("up", "../..")
        .link("t/swap", "v")
        .link("dots", "d/../../outside");
    let stop = AtomicBool::new(false);
    let swapped = |one: &str, other: &str| {
        let (one, other) = (tree.root().join(one), tree.root().join(other));
        renameat_with(CWD, &one, CWD, &other, RenameFlags::EXCHANGE).unwrap();
    };
    let racing = |resolver, runtime: &tokio::runtime::Runtime| {
        let mut options = FilesOptions {
            resolver,
            ..FilesOptions::new(tree.root())
        };
        // Nothing is kept: every lookup races anew.
        options.cache = CacheOptions {
            descriptors: 0,
            bytes: 0,
        };
        let files = Files::new(options).unwrap();
        let (mut inside, mut refused) = (0, 0);
        let until = Instant::now() + Duration::from_secs(2);
        while Instant::now() < until {
            let asks = [
                (Ask::new("/d/e/x"), "file inside"),
                (Ask::new("/x").place("default", "/d/e"), "file inside"),
                (Ask::new("/e/x").place("default", "/d"), "file inside"),
                (Ask::new("/u/x").place("default", "/t"), "file inside"),
                (Ask::new("/x").place("default", "/t/u"), "file inside"),
            ];
            for (ask, good) in asks {
                match runtime.block_on(async { say(ask.of(&files).await).await }).as_str() {
                    said if said == good => inside += 1,
                    "missing 404" | "failed 503 retry" => refused += 1,
                    // Between two links within one tenant's directory there is nothing to confine.
                    "file other tenant" => {}
                    said => panic!("{} in {:?} by {resolver:?}: {said}", ask.path, ask.place),
                }
            }
        }
        assert!(inside > 10, "{resolver:?} was never inside");
        assert!(refused > 10, "{resolver:?} never met a race");
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for (one, other) in [
                    ("d", "swap"),
                    ("d", "swap"),
                    ("d", "dots"),
                    ("d", "dots"),
                    ("t/u", "t/swap"),
                    ("t/u", "t/swap"),
                ] {
                    swapped(one, other);
                }
            }
        });
        let racers = [Resolver::Automatic, Resolver::Steps].map(|resolver| {
            scope.spawn(move || {
                racing(
                    resolver,
                    &tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .unwrap(),
                );
            })
        });
        let ended: Vec<_> = racers.into_iter().map(|racer| racer.join()).collect();
        stop.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });
}

/// Each line is a request target as it comes from the wire. None of them may lead to `secret`, and none may fail.
#[tokio::test]
async fn no_path_of_the_traversal_list_leads_out() {
    let list = include_str!("../traversal.txt");
    let targets: Vec<&str> = list
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
        .collect();
    assert!(targets.len() >= 300, "{} paths", targets.len());
    let tree = Tree::new();
    tree.write("index.html", "index")
        .write("static/a.txt", "a")
        .write("static/deep/b.txt", "b")
        .write(".env", "secret");
    tree.write(".git/config", "secret")
        .link("out", "../secret")
        .link("up", "..")
        .link("root", "/")
        .link("proc", "/proc/self");
    tree.link("static/up", "../..")
        .link("static/loop", "loop")
        .link("static/fd", "/proc/self/fd/0");
    for resolver in [Resolver::Automatic, Resolver::Steps] {
        let files = Files::new(FilesOptions {
            resolver,
            ..FilesOptions::new(tree.root())
        })
        .unwrap();
        let (mut refused, mut missing) = (0, 0);
        for target in &targets {
            let raw = target.split('?').next().unwrap_or_default();
            let Ok(path) = SitePath::from_uri(raw) else {
                refused += 1;
                continue;
            };
            let found = Ask::new(path.as_str()).of(&files).await;
            if matches!(found, Found::Missing { .. }) {
                missing += 1;
            }
            let said = say(found).await;
            assert!(
                matches!(said.as_str(), "missing 404" | "file index" | "file a" | "file b")
                    || said.starts_with("redirect "),
                "{target} by {resolver:?}: {said}"
            );
        }
        // A list that is all refused by its syntax would not try the file system, nor the other way round.
        assert!(refused > 100 && missing > 100, "{refused} refused, {missing} missing");
    }
    // The trap is armed: what must not be reached is there.
    assert_eq!(fs::read_to_string(tree.root().join("out")).unwrap(), "secret");
    assert_eq!(get(&tree.files(), "/static/a.txt").await, "file a");
}
