//! Every combination of method, precondition, range and variant, answered as the reference says.
use crate::oracle::preconditions::{Current, Fields, Outcome, headers, respond};
use crate::support;
use http::{HeaderValue, Method};
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};
use wasmserve_files::{Answer, Content, Found, Part, Representation, answer};

/// A representation that requests are about.
struct Variant {
    current: Current,
    coding: Option<&'static str>,
    negotiated: bool,
}

const MODIFIED: u64 = 784_111_777;
const LAST_MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

fn variants() -> Vec<Variant> {
    let current = |length, modified, etag| Current { length, modified, etag };
    let plain = |current| Variant {
        current,
        coding: None,
        negotiated: false,
    };
    vec![
        plain(current(1000, Some(MODIFIED), "\"tag\"")),
        plain(current(1000, Some(MODIFIED), "W/\"tag\"")),
        plain(current(0, Some(MODIFIED), "\"tag\"")),
        plain(current(1, None, "\"tag\"")),
        Variant {
            current: current(1000, Some(MODIFIED), "\"tag\""),
            coding: None,
            negotiated: true,
        },
        Variant {
            current: current(400, Some(MODIFIED), "\"tag-gzip\""),
            coding: Some("gzip"),
            negotiated: true,
        },
    ]
}

/// Fields of preconditions; `TAG` stands for the current entity tag.
const PRECONDITIONS: &[&[(&str, &str)]] = &[
    &[],
    &[("if-match", "TAG")],
    &[("if-match", "*")],
    &[("if-match", "\"tag\"")],
    &[("if-match", "\"other\"")],
    &[("if-match", "\"other\", TAG")],
    &[("if-match", "\"other\""), ("if-match", "TAG")],
    &[("if-match", "W/\"tag\"")],
    &[("if-match", "tag")],
    &[("if-match", "")],
    &[("if-unmodified-since", LAST_MODIFIED)],
    &[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")],
    &[("if-unmodified-since", "Sunday, 06-Nov-94 08:49:36 GMT")],
    &[("if-unmodified-since", "yesterday")],
    &[
        ("if-match", "*"),
        ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT"),
    ],
    &[("if-none-match", "TAG")],
    &[("if-none-match", "*")],
    &[("if-none-match", "W/\"tag\"")],
    &[("if-none-match", "\"other\"")],
    &[("if-none-match", "\"other\" , TAG")],
    &[("if-none-match", "\"other\""), ("if-none-match", "TAG")],
    &[("if-none-match", "\"other, TAG")],
    &[("if-modified-since", LAST_MODIFIED)],
    &[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")],
    &[("if-modified-since", "Sun Nov  6 08:49:38 1994")],
    &[
        ("if-modified-since", LAST_MODIFIED),
        ("if-modified-since", LAST_MODIFIED),
    ],
    &[("if-none-match", "\"other\""), ("if-modified-since", LAST_MODIFIED)],
    &[("if-match", "\"other\""), ("if-none-match", "TAG")],
    &[("if-unmodified-since", LAST_MODIFIED), ("if-none-match", "\"other\"")],
];

const RANGES: &[&[(&str, &str)]] = &[
    &[],
    &[("range", "bytes=0-")],
    &[("range", "bytes=0-0")],
    &[("range", "bytes=100-199")],
    &[("range", "bytes=-10")],
    &[("range", "bytes=-0")],
    &[("range", "bytes=-99999999999999999999")],
    &[("range", "bytes=1000-")],
    &[("range", "bytes=999-99999999999999999999")],
    &[("range", "bytes=5-4")],
    &[("range", "bytes=0-9,300-309")],
    &[("range", "bytes=300-309, 0-9")],
    &[("range", "bytes=0-9,90-99")],
    &[("range", "bytes=0-9,89-99, 5000-")],
    &[("range", "lines=0-9")],
    &[("range", "bytes=0-9"), ("range", "bytes=20-29")],
    &[("range", "bytes=0-9"), ("if-range", "TAG")],
    &[("range", "bytes=0-9"), ("if-range", "\"other\"")],
    &[("range", "bytes=0-9"), ("if-range", LAST_MODIFIED)],
    &[("range", "bytes=0-9"), ("if-range", "Sun, 06 Nov 1994 08:49:38 GMT")],
    &[("range", "bytes=5000-"), ("if-range", "\"other\"")],
    &[("range", "bytes=5000-"), ("if-range", "TAG")],
    &[("range", "bytes=0-9"), ("if-range", "TAG"), ("if-range", "TAG")],
    &[("if-range", "TAG")],
];

/// Byte `n` of every file.
fn byte(n: u64) -> u8 {
    (n % 251) as u8
}

fn bytes(first: u64, last: u64) -> Vec<u8> {
    (first..=last).map(byte).collect()
}

fn ask(method: &str, fields: &Fields, variant: &Variant) -> Answer {
    let Current { length, modified, etag } = variant.current;
    let representation = Representation {
        length,
        modified: modified.map(|seconds| UNIX_EPOCH + Duration::new(seconds, 999_999_999)),
        etag: HeaderValue::from_static(etag),
        content_type: HeaderValue::from_static("image/png"),
        coding: variant.coding,
        negotiated: variant.negotiated,
    };
    let method: Method = method.parse().expect("a method");
    answer(
        &method,
        &headers(fields),
        Found::File(support::selected(representation)),
    )
}

fn body(answer: &Answer) -> Vec<u8> {
    let Content::Parts(parts) = &answer.content else {
        panic!("a body of known length")
    };
    let piece = |part: &Part| match part {
        Part::Bytes(bytes) => bytes.to_vec(),
        Part::File(span) => (span.offset..span.offset + span.length).map(byte).collect(),
        Part::Object(_) => panic!("no store is asked"),
    };
    parts.iter().flat_map(piece).collect()
}

fn head(answer: &Answer) -> BTreeMap<String, String> {
    let line = |(name, value): (&http::HeaderName, &HeaderValue)| {
        (name.to_string(), value.to_str().expect("visible ASCII").to_owned())
    };
    // All answers have the same Server.
    let fields = answer.headers.iter().filter(|(name, _)| *name != http::header::SERVER);
    fields.map(line).collect()
}

/// The parts of a multipart body (RFC 2046, section 5.1.1): fields and bytes of each.
fn parts(content_type: &str, body: &[u8]) -> Vec<(BTreeMap<String, String>, Vec<u8>)> {
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .expect("a multipart type");
    let separator = format!("\r\n--{boundary}");
    let framed = [b"\r\n", body].concat();
    let find = |from: usize, what: &[u8]| {
        framed[from..]
            .windows(what.len())
            .position(|window| window == what)
            .map(|at| from + at)
    };
    let mut parts = Vec::new();
    let mut at = find(0, separator.as_bytes()).expect("a first separator") + separator.len();
    assert_eq!(at, separator.len(), "nothing before the first separator");
    while !framed[at..].starts_with(b"--") {
        assert!(framed[at..].starts_with(b"\r\n"), "a line break after a separator");
        let blank = find(at, b"\r\n\r\n").expect("a blank line after the fields");
        let fields = std::str::from_utf8(&framed[at..blank]).expect("ASCII");
        let fields = fields.lines().filter_map(|line| line.split_once(": "));
        let fields = fields
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let end = find(blank + 4, separator.as_bytes()).expect("a separator after the bytes");
        parts.push((fields, framed[blank + 4..end].to_vec()));
        at = end + separator.len();
    }
    assert_eq!(&framed[at..], b"--\r\n", "nothing after the last separator");
    parts
}

/// What the reference's outcome looks like on the wire; everything but the body of an error and a multipart body.
fn expected_head(outcome: &Outcome, variant: &Variant) -> BTreeMap<String, String> {
    let mut head = BTreeMap::new();
    let mut set = |name: &str, value: String| assert!(head.insert(name.to_owned(), value).is_none());
    let length = variant.current.length;
    if variant.negotiated {
        set("vary", "Accept-Encoding".to_owned());
    }
    if matches!(outcome.status, 200 | 206 | 304) {
        set("etag", variant.current.etag.to_owned());
    }
    if matches!(outcome.status, 200 | 206) {
        set("content-type", "image/png".to_owned());
        if variant.current.modified.is_some() {
            set("last-modified", LAST_MODIFIED.to_owned());
        }
        if let Some(coding) = variant.coding {
            set("content-encoding", coding.to_owned());
        }
    }
    if matches!(outcome.status, 200 | 206 | 416) {
        set("accept-ranges", "bytes".to_owned());
    }
    match (outcome.status, &outcome.runs[..]) {
        (200, _) => set("content-length", length.to_string()),
        (206, [(first, last)]) => {
            set("content-length", (last - first + 1).to_string());
            set("content-range", format!("bytes {first}-{last}/{length}"));
        }
        (416, _) => set("content-range", format!("bytes */{length}")),
        _ => {}
    }
    if outcome.status != 304 {
        set("x-content-type-options", "nosniff".to_owned());
    }
    head
}

fn compare(method: &str, fields: &Fields, variant: &Variant, outcome: &Outcome) {
    let answer = ask(method, fields, variant);
    let context = format!("{method} {fields:?} of {:?}", variant.current);
    assert_eq!(answer.status.as_u16(), outcome.status, "{context}");
    let mut head = head(&answer);
    let body = body(&answer);
    let mut expected = expected_head(outcome, variant);
    match (outcome.status, &outcome.runs[..]) {
        (200, _) => assert_eq!(
            body,
            (0..variant.current.length).map(byte).collect::<Vec<u8>>(),
            "{context}"
        ),
        (206, [(first, last)]) => assert_eq!(body, bytes(*first, *last), "{context}"),
        (206, runs) => {
            let content_type = head
                .insert("content-type".to_owned(), "image/png".to_owned())
                .expect("a type");
            let length = head.remove("content-length");
            assert_eq!(length, Some(body.len().to_string()), "{context}");
            // The coding moves into the parts.
            let coding = expected.remove("content-encoding");
            let parts = parts(&content_type, &body);
            assert_eq!(parts.len(), runs.len(), "{context}");
            for ((mut fields, part), (first, last)) in parts.into_iter().zip(runs) {
                let range = format!("bytes {first}-{last}/{}", variant.current.length);
                assert_eq!(part, bytes(*first, *last), "{context}");
                assert_eq!(fields.remove("content-range"), Some(range), "{context}");
                assert_eq!(fields.remove("content-type").as_deref(), Some("image/png"), "{context}");
                assert_eq!(fields.remove("content-encoding"), coding, "{context}");
                assert!(fields.is_empty(), "{context}: {fields:?}");
            }
        }
        (304, _) => assert!(body.is_empty(), "{context}"),
        _ => {
            // A line that says the status.
            assert!(body.starts_with(outcome.status.to_string().as_bytes()), "{context}");
            expected.insert("content-type".to_owned(), "text/plain; charset=utf-8".to_owned());
            expected.insert("content-length".to_owned(), body.len().to_string());
        }
    }
    assert_eq!(head, expected, "{context}");
}

fn fields(groups: &[&[(&'static str, &str)]], tag: &str) -> Fields {
    groups
        .concat()
        .into_iter()
        .map(|(name, value)| (name, value.replace("TAG", tag)))
        .collect()
}

#[test]
fn every_combination_is_answered_as_the_reference_says() {
    let mut seen: BTreeMap<u16, usize> = BTreeMap::new();
    for variant in variants() {
        for preconditions in PRECONDITIONS {
            for ranges in RANGES {
                let fields = fields(&[preconditions, ranges], variant.current.etag);
                for method in ["GET", "HEAD"] {
                    let outcome = respond(method, &fields, &variant.current);
                    compare(method, &fields, &variant, &outcome);
                    *seen.entry(outcome.status).or_default() += 1;
                }
                for (method, status) in [("OPTIONS", 204), ("POST", 405), ("DELETE", 405), ("PROPFIND", 405)] {
                    let answer = ask(method, &fields, &variant);
                    assert_eq!(answer.status.as_u16(), status, "{method} {fields:?}");
                    assert_eq!(answer.headers["allow"], "GET, HEAD, OPTIONS");
                }
            }
        }
    }
    assert!(seen.values().sum::<usize>() >= 250, "the table has shrunk: {seen:?}");
    let statuses: Vec<u16> = seen.keys().copied().collect();
    assert_eq!(statuses, [200, 206, 304, 412, 416]);
}

/// Anchors: cases whose outcome is written down by hand, from the RFC's text, so that the reference is held to something
/// too. `GET` of the first variant unless the line says otherwise.
#[test]
fn the_reference_says_what_the_rfc_says() {
    let get = |fields: &[(&'static str, &str)]| case("GET", fields, 0);
    // Section 13.1.1: strong comparison; `*` holds for whatever exists.
    assert_eq!(get(&[("if-match", "\"tag\"")]), "200");
    assert_eq!(get(&[("if-match", "W/\"tag\"")]), "412");
    assert_eq!(case("GET", &[("if-match", "W/\"tag\"")], 1), "412");
    assert_eq!(case("HEAD", &[("if-match", "\"x\"")], 0), "412");
    assert_eq!(get(&[("if-match", "*")]), "200");
    // Section 13.1.2: weak comparison.
    assert_eq!(get(&[("if-none-match", "W/\"tag\"")]), "304");
    assert_eq!(case("GET", &[("if-none-match", "\"tag\"")], 1), "304");
    assert_eq!(case("HEAD", &[("if-none-match", "*")], 0), "304");
    assert_eq!(
        case("GET", &[("if-none-match", "\"tag\"")], 5),
        "200",
        "the variant has a tag of its own"
    );
    // Section 13.1.3: a recipient must ignore it beside If-None-Match, and when it is no single valid date.
    assert_eq!(get(&[("if-modified-since", LAST_MODIFIED)]), "304");
    assert_eq!(get(&[("if-modified-since", "Sunday, 06-Nov-94 08:49:37 GMT")]), "304");
    assert_eq!(get(&[("if-modified-since", "Sun Nov  6 08:49:37 1994")]), "304");
    assert_eq!(get(&[("if-modified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]), "200");
    assert_eq!(
        get(&[("if-modified-since", LAST_MODIFIED), ("if-none-match", "\"x\"")]),
        "200"
    );
    assert_eq!(
        get(&[
            ("if-modified-since", LAST_MODIFIED),
            ("if-modified-since", LAST_MODIFIED)
        ]),
        "200"
    );
    assert_eq!(
        case("GET", &[("if-modified-since", LAST_MODIFIED)], 3),
        "200",
        "without a date of its own"
    );
    // Section 13.1.4.
    assert_eq!(get(&[("if-unmodified-since", LAST_MODIFIED)]), "200");
    assert_eq!(get(&[("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT")]), "412");
    assert_eq!(
        get(&[
            ("if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT"),
            ("if-match", "*")
        ]),
        "200"
    );
    assert_eq!(get(&[("if-unmodified-since", "0")]), "200");
    // Section 13.2.2: what fails first counts.
    assert_eq!(get(&[("if-match", "\"x\""), ("if-none-match", "\"tag\"")]), "412");
    assert_eq!(get(&[("range", "bytes=5000-"), ("if-none-match", "\"tag\"")]), "304");
    // Section 13.1.5: exact and strong, or the whole.
    let part = [("range", "bytes=0-9")];
    assert_eq!(get(&[part[0], ("if-range", "\"tag\"")]), "206 0-9");
    assert_eq!(get(&[part[0], ("if-range", "W/\"tag\"")]), "200");
    assert_eq!(case("GET", &[part[0], ("if-range", "W/\"tag\"")], 1), "200");
    assert_eq!(get(&[part[0], ("if-range", "\"x\"")]), "200");
    assert_eq!(get(&[part[0], ("if-range", LAST_MODIFIED)]), "206 0-9");
    assert_eq!(
        get(&[part[0], ("if-range", "Sun, 06 Nov 1994 08:49:38 GMT")]),
        "200",
        "no later date will do"
    );
    assert_eq!(
        case("GET", &[part[0], ("if-range", LAST_MODIFIED)], 1),
        "200",
        "a weak date"
    );
    assert_eq!(get(&[part[0], ("if-range", "*")]), "200");
    let twice = ("if-range", "\"tag\"");
    assert_eq!(get(&[part[0], twice, twice]), "200", "no list");
    // Section 14.1.2 with its examples for 10,000 bytes scaled down to 1,000.
    assert_eq!(get(&[("range", "bytes=0-49")]), "206 0-49");
    assert_eq!(get(&[("range", "bytes=50-99")]), "206 50-99");
    assert_eq!(get(&[("range", "bytes=-50")]), "206 950-999");
    assert_eq!(get(&[("range", "bytes=950-")]), "206 950-999");
    assert_eq!(get(&[("range", "bytes=0-0,-1")]), "206 0-0 999-999");
    assert_eq!(
        get(&[("range", "bytes= 0-99, 450-549, -50")]),
        "206 0-99 450-549 950-999"
    );
    assert_eq!(get(&[("range", "bytes=50-60,61-99")]), "206 50-99");
    assert_eq!(get(&[("range", "bytes=50-70,61-99")]), "206 50-99");
    assert_eq!(get(&[("range", "bytes=-5000")]), "206 0-999");
    // Section 15.3.7.2: parts in the order of the request, joined where the gap is smaller than the framing.
    assert_eq!(get(&[("range", "bytes=500-509,0-9")]), "206 500-509 0-9");
    assert_eq!(get(&[("range", "bytes=0-9,89-99")]), "206 0-99");
    assert_eq!(get(&[("range", "bytes=0-9,90-99")]), "206 0-9 90-99");
    assert_eq!(get(&[("range", "bytes=500-509,0-9,505-600")]), "206 500-600 0-9");
    // Section 14.2: ignored. Section 15.5.17: not satisfiable.
    assert_eq!(get(&[("range", "lines=0-9")]), "200");
    assert_eq!(get(&[("range", "bytes=9-0")]), "200");
    assert_eq!(get(&[("range", "bytes=")]), "200");
    assert_eq!(get(&[("range", "BYTES=0-9")]), "206 0-9");
    assert_eq!(get(&[("range", "bytes=1000-")]), "416");
    assert_eq!(get(&[("range", "bytes=-0")]), "416");
    assert_eq!(get(&[("range", "bytes=1000-,0-0")]), "206 0-0");
    // An empty file: ignored, as nginx and Go do.
    assert_eq!(case("GET", &[("range", "bytes=0-")], 2), "200");
    assert_eq!(case("GET", &[("range", "bytes=-1")], 2), "200");
    assert_eq!(case("HEAD", &[("range", "bytes=0-9")], 0), "200");
    assert_eq!(case("HEAD", &[("range", "bytes=1000-")], 0), "200");
    let flood = |count: usize| format!("bytes={}", vec!["0-0"; count].join(","));
    assert_eq!(get(&[("range", &flood(200))]), "206 0-0");
    assert_eq!(get(&[("range", &flood(201))]), "200");
}

/// Status and ranges of a request as reference and server agree on them.
#[track_caller]
fn case(method: &str, fields: &[(&'static str, &str)], variant: usize) -> String {
    let variant = &variants()[variant];
    let fields: Fields = fields
        .iter()
        .map(|(name, value)| (*name, (*value).to_owned()))
        .collect();
    let outcome = respond(method, &fields, &variant.current);
    compare(method, &fields, variant, &outcome);
    let runs = outcome.runs.iter().map(|(first, last)| format!(" {first}-{last}"));
    format!("{}{}", outcome.status, runs.collect::<String>())
}
