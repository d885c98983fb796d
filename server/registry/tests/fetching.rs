//! What registries and web servers do: as they should, and as they should not. Each test says what a server answers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};
use wasmserve_registry::{Bounds, Client, Digest, FetchError, Fetched, Keyring, PlainHttp, fetch, oci};

const PLUGIN: &[u8] = b"a plugin, as far as this matters";

/// A server that answers every connection once and ends it.
struct Fake {
    address: SocketAddr,
    /// The heads of all requests, in order.
    asked: Arc<Mutex<Vec<String>>>,
}

/// What a request's first line and its head get; `None`: nothing, ever.
type Answer = Option<Vec<u8>>;

impl Fake {
    /// `answer` is told the head and the server's own address. The server ends with the test.
    fn start(answer: impl Fn(&str, SocketAddr) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        thread::spawn(move || {
            let mut silent = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(head) = head(&mut stream) else { continue };
                noted.lock().unwrap().push(head.clone());
                match answer(&head, address) {
                    // The client may have seen enough.
                    Some(bytes) => drop(stream.write_all(&bytes)),
                    None => silent.push(stream),
                }
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn oci(&self, rest: &str) -> String {
        format!("oci://{}/team/guard{rest}", self.address)
    }
}

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        bytes.push(byte[0]);
        // A handshake of TLS begins so.
        if bytes[0] == 0x16 {
            return None;
        }
    }
    String::from_utf8(bytes).ok()
}

fn answer(status: &str, fields: &str, body: &[u8]) -> Answer {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{fields}\r\n",
        body.len()
    );
    Some([head.as_bytes(), body].concat())
}

fn ok(body: &[u8]) -> Answer {
    answer("200 OK", "", body)
}

fn not_found() -> Answer {
    answer("404 Not Found", "", b"{}")
}

fn manifest() -> Vec<u8> {
    oci::write(PLUGIN, &oci::Description::default()).manifest
}

fn pin() -> String {
    format!("@{}", Digest::of(&manifest()))
}

fn path(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

/// What a registry should do.
fn registry(head: &str, manifest: &[u8]) -> Answer {
    let blob = format!("/v2/team/guard/blobs/{}", Digest::of(PLUGIN));
    match path(head) {
        found if found == blob => ok(PLUGIN),
        found if found.starts_with("/v2/team/guard/manifests/") => ok(manifest),
        _ => not_found(),
    }
}

const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(60),
    size: 1 << 20,
};

fn keyring(text: Option<String>) -> Keyring {
    Keyring::read(None, |name| match name {
        "DOCKER_AUTH_CONFIG" => text.clone().map(Into::into),
        _ => None,
    })
    .unwrap()
}

