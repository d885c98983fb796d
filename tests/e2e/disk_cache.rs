//! `[server.disk-cache]`: what a root in object storage gives is kept on local disk, in pieces.
//!
//! The store is a part of this test: it speaks as much of S3 as is asked of it, knows every byte and counts what it sends.
use super::stores::download;
use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use support::{
    Certificate, Hosting, Server,
    bucket::{Bucket, Fault},
    eventually, pattern, tool,
};

const MIB: u64 = 1 << 20;

#[derive(Default)]
struct Store {
    /// Ranges of objects that were asked for.
    asked: Mutex<Vec<Range<u64>>>,
    /// What all objects are versions of.
    version: AtomicU64,
    /// Microseconds that are waited for before each piece of 64 KiB.
    slow: AtomicU64,
}

/// An object has the length that is its name: `/bucket/1000` has 1000 bytes.
fn serve(store: Arc<Store>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let store = store.clone();
            // A client that leaves ends its thread.
            thread::spawn(move || exchange(&store, &stream).unwrap_or_default());
        }
    });
    address
}

fn exchange(store: &Store, mut stream: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    while let Some(request) = lines.next() {
        let request = request?;
        let (mut range, mut holds) = (None, true);
        let version = store.version.load(SeqCst);
        for line in lines.by_ref() {
            let line = line?.to_ascii_lowercase();
            match line.split_once(": ") {
                Some(("range", value)) => range = parse(value),
                Some(("if-match", value)) => holds = value == format!("\"v{version}\""),
                Some(_) => {}
                None => break,
            }
        }
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let name = target.rsplit('/').next().unwrap_or_default();
        let size = name.parse::<u64>().ok().filter(|_| !target.contains('?'));
        let Some(size) = size else {
            let body = "<Error><Code>NoSuchKey</Code></Error>";
            let body = if method == "HEAD" { "" } else { body };
            write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            )?;
            continue;
        };
        if !holds {
            write!(stream, "HTTP/1.1 412 Precondition Failed\r\nContent-Length: 0\r\n\r\n")?;
            continue;
        }
        let head = format!("ETag: \"v{version}\"\r\nLast-Modified: Sun, 01 Nov 2026 10:00:00 GMT\r\n");
        let whole = 0..size;
        let bytes = range.clone().unwrap_or(whole);
        let (status, of) = match range {
            Some(range) => (
                "206 Partial Content",
                format!("Content-Range: bytes {}-{}/{size}\r\n", range.start, range.end - 1),
            ),
            None => ("200 OK", String::new()),
        };
        let length = bytes.end - bytes.start;
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{of}{head}\r\n"
        )?;
        if method == "GET" {
            store.asked.lock().expect("no panic").push(bytes.clone());
            let mut at = bytes.start;
            while at < bytes.end {
                thread::sleep(Duration::from_micros(store.slow.load(SeqCst)));
                let end = bytes.end.min(at + (64 << 10));
                stream.write_all(&content(version, at..end))?;
                at = end;
            }
        }
    }
    Ok(())
}

fn parse(range: &str) -> Option<Range<u64>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    Some(first.parse().ok()?..last.parse::<u64>().ok()? + 1)
}

fn content(version: u64, range: Range<u64>) -> Vec<u8> {
    range
        .map(|at| (((at / 8) ^ version).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (at % 8 * 8)) as u8)
        .collect()
}

impl Store {
    fn asked(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut *self.asked.lock().expect("no panic"))
    }
}

/// A server of the store's bucket.
fn hosting(address: SocketAddr, capacity: &str) -> Hosting {
    hosting_with(address, capacity, "")
}

/// The same, with further lines of `[server]`.
fn hosting_with(address: SocketAddr, capacity: &str, more: &str) -> Hosting {
    let hosting = Hosting::new();
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(hosting.at("cache"))
        .expect("our folder");
    let server = format!(
        "admin = \"admin.sock\"\nsendfile = \"always\"\n{more}\n\
         [server.disk-cache]\ndirectory = \"cache\"\ncapacity = \"{capacity}\""
    );
    let site = format!(
        "[[site]]\nname = \"store\"\nhosts = [\"*\"]\nroot = \"s3://bucket\"\n\
         [site.store]\nendpoint = \"http://{address}\"\nallow-http = true\ncredentials = \"none\""
    );
    hosting.configure(&server, &site);
    hosting
}

#[track_caller]
fn check(server: &Server, size: u64, range: Range<u64>) {
    let wanted = format!("bytes={}-{}", range.start, range.end - 1);
    let response = server.request("GET", &format!("/{size}"), &[("Range", wanted.as_str())]);
    assert_eq!(response.status, 206, "{}", server.log());
    assert!(response.body == content(0, range.clone()), "{range:?} of {size}");
}

#[track_caller]
fn check_whole(server: &Server, size: u64, version: u64) {
    let response = server.get(&format!("/{size}"));
    assert_eq!(response.status, 200, "{}", server.log());
    assert!(response.body == content(version, 0..size), "{size} bytes");
}

