//! The binding of plans to content: what [`answer`] makes of each outcome of a lookup.
use crate::support;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use std::time::{Duration, UNIX_EPOCH};
use wasmserve_files::{Answer, Content, Found, Listing, Part, Representation, Selected, answer};

const GET: Method = Method::GET;

fn selected() -> Selected {
    support::selected(Representation {
        length: 1000,
        modified: Some(UNIX_EPOCH + Duration::from_millis(784_111_777_500)),
        etag: HeaderValue::from_static("\"tag\""),
        content_type: HeaderValue::from_static("text/html; charset=utf-8"),
        coding: Some("gzip"),
        negotiated: true,
    })
}

fn ask(method: Method, fields: &[(HeaderName, &str)], found: Found) -> Answer {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, HeaderValue::from_str(value).expect("a field value"));
    }
    answer(&method, &headers, found)
}

/// The head as sorted lines, without the status.
fn head(answer: &Answer) -> Vec<String> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| format!("{name}: {}", value.to_str().expect("ASCII"));
    // All answers have the same Server.
    let fields = answer.headers.iter().filter(|(name, _)| *name != header::SERVER);
    let mut lines: Vec<String> = fields.map(line).collect();
    lines.sort();
    lines
}

/// The body with spans of files as `<offset+length>`.
fn body(answer: &Answer) -> String {
    let Content::Parts(parts) = &answer.content else {
        panic!("a body of known length")
    };
    parts
        .iter()
        .map(|part| match part {
            Part::Bytes(bytes) => String::from_utf8(bytes.to_vec()).expect("UTF-8"),
            Part::File(span) => format!("<{}+{}>", span.offset, span.length),
            Part::Object(_) => panic!("no store is asked"),
        })
        .collect()
}

#[test]
fn a_file_is_sent_whole() {
    let answer = ask(GET, &[], Found::File(selected()));
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(body(&answer), "<0+1000>");
    assert_eq!(answer.media_type.as_deref(), Some("text/html"));
    assert_eq!(
        head(&answer),
        [
            "accept-ranges: bytes",
            "content-encoding: gzip",
            "content-length: 1000",
            "content-type: text/html; charset=utf-8",
            "etag: \"tag\"",
            "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
            "vary: Accept-Encoding",
            "x-content-type-options: nosniff",
        ]
    );
}

#[test]
fn head_has_the_head_of_get() {
    for fields in [
        &[][..],
        &[(header::IF_NONE_MATCH, "\"tag\"")],
        &[(header::IF_MATCH, "\"other\"")],
    ] {
        let get = ask(GET, fields, Found::File(selected()));
        let answer = ask(Method::HEAD, fields, Found::File(selected()));
        assert_eq!((answer.status, head(&answer)), (get.status, head(&get)));
    }
    // Range is defined for GET alone (RFC 9110, section 14.2).
    let answer = ask(Method::HEAD, &[(header::RANGE, "bytes=0-9")], Found::File(selected()));
    assert_eq!(
        (answer.status, head(&answer)),
        (StatusCode::OK, head(&ask(GET, &[], Found::File(selected()))))
    );
}

#[test]
fn one_range_is_sent_as_it_is() {
    let answer = ask(GET, &[(header::RANGE, "bytes=-100")], Found::File(selected()));
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(body(&answer), "<900+100>");
    assert_eq!(
        head(&answer),
        [
            "accept-ranges: bytes",
            "content-encoding: gzip",
            "content-length: 100",
            "content-range: bytes 900-999/1000",
            "content-type: text/html; charset=utf-8",
            "etag: \"tag\"",
            "last-modified: Sun, 06 Nov 1994 08:49:37 GMT",
            "vary: Accept-Encoding",
            "x-content-type-options: nosniff",
        ]
    );
}

#[test]
fn several_ranges_are_framed() {
    let answer = ask(GET, &[(header::RANGE, "bytes=500-509, 0-9")], Found::File(selected()));
    assert_eq!(answer.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        answer.media_type.as_deref(),
        Some("text/html"),
        "policies match the type of the file"
    );
    let content_type = answer.headers[header::CONTENT_TYPE].to_str().expect("ASCII");
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("a multipart type");
    let framed = body(&answer);
    let part = |range: &str| {
        format!(
            "--{boundary}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Encoding: gzip\r\n\
             Content-Range: bytes {range}/1000\r\n\r\n"
        )
    };
    let (first, second) = (part("500-509"), part("0-9"));
    assert_eq!(
        framed,
        format!("{first}<500+10>\r\n{second}<0+10>\r\n--{boundary}--\r\n")
    );
    // Each span stands as 8 characters here and for 10 bytes in the body, but for `<0+10>` with its 6.
    let length = framed.len() - "<500+10>".len() - "<0+10>".len() + 20;
    assert_eq!(answer.headers[header::CONTENT_LENGTH], length.to_string());
    assert!(
        !answer.headers.contains_key(header::CONTENT_ENCODING),
        "the framing is not coded"
    );
    assert!(
        !answer.headers.contains_key(header::CONTENT_RANGE),
        "RFC 9110, section 15.3.7.2"
    );
    let again = ask(GET, &[(header::RANGE, "bytes=500-509, 0-9")], Found::File(selected()));
    assert_eq!(body(&again), framed, "a resumed request sees the same framing");
}

#[test]
fn not_modified_carries_what_caches_need() {
    let answer = ask(GET, &[(header::IF_NONE_MATCH, "W/\"tag\"")], Found::File(selected()));
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
    assert_eq!(head(&answer), ["etag: \"tag\"", "vary: Accept-Encoding"]);
    assert_eq!(answer.media_type.as_deref(), Some("text/html"));
    assert_eq!(body(&answer), "");
}

