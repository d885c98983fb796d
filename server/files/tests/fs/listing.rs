//! Directories listed, as a page and as JSON.
use crate::support::{Ask, Random, Tree, get, touch};
use http::HeaderValue;
use serde_json::Value;
use std::{collections::BTreeSet, fs, future::poll_fn, time::Duration};
use wasmserve_files::{Content, Dotfiles, Files, FilesOptions, Found, Listings, Resolver, RootOptions, Symlinks};

fn listing(root: &mut RootOptions) {
    root.listing = Listings::On;
}

/// Chunks of a listing and its type.
async fn chunks(files: &Files, ask: Ask) -> (HeaderValue, Vec<bytes::Bytes>) {
    let Found::Listing(listing) = ask.of(files).await else {
        panic!("{} is listed", ask.path)
    };
    let (content_type, content) = listing.into_content();
    let Content::Stream(mut stream) = content else {
        panic!("a stream")
    };
    let mut chunks = Vec::new();
    while let Some(chunk) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        chunks.push(chunk.unwrap());
    }
    assert!(
        poll_fn(|context| stream.as_mut().poll_next(context)).await.is_none(),
        "the end stays the end"
    );
    (content_type, chunks)
}

async fn html(files: &Files, ask: Ask) -> String {
    let (content_type, chunks) = chunks(files, ask).await;
    assert_eq!(content_type, "text/html; charset=utf-8");
    String::from_utf8(chunks.concat()).unwrap()
}

async fn json(files: &Files, path: &str, query: &str) -> Value {
    let (content_type, chunks) = chunks(files, Ask::new(path).query(query).header("accept", "application/json")).await;
    assert_eq!(content_type, "application/json");
    serde_json::from_slice(&chunks.concat()).unwrap()
}

