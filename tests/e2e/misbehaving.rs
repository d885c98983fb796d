//! One test for each misbehaviour of a plugin: the file is never sent, the client learns nothing, the log everything, and
//! other requests are served as before.
use support::{Chain, Fields, Launch, Policy, Server, Tree, eventually};

include!("../guests/misbehaving/behaviours.rs");

macro_rules! each_is_tested {
    ($($name:ident,)*) => {
        $(
            #[expect(unused_imports, reason = "fails to compile when the test is missing")]
            use self::$name as _;
        )*
    };
}

decide_behaviours!(each_is_tested);
configure_behaviours!(each_is_tested);

const CONTENT: &str = "the file that must not be sent";
const ELSEWHERE: &str = "a file that no plugin minds";

fn tree() -> Tree {
    Tree::new()
        .file("bad/file.txt", CONTENT)
        .file("file.txt", ELSEWHERE)
        .file("bad/index.html", CONTENT)
        .file_outside("secret.txt", "SECRET-FROM-OUTSIDE")
}

fn chain(behaviour: &str) -> Chain {
    Chain::new([Policy::guest("misbehaving")
        .settings("name = \"culprit\"\nlimits = { running = \"50ms\" }")
        .config(&format!("behaviour = \"{behaviour}\"\nonly = \"/bad/\""))])
}

/// Asks a server whose plugin misbehaves beneath `/bad/`, and checks what must hold for every misbehaviour.
#[track_caller]
fn fails(behaviour: &str, status: u16, reason: &str) -> Server {
    fails_when_asked(behaviour, &[], status, reason)
}

#[track_caller]
fn fails_when_asked(behaviour: &str, headers: Fields<'_>, status: u16, reason: &str) -> Server {
    let tree = tree();
    let chain = chain(behaviour);
    let server = Launch::new(&tree).plugins(&chain).start();
    for (method, target) in [
        ("GET", "/bad/file.txt"),
        ("HEAD", "/bad/file.txt"),
        ("GET", "/bad/"),
        ("GET", "/bad/none"),
    ] {
        let mut connection = server.connect();
        let response = connection.request(method, target, headers);
        assert_eq!(response.status, status, "{method} {target}: {response:?}");
        let shown = format!("{response:?}").to_lowercase().replace("server: wasmserve", "");
        for secret in [
            "leaked",
            "must not be sent",
            "culprit",
            "misbehav",
            "wasm",
            "trap",
            "stolen",
            "x-test",
            "root",
        ] {
            assert!(!shown.contains(secret), "the client learns {secret:?}: {response:?}");
        }
        for name in ["etag", "last-modified", "accept-ranges"] {
            assert_eq!(response.header(name), None, "{response:?}");
        }
        assert_eq!(response.header("retry-after").is_some(), status == 503, "{response:?}");
        // The connection and other paths are as well as before.
        assert_eq!(connection.request("GET", "/file.txt", &[]).text(), ELSEWHERE);
    }
    let said = || server.log().to_lowercase().contains(&reason.to_lowercase());
    eventually(&format!("the log says {reason:?}"), said);
    assert!(server.log().contains("culprit"), "the log does not say who");
    server
}

#[test]
fn trap() {
    fails("trap", 500, "unreachable");
}

#[test]
fn endless_loop() {
    fails("endless_loop", 503, "ran for more than 50ms");
}

#[test]
fn memory_growth() {
    fails("memory_growth", 500, "memory");
}

#[test]
fn stack_overflow() {
    fails("stack_overflow", 500, "trap");
}

#[test]
fn error() {
    fails("error", 500, "the guest cannot decide");
}

/// What a guest says ends up in one line of the log, with nothing that a terminal would act on.
#[test]
fn error_naming_secrets() {
    let server = fails("error_naming_secrets", 500, "hunter2");
    let log = server.log();
    assert!(!log.contains('\u{1b}'), "an escape sequence reached the log: {log:?}");
    assert!(
        !log.lines().any(|line| line.starts_with("Set-Cookie")),
        "a guest began a line of the log: {log}"
    );
}

#[test]
fn status_too_low() {
    fails("status_too_low", 500, "199");
}

#[test]
fn status_too_high() {
    fails("status_too_high", 500, "600");
}

#[test]
fn partial_content_status() {
    fails("partial_content_status", 500, "206");
}

#[test]
fn not_modified_status() {
    fails("not_modified_status", 500, "304");
}

#[test]
fn range_status() {
    fails("range_status", 500, "416");
}

#[test]
fn header_name_malformed() {
    fails("header_name_malformed", 500, "header");
}

#[test]
fn header_line_break() {
    fails("header_line_break", 500, "x-test");
}

#[test]
fn header_line_break_in_change() {
    fails("header_line_break_in_change", 500, "x-test");
}

