//! A process that is killed while it fills: whatever it leaves, the next one serves right bytes.
mod support;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use support::{Fake, Numbers, PIECE, cache, on_disk, read};

/// The folder of the child.
const FOLDER: &str = "WASMSERVE_PIECES_CRASH_FOLDER";
const SEED: &str = "WASMSERVE_PIECES_CRASH_SEED";

const CAPACITY: u64 = 256;

#[test]
fn who_comes_after_a_kill_serves_right_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut numbers = Numbers(0xdead_beef);
    let mut found = 0;
    for seed in 1..=25 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(SEED, seed.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // It is at work when it says what it found.
        let pieces = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| line.split_once("found ")?.1.parse::<u64>().ok());
        found += pieces.expect("the child serves right bytes of what the one before left");
        std::thread::sleep(Duration::from_micros(numbers.below(60_000)));
        assert!(child.try_wait().unwrap().is_none(), "it fills until it is killed");
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(on_disk(folder.path()) <= CAPACITY * PIECE);
    }
    assert!(found > 0, "something survived a kill");
}

#[test]
#[ignore = "the child of another test; never ends"]
fn child() {
    let folder = std::env::var_os(FOLDER).expect("run by the other test");
    let seed: u64 = std::env::var(SEED).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(fill(Path::new(&folder), seed));
}

async fn fill(folder: &Path, seed: u64) {
    let cache = cache(folder, CAPACITY);
    let found = cache.counts().pieces;
    let fake = Fake::new();
    let size = |object: u64| 1 + object * 977 % (40 * PIECE);
    for object in 0..60 {
        let key = format!("o{object}");
        read(&cache, &fake.object(&key, size(object)), &key, 0..size(object))
            .await
            .unwrap();
    }
    println!("found {found}");
    let clients: Vec<_> = (0..8)
        .map(|client| {
            let (cache, fake) = (cache.clone(), fake.clone());
            tokio::spawn(async move {
                let mut numbers = Numbers(seed * 1000 + client);
                loop {
                    let object = numbers.below(60);
                    let key = format!("o{object}");
                    let start = numbers.below(size(object));
                    read(&cache, &fake.object(&key, size(object)), &key, start..size(object))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        // None of them ends by itself: this one saw a wrong byte.
        let Err(ended) = client.await;
        eprintln!("{ended}");
        std::process::exit(1);
    }
}
