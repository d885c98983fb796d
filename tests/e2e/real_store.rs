//! The same files in a folder, in a bucket of a whole S3 (moto), and in that bucket behind a disk cache: every question of
//! the tables below is asked of all three, and the answers are the same.
//!
//! What differs and may: the entity tag (the object's own), and the time of directories, which a store does not know.
use std::{
    fs::File,
    time::{Duration, UNIX_EPOCH},
};
use support::{Certificate, Fields, Hosting, Launch, Moto, Response, Server, eventually, pattern};

/// Every site as a folder's, and as a store's. `files` has listings and an error page, `app` a page for all that is not
/// there, the others are placed and mapped by a policy.
const SITES: &str = r#"
[[site]]
name = "files"
hosts = ["files.example"]
root = "ROOT"
listing = true
error-pages = { 404 = "/404.html" }
STORE
[[site]]
name = "app"
hosts = ["app.example"]
root = "ROOT"
fallback = "/app/index.html"
index = ["start.html", "index.htm", "index.html"]
STORE
[[site]]
name = "north"
hosts = ["north.example"]
root = "ROOT"
error-pages = { 404 = "/404.html" }
STORE
[[site.policy]]
plugin = "probe"
[site.policy.config]
place = "default /tenants/north"
missing = "404 /gone.html"
[[site]]
name = "west"
hosts = ["west.example"]
root = "ROOT"
error-pages = { 404 = "/404.html" }
STORE
[[site.policy]]
plugin = "probe"
[site.policy.config]
place = "default /tenants/west"
missing = "404 /gone.html"
[[site]]
name = "mapped"
hosts = ["mapped.example"]
root = "ROOT"
STORE
[[site.policy]]
plugin = "probe"
[site.policy.config]
paths = """
/nothing/at/all
/nothing/else/
/.hidden/file.txt
/files/two.txt
/files/one.txt
"""
"#;

/// What is in the folder, and in the bucket. Siblings come after their file.
const FILES: &[(&str, &str)] = &[
    ("index.html", "<p>the top</p>"),
    ("page.html", "<p>a page that is long enough for ranges</p>"),
    ("page.html.br", "as brotli, long enough for ranges"),
    ("page.html.gz", "as gzip, long enough for ranges"),
    ("page.html.zst", "as zstandard, long enough for ranges"),
    ("docs/index.html", "<p>documents</p>"),
    ("docs/a b%c#d?.txt", "a strange name"),
    ("files/one.txt", "one"),
    ("files/two.txt", "two, which is longer"),
    ("files/within/three.txt", "three"),
    ("files/.hidden", "a secret"),
    ("names/plus+plus.txt", "plus"),
    ("names/percent%41.txt", "percent"),
    ("names/\u{fc}n\u{ef}c\u{f6}d\u{e9}.txt", "unicode"),
    ("names/\u{1f600}.txt", "a face"),
    ("names/semicolon;v=1.txt", "semicolon"),
    ("names/quote\"'.txt", "quotes"),
    ("names/<b>&amp;.txt", "markup"),
    ("names/tilde~.txt", "tilde"),
    (".hidden/file.txt", "a secret"),
    (".well-known/security.txt", "Contact: x"),
    ("empty.txt", ""),
    ("404.html", "<p>nothing here</p>"),
    ("app/index.html", "<p>the application</p>"),
    ("app/main.js", "run()"),
    ("tenants/north/file.txt", "north's"),
    ("tenants/north/gone.html", "<p>not in the north</p>"),
    ("tenants/south/file.txt", "south's"),
    ("elsewhere.txt", "beside"),
];

const LARGE: usize = 100_000;

/// `{etag}`, `{modified}`, `{before}` and `{after}` stand for what each server says of the file.
const PRECONDITIONS: &[Fields<'_>] = &[
    &[],
    &[("If-Match", "{etag}")],
    &[("If-Match", "\"another\"")],
    &[("If-Match", "*")],
    &[("If-None-Match", "{etag}")],
    &[("If-None-Match", "W/{etag}")],
    &[("If-None-Match", "\"another\", {etag}")],
    &[("If-None-Match", "\"another\"")],
    &[("If-None-Match", "*")],
    &[("If-None-Match", "no tag")],
    &[("If-Modified-Since", "{modified}")],
    &[("If-Modified-Since", "{before}")],
    &[("If-Modified-Since", "no date")],
    &[("If-Unmodified-Since", "{modified}")],
    &[("If-Unmodified-Since", "{before}")],
    &[("If-None-Match", "\"another\""), ("If-Modified-Since", "{modified}")],
    &[("If-Match", "{etag}"), ("If-Unmodified-Since", "{before}")],
];

