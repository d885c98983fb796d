//! The debug header: who has the operator's secret sees why, and nobody else sees anything.
use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
};
use support::{Chain, Launch, Policy, Server, Tree};

const SECRET: &str = "correct-horse-battery-staple";

fn tree() -> Tree {
    Tree::new()
        .file("file.txt", "content")
        .modified("file.txt", 1_000_000_000)
        .file_outside("secret", format!("{SECRET}\n"))
}

fn secret(tree: &Tree) -> PathBuf {
    let path = tree.outside("secret");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("the file is ours");
    path
}

fn chain() -> Chain {
    Chain::new([
        Policy::guest("probe").config(
            "ask = \"path\\nheader wasmserve-debug\\nheader authorization\\nquery\"\n\
             headers = \"set|cache-control|public, max-age=60||\"\nanswers-header = \"x-answers\"",
        ),
        Policy::guest("probe").config("only = \"/closed\"\nrespond = \"403\""),
    ])
}

fn serving(tree: &Tree, chain: &Chain) -> Server {
    Launch::new(tree)
        .plugins(chain)
        .arguments(["--debug-secret-file"])
        .arguments([secret(tree)])
        .start()
}

const FIELDS: [&str; 3] = ["wasmserve-explain", "wasmserve-trace", "server-timing"];

#[test]
fn the_secret_shows_why() {
    let (tree, chain) = (tree(), chain());
    let server = serving(&tree, &chain);
    let fields = [("Wasmserve-Debug", SECRET), ("Authorization", "Basic s3cret")];
    let response = server.request("GET", "/file.txt?token=s3cret", &fields);
    assert_eq!((response.status, response.text()), (200, "content"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let explained = response.header("wasmserve-explain").expect("it explains itself");
    for part in [
        r#""policy":"probe-0","decision":"proceeds""#,
        r#"path() = \"/file.txt\""#,
        r#"header(\"authorization\") = hidden"#,
        r#""outcome":"file""#,
    ] {
        assert!(explained.contains(part), "no {part}: {explained}");
    }
    let timing = response.header("server-timing").expect("it has times");
    assert!(
        timing.starts_with("probe-0;dur=") && timing.contains(", probe-1;dur="),
        "{timing}"
    );
    let trace = response.header("wasmserve-trace").expect("it has an id");
    let line = server.logged(trace);
    assert!(line.contains("a request explains itself"), "{line}");
    assert!(!explained.contains("s3cret") && !server.log().contains("s3cret") && !server.log().contains(SECRET));

    let refused = server.request("GET", "/closed", &[("wasmserve-debug", SECRET)]);
    assert_eq!(refused.status, 403);
    let explained = refused.header("wasmserve-explain").expect("it explains itself");
    assert!(explained.contains(r#""decision":"responds 403""#), "{explained}");
    let malformed = server.request("GET", "/a%2fb", &[("wasmserve-debug", SECRET)]);
    assert_eq!(malformed.status, 400);
    let explained = malformed.header("wasmserve-explain").expect("it explains itself");
    assert!(explained.contains("encoded slash"), "{explained}");
}

#[test]
fn no_policy_sees_the_header() {
    let (tree, chain) = (tree(), chain());
    let with = serving(&tree, &chain);
    let without = Launch::new(&tree).plugins(&chain).start();
    for (server, value) in [(&with, SECRET), (&with, "something else"), (&without, SECRET)] {
        let response = server.request("GET", "/file.txt", &[("Wasmserve-Debug", value)]);
        let answers = response.header("x-answers").expect("the guest sets it");
        assert_eq!(answers, "/file.txt; none; none; none", "{value}");
    }
}

#[test]
fn whoever_lacks_the_secret_cannot_tell_that_there_is_one() {
    let (tree, chain) = (tree(), chain());
    let with = serving(&tree, &chain);
    let without = Launch::new(&tree).plugins(&chain).start();
    let plain = without.get("/file.txt").stable_headers();
    for server in [&with, &without] {
        for fields in [
            &[][..],
            &[("Wasmserve-Debug", "correct-horse-battery-stapl")],
            &[("Wasmserve-Debug", "")],
            &[("Wasmserve-Debug", SECRET), ("Wasmserve-Debug", SECRET)],
        ] {
            let response = server.request("GET", "/file.txt", fields);
            assert_eq!(response.stable_headers(), plain, "{fields:?}");
        }
    }
    let asked = without.request("GET", "/file.txt", &[("Wasmserve-Debug", SECRET)]);
    assert!(FIELDS.iter().all(|name| asked.header(name).is_none()), "{asked:?}");
}

#[test]
fn the_secret_is_never_served_and_has_to_be_one() {
    let tree = tree();
    let path = secret(&tree);
    fs::hard_link(&path, tree.at("innocent.txt")).expect("the tree is writable");
    let server = serving(&tree, &Chain::of("probe", ""));
    assert_eq!(server.get("/innocent.txt").status, 404);
    drop(server);
    for (content, mode, reason) in [
        ("too-short\n", 0o600, "has 9 bytes"),
        ("two words and more of them", 0o600, "without spaces"),
        (SECRET, 0o604, "can be read by everyone"),
    ] {
        fs::write(&path, content).expect("the file is ours");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("the file is ours");
        for launch in [Launch::new(&tree), Launch::check(&tree)] {
            let refusal = launch.arguments(["--debug-secret-file"]).arguments([&path]).refusal();
            assert!(refusal.contains(reason), "{refusal}");
            assert!(!refusal.contains(content.trim()), "it is printed: {refusal}");
        }
    }
}
