//! Outbound requests of policies: to the servers that the operator names, within bounds, and with nothing left behind.
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};
use support::{Chain, Launch, Policy, Server, Tree, eventually, tool};
use tempfile::TempDir;

/// A server that policies call. What it does is said by the path.
struct Called {
    address: SocketAddr,
    /// Connections that it has.
    open: Arc<AtomicUsize>,
    /// Requests that it got.
    requests: Arc<AtomicUsize>,
}

impl Called {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let (open, requests) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let counters = (open.clone(), requests.clone());
        // Ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (open, requests) = counters.clone();
                thread::spawn(move || {
                    open.fetch_add(1, SeqCst);
                    // A client that goes away is an error here, and what some tests wait for.
                    let _ = serve(stream, &requests);
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        Self {
            address,
            open,
            requests,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn port(&self) -> u16 {
        self.address.port()
    }
}

fn serve(mut stream: TcpStream, requests: &AtomicUsize) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    requests.fetch_add(1, SeqCst);
    let mut host = String::new();
    loop {
        let mut field = String::new();
        if reader.read_line(&mut field)? <= 2 {
            break;
        }
        if let Some(value) = field.to_ascii_lowercase().strip_prefix("host: ") {
            host = value.trim().to_owned();
        }
    }
    let path = line.split(' ').nth(1).unwrap_or_default();
    match path {
        "/ok" => write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")?,
        "/host" => write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{host}",
            host.len()
        )?,
        "/redirect" => write!(
            stream,
            "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n"
        )?,
        "/large" => {
            write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 8388608\r\n\r\n")?;
            stream.write_all(&vec![b'x'; 8 << 20])?;
        }
        "/endless" => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "1\r\nx\r\n")?;
                thread::sleep(Duration::from_millis(20));
            }
        }
        "/fields" => {
            write!(stream, "HTTP/1.1 200 OK\r\n")?;
            for at in 0..10_000 {
                write!(stream, "X-{at}: {}\r\n", "x".repeat(100))?;
            }
            write!(stream, "Content-Length: 0\r\n\r\n")?;
        }
        "/nothing" => {}
        _ => write!(stream, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
    }
    // Until the client has gone.
    reader.read_to_end(&mut Vec::new())?;
    Ok(())
}

fn policy(http: &str) -> Policy {
    Policy::guest("outbound").settings(&format!(
        "http = {{ {http} }}\nlimits = {{ wall = \"20s\", running = \"5s\" }}"
    ))
}

fn server(tree: &Tree, http: &str) -> (Chain, Server) {
    let chain = Chain::new([policy(http)]);
    let server = Launch::new(tree).plugins(&chain).start();
    (chain, server)
}

/// What a request of the policy's came to.
#[track_caller]
fn told(server: &Server, request: &str) -> String {
    let response = server.get(&format!("/http/1?{}", request.replace(' ', "%20")));
    assert_eq!(response.status, 200, "{request}: {response:?}");
    response.text().to_owned()
}

#[test]
fn what_it_may_reach_has_to_be_said() {
    let tree = Tree::new();
    let chain = Chain::new([Policy::guest("outbound")]);
    let log = Launch::new(&tree).plugins(&chain).refusal();
    let line = log.lines().find(|line| line.contains("which is not granted"));
    let line = line.unwrap_or_else(|| panic!("{log}"));
    assert!(line.contains("wasi:http/"), "{line}");
    assert!(
        line.ends_with("say what it may reach, such as http = { allow = [\"https://api.example.org\"] }"),
        "{line}"
    );
}

#[test]
fn servers_that_are_named_are_reached_and_no_others() {
    let (tree, called, other) = (Tree::new(), Called::start(), Called::start());
    let (_chain, server) = server(&tree, &format!("allow = [{:?}]", called.url()));
    assert_eq!(told(&server, &format!("GET {}/ok 0", called.url())), "200 hello");
    let host = called.address.to_string();
    assert_eq!(
        told(&server, &format!("GET {}/host 0", called.url())),
        format!("200 {host}")
    );
    for request in [
        format!("GET {}/ok 0", other.url()),
        format!("GET http://localhost:{}/ok 0", called.port()),
        format!("GET https://{}/ok 0", called.address),
        format!("CONNECT {}/ok 0", called.url()),
        "GET http://127.0.0.1/ok 0".to_owned(),
    ] {
        assert_eq!(told(&server, &request), "ErrorCode::HttpRequestDenied", "{request}");
    }
    let user = format!("GET http://user@{}/ok 0", called.address);
    assert_eq!(told(&server, &user), "ErrorCode::HttpRequestUriInvalid");
    assert_eq!(other.requests.load(SeqCst), 0);
    assert_eq!(called.requests.load(SeqCst), 2);
}