const RANGES: &[Fields<'_>] = &[
    &[],
    &[("Range", "bytes=0-0")],
    &[("Range", "bytes=2-")],
    &[("Range", "bytes=-3")],
    &[("Range", "bytes=3-1000000")],
    &[("Range", "bytes=1000000-")],
    &[("Range", "bytes=9-1")],
    &[("Range", "lines=1-2")],
    &[("Range", "bytes=0-1,4-5,-2")],
    &[("Range", "bytes=1-2"), ("If-Range", "{etag}")],
    &[("Range", "bytes=1-2"), ("If-Range", "\"another\"")],
    &[("Range", "bytes=1-2"), ("If-Range", "{before}")],
];

const CODINGS: &[Fields<'_>] = &[
    &[],
    &[("Accept-Encoding", "gzip, br;q=0.5")],
    &[("Accept-Encoding", "br, zstd;q=0.9, *;q=0")],
    &[("Accept-Encoding", "identity;q=0")],
];

/// Paths of all sites; what nobody may see among them.
const PATHS: &[&str] = &[
    "/",
    "/index.html",
    "/page.html",
    "/page.html/",
    "/page.html/more",
    "/page.html.br",
    "/page.html?q=1",
    "/docs",
    "/docs/",
    "/docs?q=%20&r",
    "/docs/a%20b%25c%23d%3F.txt",
    "/docs/nothing",
    "/files",
    "/files/",
    "/files/?sort=size&order=desc",
    "/files/?sort=name&order=desc",
    "/files/one.txt",
    "/files/two.txt",
    "/files/one.txt/",
    "/files/within",
    "/files/within/",
    "/files/.hidden",
    "/names/",
    "/names/plus+plus.txt",
    "/names/percent%2541.txt",
    "/names/percent%41.txt",
    "/names/%C3%BCn%C3%AFc%C3%B6d%C3%A9.txt",
    "/names/%F0%9F%98%80.txt",
    "/names/semicolon;v=1.txt",
    "/names/quote%22'.txt",
    "/names/%3Cb%3E&amp%3B.txt",
    "/names/tilde~.txt",
    "/.hidden",
    "/.hidden/",
    "/.hidden/file.txt",
    "/.well-known/security.txt",
    "/.well-known/",
    "/empty.txt",
    "/large.bin",
    "/nothing",
    "/nothing/",
    "/nothing/at/all.html",
    "/app",
    "/app/",
    "/app/main.js",
    "/app/route/of/the/application",
    "/file.txt",
    "/gone.html",
    "/elsewhere.txt",
    "/tenants/south/file.txt",
    "/404.html",
];

/// The servers that are compared, the folder's first.
struct Servers {
    all: Vec<(&'static str, Server)>,
    _held: Vec<Hosting>,
    moto: Moto,
}

impl Servers {
    /// `None`: there is no S3 here, and that is known.
    fn start() -> Option<Self> {
        let moto = Moto::start("bucket")?;
        let large = pattern(1, LARGE);
        let files = FILES.iter().map(|(path, content)| (*path, content.as_bytes()));
        let files: Vec<(&str, &[u8])> = files.chain([("large.bin", &*large)]).collect();
        let folder = hosting("www", "", "");
        for (path, content) in &files {
            let modified = moto.put(&format!("www/{path}"), content, &[]);
            let path = folder.at("www").join(path);
            std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("the folder is ours");
            std::fs::write(&path, content).expect("the folder is ours");
            let file = File::options().write(true).open(&path).expect("it was just written");
            let time = UNIX_EPOCH + Duration::from_secs(modified);
            file.set_modified(time).expect("the folder is ours");
        }
        moto.put("outside.txt", b"of another prefix", &[]);
        let store = store(&format!("http://{}", moto.address()), "allow-http = true");
        let stored = hosting("s3://bucket/www", &store, "");
        let cached = hosting("s3://bucket/www", &store, "[server.disk-cache]\ndirectory = \"cache\"");
        let start = |hosting: &Hosting| with_keys(hosting.launch()).start();
        let all = vec![
            ("a folder", start(&folder)),
            ("a store", start(&stored)),
            ("a store behind a disk cache", start(&cached)),
        ];
        // The tag of a file that was written just now is weak; an object's never is.
        eventually("the files have rested", || {
            let response = all[0].1.get_from("files.example", "/large.bin");
            response.header("etag").is_some_and(|tag| !tag.starts_with("W/"))
        });
        Some(Self {
            all,
            _held: vec![folder, stored, cached],
            moto,
        })
    }

