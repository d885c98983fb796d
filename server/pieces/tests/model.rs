//! Random readers, failures, departures and restarts, over a cache that has room for a part of it: every byte is compared.
mod support;

use std::sync::Arc;
use support::{End, Fake, Numbers, PIECE, bytes_of, cache, content, on_disk, read};
use wasmserve_pieces::{Cache, Part};

const CAPACITY: u64 = 128;
const OBJECTS: u64 = 24;
const ROUNDS: u64 = 12;

/// Small ones, some that end at a border, some larger than all the room.
fn size(object: u64) -> u64 {
    match object % 6 {
        0 => object,
        1 => PIECE,
        2 => 3 * PIECE + object,
        3 => 17 * PIECE,
        4 => 60 * PIECE - 1,
        _ => 200 * PIECE + 7,
    }
}

/// One client: reads some ranges, may leave in the middle of one or hold on to what it got.
async fn client(cache: Cache, fake: Arc<Fake>, seed: u64) {
    let mut numbers = Numbers(seed);
    let mut held = Vec::new();
    for _ in 0..6 {
        // Some are wanted more often than others.
        let object = numbers.below(OBJECTS).min(numbers.below(OBJECTS));
        let (key, size) = (format!("o{object}"), size(object));
        let start = numbers.below(size + 1);
        let length = if numbers.below(2) == 0 {
            numbers.below(3 * PIECE)
        } else {
            numbers.below(size + 1)
        };
        let range = start..(start + length).min(size);
        let of = fake.object(&key, size);
        match numbers.below(4) {
            0 => {
                let mut reader = cache.read(&of, range.clone());
                let mut at = range.start;
                for _ in 0..numbers.below(6) {
                    match reader.next().await {
                        Ok(Some(Part::Local(span))) => {
                            held.push((key.clone(), at, span.clone()));
                            at += span.length();
                        }
                        Ok(Some(Part::Bytes(bytes))) => at += bytes.len() as u64,
                        Ok(None) | Err(_) => break,
                    }
                }
            }
            // A store that fails is told of; bytes that came are right in any case.
            _ => drop(read(&cache, &of, &key, range).await),
        }
    }
    for (key, at, span) in held {
        assert!(
            bytes_of(&span) == content(&key, at..at + span.length()),
            "{key} at {at}, read late"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_byte_is_right_whatever_happens_in_whatever_order() {
    let (mut hits, mut evicted, mut failed, mut joined, mut moved) = (0, 0, 0, 0, 0);
    for seed in 1..=8 {
        let folder = tempfile::tempdir().unwrap();
        let fake = Fake::new();
        let mut numbers = Numbers(seed * 0x2545_f491);
        for _ in 0..ROUNDS {
            let cache = cache(folder.path(), CAPACITY);
            // Waiting for the one before counts as one.
            let troubles = cache.counts().troubles;
            let ends = (0..numbers.below(12)).map(|_| match numbers.below(6) {
                0 => End::Refused,
                1 => End::Broken(numbers.below(5 * PIECE)),
                2 => End::Short(numbers.below(5 * PIECE)),
                3 => End::Long,
                _ => End::Well,
            });
            fake.will_end(ends.collect::<Vec<_>>());
            let clients: Vec<_> = (0..8)
                .map(|_| tokio::spawn(client(cache.clone(), fake.clone(), 1 + numbers.below(u64::MAX >> 12))))
                .collect();
            for client in clients {
                if numbers.below(5) == 0 {
                    tokio::task::yield_now().await;
                    client.abort();
                }
                if let Err(ended) = client.await {
                    assert!(ended.is_cancelled(), "{ended}");
                }
                let counts = cache.counts();
                assert!(counts.bytes <= CAPACITY * PIECE, "{counts:?}");
                assert!(on_disk(folder.path()) <= CAPACITY * PIECE);
            }
            let counts = cache.counts();
            assert_eq!(counts.troubles, troubles);
            (hits, evicted) = (hits + counts.hits, evicted + counts.evicted);
            (failed, joined) = (failed + counts.failed_fetches, joined + counts.joined);
            moved += counts.moved_bytes;
            // A new one at once, as after a restart, while what is left of this one may still be at work.
            cache.retire();
            drop(cache);
        }
    }
    let all = [hits, evicted, failed, joined, moved];
    assert!(
        all.iter().all(|count| *count > 0),
        "the test passed through all of it: {all:?}"
    );
}
