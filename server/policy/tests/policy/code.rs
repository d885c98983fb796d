//! Compiled code on disk: found again, never trusted when it should not be, and never more than its bound.
use crate::{
    ahead::uncapturable,
    guest::{Guest, respond},
    harness::{Chains, decide, get, response},
    snapshot::{counting, running},
};
use rustix::{
    fs::{CWD, Mode, mkfifoat},
    process::geteuid,
};
use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use wasmserve_policy::{Chain, CodeCache, CodeFrom, Configured, Host, HostOptions, Untrusted};

/// As after a start: an engine of its own, with the cache in a folder.
fn started_with(folder: &Path, most: u64) -> Host {
    Host::new(HostOptions {
        instances: 8,
        code: Some(Arc::new(CodeCache::open(folder, &[], most).unwrap())),
        ..HostOptions::default()
    })
    .unwrap()
}

fn started(folder: &Path) -> Host {
    started_with(folder, CodeCache::MOST)
}

async fn load(host: &Host, chains: &Chains) -> Chain {
    host.load(chains.spec.clone()).await.unwrap()
}

fn code(chain: &Chain) -> CodeFrom {
    chain.policies()[0].code
}

/// The files of a cache, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("code-1")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

fn configured_with(guest: &Guest, key: &str, value: &str) -> Chains {
    let mut chains = running(guest);
    chains.spec.policies[0].config = toml::Table::from_iter([(key.to_owned(), value.into())]);
    chains
}

/// Responds with what `configure` found under `name`.
fn telling() -> Guest {
    let mut guest = Guest::new();
    let (key, reply) = (guest.text("name"), guest.reply(&respond(200)));
    guest.configure = format!("(call $config.get {key} (i32.const 64)) (i32.const 16)");
    guest.decide = format!("(i64.store (i32.add {reply} (i32.const 28)) (i64.load (i32.const 72))) {reply}");
    guest
}

#[tokio::test]
async fn the_next_start_finds_what_this_one_compiled() {
    for (guest, once) in [(counting(), true), (uncapturable(counting()), false)] {
        let (folder, chains) = (TempDir::new().unwrap(), running(&guest));
        let mut before: Option<Configured> = None;
        for from in [CodeFrom::Compiler, CodeFrom::Cache, CodeFrom::Cache] {
            let chain = load(&started(folder.path()), &chains).await;
            assert_eq!(code(&chain), from);
            let configured = chain.policies().remove(0).configured;
            assert_eq!(configured == Configured::Once, once, "{configured:?}");
            // Also why it is not captured, word for word.
            assert_eq!(before.get_or_insert(configured.clone()), &configured);
            for _ in 0..3 {
                assert_eq!(response(&decide(&chain, get("/")).await).status, 222);
            }
        }
    }
}

#[tokio::test]
async fn another_configuration_is_another_state() {
    let folder = TempDir::new().unwrap();
    for from in [CodeFrom::Compiler, CodeFrom::Cache] {
        let host = started(folder.path());
        for name in ["ann", "bartholomew", ""] {
            let chain = load(&host, &configured_with(&telling(), "name", name)).await;
            assert_eq!(code(&chain), from, "{name}");
            assert_eq!(&response(&decide(&chain, get("/")).await).body[..], name.as_bytes());
        }
    }
    // Key and value are framed, and so are the limits.
    let host = started(folder.path());
    let mut chains = configured_with(&telling(), "nameann", "");
    assert_eq!(code(&load(&host, &chains).await), CodeFrom::Compiler);
    chains.spec.policies[0].limits.answers += 1;
    assert_eq!(code(&load(&host, &chains).await), CodeFrom::Compiler);
}

/// Else it would be the same for ever.
#[tokio::test]
async fn a_state_that_saw_the_seed_is_not_found_again() {
    let mut guest = Guest::new();
    let reply = guest.reply(&respond(200));
    guest.configure = "(call $seed.seed (i32.const 64)) (i32.const 16)".into();
    guest.decide = format!(
        "(i32.store (i32.add {reply} (i32.const 28)) (i32.const 64))
         (i32.store (i32.add {reply} (i32.const 32)) (i32.const 16))
         {reply}"
    );
    let (folder, chains) = (TempDir::new().unwrap(), running(&guest));
    let mut seeds = Vec::new();
    for _ in 0..3 {
        let chain = load(&started(folder.path()), &chains).await;
        assert_eq!(chain.policies()[0].configured, Configured::Once);
        seeds.push(response(&decide(&chain, get("/")).await).body.clone());
    }
    assert!(seeds[0] != seeds[1] && seeds[1] != seeds[2] && seeds[0] != seeds[2]);
    assert_eq!(files(folder.path()), Vec::<PathBuf>::new());
}