    /// Asks all of them, and compares the answers.
    #[track_caller]
    fn compare(&self, method: &str, host: &str, path: &str, fields: &[(&str, &str)]) -> Response {
        let mut first: Option<(Seen, Response)> = None;
        for (name, server) in &self.all {
            let filled = fill(server, host, path, fields);
            let borrowed: Vec<(&str, &str)> = filled.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let response = server.request(method, path, &[&[("Host", host)], &*borrowed].concat());
            let seen = Seen::of(&response);
            match &first {
                None => first = Some((seen, response)),
                Some((expected, _)) => assert!(
                    *expected == seen,
                    "{method} {host}{path} {fields:?}: {name} answers\n{seen:?}\nand a folder\n{expected:?}\n{}",
                    server.log()
                ),
            }
        }
        first.expect("there are servers").1
    }
}

/// A server's sites over a root.
fn hosting(root: &str, store: &str, server: &str) -> Hosting {
    let hosting = Hosting::new().guest("probe");
    std::fs::create_dir(hosting.at("www")).expect("the folder is ours");
    hosting.configure(server, &SITES.replace("ROOT", root).replace("STORE", store));
    hosting
}

/// The store may take its time: a busy machine is no fault. What is known of it stays, because nothing changes.
fn store(endpoint: &str, more: &str) -> String {
    format!(
        "[site.store]\nendpoint = \"{endpoint}\"\nrequest-timeout = \"3m\"\nread-timeout = \"3m\"\n\
         connect-timeout = \"1m\"\nmetadata-ttl = \"1h\"\n{more}"
    )
}

fn with_keys(launch: Launch) -> Launch {
    launch
        .variable("AWS_ACCESS_KEY_ID", "test-key-id")
        .variable("AWS_SECRET_ACCESS_KEY", "test-secret-key")
}

/// The fields with what this server says of the path in place of words in braces.
fn fill<'a>(server: &Server, host: &str, path: &str, fields: &[(&'a str, &str)]) -> Vec<(&'a str, String)> {
    let is_asked = fields.iter().any(|(_, value)| value.contains('{'));
    let coding = fields.iter().copied().filter(|(name, _)| *name == "Accept-Encoding");
    let asked: Vec<(&str, &str)> = coding.chain([("Host", host)]).collect();
    let current = is_asked.then(|| server.request("HEAD", path, &asked));
    let said = |name: &str| {
        current
            .as_ref()
            .and_then(|current| current.header(name))
            .unwrap_or_default()
    };
    let modified = httpdate::parse_http_date(said("last-modified")).unwrap_or(UNIX_EPOCH + Duration::from_secs(1));
    let before = httpdate::fmt_http_date(modified - Duration::from_secs(1));
    let fill = |value: &str| {
        value
            .replace("{etag}", said("etag"))
            .replace("{modified}", said("last-modified"))
            .replace("{before}", &before)
    };
    fields.iter().map(|(name, value)| (*name, fill(value))).collect()
}

/// What a client makes of an answer.
#[derive(PartialEq)]
struct Seen {
    status: u16,
    /// The entity tag by its form alone.
    fields: Vec<(String, String)>,
    body: String,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body: String = self.body.chars().take(2000).collect();
        write!(f, "{} {:?}\n{body}", self.status, self.fields)
    }
}

