//! Directories: index files, the trailing slash, and nothing told about what they hold.
use support::{Launch, Server, Tree};

fn server(tree: &Tree) -> Server {
    Launch::new(tree).start()
}

#[test]
fn a_directory_shows_its_index() {
    let tree = Tree::new().file("index.html", "top").file("a/b/index.html", "below");
    let server = server(&tree);
    assert_eq!(server.get("/").text(), "top");
    let response = server.get("/a/b/");
    assert_eq!((response.status, response.text()), (200, "below"));
    assert_eq!(response.header("content-type"), Some("text/html; charset=utf-8"));
}

#[test]
fn without_its_slash_a_directory_redirects() {
    let tree = Tree::new()
        .file("folder/index.html", "x")
        .file("a/b/index.html", "y")
        .file("with space/index.html", "z");
    let server = server(&tree);
    for (path, query, expected) in [
        ("/folder", "", "/folder/"),
        ("/folder", "?a=1&b=%2F", "/folder/?a=1&b=%2F"),
        ("/folder", "?", "/folder/?"),
        ("/a/b", "", "/a/b/"),
        ("/with%20space", "", "/with%20space/"),
    ] {
        let response = server.get(&format!("{path}{query}"));
        assert!(matches!(response.status, 301 | 308), "{path}{query}: {response:?}");
        assert_eq!(response.leads_to(path), expected, "{response:?}");
    }
}

/// A redirect must not lead to another server, whatever a directory is called.
#[test]
fn a_redirect_stays_on_the_server() {
    let tree = Tree::new()
        .file("javascript:alert(1)/index.html", "x")
        .file("http:/index.html", "x")
        .file("evil.example/index.html", "x")
        .file("@evil.example/index.html", "x")
        .file("?/index.html", "x")
        .file("#/index.html", "x")
        .file("new\nline/index.html", "x");
    let server = server(&tree);
    for (path, expected) in [
        ("/javascript:alert(1)", "/javascript:alert(1)/"),
        ("/http:", "/http:/"),
        ("/evil.example", "/evil.example/"),
        ("/@evil.example", "/@evil.example/"),
        ("/%3f", "/%3f/"),
        ("/%23", "/%23/"),
    ] {
        let response = server.get(path);
        assert!(matches!(response.status, 301 | 308), "{path}: {response:?}");
        let resolved = response.leads_to(path);
        let escapes = [("%28", "("), ("%29", ")"), ("%3a", ":"), ("%40", "@")];
        let plain = escapes
            .iter()
            .fold(resolved.to_lowercase(), |path, (escape, c)| path.replace(escape, c));
        assert_eq!(plain, expected, "{response:?}");
        assert_eq!(server.get(&resolved).text(), "x", "{resolved} is where the index is");
    }
    for path in [
        "//evil.example",
        "//evil.example/",
        "/%2fevil.example",
        "/\\evil.example",
        "/new%0aline",
    ] {
        let response = server.get(path);
        assert_eq!(response.status, 400, "{path}: {response:?}");
        assert_eq!(response.header("location"), None, "{path}: {response:?}");
    }
}

#[test]
fn a_directory_without_an_index_is_not_listed() {
    let tree = Tree::new().file("folder/private-name.txt", "x");
    let server = server(&tree);
    for path in ["/folder/", "/"] {
        let response = server.get(path);
        assert!(matches!(response.status, 403 | 404), "{path}: {response:?}");
        assert!(
            !response.text().contains("private-name") && !response.text().contains("folder"),
            "{response:?}"
        );
    }
}

#[test]
fn an_index_that_is_a_directory_is_no_index() {
    let tree = Tree::new().directory("folder/index.html");
    let response = server(&tree).get("/folder/");
    assert!(matches!(response.status, 403 | 404), "{response:?}");
}

#[test]
fn a_replaced_file_is_seen_and_a_deleted_one_gone() {
    let tree = Tree::new().file("file.txt", "first");
    let server = server(&tree);
    assert_eq!(server.get("/file.txt").text(), "first");
    tree.write("next", "second, and longer");
    std::fs::rename(tree.at("next"), tree.at("file.txt")).expect("the tree is writable");
    support::eventually("the new file", || {
        server.get("/file.txt").text() == "second, and longer"
    });
    std::fs::remove_file(tree.at("file.txt")).expect("the tree is writable");
    support::eventually("the file is gone", || server.get("/file.txt").status == 404);
    tree.write("file.txt", "third");
    support::eventually("the file is back", || server.get("/file.txt").text() == "third");
}

/// A deploy that flips a symbolic link: seen without a restart.
#[test]
fn a_root_that_is_a_flipped_link_is_followed() {
    let tree = Tree::new().file("one/index.html", "one").file("two/index.html", "two");
    let current = tree.outside("current");
    std::os::unix::fs::symlink(tree.at("one"), &current).expect("the tree is writable");
    let server = Launch::at(&current).start();
    assert_eq!(server.get("/").text(), "one");
    std::os::unix::fs::symlink(tree.at("two"), tree.outside("next")).expect("the tree is writable");
    std::fs::rename(tree.outside("next"), &current).expect("the tree is writable");
    support::eventually("the new root", || server.get("/").text() == "two");
}
