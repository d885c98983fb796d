//! The command line: help, version, `check`, and arguments that are wrong.
use std::fs;
use support::{Chain, Launch, Policy, Tree, project};

#[test]
fn help_and_version_are_there() {
    let help = Launch::bare().arguments(["--help"]).run_to_end();
    assert!(help.status.success(), "{help:?}");
    for word in [
        "--root",
        "--listen",
        "--plugins",
        "--chunk-size",
        "--log-format",
        "build",
        "check",
        "explain",
    ] {
        assert!(help.log.contains(word), "no {word}: {}", help.log);
    }
    let version = Launch::bare().arguments(["--version"]).run_to_end();
    assert!(
        version.status.success() && version.log.starts_with("wasmserve "),
        "{version:?}"
    );
}

#[test]
fn arguments_that_are_wrong_are_explained() {
    for (arguments, said) in [
        (vec!["--rot", "."], "--root"),
        (vec!["--listen", "somewhere"], "somewhere"),
        (vec!["--chunk-size", "0"], "chunk-size"),
        (vec!["--chunk-size", "large"], "large"),
        (vec!["--log-format", "xml"], "xml"),
        (vec!["serv"], "serv"),
    ] {
        let log = Launch::bare().arguments(arguments.clone()).refusal();
        assert!(log.contains(said), "{arguments:?}: {log}");
    }
}

#[test]
fn a_root_that_is_none_is_refused() {
    let tree = Tree::new().file("file.txt", "content");
    for root in [tree.at("nowhere"), tree.at("file.txt")] {
        let log = Launch::at(&root).refusal();
        assert!(log.contains(root.to_str().expect("the path is text")), "{log}");
    }
}

#[test]
fn an_address_in_use_is_named() {
    let tree = Tree::new();
    let server = Launch::new(&tree).start();
    let address = server.address().to_string();
    let log = Launch::new(&tree).arguments(["--listen", &address]).run_to_end();
    assert!(!log.status.success() && log.log.contains(&address), "{log:?}");
}

#[test]
fn several_addresses_are_listened_on() {
    let tree = Tree::new().file("file.txt", "content");
    let server = Launch::new(&tree).arguments(["--listen", "127.0.0.2:0"]).start();
    let second = server.logged("listening on http://127.0.0.2:");
    let (_, address) = second.split_once("http://").expect("an address is printed");
    let address = address
        .split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))
        .next()
        .unwrap_or_default();
    let mut connection = support::Connection::open(address.parse().expect("an address is printed"));
    assert_eq!(connection.request("GET", "/file.txt", &[]).text(), "content");
    assert_eq!(server.get("/file.txt").text(), "content");
}

#[test]
fn without_arguments_the_current_folder_is_served_on_loopback() {
    let tree = Tree::new().file("file.txt", "content");
    let server = Launch::bare()
        .folder(&tree.root())
        .arguments(["--listen", "127.0.0.1:0"])
        .start();
    assert_eq!(server.get("/file.txt").text(), "content");
    let help = Launch::bare().arguments(["--help"]).run_to_end();
    assert!(
        help.log.contains("127.0.0.1:8080"),
        "the default is loopback's: {}",
        help.log
    );
}

#[test]
fn logs_may_be_json() {
    let tree = Tree::new().file("file.txt", "content");
    let server = Launch::new(&tree).arguments(["--log-format", "json"]).start();
    server.get("/file.txt");
    let line = server.logged("/file.txt");
    assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
}

/// What a client sends does not make lines of its own in the log.
#[test]
fn a_client_cannot_forge_lines_of_the_log() {
    let tree = Tree::new().file("file.txt", "content");
    let server = Launch::new(&tree).start();
    server.get("/none?begin%0d%0aforged");
    server.request("GET", "/none2", &[("User-Agent", "x\u{9b}31m")]);
    server
        .raw(b"GET /none3 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: \xff\x1b[31mforged\r\nConnection: close\r\n\r\n");
    server.get("/%1b[31mforged");
    server.get("/file.txt");
    let log = server.log();
    assert!(
        !log.lines().any(|line| line.starts_with("forged")) && !log.contains('\u{1b}'),
        "{log:?}"
    );
}

#[test]
fn check_prints_what_would_run() {
    let tree = Tree::new();
    let chain = Chain::new([
        Policy::guest("probe"),
        Policy::guest("talkative").settings("name = \"writer\"\ngrants = [\"logging\"]"),
    ]);
    let ran = Launch::check(&tree).plugins(&chain).run_to_end();
    assert!(ran.status.success(), "{}", ran.log);
    for word in [
        "probe-0",
        "writer",
        "wasmserve:policy/guest@0.1.0",
        "wasi:logging/logging",
        "wasi:config/store",
    ] {
        assert!(ran.log.contains(word), "no {word}: {}", ran.log);
    }
    let digest = |word: &str| word.len() == 64 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(ran.log.split([':', ' ', '\n']).any(digest), "no digest: {}", ran.log);
}

#[test]
fn check_fails_where_serving_would() {
    let tree = Tree::new();
    let chain = Chain::of("misbehaving", "behaviour = \"configure_fails\"");
    let check = |plugins: &std::path::Path| Launch::check(&tree).plugins_at(plugins).refusal();
    assert!(check(&chain.folder()).contains("the key `colour` is missing"));
    assert!(check(&tree.root()).contains("protects nothing"));
    fs::write(chain.at("plugins.toml"), "[[policy]]\nplugin = 1\n").expect("the folder is writable");
    assert!(check(&chain.folder()).contains("plugins.toml:2:10"));
}

/// The project's own chain is in order.
#[test]
fn the_standard_chain_loads() {
    let tree = Tree::new();
    let ran = Launch::check(&tree).plugins_at(&project().join("plugins")).run_to_end();
    assert!(ran.status.success(), "{}", ran.log);
    for name in ["security-headers", "clean-urls", "basic-auth"] {
        assert!(ran.log.contains(name), "no {name}: {}", ran.log);
    }
}

#[test]
fn build_says_what_is_wrong_with_a_manifest() {
    let tree = Tree::new().file("broken/plugin.toml", "name = \"broken\"\nversions = \"1\"\n");
    let log = Launch::bare().arguments(["build"]).arguments([tree.root()]).refusal();
    assert!(log.contains("plugin.toml:2:1") && log.contains("versions"), "{log}");
}

#[test]
fn build_runs_a_command_of_any_language() {
    let manifest = "name = \"made\"\nversion = \"0.1.0\"\ndescription = \"x\"\nartefact = \"made.wasm\"\n\
                    [build]\ncommand = [\"cp\", \"source.wat\", \"made.wasm\"]\nsources = [\"source.wat\"]\n";
    let tree = Tree::new()
        .file("made/plugin.toml", manifest)
        .file("made/source.wat", "content");
    let ran = Launch::bare()
        .arguments(["build"])
        .arguments([tree.root()])
        .run_to_end();
    assert!(ran.status.success(), "{}", ran.log);
    assert_eq!(
        fs::read_to_string(tree.at("made/made.wasm")).expect("it was built"),
        "content"
    );
}

#[test]
fn a_build_that_fails_is_shown() {
    let manifest = "name = \"made\"\nversion = \"0.1.0\"\ndescription = \"x\"\nartefact = \"made.wasm\"\n\
                    [build]\ncommand = [\"ls\", \"no-such-source\"]\nsources = []\n";
    let tree = Tree::new().file("made/plugin.toml", manifest);
    let log = Launch::bare().arguments(["build"]).arguments([tree.root()]).refusal();
    assert!(log.contains("no-such-source") && log.contains("made"), "{log}");
}
