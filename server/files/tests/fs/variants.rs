//! Siblings in other codings, and compression while sending.
use crate::support::{Ask, Tree, all_of, rest, touch};
use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use std::{future::poll_fn, io::Cursor, time::Duration};
use tokio::io::AsyncReadExt;
use wasmserve_files::{Answer, Coding, Compression, Content, Files, FilesOptions, Found, Part, Selected, answer};

fn tree() -> Tree {
    let tree = Tree::new();
    tree.write("a.html", "identity")
        .write("a.html.br", "brotli")
        .write("a.html.zst", "zstd")
        .write("a.html.gz", "gzip");
    tree.write("only.css", "identity")
        .write("only.css.gz", "gzip")
        .write("none.js", "identity");
    tree
}

async fn selected(files: &Files, path: &str, accept: Option<&str>) -> Selected {
    let ask = match accept {
        Some(accept) => Ask::new(path).header("accept-encoding", accept),
        None => Ask::new(path),
    };
    match ask.of(files).await {
        Found::File(selected) => selected,
        _ => panic!("{path} is a file"),
    }
}

async fn content(files: &Files, path: &str, accept: Option<&str>) -> String {
    String::from_utf8(
        all_of(selected(files, path, accept).await.source.file().unwrap())
            .await
            .unwrap(),
    )
    .unwrap()
}

#[tokio::test]
async fn the_client_chooses_the_variant() {
    let tree = tree();
    let files = tree.files();
    for (path, accept, sent) in [
        ("/a.html", None, "identity"),
        ("/a.html", Some("gzip, deflate, br, zstd"), "brotli"),
        ("/a.html", Some("gzip, zstd"), "zstd"),
        ("/a.html", Some("br;q=0.5, gzip"), "gzip"),
        ("/a.html", Some("identity, br;q=0.1"), "identity"),
        ("/a.html", Some("identity;q=0, gzip;q=0.1"), "gzip"),
        ("/only.css", Some("br, gzip"), "gzip"),
        ("/only.css", Some("br"), "identity"),
        // Nothing to choose from: it is sent whatever the client says.
        ("/none.js", Some("identity;q=0"), "identity"),
        ("/a.html.br", Some("gzip"), "brotli"),
    ] {
        assert_eq!(content(&files, path, accept).await, sent, "{path} {accept:?}");
    }
    let refused = Ask::new("/a.html")
        .header("accept-encoding", "identity;q=0, deflate")
        .of(&files)
        .await;
    assert!(matches!(
        refused,
        Found::Failed {
            status: StatusCode::NOT_ACCEPTABLE,
            retry_after: None
        }
    ));
}

#[tokio::test]
async fn a_variant_has_its_own_metadata_and_the_type_of_the_file() {
    let tree = tree();
    let files = tree.files();
    let original = selected(&files, "/a.html", None).await.representation;
    let brotli = selected(&files, "/a.html", Some("br")).await.representation;
    assert_eq!((original.coding, brotli.coding), (None, Some("br")));
    assert_eq!((original.length, brotli.length), (8, 6));
    assert_eq!(original.content_type, brotli.content_type);
    assert_ne!(original.etag, brotli.etag);
    assert!(original.negotiated && brotli.negotiated);
    assert!(!selected(&files, "/none.js", Some("br")).await.representation.negotiated);
    let itself = selected(&files, "/a.html.br", Some("br")).await.representation;
    assert_eq!((itself.coding, itself.negotiated), (None, false));
}

#[tokio::test]
async fn siblings_that_do_not_belong_are_passed_over() {
    let tree = tree();
    touch(&tree.root().join("a.html.br"), Duration::from_secs(10));
    tree.write("d.txt", "identity")
        .write("d.txt.br/x", "")
        .link("d.txt.gz", "../secret")
        .link("d.txt.zst", "zst");
    tree.write("zst", "zstd by a link");
    let files = tree.files();
    assert_eq!(
        content(&files, "/a.html", Some("br, gzip;q=0.5")).await,
        "gzip",
        "brotli is older than the file"
    );
    assert_eq!(
        content(&files, "/d.txt", Some("br, gzip")).await,
        "identity",
        "a directory and a link out"
    );
    assert_eq!(content(&files, "/d.txt", Some("zstd")).await, "zstd by a link");
    // As old in whole seconds: tools that carry the time over drop the fraction.
    let original = std::fs::metadata(tree.root().join("only.css"))
        .unwrap()
        .modified()
        .unwrap();
    let second = original.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let sibling = std::fs::File::options()
        .write(true)
        .open(tree.root().join("only.css.gz"))
        .unwrap();
    sibling
        .set_modified(std::time::UNIX_EPOCH + Duration::from_secs(second))
        .unwrap();
    assert_eq!(content(&files, "/only.css", Some("gzip")).await, "gzip");
}

