//! What is fetched, when, and how often; what is given out; what stays.
mod support;

use std::{sync::atomic::Ordering::SeqCst, time::Duration};
use support::{End, Fake, PIECE, bytes_of, cache, content, on_disk, read};
use wasmserve_pieces::{Cache, Options, Part};

const MIB: u64 = 256 * PIECE;

#[tokio::test]
async fn a_seek_in_a_big_object_fetches_the_pieces_it_needs_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, fake) = (cache(folder.path(), 256), Fake::new());
    let video = fake.object("video", 10 << 30);
    let at = 5 << 30;
    read(&cache, &video, "video", at + 10..at + 20).await.unwrap();
    assert_eq!(fake.fetched_one(), (at, at + PIECE - 1));
    // Across a border, and the end.
    read(&cache, &video, "video", at + PIECE - 1..at + PIECE + 1)
        .await
        .unwrap();
    assert_eq!(fake.fetched_one(), (at + PIECE, at + 2 * PIECE - 1));
    read(&cache, &video, "video", (10 << 30) - 1..10 << 30).await.unwrap();
    assert_eq!(fake.fetched_one(), ((10 << 30) - PIECE, (10 << 30) - 1));
    // All again: nothing is asked for.
    let (local, direct) = read(&cache, &video, "video", at + 10..at + 20).await.unwrap();
    assert_eq!((local, direct, fake.fetched().len()), (10, 0, 0));
    let counts = cache.counts();
    assert_eq!((counts.misses, counts.hits, counts.pieces), (3, 2, 3));
}

#[tokio::test]
async fn a_long_read_is_fetched_in_few_requests_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, fake) = (cache(folder.path(), 1024), Fake::new());
    let object = fake.object("long", MIB - 100);
    read(&cache, &object, "long", 0..MIB - 100).await.unwrap();
    let mut fetched = fake.fetched();
    assert!(fetched.len() < 70, "{} requests for 256 pieces", fetched.len());
    fetched.sort_by_key(|range| range.start);
    let mut at = 0;
    for range in fetched {
        assert_eq!(range.start, at, "side by side, no byte twice");
        at = range.end;
    }
    assert_eq!(at, MIB - 100);
    assert_eq!(read(&cache, &object, "long", 0..MIB).await.unwrap(), (MIB - 100, 0));
    assert!(fake.fetched().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_ask_at_once_share_one_fetch_and_may_leave() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, fake) = (cache(folder.path(), 256), Fake::gated());
    let object = fake.object("hot", PIECE);
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let (cache, object) = (cache.clone(), object.clone());
            tokio::spawn(async move { read(&cache, &object, "hot", 0..PIECE).await.unwrap() })
        })
        .collect();
    // All wait for the store: one began, 49 joined it.
    while cache.counts().joined < 49 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Whoever began may be among those who leave.
    for leaving in &asking[..25] {
        leaving.abort();
    }
    fake.gate.close();
    let mut served = 0;
    for asked in asking {
        served += usize::from(asked.await.is_ok_and(|parts| parts == (PIECE, 0)));
    }
    assert!(served >= 25, "{served}");
    assert_eq!(fake.fetched().len(), 1);
}

#[tokio::test]
async fn a_fetch_that_fails_is_told_and_not_remembered() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, fake) = (cache(folder.path(), 256), Fake::new());
    let object = fake.object("frail", 10 * PIECE);
    for (end, kind) in [
        (End::Refused, std::io::ErrorKind::Other),
        (End::Broken(100), std::io::ErrorKind::Other),
        (End::Short(PIECE - 1), std::io::ErrorKind::UnexpectedEof),
        (End::Short(0), std::io::ErrorKind::UnexpectedEof),
        (End::Long, std::io::ErrorKind::InvalidData),
    ] {
        fake.will_end([end]);
        let failed = read(&cache, &object, "frail", 0..PIECE).await.unwrap_err();
        assert_eq!(failed.kind(), kind, "{end:?}");
        assert_eq!(cache.counts().pieces, 0, "{end:?}");
    }
    read(&cache, &object, "frail", 0..10 * PIECE).await.unwrap();
    let counts = cache.counts();
    assert_eq!((counts.pieces, counts.failed_fetches), (10, 5));
    // The places of the failures were used again.
    assert!(
        on_disk(folder.path()) <= 11 * PIECE + 4 * 4096,
        "{}",
        on_disk(folder.path())
    );
}

#[tokio::test]
async fn nothing_is_fetched_for_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, fake) = (cache(folder.path(), 1024), Fake::new());
    let object = fake.object("left", 1024 * PIECE);
    let mut reader = cache.read(&object, 0..1024 * PIECE);
    for _ in 0..20 {
        reader.next().await.unwrap();
    }
    drop(reader);
    let mut before = u64::MAX;
    // What was on its way comes to its end.
    while before != fake.sent.load(SeqCst) {
        before = fake.sent.load(SeqCst);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(before <= (20 + 2 * 8) * PIECE, "{before}");
}