impl Seen {
    fn of(response: &Response) -> Self {
        // Boundaries are made of the entity tag, which differs.
        let kind = response.header("content-type").unwrap_or_default();
        let boundary = kind
            .split_once("boundary=")
            .map_or("no boundary", |(_, boundary)| boundary);
        let mut fields: Vec<(String, String)> = response
            .headers
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("date"))
            .map(|(name, value)| {
                let value = match name.to_ascii_lowercase().as_str() {
                    "etag" => value.split_once('"').map_or("none", |(weak, _)| weak).to_owned(),
                    _ => value.replace(boundary, "-"),
                };
                (name.to_ascii_lowercase(), value)
            })
            .collect();
        fields.sort();
        let mut body = String::from_utf8_lossy(&response.body).replace(boundary, "-");
        let is_listing = ["<tr class=\"directory\"", "\"type\":\"directory\""]
            .iter()
            .any(|sign| body.contains(sign));
        if is_listing {
            body = without_times_of_directories(&body);
            fields.retain(|(name, _)| name != "content-length");
        }
        let status = response.status;
        Self { status, fields, body }
    }
}

/// A listing, in HTML or in JSON, as if it told no time of directories.
fn without_times_of_directories(listing: &str) -> String {
    let row = |line: &str| match line.starts_with("<tr class=\"directory\"") {
        true => line.rsplit_once("<td>").map_or("", |(row, _)| row).to_owned(),
        false => line.to_owned(),
    };
    let rows: Vec<String> = listing.lines().map(row).collect();
    let rows = rows.join("\n");
    let mut parts = rows.split("\"type\":\"directory\"");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |listing, part| {
        listing + "a directory" + part.split_once('}').map_or("", |(_, rest)| rest)
    })
}

#[test]
fn every_method_precondition_range_and_coding_is_answered_alike() {
    let Some(servers) = Servers::start() else { return };
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for precondition in PRECONDITIONS {
        for range in RANGES {
            for coding in CODINGS {
                for method in ["GET", "HEAD"] {
                    let fields = [*precondition, *range, *coding].concat();
                    let response = servers.compare(method, "files.example", "/page.html", &fields);
                    *statuses.entry(response.status).or_default() += 1;
                }
            }
        }
    }
    for status in [200, 206, 304, 406, 412, 416] {
        assert!(
            statuses.contains_key(&status),
            "none of the answers is {status}: {statuses:?}"
        );
    }
    for range in RANGES {
        for path in ["/large.bin", "/empty.txt", "/nothing", "/docs/"] {
            servers.compare("GET", "files.example", path, range);
        }
    }
}

#[test]
fn every_path_of_every_site_is_answered_alike() {
    let Some(servers) = Servers::start() else { return };
    for host in [
        "files.example",
        "app.example",
        "north.example",
        "west.example",
        "mapped.example",
    ] {
        for path in PATHS {
            servers.compare("GET", host, path, &[]);
        }
    }
    for path in PATHS {
        for method in ["HEAD", "OPTIONS", "POST", "PUT", "DELETE"] {
            servers.compare(method, "files.example", path, &[]);
        }
    }
    for path in ["/files/", "/names/", "/docs/", "/files/?sort=time"] {
        servers.compare("GET", "files.example", path, &[("Accept", "application/json")]);
    }
    // What the tables are to prove, by one answer each.
    for (host, path, status, text) in [
        ("files.example", "/files/", 200, "two.txt"),
        ("files.example", "/nothing", 404, "<p>nothing here</p>"),
        (
            "app.example",
            "/app/route/of/the/application",
            200,
            "<p>the application</p>",
        ),
        ("north.example", "/file.txt", 200, "north's"),
        ("north.example", "/elsewhere.txt", 404, "<p>not in the north</p>"),
        (
            "north.example",
            "/tenants/south/file.txt",
            404,
            "<p>not in the north</p>",
        ),
        ("west.example", "/file.txt", 404, "<p>nothing here</p>"),
        ("mapped.example", "/whatever", 200, "two, which is longer"),
    ] {
        let response = servers.compare("GET", host, path, &[]);
        assert_eq!(response.status, status, "{host}{path}: {response:?}");
        assert!(response.text().contains(text), "{host}{path}: {response:?}");
    }
}

#[test]
fn no_way_out_of_a_prefix() {
    let Some(servers) = Servers::start() else { return };
    let table = include_str!("traversal.txt").replace("secret.txt", "outside.txt");
    let targets = table
        .lines()
        .filter(|line| line.starts_with('/') && !line.contains("\\x"));
    for target in targets {
        let response = servers.compare("GET", "files.example", target, &[]);
        assert!(!response.text().contains("of another prefix"), "{target}: {response:?}");
    }
}