fn on_disk(folder: &Path) -> u64 {
    let files = std::fs::read_dir(folder).expect("the cache's folder");
    files
        .filter_map(|file| Some(file.ok()?.metadata().ok()?.blocks() * 512))
        .sum()
}

#[test]
fn what_was_asked_for_once_is_not_asked_for_again_not_even_after_a_restart() {
    let store = Arc::new(Store::default());
    let hosting = hosting(serve(store.clone()), "128MiB");
    let sizes = [1, 1000, MIB, 3 * MIB + 17, 10 * MIB];
    for start in 0..3 {
        let server = hosting.start();
        for _ in 0..2 {
            for size in sizes {
                check_whole(&server, size, 0);
            }
        }
        let fetched: u64 = store.asked().iter().map(|range| range.end - range.start).sum();
        assert_eq!(
            fetched,
            if start == 0 { sizes.iter().sum() } else { 0 },
            "start {start}"
        );
        let metrics = crate::metrics::get(&hosting.at("admin.sock"), "/metrics");
        assert!(
            metrics.contains("wasmserve_disk_cache_lookups_total{result=\"hit\"}"),
            "{metrics}"
        );
        assert!(metrics.contains("wasmserve_disk_cache_troubles_total 0"), "{metrics}");
    }
    assert_eq!(on_disk(&hosting.at("cache/pieces-1")) / MIB, 14);
}

#[test]
fn however_many_ask_it_is_fetched_once() {
    let store = Arc::new(Store::default());
    let hosting = hosting(serve(store.clone()), "128MiB");
    store.slow.store(300, SeqCst);
    let server = hosting.start();
    let size = 6 * MIB + 5;
    thread::scope(|scope| {
        for client in 0..8 {
            let server = &server;
            scope.spawn(move || match client % 2 {
                0 => check_whole(server, size, 0),
                _ => check(server, size, client * 100_000..size - 1),
            });
        }
    });
    let fetched: u64 = store.asked().iter().map(|range| range.end - range.start).sum();
    assert_eq!(fetched, size);
    let status = crate::metrics::get(&hosting.at("admin.sock"), "/status");
    assert!(
        status.contains("\"disk_cache\":{\"hits\":") && status.contains(&format!("\"fetched_bytes\":{size},")),
        "{status}"
    );
}

/// The kernel cannot copy for them: what is on disk is read.
#[test]
fn clients_of_tls_and_http2_get_it_from_disk_too() {
    let store = Arc::new(Store::default());
    let certificate = Certificate::new();
    let (cert, key) = (certificate.at("cert.pem"), certificate.at("key.pem"));
    let more = format!("tls-cert = {cert:?}\ntls-key = {key:?}");
    let hosting = hosting_with(serve(store.clone()), "128MiB", &more);
    let server = hosting.start();
    let size = 3 * MIB + 17;
    let url = format!("https://{}/{size}", server.address());
    for version in ["--http1.1", "--http2", "--http1.1"] {
        let got = tool::run(&hosting.at(""), "curl", ["-sSk", version, &url]).success();
        assert!(
            got.stdout == content(0, 0..size),
            "{version}: {} bytes",
            got.stdout.len()
        );
        let ranges = ["-sSk", version, "-r", "1048570-1048590", &url];
        let got = tool::run(&hosting.at(""), "curl", ranges).success();
        assert!(got.stdout == content(0, 1_048_570..1_048_591), "{version}");
    }
    let fetched: u64 = store.asked().iter().map(|range| range.end - range.start).sum();
    assert_eq!(fetched, size);
}

#[test]
fn it_is_printed_with_the_configuration() {
    let hosting = hosting(serve(Arc::default()), "128MiB");
    let arguments = ["check", "--config", "wasmserve.toml", "--print-config"];
    let printed = support::Launch::bare()
        .folder(&hosting.at(""))
        .arguments(arguments)
        .run_to_end();
    let (_, table) = printed.log.split_once("[server.disk-cache]").expect("the table");
    for line in ["capacity = \"128MiB\"", "piece-size = \"1MiB\"", "cache\""] {
        assert!(table.contains(line), "{line}: {table}");
    }
}

#[test]
fn a_seek_fetches_the_pieces_it_needs() {
    let store = Arc::new(Store::default());
    let hosting = hosting(serve(store.clone()), "128MiB");
    let server = hosting.start();
    let video = 10 << 30;
    let at = 7 << 30;
    for _ in 0..2 {
        check(&server, video, at + 5..at + 100);
        check(&server, video, at + MIB - 1..at + MIB + 1);
        check(&server, video, video - 10..video);
    }
    let asked: Vec<_> = store.asked().iter().map(|range| (range.start, range.end)).collect();
    assert_eq!(asked, [(at, at + MIB), (at + MIB, at + 2 * MIB), (video - MIB, video)]);
}

#[test]
fn a_new_version_is_served_and_never_mixed_with_the_old_one() {
    let store = Arc::new(Store::default());
    let hosting = hosting(serve(store.clone()), "128MiB");
    let server = hosting.start();
    check_whole(&server, 3 * MIB, 0);
    store.version.store(1, SeqCst);
    eventually("what was known of the old version has aged", || {
        server.request("HEAD", &format!("/{}", 3 * MIB), &[]).header("etag") == Some("\"v1\"")
    });
    check_whole(&server, 3 * MIB, 1);
}

