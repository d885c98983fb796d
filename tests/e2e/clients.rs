//! Real clients against the real server: what they store equals what is served, byte by byte.
use std::{fs, path::Path};
use support::{Chain, Launch, Server, Tree, pattern, project, tool};
use tempfile::{TempDir, tempdir};

const LENGTH: usize = 5_000_003;

fn tree() -> Tree {
    Tree::new()
        .file("large.bin", pattern(21, LENGTH))
        .file(
            "index.html",
            "<a href=\"a/\">a</a> <a href=\"large.bin\">large</a> <a href=\"b%20c.html?x=1\">b</a>",
        )
        .file(
            "a/index.html",
            "<a href=\"../\">up</a> <a href=\"deep/page.html\">deep</a> <img src=\"pixel.png\">",
        )
        .file("a/deep/page.html", "<link rel=stylesheet href=\"../style.css\">")
        .file("a/style.css", "body { background: url(pixel.png) }")
        .file("a/pixel.png", pattern(22, 700))
        .file("b c.html", "done")
}

/// Under the standard policies' sibling, the probe, so that a chain is in the way as it would be.
fn served(tree: &Tree) -> (Chain, Server, TempDir) {
    let chain = Chain::of("probe", "headers = \"set | X-Frame-Options | DENY\"");
    let server = Launch::new(tree).plugins(&chain).start();
    (
        chain,
        server,
        tempdir().expect("the machine has room for temporary files"),
    )
}

