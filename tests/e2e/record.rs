//! Recording real requests, and deciding them again with other plugins.
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use support::{Chain, Launch, Policy, Server, Tree, eventually, server::Refusal};

fn tree() -> Tree {
    Tree::new()
        .file("file.txt", "content")
        .modified("file.txt", 1_000_000_000)
}

/// A server that records beside its root.
fn recording(tree: &Tree, chain: &Chain, arguments: &[&str]) -> (Server, PathBuf) {
    let file = tree.outside("record");
    let server = Launch::new(tree)
        .plugins(chain)
        .arguments(["--record"])
        .arguments([&file])
        .arguments(arguments)
        .start();
    (server, file)
}

fn stop(mut server: Server) {
    server.ask_to_stop();
    assert!(server.ended().success());
}

fn replay(file: &Path, chain: &Chain, arguments: &[&str]) -> Refusal {
    Launch::bare()
        .arguments(["replay"])
        .arguments([file])
        .arguments(["--plugins"])
        .arguments([chain.folder()])
        .arguments(arguments)
        .run_to_end()
}

#[track_caller]
fn text(file: &Path) -> String {
    fs::read_to_string(file).expect("it was recorded")
}

/// Recorded decisions.
fn decisions(file: &Path) -> usize {
    text(file).matches("\"record\":\"decision\"").count()
}

const ASKING: &str = "ask = \"path\\nheader authorization\\ncookie session\\nquery-parameter page\\nclient-address\"\n\
                      headers = \"append|set-cookie|session=s3cret; Path=/||\"";

