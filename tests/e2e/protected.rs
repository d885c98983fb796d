//! The server's own configuration and plugins are never served, however they are reached.
use std::{fs, os::unix::fs::symlink};
use support::{Chain, Launch, Server, Tree, eventually, project};

/// A tree whose plugins lie beneath the root that is served, as in `wasmserve --plugins plugins/`.
fn tree() -> Tree {
    let tree = Tree::new().file("page.html", "page").file(
        "plugins/plugins.toml",
        "[[policy]]\nplugin = \"probe\"\n[policy.config]\nbody = \"the-secret-of-the-operator\"\n",
    );
    for name in ["plugin.toml", "probe.wasm"] {
        let content = fs::read(project().join("tests/guests/probe").join(name)).expect("guests are built");
        tree.write(&format!("plugins/probe/{name}"), without_sources(content));
    }
    tree
}

/// A built plugin without its sources has no way of being built.
fn without_sources(content: Vec<u8>) -> Vec<u8> {
    match String::from_utf8(content) {
        Ok(manifest) => {
            let (before, rest) = manifest
                .split_once("[build]")
                .expect("the guest's manifest has a build table");
            let (_, after) = rest.split_once("\n\n").expect("the build table ends");
            format!("{before}{after}").into_bytes()
        }
        Err(binary) => binary.into_bytes(),
    }
}

fn server(tree: &Tree) -> Server {
    Launch::bare()
        .folder(&tree.root())
        .arguments(["--listen", "127.0.0.1:0", "--plugins", "plugins/"])
        .start()
}

#[track_caller]
fn assert_hidden(server: &Server, target: &str) {
    for method in ["GET", "HEAD"] {
        let response = server.request(method, target, &[]);
        assert_eq!(response.status, 404, "{method} {target}: {response:?}");
        assert!(
            !String::from_utf8_lossy(&response.body).contains("operator"),
            "{response:?}"
        );
        assert_eq!(response.header("etag"), None, "{response:?}");
    }
}

#[test]
fn configuration_and_plugins_beneath_the_root_are_not_found() {
    let tree = tree();
    let server = server(&tree);
    assert_eq!(server.get("/page.html").text(), "page");
    for target in [
        "/plugins/plugins.toml",
        "/plugins/%70lugins.toml",
        "/plugins/probe/plugin.toml",
        "/plugins/probe/probe.wasm",
    ] {
        assert_hidden(&server, target);
    }
}

#[test]
fn not_by_another_name_either() {
    let tree = tree();
    let tree = tree
        .link("linked.toml", "plugins/plugins.toml")
        .link("linked", "plugins")
        .link("linked.wasm", "linked/probe/probe.wasm");
    for (name, original) in [
        ("hard.toml", "plugins/plugins.toml"),
        ("hard.wasm", "plugins/probe/probe.wasm"),
    ] {
        fs::hard_link(tree.at(original), tree.at(name)).expect("both names are on one file system");
    }
    let server = server(&tree);
    for target in [
        "/linked.toml",
        "/linked/plugins.toml",
        "/linked.wasm",
        "/hard.toml",
        "/hard.wasm",
    ] {
        assert_hidden(&server, target);
    }
}

/// An editor writes a new file and renames it over the old one: that is another file, with the same secrets.
#[test]
fn an_edited_configuration_stays_hidden() {
    let tree = tree();
    let server = server(&tree);
    assert_hidden(&server, "/plugins/plugins.toml");
    let text = fs::read_to_string(tree.at("plugins/plugins.toml")).expect("the tree is ours");
    tree.write("plugins/next", text + "# edited by the operator\n");
    fs::rename(tree.at("plugins/next"), tree.at("plugins/plugins.toml")).expect("the tree is writable");
    for _ in 0..30 {
        assert_hidden(&server, "/plugins/plugins.toml");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// A policy maps a path to the configuration: still not found.
#[test]
fn a_policy_cannot_give_it_away() {
    let chain = Chain::of("probe", "paths = \"/link.toml\"");
    let tree = Tree::new();
    symlink(chain.at("plugins.toml"), tree.at("link.toml")).expect("the tree is writable");
    fs::hard_link(chain.at("plugins.toml"), tree.at("hard.toml")).expect("both are temporary files");
    let server = Launch::new(&tree).plugins(&chain).start();
    assert_hidden(&server, "/anything");
    assert_hidden(&server, "/hard.toml");
}

#[test]
fn what_else_lies_beside_them_is_served() {
    let tree = tree().file("plugins-of-ours.html", "page");
    let server = server(&tree);
    eventually("a neighbour is served", || {
        server.get("/plugins-of-ours.html").text() == "page"
    });
}
