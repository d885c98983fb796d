//! An S3-compatible server in this process, as far as reading goes, that can be told to fail: the far end of tests of roots
//! in object storage.
use crate::Launch;
use std::{
    collections::{BTreeMap, VecDeque},
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

/// A bucket, and its server.
pub struct Bucket {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// What becomes of one GET of an object.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with an error in its body.
    Status(u16),
    /// No answer; the connection stays.
    Silence,
    /// So many bytes of the body, and then the end of the connection.
    Cut(usize),
    /// As `Cut`; then the object is another one.
    Replace(usize, Vec<u8>),
}

#[derive(Default)]
struct State {
    /// Content by key, with a number that no other content has.
    objects: BTreeMap<String, (u64, Vec<u8>)>,
    versions: u64,
    /// Of the GETs of objects that come next, one each.
    faults: VecDeque<Fault>,
    asked: Vec<String>,
}

/// What all objects say of their time.
const MODIFIED: &str = "Tue, 03 Nov 2026 08:00:00 GMT";

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

impl Bucket {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::<Mutex<State>>::default();
        let shared = state.clone();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(&stream, &state));
            }
        });
        Self { address, state }
    }

    pub fn put(&self, key: &str, content: impl Into<Vec<u8>>) {
        self.state().put(key, content.into());
    }

    pub fn object(self, key: &str, content: impl Into<Vec<u8>>) -> Self {
        self.put(key, content);
        self
    }

    /// What becomes of the GETs of objects that come next, one each.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// What was asked so far: `HEAD /bucket/key`, `GET /bucket/key 0-99`, `GET /bucket?list-type=2&...`.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// The URL of the server.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A server over what is beneath a prefix, with keys in its environment.
    pub fn launch(&self, prefix: &str) -> Launch {
        self.with_keys(Launch::bare())
            .arguments(["--listen", "127.0.0.1:0", "--root", &format!("s3://bucket/{prefix}")])
            .variable("AWS_ENDPOINT", self.endpoint())
            .variable("AWS_ALLOW_HTTP", "true")
    }

    /// With keys in its environment.
    pub fn with_keys(&self, launch: Launch) -> Launch {
        launch
            .variable("AWS_ACCESS_KEY_ID", "test-key-id")
            .variable("AWS_SECRET_ACCESS_KEY", "test-secret-key")
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn put(&mut self, key: &str, content: Vec<u8>) {
        self.versions += 1;
        self.objects.insert(key.to_owned(), (self.versions, content));
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers the requests of one connection until it ends.
fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = Request::read(&mut reader) {
        if answer(stream, &request, state).is_err() {
            return;
        }
    }
}

struct Request {
    method: String,
    /// Without the query, decoded.
    path: String,
    query: String,
    headers: BTreeMap<String, String>,
}

impl Request {
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else {
                break;
            };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
        Ok(Some(Self {
            method,
            path: decoded(path),
            query: query.to_owned(),
            headers,
        }))
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .into_iter()
            .find(|(of, _)| *of == name)
            .map(|(_, value)| decoded(value))
    }
}

fn decoded(text: &str) -> String {
    let (bytes, mut plain, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let escaped = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => (plain.push(byte), at += 3).1,
            None => (plain.push(bytes[at]), at += 1).1,
        }
    }
    String::from_utf8(plain).expect("paths are UTF-8")
}