#[test]
fn what_only_a_store_can_have() {
    let Some(Servers { all, moto, _held }) = Servers::start() else {
        return;
    };
    // A key and keys beneath it; one whose name ends in its slash; some that no path can name; one stored in a coding.
    for (key, content) in [
        ("www/both", "a file"),
        ("www/both/within.txt", "beneath it"),
        ("www/marked/", ""),
        ("www/odd/fine.txt", "fine"),
        ("www/odd//empty.txt", "an empty segment"),
        ("www/odd/../up.txt", "a segment that leads up"),
        ("www/odd/./same.txt", "a segment that leads nowhere"),
        ("www/only//empty.txt", "nothing else"),
    ] {
        moto.put(key, content.as_bytes(), &[]);
    }
    moto.put("www/packed.html", b"packed", &[("Content-Encoding", "gzip")]);
    for (name, server) in &all[1..] {
        let get = |path: &str| server.get_from("files.example", path);
        for (path, status, text) in [
            ("/both", 200, "a file"),
            ("/both/within.txt", 200, "beneath it"),
            ("/both/", 200, "within.txt"),
            ("/marked/", 200, ""),
            ("/odd/", 200, "fine.txt"),
            ("/only/", 404, "nothing here"),
            ("/odd//empty.txt", 400, ""),
            ("/packed.html", 200, "packed"),
        ] {
            let response = get(path);
            assert_eq!(response.status, status, "{name}: {path}: {response:?}");
            assert!(response.text().contains(text), "{name}: {path}: {response:?}");
        }
        let listing = get("/odd/");
        for odd in ["empty.txt", "up.txt", "same.txt", "//"] {
            assert!(!listing.text().contains(odd), "{name}: {listing:?}");
        }
        server.logged("keys that no path can name are left out of a listing");
        assert_eq!(get("/packed.html").header("content-encoding"), Some("gzip"), "{name}");
    }
}

/// Over TLS a store is believed when an authority vouches for it: the public ones, and those of `ca-file`.
#[test]
fn a_store_is_asked_over_tls_that_is_trusted() {
    let certificate = Certificate::new();
    certificate.openssl(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=store -CA cert.pem -CAkey key.pem \
         -addext basicConstraints=critical,CA:FALSE -addext subjectAltName=IP:127.0.0.1 -keyout store-key.pem -out store.pem",
    );
    let Some(moto) = Moto::start_with(&certificate, "bucket") else {
        return;
    };
    moto.put_over_tls(&certificate, "www/files/one.txt", "by TLS");
    let endpoint = format!("https://{}", moto.address());
    let ca = format!("ca-file = {:?}", certificate.at("cert.pem"));
    let trusted = hosting("s3://bucket/www", &store(&endpoint, &ca), "");
    let server = with_keys(trusted.launch()).start();
    let response = server.get_from("files.example", "/files/one.txt");
    assert_eq!((response.status, response.text()), (200, "by TLS"), "{}", server.log());
    let response = server.get_from("files.example", "/files/");
    assert!(response.text().contains("one.txt"), "{response:?}");

    let other = Certificate::new();
    for ca in [
        "max-retries = 0".to_owned(),
        format!("max-retries = 0\nca-file = {:?}", other.at("cert.pem")),
    ] {
        let hosting = hosting("s3://bucket/www", &store(&endpoint, &ca), "");
        let server = with_keys(hosting.launch()).start();
        let response = server.get_from("files.example", "/files/one.txt");
        assert_eq!(response.status, 502, "{ca}: {response:?}");
        assert!(server.logged("of a store failed").contains("certificate"), "{ca}");
    }

    let empty = other.at("empty.pem");
    std::fs::write(&empty, "no certificate\n").expect("the folder is ours");
    for (file, said) in [
        (empty, "there is no certificate in it"),
        (other.at("none.pem"), "No such file"),
    ] {
        let hosting = hosting("s3://bucket/www", &store(&endpoint, &format!("ca-file = {file:?}")), "");
        let refused = with_keys(hosting.launch()).refusal();
        let name = file.display().to_string();
        assert!(refused.contains(said) && refused.contains(&name), "{refused}");
    }
}