#[test]
fn a_cache_that_cannot_be_used_costs_nothing_but_itself() {
    let store = Arc::new(Store::default());
    let hosting = hosting(serve(store.clone()), "128MiB");
    std::fs::set_permissions(hosting.at("cache"), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .expect("our folder");
    let server = hosting.start();
    server.logged("the disk cache cannot keep anything now");
    for _ in 0..2 {
        check_whole(&server, 3 * MIB, 0);
    }
    let fetched: u64 = store.asked().iter().map(|range| range.end - range.start).sum();
    assert_eq!(fetched, 6 * MIB);
}

#[test]
fn what_a_killed_server_leaves_is_served_right() {
    let store = Arc::new(Store::default());
    let hosting = hosting(serve(store.clone()), "128MiB");
    store.slow.store(500, SeqCst);
    let size = 20 * MIB;
    for round in 0..6 {
        let mut server = hosting.start();
        store.asked();
        let address = server.address();
        let reading = thread::spawn(move || {
            let mut stream = TcpStream::connect(address).expect("it listens");
            write!(stream, "GET /{size} HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
            // Until it is killed.
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or_default()
        });
        eventually("it fills", || !store.asked.lock().expect("no panic").is_empty());
        thread::sleep(Duration::from_millis(7 * round));
        server.signal(rustix::process::Signal::KILL);
        server.ended();
        reading.join().expect("no panic");
        let server = hosting.start();
        check(&server, size, 0..3 * MIB);
        check(&server, size, round * MIB..(round + 8) * MIB);
        // The next round has something to fill.
        drop(server);
        std::fs::remove_dir_all(hosting.at("cache/pieces-1")).expect("our folder");
    }
}

/// What goes wrong behind the cache is never kept, nor given to anybody.
#[test]
fn no_failure_of_the_store_is_kept() {
    let length = usize::try_from(3 * MIB).expect("it fits") + 17;
    let (old, new) = (pattern(1, length), pattern(2, length));
    for faults in [
        vec![Fault::Cut(0), Fault::Cut(1), Fault::Cut(70_000)],
        vec![Fault::Status(500), Fault::Status(503), Fault::Cut(1 << 20)],
        vec![Fault::Replace(0, new.clone())],
        vec![Fault::Replace(500_000, new.clone())],
        vec![Fault::Cut(1 << 20), Fault::Replace((2 << 20) + 5, new.clone())],
        vec![Fault::Replace(length - 1, new.clone())],
    ] {
        let bucket = Bucket::new().object("file.bin", old.clone());
        let hosting = Hosting::new();
        let site = format!(
            "[[site]]\nname = \"store\"\nhosts = [\"*\"]\nroot = \"s3://bucket\"\n[site.store]\nendpoint = {:?}\n\
             allow-http = true\nrequest-timeout = \"2m\"\nread-timeout = \"2m\"",
            bucket.endpoint()
        );
        hosting.configure(
            "[server.disk-cache]\ndirectory = \"cache\"\ncapacity = \"128MiB\"",
            &site,
        );
        let server = bucket.with_keys(hosting.launch()).start();
        bucket.fail(faults.clone());
        let replaced = faults.iter().any(|fault| matches!(fault, Fault::Replace(..)));
        let (body, whole) = download(&server, "/file.bin");
        assert!(
            old.starts_with(&body) || replaced && new.starts_with(&body),
            "{faults:?}: bytes of two versions, or of none"
        );
        assert!(whole || replaced, "{faults:?}: {} bytes\n{}", body.len(), server.log());
        let current = if replaced { &new } else { &old };
        eventually("what there is now is served", || {
            server.get("/file.bin").body == *current
        });
        assert!(server.get("/file.bin").body == *current, "{faults:?}");
    }
}

/// One process at a time uses the folder; the next one takes over what is in it.
#[test]
fn a_second_server_takes_the_folder_over_when_the_first_one_ends() {
    let store = Arc::new(Store::default());
    let hosting = hosting(serve(store.clone()), "128MiB");
    let first = hosting.start();
    check_whole(&first, 3 * MIB, 0);
    // Operators ask the one that has the socket.
    let text = std::fs::read_to_string(hosting.at("wasmserve.toml")).expect("it was written");
    hosting.write("second.toml", text.replace("admin.sock", "second.sock"));
    let second = support::Launch::bare()
        .arguments(["--config"])
        .arguments([hosting.at("second.toml")])
        .start();
    check_whole(&second, 3 * MIB, 0);
    second.logged("the disk cache cannot keep anything now");
    store.asked();
    check_whole(&first, 3 * MIB, 0);
    assert_eq!(store.asked(), [], "the first one has it still");
    drop(first);
    eventually("the second one has what the first one kept", || {
        store.asked();
        check_whole(&second, 3 * MIB, 0);
        store.asked().is_empty()
    });
}