#[tokio::test]
async fn variants_come_and_go_within_a_second() {
    let tree = tree();
    for name in ["none.js", "a.html", "a.html.br", "a.html.gz", "a.html.zst"] {
        rest(&tree.root().join(name));
    }
    let files = tree.files();
    assert_eq!(content(&files, "/none.js", Some("gzip")).await, "identity");
    assert_eq!(content(&files, "/a.html", Some("br")).await, "brotli");
    tree.write("none.js.gz", "new");
    std::fs::remove_file(tree.root().join("a.html.br")).unwrap();
    tokio::time::sleep(Duration::from_millis(1050)).await;
    assert_eq!(content(&files, "/none.js", Some("gzip")).await, "new");
    assert_eq!(content(&files, "/a.html", Some("br")).await, "identity");
}

#[tokio::test]
async fn a_root_may_leave_variants_out() {
    let tree = tree();
    let files = tree.files_with(|root| root.precompressed = vec![Coding::Gzip]);
    assert_eq!(content(&files, "/a.html", Some("br, zstd")).await, "identity");
    assert_eq!(content(&files, "/a.html", Some("br, gzip")).await, "gzip");
}

#[tokio::test]
async fn a_page_in_place_of_what_is_missing_is_negotiated_too() {
    let tree = tree();
    let files = tree.files_with(|root| root.fallback = Some(crate::support::path("/a.html")));
    for (accept, sent) in [("gzip", "gzip"), ("identity;q=0", "identity")] {
        let Found::Missing { page: Some(page), .. } =
            Ask::new("/nothing").header("accept-encoding", accept).of(&files).await
        else {
            panic!("a page")
        };
        assert_eq!(all_of(page.source.file().unwrap()).await.unwrap(), sent.as_bytes());
    }
}

// === compression while sending ===

fn compressing(tree: &Tree) -> Files {
    let compression = Some(Compression {
        shortest: 100,
        longest: 1_000_000,
    });
    Files::new(FilesOptions {
        compression,
        ..FilesOptions::new(tree.root())
    })
    .unwrap()
}