#[test]
fn refusals_about_a_representation_name_no_other_bytes() {
    let answer = ask(GET, &[(header::RANGE, "bytes=1000-")], Found::File(selected()));
    assert_eq!(answer.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(
        head(&answer),
        [
            "accept-ranges: bytes",
            "content-length: 26",
            "content-range: bytes */1000",
            "content-type: text/plain; charset=utf-8",
            "vary: Accept-Encoding",
            "x-content-type-options: nosniff",
        ]
    );
    assert_eq!(body(&answer), "416 Range Not Satisfiable\n");
    let answer = ask(GET, &[(header::IF_MATCH, "\"other\"")], Found::File(selected()));
    assert_eq!(answer.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(
        head(&answer),
        [
            "content-length: 24",
            "content-type: text/plain; charset=utf-8",
            "vary: Accept-Encoding",
            "x-content-type-options: nosniff",
        ]
    );
}

#[test]
fn an_empty_file_has_an_empty_body() {
    let mut representation = (*selected().representation).clone();
    representation.length = 0;
    let answer = ask(GET, &[], Found::File(support::selected(representation)));
    assert_eq!((answer.status, body(&answer)), (StatusCode::OK, String::new()));
    assert_eq!(answer.headers[header::CONTENT_LENGTH], "0");
}

#[test]
fn methods_come_before_what_exists() {
    let missing = || Found::Missing {
        page: None,
        status: StatusCode::NOT_FOUND,
    };
    let answer = ask(Method::OPTIONS, &[], missing());
    assert_eq!(
        (answer.status, head(&answer)),
        (StatusCode::NO_CONTENT, vec!["allow: GET, HEAD, OPTIONS".to_owned()])
    );
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::TRACE, Method::PATCH] {
        for found in [missing(), Found::File(selected())] {
            let answer = ask(method.clone(), &[(header::IF_NONE_MATCH, "*")], found);
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!(answer.headers[header::ALLOW], "GET, HEAD, OPTIONS");
            assert_eq!(body(&answer), "405 Method Not Allowed\n");
        }
    }
}

#[test]
fn what_is_missing_is_a_line_a_page_or_a_fallback() {
    let answer = ask(
        GET,
        &[],
        Found::Missing {
            page: None,
            status: StatusCode::GONE,
        },
    );
    assert_eq!(
        (answer.status, body(&answer)),
        (StatusCode::GONE, "410 Gone\n".to_owned())
    );

    // The page of an error has no validators, and no precondition or range of the request is about it (section 13.2.1).
    let fields = [(header::IF_NONE_MATCH, "\"tag\""), (header::RANGE, "bytes=0-9")];
    let answer = ask(
        GET,
        &fields,
        Found::Missing {
            page: Some(selected()),
            status: StatusCode::NOT_FOUND,
        },
    );
    assert_eq!(
        (answer.status, body(&answer)),
        (StatusCode::NOT_FOUND, "<0+1000>".to_owned())
    );
    assert_eq!(
        head(&answer),
        [
            "content-encoding: gzip",
            "content-length: 1000",
            "content-type: text/html; charset=utf-8",
            "vary: Accept-Encoding",
            "x-content-type-options: nosniff",
        ]
    );

    let answer = ask(
        GET,
        &fields,
        Found::Missing {
            page: Some(selected()),
            status: StatusCode::OK,
        },
    );
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
}

#[test]
fn a_redirect_is_relative_and_permanent() {
    let answer = ask(GET, &[], Found::Redirect("docs/?a=b".to_owned()));
    assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(answer.headers[header::LOCATION], "docs/?a=b");
    let answer = ask(GET, &[], Found::Redirect("docs\r\nSet-Cookie: a=b".to_owned()));
    assert_eq!(answer.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(!answer.headers.contains_key(header::LOCATION));
    let elsewhere = || Found::Elsewhere {
        status: StatusCode::TEMPORARY_REDIRECT,
        location: HeaderValue::from_static("https://a.org/"),
    };
    let answer = ask(
        GET,
        &[(header::IF_NONE_MATCH, "*"), (header::RANGE, "bytes=0-0")],
        elsewhere(),
    );
    assert_eq!(
        (answer.status, body(&answer)),
        (StatusCode::TEMPORARY_REDIRECT, "307 Temporary Redirect\n".to_owned())
    );
    assert_eq!(answer.headers[header::LOCATION], "https://a.org/");
    assert_eq!(
        ask(Method::POST, &[], elsewhere()).status,
        StatusCode::METHOD_NOT_ALLOWED
    );
}

#[test]
fn failures_say_when_to_come_back() {
    let failed = |status, retry_after| ask(GET, &[], Found::Failed { status, retry_after });
    let answer = failed(StatusCode::SERVICE_UNAVAILABLE, Some(Duration::from_millis(1001)));
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers[header::RETRY_AFTER], "2");
    assert_eq!(body(&answer), "503 Service Unavailable\n");
    assert!(
        !failed(StatusCode::FORBIDDEN, None)
            .headers
            .contains_key(header::RETRY_AFTER)
    );
    assert_eq!(
        failed(StatusCode::NOT_ACCEPTABLE, None).headers[header::VARY],
        "Accept-Encoding"
    );
}

#[test]
fn a_listing_varies_with_accept() {
    let listing = Listing {
        content_type: HeaderValue::from_static("text/html; charset=utf-8"),
        content: Content::NONE,
    };
    let answer = ask(GET, &[(header::RANGE, "bytes=0-9")], Found::Listing(listing));
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.media_type.as_deref(), Some("text/html"));
    assert_eq!(
        head(&answer),
        [
            "content-type: text/html; charset=utf-8",
            "vary: Accept",
            "x-content-type-options: nosniff"
        ]
    );
}
