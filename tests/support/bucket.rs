//! A store in this process, as far as reading goes, that can be told to fail: the far end of tests of roots in object storage.
//! It speaks as Amazon's, as Google's or as Microsoft's.
use crate::{Launch, PATIENCE};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// A bucket, and its server.
pub struct Bucket {
    address: SocketAddr,
    dialect: Dialect,
    state: Arc<Shared>,
}

/// Whose protocol is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    S3,
    Google,
    Azure,
}

/// The state, and a word to those who wait for it.
#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
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
    /// Who asks has no right to list, and is told of nothing that is not there.
    secretive: bool,
    /// HEADs of keys with this in them wait until so many different ones do.
    gate: Option<(String, usize)>,
    waiting: BTreeSet<String>,
}

/// What all objects say of their time.
const MODIFIED: &str = "Tue, 03 Nov 2026 08:00:00 GMT";

impl Default for Bucket {
    fn default() -> Self {
        Self::new()
    }
}

impl Dialect {
    /// How URLs of it begin.
    pub fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Google => "gs",
            Self::Azure => "az",
        }
    }

    /// Variables that say who asks.
    fn keys(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::S3 => &[
                ("AWS_ACCESS_KEY_ID", "test-key-id"),
                ("AWS_SECRET_ACCESS_KEY", "test-secret-key"),
            ],
            Self::Google => &[("GOOGLE_BEARER_TOKEN", "test-secret-key")],
            // The key is `test-secret-key` in Base64.
            Self::Azure => &[
                ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
                ("AZURE_STORAGE_ACCOUNT_KEY", "dGVzdC1zZWNyZXQta2V5"),
            ],
        }
    }

    /// How what they are turned into begins.
    fn authorization(self) -> &'static str {
        match self {
            Self::S3 => "AWS4-HMAC-SHA256 Credential=test-key-id/",
            Self::Google => "Bearer test-secret-key",
            Self::Azure => "SharedKey account:",
        }
    }
}

impl Bucket {
    pub fn new() -> Self {
        Self::speaking(Dialect::S3)
    }