/// A configuration that is refused is refused at each start, in the policy's own words.
#[tokio::test]
async fn a_refusal_is_not_kept() {
    let mut guest = telling();
    guest.configure = "(unreachable)".into();
    let folder = TempDir::new().unwrap();
    for _ in 0..2 {
        let refused = started(folder.path()).load(running(&guest).spec.clone()).await;
        let reason = refused.err().expect("it was loaded").to_string();
        assert_eq!(files(folder.path()).len(), 1, "the component as it is, alone");
        assert!(
            reason.contains("cannot be configured: wasm trap: wasm `unreachable`"),
            "{reason}"
        );
    }
}

type Damage = (&'static str, fn(&Path));

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).unwrap();
    change(&mut bytes);
    fs::write(file, bytes).unwrap();
}

fn replace(file: &Path, by: impl FnOnce(&Path)) {
    let moved = file.with_extension("moved");
    fs::rename(file, &moved).unwrap();
    by(&moved);
}

const DAMAGES: [Damage; 16] = [
    ("emptied", |file| change(file, Vec::clear)),
    ("cut within the header", |file| change(file, |bytes| bytes.truncate(50))),
    ("cut after the header", |file| change(file, |bytes| bytes.truncate(81))),
    ("cut at its end", |file| {
        change(file, |bytes| bytes.truncate(bytes.len() - 1))
    }),
    ("longer", |file| change(file, |bytes| bytes.push(0))),
    ("another magic", |file| change(file, |bytes| bytes[15] ^= 1)),
    ("another key", |file| change(file, |bytes| bytes[40] ^= 1)),
    ("another digest", |file| change(file, |bytes| bytes[60] ^= 1)),
    ("another kind", |file| change(file, |bytes| bytes[80] = b'r')),
    ("a bit within", |file| {
        change(file, |bytes| {
            let at = bytes.len() / 2;
            bytes[at] ^= 4;
        })
    }),
    ("the last bit", |file| {
        change(file, |bytes| *bytes.last_mut().unwrap() ^= 128)
    }),
    ("a program", |file| {
        fs::copy("/bin/sh", file).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }),
    ("open to the group", |file| {
        fs::set_permissions(file, Permissions::from_mode(0o640)).unwrap()
    }),
    ("a second name", |file| {
        fs::hard_link(file, file.with_extension("second")).unwrap()
    }),
    ("a link", |file| replace(file, |moved| symlink(moved, file).unwrap())),
    ("a FIFO", |file| {
        replace(file, |_| mkfifoat(CWD, file, Mode::RUSR | Mode::WUSR).unwrap())
    }),
];

#[tokio::test]
async fn a_file_that_is_not_as_it_was_written_is_replaced() {
    let (folder, chains) = (TempDir::new().unwrap(), running(&counting()));
    assert_eq!(code(&load(&started(folder.path()), &chains).await), CodeFrom::Compiler);
    let file = files(folder.path()).remove(0);
    for (what, damage) in DAMAGES {
        damage(&file);
        for from in [CodeFrom::Compiler, CodeFrom::Cache] {
            let chain = load(&started(folder.path()), &chains).await;
            assert_eq!(code(&chain), from, "{what}");
            assert_eq!(response(&decide(&chain, get("/")).await).status, 222, "{what}");
        }
    }
}

/// The file of one policy under the name of another's is not that policy's code.
#[tokio::test]
async fn files_that_changed_their_names_are_not_used() {
    let folder = TempDir::new().unwrap();
    let chains = ["ann", "bartholomew"].map(|name| configured_with(&telling(), "name", name));
    for chains in &chains {
        load(&started(folder.path()), chains).await;
    }
    let [one, other] = files(folder.path()).try_into().unwrap();
    let aside = one.with_extension("aside");
    fs::rename(&one, &aside).unwrap();
    fs::rename(&other, &one).unwrap();
    fs::rename(&aside, &other).unwrap();
    for (chains, name) in chains.iter().zip(["ann", "bartholomew"]) {
        let chain = load(&started(folder.path()), chains).await;
        assert_eq!(code(&chain), CodeFrom::Compiler);
        assert_eq!(&response(&decide(&chain, get("/")).await).body[..], name.as_bytes());
    }
}

