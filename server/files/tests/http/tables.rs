//! Tables of what the small rules make of single values.
use http::{HeaderMap, HeaderValue, header};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use wasmserve_files::coding::{Coding, preferences};
use wasmserve_files::date::HttpDate;
use wasmserve_files::disposition::{Disposition, NameError};
use wasmserve_files::etag::{EntityTag, EntityTags, FileState, SETTLED_AFTER};
use wasmserve_files::media_type::MediaTypes;
use wasmserve_files::{PathError, Representation, SitePath};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

#[test]
fn paths_are_canonical_or_refused() {
    let longest = format!("/{}", "a".repeat(SitePath::MAX_LENGTH - 1));
    let too_long = format!("{longest}a");
    let component = format!("/{}", "\u{e9}".repeat(127));
    let table: &[(&str, Result<&str, PathError>)] = &[
        ("/", Ok("/")),
        ("/a/b.html", Ok("/a/b.html")),
        ("/a/", Ok("/a/")),
        ("/a%20b", Ok("/a b")),
        ("/a b", Ok("/a b")),
        ("/a+b", Ok("/a+b")),
        ("/100%25", Ok("/100%")),
        ("/%252e%252e/", Ok("/%2e%2e/")),
        ("/%252f", Ok("/%2f")),
        ("/%C3%A9", Ok("/\u{e9}")),
        ("/\u{e9}", Ok("/\u{e9}")),
        ("/%F0%9F%98%80", Ok("/\u{1f600}")),
        ("/...", Ok("/...")),
        ("/..a/a..", Ok("/..a/a..")),
        ("/.well-known/x", Ok("/.well-known/x")),
        ("/a:b/c;d=e", Ok("/a:b/c;d=e")),
        ("/%3Fq%23f", Ok("/?q#f")),
        (&longest, Ok(&longest)),
        (&component, Ok(&component)),
        ("", Err(PathError::Relative)),
        ("*", Err(PathError::Relative)),
        ("a/b", Err(PathError::Relative)),
        ("%2Fa", Err(PathError::EncodedSeparator)),
        ("//", Err(PathError::Segment)),
        ("//evil.example/", Err(PathError::Segment)),
        ("/a//b", Err(PathError::Segment)),
        ("/a//", Err(PathError::Segment)),
        ("/.", Err(PathError::Segment)),
        ("/./", Err(PathError::Segment)),
        ("/..", Err(PathError::Segment)),
        ("/../etc/passwd", Err(PathError::Segment)),
        ("/a/../b", Err(PathError::Segment)),
        ("/a/..", Err(PathError::Segment)),
        ("/%2e%2E/a", Err(PathError::Segment)),
        ("/.%2e/a", Err(PathError::Segment)),
        ("/a/%2e", Err(PathError::Segment)),
        ("/..%2fetc", Err(PathError::EncodedSeparator)),
        ("/..%5Cetc", Err(PathError::EncodedSeparator)),
        ("/..\\etc", Err(PathError::Character)),
        ("/a%00.html", Err(PathError::Character)),
        ("/a\0", Err(PathError::Character)),
        ("/a%0d%0aSet-Cookie:", Err(PathError::Character)),
        ("/a%7f", Err(PathError::Character)),
        ("/a%C2%85", Err(PathError::Character)),
        ("/%", Err(PathError::Escape)),
        ("/%4", Err(PathError::Escape)),
        ("/%4g", Err(PathError::Escape)),
        ("/%+1", Err(PathError::Escape)),
        ("/%u002e", Err(PathError::Escape)),
        ("/%c0%af", Err(PathError::NotUtf8)),
        ("/%c0%ae%c0%ae/", Err(PathError::NotUtf8)),
        ("/%e0%80%af", Err(PathError::NotUtf8)),
        ("/%ff", Err(PathError::NotUtf8)),
        ("/%ed%a0%80", Err(PathError::NotUtf8)),
        ("/%f4%90%80%80", Err(PathError::NotUtf8)),
        (&too_long, Err(PathError::TooLong)),
    ];
    for (encoded, expected) in table {
        let path = SitePath::from_uri(encoded);
        assert_eq!(
            path.as_ref().map(SitePath::as_str),
            expected.as_ref().copied(),
            "{encoded:?}"
        );
    }
    // What a policy returns is not decoded again.
    assert_eq!(
        SitePath::from_decoded("/%2e%2e").map(|path| path.to_uri()),
        Ok("/%252e%252e".to_owned())
    );
}

