//! Roots in object storage: the same answers as from a folder, and no wrong byte whatever the store does.
use support::{
    Connection, Launch, Response, Server, Tree,
    bucket::{Bucket, Fault},
    pattern,
};

const LENGTH: usize = 1 << 20;

/// The time that objects of the bucket have, in seconds since 1970.
const MODIFIED: u64 = 1_793_692_800;

/// What is in the folder, and in the bucket.
const FILES: &[(&str, &str)] = &[
    ("index.html", "<p>the top</p>"),
    ("page.html", "<p>a page</p>"),
    ("page.html.br", "as brotli"),
    ("page.html.gz", "as gzip"),
    ("docs/index.html", "<p>documents</p>"),
    ("docs/a b%c#d?.txt", "a strange name"),
    ("files/one.txt", "one"),
    ("files/two.txt", "two, which is longer"),
    ("files/within/three.txt", "three"),
    ("files/.hidden", "a secret"),
    (".hidden/file.txt", "a secret"),
    (".well-known/security.txt", "Contact: x"),
    ("empty.txt", ""),
    ("404.html", "<p>nothing here</p>"),
];

/// A method, a path and header fields.
type Asked = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const NONE: &[(&str, &str)] = &[];

const CONDITIONS: &[Asked] = &[
    ("GET", "/large.bin", &[("Range", "bytes=0-0")]),
    ("HEAD", "/large.bin", &[("Range", "bytes=0-0")]),
    ("GET", "/large.bin", &[("Range", "bytes=100-199")]),
    ("HEAD", "/large.bin", &[("Range", "bytes=100-199")]),
    ("GET", "/large.bin", &[("Range", "bytes=-10")]),
    ("HEAD", "/large.bin", &[("Range", "bytes=-10")]),
    ("GET", "/large.bin", &[("Range", "bytes=1048575-")]),
    ("HEAD", "/large.bin", &[("Range", "bytes=1048575-")]),
    ("GET", "/large.bin", &[("Range", "bytes=1048576-")]),
    ("HEAD", "/large.bin", &[("Range", "bytes=1048576-")]),
    ("GET", "/large.bin", &[("Range", "bytes=9-1")]),
    ("HEAD", "/large.bin", &[("Range", "bytes=9-1")]),
    ("GET", "/large.bin", &[("Range", "x=1-2")]),
    ("HEAD", "/large.bin", &[("Range", "x=1-2")]),
    ("GET", "/large.bin", &[("Range", "bytes=0-9,500000-500099,-5")]),
    ("GET", "/page.html", &[("Accept-Encoding", "gzip, br;q=0.5")]),
    ("GET", "/page.html", &[("Accept-Encoding", "br")]),
    ("GET", "/page.html", &[("Accept-Encoding", "identity;q=0")]),
    (
        "GET",
        "/page.html",
        &[("If-Modified-Since", "Tue, 03 Nov 2026 08:00:00 GMT")],
    ),
    (
        "GET",
        "/page.html",
        &[("If-Unmodified-Since", "Mon, 02 Nov 2026 08:00:00 GMT")],
    ),
    ("GET", "/page.html", &[("If-None-Match", "*")]),
    ("GET", "/page.html", &[("If-Match", "\"another\"")]),
    ("GET", "/files/", &[("Accept", "application/json")]),
];

fn bucket() -> Bucket {
    let bucket = Bucket::new().object("www/large.bin", pattern(1, LENGTH));
    for (path, content) in FILES {
        bucket.put(&format!("www/{path}"), *content);
    }
    bucket.put("elsewhere/secret.txt", "of another prefix");
    bucket
}

/// The store may take its time: a busy machine is no fault.
fn patient(bucket: &Bucket, store: &str) -> (tempfile::TempDir, Launch) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("wasmserve.toml");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\n[[site]]\nname = \"store\"\nhosts = [\"*\"]\nroot = \"s3://bucket/www\"\n\
         [site.store]\nendpoint = {:?}\nallow-http = true\n{store}\n",
        bucket.endpoint()
    );
    std::fs::write(&file, text).expect("the folder is writable");
    let launch = bucket
        .with_keys(Launch::bare())
        .arguments(["--config"])
        .arguments([file]);
    (folder, launch)
}

const PATIENT: &str = "request-timeout = \"2m\"\nread-timeout = \"2m\"";

/// What a client gets until the connection ends, and whether that is all that was promised.
pub fn download(server: &Server, path: &str) -> (Vec<u8>, bool) {
    let mut connection = Connection::open(server.address());
    connection.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    ));
    let head = connection.try_head().expect("a head");
    assert_eq!(head.status, 200, "{head:?}");
    let promised: usize = head
        .header("content-length")
        .expect("a length")
        .parse()
        .expect("a number");
    let body = connection.rest();
    let whole = body.len() == promised;
    (body, whole)
}

