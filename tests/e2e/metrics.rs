//! What the admin listener tells of a server: metrics, health, and what is loaded; and who may ask, over TCP.
use rustix::process::Signal;
use std::{
    collections::HashMap,
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};
use support::{
    Chain, Connection, Hosting, Launch, PATIENCE, Policy, Server, Tree,
    admin::{self, serving},
    client::exchange,
    eventually, tool,
};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn tree() -> Tree {
    Tree::new().file("file.txt", "content")
}

/// The body of what the admin socket answers.
#[track_caller]
pub fn get(socket: &Path, path: &str) -> String {
    let (_, body) = ask(socket, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    body
}

/// Status and body.
#[track_caller]
fn ask(socket: &Path, request: &str) -> (u16, String) {
    eventually("the admin socket is there", || socket.exists());
    parse(&admin::raw(socket, request))
}

#[track_caller]
fn parse(answer: &str) -> (u16, String) {
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no status: {head}")), body.to_owned())
}

/// What Prometheus' own parser for Python makes of a text: a value for each name with its labels.
#[track_caller]
fn parsed(folder: &Path, text: &str) -> HashMap<String, f64> {
    fs::write(folder.join("metrics"), text).expect("our folder");
    let program = r#"
import json
from prometheus_client.parser import text_string_to_metric_families as families
found = {}
for family in families(open("metrics").read()):
    assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
    for sample in family.samples:
        key = sample.name + "".join(f" {k}={v}" for k, v in sorted(sample.labels.items()))
        assert key not in found, key
        found[key] = sample.value
print(json.dumps(found))
"#;
    let ran = tool::run(folder, "/usr/bin/python3", ["-c", program]).success();
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

#[test]
fn another_parser_reads_what_was_counted() {
    let tree = tree();
    let chain = Chain::new([Policy::guest("probe").config("only = \"/closed\"\nrespond = \"403\"")]);
    let (server, socket) = serving(&tree, &chain, &[]);
    for _ in 0..3 {
        server.get("/file.txt");
    }
    server.get("/none");
    server.get("/closed");
    server.raw("nonsense\r\n\r\n");
    let metrics = || parsed(&tree.outside(""), &get(&socket, "/metrics"));
    // An exchange may end after its client has everything.
    eventually("all of it is counted", || {
        metrics()["wasmserve_request_duration_seconds_count"] == 6.0
    });
    let found = metrics();
    for (name, expected) in [
        ("wasmserve_requests_total status=2xx", 3.0),
        ("wasmserve_requests_total status=5xx", 0.0),
        ("wasmserve_ready", 1.0),
        ("wasmserve_sites", 1.0),
        ("wasmserve_generation", 1.0),
        ("wasmserve_requests_under_way", 0.0),
        ("wasmserve_response_head_seconds_count", 5.0),
        ("wasmserve_response_head_seconds_bucket le=+Inf", 5.0),
        ("wasmserve_request_duration_seconds_count", 6.0),
        ("wasmserve_policy_failed_total policy=probe-0", 0.0),
        ("wasmserve_policy_breakers_open policy=probe-0", 0.0),
        ("wasmserve_log_lines_lost_total log=access", 0.0),
        ("wasmserve_reloads_total result=done", 0.0),
    ] {
        assert_eq!(found.get(name), Some(&expected), "{name} of {found:#?}");
    }
    let decided =
        found["wasmserve_policy_runs_total policy=probe-0"] + found["wasmserve_policy_reused_total policy=probe-0"];
    assert_eq!(decided, 5.0);
    assert!(found["wasmserve_response_body_bytes_total"] >= 21.0);
    assert!(found["wasmserve_policy_seconds_total policy=probe-0"] > 0.0);
    assert!(found["wasmserve_file_cache_lookups_total result=hit"] >= 1.0);
    assert!(found["wasmserve_connections_accepted_total"] >= 6.0);
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(found[name] > 0.0, "{name}");
    }
    // Hosts and paths are clients' to choose: none of them is in a label.
    assert!(!found.keys().any(|key| key.contains("site=") || key.contains("none=")));
}

#[test]
fn sites_are_told_apart_where_the_operator_wants_it_and_policies_never_count_down() {
    let hosting = Hosting::new()
        .guest("probe")
        .file("one/file.txt", "one")
        .file("two/file.txt", "two");
    let sites = |header: &str| {
        format!(
            "[[site]]\nname = \"one\"\nhosts = [\"one.example\"]\nroot = \"one\"\n\
             [[site.policy]]\nplugin = \"probe\"\n[site.policy.config]\nheaders = \"set|x-a|{header}||\"\n\
             [[site]]\nname = \"two\"\nhosts = [\"two.example\"]\nroot = \"two\"\n"
        )
    };
    let server = "admin = \"admin.sock\"\nmetrics-by-site = true";
    hosting.configure(server, &sites("1"));
    let running = hosting.start();
    let socket = hosting.at("admin.sock");
    for host in ["one.example", "one.example", "two.example", "nobody.example"] {
        running.request("GET", "/file.txt", &[("Host", host)]);
    }
    let metrics = || parsed(&hosting.at(""), &get(&socket, "/metrics"));
    let policy = |found: &HashMap<String, f64>| {
        found["wasmserve_policy_runs_total policy=probe site=one"]
            + found["wasmserve_policy_reused_total policy=probe site=one"]
    };
    eventually("all of it is counted", || {
        let found = metrics();
        let counts = ["one", "two", "(none)"].map(|site| {
            let count = found.get(&format!("wasmserve_request_duration_seconds_count site={site}"));
            count.copied().unwrap_or_default()
        });
        counts == [2.0, 1.0, 1.0]
    });
    let before = metrics();
    assert_eq!(before["wasmserve_requests_total site=one status=2xx"], 2.0);
    assert_eq!(before["wasmserve_requests_total site=two status=2xx"], 1.0);
    assert_eq!(policy(&before), 2.0);

    // Another chain, of the same name.
    hosting.configure(server, &sites("2"));
    let (status, answer) = ask(
        &socket,
        "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!((status, &*answer), (200, r#"{"generation":2,"sites":2}"#));
    running.request("GET", "/file.txt", &[("Host", "one.example")]);
    eventually("it is counted", || {
        metrics()["wasmserve_requests_total site=one status=2xx"] == 3.0
    });
    let after = metrics();
    assert_eq!(policy(&after), 3.0);
    assert_eq!(after["wasmserve_reloads_total result=done"], 1.0);

    hosting.configure(server, "[[site]]\nname = \"one\"\n");
    let (status, answer) = ask(
        &socket,
        "POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
    );
    assert_eq!(status, 422, "{answer}");
    assert!(answer.contains("has no `hosts`"), "{answer}");
    assert_eq!(metrics()["wasmserve_last_reload_successful"], 0.0);
    let (status, _) = ask(&socket, "GET /reload HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(status, 405);
}

#[test]
fn plugins_and_breakers_are_told_with_their_last_failure() {
    let tree = tree();
    let chain = Chain::of("probe", "only = \"/bad\"\nrespond = \"nonsense\"");
    let (server, socket) = serving(&tree, &chain, &[]);
    let plugins = get(&socket, "/plugins");
    for part in [
        "\"digest\":\"sha256:",
        "\"used_by\":[\"default/probe-0\"]",
        "\"uses\":1",
    ] {
        assert!(plugins.contains(part), "no {part}: {plugins}");
    }
    let before = get(&socket, "/breakers");
    assert!(before.contains("\"last_failure\":null"), "{before}");
    assert_eq!(server.get("/bad").status, 500);
    let after = get(&socket, "/breakers");
    for part in ["\"reason\":\"", "nonsense", "\"state\":\"closed\"", "\"failed\":1"] {
        assert!(after.contains(part), "no {part}: {after}");
    }
}

#[test]
fn a_server_that_stops_is_healthy_and_not_ready() {
    let tree = Tree::new().sparse("large.bin", 64 << 20);
    let (mut server, socket) = serving(&tree, &Chain::of("probe", ""), &[]);
    assert_eq!(ask(&socket, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").0, 200);
    // Keeps the server from ending: a download that nobody reads.
    let mut download = server.connect();
    download.send("GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n");
    eventually("it is under way", || {
        get(&socket, "/metrics").contains("wasmserve_requests_under_way 1\n")
    });
    server.ask_to_stop();
    eventually("it is not ready", || {
        ask(&socket, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n").0 == 503
    });
    assert!(get(&socket, "/readyz").contains("draining"));
    assert_eq!(ask(&socket, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").0, 200);
    server.signal(Signal::INT);
    assert!(server.ended().success());
}

/// A server that answers operators over TCP, and where.
pub fn over_tcp(tree: &Tree) -> (Server, SocketAddr) {
    let token = tree.outside("token");
    fs::write(&token, format!("{TOKEN}\n")).expect("our folder");
    fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("our file");
    let server = Launch::new(tree)
        .arguments(["--admin-listen", "127.0.0.1:0", "--admin-token-file"])
        .arguments([&token])
        .start();
    let line = server.logged("listening for operators who show the token");
    let (_, address) = line.split_once("address=").expect("it is told");
    let address = address.trim().parse().expect("an address");
    (server, address)
}

fn tcp(address: SocketAddr, request: &str) -> String {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a valid timeout");
    exchange(stream, request.as_bytes())
}

/// Whoever has shown nothing takes no place from those who show the token.
#[test]
fn idle_connections_keep_no_operator_out() {
    let tree = tree();
    let (_server, address) = over_tcp(&tree);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n");
    // As many as are let in at once: they are there before and after. On a machine that stands still for as long as a head
    // may take they are not, and it is tried again.
    let round = || {
        let mut idle: Vec<Connection> = (0..16).map(|_| Connection::open(address)).collect();
        idle.iter_mut()
            .for_each(|connection| connection.send("GET / HTTP/1.1\r\n"));
        assert!(tcp(address, &request).starts_with("HTTP/1.1 200 "));
        idle.iter_mut()
            .all(|connection| connection.is_silent_for(Duration::from_millis(1)))
    };
    assert!(
        (0..5).any(|_| round()),
        "operators waited until idle connections had ended"
    );
    // Of many more, the first ones go.
    let mut idle: Vec<Connection> = (0..100).map(|_| Connection::open(address)).collect();
    assert!(tcp(address, &request).starts_with("HTTP/1.1 200 "));
    assert!(idle[0].is_ended());
}

#[test]
pub fn over_tcp_nothing_is_told_without_the_token() {
    let tree = tree();
    let (server, address) = over_tcp(&tree);
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for path in [
        "/",
        "/status",
        "/metrics",
        "/healthz",
        "/readyz",
        "/sites",
        "/plugins",
        "/status.js",
        "/nothing",
    ] {
        let closed = tcp(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n"));
        assert!(closed.starts_with("HTTP/1.1 401 "), "{path}: {closed}");
        assert!(!closed.contains(env!("CARGO_PKG_VERSION")), "{path}: {closed}");
        let wrong = tcp(
            address,
            &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {TOKEN}0\r\n\r\n"),
        );
        assert!(wrong.starts_with("HTTP/1.1 401 "), "{path}: {wrong}");
        let open = tcp(
            address,
            &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{bearer}\r\n"),
        );
        let expected = if path == "/nothing" {
            "HTTP/1.1 404 "
        } else {
            "HTTP/1.1 200 "
        };
        assert!(open.starts_with(expected), "{path}: {open}");
    }
    for (what, fields, status) in [
        ("another Host", "Host: attacker.example\r\n".to_owned(), 421),
        (
            "another Origin",
            format!("Host: {address}\r\nOrigin: http://attacker.example\r\n"),
            403,
        ),
        ("no Origin", format!("Host: {address}\r\nOrigin: null\r\n"), 403),
        (
            "another site",
            format!("Host: {address}\r\nSec-Fetch-Site: cross-site\r\n"),
            403,
        ),
        (
            "our page",
            format!("Host: {address}\r\nOrigin: http://{address}\r\nSec-Fetch-Site: same-origin\r\n"),
            200,
        ),
    ] {
        let answer = tcp(
            address,
            &format!("POST /reload HTTP/1.1\r\n{fields}{bearer}Content-Length: 0\r\n\r\n"),
        );
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{what}: {answer}");
    }
    // What the public reaches knows nothing of it, with the token or without.
    for path in ["/metrics", "/healthz", "/status", "/sites", "/login"] {
        let authorization = format!("Bearer {TOKEN}");
        assert_eq!(
            server.request("GET", path, &[("Authorization", &authorization)]).status,
            404
        );
    }
    assert!(!server.log().contains(TOKEN));
}

#[test]
fn a_browser_shows_the_token_once() {
    let tree = tree();
    let (_server, address) = over_tcp(&tree);
    let page = tcp(
        address,
        &format!("GET / HTTP/1.1\r\nHost: {address}\r\nAccept: text/html\r\n\r\n"),
    );
    assert!(
        page.starts_with("HTTP/1.1 401 ") && page.contains("action=\"/login\""),
        "{page}"
    );
    let login = |token: &str| {
        let form = format!("token={token}");
        let head = format!(
            "Host: {address}\r\nOrigin: http://{address}\r\nContent-Length: {}\r\n",
            form.len()
        );
        tcp(address, &format!("POST /login HTTP/1.1\r\n{head}\r\n{form}"))
    };
    let wrong = login("0123456789abcdef");
    assert!(
        wrong.starts_with("HTTP/1.1 403 ") && !wrong.to_lowercase().contains("set-cookie"),
        "{wrong}"
    );
    let right = login(TOKEN);
    assert!(right.starts_with("HTTP/1.1 303 "), "{right}");
    let cookie = right
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .expect("a cookie");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict") && !cookie.contains(TOKEN),
        "{cookie}"
    );
    let pair = cookie.split(';').next().expect("a pair");
    let status = tcp(
        address,
        &format!("GET /status HTTP/1.1\r\nHost: {address}\r\nCookie: {pair}\r\n\r\n"),
    );
    assert!(status.starts_with("HTTP/1.1 200 "), "{status}");
    // Another server's cookie opens nothing here.
    let (_other, other) = over_tcp(&Tree::new());
    let closed = tcp(
        other,
        &format!("GET /status HTTP/1.1\r\nHost: {other}\r\nCookie: {pair}\r\n\r\n"),
    );
    assert!(closed.starts_with("HTTP/1.1 401 "), "{closed}");
}

#[test]
fn without_a_token_nobody_is_answered_over_tcp() {
    let tree = tree();
    let alone = Launch::new(&tree)
        .arguments(["--admin-listen", "127.0.0.1:0"])
        .refusal();
    assert!(alone.contains("--admin-token-file"), "{alone}");
    let token = tree.outside("token");
    for (content, mode, problem) in [
        ("short\n", 0o600, "16 to 1024"),
        (TOKEN, 0o644, "can be read by everyone"),
    ] {
        fs::write(&token, content).expect("our folder");
        fs::set_permissions(&token, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("our file");
        for launch in [Launch::new(&tree), Launch::check(&tree)] {
            let refusal = launch
                .arguments(["--admin-listen", "127.0.0.1:0", "--admin-token-file"])
                .arguments([&token])
                .refusal();
            assert!(
                refusal.contains("the admin token") && refusal.contains(problem),
                "{refusal}"
            );
        }
    }
}