#[test]
fn prefixes_cover_whole_segments() {
    let table = [
        ("/private", "/private", true),
        ("/private/", "/private", true),
        ("/private", "/private/", true),
        ("/private/a", "/private/", true),
        ("/privateer", "/private", false),
        ("/private.html", "/private", false),
        ("/Private", "/private", false),
        ("/a/private", "/private", false),
        ("/anything", "/", true),
        ("/", "/", true),
        ("/", "/private", false),
    ];
    for (path, prefix, expected) in table {
        let [path, prefix] = [path, prefix].map(|path| SitePath::from_decoded(path).expect("a canonical path"));
        assert_eq!(path.is_within(&prefix), expected, "{path} within {prefix}");
    }
}

#[test]
fn slash_redirects_stay_beneath_their_own_path() {
    let table = [
        ("/docs", None, "docs/"),
        ("/a/docs", Some("x=%20&y"), "docs/?x=%20&y"),
        ("/a b", Some(""), "a%20b/?"),
        ("/javascript:alert(1)", None, "./javascript:alert(1)/"),
        ("/d", Some("a=\"<\u{e9}>#"), "d/?a=%22%3C%C3%A9%3E%23"),
        ("/d", Some("a\r\nb"), "d/?a%0D%0Ab"),
    ];
    for (path, query, expected) in table {
        let path = SitePath::from_decoded(path).expect("a canonical path");
        assert_eq!(path.slash_redirect(query), expected);
    }
}

#[test]
fn dates_are_read_in_three_forms() {
    let date = HttpDate::new(at(784_111_777));
    for value in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
    ] {
        assert_eq!(HttpDate::parse(value.as_bytes()), date, "{value}");
    }
    for value in [
        "",
        "0",
        "-1",
        "06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sunday, 06-Nov-94,08:49:37 GMT",
        "Sun, 31 Feb 1994 08:49:37 GMT",
    ] {
        assert_eq!(HttpDate::parse(value.as_bytes()), None, "{value}");
    }
    assert_eq!(HttpDate::parse(b"Sun, 06 Nov 1994 08:49:37 GM\xff"), None);
    let written = date.map(HttpDate::to_header);
    assert_eq!(written, Some(HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT")));
    // Times that files can have and dates cannot.
    assert_eq!(HttpDate::new(UNIX_EPOCH - Duration::from_nanos(1)), None);
    assert!(HttpDate::new(at(253_402_300_799)).is_some());
    assert_eq!(HttpDate::new(at(253_402_300_800)), None);
}

#[test]
fn entity_tags_tell_states_and_codings_apart() {
    let state = FileState {
        length: 4096,
        modified: at(1_000_000_000) + Duration::from_nanos(17),
        inode: Some(12),
    };
    let later = at(2_000_000_000);
    let tag = |state: FileState| state.entity_tag(Coding::Identity, later);
    let others = [
        tag(state),
        tag(FileState { length: 4097, ..state }),
        tag(FileState {
            modified: state.modified + Duration::from_nanos(1),
            ..state
        }),
        tag(FileState {
            modified: UNIX_EPOCH - Duration::new(1_000_000_000, 17),
            ..state
        }),
        tag(FileState {
            inode: Some(13),
            ..state
        }),
        tag(FileState { inode: None, ..state }),
        state.entity_tag(Coding::Gzip, later),
        state.entity_tag(Coding::Brotli, later),
        state.entity_tag(Coding::Zstd, later),
    ];
    for (index, tag) in others.iter().enumerate() {
        assert!(EntityTag::parse(tag.as_bytes()).is_some(), "{tag:?}");
        assert!(!others[..index].contains(tag), "{tag:?} twice");
    }
    assert_eq!(tag(FileState { inode: None, ..state }), "\"3b9aca00.11-1000\"");
    assert_eq!(
        FileState { inode: None, ..state }.entity_tag(Coding::Gzip, later),
        "\"3b9aca00.11-1000-gzip\""
    );
}

#[test]
fn entity_tags_are_weak_until_the_file_has_rested() {
    let state = FileState {
        length: 1,
        modified: at(1_000_000_000),
        inode: Some(1),
    };
    let seen = |observed| {
        state
            .entity_tag(Coding::Identity, observed)
            .to_str()
            .expect("ASCII")
            .to_owned()
    };
    let strong = seen(state.modified + SETTLED_AFTER);
    assert!(strong.starts_with('"'));
    let weak = seen(state.modified + SETTLED_AFTER - Duration::from_nanos(1));
    assert_eq!(
        weak,
        format!("W/{strong}"),
        "the same text, so that If-None-Match holds across the change"
    );
    assert_eq!(seen(state.modified - Duration::from_secs(1)), weak);
    assert_eq!(
        seen(state.modified - SETTLED_AFTER),
        strong,
        "a write now would give it another time"
    );
}

#[test]
fn a_date_in_the_future_is_not_sent() {
    let state = FileState {
        length: 1,
        modified: at(1_000_000_000),
        inode: Some(1),
    };
    let of = |observed| {
        let content_type = HeaderValue::from_static("text/plain");
        Representation::of_file(&state, content_type, Coding::Brotli, true, observed)
    };
    assert_eq!(of(state.modified).modified, Some(state.modified));
    assert_eq!(of(state.modified - Duration::from_secs(10)).modified, None);
    assert_eq!(of(state.modified).coding, Some("br"));
}

#[test]
fn lists_of_entity_tags_are_read_whole_or_not_at_all() {
    let list = |value: &'static [u8]| match EntityTags::parse(value) {
        None => None,
        Some(EntityTags::Any) => Some(vec![&b"*"[..]]),
        Some(EntityTags::List(tags)) => Some(tags.iter().map(|tag| tag.opaque).collect()),
    };
    assert_eq!(list(b" * "), Some(vec![&b"*"[..]]));
    assert_eq!(list(b"\"a\", W/\"b,c\" ,,\t\"\""), Some(vec![&b"a"[..], b"b,c", b""]));
    assert_eq!(list(b""), Some(vec![]));
    assert_eq!(list(b"\"\xff\""), Some(vec![&b"\xff"[..]]));
    for malformed in [
        &b"a"[..],
        b"\"a",
        b"\"a\"b",
        b"\"a\" \"b\"",
        b"*, \"a\"",
        b"w/\"a\"",
        b"W/ \"a\"",
        b"\"a b\"",
        b"'a'",
    ] {
        assert_eq!(EntityTags::parse(malformed), None, "{malformed:?}");
    }
}