#[test]
fn the_same_plugins_decide_the_same_and_others_do_not() {
    let tree = tree();
    let chain = Chain::new([
        Policy::guest("probe").config("ask = \"path\\nheader accept\\nbefore 2000000000\"\nheaders = \"set|x-a|1||\""),
        Policy::guest("probe").config("only = \"/closed\"\nrespond = \"403\"\nbody = \"no\""),
        Policy::guest("misbehaving").config("behaviour = \"trap\"\nonly = \"/trap\""),
    ]);
    let (server, file) = recording(&tree, &chain, &[]);
    let requests = [
        "/file.txt",
        "/closed/x",
        "/none",
        "/file.txt",
        "/file.txt",
        "/trap",
        "/a%20b",
    ];
    for path in requests {
        server.request("GET", path, &[("Accept", "text/*")]);
    }
    // Neither is ever decided.
    server.get("/a%2fb");
    server.request("OPTIONS", "*", &[]);
    stop(server);
    assert_eq!(decisions(&file), requests.len(), "{}", text(&file));
    assert_eq!(
        fs::metadata(&file).expect("it is there").permissions().mode() & 0o777,
        0o600
    );
    let recorded = text(&file);
    for part in [
        r#""question":"header(\"accept\")","answer":"\"text/*\"""#,
        r#""kept":true"#,
        r#""outcome":"fault","status":500"#,
    ] {
        assert!(recorded.contains(part), "no {part}: {recorded}");
    }

    let same = replay(&file, &chain, &[]);
    assert!(same.status.success(), "{}", same.log);
    assert!(same.log.contains("7 decisions are the same, 0 differ"), "{}", same.log);

    let other = Chain::new([
        Policy::guest("probe").config("ask = \"path\"\nheaders = \"set|x-a|2||\""),
        Policy::guest("probe").config("only = \"/closed\"\nrespond = \"401\"\nbody = \"no\""),
    ]);
    let differs = replay(&file, &other, &[]);
    assert_eq!(differs.status.code(), Some(1), "{}", differs.log);
    for part in [
        "0 decisions are the same, 7 differ",
        "GET http://localhost/closed/x from 127.0.0.1 at 20",
        "  - responds 403\n  - set x-a: 1\n  + responds 401\n  + set x-a: 2\n",
        "  - fails with 500\n  - set x-a: 1\n  + serves /trap\n  + set x-a: 2\n",
    ] {
        assert!(differs.log.contains(part), "no {part:?}: {}", differs.log);
    }
    let json = replay(&file, &other, &["--json"]);
    assert_eq!(json.log.lines().count(), 8, "{}", json.log);
    assert!(
        json.log.contains(r#""recorded":["responds 403","set x-a: 1"]"#),
        "{}",
        json.log
    );
    assert!(json.log.contains(r#"{"summary":{"same":0,"differ":7,"#), "{}", json.log);
}

#[test]
fn requests_are_decided_at_their_time_and_for_their_client() {
    let tree = tree();
    let chain = Chain::of(
        "probe",
        "ask = \"now\\nclient-address\\nsite\\nhost\"\nanswers-header = \"x-answers\"",
    );
    let (server, file) = recording(&tree, &chain, &[]);
    server.get("/file.txt");
    stop(server);
    let same = replay(&file, &chain, &[]);
    assert!(same.log.contains("1 decisions are the same, 0 differ"), "{}", same.log);
}

#[test]
fn secrets_are_neither_written_nor_guessed() {
    let tree = tree();
    let chain = Chain::of("probe", ASKING);
    let (server, file) = recording(&tree, &chain, &[]);
    let secret = [
        ("Authorization", "Basic s3cret"),
        ("Cookie", "session=s3cret; theme=dark"),
        ("X-Api-Key", "s3cret"),
        ("Referer", "http://localhost/?s3cret"),
    ];
    server.request("GET", "/file.txt?page=s3cret&s3cret", &secret);
    server.get("/file.txt");
    stop(server);
    let recorded = text(&file);
    assert!(!recorded.contains("s3cret"), "{recorded}");
    assert!(recorded.contains("session=~"), "{recorded}");
    assert!(
        recorded.contains(r#""question":"cookie(\"session\")","answer":"redacted""#),
        "{recorded}"
    );

    // What is not there is no secret: the second request is decided as it was.
    let same = replay(&file, &chain, &[]);
    assert!(same.status.success(), "{}", same.log);
    for part in [
        "1 decisions are the same, 0 differ",
        "1 were not decided",
        "1 by probe-0: header(\"authorization\")",
    ] {
        assert!(same.log.contains(part), "no {part}: {}", same.log);
    }
    let harmless = Chain::of(
        "probe",
        "ask = \"path\\ncookie other\\nheader accept\"\nheaders = \"append|set-cookie|session=other; Path=/||\"",
    );
    let same = replay(&file, &harmless, &[]);
    assert!(same.log.contains("2 decisions are the same, 0 differ"), "{}", same.log);
}

#[test]
fn rules_say_what_is_kept() {
    let tree = tree();
    let chain = Chain::of("probe", &ASKING.replace("s3cret", "one"));
    let rules = [
        "--record-redact",
        "header:authorization=keep",
        "--record-redact",
        "cookie:session=keep",
        "--record-redact",
        "query:page=keep",
        "--record-redact",
        "header:accept=drop",
        "--record-redact",
        "client=hash",
    ];
    let (server, file) = recording(&tree, &chain, &rules);
    let fields = [
        ("Authorization", "Basic abc"),
        ("Cookie", "session=one; other=s3cret"),
        ("Accept", "s3cret"),
    ];
    server.request("GET", "/file.txt?page=2&token=s3cret", &fields);
    stop(server);
    let recorded = text(&file);
    assert!(
        !recorded.contains("s3cret") && !recorded.contains("127.0.0.1"),
        "{recorded}"
    );
    for part in ["Basic abc", "session=one", "page=2", "\"accept\",\"~\""] {
        assert!(recorded.contains(part), "no {part}: {recorded}");
    }
    let replayed = replay(&file, &chain, &[]);
    assert!(
        replayed.log.contains("by probe-0: client-address()"),
        "{}",
        replayed.log
    );
    let known = Chain::of(
        "probe",
        "ask = \"header authorization\\ncookie session\\nquery-parameter page\"\n\
         headers = \"append|set-cookie|session=one; Path=/||\"",
    );
    let replayed = replay(&file, &known, &[]);
    assert!(replayed.log.contains("1 decisions are the same"), "{}", replayed.log);
}

#[test]
fn recordings_are_bounded_and_sampled() {
    let tree = tree();
    let chain = Chain::of("probe", "");
    let (server, file) = recording(&tree, &chain, &["--record-limit", "64KiB", "--record-one-in", "2"]);
    let filling = "x".repeat(4000);
    let mut connection = server.connect();
    for _ in 0..120 {
        connection.request("GET", "/file.txt", &[("X-Filling", &filling)]);
    }
    stop(server);
    let before = tree.outside("record.1");
    let (now, then) = (decisions(&file), decisions(&before));
    // 60 of some 4.5 KiB, 13 to 14 in each file: what does not fit into two is gone.
    assert!((1..=15).contains(&now) && (10..=15).contains(&then), "{now} and {then}");
    for file in [&file, &before] {
        let bytes = fs::metadata(file).expect("it is there").len();
        assert!(bytes <= 64 << 10, "{bytes}");
        assert!(
            text(file).starts_with("{\"record\":\"begin\",\"version\":1"),
            "{}",
            text(file)
        );
        assert!(replay(file, &chain, &[]).status.success());
    }
}

#[test]
fn a_recording_is_never_served_and_never_anybody_elses() {
    let tree = tree();
    let file = tree.at("record.txt");
    let server = Launch::new(&tree).arguments(["--record"]).arguments([&file]).start();
    server.get("/file.txt");
    eventually("a line is written", || decisions(&file) > 0);
    assert_eq!(server.get("/record.txt").status, 404);
    assert_eq!(server.get("/record.txt.1").status, 404);
    drop(server);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let refusal = Launch::new(&tree).arguments(["--record"]).arguments([&file]).refusal();
    assert!(refusal.contains("others may read it"), "{refusal}");
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let tree = tree();
    let chain = Chain::of("probe", "");
    let file = tree.outside("record");
    for (content, says, status) in [
        ("", "nothing could be compared", 1),
        ("no JSON\n", "line 1 is not a line of a recording", 1),
        (
            "{\"record\":\"begin\",\"version\":7,\"rules\":[],\"one_in\":1}\n",
            "is of version 7",
            1,
        ),
    ] {
        fs::write(&file, content).expect("the folder is writable");
        let ran = replay(&file, &chain, &[]);
        assert_eq!(ran.status.code(), Some(status), "{}", ran.log);
        assert!(ran.log.contains(says), "{}", ran.log);
    }
    let ran = replay(&tree.outside("none"), &chain, &[]);
    assert!(ran.log.contains("cannot read the recording"), "{}", ran.log);
}