#[test]
fn answers_are_those_of_a_folder() {
    let bucket = bucket();
    let mut tree = Tree::new()
        .file("large.bin", pattern(1, LENGTH))
        .modified("large.bin", MODIFIED);
    for (path, content) in FILES {
        tree = tree.file(path, content).modified(path, MODIFIED);
    }
    let options = ["--listing", "--error-page", "404=/404.html"];
    let folder = Launch::new(&tree).arguments(options).start();
    let store = bucket.launch("www/").arguments(options).start();
    let mut requests = CONDITIONS.to_vec();
    for path in [
        "/",
        "/index.html",
        "/page.html",
        "/docs",
        "/docs/",
        "/docs?q=1",
        "/docs/a%20b%25c%23d%3F.txt",
        "/files",
        "/files/",
        "/files/?sort=size&order=desc",
        "/files/one.txt/",
        "/files/.hidden",
        "/.hidden/file.txt",
        "/.hidden",
        "/nothing",
        "/nothing/",
        "/.well-known/security.txt",
        "/empty.txt",
        "/large.bin",
        "/page.html.br",
        "/elsewhere/secret.txt",
        "/files/within",
        "/%2e%2e/elsewhere/secret.txt",
    ] {
        requests.extend(["GET", "HEAD", "OPTIONS", "POST"].map(|method| (method, path, NONE)));
    }
    for (method, path, headers) in requests {
        let (expected, got) = (
            folder.request(method, path, headers),
            store.request(method, path, headers),
        );
        let same = |response: &Response| {
            let names = [
                "content-type",
                "content-length",
                "content-range",
                "content-encoding",
                "last-modified",
                "location",
                "vary",
                "accept-ranges",
                "allow",
            ];
            // Boundaries are made of the entity tag, which differs.
            let boundary = |text: &str| text.split("boundary=").nth(1).map(str::to_owned);
            let boundary = response
                .header("content-type")
                .and_then(boundary)
                .unwrap_or_else(|| "no boundary".into());
            let fields = names.map(|name| response.header(name).map(|value| value.replace(&boundary, "-")));
            let text = String::from_utf8_lossy(&response.body).replace(&boundary, "-");
            (response.status, fields, text)
        };
        let (mut expected, mut got) = (same(&expected), same(&got));
        if path.starts_with("/files/?") || path == "/files/" {
            // Directories of a store have no time.
            let times = |text: &str| text.lines().filter(|line| !line.contains("within")).collect::<String>();
            (expected.2, got.2) = (times(&expected.2), times(&got.2));
        }
        assert!(
            expected == got,
            "{method} {path} {headers:?}\n{:?}\n{:?}",
            (expected.0, expected.1),
            (got.0, got.1)
        );
    }
    let tag = store.get("/page.html").header("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("\"version-"), "the object's own: {tag}");
    assert_eq!(
        store.request("GET", "/page.html", &[("If-None-Match", &tag)]).status,
        304
    );
    let ranged = store.request("GET", "/page.html", &[("If-Range", &tag), ("Range", "bytes=3-8")]);
    assert_eq!((ranged.status, ranged.text()), (206, "a page"));
}

#[test]
fn what_is_broken_off_goes_on_where_it_was() {
    let content = pattern(1, LENGTH);
    for faults in [
        vec![Fault::Cut(0)],
        vec![Fault::Cut(1), Fault::Cut(1), Fault::Cut(1)],
        vec![Fault::Cut(70_000), Fault::Status(500), Fault::Cut(333_333)],
        vec![Fault::Cut(LENGTH - 1)],
        vec![Fault::Status(503), Fault::Cut(5)],
    ] {
        let bucket = bucket();
        let (_folder, launch) = patient(&bucket, PATIENT);
        let server = launch.start();
        bucket.fail(faults.clone());
        let (body, whole) = download(&server, "/large.bin");
        assert!(
            whole && body == content,
            "{faults:?}: {} bytes of {LENGTH}\n{}",
            body.len(),
            server.log()
        );
    }
}

#[test]
fn two_versions_never_meet() {
    let (old, new) = (pattern(1, LENGTH), pattern(2, LENGTH));
    for cut in [0, 1, 65_536, 500_000, LENGTH - 1] {
        let bucket = bucket();
        let (_folder, launch) = patient(&bucket, PATIENT);
        let server = launch.start();
        bucket.fail([Fault::Replace(cut, new.clone())]);
        let (body, whole) = download(&server, "/large.bin");
        assert!(!whole, "there is no more of the old one than {cut} bytes");
        assert!(old.starts_with(&body), "{cut}: bytes that are not of the old one");
        let (body, whole) = download(&server, "/large.bin");
        assert!(whole && body == new, "{cut}: then the new one is sent");
    }
}