#[test]
fn a_name_that_leads_to_loopback_is_refused_unless_the_address_is_named() {
    let (tree, called) = (Tree::new(), Called::start());
    let allow = format!("allow = [\"http://localhost:{}\"]", called.port());
    let request = format!("GET http://localhost:{}/ok 0", called.port());
    let (_chain, refusing) = server(&tree, &allow);
    assert_eq!(told(&refusing, &request), "ErrorCode::DestinationIpProhibited");
    let line = refusing.logged("an outbound request was refused");
    assert!(line.contains("loopback") && line.contains("`addresses`"), "{line}");
    assert_eq!(called.requests.load(SeqCst), 0);
    let (_chain, admitting) = server(&tree, &format!("{allow}, addresses = [\"127.0.0.0/8\", \"::1\"]"));
    assert_eq!(told(&admitting, &request), "200 hello");
}

#[test]
fn redirects_are_the_policys_to_follow() {
    let (tree, called) = (Tree::new(), Called::start());
    let (_chain, server) = server(&tree, &format!("allow = [{:?}]", called.url()));
    assert_eq!(told(&server, &format!("GET {}/redirect 0", called.url())), "302 ");
    assert_eq!(called.requests.load(SeqCst), 1);
}

#[test]
fn requests_and_responses_are_bounded() {
    let (tree, called) = (Tree::new(), Called::start());
    let (_chain, server) = server(
        &tree,
        &format!("allow = [{:?}], request-bytes = \"10KiB\"", called.url()),
    );
    let large = told(&server, &format!("GET {}/large 0", called.url()));
    assert!(large.contains("response body size"), "{large}");
    let fields = told(&server, &format!("GET {}/fields 0", called.url()));
    assert!(fields.starts_with("ErrorCode"), "{fields}");
    assert_eq!(told(&server, &format!("POST {}/ok 10000", called.url())), "200 hello");
    let request = told(&server, &format!("POST {}/nothing 20000", called.url()));
    assert!(request.starts_with("ErrorCode"), "{request}");
    let (_chain, small) = self::server(&tree, &format!("allow = [{:?}], response-bytes = \"4B\"", called.url()));
    let large = told(&small, &format!("GET {}/ok 0", called.url()));
    assert!(large.contains("response body size"), "{large}");
}

#[test]
fn a_call_that_never_ends_ends_by_its_timeout_and_leaves_nothing_behind() {
    let (tree, called) = (Tree::new(), Called::start());
    let (_chain, server) = server(&tree, &format!("allow = [{:?}], timeout = \"300ms\"", called.url()));
    for path in ["/nothing", "/endless"] {
        let told = told(&server, &format!("GET {}{path} 0", called.url()));
        assert!(!told.starts_with("200"), "{path}: {told}");
        eventually("its connection is closed", || called.open.load(SeqCst) == 0);
    }
}

