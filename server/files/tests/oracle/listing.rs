//! Listings, read as a browser and a program would: every name comes back as it is on the disk, nothing else is in the
//! page, and each link leads to its entry.
use super::{
    html::{self, Element},
    input::Input,
    path,
};
use http::{HeaderMap, HeaderValue, header::ACCEPT};
use std::{
    ffi::{OsStr, OsString},
    fs,
    future::poll_fn,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::Path,
};
use wasmserve_files::{Content, Files, FilesOptions, Found, Listings, Lookup, SitePath};

const WORDS: &[&str] = &[
    "a",
    "B",
    "<",
    ">",
    "&",
    "\"",
    "'",
    "`",
    "=",
    "<script>",
    "</a>",
    "</title>",
    "</style>",
    "<!--",
    "-->",
    "]]>",
    "<img src=x onerror=y>",
    "\" onclick=\"",
    "&amp;",
    "&lt",
    "&#60;",
    "%",
    "%2e",
    "%2F",
    "%00",
    "?",
    "#",
    ":",
    "javascript:",
    "http:",
    " ",
    "\\",
    "\n",
    "\t",
    "\u{7f}",
    "\u{85}",
    ".",
    "..",
    "~",
    ";",
    "+",
    "é",
    "\u{130}",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "\u{1f600}",
    "index.html",
];

const QUERIES: &[&str] = &[
    "",
    "sort=name",
    "sort=name&order=desc",
    "sort=size",
    "sort=size&order=desc",
    "sort=time",
    "sort=\"><script>&order=",
];

/// An entry that a listing has to show.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    name: String,
    /// Bytes; `None` for a directory.
    size: Option<u64>,
}

/// Whether a client can be told of a name: text without control characters that no path reads otherwise, and no dotfile.
fn is_shown(name: &OsStr) -> bool {
    let control = |c: char| (c as u32) < 0x20 || (0x7f..=0x9f).contains(&(c as u32));
    name.to_str()
        .is_some_and(|text| !text.starts_with('.') && !text.contains(|c| control(c) || c == '\\'))
}

/// A name that a directory can hold.
fn name(input: &mut Input) -> Option<OsString> {
    let mut text = input.sentence(WORDS, 6);
    text.retain(|c| c != '/' && c != '\0');
    if input.rarely(16) {
        text = "n".repeat(255);
    }
    let mut bytes = text.into_bytes();
    bytes.truncate(255);
    if input.rarely(16) {
        bytes.insert(0, 0xff);
        bytes.truncate(255);
    }
    (!bytes.is_empty() && bytes != b"." && bytes != b"..").then(|| OsStr::from_bytes(&bytes).to_owned())
}

/// Fills the directory, and says what of it has to be shown and whether anything has not.
fn fill(input: &mut Input, directory: &Path) -> (Vec<Shown>, bool) {
    let (mut shown, mut left_out) = (Vec::new(), false);
    for _ in 0..input.below(10) {
        let Some(name) = name(input) else { continue };
        let at = directory.join(&name);
        if at.symlink_metadata().is_ok() {
            continue;
        }
        let content = vec![b'x'; input.one_of(&[0, 1, 1023, 1024, 2000])];
        let size = match input.below(6) {
            0 | 1 => {
                fs::write(&at, &content).expect("the directory is ours");
                Some(Some(content.len() as u64))
            }
            2 | 3 => {
                fs::create_dir(&at).expect("the directory is ours");
                Some(None)
            }
            4 => {
                symlink("../beside", &at).expect("the directory is ours");
                Some(Some(6))
            }
            _ => {
                symlink("../../outside", &at).expect("the directory is ours");
                None
            }
        };
        match size {
            Some(size) if is_shown(&name) => shown.push(Shown {
                name: name.into_string().expect("text, or it would not be shown"),
                size,
            }),
            _ => left_out = true,
        }
    }
    (shown, left_out)
}

/// Looks a path up in the site.
async fn open(files: &Files, path: &SitePath, target: &SitePath, query: &str, accept: &'static str) -> Found {
    let lookup = Lookup {
        path,
        query: Some(query),
        targets: std::slice::from_ref(target),
        place: None,
        missing: None,
        headers: &HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]),
    };
    files.open(&lookup).await
}

