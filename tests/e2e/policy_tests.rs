//! `wasmserve test`: what lies beside plugins passes, and what differs is shown.
use std::{fs, path::Path};
use support::{Tree, project, server_binary, tool};

/// Runs it over a folder, with a home that is empty: standard output, standard error, exit status.
fn test(folder: &Path, arguments: &[&str]) -> (String, String, Option<i32>) {
    let home = tempfile::tempdir().expect("the machine has room for temporary files");
    let binary = server_binary();
    let folder = folder.to_str().expect("the path is text");
    let arguments = [&["test", folder], arguments].concat();
    let ran = tool::run(home.path(), binary.to_str().expect("the path is text"), arguments);
    (String::from_utf8_lossy(&ran.stdout).into_owned(), ran.stderr, ran.code)
}

/// A folder with the plugin clean-urls, built, and these tests.
fn plugin(tests: &str) -> Tree {
    let manifest = "name = \"pages\"\nversion = \"0.1.0\"\nartefact = \"pages.wasm\"\n[facts]\nreads = [\"user\"]\n";
    let tree = Tree::new()
        .file("pages/plugin.toml", manifest)
        .file("pages/tests/first.toml", tests);
    let built = project().join("plugins/clean-urls/clean-urls.wasm");
    fs::copy(&built, tree.at("pages/pages.wasm")).expect("the standard policies are built");
    tree
}

#[test]
fn every_standard_policy_decides_what_its_tests_expect() {
    let folders = ["plugins", "plugins/cookbook"].map(|folder| fs::read_dir(project().join(folder)).expect("a folder"));
    let mut tested = 0;
    for plugin in folders
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").path())
    {
        if !plugin.join("plugin.toml").is_file() || !plugin.join("tests").is_dir() {
            continue;
        }
        let (output, errors, code) = test(&plugin, &[]);
        assert_eq!(code, Some(0), "{}:\n{output}{errors}", plugin.display());
        assert!(
            output.contains(" 0 failed") && output.contains("  ok      "),
            "{output}"
        );
        tested += 1;
    }
    assert!(tested >= 20, "{tested} policies have tests");
}

#[test]
fn what_differs_is_shown_and_fails() {
    let tree = plugin(
        "[[case]]\nname = \"a page\"\nrequest = \"GET /about\"\n[case.expect]\nrespond = 404\n\
         targets = [\"/about\", \"/about.htm\", \"/about/index.html\"]\nasked = [\"path\"]\n\
         [[case]]\nname = \"a folder\"\nrequest = \"GET /about/\"\nexpect = { targets = [\"/about/\"] }\n",
    );
    let (output, errors, code) = test(&tree.root(), &[]);
    assert_eq!(code, Some(1), "{errors}");
    let file = tree.at("pages/tests/first.toml");
    let expected = format!(
        "pages {file}\n  FAILED  a page ({file}:1)\n    - expected  + decided\n    decision\n    - respond 404\n    \
         + proceed\n    targets\n      /about\n    - /about.htm\n    + /about.html\n      /about/index.html\n    asked\n    \
         - path\n    + targets\n  ok      a folder\n1 passed, 1 failed\n",
        file = file.display()
    );
    assert_eq!(output, expected);
    // Nothing of it is coloured where nobody sees colours.
    assert!(!output.contains('\u{1b}'));

    let (output, _, code) = test(&tree.root(), &["--json"]);
    assert_eq!(code, Some(1));
    for part in [
        "\"passed\": 1",
        "\"failed\": 1",
        "\"ending\": \"failed\"",
        "\"key\": \"targets\"",
    ] {
        assert!(output.contains(part), "no {part}: {output}");
    }

    let (output, _, code) = test(&tree.root(), &["--filter", "PAGES: a folder"]);
    assert_eq!(
        (code, output.lines().last()),
        (Some(0), Some("1 passed, 0 failed")),
        "{output}"
    );
    let (_, errors, code) = test(&tree.root(), &["--filter", "nothing"]);
    assert!(
        code == Some(1) && errors.contains("no test has \"nothing\" in its name"),
        "{errors}"
    );
}

#[test]
fn a_fault_is_said_with_its_reason() {
    let manifest = "name = \"bad\"\nversion = \"0.1.0\"\nartefact = \"bad.wasm\"\n";
    let tree = Tree::new().file("plugin.toml", manifest).file(
        "tests/first.toml",
        "[config]\nbehaviour = \"trap\"\n[[case]]\nname = \"expected\"\nrequest = \"GET /\"\nexpect = { fault = true }\n\
         [[case]]\nname = \"not expected\"\nrequest = \"GET /\"\nexpect = { headers = { x-a = false } }\n",
    );
    let built = project().join("tests/guests/misbehaving/misbehaving.wasm");
    fs::copy(&built, tree.at("bad.wasm")).expect("the guests are built");
    let (output, errors, code) = test(&tree.root(), &[]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(output.contains("  ok      expected\n"), "{output}");
    assert!(
        output.contains("    - a decision\n    + fault\n    reason  "),
        "{output}"
    );
}

#[test]
fn what_cannot_be_run_is_said_with_its_place() {
    for (tests, expected) in [
        (
            "[[case]]\nname = \"a\"\nrequest = \"GET /\"\nexpct = {}\n",
            "tests/first.toml:4:1: unknown key `expct` in [[case]]\n      hint: did you mean `expect`?",
        ),
        ("[[case]\n", "tests/first.toml:1:8: this is not TOML"),
        ("", "has no [[case]]"),
    ] {
        let (output, errors, code) = test(&plugin(tests).root(), &[]);
        assert!(
            code == Some(1) && errors.contains(expected),
            "{tests}: {output}{errors}"
        );
    }
    // A case that cannot be decided fails alone.
    for (tests, expected) in [
        (
            "request = \"GET /a/%2e%2e/b\"\nexpect = { proceed = true }",
            "a server refuses this request before any policy is asked",
        ),
        (
            "request = \"GET /\"\nfacts = { group = \"a\" }\nexpect = { proceed = true }",
            "gives the fact \"group\"",
        ),
        (
            "request = \"GET /\"\nconfig = { colour = 1 }\nexpect = { proceed = true }",
            "cannot be configured",
        ),
        (
            "config = { redirect = 308 }\nexpect = { refused = \"x\" }",
            "    + the configuration is accepted",
        ),
    ] {
        let good = "[[case]]\nname = \"good\"\nrequest = \"GET /\"\nexpect = { proceed = true }\n";
        let (output, errors, code) = test(&plugin(&format!("[[case]]\nname = \"a\"\n{tests}\n{good}")).root(), &[]);
        assert_eq!(code, Some(1), "{errors}");
        assert!(
            output.contains(expected) && output.ends_with("1 passed, 1 failed\n"),
            "{tests}: {output}"
        );
    }
    let tree = plugin("[[case]]\nname = \"a\"\nrequest = \"GET /\"\nexpect = { kept = true }\n");
    fs::remove_file(tree.at("pages/pages.wasm")).expect("it was there");
    let (_, errors, code) = test(&tree.root(), &[]);
    assert!(
        code == Some(1) && errors.contains("pages.wasm: is not built"),
        "{errors}"
    );
    fs::remove_dir_all(tree.at("pages/tests")).expect("it was there");
    let (_, errors, code) = test(&tree.root(), &[]);
    assert!(code == Some(1) && errors.contains("there are no tests in"), "{errors}");
}