fn read(folder: &TempDir, name: impl AsRef<Path>) -> Vec<u8> {
    let path = folder.path().join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn curl_resumes() {
    let tree = tree();
    let (_chain, server, folder) = served(&tree);
    fs::write(folder.path().join("part"), &pattern(21, LENGTH)[..1_234_567]).expect("the folder is writable");
    tool::run(
        folder.path(),
        "curl",
        ["-fsS", "-C", "-", "-o", "part", &server.url("/large.bin")],
    )
    .success();
    assert!(read(&folder, "part") == pattern(21, LENGTH));
    // Nothing is left to fetch: curl is content with what it has.
    tool::run(
        folder.path(),
        "curl",
        ["-sS", "-C", "-", "-o", "part", &server.url("/large.bin")],
    );
    assert!(read(&folder, "part") == pattern(21, LENGTH));
}

#[test]
fn curl_asks_for_several_ranges() {
    let tree = tree();
    let (_chain, server, folder) = served(&tree);
    let ran = tool::run(
        folder.path(),
        "curl",
        ["-fsS", "-r", "0-99,1000-1099", &server.url("/large.bin")],
    )
    .success();
    let content = pattern(21, LENGTH);
    let has = |part: &[u8]| ran.stdout.windows(part.len()).any(|window| window == part);
    assert!(has(&content[..100]) && has(&content[1000..1100]));
}

#[test]
fn curl_decompresses_what_is_compressed() {
    let text = "a text that compresses well\n".repeat(1000);
    let tree = Tree::new().file("page.txt", &text);
    let gzip = "import gzip,sys; open('page.txt.gz','wb').write(gzip.compress(open('page.txt','rb').read()))";
    tool::run(&tree.root(), "python3", ["-c", gzip]).success();
    let server = Launch::new(&tree).start();
    let folder = tempdir().expect("the machine has room for temporary files");
    let arguments = [
        "-fsS",
        "--compressed",
        "-D",
        "head",
        "-o",
        "body",
        &server.url("/page.txt"),
    ];
    tool::run(folder.path(), "curl", arguments).success();
    assert!(read(&folder, "body") == text.as_bytes());
    let head = String::from_utf8_lossy(&read(&folder, "head")).to_lowercase();
    assert!(head.contains("content-encoding: gzip"), "{head}");
}

#[test]
fn curl_revalidates() {
    let tree = tree();
    let (_chain, server, folder) = served(&tree);
    let url = server.url("/a/style.css");
    let code = |arguments: &[&str]| {
        let always = ["-sS", "-o", "body", "-w", "%{http_code}"];
        let ran = tool::run(folder.path(), "curl", [&always, arguments, &[url.as_str()]].concat()).success();
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    assert_eq!(code(&["--etag-save", "etag"]), "200");
    assert_eq!(code(&["--etag-compare", "etag"]), "304");
    assert_eq!(code(&["-R"]), "200");
    assert_eq!(code(&["-z", "body"]), "304");
}

#[test]
fn wget_continues_and_revalidates() {
    let tree = tree();
    let (_chain, server, folder) = served(&tree);
    fs::write(folder.path().join("large.bin"), &pattern(21, LENGTH)[..777]).expect("the folder is writable");
    tool::run(folder.path(), "wget", ["-nv", "-c", &server.url("/large.bin")]).success();
    assert!(read(&folder, "large.bin") == pattern(21, LENGTH));
    tool::run(folder.path(), "wget", ["-nv", "-N", &server.url("/a/style.css")]).success();
    let again = tool::run(folder.path(), "wget", ["-N", &server.url("/a/style.css")]).success();
    assert!(again.stderr.contains("304"), "{}", again.stderr);
}

#[test]
fn wget_mirrors_a_site() {
    let tree = tree();
    let (_chain, server, folder) = served(&tree);
    tool::run(
        folder.path(),
        "wget",
        ["-nv", "-r", "-nH", "-l", "inf", "-p", &server.url("/")],
    )
    .success();
    for (stored, served) in [
        ("index.html", "index.html"),
        ("large.bin", "large.bin"),
        ("a/index.html", "a/index.html"),
        ("a/deep/page.html", "a/deep/page.html"),
        ("a/style.css", "a/style.css"),
        ("a/pixel.png", "a/pixel.png"),
        ("b c.html?x=1", "b c.html"),
    ] {
        assert!(
            read(&folder, stored) == fs::read(tree.at(served)).expect("the tree is ours"),
            "{stored} differs"
        );
    }
}

#[test]
fn aria2_fetches_segments_at_once() {
    let tree = tree();
    let (_chain, server, folder) = served(&tree);
    let url = server.url("/large.bin");
    let arguments = [
        "-x8",
        "-s8",
        "-k1M",
        "--no-conf",
        "--async-dns=false",
        "-q",
        url.as_str(),
    ];
    tool::run(folder.path(), "aria2c", arguments).success();
    assert!(read(&folder, "large.bin") == pattern(21, LENGTH));
}

#[test]
fn git_clones_over_plain_files() {
    let tree = Tree::new();
    let folder = tempdir().expect("the machine has room for temporary files");
    let git = |at: &Path, arguments: &[&str]| {
        let identity = [
            "-c",
            "user.name=Test",
            "-c",
            "user.email=test@example.org",
            "-c",
            "init.defaultBranch=main",
        ];
        tool::run(at, "git", [&identity, arguments].concat()).success()
    };
    let source = folder.path().join("source");
    fs::create_dir(&source).expect("the folder is writable");
    git(&source, &["init", "-q"]);
    fs::write(source.join("large.bin"), pattern(23, 300_000)).expect("the folder is writable");
    fs::write(source.join("file.txt"), "content").expect("the folder is writable");
    git(&source, &["add", "."]);
    git(&source, &["commit", "-q", "-m", "First"]);
    let bare = tree.at("repository.git");
    git(
        folder.path(),
        &[
            "clone",
            "-q",
            "--bare",
            "source",
            bare.to_str().expect("the path is text"),
        ],
    );
    git(&bare, &["update-server-info"]);
    let server = Launch::new(&tree).start();
    git(
        folder.path(),
        &["clone", "-q", &server.url("/repository.git"), "cloned"],
    );
    assert!(read(&folder, "cloned/large.bin") == pattern(23, 300_000));
    git(&folder.path().join("cloned"), &["fsck", "--strict"]);
}

#[test]
fn pip_installs_from_a_simple_index() {
    let tree = Tree::new().directory("simple/hello");
    let wheel = "\
import hashlib, zipfile
name = 'hello-1.0-py3-none-any.whl'
with zipfile.ZipFile(name, 'w') as z:
    z.writestr('hello.py', 'GREETING = 1\\n')
    z.writestr('hello-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: hello\\nVersion: 1.0\\n')
    z.writestr('hello-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
    z.writestr('hello-1.0.dist-info/RECORD', 'hello.py,,\\nhello-1.0.dist-info/METADATA,,\\nhello-1.0.dist-info/WHEEL,,\\nhello-1.0.dist-info/RECORD,,\\n')
digest = hashlib.sha256(open(name, 'rb').read()).hexdigest()
open('index.html', 'w').write(f'<!doctype html><a href=\"{name}#sha256={digest}\">{name}</a>')
";
    tool::run(&tree.at("simple/hello"), "python3", ["-c", wheel]).success();
    let server = Launch::new(&tree).start();
    let folder = tempdir().expect("the machine has room for temporary files");
    let index = server.url("/simple/");
    let arguments = [
        "-m",
        "pip",
        "--isolated",
        "--disable-pip-version-check",
        "--no-cache-dir",
        "install",
        "--no-deps",
        "--target",
        "installed",
        "--index-url",
        &index,
        "hello",
    ];
    tool::run(folder.path(), "python3", arguments).success();
    assert_eq!(read(&folder, "installed/hello.py"), b"GREETING = 1\n");
}

/// The documentation of the project's own contract, a tree of real files, fetched one by one.
#[test]
fn every_file_of_a_real_tree_arrives() {
    let server = Launch::at(&project().join("wit")).start();
    let mut folders = vec![project().join("wit")];
    let mut compared = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the project is readable").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(project().join("wit")).expect("it lies beneath");
            let response = server.get(&format!("/{}", name.display()));
            assert!(
                response.body == fs::read(&path).expect("the project is readable"),
                "{}",
                name.display()
            );
            compared += 1;
        }
    }
    assert!(compared >= 6, "only {compared} files");
}
