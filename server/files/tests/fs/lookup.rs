//! From paths to files: candidates, directories, what stands in for what is missing, places.
use crate::support::{Ask, Tree, get, path, say};
use http::{HeaderMap, StatusCode};
use std::{fs, os::unix::net::UnixListener};
use wasmserve_files::{Dotfiles, Files, FilesOptions, Found, Machines, MediaTypes, Resolver, RootOptions, Symlinks};

#[tokio::test]
async fn files_and_directories_are_told_apart() {
    let tree = Tree::new();
    tree.write("a.txt", "a")
        .write("d/index.html", "index")
        .write("e/x", "x")
        .write("i/index.html/x", "x");
    tree.write("space and+plus%41ü", "odd")
        .write(&"n".repeat(255), "long")
        .write("c:d/index.html", "");
    for resolver in [Resolver::Automatic, Resolver::Steps] {
        let files = Files::new(FilesOptions {
            resolver,
            ..FilesOptions::new(tree.root())
        })
        .unwrap();
        let long = format!("/{}", "n".repeat(255));
        let too_long = format!("/{}", "n".repeat(256));
        for (asked, said) in [
            ("/a.txt", "file a"),
            ("/a.txt/", "missing 404"),
            ("/a.txt/b", "missing 404"),
            ("/d/", "file index"),
            ("/d", "redirect d/"),
            ("/e/", "missing 404"),
            ("/e", "redirect e/"),
            ("/i/", "missing 404"),
            ("/c:d", "redirect c%3Ad/"),
            ("/", "missing 404"),
            ("/nothing", "missing 404"),
            ("/nothing/at/all", "missing 404"),
            ("/space and+plus%41ü", "file odd"),
            ("/space and+plusAü", "missing 404"),
            (&long, "file nnn"),
            (&too_long, "missing 404"),
        ] {
            let said = said.replace("nnn", "long");
            assert_eq!(get(&files, asked).await, said, "{asked} by {resolver:?}");
        }
    }
}