#[test]
fn an_object_that_was_replaced_since_it_was_looked_up_is_looked_up_again() {
    let bucket = bucket();
    let (_folder, launch) = patient(&bucket, &format!("{PATIENT}\nmetadata-ttl = \"1h\""));
    let server = launch.start();
    let before = server.get("/files/one.txt");
    bucket.put("www/files/one.txt", "another one");
    let after = server.get("/files/one.txt");
    assert_eq!((before.text(), after.text()), ("one", "another one"));
    assert_ne!(before.header("etag"), after.header("etag"));
    let range = server.request("GET", "/files/one.txt", &[("Range", "bytes=0-6")]);
    assert_eq!((range.status, range.text()), (206, "another"));
}

#[test]
fn failures_are_told_by_status_and_explained_in_the_log() {
    let bucket = bucket();
    let (_folder, launch) = patient(&bucket, "request-timeout = \"3s\"\nmax-retries = 0");
    let server = launch.start();
    for (fault, status, retry) in [
        (Fault::Status(500), 502, false),
        (Fault::Status(403), 502, false),
        (Fault::Status(503), 503, true),
        (Fault::Silence, 504, false),
    ] {
        bucket.fail([fault.clone()]);
        let response = server.get("/files/one.txt");
        // A machine that is too busy for the store's HEAD is told of as slow, too.
        assert!(
            response.status == status || response.status == 504,
            "{fault:?}: {response:?}"
        );
        assert_eq!(
            response.header("retry-after").is_some(),
            retry && response.status == 503,
            "{fault:?}"
        );
        assert!(!response.text().contains("reason of the store"), "{response:?}");
    }
    server.logged("GET of a store failed");
    assert!(!server.log().contains("test-secret-key"));
}

#[test]
fn a_store_is_not_asked_for_what_is_known() {
    let bucket = bucket();
    let (_folder, launch) = patient(&bucket, &format!("{PATIENT}\nmetadata-ttl = \"1h\""));
    let server = launch.start();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(server.get("/nothing.txt").status, 404);
                    assert_eq!(server.request("HEAD", "/files/one.txt", &[]).status, 200);
                }
            });
        }
    });
    let asked = bucket.asked();
    let count = |text: &str| asked.iter().filter(|line| line.contains(text)).count();
    assert_eq!(count("HEAD /bucket/www/nothing.txt"), 1, "{asked:?}");
    // The object and three siblings.
    assert_eq!(count("HEAD /bucket/www/files/one.txt"), 4, "{asked:?}");
    assert_eq!(count("GET /bucket/www/files/one.txt"), 0, "{asked:?}");
}

#[test]
fn long_listings_come_by_pages() {
    let bucket = Bucket::new();
    for number in 0..2500 {
        bucket.put(&format!("www/many/{number:04}.txt"), "x");
    }
    let server = bucket.launch("www").arguments(["--listing"]).start();
    let response = server.request("GET", "/many/", &[("Accept", "application/json")]);
    assert_eq!(response.status, 200);
    let names: Vec<&str> = response.text().matches(".txt\"").collect();
    assert_eq!(names.len(), 2500);
    let pages = bucket
        .asked()
        .iter()
        .filter(|line| line.contains("max-keys=1000"))
        .count();
    assert_eq!(pages, 3);
}

#[test]
fn keys_are_needed_and_never_shown() {
    let bucket = bucket();
    let refused = Launch::bare()
        .arguments(["--listen", "127.0.0.1:0", "--root", "s3://bucket/www"])
        .refusal();
    assert!(refused.contains("AWS_ACCESS_KEY_ID"), "{refused}");
    let (folder, _) = patient(&bucket, "");
    let file = folder.path().join("wasmserve.toml");
    let check = |arguments: &[&str]| {
        let launch = bucket.with_keys(Launch::bare()).arguments(["check", "--config"]);
        launch.arguments([&file]).arguments(arguments).run_to_end()
    };
    let printed = check(&["--print-config"]);
    assert!(
        printed.status.success() && printed.log.contains("s3://bucket/www"),
        "{}",
        printed.log
    );
    assert!(
        !printed.log.contains("test-secret-key") && !printed.log.contains("test-key-id"),
        "{}",
        printed.log
    );
    let text = std::fs::read_to_string(&file).expect("it was written");
    std::fs::write(&file, text.replace(&bucket.endpoint(), "http://127.0.0.1:1")).expect("it is writable");
    let silent = check(&[]);
    assert!(
        !silent.status.success()
            && silent.log.contains("cannot be listed")
            && silent.log.contains("LIST of a store failed")
            && silent.log.contains("http://127.0.0.1:1/"),
        "{}",
        silent.log
    );
}
