//! Mistakes in `plugins.toml`: all of them at once, each with file, line and column and what to do.
use std::fs;
use support::{Launch, Tree, project};
use tempfile::tempdir;

/// What the server says about a `plugins.toml` of this text, beside which the probe lies.
#[track_caller]
fn said(text: &str) -> String {
    let folder = tempdir().expect("the machine has room for temporary files");
    fs::write(folder.path().join("plugins.toml"), text).expect("the folder is writable");
    let probe = project().join("tests/guests/probe");
    std::os::unix::fs::symlink(probe, folder.path().join("probe")).expect("the folder is writable");
    let tree = Tree::new();
    Launch::new(&tree).plugins_at(folder.path()).refusal()
}

#[test]
fn mistakes_are_named_by_line_and_column() {
    for (text, place, problem) in [
        (
            "[[policy]]\nplugin = \"probe\"\ngrant = [\"logging\"]\n",
            ":3:1",
            "grant",
        ),
        ("[[policy]]\nplugin = \"none\"\n", ":2:10", "none"),
        ("[[policy]]\nname = \"x\"\n", ":1:", "plugin"),
        ("[[policies]]\nplugin = \"probe\"\n", ":1:", "policies"),
        ("[[policy]]\nplugin = 3\n", ":2:10", "string"),
        (
            "[[policy]]\nplugin = \"probe\"\nlimits = { running = \"soon\" }\n",
            ":3:",
            "running",
        ),
        (
            "[[policy]]\nplugin = \"probe\"\nlimits = { walls = \"1s\" }\n",
            ":3:12",
            "walls",
        ),
        (
            "[[policy]]\nplugin = \"probe\"\ngrants = [\"everything\"]\n",
            ":3:11",
            "everything",
        ),
        ("[[policy]]\nplugin = \"probe\n", ":2:", "TOML"),
        (
            "[[policy]]\nplugin = \"probe\"\n[[policy]]\nplugin = \"probe\"\n",
            ":4:10",
            "probe",
        ),
        ("[[policy]]\nplugin = \"../probe\"\n", ":2:10", "probe"),
    ] {
        let log = said(text);
        let line = log.lines().find(|line| line.contains(&format!("plugins.toml{place}")));
        let line = line.unwrap_or_else(|| panic!("no plugins.toml{place} for {text:?}: {log}"));
        assert!(line.contains(problem), "says nothing of {problem}: {line}");
    }
}

#[test]
fn all_mistakes_are_told_at_once() {
    let log = said("colour = 1\n[[policy]]\nplugin = \"none\"\n[[policy]]\nplugin = \"probe\"\ngrants = [\"all\"]\n");
    for place in [":1:1", ":3:10", ":6:11"] {
        assert!(
            log.contains(&format!("plugins.toml{place}")),
            "nothing about {place}: {log}"
        );
    }
}

#[test]
fn a_near_miss_is_suggested() {
    let log = said("[[policy]]\nplugin = \"probe\"\nlimit = { running = \"1s\" }\n");
    assert!(log.contains("`limits`"), "{log}");
}
