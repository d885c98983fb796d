//! `wasmserve new`: what it makes is built, tested and served as it is, anywhere.
use std::{fs, path::Path, process::Command};
use support::{Launch, Tree, project, server_binary};

/// Runs a command of the server's in a folder, for as long as it takes: compilers have no deadline.
fn run(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let ran = Command::new(server_binary())
        .args(arguments)
        .current_dir(folder)
        // What the standard library was compiled to for the project's own plugins serves for these, too.
        .env("CARGO_TARGET_DIR", project().join("plugins/target"))
        .env("NO_COLOR", "1")
        .output()
        .expect("the server was built");
    let text = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8_lossy(&text).into_owned())
}

/// Made, built, tested and served.
#[track_caller]
fn works(language: &str) {
    let tree = Tree::new();
    let (made, text) = run(&tree.root(), &["new", "guard", "--lang", language]);
    assert!(made && text.contains("wasmserve build ."), "{text}");
    let folder = tree.at("guard");
    for (command, expected) in [("build", "1 built, 0 up to date, 0 failed"), ("test", ", 0 failed")] {
        let (done, text) = run(&folder, &[command, "."]);
        assert!(done && text.contains(expected), "{language}: {command}: {text}");
    }
    let files = Tree::new()
        .file("index.html", "the page")
        .file("internal/plan.html", "a plan");
    let server = Launch::new(&files).plugins_at(&folder).start();
    assert_eq!(server.get("/").text(), "the page");
    assert_eq!(server.get("/internal/plan.html").status, 403);
}

#[test]
fn a_policy_in_rust() {
    works("rust");
}

#[test]
fn nothing_is_overwritten_and_names_are_checked() {
    let tree = Tree::new().file("there/precious.txt", "precious");
    let (made, text) = run(&tree.root(), &["new", "there"]);
    assert!(!made && text.contains("there is there already"), "{text}");
    assert_eq!(
        fs::read_to_string(tree.at("there/precious.txt")).expect("a file"),
        "precious"
    );
    assert_eq!(fs::read_dir(tree.at("there")).expect("a folder").count(), 1);
    let (made, text) = run(&tree.root(), &["new", "My_Guard"]);
    assert!(!made && text.contains("\"My_Guard\" is no name for a policy"), "{text}");
    assert!(!tree.at("My_Guard").exists());
}
