//! What packages ship beside the binary: completions and pages for man(1).
use std::fs;
use support::{Launch, Tree};

fn printed(arguments: &[&str]) -> String {
    let ran = Launch::bare().arguments(arguments.iter().copied()).run_to_end();
    assert!(ran.status.success(), "{arguments:?}: {}", ran.log);
    ran.log
}

#[test]
fn every_shell_has_completions_for_every_command_and_option() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = printed(&["completions", shell]);
        for word in ["explain", "completions", "access-log", "admin-listen"] {
            assert!(text.contains(word), "{shell} knows no {word}");
        }
    }
    let unknown = Launch::bare().arguments(["completions", "csh"]).run_to_end();
    assert_eq!(unknown.status.code(), Some(2), "{}", unknown.log);
}

#[test]
fn every_command_has_a_page() {
    let page = printed(&["man"]);
    for part in [".TH wasmserve 1", "\\-\\-config", "\\-\\-access\\-log", "Exit status"] {
        assert!(page.contains(part), "no {part}: {page}");
    }
    let tree = Tree::new();
    let folder = tree.outside("man1");
    printed(&["man", "--output", &folder.display().to_string()]);
    for name in [
        "wasmserve.1",
        "wasmserve-check.1",
        "wasmserve-explain.1",
        "wasmserve-fetch.1",
        "wasmserve-publish.1",
        "wasmserve-man.1",
    ] {
        let page = fs::read_to_string(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            page.contains(".SH NAME") || page.contains(".SH \"NAME\""),
            "{name}: {page}"
        );
    }
}