#[tokio::test]
async fn what_is_used_survives_who_reads_everything_once() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, fake) = (cache(folder.path(), 512), Fake::new());
    let hot: Vec<_> = (0..60)
        .map(|at| (format!("hot{at}"), fake.object(&format!("hot{at}"), PIECE)))
        .collect();
    for round in 0..3 {
        for (key, object) in &hot {
            read(&cache, object, key, 0..PIECE).await.unwrap();
            // What is wanted lies among what is not.
            let cold = format!("cold{}", hot.len() * round);
            read(
                &cache,
                &fake.object(&format!("{cold}{key}"), 2 * PIECE),
                &format!("{cold}{key}"),
                0..2 * PIECE,
            )
            .await
            .unwrap();
        }
    }
    // Ten times what there is room for; from time to time somebody asks for what is wanted.
    for round in 0..10 {
        let scan = fake.object(&format!("scan{round}"), 512 * PIECE);
        read(&cache, &scan, &format!("scan{round}"), 0..512 * PIECE)
            .await
            .unwrap();
        fake.fetched();
        for (key, object) in &hot {
            read(&cache, object, key, 0..PIECE).await.unwrap();
        }
        assert_eq!(fake.fetched().len(), 0, "round {round}: {:?}", cache.counts());
    }
    let counts = cache.counts();
    assert!(counts.evicted > 4000 && counts.moved_bytes > 0, "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_holds_no_more_than_it_may_and_readers_keep_what_they_have() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, fake) = (cache(folder.path(), 128), Fake::new());
    let capacity = 128 * PIECE;
    let first = fake.object("first", 4 * PIECE);
    let mut held = Vec::new();
    let mut reader = cache.read(&first, 0..4 * PIECE);
    while let Some(Part::Local(span)) = reader.next().await.unwrap() {
        held.push(span);
    }
    assert_eq!(held.len(), 4);
    for round in 0..20 {
        let key = format!("flood{round}");
        read(&cache, &fake.object(&key, 64 * PIECE), &key, 0..64 * PIECE)
            .await
            .unwrap();
        assert!(cache.counts().bytes <= capacity, "{:?}", cache.counts());
        assert!(on_disk(folder.path()) <= capacity, "{}", on_disk(folder.path()));
    }
    fake.fetched();
    let mut at = 0;
    for span in &held {
        assert_eq!(bytes_of(span), content("first", at..at + span.length()));
        at += span.length();
    }
    drop(held);
    read(&cache, &first, "first", 0..4 * PIECE).await.unwrap();
    assert!(!fake.fetched().is_empty(), "it had been evicted");
}

#[tokio::test]
async fn who_holds_much_of_what_was_evicted_takes_no_room_beyond_the_bound() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, fake) = (cache(folder.path(), 128), Fake::new());
    let mut held = Vec::new();
    for round in 0..30 {
        let object = fake.object(&format!("slow{round}"), 16 * PIECE);
        let mut reader = cache.read(&object, 0..16 * PIECE);
        while let Some(part) = reader.next().await.unwrap() {
            held.push(part);
        }
        assert!(cache.counts().bytes <= 128 * PIECE, "{:?}", cache.counts());
    }
    assert!(cache.counts().bypassed_bytes > 0, "the rest was not kept");
    drop(held);
    let object = fake.object("after", PIECE);
    assert_eq!(read(&cache, &object, "after", 0..PIECE).await.unwrap(), (PIECE, 0));
}

#[tokio::test]
async fn a_restart_keeps_what_was_there_and_goes_on_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new();
    for round in 0..20 {
        let cache = cache(folder.path(), 256);
        for earlier in 0..round {
            let key = format!("k{earlier}");
            let read = read(&cache, &fake.object(&key, 3 * PIECE + 5), &key, 0..4 * PIECE)
                .await
                .unwrap();
            assert_eq!(read, (3 * PIECE + 5, 0));
        }
        assert_eq!(fake.fetched().len(), 0, "round {round}");
        let key = format!("k{round}");
        read(&cache, &fake.object(&key, 3 * PIECE + 5), &key, 0..4 * PIECE)
            .await
            .unwrap();
        fake.fetched();
    }
    // One segment of each class at most was continued: no more files than bytes need.
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert!(files < 45, "{files} files");
}

#[tokio::test]
async fn another_size_of_pieces_or_less_room_begins_anew_and_stays_within_it() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Fake::new();
    let object = fake.object("k", 100 * PIECE);
    let range = 0..100 * PIECE;
    read(&cache(folder.path(), 256), &object, "k", range.clone())
        .await
        .unwrap();
    let smaller = cache(folder.path(), 64);
    assert!(on_disk(folder.path()) <= 64 * PIECE, "{}", on_disk(folder.path()));
    read(&smaller, &object, "k", range.clone()).await.unwrap();
    drop(smaller);
    let cache = Cache::new(
        Options::new(1 << 20, 2 * PIECE).unwrap(),
        support::opener(folder.path()),
    );
    cache.open().unwrap();
    assert_eq!(cache.counts().pieces, 0);
    read(&cache, &object, "k", range).await.unwrap();
}

#[tokio::test]
async fn versions_and_stores_are_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (cache, fake) = (cache(folder.path(), 256), Fake::new());
    let other = Fake::new();
    let same_name = {
        let store = wasmserve_pieces::Store::new("another store", 8);
        struct Other(std::sync::Arc<Fake>);
        impl wasmserve_pieces::Origin for Other {
            fn fetch(&self, range: std::ops::Range<u64>) -> wasmserve_pieces::Fetching {
                self.0.fetched.lock().unwrap().push(("other".into(), range.clone()));
                Box::pin(async move {
                    let bytes = bytes::Bytes::from(content("other", range));
                    Ok(Box::pin(futures_util::stream::iter([Ok(bytes)])) as wasmserve_pieces::Chunks)
                })
            }
        }
        store.object("k", "1", PIECE, std::sync::Arc::new(Other(other.clone())))
    };
    read(&cache, &fake.object("k", PIECE), "k", 0..PIECE).await.unwrap();
    read(&cache, &same_name, "other", 0..PIECE).await.unwrap();
    assert_eq!((fake.fetched().len(), other.fetched().len()), (1, 1));
}