#[test]
fn header_nul() {
    fails("header_nul", 500, "x-test");
}

#[test]
fn connection_header() {
    fails("connection_header", 500, "connection");
}

#[test]
fn content_length_header() {
    fails("content_length_header", 500, "content-length");
}

#[test]
fn transfer_encoding_header() {
    fails("transfer_encoding_header", 500, "transfer-encoding");
}

#[test]
fn date_header() {
    fails("date_header", 500, "date");
}

#[test]
fn proxy_header() {
    fails("proxy_header", 500, "proxy-authenticate");
}

#[test]
fn etag_on_proceed() {
    fails("etag_on_proceed", 500, "etag");
}

#[test]
fn content_encoding_on_proceed() {
    fails("content_encoding_on_proceed", 500, "content-encoding");
}

#[test]
fn vary_set() {
    fails("vary_set", 500, "vary");
}

#[test]
fn vary_removed() {
    fails("vary_removed", 500, "vary");
}

#[test]
fn path_leaving() {
    fails("path_leaving", 500, "path");
}

#[test]
fn path_relative() {
    fails("path_relative", 500, "path");
}

#[test]
fn path_with_dot() {
    fails("path_with_dot", 500, "path");
}

#[test]
fn path_with_empty_segment() {
    fails("path_with_empty_segment", 500, "path");
}

#[test]
fn path_with_nul() {
    fails("path_with_nul", 500, "path");
}

#[test]
fn path_with_backslash() {
    fails("path_with_backslash", 500, "path");
}

#[test]
fn missing_path_leaving() {
    fails("missing_path_leaving", 500, "path");
}

#[test]
fn missing_status_odd() {
    fails("missing_status_odd", 500, "302");
}

#[test]
fn unknown_root() {
    fails("unknown_root", 500, "elsewhere");
}

#[test]
fn directory_leaving() {
    fails("directory_leaving", 500, "malformed decision");
}

#[test]
fn body_oversized() {
    fails("body_oversized", 500, "body");
}

#[test]
fn body_with_no_content() {
    fails("body_with_no_content", 500, "204");
}

#[test]
fn fact_not_established() {
    fails("fact_not_established", 500, "user");
}

#[test]
fn fact_not_read() {
    fails("fact_not_read", 500, "tls.subject");
}

#[test]
fn network_invalid() {
    fails("network_invalid", 500, "10.0.0.0/99");
}

#[test]
fn answers_oversized() {
    let large = "x".repeat(8 << 10);
    fails_when_asked("answers_oversized", &[("X-Large", &large)], 500, "answers");
}

#[test]
fn host_calls() {
    fails("host_calls", 500, "more than 10000 times");
}

#[test]
fn body_huge() {
    fails("body_huge", 500, "memory");
}

#[test]
fn sharing_not_granted() {
    fails("sharing_not_granted", 500, "sharing");
}

#[test]
fn pace_zero() {
    fails("pace_zero", 500, "pace");
}

/// Starts a server whose plugin misbehaves while it is configured: it must not start.
#[track_caller]
fn is_not_loaded(behaviour: &str, reason: &str) {
    let tree = tree();
    let log = Launch::new(&tree).plugins(&chain(behaviour)).refusal();
    let line = log
        .lines()
        .find(|line| line.contains("culprit"))
        .unwrap_or_else(|| panic!("names no plugin: {log}"));
    assert!(line.contains("misbehaving.wasm"), "names no file: {line}");
    assert!(
        log.to_lowercase().contains(&reason.to_lowercase()),
        "does not say {reason:?}: {log}"
    );
}

#[test]
fn configure_traps() {
    is_not_loaded("configure_traps", "unreachable");
}

#[test]
fn configure_loops() {
    is_not_loaded("configure_loops", "ran for more than");
}

#[test]
fn configure_fails() {
    is_not_loaded("configure_fails", "the key `colour` is missing");
}

#[test]
fn configure_asks_about_a_request() {
    is_not_loaded("configure_asks_about_a_request", "request");
}

#[test]
fn configure_grows() {
    is_not_loaded("configure_grows", "memory");
}

/// One plugin spins on one path while many small requests elsewhere are answered.
#[test]
fn endless_loops_elsewhere_stop_nobody() {
    let tree = tree();
    let chain = chain("endless_loop");
    let server = Launch::new(&tree).plugins(&chain).start();
    // Kept from here on, and so answered when the loops have opened the breaker.
    assert_eq!(server.get("/file.txt").text(), ELSEWHERE);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert_eq!(server.get("/bad/file.txt").status, 503);
                }
            });
        }
        let mut connection = server.connect();
        for _ in 0..200 {
            assert_eq!(connection.request("GET", "/file.txt", &[]).text(), ELSEWHERE);
        }
    });
}