fn fetch_with(keyring: &Keyring, reference: &str, bounds: Bounds) -> Result<Fetched, FetchError> {
    let client = Client::new(None, PlainHttp::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(fetch(&client, keyring, &reference.parse().unwrap(), bounds))
}

fn get(reference: &str) -> Result<Fetched, FetchError> {
    fetch_with(&keyring(None), reference, BOUNDS)
}

#[track_caller]
fn refused(reference: &str, says: &str) {
    let error = get(reference).expect_err("it is refused").to_string();
    assert!(error.contains(says), "{says}: {error}");
}

#[test]
fn an_artifact_is_what_its_digest_says() {
    let fake = Fake::start(|head, _| registry(head, &manifest()));
    for reference in [
        fake.oci(&pin()),
        fake.oci(&format!(":1.0{}", pin())),
        fake.oci(":1.0"),
        fake.oci(""),
    ] {
        let fetched = get(&reference).unwrap();
        assert_eq!(fetched.plugin, PLUGIN);
        assert_eq!(fetched.digest, Digest::of(&manifest()));
        assert_eq!(fetched.manifest.unwrap(), manifest());
    }
    // What is pinned is asked for by its digest, whatever the tag means by now.
    let asked: Vec<String> = fake.asked().iter().map(|head| path(head).to_owned()).collect();
    let by_digest = format!("/v2/team/guard/manifests/{}", Digest::of(&manifest()));
    let manifests: Vec<&str> = asked.iter().step_by(2).map(String::as_str).collect();
    let (tag, latest) = ("/v2/team/guard/manifests/1.0", "/v2/team/guard/manifests/latest");
    assert_eq!(manifests, [&*by_digest, &by_digest, tag, latest]);
}

#[test]
fn another_digest_is_refused() {
    let fake = Fake::start(|head, _| registry(head, &manifest()));
    let error = get(&fake.oci(&format!("@{}", Digest::of(b"other")))).unwrap_err();
    assert!(matches!(error, FetchError::Digest { .. }), "{error}");
    // The manifest is right and the layer is not.
    for other in [&b"a plugin, as far as this mattErs"[..], b"", b"short"] {
        let fake = Fake::start(move |head, _| match path(head).contains("/blobs/") {
            true => ok(other),
            false => registry(head, &manifest()),
        });
        let error = get(&fake.oci(&pin())).unwrap_err();
        assert!(matches!(error, FetchError::Digest { .. }), "{error}");
    }
}

#[test]
fn a_layer_that_is_cut_off_or_too_long_is_refused() {
    let cut = Fake::start(|head, _| {
        let mut whole = registry(head, &manifest());
        if path(head).contains("/blobs/")
            && let Some(bytes) = &mut whole
        {
            bytes.truncate(bytes.len() - 5);
        }
        whole
    });
    refused(&cut.oci(&pin()), "broke off");
    let long = Fake::start(|head, _| match path(head).contains("/blobs/") {
        true => ok(&[PLUGIN, PLUGIN].concat()),
        false => registry(head, &manifest()),
    });
    refused(&long.oci(&pin()), "sends more than");
    let fake = Fake::start(|head, _| registry(head, &manifest()));
    let bounds = Bounds { size: 5, ..BOUNDS };
    let error = fetch_with(&keyring(None), &fake.oci(&pin()), bounds).unwrap_err();
    assert!(matches!(error, FetchError::Size { .. }), "{error}");
    let blobs = |head: &String| path(head).contains("/blobs/");
    assert!(!fake.asked().iter().any(blobs), "what is too long is not asked for");
}

#[test]
fn a_manifest_of_something_else_is_refused() {
    for (text, says) in [
        (r#"{"schemaVersion":2,"manifests":[]}"#, "list of several"),
        ("<html>", "cannot be read"),
    ] {
        let fake = Fake::start(move |_, _| ok(text.as_bytes()));
        refused(&fake.oci(":1"), says);
    }
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let fake = Fake::start(|_, _| None);
    let bounds = Bounds {
        time: Duration::from_millis(200),
        ..BOUNDS
    };
    let error = fetch_with(&keyring(None), &fake.oci(&pin()), bounds).unwrap_err();
    assert!(matches!(error, FetchError::Slow(_)), "{error}");
}

#[test]
fn nobody_there_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    refused(&format!("oci://{free}/team/guard"), "cannot be reached");
}

#[test]
fn a_busy_server_is_asked_again_a_few_times() {
    let times = Mutex::new(0);
    let fake = Fake::start(move |head, _| {
        let mut times = times.lock().unwrap();
        *times += 1;
        match *times {
            1 => answer("429 Too Many Requests", "Retry-After: 0\r\n", b""),
            2 => answer("503 Service Unavailable", "Retry-After: 0\r\n", b""),
            _ => registry(head, &manifest()),
        }
    });
    assert!(get(&fake.oci(&pin())).is_ok());
    let always = Fake::start(|_, _| answer("429 Too Many Requests", "Retry-After: 0\r\n", b""));
    refused(&always.oci(&pin()), "asked too often");
    assert_eq!(always.asked().len(), 3);
}

/// Gives a token to whoever knows the password, or to everybody, and wants it.
fn with_tokens(password: Option<&'static str>) -> Fake {
    Fake::start(move |head, address| {
        let lower = head.to_ascii_lowercase();
        if path(head).starts_with("/token") {
            let known = password.is_none_or(|password| head.contains(password));
            assert!(path(head).contains("scope=repository%3Ateam%2Fguard%3Apull"), "{head}");
            return match known {
                true => ok(br#"{"access_token":"T0K"}"#),
                false => answer("401 Unauthorized", "", b""),
            };
        }
        match lower.contains("authorization: bearer t0k") {
            true => registry(head, &manifest()),
            false => {
                let challenge = format!(
                    "WWW-Authenticate: Bearer realm=\"http://{address}/token\",service=\"s\",scope=\"repository:team/guard:pull\"\r\n"
                );
                answer("401 Unauthorized", &challenge, b"")
            }
        }
    })
}

#[test]
fn a_token_is_got_where_the_registry_says() {
    assert!(get(&with_tokens(None).oci(&pin())).is_ok());
    // ann:secret
    let fake = with_tokens(Some("YW5uOnNlY3JldA=="));
    let known = keyring(Some(format!(
        r#"{{"auths":{{"{}":{{"auth":"YW5uOnNlY3JldA=="}}}}}}"#,
        fake.address
    )));
    assert!(fetch_with(&known, &fake.oci(&pin()), BOUNDS).is_ok());
    refused(&fake.oci(&pin()), "wants to know who asks");
    let wrong = keyring(Some(format!(
        r#"{{"auths":{{"{}":{{"auth":"YW5uOndyb25n"}}}}}}"#,
        fake.address
    )));
    let error = fetch_with(&wrong, &fake.oci(&pin()), BOUNDS).unwrap_err().to_string();
    assert!(error.contains("does not accept"), "{error}");
    assert!(!error.contains("YW5u") && !error.contains("wrong"), "{error}");
}

#[test]
fn a_redirect_takes_no_credentials_along() {
    let storage = Fake::start(|_, _| ok(PLUGIN));
    let there = storage.address;
    let fake = Fake::start(
        move |head, _| match head.to_ascii_lowercase().contains("authorization: basic") {
            false => answer("401 Unauthorized", "WWW-Authenticate: Basic realm=\"r\"\r\n", b""),
            true if path(head).contains("/blobs/") => answer(
                "307 Temporary Redirect",
                &format!("Location: http://{there}/b?signed=1\r\n"),
                b"",
            ),
            true => registry(head, &manifest()),
        },
    );
    let known = keyring(Some(format!(
        r#"{{"auths":{{"{}":{{"auth":"YW5uOnNlY3JldA=="}}}}}}"#,
        fake.address
    )));
    assert_eq!(fetch_with(&known, &fake.oci(&pin()), BOUNDS).unwrap().plugin, PLUGIN);
    let asked = storage.asked();
    assert_eq!((asked.len(), path(&asked[0])), (1, "/b?signed=1"));
    assert!(!asked[0].to_ascii_lowercase().contains("authorization"), "{asked:?}");
}

#[test]
fn redirects_end() {
    let fake = Fake::start(|_, _| answer("302 Found", "Location: /v2/again\r\n", b""));
    refused(&fake.oci(&pin()), "more than 5 times");
    for location in ["ftp://127.0.0.1/x", "http://192.0.2.1/x", "http://[/"] {
        let fake = Fake::start(move |_, _| answer("302 Found", &format!("Location: {location}\r\n"), b""));
        let error = get(&fake.oci(&pin())).expect_err("nobody goes there").to_string();
        let told = ["redirects to", "without TLS", "no URL"]
            .iter()
            .any(|says| error.contains(says));
        assert!(told, "{location}: {error}");
    }
}

#[test]
fn a_token_is_not_got_at_just_any_place() {
    for realm in ["ftp://127.0.0.1/token", "file:///etc/passwd", "nowhere"] {
        let fake = Fake::start(move |_, _| {
            let challenge = format!("WWW-Authenticate: Bearer realm=\"{realm}\"\r\n");
            answer("401 Unauthorized", &challenge, b"")
        });
        refused(&fake.oci(&pin()), "no place to show credentials to");
    }
}

#[test]
fn without_tls_only_where_that_is_meant() {
    let fake = Fake::start(|head, _| registry(head, &manifest()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let get = |plain: PlainHttp, reference: String| {
        let client = Client::new(None, plain).unwrap();
        runtime.block_on(fetch(&client, &keyring(None), &reference.parse().unwrap(), BOUNDS))
    };
    let here = fake.address.to_string();
    assert!(get(PlainHttp::Hosts(vec![here.clone()]), fake.oci(&pin())).is_ok());
    // Where it is not, TLS is spoken, which this server does not understand.
    let error = get(PlainHttp::Hosts(Vec::new()), fake.oci(&pin())).unwrap_err();
    assert!(matches!(error, FetchError::Client(_)), "{error}");
    let error = get(PlainHttp::Hosts(Vec::new()), format!("http://{here}/guard.wasm")).unwrap_err();
    assert!(error.to_string().contains("without TLS"), "{error}");
}

#[test]
fn a_file_with_its_signature_beside_it() {
    let fake = Fake::start(|head, _| match path(head) {
        "/plugins/guard.wasm" | "/plain.wasm" => ok(PLUGIN),
        "/plugins/guard.wasm.minisig" => ok(b"a signature"),
        _ => not_found(),
    });
    let url = |path: &str| format!("http://{}{path}", fake.address);
    let fetched = get(&url("/plugins/guard.wasm")).unwrap();
    assert_eq!(
        (fetched.digest, fetched.signature.as_deref()),
        (Digest::of(PLUGIN), Some("a signature"))
    );
    let fetched = get(&format!("{}@{}", url("/plain.wasm"), Digest::of(PLUGIN))).unwrap();
    assert_eq!((fetched.signature, fetched.manifest), (None, None));
    refused(
        &format!("{}@{}", url("/plain.wasm"), Digest::of(b"other")),
        "has the digest",
    );
    refused(&url("/missing.wasm"), "no such plugin");
}

#[test]
fn certificates_that_cannot_be_used_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    for content in [
        None,
        Some(""),
        Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        if let Some(content) = content {
            std::fs::write(&file, content).unwrap();
        }
        let error = Client::new(Some(&file), PlainHttp::default())
            .err()
            .expect("it is refused")
            .to_string();
        assert!(error.contains("ca.pem"), "{error}");
    }
}