/// An error ends the connection.
fn answer(mut stream: &TcpStream, request: &Request, state: &Mutex<State>) -> io::Result<()> {
    let range = request
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes="));
    let Request {
        method, path, query, ..
    } = request;
    let mut asked = format!("{method} {path}");
    asked += &if query.is_empty() {
        String::new()
    } else {
        format!("?{query}")
    };
    asked += &range.map(|range| format!(" {range}")).unwrap_or_default();
    lock(state).asked.push(asked);
    let signed = request.headers.get("authorization");
    if !signed.is_some_and(|signature| signature.starts_with("AWS4-HMAC-SHA256 Credential=test-key-id/")) {
        return stream.write_all(&message(403, "AccessDenied"));
    }
    if request.parameter("list-type").is_some() {
        let page = listed(request, &lock(state));
        return stream.write_all(&with_body("200 OK", "", page.as_bytes()));
    }
    let key = path.strip_prefix("/bucket/").unwrap_or_default();
    let fault = match method.as_str() {
        "GET" => lock(state).faults.pop_front(),
        _ => None,
    };
    match &fault {
        Some(Fault::Status(status)) => return stream.write_all(&message(*status, "SlowDown: the reason of the store")),
        Some(Fault::Silence) => return io::copy(&mut stream, &mut io::sink()).map(drop),
        Some(Fault::Cut(_) | Fault::Replace(..)) | None => {}
    }
    let Some((version, content)) = lock(state).objects.get(key).cloned() else {
        return stream.write_all(&message(404, if method == "HEAD" { "" } else { "NoSuchKey" }));
    };
    let etag = format!("\"version-{version}\"");
    if request.headers.get("if-match").is_some_and(|wanted| *wanted != etag) {
        return stream.write_all(&message(412, "PreconditionFailed"));
    }
    let fields = format!("ETag: {etag}\r\nLast-Modified: {MODIFIED}\r\n");
    if method == "HEAD" {
        let head = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n", content.len());
        return stream.write_all(head.as_bytes());
    }
    let bounds = range.and_then(|range| range.split_once('-'));
    let bounds = bounds.and_then(|(first, last)| Some((first.parse().ok()?, last.parse::<usize>().ok()?)));
    let (first, last) = bounds.unwrap_or((0, content.len() - 1));
    let last = last.min(content.len() - 1);
    let fields = format!("{fields}Content-Range: bytes {first}-{last}/{}\r\n", content.len());
    let whole = with_body("206 Partial Content", &fields, &content[first..=last]);
    let (cut, replacement) = match fault {
        Some(Fault::Cut(cut)) => (cut, None),
        Some(Fault::Replace(cut, content)) => (cut, Some(content)),
        _ => return stream.write_all(&whole),
    };
    let head = whole.len() - (last + 1 - first);
    stream.write_all(&whole[..(head + cut).min(whole.len())])?;
    if let Some(content) = replacement {
        lock(state).put(key, content);
    }
    Err(io::ErrorKind::ConnectionAborted.into())
}

fn message(status: u16, code: &str) -> Vec<u8> {
    let body = match code {
        "" => String::new(),
        code => format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>"),
    };
    with_body(&format!("{status} Failed"), "", body.as_bytes())
}

fn with_body(status: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// ListObjectsV2, by pages; a page is continued after the name that it ended with.
fn listed(request: &Request, state: &State) -> String {
    let prefix = request.parameter("prefix").unwrap_or_default();
    let after = request.parameter("continuation-token");
    let most = request
        .parameter("max-keys")
        .and_then(|most| most.parse().ok())
        .unwrap_or(1000);
    let mut names: BTreeMap<String, Option<(u64, usize)>> = BTreeMap::new();
    for (key, (version, content)) in &state.objects {
        let Some(name) = key.strip_prefix(&prefix) else {
            continue;
        };
        match name.split_once('/') {
            Some((directory, _)) => names.insert(format!("{prefix}{directory}/"), None),
            None => names.insert(key.clone(), Some((*version, content.len()))),
        };
    }
    let mut left = names
        .into_iter()
        .filter(|(name, _)| after.as_ref().is_none_or(|after| name > after));
    let mut page = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
    let mut last = String::new();
    for (name, object) in left.by_ref().take(most) {
        page += &match object {
            Some((version, length)) => format!(
                "<Contents><Key>{name}</Key><LastModified>2026-11-03T08:00:00.000Z</LastModified>\
                 <ETag>\"version-{version}\"</ETag><Size>{length}</Size></Contents>"
            ),
            None => format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>"),
        };
        last = name;
    }
    if left.next().is_some() {
        page += &format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>");
    }
    page + "</ListBucketResult>"
}
