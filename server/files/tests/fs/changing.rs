//! Files that change while they are sent: the promised bytes come, or reading fails. Never padding, never a mixture.
use crate::support::{Ask, Tree, all_of, rest};
use std::{
    fs::{self, OpenOptions},
    io::{Seek, SeekFrom, Write},
    sync::Arc,
};
use wasmserve_files::{CacheOptions, FileSpan, Files, FilesOptions, Found, Growing, OpenFile};

const LENGTH: usize = 300_000;

async fn open(files: &Files, path: &str) -> Arc<OpenFile> {
    match Ask::new(path).of(files).await {
        Found::File(selected) => selected.source.file().expect("a file").clone(),
        _ => panic!("{path} is a file"),
    }
}

/// A file whose first piece has been sent.
async fn begun(tree: &Tree, files: &Files) -> FileSpan {
    tree.write("big", vec![b'a'; LENGTH]);
    rest(&tree.root().join("big"));
    let mut span = FileSpan {
        file: open(files, "/big").await,
        offset: 0,
        length: LENGTH as u64,
    };
    let first = span.read_next(100_000).await.unwrap().unwrap();
    assert!(first.iter().all(|byte| *byte == b'a'));
    span
}

/// What else is sent; bytes that were sent before an error count as sent.
async fn remainder(mut span: FileSpan) -> (Vec<u8>, std::io::Result<()>) {
    let mut sent = Vec::new();
    loop {
        match span.read_next(64 << 10).await {
            Ok(Some(bytes)) => sent.extend_from_slice(&bytes),
            Ok(None) => return (sent, Ok(())),
            Err(error) => return (sent, Err(error)),
        }
    }
}

fn big(tree: &Tree) -> std::fs::File {
    OpenOptions::new().write(true).open(tree.root().join("big")).unwrap()
}

#[tokio::test]
async fn a_file_that_shrinks_ends_the_body() {
    let tree = Tree::new();
    for left in [0, 50_000, 150_000, LENGTH as u64 - 1] {
        let span = begun(&tree, &tree.files()).await;
        big(&tree).set_len(left).unwrap();
        let (sent, ended) = remainder(span).await;
        assert_eq!(
            ended.unwrap_err().to_string(),
            "the file was truncated while it was being sent",
            "{left}"
        );
        assert!(sent.is_empty());
    }
}

#[tokio::test]
async fn a_file_that_is_written_anew_in_place_ends_the_body() {
    let tree = Tree::new();
    let span = begun(&tree, &tree.files()).await;
    let mut file = big(&tree);
    file.write_all(&vec![b'b'; LENGTH]).unwrap();
    let (sent, ended) = remainder(span).await;
    assert_eq!(
        ended.unwrap_err().to_string(),
        "the file was written to while it was being sent"
    );
    assert!(sent.is_empty(), "not a byte of the new version");

    // Truncated and written longer than before: what `cp` does to an existing file.
    for growing in [Growing::End, Growing::Continue] {
        let span = begun(&tree, &tree.files_with(|root| root.growing = growing)).await;
        let mut file = big(&tree);
        file.set_len(0).unwrap();
        file.write_all(&vec![b'b'; LENGTH + 1]).unwrap();
        let (sent, ended) = remainder(span).await;
        match growing {
            Growing::End => {
                assert_eq!(ended.unwrap_err().to_string(), "the file grew while it was being sent");
                assert!(sent.is_empty());
            }
            // That is what the option's documentation warns of.
            Growing::Continue => assert!(ended.is_ok()),
        }
    }
}

#[tokio::test]
async fn a_file_that_is_appended_to_ends_the_body_or_gives_what_was_promised() {
    let tree = Tree::new();
    for (growing, complete) in [(Growing::End, false), (Growing::Continue, true)] {
        let span = begun(&tree, &tree.files_with(|root| root.growing = growing)).await;
        let mut file = big(&tree);
        file.seek(SeekFrom::End(0)).unwrap();
        file.write_all(b"more").unwrap();
        let (sent, ended) = remainder(span).await;
        assert_eq!(ended.is_ok(), complete);
        assert_eq!(sent.len(), if complete { LENGTH - 100_000 } else { 0 });
        assert!(sent.iter().all(|byte| *byte == b'a'));
    }
}

