//! Plugins that cannot be loaded: the server does not start, and says in one line what is wrong with which file.
use std::fs;
use support::{Chain, Launch, Policy, Tree, project};
use tempfile::{TempDir, tempdir};

/// A folder of bare modules, as `--plugins` takes it without a `plugins.toml`.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempdir().expect("the machine has room for temporary files");
    for (name, content) in files {
        fs::write(folder.path().join(name), content).expect("the folder is writable");
    }
    folder
}

fn guest(name: &str) -> Vec<u8> {
    fs::read(project().join(format!("tests/guests/{name}/{name}.wasm"))).expect("guests are built")
}

#[track_caller]
fn refusal(folder: &TempDir, names: &str) -> String {
    let tree = Tree::new().file("file.txt", "content");
    let log = Launch::new(&tree).plugins_at(folder.path()).refusal();
    assert!(log.contains(names), "names no {names}: {log}");
    log
}

/// Every guest folder is one that a test loads.
#[test]
fn every_guest_is_used() {
    let mut guests: Vec<String> = fs::read_dir(project().join("tests/guests"))
        .expect("the guests are there")
        .flatten()
        .filter(|entry| entry.path().join("plugin.toml").is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    guests.sort();
    assert_eq!(
        guests,
        [
            "misbehaving",
            "observer",
            "other-contract",
            "outbound",
            "probe",
            "services",
            "talkative"
        ]
    );
}

#[test]
fn an_empty_folder_is_never_an_open_server() {
    refusal(&folder(&[]), "an empty folder protects nothing");
    refusal(
        &folder(&[("README.md", b"nothing here")]),
        "an empty folder protects nothing",
    );
    refusal(&folder(&[("plugins.toml", b"")]), "plugins.toml");
    refusal(&folder(&[("plugins.toml", b"# [[policy]]\n")]), "plugins.toml");
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let tree = Tree::new();
    let log = Launch::new(&tree).plugins_at(&tree.at("nowhere")).refusal();
    assert!(log.contains("nowhere"), "{log}");
}

#[test]
fn what_is_no_module_is_named() {
    refusal(&folder(&[("broken.wasm", b"not wasm at all")]), "broken.wasm");
    refusal(&folder(&[("empty.wasm", b"")]), "empty.wasm");
    let whole = guest("probe");
    refusal(&folder(&[("half.wasm", &whole[..whole.len() / 2])]), "half.wasm");
}

/// It would become a component that exports nothing, and decide nothing.
#[test]
fn a_module_without_metadata_is_refused() {
    let bare_module = b"\0asm\x01\0\0\0";
    let log = refusal(&folder(&[("bare.wasm", bare_module)]), "bare.wasm");
    assert!(log.contains("exports no policy"), "{log}");
}

#[test]
fn another_contract_is_refused_by_name() {
    let log = refusal(&folder(&[("other.wasm", &guest("other-contract"))]), "other.wasm");
    assert!(
        log.contains("9.9.0") && log.contains("0.1.0"),
        "says which it is and which is known: {log}"
    );
}

#[test]
fn one_that_fails_keeps_all_from_loading() {
    let log = refusal(&folder(&[("a.wasm", &guest("probe")), ("b.wasm", b"broken")]), "b.wasm");
    assert!(!log.contains("listening"), "{log}");
}

#[test]
fn what_is_imported_has_to_be_granted() {
    let tree = Tree::new().file("file.txt", "content");
    let config = "lines = 0\nlength = 0\nmessage = \"hello\"";
    let chain = Chain::of("talkative", config);
    let log = Launch::new(&tree).plugins(&chain).refusal();
    assert!(
        log.contains("wasi:logging") && log.contains("grant") && log.contains("talkative"),
        "{log}"
    );

    let chain = Chain::new([Policy::guest("talkative")
        .settings("grants = [\"logging\"]")
        .config(config)]);
    let server = Launch::new(&tree).plugins(&chain).start();
    assert_eq!(server.get("/file.txt").text(), "content");
    let line = server.logged("hello");
    assert!(line.contains("talkative"), "says who wrote it: {line}");
}

/// A plugin that writes without end fills neither the disk nor the memory, and does not stop the request.
#[test]
fn a_flood_of_log_lines_is_bounded() {
    let tree = Tree::new().file("file.txt", "content");
    let chain = Chain::new([Policy::guest("talkative")
        .settings("grants = [\"logging\"]\nlimits = { running = \"2s\", wall = \"10s\" }")
        .config("lines = 20000\nlength = 1000\nmessage = \"the last\"")]);
    let server = Launch::new(&tree).plugins(&chain).start();
    for _ in 0..3 {
        let response = server.get("/file.txt");
        assert!(matches!(response.status, 200 | 500 | 503), "{response:?}");
    }
    let written = server.log().len();
    assert!(written < 4 << 20, "{} MiB of log for three requests", written >> 20);
}

/// Line breaks and escape sequences of a guest do not make lines of their own.
#[test]
fn a_log_line_of_a_guest_is_one_line() {
    let tree = Tree::new().file("file.txt", "content");
    let chain = Chain::new([Policy::guest("talkative")
        .settings("grants = [\"logging\"]")
        .config("lines = 0\nlength = 0\nmessage = \"begin\\r\\nforged line\\u001b[31m end\"")]);
    let server = Launch::new(&tree).plugins(&chain).start();
    server.get("/file.txt");
    let line = server.logged("begin");
    assert!(line.contains("forged line") && line.contains("end"), "split: {line}");
    assert!(!server.log().contains('\u{1b}'), "{}", server.log());
}

#[test]
fn modules_of_a_folder_run_in_name_order_with_their_configuration() {
    let probe = guest("probe");
    let folder = folder(&[
        ("a.wasm", &probe),
        ("a.toml", b"headers = \"set | X-Order | a\""),
        ("b.wasm", &probe),
        ("b.toml", b"headers = \"append | X-Order | b\""),
        ("notes.txt", b"not a plugin"),
    ]);
    let tree = Tree::new().file("file.txt", "content");
    let response = Launch::new(&tree).plugins_at(folder.path()).start().get("/file.txt");
    assert_eq!(response.members("x-order"), ["a", "b"]);
}

#[test]
fn sources_that_are_not_built_say_how_to_build_them() {
    let folder = folder(&[("plugins.toml", b"[[policy]]\nplugin = \"unbuilt\"\n")]);
    let plugin = folder.path().join("unbuilt");
    fs::create_dir_all(plugin.join("src")).expect("the folder is writable");
    fs::write(plugin.join("src/lib.rs"), "").expect("the folder is writable");
    let manifest = "name = \"unbuilt\"\nversion = \"0.1.0\"\ndescription = \"x\"\nartefact = \"unbuilt.wasm\"\n\
                    [build]\ncargo = \"unbuilt\"\nsources = [\"src\"]\n";
    fs::write(plugin.join("plugin.toml"), manifest).expect("the folder is writable");
    let log = refusal(&folder, "wasmserve build");
    assert!(log.contains("unbuilt"), "{log}");

    // Older than its source is unbuilt as well.
    let artefact = plugin.join("unbuilt.wasm");
    fs::write(&artefact, guest("probe")).expect("the folder is writable");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let file = fs::File::options().write(true).open(&artefact).expect("it is there");
    file.set_modified(old).expect("the folder is ours");
    refusal(&folder, "wasmserve build");
}