#[tokio::test]
async fn the_first_candidate_that_exists_is_served() {
    let tree = Tree::new();
    tree.write("b", "b")
        .write("c", "c")
        .write("d/index.html", "index")
        .write("d.html", "html");
    let files = tree.files();
    let ask = |targets: &[&str]| Ask::new("/d").query("q=1&x=%20").targets(targets);
    for (targets, said) in [
        (&["/a", "/b", "/c"][..], "file b"),
        (&["/c", "/b"], "file c"),
        (&["/d", "/d.html"], "file html"),
        (&["/d", "/d/", "/d.html"], "file index"),
        (&["/d", "/nothing"], "redirect d/?q=1&x=%20"),
        // Only the folder that was asked for is redirected to: what another one is called is nobody's business.
        (&["/", "/nothing"], "missing 404"),
    ] {
        assert_eq!(say(ask(targets).of(&files).await).await, said, "{targets:?}");
    }
    assert_eq!(
        say(Ask::new("/other").targets(&["/d"]).of(&files).await).await,
        "missing 404"
    );
    // Wherever a mapping put it; with the slash there is nothing more to add.
    for (path, said) in [("/tenant/d", "redirect d/"), ("/tenant/d/", "missing 404")] {
        assert_eq!(
            say(Ask::new(path).targets(&["/d"]).of(&files).await).await,
            said,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_redirect_stays_relative_and_escaped() {
    let tree = Tree::new();
    tree.write("a b/ä?/x", "x").write("evil.com/x", "");
    let files = tree.files();
    assert_eq!(get(&files, "/a b").await, "redirect a%20b/");
    assert_eq!(get(&files, "/a b/ä?").await, "redirect %C3%A4%3F/");
    let found = Ask::new("/evil.com").query("a=\"<>\r\nü").of(&files).await;
    assert_eq!(say(found).await, "redirect evil.com/?a=%22%3C%3E%0D%0A%C3%BC");
}

#[tokio::test]
async fn dotfiles_are_hidden_but_for_the_well_known() {
    let tree = Tree::new();
    tree.write(".git/config", "git")
        .write(".env", "env")
        .write("d/.env", "env")
        .write(".well-known/acme/x", "x");
    tree.write(".well-known/.env", "env")
        .write("d/.well-known/x", "x")
        .write(".releases/7/a", "a");
    tree.link("current", ".releases/7");
    let hidden = [
        "/.git/config",
        "/.git",
        "/.env",
        "/d/.env",
        "/.well-known/.env",
        "/d/.well-known/x",
    ];
    let files = tree.files();
    for asked in hidden {
        assert_eq!(get(&files, asked).await, "missing 404", "{asked}");
    }
    assert_eq!(get(&files, "/.well-known/acme/x").await, "file x");
    assert_eq!(get(&files, "/current/a").await, "file a");
    assert_eq!(
        say(Ask::new("/x").targets(&["/.env"]).of(&files).await).await,
        "missing 404"
    );
    let files = tree.files_with(|root| root.dotfiles = Dotfiles::Serve);
    assert_eq!(get(&files, "/.git/config").await, "file git");
    assert_eq!(get(&files, "/.git").await, "redirect .git/");
}

#[tokio::test]
async fn links_are_followed_while_they_stay_beneath() {
    let tree = Tree::new();
    tree.write("d/a", "a")
        .link("file", "d/a")
        .link("dir", "d")
        .link("d/up", "../d/a")
        .link("chain", "file");
    tree.link("absolute", tree.root().join("d/a"))
        .link("out", "../secret")
        .link("d/out", "../../secret");
    tree.link("round", "round")
        .link("dangling", "nothing")
        .link("inside", "d/../../www/d/a")
        .link("self", ".");
    tree.link("proc", "/proc/self/root")
        .link("slash", "d/a/")
        .link("dirslash", "d/");
    for resolver in [Resolver::Automatic, Resolver::Steps] {
        let files = Files::new(FilesOptions {
            resolver,
            ..FilesOptions::new(tree.root())
        })
        .unwrap();
        for (asked, said) in [
            ("/file", "file a"),
            ("/dir/a", "file a"),
            ("/d/up", "file a"),
            ("/chain", "file a"),
            ("/self/self/d/a", "file a"),
            ("/dirslash/a", "file a"),
            ("/dir", "redirect dir/"),
            ("/absolute", "missing 404"),
            ("/out", "missing 404"),
            ("/d/out", "missing 404"),
            ("/round", "missing 404"),
            ("/dangling", "missing 404"),
            ("/inside", "missing 404"),
            ("/proc/etc/passwd", "missing 404"),
            ("/slash", "missing 404"),
        ] {
            assert_eq!(get(&files, asked).await, said, "{asked} by {resolver:?}");
        }
        let mut options = FilesOptions {
            resolver,
            ..FilesOptions::new(tree.root())
        };
        options.roots[0].1.symlinks = Symlinks::Deny;
        let files = Files::new(options).unwrap();
        for asked in ["/file", "/dir/a", "/d/up", "/dir", "/dir/"] {
            assert_eq!(get(&files, asked).await, "missing 404", "{asked} by {resolver:?}");
        }
        assert_eq!(get(&files, "/d/a").await, "file a");
    }
}

#[tokio::test]
async fn the_root_itself_may_be_a_link_and_flips_within_a_second() {
    let tree = Tree::new();
    let link = tree.directory.path().join("current");
    tree.write("1/a", "one").write("2/a", "two");
    std::os::unix::fs::symlink(tree.root().join("1"), &link).unwrap();
    for symlinks in [Symlinks::Beneath, Symlinks::Deny] {
        let mut options = FilesOptions::new(&link);
        options.roots[0].1.symlinks = symlinks;
        let files = Files::new(options).unwrap();
        assert_eq!(get(&files, "/a").await, "file one");
        let fresh = tree.directory.path().join("fresh");
        std::os::unix::fs::symlink(tree.root().join("2"), &fresh).unwrap();
        fs::rename(&fresh, &link).unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        assert_eq!(get(&files, "/a").await, "file two");
        fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(tree.root().join("1"), &link).unwrap();
    }
}

#[tokio::test]
async fn a_root_that_is_gone_is_trouble_and_not_a_deleted_site() {
    let tree = Tree::new();
    tree.write("a", "a");
    let files = tree.files();
    let away = tree.directory.path().join("away");
    fs::rename(tree.root(), &away).unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    assert_eq!(get(&files, "/a").await, "failed 503 retry");
    fs::rename(&away, tree.root()).unwrap();
    assert_eq!(get(&files, "/a").await, "file a");
}

#[tokio::test]
async fn special_files_are_not_there_and_nobody_waits_for_them() {
    let tree = Tree::new();
    tree.write("d/x", "");
    let fifo = tree.root().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o644.into(), 0).unwrap();
    let _socket = UnixListener::bind(tree.root().join("socket")).unwrap();
    let null = rustix::fs::makedev(1, 3);
    let device = tree.root().join("device");
    // Without the right to make devices there is one less to try.
    let _ = rustix::fs::mknodat(
        rustix::fs::CWD,
        &device,
        rustix::fs::FileType::CharacterDevice,
        0o644.into(),
        null,
    );
    for resolver in [Resolver::Automatic, Resolver::Steps] {
        let files = Files::new(FilesOptions {
            resolver,
            ..FilesOptions::new(tree.root())
        })
        .unwrap();
        for asked in ["/fifo", "/socket", "/device", "/fifo/", "/device/x"] {
            assert_eq!(get(&files, asked).await, "missing 404", "{asked} by {resolver:?}");
        }
    }
}

#[tokio::test]
async fn a_place_confines() {
    let tree = Tree::new();
    tree.write("a/x", "a's")
        .write("b/x", "b's")
        .write("a/releases/7/x", "seven")
        .write("top", "top");
    tree.link("a/b", "../b")
        .link("a/out", "../b/x")
        .link("a/current", "releases/7")
        .link("a/public", "../b");
    tree.link("alias", "a");
    let mut options = FilesOptions::new(tree.root());
    options
        .roots
        .push(("other".into(), RootOptions::new(tree.root().join("b"))));
    for resolver in [Resolver::Automatic, Resolver::Steps] {
        let files = Files::new(FilesOptions {
            resolver,
            ..options.clone()
        })
        .unwrap();
        for (root, directory, asked, said) in [
            ("default", "/a", "/x", "file a's"),
            ("default", "/a/", "/x", "file a's"),
            ("default", "/", "/top", "file top"),
            ("default", "/alias", "/x", "file a's"),
            ("default", "/a", "/top", "missing 404"),
            ("default", "/a", "/out", "missing 404"),
            ("default", "/a", "/b/x", "missing 404"),
            ("default", "/a/current", "/x", "file seven"),
            // Beneath the root, but whoever owns `a` does not own `b`.
            ("default", "/a/public", "/x", "missing 404"),
            ("default", "/nothing", "/x", "missing 404"),
            ("default", "/top", "/x", "missing 404"),
            ("default", "/a/current", "/", "missing 404"),
            ("other", "/", "/x", "file b's"),
            ("unknown", "/", "/x", "failed 500"),
        ] {
            let said_now = say(Ask::new(asked).place(root, directory).of(&files).await).await;
            assert_eq!(said_now, said, "{asked} in {root}{directory} by {resolver:?}");
        }
    }
}

#[tokio::test]
async fn what_stands_in_for_what_is_missing() {
    let tree = Tree::new();
    tree.write("404.html", "custom")
        .write("gone.html", "gone")
        .write("app/index.html", "app")
        .write("a", "a");
    let files = tree.files_with(|root| {
        root.error_pages = vec![
            (StatusCode::NOT_FOUND, path("/404.html")),
            (StatusCode::GONE, path("/nothing")),
        ];
    });
    assert_eq!(get(&files, "/nothing").await, "page 404 custom");
    assert_eq!(get(&files, "/a").await, "file a");
    for (paths, status, said) in [
        (&["/gone.html"][..], 404, "page 404 gone"),
        (&["/nothing", "/gone.html"], 410, "page 410 gone"),
        (&["/app/"], 200, "page 200 app"),
        (&["/app"], 200, "page 404 custom"),
        (&["/nothing"], 200, "page 404 custom"),
        (&[], 410, "missing 410"),
        (&["https://a.org/?b=c"], 307, "elsewhere 307 https://a.org/?b=c"),
    ] {
        let found = Ask::new("/nothing").missing(paths, status).of(&files).await;
        assert_eq!(say(found).await, said, "{paths:?} {status}");
    }
    for (asked, directory, said) in [
        ("/a", "/", "file a"),
        ("/app", "/", "redirect app/"),
        ("/app/", "/", "file app"),
        ("/nothing", "/", "elsewhere 302 /b"),
        ("/a", "/nobody", "elsewhere 302 /b"),
    ] {
        let ask = Ask::new(asked).place("default", directory).missing(&["/b"], 302);
        assert_eq!(say(ask.of(&files).await).await, said, "{asked} in {directory}");
    }
    assert_eq!(
        crate::support::all_of(
            files
                .error_page(StatusCode::NOT_FOUND, None, &HeaderMap::new())
                .await
                .unwrap()
                .source
                .file()
                .unwrap()
        )
        .await
        .unwrap(),
        b"custom"
    );
    assert!(
        files
            .error_page(StatusCode::FORBIDDEN, None, &HeaderMap::new())
            .await
            .is_none()
    );
    let files = tree.files_with(|root| root.fallback = Some(path("/app/")));
    assert_eq!(get(&files, "/deep/link").await, "page 200 app");
    let found = Ask::new("/deep/link").missing(&["/gone.html"], 404).of(&files).await;
    assert_eq!(say(found).await, "page 404 gone");
}

#[test]
fn roots_that_cannot_be_are_refused_by_name() {
    let tree = Tree::new();
    let refused = |options| Files::new(options).err().unwrap().to_string();
    let nothing = tree.root().join("nothing");
    assert_eq!(
        refused(FilesOptions::new(&nothing)),
        format!("cannot open the root {}", nothing.display())
    );
    assert!(refused(FilesOptions::new(tree.directory.path().join("secret"))).starts_with("cannot open the root"));
    let mut twice = FilesOptions::new(tree.root());
    twice.roots.push(("default".into(), tree.options()));
    assert_eq!(refused(twice), "there are two roots of the name default");
    let mut none = FilesOptions::new(tree.root());
    none.roots.clear();
    assert_eq!(refused(none), "there is no root: a site needs at least one");
    for index in ["", "..", "a/b", "/etc/passwd"] {
        let mut options = FilesOptions::new(tree.root());
        options.roots[0].1.index = vec!["index.html".into(), index.into()];
        assert_eq!(
            refused(options),
            format!("the index {index:?} of the root default is not a file name")
        );
    }
}

#[tokio::test]
async fn options_of_a_root_shape_its_metadata() {
    let trees = [Tree::new(), Tree::new()];
    let modified = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    for tree in &trees {
        tree.write("a.wat", "a").write("start.htm", "start");
        let file = fs::File::options().write(true).open(tree.root().join("a.wat")).unwrap();
        file.set_modified(modified).unwrap();
    }
    for (machines, same) in [(Machines::One, false), (Machines::Several, true)] {
        let mut tags = Vec::new();
        for tree in &trees {
            let files = tree.files_with(|root| {
                root.machines = machines;
                root.media_types = MediaTypes::new([("wat", "text/x-wat")], None).unwrap();
                root.index = vec!["index.html".into(), "start.htm".into()];
            });
            let Found::File(selected) = Ask::new("/a.wat").of(&files).await else {
                panic!("a file")
            };
            assert!(
                selected
                    .representation
                    .content_type
                    .to_str()
                    .unwrap()
                    .starts_with("text/x-wat")
            );
            tags.push(selected.representation.etag.clone());
            assert_eq!(get(&files, "/").await, "file start");
        }
        assert_eq!(tags[0] == tags[1], same, "{machines:?}: {tags:?}");
    }
}
