//! `wasmserve explain`: what it says is what a server over the same files and plugins does.
use support::{Chain, Launch, Policy, Tree};

/// Of files that have rested: a file that has just been written changes its entity tag a moment later.
fn tree() -> Tree {
    Tree::new()
        .file("file.txt", "content")
        .file("folder/index.html", "page")
        .file("not-found.html", "no")
        .modified("file.txt", 1_000_000_000)
        .modified("folder/index.html", 1_000_000_000)
        .modified("not-found.html", 1_000_000_000)
}

fn explain(tree: &Tree, chain: Option<&Chain>, arguments: &[&str]) -> Launch {
    let launch = Launch::bare()
        .arguments(["explain", "--root"])
        .arguments([tree.root()])
        .arguments(arguments);
    match chain {
        Some(chain) => launch.arguments(["--plugins"]).arguments([chain.folder()]),
        None => launch,
    }
}

#[track_caller]
fn explained(tree: &Tree, chain: Option<&Chain>, arguments: &[&str]) -> String {
    let ran = explain(tree, chain, arguments).run_to_end();
    assert!(ran.status.success(), "{arguments:?}: {}", ran.log);
    ran.log
}

#[track_caller]
fn assert_in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let Some(at) = rest.find(part) else {
            panic!("no {part:?}, or not in this order:\n{text}")
        };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn every_policy_says_what_it_asked_and_decided() {
    let tree = tree();
    let chain = Chain::new([
        Policy::guest("probe").config(
            "ask = \"path\\nheader accept\"\npaths = \"/none\\n/file.txt\\n/folder/\"\n\
             headers = \"set|x-a|1|found|text/plain\"\npace = \"70000\"",
        ),
        Policy::guest("talkative")
            .settings("grants = [\"logging\"]")
            .config("lines = 0\nlength = 0\nmessage = \"that\\u001B[31m was it\""),
        Policy::guest("probe").config("ask = \"now\\nclient-within 192.0.2.0/24\""),
    ]);
    let text = explained(
        &tree,
        Some(&chain),
        &["/x", "-H", "Accept: text/*", "--client", "192.0.2.7"],
    );
    assert_in_order(
        &text,
        &[
            "GET /x from 192.0.2.7\n",
            "1. probe-0: proceeds\n",
            "asked    path()            \"/x\"\n",
            "header(\"accept\")  \"text/*\"\n",
            "changes  paths: /none, /file.txt, /folder/\n",
            "set x-a: 1 (when found, text/plain)\n",
            "kept     would be\n",
            "took     ",
            "2. talkative-1: proceeds\n",
            "logged   warn talkative: that\\u{1b}[31m was it\n",
            "3. probe-2: proceeds\n",
            "client-within(\"192.0.2.0/24\")  true\n",
            "kept     would not be: it asked for the time, which cannot be repeated\n",
            "verdict  serve /none, else /file.txt, else /folder/\n",
            "pace     70000 bytes a second\n",
            "files    /none      nothing there\n",
            "/file.txt  text/plain; charset=utf-8, 7 bytes\n",
            "answer   200 OK\n",
        ],
    );
    assert!(!text.contains("/folder/  "), "the search goes on after a file: {text}");
    assert!(text.contains("\n         x-a: 1\n"), "{text}");
}

