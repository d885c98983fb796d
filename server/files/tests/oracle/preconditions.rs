//! The whole of a GET or HEAD, as RFC 9110, section 13.2.2, numbers its steps.
use super::entity_tag::{self, Listed};
use super::input::Input;
use super::{date, range};
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::{Duration, UNIX_EPOCH};
use wasmserve_files::{Action, Plan, Representation, plan};

/// A representation in the words of the reference.
#[derive(Clone, Debug)]
pub struct Current {
    pub length: u64,
    /// Seconds since 1970; what is sent in Last-Modified.
    pub modified: Option<u64>,
    pub etag: &'static str,
}

pub type Fields = Vec<(&'static str, String)>;

/// Status and ranges.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: u16,
    pub runs: Vec<(u64, u64)>,
}

fn lines<'a>(fields: &'a Fields, name: &str) -> Vec<&'a str> {
    fields
        .iter()
        .filter(|(other, _)| *other == name)
        .map(|(_, value)| value.as_str())
        .collect()
}

/// Sections 13.1.1 and 13.1.2: whether the field is sent, and whether it names the current representation.
fn names_current(fields: &Fields, name: &str, current: &Current, equal: fn(&str, &str) -> bool) -> Option<bool> {
    let lines = lines(fields, name);
    if lines.is_empty() {
        return None;
    }
    Some(match entity_tag::read(&lines.join(", ")) {
        Listed::Anything => true,
        Listed::Tags(tags) => tags.iter().any(|tag| equal(tag, current.etag)),
        Listed::Malformed => false,
    })
}

/// Sections 13.1.3 and 13.1.4: whether there is a date to heed, and whether the representation changed after it.
fn changed_after(fields: &Fields, name: &str, current: &Current) -> Option<bool> {
    let [value] = lines(fields, name)[..] else { return None };
    Some(current.modified? > date::read(value)?)
}

/// Section 13.1.5.
fn if_range_is_true(value: &str, current: &Current) -> bool {
    match entity_tag::one(value) {
        Some(tag) => entity_tag::equal_strongly(&tag, current.etag),
        None => {
            let date = date::read(value);
            date.is_some() && date == current.modified && !current.etag.starts_with("W/")
        }
    }
}

pub fn respond(method: &str, fields: &Fields, current: &Current) -> Outcome {
    let status = |status| Outcome {
        status,
        runs: Vec::new(),
    };
    let if_match = names_current(fields, "if-match", current, entity_tag::equal_strongly);
    let if_none_match = names_current(fields, "if-none-match", current, entity_tag::equal_weakly);
    // "1. When recipient is the origin server and If-Match is present"
    if if_match == Some(false) {
        return status(412);
    }
    // "2. When recipient is the origin server, If-Match is not present, and If-Unmodified-Since is present"
    if if_match.is_none() && changed_after(fields, "if-unmodified-since", current) == Some(true) {
        return status(412);
    }
    // "3. When If-None-Match is present": false for GET or HEAD
    if if_none_match == Some(true) {
        return status(304);
    }
    // "4. When the method is GET or HEAD, If-None-Match is not present, and If-Modified-Since is present"
    if if_none_match.is_none() && changed_after(fields, "if-modified-since", current) == Some(false) {
        return status(304);
    }
    // "5. When the method is GET and both Range and If-Range are present"
    let ranges = lines(fields, "range");
    let if_range = lines(fields, "if-range");
    let applicable = match if_range[..] {
        [] => true,
        [value] => if_range_is_true(value, current),
        _ => false,
    };
    if method == "GET" && ranges.len() == 1 && applicable {
        return match range::read(ranges[0], current.length) {
            range::Wanted::Whole => status(200),
            range::Wanted::Runs(runs) => Outcome { status: 206, runs },
            range::Wanted::Nothing => status(416),
        };
    }
    // "6. Otherwise, perform the requested method and respond according to its success or failure."
    status(200)
}

pub fn headers(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let value = HeaderValue::from_bytes(value.as_bytes()).expect("a field value");
        headers.append(HeaderName::from_static(name), value);
    }
    headers
}