/// The whole of a listing.
async fn text(found: Found, content_type: &str) -> String {
    let Found::Listing(listing) = found else {
        panic!("no listing")
    };
    let (header, content) = listing.into_content();
    assert_eq!(header, content_type);
    let Content::Stream(mut stream) = content else {
        panic!("no stream")
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
        bytes.extend_from_slice(&chunk.expect("a directory that can be read"));
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// Directories first, and in the order that the query asks for.
fn assert_ordered(query: &str, entries: &[Shown]) {
    assert!(entries.is_sorted_by_key(|entry| entry.size.is_some()), "{entries:?}");
    for group in entries.chunk_by(|one, next| one.size.is_some() == next.size.is_some()) {
        let folded: Vec<_> = group
            .iter()
            .map(|entry| (entry.name.to_lowercase(), &entry.name))
            .collect();
        let ordered = match query {
            "sort=name&order=desc" => folded.is_sorted_by(|one, next| one > next),
            "sort=size" => group.is_sorted_by_key(|entry| entry.size),
            "sort=size&order=desc" => group.is_sorted_by_key(|entry| std::cmp::Reverse(entry.size)),
            "sort=time" => true,
            _ => folded.is_sorted(),
        };
        assert!(ordered, "{query:?}: {group:?}");
    }
}

pub fn check(data: &[u8]) -> &'static str {
    let mut input = Input::new(data);
    // In memory where that is possible: a disk would take most of the time.
    let site = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("room for a few files");
    let www = site.path().join("www");
    let own = name(&mut input)
        .filter(|name| is_shown(name) && name != "beside")
        .map_or("d".into(), |name| name.into_string().expect("text"));
    fs::create_dir_all(www.join(&own)).expect("a new directory");
    fs::write(www.join("beside"), "beside").expect("a new directory");
    fs::write(site.path().join("outside"), "outside").expect("a new directory");
    let query = input.one_of(QUERIES);
    let slash = input.one_of(&["/", ""]);
    let (mut expected, left_out) = fill(&mut input, &www.join(&own));
    expected.sort();

    let mut options = FilesOptions::new(&www);
    options.roots[0].1.listing = Listings::On;
    options.roots[0].1.index.clear();
    let files = Files::new(options).expect("the root is there");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let asked = SitePath::from_decoded(&format!("/{own}{slash}")).expect("a name that is shown");
        let directory = SitePath::from_decoded(&format!("/{own}/")).expect("a name that is shown");

        let json = text(
            open(&files, &asked, &directory, query, "application/json").await,
            "application/json",
        )
        .await;
        let listed = read_json(&json, &asked);
        assert_ordered(query, &listed);
        let mut sorted = listed.clone();
        sorted.sort();
        assert_eq!(sorted, expected);

        let page = text(
            open(&files, &asked, &directory, query, "text/html").await,
            "text/html; charset=utf-8",
        )
        .await;
        let page = html::read(&page);
        assert_eq!(html::text_of(&page, "title"), asked.as_str());
        assert_is_only_a_listing(&page, &asked, &listed);
        let links = html::rows(&page);
        assert_eq!(
            links.iter().map(|(_, shown)| shown.clone()).collect::<Vec<_>>(),
            listed.iter().map(shown_as).collect::<Vec<_>>()
        );
        for ((reference, _), entry) in links.iter().zip(&listed) {
            let uri = path::resolve(&asked.to_uri(), reference);
            let target = SitePath::from_uri(&uri).expect("a link that is a path");
            assert_eq!(target.as_str(), format!("/{own}/{}", shown_as(entry)));
            match (open(&files, &target, &target, "", "*/*").await, entry.size) {
                (Found::File(selected), Some(size)) => assert_eq!(selected.source.length(), size),
                (Found::Listing(_), None) => {}
                _ => panic!("{uri} does not lead to {entry:?}"),
            }
        }
    });
    match (expected.is_empty(), left_out) {
        (true, _) => "nothing",
        (false, true) => "some",
        (false, false) => "all",
    }
}

/// What a page calls an entry.
fn shown_as(entry: &Shown) -> String {
    let slash = if entry.size.is_none() { "/" } else { "" };
    format!("{}{slash}", entry.name)
}

fn read_json(json: &str, asked: &SitePath) -> Vec<Shown> {
    let listing: serde_json::Value = serde_json::from_str(json).expect("JSON");
    assert_eq!(listing["path"], asked.as_str());
    assert_eq!(listing["sorted"], true);
    let entries = listing["entries"].as_array().expect("entries");
    let read = |entry: &serde_json::Value| {
        let size = entry["size"].as_u64();
        assert_eq!(entry["type"], if size.is_some() { "file" } else { "directory" });
        Shown {
            name: entry["name"].as_str().expect("a name").to_owned(),
            size,
        }
    };
    entries.iter().map(read).collect()
}

/// The page has the elements and attributes of a listing of so many entries, and no others.
fn assert_is_only_a_listing(page: &[Element], asked: &SitePath, entries: &[Shown]) {
    let (rows, files) = (
        entries.len() + 1,
        entries.iter().filter(|entry| entry.size.is_some()).count(),
    );
    // Home, the directory itself; the way up is a row of its own.
    let crumbs = asked.segments().count();
    let times = |count: usize, element: &'static str| vec![element.to_owned(); count];
    let mut expected = [
        times(1, "html lang"),
        times(1, "head"),
        times(1, "meta charset"),
        times(1, "meta http-equiv content"),
        times(2, "meta name content"),
        times(1, "title"),
        times(1, "style"),
        times(1, "body"),
        times(1, "main"),
        times(1, "nav aria-label"),
        times(1, "h1"),
        times(crumbs, "span"),
        times(1, "span aria-current"),
        times(1, "table"),
        times(1, "thead"),
        times(1, "tr"),
        times(2, "th scope"),
        times(1, "th scope aria-sort"),
        times(1, "tbody"),
        times(rows, "tr class"),
        times(3 * rows - files, "td"),
        times(files, "td title"),
        times(crumbs + 3 + rows, "a href"),
        times(entries.len(), "time datetime"),
        times(1, "footer"),
    ]
    .concat();
    let mut found: Vec<String> = page.iter().map(Element::signature).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}