    pub fn speaking(dialect: Dialect) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::<Shared>::default();
        let shared = state.clone();
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(&stream, dialect, &state));
            }
        });
        Self {
            address,
            dialect,
            state,
        }
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

    /// From now on, what is not there may not be read, and nothing be listed.
    pub fn tell_nothing(&self) {
        self.state().secretive = true;
    }

    /// HEADs of keys with this in them are answered when so many different ones wait.
    pub fn hold(&self, text: &str, count: usize) {
        self.state().gate = Some((text.to_owned(), count));
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
        let keys = self.dialect.keys().iter();
        keys.fold(launch, |launch, (name, value)| launch.variable(name, *value))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    fn put(&mut self, key: &str, content: Vec<u8>) {
        self.versions += 1;
        self.objects.insert(key.to_owned(), (self.versions, content));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits at the gate, if a key is held there.
    fn pass(&self, key: &str) {
        let mut state = self.lock();
        let Some((text, count)) = state.gate.clone() else {
            return;
        };
        if !key.contains(&text) {
            return;
        }
        state.waiting.insert(key.to_owned());
        self.changed.notify_all();
        let is_open = |state: &mut State| state.waiting.len() < count;
        let waited = self.changed.wait_timeout_while(state, PATIENCE, is_open);
        // Whoever asks has long been told that the store is slow.
        drop(waited);
    }
}

/// Answers the requests of one connection until it ends.
fn serve(stream: &TcpStream, dialect: Dialect, state: &Shared) {
    let mut reader = BufReader::new(stream);
    while let Ok(Some(request)) = Request::read(&mut reader) {
        if answer(stream, &request, dialect, state).is_err() {
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
fn answer(mut stream: &TcpStream, request: &Request, dialect: Dialect, state: &Shared) -> io::Result<()> {
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
    state.lock().asked.push(asked);
    let signed = request.headers.get("authorization");
    if !signed.is_some_and(|signature| signature.starts_with(dialect.authorization())) {
        return stream.write_all(&message(403, "InvalidAccessKeyId"));
    }
    let question = match dialect {
        Dialect::S3 | Dialect::Google => "list-type",
        Dialect::Azure => "comp",
    };
    if request.parameter(question).is_some() {
        if state.lock().secretive {
            return stream.write_all(&message(403, "AccessDenied"));
        }
        let page = listed(request, dialect, &state.lock());
        return stream.write_all(&with_body("200 OK", "", page.as_bytes()));
    }
    let key = path.strip_prefix("/bucket/").unwrap_or_default();
    let fault = match method.as_str() {
        "GET" => state.lock().faults.pop_front(),
        _ => None,
    };
    if method == "HEAD" {
        state.pass(key);
    }
    match &fault {
        Some(Fault::Status(status)) => return stream.write_all(&message(*status, "SlowDown: the reason of the store")),
        Some(Fault::Silence) => return io::copy(&mut stream, &mut io::sink()).map(drop),
        Some(Fault::Cut(_) | Fault::Replace(..)) | None => {}
    }
    let (found, secretive) = {
        let state = state.lock();
        (state.objects.get(key).cloned(), state.secretive)
    };
    let Some((version, content)) = found else {
        if secretive {
            return stream.write_all(&message(403, if method == "HEAD" { "" } else { "AccessDenied" }));
        }
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
        state.lock().put(key, content);
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

/// A page of a listing; it is continued after the name that it ended with.
fn listed(request: &Request, dialect: Dialect, state: &State) -> String {
    let (after, most) = match dialect {
        Dialect::S3 | Dialect::Google => ("continuation-token", "max-keys"),
        Dialect::Azure => ("marker", "maxresults"),
    };
    let prefix = request.parameter("prefix").unwrap_or_default();
    let after = request.parameter(after);
    let most = request
        .parameter(most)
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
    let page: Vec<_> = left.by_ref().take(most).collect();
    let last = page
        .last()
        .filter(|_| left.next().is_some())
        .map(|(name, _)| escaped(name));
    let entries = page.iter().map(|(name, object)| entry(dialect, name, *object));
    let entries: String = entries.collect();
    match dialect {
        Dialect::S3 | Dialect::Google => {
            let next = last.map_or_else(String::new, |last| {
                format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{last}</NextContinuationToken>")
            });
            format!("<?xml version=\"1.0\"?><ListBucketResult>{entries}{next}</ListBucketResult>")
        }
        Dialect::Azure => {
            let next = last.map_or_else(String::new, |last| format!("<NextMarker>{last}</NextMarker>"));
            format!("<?xml version=\"1.0\"?><EnumerationResults><Blobs>{entries}</Blobs>{next}</EnumerationResults>")
        }
    }
}

/// As XML has it.
fn escaped(name: &str) -> String {
    name.replace('&', "&amp;").replace('<', "&lt;")
}

/// A version and a length are an object's; what has neither is a directory.
fn entry(dialect: Dialect, name: &str, object: Option<(u64, usize)>) -> String {
    let name = escaped(name);
    match (dialect, object) {
        (Dialect::S3 | Dialect::Google, Some((version, length))) => format!(
            "<Contents><Key>{name}</Key><LastModified>2026-11-03T08:00:00.000Z</LastModified>\
             <ETag>\"version-{version}\"</ETag><Size>{length}</Size></Contents>"
        ),
        (Dialect::S3 | Dialect::Google, None) => {
            format!("<CommonPrefixes><Prefix>{name}</Prefix></CommonPrefixes>")
        }
        (Dialect::Azure, Some((version, length))) => format!(
            "<Blob><Name>{name}</Name><Properties><Last-Modified>{MODIFIED}</Last-Modified>\
             <Etag>\"version-{version}\"</Etag><Content-Length>{length}</Content-Length>\
             <Content-Type>text/plain</Content-Type></Properties></Blob>"
        ),
        (Dialect::Azure, None) => format!("<BlobPrefix><Name>{name}</Name></BlobPrefix>"),
    }
}