pub fn representation(current: &Current) -> Representation {
    Representation {
        length: current.length,
        // A fraction of a second that no HTTP-date can say.
        modified: current
            .modified
            .map(|seconds| UNIX_EPOCH + Duration::new(seconds, 500_000_000)),
        etag: HeaderValue::from_static(current.etag),
        content_type: HeaderValue::from_static("text/css"),
        coding: None,
        negotiated: false,
    }
}

fn of(plan: &Plan) -> Outcome {
    let runs = match plan {
        Plan::Part(range) => vec![(range.first, range.last)],
        Plan::Parts(ranges) => ranges.iter().map(|range| (range.first, range.last)).collect(),
        Plan::Whole | Plan::NotModified | Plan::PreconditionFailed | Plan::RangeNotSatisfiable => Vec::new(),
    };
    Outcome {
        status: plan.status().as_u16(),
        runs,
    }
}

const TAGS: &[&str] = &[
    "\"a\"",
    "W/\"a\"",
    "\"b\"",
    "\"a,b\"",
    "\"\"",
    ",",
    ", ",
    " ",
    "\t",
    "*",
    "a",
    "W/",
    "w/\"a\"",
    "\"",
    "\"é\"",
    "\"a\" \"b\"",
];
const DATES: &[&str] = &[
    "Sun, 06 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 08:49:36 GMT",
    "Sun, 06 Nov 1994 08:49:38 GMT",
    "Sunday, 06-Nov-94 08:49:37 GMT",
    "Sun Nov  6 08:49:37 1994",
    "Mon, 06 Nov 1994 08:49:37 GMT",
    "Tue, 29 Feb 2000 00:00:00 GMT",
    "Mon, 29 Feb 2100 00:00:00 GMT",
    "Fri, 31 Dec 9999 23:59:59 GMT",
    "Thu, 01 Jan 1970 00:00:00 GMT",
    "Wed, 31 Dec 1969 23:59:59 GMT",
    "Sun, 06 Nov 1994 08:49:37 UTC",
    "Sun, 6 Nov 1994 08:49:37 GMT",
    "Sun, 06 Nov 1994 24:00:00 GMT",
    "Sun Nov 06 08:49:37 1994",
    "784111777",
];

fn value(input: &mut Input<'_>, name: &str) -> String {
    match name {
        "range" => return range::value(input),
        "if-match" | "if-none-match" => {
            return input.list(TAGS, 4, |input| {
                input
                    .one_of(&["\"a\"", "\"b\"", "W/\"a\"", "\"a,b\"", "\"\"", "W/\"\""])
                    .to_owned()
            });
        }
        "if-range" if input.below(2) == 0 => return input.one_of(TAGS).to_owned(),
        _ => {}
    }
    let mut date = input.one_of(DATES).to_owned();
    if input.rarely(4) {
        // One character changed: most often no date any more, sometimes another one.
        let at = input.below(date.len() as u64) as usize;
        date.replace_range(
            at..=at,
            input.one_of(&["0", "1", "2", "9", " ", ",", "-", ":", "x", "", "\u{e9}"]),
        );
    }
    date
}

pub fn check(data: &[u8]) -> &'static str {
    const NAMES: &[&str] = &[
        "range",
        "range",
        "range",
        "if-match",
        "if-unmodified-since",
        "if-none-match",
        "if-modified-since",
        "if-range",
    ];
    let mut input = Input::new(data);
    let current = Current {
        length: input.one_of(&[1000, 200, 1, 1, 0]),
        modified: input.one_of(&[Some(784_111_777), None, Some(0), Some(253_402_300_799)]),
        etag: input.one_of(&["\"a\"", "W/\"a\"", "\"\"", "\"a,b\""]),
    };
    let method = input.one_of(&["GET", "HEAD"]);
    let mut fields = Fields::new();
    for _ in 0..=input.below(2) {
        let name = input.one_of(NAMES);
        let value = value(&mut input, name);
        fields.push((name, value));
    }
    let action = if method == "GET" { Action::Get } else { Action::Head };
    let planned = of(&plan(action, &headers(&fields), &representation(&current)));
    assert_eq!(
        planned,
        respond(method, &fields, &current),
        "{method} {fields:#?} of {current:?}"
    );
    match planned.status {
        200 => "200",
        206 => "206",
        304 => "304",
        412 => "412",
        416 => "416",
        other => panic!("no plan leads to {other}"),
    }
}