#[tokio::test]
async fn a_file_that_is_replaced_or_deleted_is_sent_to_its_end() {
    let tree = Tree::new();
    for replace in [true, false] {
        let span = begun(&tree, &tree.files()).await;
        if replace {
            tree.write("fresh", "fresh");
            fs::rename(tree.root().join("fresh"), tree.root().join("big")).unwrap();
        } else {
            fs::remove_file(tree.root().join("big")).unwrap();
        }
        let (sent, ended) = remainder(span).await;
        ended.unwrap();
        assert!(sent == vec![b'a'; LENGTH - 100_000]);
    }
}

#[tokio::test]
async fn reading_stops_at_the_length_that_was_promised() {
    for tree in [Tree::new(), Tree::in_memory()] {
        reads_stop_at_the_length(&tree).await;
    }
}

async fn reads_stop_at_the_length(tree: &Tree) {
    tree.write("f", "0123456789");
    for path in ["f", "g"] {
        tree.write(path, "0123456789");
    }
    // One that is held in memory and one that has not rested.
    rest(&tree.root().join("f"));
    let files = tree.files();
    for path in ["/f", "/g"] {
        let file = open(&files, path).await;
        assert_eq!(file.in_memory().is_some(), path == "/f");
        assert_eq!(file.length(), 10);
        for (offset, length, expected) in [
            (0, 10, "0123456789"),
            (3, 4, "3456"),
            (8, 10, "89"),
            (10, 1, ""),
            (11, 1, ""),
            (u64::MAX, 1, ""),
            (0, 0, ""),
        ] {
            assert_eq!(
                file.read_at(offset, length).await.unwrap(),
                expected,
                "{offset} {length} of {path}"
            );
        }
        let mut span = FileSpan {
            file: Arc::clone(&file),
            offset: 5,
            length: 6,
        };
        let error = span.read_next(100).await.unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::UnexpectedEof,
            "a span that promises too much"
        );
        file.load(0, 10).await.unwrap();
        assert!(file.is_cached(0, 10) && file.is_cached(10, 10) && file.unchanged().is_ok());
    }
}

/// What is held in memory was at rest when it was read: all of one version, though the file is written to again and again.
/// (A file that is read while somebody is in the middle of writing it has no version to speak of.)
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_held_in_memory_is_never_a_mixture() {
    let tree = Tree::new();
    let path = tree.root().join("small");
    fs::write(&path, vec![b'0'; 8000]).unwrap();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || {
            for round in 0..3000_u32 {
                let byte = b'0' + (round % 10) as u8;
                let mut file = OpenOptions::new().write(true).open(&path).unwrap();
                // In two halves, so that there is something to mix.
                file.write_all(&[byte; 4000]).unwrap();
                file.write_all(&[byte; 4000]).unwrap();
                rest(&path);
            }
        }
    });
    // Nothing is kept: every lookup opens and reads anew.
    let cache = CacheOptions {
        descriptors: 0,
        bytes: 0,
    };
    let files = Files::new(FilesOptions {
        cache,
        ..FilesOptions::new(tree.root())
    })
    .unwrap();
    let mut held = 0;
    while !writer.is_finished() || held == 0 {
        // A file that changes whenever it is opened is answered with 503 after a while.
        let Found::File(selected) = Ask::new("/small").of(&files).await else {
            continue;
        };
        if let Some(content) = selected.source.file().and_then(|file| file.in_memory()) {
            assert_eq!(content.len(), 8000);
            assert!(content.iter().all(|byte| *byte == content[0]), "all of one write");
            held += 1;
        }
    }
    writer.join().unwrap();
}

#[tokio::test]
async fn open_file_refuses_what_is_no_regular_file() {
    let tree = Tree::new();
    assert!(OpenFile::try_from(fs::File::open(tree.root()).unwrap()).is_err());
    tree.write("f", "f");
    let file = Arc::new(OpenFile::try_from(fs::File::open(tree.root().join("f")).unwrap()).unwrap());
    assert_eq!(all_of(&file).await.unwrap(), b"f");
}