#[tokio::test]
async fn the_files_are_this_users_alone() {
    let folder = TempDir::new().unwrap();
    load(&started(folder.path()), &running(&counting())).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&folder.path().join("code-1")), 0o700);
    assert_eq!(
        files(folder.path()).iter().map(|file| mode(file)).collect::<Vec<_>>(),
        [0o600]
    );
}

#[tokio::test]
async fn what_was_not_used_for_longest_goes_first() {
    let folder = TempDir::new().unwrap();
    let chains: Vec<Chains> = (0..6)
        .map(|number| configured_with(&telling(), "name", &number.to_string()))
        .collect();
    let first = &chains[0];
    load(&started(folder.path()), first).await;
    let each = fs::metadata(&files(folder.path())[0]).unwrap().len();
    let bytes = |folder: &Path| -> u64 { files(folder).iter().map(|file| fs::metadata(file).unwrap().len()).sum() };
    // Something that another program left there is not ours to remove.
    fs::write(folder.path().join("code-1/README"), "hello").unwrap();
    let most = each * 3 + each / 2;
    for chains in &chains {
        let host = started_with(folder.path(), most);
        load(&host, chains).await;
        // The first is used again each time.
        let first = load(&started_with(folder.path(), most), first).await;
        assert_eq!(code(&first), CodeFrom::Cache);
        assert!(bytes(folder.path()) <= most + 5);
    }
    assert!(folder.path().join("code-1/README").exists());
    let found = |at: usize| {
        let (folder, chains) = (folder.path(), &chains[at]);
        async move { code(&load(&started(folder), chains).await) }
    };
    assert_eq!(
        [found(0).await, found(5).await, found(1).await],
        [CodeFrom::Cache, CodeFrom::Cache, CodeFrom::Compiler]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_at_once_share_a_cache() {
    let folder = TempDir::new().unwrap();
    let chains: Vec<Chains> = (0..5)
        .map(|number| configured_with(&telling(), "name", &number.to_string()))
        .collect();
    let mut starts = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let host = started(folder.path());
        let specs: Vec<_> = chains.iter().map(|chains| chains.spec.clone()).collect();
        starts.spawn(async move {
            for (number, spec) in specs.into_iter().enumerate() {
                let chain = host.load(spec).await.unwrap();
                let body = response(&decide(&chain, get("/")).await).body.clone();
                assert_eq!(&body[..], number.to_string().as_bytes());
            }
        });
    }
    while let Some(start) = starts.join_next().await {
        start.unwrap();
    }
    assert_eq!(files(folder.path()).len(), 5);
    let host = started(folder.path());
    for chains in &chains {
        assert_eq!(code(&load(&host, chains).await), CodeFrom::Cache);
    }
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn opened(folder: &Path) -> Result<CodeCache, Untrusted> {
    CodeCache::open(folder, &[], CodeCache::MOST)
}

#[test]
fn a_folder_that_is_not_there_is_made() {
    let folder = TempDir::new().unwrap();
    let cache = opened(&folder.path().join("a/b/../c")).unwrap();
    let real = fs::canonicalize(folder.path()).unwrap();
    assert_eq!(cache.folder(), real.join("a/c/code-1"));
}

#[test]
fn who_could_change_the_folder_is_asked_all_the_way() {
    let folder = TempDir::new().unwrap();
    let (above, here) = (folder.path().join("above"), folder.path().join("above/here"));
    let own = here.join("code-1");
    fs::create_dir_all(&own).unwrap();
    mode(&own, 0o700);
    for (changed, permissions, trusted) in [
        (&above, 0o755, true),
        (&above, 0o775, false),
        (&above, 0o757, false),
        // Nobody but its owner replaces an entry of it.
        (&above, 0o1777, true),
        (&here, 0o755, true),
        (&here, 0o770, false),
        (&own, 0o755, false),
        (&own, 0o710, false),
        (&own, 0o500, true),
    ] {
        let before = fs::metadata(changed).unwrap().permissions();
        mode(changed, permissions);
        let outcome = opened(&here);
        assert_eq!(outcome.is_ok(), trusted, "{} {permissions:o}", changed.display());
        if let Err(untrusted) = outcome {
            assert!(
                untrusted.to_string().contains(&changed.display().to_string()),
                "{untrusted}"
            );
        }
        fs::set_permissions(changed, before).unwrap();
    }
}

#[test]
fn links_are_followed_when_nobody_else_can_point_them_elsewhere() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["real", "open"] {
        fs::create_dir(at(name)).unwrap();
    }
    mode(&at("open"), 0o777);
    symlink("real", at("relative")).unwrap();
    symlink(at("real"), at("absolute")).unwrap();
    symlink("loop", at("loop")).unwrap();
    // Whoever can write to the folder `open` can replace this one.
    symlink("../real", at("open/link")).unwrap();
    fs::write(at("file"), "").unwrap();
    let real = fs::canonicalize(at("real")).unwrap().join("code-1");
    assert_eq!(opened(&at("relative")).unwrap().folder(), real);
    assert_eq!(opened(&at("absolute")).unwrap().folder(), real);
    assert!(matches!(opened(&at("loop")), Err(Untrusted::Links { .. })));
    assert!(matches!(opened(&at("open/link")), Err(Untrusted::Writable { .. })));
    assert!(matches!(opened(&at("file")), Err(Untrusted::NoFolder { .. })));
    // The last step is a link, too.
    fs::create_dir(at("other")).unwrap();
    symlink("../real/code-1", at("other/code-1")).unwrap();
    assert_eq!(opened(&at("other")).unwrap().folder(), real);
}

#[test]
fn what_is_served_is_no_place_for_code() {
    let folder = TempDir::new().unwrap();
    let (root, link) = (folder.path().join("www"), folder.path().join("link"));
    fs::create_dir_all(root.join("deep")).unwrap();
    fs::create_dir(folder.path().join("beside")).unwrap();
    symlink(&root, &link).unwrap();
    for served in [&root, &link] {
        for path in ["www", "www/deep/er", "link/deep"] {
            let opened = CodeCache::open(&folder.path().join(path), std::slice::from_ref(served), CodeCache::MOST);
            assert!(matches!(opened, Err(Untrusted::Served { .. })), "{path}");
            assert!(!root.join("deep/er").exists() && !root.join("code-1").exists());
        }
        CodeCache::open(
            &folder.path().join("beside"),
            std::slice::from_ref(served),
            CodeCache::MOST,
        )
        .unwrap();
    }
    // By way of a root, and out again.
    let out = root.join("../beside");
    CodeCache::open(&out, std::slice::from_ref(&root), CodeCache::MOST).unwrap();
    // A root that is not there serves nothing.
    CodeCache::open(
        &folder.path().join("beside"),
        &[folder.path().join("none")],
        CodeCache::MOST,
    )
    .unwrap();
}

/// Only root can make such files, so only root's run of the tests sees this.
#[tokio::test]
async fn what_belongs_to_another_user_is_not_trusted() {
    if !geteuid().is_root() {
        return;
    }
    let (folder, chains) = (TempDir::new().unwrap(), running(&counting()));
    load(&started(folder.path()), &chains).await;
    chown(&files(folder.path())[0], Some(12345), None).unwrap();
    assert_eq!(code(&load(&started(folder.path()), &chains).await), CodeFrom::Compiler);
    assert_eq!(code(&load(&started(folder.path()), &chains).await), CodeFrom::Cache);
    for path in [folder.path().join("code-1"), folder.path().to_owned()] {
        chown(&path, Some(12345), None).unwrap();
        let untrusted = opened(folder.path()).expect_err("it was trusted").to_string();
        assert!(untrusted.contains("belongs to user 12345"), "{untrusted}");
        chown(&path, Some(0), None).unwrap();
    }
    let link = folder.path().join("link");
    symlink("code-1", &link).unwrap();
    std::os::unix::fs::lchown(&link, Some(12345), None).unwrap();
    assert!(matches!(opened(&link), Err(Untrusted::Owner { .. })));
}
