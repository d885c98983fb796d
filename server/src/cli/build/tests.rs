//! Builds by commands, which need no compiler. Builds by cargo are tested with the real plugins, from outside.

use super::*;
use std::time::Duration;
use tempfile::TempDir;

/// A folder with plugins, each built by a shell script.
fn plugins(scripts: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (folder, script) in scripts {
        let folder = dir.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("source"), "content").unwrap();
        let manifest = format!(
            "name = 'a'\nversion = '1'\nartefact = 'a.wasm'\n\
             [build]\ncommand = ['sh', '-c', '{script}']\nsources = ['source']\n"
        );
        fs::write(folder.join(MANIFEST_FILE), manifest).unwrap();
    }
    dir
}

fn tally(built: usize, up_to_date: usize, failed: usize) -> Tally {
    Tally {
        built,
        up_to_date,
        failed,
    }
}

fn is_there(dir: &TempDir, path: &str) -> bool {
    dir.path().join(path).exists()
}

#[test]
fn plugins_are_found_in_the_folder_and_beneath() {
    let script = "cp source a.wasm";
    let dir = plugins(&[
        (".", script),
        ("b/c", script),
        ("target/d", script),
        ("b/node_modules/d", script),
        (".e", script),
        ("examples/f", script),
        ("sdk/template", script),
    ]);
    assert_eq!(build(dir.path(), Extent::OutOfDate).unwrap(), tally(2, 0, 0));
    assert_eq!(
        build(&dir.path().join("examples"), Extent::OutOfDate).unwrap(),
        tally(1, 0, 0)
    );
    assert!(is_there(&dir, "a.wasm") && is_there(&dir, "b/c/a.wasm"));
    assert!(!is_there(&dir, "target/d/a.wasm") && !is_there(&dir, ".e/a.wasm"));
}

#[test]
fn only_what_is_out_of_date_is_built_unless_all_is_asked_for() {
    let dir = plugins(&[("a", "cp source a.wasm && echo x >> runs")]);
    let runs = || fs::read_to_string(dir.path().join("a/runs")).unwrap().len() / 2;
    assert_eq!(build(dir.path(), Extent::OutOfDate).unwrap(), tally(1, 0, 0));
    assert_eq!(build(dir.path(), Extent::OutOfDate).unwrap(), tally(0, 1, 0));
    assert_eq!(runs(), 1);
    assert_eq!(build(dir.path(), Extent::All).unwrap(), tally(1, 0, 0));
    let source = File::options().append(true).open(dir.path().join("a/source")).unwrap();
    source.set_modified(SystemTime::now() + Duration::from_secs(1)).unwrap();
    assert_eq!(build(dir.path(), Extent::OutOfDate).unwrap(), tally(1, 0, 0));
    assert_eq!(runs(), 3);
}

/// An artefact has the time at which its build began: what is changed while it runs is newer than it.
#[test]
fn a_source_that_is_changed_during_the_build_is_built_again() {
    let dir = plugins(&[("a", "cp source a.wasm && sleep 0.05 && touch source")]);
    assert_eq!(build(dir.path(), Extent::OutOfDate).unwrap(), tally(1, 0, 0));
    assert_eq!(build(dir.path(), Extent::OutOfDate).unwrap(), tally(1, 0, 0));
}

#[test]
fn a_failure_does_not_keep_the_others_from_being_built() {
    let dir = plugins(&[
        ("a", "echo why >&2; exit 1"),
        ("b", "true"),
        ("c", "cp source a.wasm"),
        ("d", "cp source a.wasm"),
        ("e", "cp source a.wasm"),
    ]);
    fs::remove_file(dir.path().join("d/source")).unwrap();
    fs::write(dir.path().join("e").join(MANIFEST_FILE), "name = 1").unwrap();
    assert_eq!(build(dir.path(), Extent::OutOfDate).unwrap(), tally(1, 0, 4));
    assert!(is_there(&dir, "c/a.wasm") && !is_there(&dir, "d/a.wasm"));
    let options = BuildOptions {
        dir: dir.path().to_owned(),
        force: false,
    };
    assert_eq!(
        run(&options).unwrap_err().to_string(),
        "4 of 5 plugins could not be built"
    );
}

#[test]
fn why_a_command_failed_is_kept() {
    let dir = plugins(&[("a", "echo out; echo err >&2; exit 7")]);
    let manifest = Manifest::read(&dir.path().join("a")).unwrap();
    let Some(Recipe::Command(words)) = manifest.build.as_ref().map(|build| build.recipe.clone()) else {
        panic!("the manifest gives a command");
    };
    let error = run_command(&manifest, &words, &Console::new()).err().unwrap();
    let text = format!("{error:#}");
    assert!(text.contains("status: 7") && text.contains("out\nerr\n"), "{text}");
}

#[test]
fn a_plugin_without_a_recipe_has_to_be_there() {
    let dir = plugins(&[]);
    fs::write(
        dir.path().join(MANIFEST_FILE),
        "name = 'a'\nversion = '1'\nartefact = 'a.wasm'\n",
    )
    .unwrap();
    assert_eq!(build(dir.path(), Extent::All).unwrap(), tally(0, 0, 1));
    fs::write(dir.path().join("a.wasm"), "").unwrap();
    assert_eq!(build(dir.path(), Extent::All).unwrap(), tally(0, 1, 0));
}

#[test]
fn a_folder_without_plugins_is_an_error() {
    let dir = plugins(&[]);
    assert!(build(dir.path(), Extent::OutOfDate).is_err());
    assert!(build(&dir.path().join("none"), Extent::OutOfDate).is_err());
}

#[test]
fn an_artefact_is_put_into_place_whole_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (built, artefact) = (dir.path().join("built"), dir.path().join("into/a.wasm"));
    fs::write(&built, "content").unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
    install(&built, &artefact, time).unwrap();
    assert_eq!(fs::read_to_string(&artefact).unwrap(), "content");
    assert_eq!(fs::metadata(&artefact).unwrap().modified().unwrap(), time);
    fs::remove_file(&artefact).unwrap();
    fs::create_dir(&artefact).unwrap();
    assert!(install(&built, &artefact, time).is_err());
    assert_eq!(fs::read_dir(dir.path().join("into")).unwrap().count(), 1);
}