#[test]
fn codings_are_ranked_as_the_client_says() {
    let table = [
        (None, "identity"),
        (Some(""), "identity"),
        (Some("gzip, deflate, br, zstd"), "br zstd gzip identity"),
        (Some("gzip"), "gzip identity"),
        (Some("x-gzip"), "gzip identity"),
        (Some("GZIP;q=0.5"), "gzip identity"),
        (Some("gzip;q=1.0, br;q=0.9, *;q=0"), "gzip br"),
        (Some("*"), "br zstd gzip identity"),
        (Some("*;q=0.5, gzip;q=0.4"), "br zstd identity gzip"),
        (Some("identity"), "identity"),
        (Some("identity;q=0"), ""),
        (Some("*;q=0"), ""),
        (Some("gzip, identity;q=0"), "gzip"),
        (Some("gzip;q=0.5, identity;q=0.6"), "identity gzip"),
        (Some("gzip;q=0.001, br;q=0.000"), "gzip identity"),
        (Some("gzip;q=0"), "identity"),
        (Some("gzip;q=0, *"), "br zstd identity"),
        (Some("gzip;q=2, br;q=1.001, zstd;q=.5"), "identity"),
        (Some("gzip;level=1"), "identity"),
        (Some("compress, deflate"), "identity"),
        (Some("br;q=0.8,zstd;q=0.8,gzip;q=0.9"), "gzip br zstd identity"),
    ];
    for (field, expected) in table {
        let mut headers = HeaderMap::new();
        if let Some(field) = field {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(field));
        }
        let ranked: Vec<&str> = preferences(&headers, &Coding::ALL)
            .as_slice()
            .iter()
            .map(|c| c.token())
            .collect();
        assert_eq!(ranked.join(" "), expected, "{field:?}");
    }
}