async fn answered(files: &Files, path: &str, fields: &[(&'static str, &str)]) -> Answer {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let mut ask = Ask::new(path);
    ask.headers = headers.clone();
    let found = ask.of(files).await;
    files.compress(&headers, answer(&Method::GET, &headers, found))
}

async fn body(content: Content) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    match content {
        Content::Parts(parts) => {
            for part in parts {
                match part {
                    Part::Bytes(bytes) => body.extend_from_slice(&bytes),
                    Part::Object(_) => panic!("no store is asked"),
                    Part::File(mut span) => {
                        while let Some(bytes) = span.read_next(1 << 16).await? {
                            body.extend_from_slice(&bytes);
                        }
                    }
                }
            }
        }
        Content::Stream(mut stream) => {
            while let Some(chunk) = poll_fn(|context| stream.as_mut().poll_next(context)).await {
                body.extend_from_slice(&chunk?);
            }
        }
    }
    Ok(body)
}

#[tokio::test]
async fn texts_are_compressed_while_they_are_sent_when_asked_for() {
    let tree = Tree::new();
    let text: String = (0..20_000).map(|i| format!("line {}\n", i * 7919 % 1000)).collect();
    tree.write("a.txt", &text)
        .write("tiny.txt", "tiny")
        .write("a.png", &text)
        .write("huge.txt", "x".repeat(1_000_001));
    for name in ["a.txt", "tiny.txt", "a.png", "huge.txt"] {
        rest(&tree.root().join(name));
    }
    let files = compressing(&tree);
    let identity = answered(&files, "/a.txt", &[]).await;
    let tag = identity.headers[header::ETAG].to_str().unwrap().to_owned();
    assert_eq!(identity.headers[header::VARY], "Accept-Encoding");
    assert_eq!(body(identity.content).await.unwrap(), text.as_bytes());
    for coding in ["br", "zstd", "gzip"] {
        let sent = answered(&files, "/a.txt", &[("accept-encoding", coding)]).await;
        assert_eq!(sent.status, StatusCode::OK);
        assert_eq!(sent.headers[header::CONTENT_ENCODING], coding);
        assert_eq!(sent.headers[header::VARY], "Accept-Encoding");
        assert_eq!(sent.headers[header::ETAG].to_str().unwrap(), format!("W/{tag}"));
        assert!(
            !sent.headers.contains_key(header::CONTENT_LENGTH) && !sent.headers.contains_key(header::ACCEPT_RANGES)
        );
        assert_eq!(sent.media_type.as_deref(), Some("text/plain"));
        let body = body(sent.content).await.unwrap();
        assert!(body.len() < text.len() / 2, "{coding}: {} bytes", body.len());
        let mut plain = Vec::new();
        match coding {
            "br" => BrotliDecoder::new(Cursor::new(body))
                .read_to_end(&mut plain)
                .await
                .unwrap(),
            "zstd" => ZstdDecoder::new(Cursor::new(body))
                .read_to_end(&mut plain)
                .await
                .unwrap(),
            _ => GzipDecoder::new(Cursor::new(body))
                .read_to_end(&mut plain)
                .await
                .unwrap(),
        };
        assert_eq!(plain, text.as_bytes(), "{coding}");
    }
    for (path, fields) in [
        ("/tiny.txt", &[("accept-encoding", "br")][..]),
        ("/a.png", &[("accept-encoding", "br")]),
        ("/huge.txt", &[("accept-encoding", "br")]),
        ("/a.txt", &[("accept-encoding", "identity")]),
        ("/a.txt", &[("accept-encoding", "gzip"), ("range", "bytes=0-9")]),
    ] {
        let sent = answered(&files, path, fields).await;
        assert!(
            !sent.headers.contains_key(header::CONTENT_ENCODING),
            "{path} {fields:?}"
        );
        assert!(sent.headers.contains_key(header::CONTENT_LENGTH));
    }
    // Without the option nothing is.
    let sent = answered(&tree.files(), "/a.txt", &[("accept-encoding", "br")]).await;
    assert!(!sent.headers.contains_key(header::CONTENT_ENCODING) && !sent.headers.contains_key(header::VARY));
}

/// A 304 must not make a cache believe that what it holds compressed has the file's own strong tag: a range of the file
/// would then be added to it.
#[tokio::test]
async fn a_304_for_what_was_compressed_keeps_the_weak_tag() {
    let tree = Tree::new();
    tree.write("a.txt", "text ".repeat(1000));
    rest(&tree.root().join("a.txt"));
    let files = compressing(&tree);
    let gzip = ("accept-encoding", "gzip");
    let weak = answered(&files, "/a.txt", &[gzip]).await.headers[header::ETAG]
        .to_str()
        .unwrap()
        .to_owned();
    let unmodified = answered(&files, "/a.txt", &[gzip, ("if-none-match", &weak)]).await;
    assert_eq!(unmodified.status, StatusCode::NOT_MODIFIED);
    assert_eq!(unmodified.headers[header::ETAG].to_str().unwrap(), weak);
    let ranged = answered(&files, "/a.txt", &[gzip, ("range", "bytes=5-"), ("if-range", &weak)]).await;
    assert_eq!(ranged.status, StatusCode::OK, "a weak tag validates no range");
    let identity = answered(&files, "/a.txt", &[("if-none-match", &weak)]).await;
    assert_eq!(
        identity.headers[header::ETAG].to_str().unwrap(),
        weak.trim_start_matches("W/")
    );
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_compressed_ends_the_body() {
    let tree = Tree::new();
    tree.write("a.txt", "text ".repeat(100_000));
    rest(&tree.root().join("a.txt"));
    let files = compressing(&tree);
    let sent = answered(&files, "/a.txt", &[("accept-encoding", "gzip")]).await;
    std::fs::File::options()
        .write(true)
        .open(tree.root().join("a.txt"))
        .unwrap()
        .set_len(10)
        .unwrap();
    assert!(body(sent.content).await.is_err());
}