#[test]
fn a_call_that_never_ends_is_cut_off_with_the_decision() {
    let (tree, called) = (Tree::new(), Called::start());
    let settings = format!(
        "http = {{ allow = [{:?}], timeout = \"1h\" }}\nlimits = {{ wall = \"300ms\" }}",
        called.url()
    );
    let chain = Chain::new([Policy::guest("outbound").settings(&settings)]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for path in ["/nothing", "/endless"] {
        let target = format!("/http/1?GET%20{}{path}%200", called.url());
        assert_eq!(server.get(&target).status, 503, "{path}");
        eventually("its connection is closed", || called.open.load(SeqCst) == 0);
    }
}

#[test]
fn the_number_of_requests_is_bounded_for_a_call_and_for_a_site() {
    let (tree, called) = (Tree::new(), Called::start());
    let chain = Chain::new([policy(&format!(
        "allow = [{:?}], requests = 2, timeout = \"10s\", connect-timeout = \"300ms\"",
        called.url()
    ))])
    .append("[services.http]\nrequests = 1\n");
    let server = Launch::new(&tree).plugins(&chain).start();
    let three = server.get(&format!("/http/3?GET%20{}/ok%200", called.url()));
    let lines: Vec<&str> = three.text().lines().collect();
    assert_eq!(lines, ["200 hello", "200 hello", "ErrorCode::ConnectionLimitReached"]);

    let mut waiting = server.connect();
    waiting.send(format!(
        "GET /http/1?GET%20{}/nothing%200 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        called.url()
    ));
    eventually("one is under way", || called.requests.load(SeqCst) == 3);
    let second = format!("GET {}/ok 0", called.url());
    assert_eq!(told(&server, &second), "ErrorCode::ConnectionLimitReached");
    eventually("its turn is over with its timeout", || {
        told(&server, &second) == "200 hello"
    });
}

#[test]
fn decisions_that_made_a_request_are_made_anew_and_private() {
    let (tree, called) = (Tree::new(), Called::start());
    let (_chain, server) = server(&tree, &format!("allow = [{:?}]", called.url()));
    for _ in 0..10 {
        let response = server.get(&format!("/http/1?GET%20{}/ok%200", called.url()));
        assert_eq!(response.header("cache-control"), Some("private"));
    }
    assert_eq!(called.requests.load(SeqCst), 10);
}

#[test]
fn a_server_that_is_not_there_is_an_error() {
    let tree = Tree::new();
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let url = format!("http://{}", free.expect("loopback has free ports"));
    let (_chain, server) = server(&tree, &format!("allow = [{url:?}]"));
    assert_eq!(
        told(&server, &format!("GET {url}/ok 0")),
        "ErrorCode::ConnectionRefused"
    );
}

/// A server with a certificate for `localhost` of an authority of its own, `ca.pem` in the folder. Killed when dropped.
struct Secure {
    child: Child,
    port: u16,
}

impl Secure {
    fn start(folder: &Path) -> Self {
        for arguments in [
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca",
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out request.pem -subj /CN=localhost \
             -addext subjectAltName=DNS:localhost",
            "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -out cert.pem -days 2 -copy_extensions copy",
        ] {
            let ran = tool::run(folder, "openssl", arguments.split_whitespace());
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        }
        let mut child = Command::new("openssl")
            .args("s_server -accept 127.0.0.1:0 -cert cert.pem -key key.pem -www".split(' '))
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it ran just above");
        let output = BufReader::new(child.stdout.take().expect("it was piped just above"));
        let port = output.lines().map_while(Result::ok).find_map(|line| {
            let address = line.strip_prefix("ACCEPT ")?.to_owned();
            address.rsplit(':').next()?.parse().ok()
        });
        Self {
            port: port.expect("it says where it listens"),
            child,
        }
    }
}

impl Drop for Secure {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_certificate_of_a_server_is_checked() {
    let (tree, folder) = (Tree::new(), temporary());
    let secure = Secure::start(folder.path());
    let url = |host: &str| format!("https://{host}:{}", secure.port);
    let allow = format!(
        "allow = [{:?}, {:?}], addresses = [\"127.0.0.0/8\", \"::1\"]",
        url("localhost"),
        url("127.0.0.1")
    );
    let authority = folder.path().join("ca.pem");
    let (_chain, trusting) = server(&tree, &format!("{allow}, certificates = {authority:?}"));
    let trusted = told(&trusting, &format!("GET {}/ 0", url("localhost")));
    assert!(trusted.starts_with("200 "), "{trusted}");
    let other_name = told(&trusting, &format!("GET {}/ 0", url("127.0.0.1")));
    assert!(other_name.starts_with("ErrorCode::Tls"), "{other_name}");
    let (_chain, distrusting) = server(&tree, &allow);
    let distrusted = told(&distrusting, &format!("GET {}/ 0", url("localhost")));
    assert!(distrusted.starts_with("ErrorCode::Tls"), "{distrusted}");
}

/// The authority that was trusted before stayed so until the configuration changed too.
#[test]
fn a_certificate_that_is_replaced_is_trusted_after_a_reload() {
    let (tree, folder, other) = (Tree::new(), temporary(), temporary());
    let secure = Secure::start(folder.path());
    let _another = Secure::start(other.path());
    let trusted = other.path().join("ca.pem");
    let url = format!("https://localhost:{}", secure.port);
    let grant = format!("allow = [{url:?}], addresses = [\"127.0.0.0/8\", \"::1\"], certificates = {trusted:?}");
    let (_chain, server) = server(&tree, &grant);
    let answer = || told(&server, &format!("GET {url}/ 0"));
    assert!(answer().starts_with("ErrorCode::Tls"));
    fs::copy(folder.path().join("ca.pem"), &trusted).expect("both are there");
    server.reload(2);
    let now = answer();
    assert!(now.starts_with("200 "), "{now}");
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("the machine has room for temporary files")
}
