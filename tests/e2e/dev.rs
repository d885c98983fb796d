//! `wasmserve dev`: what is saved is built, tested and served, and every request explains itself.
use std::{fs, path::PathBuf};
use support::{Launch, Tree, eventually, project};

fn standard(name: &str) -> PathBuf {
    project().join(format!("plugins/{name}/{name}.wasm"))
}

/// A plugin whose source is a built one, so that building it is copying.
fn plugin() -> Tree {
    let manifest = "name = \"tried\"\nversion = \"0.1.0\"\nartefact = \"tried.wasm\"\n\
                    [build]\ncommand = [\"sh\", \"build.sh\"]\nsources = [\"build.sh\", \"source.bin\"]\n";
    let tests =
        "[config]\nretry-after = 60\n[[case]]\nname = \"closed\"\nrequest = \"GET /\"\nexpect = { respond = 503 }\n";
    let tree = Tree::new()
        .file("plugin.toml", manifest)
        .file("build.sh", "cp source.bin tried.wasm\n")
        .file("tests/first.toml", tests)
        .file("site/about.html", "about");
    fs::copy(standard("maintenance"), tree.at("source.bin")).expect("the standard policies are built");
    tree
}

#[test]
fn a_save_is_built_tested_and_served() {
    let tree = plugin();
    let server = Launch::bare()
        .arguments(["dev", "--listen", "127.0.0.1:0"])
        .arguments([tree.root()])
        .start();
    server.logged("tests: 1 passed, 0 failed");
    let closed = server.get("/about.html");
    assert_eq!(
        (closed.status, closed.header("retry-after")),
        (503, Some("60")),
        "the configuration of its tests"
    );
    server.logged("1. tried: responds 503 Service Unavailable");
    server.logged("answer   503 Service Unavailable");

    // What cannot be built is told, and what was built before is served on.
    fs::write(tree.at("build.sh"), "echo a mistake >&2; exit 1\n").expect("a file");
    server.logged("a mistake");
    server.logged("not built: what was built before stays");
    assert_eq!(server.get("/about.html").status, 503);

    // Another policy, with the configuration of its own in a chain of its own.
    fs::copy(standard("clean-urls"), tree.at("source.bin")).expect("the standard policies are built");
    fs::write(
        tree.at("tests/first.toml"),
        "[[case]]\nname = \"open\"\nrequest = \"GET /\"\nexpect = { respond = 404 }\n",
    )
    .expect("a file");
    fs::write(tree.at("build.sh"), "cp source.bin tried.wasm\n").expect("a file");
    server.logged("  FAILED  open");
    server.logged("    + proceed");
}

#[test]
fn a_chain_is_reloaded_and_faults_leave_it_as_it_was() {
    let tree = plugin().file(
        "plugins.toml",
        "[[policy]]\nplugin = \".\"\n[policy.config]\nretry-after = 7\n",
    );
    let server = Launch::bare()
        .arguments(["dev", "--listen", "127.0.0.1:0"])
        .arguments([tree.root()])
        .start();
    assert_eq!(server.get("/").header("retry-after"), Some("7"));
    fs::write(
        tree.at("plugins.toml"),
        "[[policy]]\nplugin = \".\"\n[policy.config]\nretry = 7\n",
    )
    .expect("a file");
    server.logged("the old configuration is served on");
    assert_eq!(server.get("/").header("retry-after"), Some("7"));
    fs::copy(standard("clean-urls"), tree.at("source.bin")).expect("the standard policies are built");
    fs::write(tree.at("plugins.toml"), "[[policy]]\nplugin = \".\"\n").expect("a file");
    eventually("the new plugin is served", || server.get("/about").text() == "about");
    server.logged("1. tried: proceeds");
    fs::write(tree.at("site/about.html"), "another").expect("a file");
    eventually("the new page is served", || server.get("/about").text() == "another");
}

/// Whoever writes a policy need not begin with one that can be built.
#[test]
fn nothing_is_served_until_there_is_something() {
    let tree = plugin().file("build.sh", "exit 1\n");
    let binary = support::server_binary();
    let mut child = std::process::Command::new(binary)
        .args(["dev", "--listen", "127.0.0.1:0"])
        .arg(tree.root())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the server was built");
    let lines = |stream: &mut dyn std::io::Read| {
        use std::io::{BufRead, BufReader};
        let mut found = String::new();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            found += &line;
            found.push('\n');
            if line.contains("waiting for a change") || line.contains("listening on") {
                break;
            }
        }
        found
    };
    let told = lines(child.stderr.as_mut().expect("it was piped just above"));
    assert!(told.contains("nothing is served yet"), "{told}");
    fs::write(tree.at("build.sh"), "cp source.bin tried.wasm\n").expect("a file");
    let told = lines(child.stdout.as_mut().expect("it was piped just above"));
    let _ = child.kill();
    let _ = child.wait();
    assert!(told.contains("listening on http://127.0.0.1:"), "{told}");
}

#[test]
fn a_folder_without_plugins_is_refused() {
    let tree = Tree::new();
    let log = Launch::bare().arguments(["dev"]).arguments([tree.root()]).refusal();
    assert!(log.contains("has neither a plugins.toml nor a plugin.toml"), "{log}");
}