#[test]
fn the_answer_is_that_of_a_server() {
    let tree = tree();
    let chain = Chain::new([
        Policy::guest("probe").config("headers = \"set|x-a|1|missing|\""),
        Policy::guest("probe").config("only = \"/closed\"\nrespond = \"403\"\nask = \"header authorization\""),
        Policy::guest("misbehaving").config("behaviour = \"trap\"\nonly = \"/trap\""),
    ]);
    let pages = ["--error-page", "404=/not-found.html"];
    let server = Launch::new(&tree).plugins(&chain).arguments(pages).start();
    for (method, target, headers) in [
        ("GET", "/file.txt", &[][..]),
        ("HEAD", "/file.txt", &[]),
        ("GET", "/file.txt", &[("Range", "bytes=1-2")]),
        ("GET", "/folder", &[]),
        ("GET", "/folder/", &[]),
        ("GET", "/none", &[]),
        ("POST", "/file.txt", &[]),
        ("GET", "/closed/file", &[]),
        ("GET", "/trap", &[]),
        ("GET", "/a%2fb", &[]),
        ("OPTIONS", "*", &[]),
    ] {
        let response = server.request(method, target, headers);
        let mut arguments = vec![method.to_owned(), target.to_owned()];
        for (name, value) in headers {
            arguments.extend(["-H".to_owned(), format!("{name}: {value}")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(pages).collect();
        let text = explained(&tree, Some(&chain), &arguments);
        let (_, answer) = text
            .split_once("\nanswer   ")
            .unwrap_or_else(|| panic!("no answer: {text}"));
        assert!(
            answer.starts_with(&response.status.to_string()),
            "{method} {target}: {text}"
        );
        for (name, value) in response.stable_headers() {
            // What belongs to a connection is not decided yet.
            if name != "connection" && (&*name, &*value) != ("content-length", "0") {
                let line = format!("\n         {name}: {value}\n");
                assert!(answer.contains(&line), "{method} {target}, no {line:?}: {text}");
            }
        }
    }
}

#[test]
fn a_refusal_names_its_rule() {
    let tree = tree();
    for (arguments, rule, status) in [
        (&["/a%2fb"][..], "the path has an encoded slash", "400 Bad Request"),
        (&["http://user@host/"], "user information", "400 Bad Request"),
        (
            &["/", "-H", "Host: a..b"],
            "a Host that is not a host and a port",
            "400 Bad Request",
        ),
        (
            &["/", "-H", "Host: a", "-H", "Host: b"],
            "more than one Host",
            "400 Bad Request",
        ),
        (&["ftp://host/"], "scheme", "421 Misdirected Request"),
        (&["CONNECT", "host:80"], "tunnel", "405 Method Not Allowed"),
    ] {
        let text = explained(&tree, None, arguments);
        assert_in_order(
            &text,
            &[
                "verdict  refused before any policy is asked: ",
                rule,
                "answer   ",
                status,
            ],
        );
    }
}

#[test]
fn a_failure_says_why_and_where() {
    let tree = tree();
    let chain = Chain::of("misbehaving", "behaviour = \"trap\"");
    let text = explained(&tree, Some(&chain), &["/file.txt"]);
    assert_in_order(
        &text,
        &[
            "misbehaving-0: fails, the client gets 500 Internal Server Error\n",
            "reason   ",
            "unreachable",
            "where    ",
            "kept     would not be: it failed\n",
            "verdict  misbehaving-0 failed: no file is looked for\n",
            "answer   500 Internal Server Error\n",
        ],
    );
    assert!(!text.contains("content\n"), "{text}");
}

#[test]
fn secrets_are_hidden_unless_asked_for() {
    let tree = tree();
    let chain = Chain::of(
        "probe",
        "ask = \"header authorization\\nheader-values cookie\\ncookie session\\ncookie other\"\n\
         headers = \"append|set-cookie|a=s3cret||\"",
    );
    let request = [
        "/file.txt",
        "-H",
        "Authorization: Basic s3cret",
        "-H",
        "Cookie: session=s3cret",
    ];
    for json in [&[][..], &["--json"]] {
        let arguments = [&request[..], json].concat();
        let text = explained(&tree, Some(&chain), &arguments);
        assert!(text.contains("hidden") && !text.contains("s3cret"), "{text}");
        let text = explained(&tree, Some(&chain), &[&arguments[..], &["--show-secrets"]].concat());
        assert_eq!(text.matches("s3cret").count(), 5, "{text}");
    }
    let text = explained(&tree, Some(&chain), &request);
    assert!(
        text.contains("cookie(\"other\")          none\n"),
        "its absence is no secret: {text}"
    );
}

#[test]
fn json_is_one_object() {
    let tree = tree();
    let chain = Chain::of("probe", "ask = \"host\"\nfacts = \"\"");
    let text = explained(&tree, Some(&chain), &["--json", "http://Example.org/file.txt"]);
    assert!(text.starts_with("{\n") && text.ends_with("}\n"), "{text}");
    assert_in_order(
        &text,
        &[
            "\"url\": \"http://Example.org/file.txt\"",
            "\"question\": \"host()\"",
            "\"answer\": \"\\\"example.org\\\"\"",
            "\"keeping\": \"would-be\"",
            "\"outcome\": \"file\"",
            "\"found\": \"file\"",
            "\"bytes\": 7",
            "\"status\": 200",
        ],
    );
}

#[test]
fn without_plugins_everything_is_served() {
    let text = explained(&tree(), None, &["/folder"]);
    assert_in_order(
        &text,
        &[
            "GET /folder from 127.0.0.1\n",
            "verdict  serve /folder\n",
            "files    /folder  a folder: redirects to folder/",
            "answer   301 Moved Permanently\n",
        ],
    );
}

#[test]
fn a_chain_that_does_not_load_is_a_failure() {
    let tree = tree();
    let chain = Chain::of("misbehaving", "behaviour = \"configure_fails\"");
    let ran = explain(&tree, Some(&chain), &["/"]).run_to_end();
    assert_eq!(ran.status.code(), Some(1), "{}", ran.log);
    assert!(ran.log.contains("the key `colour` is missing"), "{}", ran.log);
    for arguments in [&["a b"][..], &["/", "-H", "no colon"], &["/", "--client", "office"]] {
        let ran = explain(&tree, None, arguments).run_to_end();
        assert_eq!(ran.status.code(), Some(2), "{arguments:?}: {}", ran.log);
    }
}
