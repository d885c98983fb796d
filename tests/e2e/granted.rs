//! Directories that a policy may read and variables that it may see: what the operator grants, and nothing of the host's.
use std::fs;
use support::{Chain, Launch, Policy, Server, Tree};
use tempfile::TempDir;

fn server(tree: &Tree, settings: &str) -> (Chain, Server) {
    let http = "http = { allow = [\"http://127.0.0.1:9\"] }";
    let chain = Chain::new([Policy::guest("outbound").settings(&format!("{http}\n{settings}"))]);
    let server = Launch::new(tree).plugins(&chain).start();
    (chain, server)
}

/// A folder with a file and a link that leads out of it.
fn data() -> TempDir {
    let outer = tempfile::tempdir().expect("the machine has room for temporary files");
    let data = outer.path().join("data");
    fs::create_dir_all(data.join("empty")).expect("the folder is writable");
    fs::write(data.join("file.txt"), "content").expect("the folder is writable");
    fs::write(outer.path().join("secret.txt"), "secret").expect("the folder is writable");
    std::os::unix::fs::symlink("../secret.txt", data.join("way-out")).expect("the folder is writable");
    outer
}

#[test]
fn a_granted_directory_is_read_anew_each_time() {
    let (tree, outer) = (Tree::new(), data());
    let data = outer.path().join("data");
    let (_chain, server) = server(&tree, &format!("directories = {{ \"/data\" = {data:?} }}"));
    assert_eq!(server.get("/directories").text(), "/data\n");
    let response = server.get("/files/read/file.txt");
    assert_eq!(response.text(), "content");
    assert_eq!(response.header("cache-control"), Some("private"));
    fs::write(data.join("file.txt"), "other content").expect("the folder is writable");
    assert_eq!(server.get("/files/read/file.txt").text(), "other content");
}

#[test]
fn nothing_beneath_a_granted_directory_can_be_changed_and_nothing_outside_of_it_read() {
    let (tree, outer) = (Tree::new(), data());
    let data = outer.path().join("data");
    let (_chain, server) = server(&tree, &format!("directories = {{ \"/data\" = {data:?} }}"));
    for path in [
        "create/new.txt",
        "create-to-write/new.txt",
        "truncate/file.txt",
        "open-to-write/file.txt",
        "open-to-mutate/.x",
        "write/file.txt",
        "shorten/file.txt",
        "make-directory/x",
        "remove-directory/empty",
        "rename/file.txt",
        "link/file.txt",
        "symlink/file.txt",
        "unlink/file.txt",
        "read/way-out",
        "escape/secret.txt",
    ] {
        let answer = server.get(&format!("/files/{path}"));
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.text().starts_with("ErrorCode"), "{path}: {}", answer.text());
    }
    let mut names: Vec<_> = fs::read_dir(&data)
        .expect("it is there")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["empty", "file.txt", "way-out"]);
    assert_eq!(
        fs::read_to_string(data.join("file.txt")).expect("it is there"),
        "content"
    );
}

#[test]
fn without_a_grant_there_is_no_directory_no_variable_and_no_argument() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, "");
    assert_eq!(server.get("/directories").text(), "");
    assert_eq!(server.get("/environment").text(), "[] []");
    assert_eq!(server.get("/files/read/file.txt").status, 500);
}

#[test]
fn variables_are_those_that_are_configured() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, "environment = { TZ = \"UTC\", MODE = \"strict\" }");
    let expected = r#"[("MODE", "strict"), ("TZ", "UTC")] []"#;
    let response = server.get("/environment");
    assert_eq!(response.text(), expected);
    assert_eq!(response.header("cache-control"), None);
}

#[test]
fn a_directory_that_is_gone_fails_the_decision() {
    let (tree, outer) = (Tree::new(), data());
    let data = outer.path().join("data");
    let (_chain, server) = server(&tree, &format!("directories = {{ \"/data\" = {data:?} }}"));
    assert_eq!(server.get("/files/read/file.txt").text(), "content");
    fs::rename(&data, outer.path().join("elsewhere")).expect("the folder is writable");
    assert_eq!(server.get("/files/read/file.txt").status, 500);
    server.logged("the directory /data cannot be opened");
}

#[test]
fn a_directory_that_is_not_there_is_an_error_of_the_configuration() {
    let tree = Tree::new();
    let chain = Chain::new([Policy::guest("outbound").settings("directories = { \"/data\" = \"nowhere\" }")]);
    let log = Launch::new(&tree).plugins(&chain).refusal();
    assert!(
        log.contains("plugins.toml:4:27") && log.contains("is not a directory"),
        "{log}"
    );
}