#[test]
fn media_types_say_their_charset_where_they_are_text() {
    let types = MediaTypes::new(
        [
            ("tar.gz", "application/x-gtar"),
            ("MD", "text/html; charset=iso-8859-1"),
            ("wat", "text/wat"),
        ],
        None,
    );
    let types = types.expect("valid overrides");
    let table = [
        ("index.html", "text/html; charset=utf-8"),
        ("INDEX.HTML", "text/html; charset=utf-8"),
        ("style.css", "text/css; charset=utf-8"),
        ("app.js", "text/javascript; charset=utf-8"),
        ("app.mjs", "text/javascript; charset=utf-8"),
        ("app.js.map", "application/json; charset=utf-8"),
        ("data.json", "application/json; charset=utf-8"),
        ("data.geojson", "application/geo+json; charset=utf-8"),
        ("feed.xml", "text/xml; charset=utf-8"),
        ("logo.svg", "image/svg+xml; charset=utf-8"),
        ("notes.txt", "text/plain; charset=utf-8"),
        ("a.wasm", "application/wasm"),
        ("a.png", "image/png"),
        ("a.woff", "font/woff"),
        ("a.ts", "video/mp2t"),
        ("a.m3u8", "application/vnd.apple.mpegurl"),
        ("a.pdf", "application/pdf"),
        ("a.gz", "application/gzip"),
        ("a.tar.gz", "application/x-gtar"),
        ("readme.md", "text/html; charset=iso-8859-1"),
        ("a.wat", "text/wat; charset=utf-8"),
        ("LICENSE", "application/octet-stream"),
        (".html", "application/octet-stream"),
        (".config.json", "application/json; charset=utf-8"),
        ("a.", "application/octet-stream"),
        ("a.nobodyknows", "application/octet-stream"),
        ("", "application/octet-stream"),
    ];
    for (name, expected) in table {
        assert_eq!(types.of(name), expected, "{name}");
    }
    let plain = MediaTypes::new([], Some("text/plain")).expect("a valid default");
    assert_eq!(plain.of("LICENSE"), "text/plain; charset=utf-8");
}

#[test]
fn overrides_of_media_types_are_checked() {
    for (extension, media_type) in [
        ("", "a/b"),
        (".md", "a/b"),
        ("a/b", "a/b"),
        ("md", "markdown"),
        ("md", "text/"),
        ("md", "a b/c"),
    ] {
        assert!(
            MediaTypes::new([(extension, media_type)], None).is_err(),
            "{extension:?} = {media_type:?}"
        );
    }
    assert!(MediaTypes::new([("md", "text/html; x=\r\ny")], None).is_err());
    assert!(MediaTypes::new([], Some("none")).is_err());
}

#[test]
fn dispositions_name_files_for_old_and_new_clients() {
    let table = [
        ("report.pdf", "attachment; filename=\"report.pdf\""),
        ("my report.pdf", "attachment; filename=\"my report.pdf\""),
        ("a;b='c'.txt", "attachment; filename=\"a;b='c'.txt\""),
        (
            "na\u{ef}ve.txt",
            "attachment; filename=\"na_ve.txt\"; filename*=UTF-8''na%C3%AFve.txt",
        ),
        (
            "\u{20ac} rates",
            "attachment; filename=\"_ rates\"; filename*=UTF-8''%E2%82%AC%20rates",
        ),
        (
            "say \"hi\"",
            "attachment; filename=\"say _hi_\"; filename*=UTF-8''say%20%22hi%22",
        ),
        ("100%25", "attachment; filename=\"100_25\"; filename*=UTF-8''100%2525"),
    ];
    for (name, expected) in table {
        assert_eq!(Disposition::Attachment.to_header(name).expect("a file name"), expected);
    }
    assert_eq!(
        Disposition::Inline.to_header("a").expect("a file name"),
        "inline; filename=\"a\""
    );
    for (name, expected) in [
        ("", NameError::Empty),
        ("a/b", NameError::Separator),
        ("a\\b", NameError::Separator),
        ("a\r\nX: y", NameError::Control),
        ("a\u{85}", NameError::Control),
    ] {
        assert_eq!(Disposition::Attachment.to_header(name), Err(expected), "{name:?}");
    }
}