fn names(listing: &Value) -> Vec<&str> {
    listing["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect()
}

fn some() -> Tree {
    let tree = Tree::new();
    tree.write("Beta.txt", "12345")
        .write("alpha.txt", "1")
        .write("gamma.txt", "123")
        .write("sub/x", "")
        .write("Dir/x", "");
    touch(&tree.root().join("alpha.txt"), Duration::from_secs(100));
    touch(&tree.root().join("gamma.txt"), Duration::from_secs(200));
    touch(&tree.root().join("Beta.txt"), Duration::from_secs(300));
    tree
}

#[tokio::test]
async fn off_by_default_and_after_the_index() {
    let tree = some();
    assert_eq!(get(&tree.files(), "/").await, "missing 404");
    let files = tree.files_with(listing);
    assert_eq!(get(&files, "/").await, "listing");
    assert_eq!(get(&files, "/sub").await, "redirect sub/");
    tree.write("sub/index.html", "index");
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(get(&files, "/sub/").await, "file index");
}

#[tokio::test]
async fn entries_are_sorted_as_asked() {
    let tree = some();
    let files = tree.files_with(listing);
    for (query, sorted) in [
        ("", ["Dir", "sub", "alpha.txt", "Beta.txt", "gamma.txt"]),
        (
            "sort=name&order=desc",
            ["sub", "Dir", "gamma.txt", "Beta.txt", "alpha.txt"],
        ),
        ("sort=size", ["Dir", "sub", "alpha.txt", "gamma.txt", "Beta.txt"]),
        (
            "order=desc&sort=size",
            ["Dir", "sub", "Beta.txt", "gamma.txt", "alpha.txt"],
        ),
        ("x=1&sort=time", ["Dir", "sub", "Beta.txt", "gamma.txt", "alpha.txt"]),
        (
            "sort=nonsense&order=",
            ["Dir", "sub", "alpha.txt", "Beta.txt", "gamma.txt"],
        ),
    ] {
        let listed = json(&files, "/", query).await;
        let mut listed = names(&listed);
        if query.contains("size") || query.contains("time") {
            // The sizes and times of directories are the file system's own affair.
            listed[..2].sort();
        }
        assert_eq!(listed, sorted, "{query}");
    }
}

#[tokio::test]
async fn json_says_what_the_page_shows() {
    let tree = some();
    let files = tree.files_with(listing);
    let listed = json(&files, "/", "").await;
    assert_eq!(
        (&listed["path"], &listed["sorted"]),
        (&Value::from("/"), &Value::from(true))
    );
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!(entries[0]["type"], "directory");
    assert!(entries[0].get("size").is_none());
    assert_eq!(
        (&entries[3]["type"], &entries[3]["size"]),
        (&Value::from("file"), &Value::from(5))
    );
    let time = entries[3]["modified"].as_str().unwrap();
    assert!(
        time.len() == 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T',
        "{time}"
    );
    let page = html(&files, Ask::new("/")).await;
    assert!(
        page.contains(time) && page.contains("5 B") && page.contains("2 directories, 3 files"),
        "{page}"
    );
    tree.write("empty/x", "");
    fs::remove_file(tree.root().join("empty/x")).unwrap();
    assert!(names(&json(&files, "/empty/", "").await).is_empty());
    assert!(
        html(&files, Ask::new("/empty/"))
            .await
            .contains("0 directories, 0 files")
    );
}

#[tokio::test]
async fn accept_chooses_the_form() {
    let tree = some();
    let files = tree.files_with(listing);
    for (accept, form) in [
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("text/html;q=0.5, application/json;q=0.9", "application/json"),
        ("text/html;q=0.9, application/json;q=0.5", "text/html; charset=utf-8"),
        ("text/html, application/json", "text/html; charset=utf-8"),
        ("*/*", "text/html; charset=utf-8"),
        (
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "text/html; charset=utf-8",
        ),
        ("application/json;q=0", "text/html; charset=utf-8"),
        ("garbage", "text/html; charset=utf-8"),
        ("application/*, text/html;q=0.1", "application/json"),
    ] {
        let (content_type, _) = chunks(&files, Ask::new("/").header("accept", accept)).await;
        assert_eq!(content_type, form, "{accept}");
    }
    let (content_type, _) = chunks(&files, Ask::new("/")).await;
    assert_eq!(content_type, "text/html; charset=utf-8");
}

/// Hidden, protected, special, dangling and escaping entries cannot be had, so they are not listed either.
#[tokio::test]
async fn only_what_can_be_had_is_listed() {
    let tree = some();
    tree.write(".env", "")
        .write("site.toml", "")
        .write("plugins/x", "")
        .link("in", "alpha.txt")
        .link("dir", "sub");
    tree.link("out", "../secret")
        .link("dangling", "nothing")
        .link("toml", "site.toml")
        .link("abs", "/etc/passwd");
    tree.write("back\\slash", "").write("new\nline", "");
    std::os::unix::fs::symlink(
        "alpha.txt",
        tree.root().join(std::ffi::OsString::from_vec(b"latin-\xe4".to_vec())),
    )
    .unwrap();
    fs::hard_link(tree.root().join("site.toml"), tree.root().join("hard")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.root().join("socket")).unwrap();
    for resolver in [Resolver::Automatic, Resolver::Steps] {
        let mut options = FilesOptions {
            resolver,
            ..FilesOptions::new(tree.root())
        };
        options.protected = vec![tree.root().join("site.toml"), tree.root().join("plugins")];
        listing(&mut options.roots[0].1);
        let files = Files::new(options.clone()).unwrap();
        let listed = json(&files, "/", "").await;
        assert_eq!(
            names(&listed),
            ["Dir", "dir", "sub", "alpha.txt", "Beta.txt", "gamma.txt", "in"],
            "{resolver:?}"
        );
        assert_eq!(get(&files, "/plugins/").await, "missing 404");
        options.roots[0].1.symlinks = Symlinks::Deny;
        options.roots[0].1.dotfiles = Dotfiles::Serve;
        let files = Files::new(options).unwrap();
        let listed = json(&files, "/", "").await;
        assert_eq!(
            names(&listed),
            ["Dir", "sub", ".env", "alpha.txt", "Beta.txt", "gamma.txt"],
            "{resolver:?}"
        );
    }
    use std::os::unix::ffi::OsStringExt;
}

#[tokio::test]
async fn breadcrumbs_and_references_hold_with_and_without_the_slash() {
    let tree = Tree::new();
    tree.write("a/b c/x.txt", "").write("a/b c/s/y", "");
    let files = tree.files_with(listing);
    let page = html(&files, Ask::new("/a/b c/")).await;
    for part in [
        "<a href=\"./../../\">Home</a>",
        "<a href=\"./../\">a</a>",
        "<span aria-current=\"page\">b c</span>",
        "<a href=\"../\">..</a>",
        "<a href=\"./x.txt\">x.txt</a>",
        "<a href=\"./s/\">s/</a>",
        "<a href=\"?sort=size&amp;order=desc\">Size</a>",
        "<title>/a/b c/</title>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    // A policy may show a directory at a path without a slash.
    let page = html(&files, Ask::new("/shown/b c").targets(&["/a/b c/"])).await;
    for part in [
        "<a href=\"./../\">Home</a>",
        "<a href=\"./\">shown</a>",
        "<a href=\"./\">..</a>",
        "<a href=\"./b%20c/x.txt\">x.txt</a>",
    ] {
        assert!(page.contains(part), "{part} in {page}");
    }
    let page = html(&files, Ask::new("/")).await;
    assert!(page.contains("<span aria-current=\"page\">Home</span>") && !page.contains(">..<"));
    // Nothing is fetched from elsewhere, and nothing runs.
    assert!(!page.contains("<script") && !page.contains("src=") && !page.contains("http://") && !page.contains("url("));
}

/// The references of a page, as a browser would read them out of it.
fn references(page: &str) -> BTreeSet<String> {
    let rows = page.split("<tr class=\"").skip(1).filter(|row| !row.starts_with("up"));
    rows.map(|row| {
        let reference = row.split("href=\"").nth(1).unwrap().split('"').next().unwrap();
        let reference = unescape(reference);
        let segment = reference.strip_prefix("./").expect("relative").trim_end_matches('/');
        assert!(
            segment.is_ascii() && !segment.contains(['/', ':', '?', '#']),
            "{segment}"
        );
        percent_encoding::percent_decode_str(segment)
            .decode_utf8()
            .unwrap()
            .into_owned()
    })
    .collect()
}

fn unescape(text: &str) -> String {
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&#39;", "'");
    text.replace("&amp;", "&")
}

/// What a page shows between tags for each entry.
fn shown(page: &str) -> BTreeSet<String> {
    let rows = page.split("<tr class=\"").skip(1).filter(|row| !row.starts_with("up"));
    rows.map(|row| {
        let text = row
            .split("href=\"")
            .nth(1)
            .unwrap()
            .split_once("\">")
            .unwrap()
            .1
            .split("</a>")
            .next()
            .unwrap();
        assert!(!text.contains(['<', '>', '"', '\'']), "{text}");
        unescape(text).trim_end_matches('/').to_owned()
    })
    .collect()
}

/// Whatever names there are: the page refers to and shows exactly these, and no name gets out of its place.
#[tokio::test]
async fn any_names_survive_the_page_and_json() {
    const PIECES: [&str; 24] = [
        "<",
        ">",
        "&",
        "\"",
        "'",
        "<script>",
        "</a>",
        "&amp;",
        "%41",
        "%",
        "?",
        "#",
        ":",
        " ",
        "ü",
        "𝄞",
        "\u{202e}",
        "=",
        "+",
        "]]>",
        "-->",
        "a",
        "javascript:",
        ".",
    ];
    for seed in 0..20 {
        let tree = Tree::new();
        let mut random = Random::new(seed);
        let mut expected = BTreeSet::new();
        for _ in 0..30 {
            let name: String = (0..random.below(6) + 1)
                .map(|_| PIECES[random.below(PIECES.len())])
                .collect();
            // `/` cannot be in a name, and dotfiles are hidden.
            let name = name.replace('/', "|");
            if name.starts_with('.') || !expected.insert(name.clone()) {
                continue;
            }
            if random.below(3) == 0 {
                fs::create_dir(tree.root().join(&name)).unwrap();
            } else {
                fs::write(tree.root().join(&name), "").unwrap();
            }
        }
        let files = tree.files_with(listing);
        let page = html(&files, Ask::new("/")).await;
        assert_eq!(references(&page), expected, "seed {seed}");
        assert_eq!(shown(&page), expected, "seed {seed}");
        let listed = json(&files, "/", "").await;
        assert_eq!(
            names(&listed).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(),
            expected,
            "seed {seed}"
        );
        for name in &expected {
            let said = get(&files, &format!("/{name}")).await;
            assert!(said == "file " || said.starts_with("redirect "), "{name}: {said}");
        }
    }
}

#[tokio::test]
async fn a_hundred_thousand_entries_stream_in_small_pieces() {
    const ENTRIES: usize = 100_000;
    let tree = Tree::in_memory();
    fs::create_dir(tree.root().join("many")).unwrap();
    for i in 0..ENTRIES {
        fs::File::create(tree.root().join(format!("many/{i:06}"))).unwrap();
    }
    let files = tree.files_with(listing);
    for ask in [
        Ask::new("/many/"),
        Ask::new("/many/").header("accept", "application/json"),
    ] {
        let is_json = ask.headers.contains_key("accept");
        let (_, chunks) = chunks(&files, ask).await;
        let largest = chunks.iter().map(bytes::Bytes::len).max().unwrap();
        assert!(largest <= 40 << 10, "{largest} bytes at once");
        let whole = String::from_utf8(chunks.concat()).unwrap();
        let listed = if is_json {
            let listed: Value = serde_json::from_str(&whole).unwrap();
            assert_eq!(listed["sorted"], false);
            names(&listed).into_iter().map(str::to_owned).collect()
        } else {
            assert!(whole.contains("Not sorted") && whole.contains("100000 files"));
            references(&whole)
        };
        assert_eq!(listed.len(), ENTRIES);
    }
}

#[tokio::test]
async fn ten_thousand_entries_are_sorted_and_one_more_is_not() {
    let tree = Tree::in_memory();
    fs::create_dir(tree.root().join("many")).unwrap();
    for i in 0..10_000 {
        fs::File::create(tree.root().join(format!("many/{:05}", i * 7919 % 10_000))).unwrap();
    }
    let files = tree.files_with(listing);
    let listed = json(&files, "/many/", "").await;
    assert_eq!(listed["sorted"], true);
    assert!(names(&listed).is_sorted() && names(&listed).len() == 10_000);
    tree.write("many/more", "");
    let listed = json(&files, "/many/", "").await;
    assert_eq!(listed["sorted"], false);
    assert_eq!(names(&listed).iter().collect::<BTreeSet<_>>().len(), 10_001);
}

/// A client that takes its listing slowly holds what is bounded: sorted ones share a budget, the rest is streamed.
#[tokio::test]
async fn listings_that_are_not_read_do_not_pile_up() {
    let tree = Tree::in_memory();
    fs::create_dir(tree.root().join("many")).unwrap();
    for i in 0..3_000 {
        fs::File::create(tree.root().join(format!("many/{}{i:06}", "n".repeat(200)))).unwrap();
    }
    let files = tree.files_with(listing);
    let (mut unread, mut sorted) = (Vec::new(), 0);
    // About 1 MiB each; the budget is 32 MiB.
    for _ in 0..60 {
        let Found::Listing(listing) = Ask::new("/many/").of(&files).await else {
            panic!("a listing")
        };
        let (_, Content::Stream(mut stream)) = listing.into_content() else {
            panic!("a stream")
        };
        let head = poll_fn(|context| stream.as_mut().poll_next(context))
            .await
            .unwrap()
            .unwrap();
        sorted += usize::from(!String::from_utf8_lossy(&head).contains("Not sorted"));
        unread.push(stream);
    }
    assert!((20..50).contains(&sorted), "{sorted} of 60 were sorted");
    drop(unread);
    assert!(
        !html(&files, Ask::new("/many/")).await.contains("Not sorted"),
        "the budget comes back"
    );
}
