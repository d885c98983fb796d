//! Ranges as a set of bytes: every position is looked at on its own (RFC 9110, section 14).
use super::input::Input;
use http::{HeaderMap, HeaderValue, header};
use wasmserve_files::range::{self, ByteRange, Requested};

const WORDS: &[&str] = &[
    "bytes=",
    "-",
    "-",
    ",",
    ",",
    ", ",
    " ,\t",
    "0",
    "1",
    "9",
    "80",
    "81",
    "99",
    "100",
    "180",
    "181",
    "500",
    "999",
    "1000",
    "1001",
    "1999",
    "2000",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999",
    "=",
    " ",
    "x",
    "+1",
    "0-0",
    "-1",
    "0-",
    "100-199",
    "300-",
    "-50",
    "bytes",
    "BYTES=",
    "items=",
];

/// What a range field asks for, of `length` bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The field is to be ignored.
    Whole,
    /// First and last byte, in the order to be sent; never empty.
    Runs(Vec<(u64, u64)>),
    Nothing,
}

/// A range-spec by its grammar; numbers are kept wide so that none wraps.
enum Spec {
    Int(u128, Option<u128>),
    Suffix(u128),
}

fn digits(text: &str) -> Option<u128> {
    let is_digits = !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    // More digits than 128 bits hold are far beyond any length, whatever they are.
    is_digits.then(|| text.parse().unwrap_or(u128::MAX))
}

fn spec(text: &str) -> Option<Spec> {
    if let Some(suffix) = text.strip_prefix('-') {
        return digits(suffix).map(Spec::Suffix);
    }
    let (first, last) = text.split_once('-')?;
    let from = digits(first)?;
    if last.is_empty() {
        return Some(Spec::Int(from, None));
    }
    let to = digits(last)?;
    // With as many digits each, their order as text is that of the numbers.
    let width = first.len().max(last.len());
    (format!("{first:0>width$}") <= format!("{last:0>width$}")).then_some(Spec::Int(from, Some(to)))
}

pub fn read(value: &str, length: u64) -> Wanted {
    let value = value.trim_matches([' ', '\t']);
    let Some((unit, set)) = value.split_once('=') else {
        return Wanted::Whole;
    };
    if !unit.eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let elements: Vec<&str> = set
        .split(',')
        .map(|element| element.trim_matches([' ', '\t']))
        .collect();
    let elements: Vec<&str> = elements.into_iter().filter(|element| !element.is_empty()).collect();
    if elements.is_empty() || elements.len() > 200 {
        return Wanted::Whole;
    }
    let Some(specs) = elements.into_iter().map(spec).collect::<Option<Vec<Spec>>>() else {
        return Wanted::Whole;
    };
    if length == 0 {
        // "A server MAY ignore the Range header field" (section 14.2).
        return Wanted::Whole;
    }
    let size = u128::from(length);
    let satisfiable = |spec: &Spec| match spec {
        Spec::Int(first, _) => *first < size,
        Spec::Suffix(suffix) => *suffix != 0,
    };
    let names = |spec: &Spec, byte: u128| match spec {
        Spec::Int(first, last) => *first <= byte && last.is_none_or(|last| byte <= last),
        Spec::Suffix(suffix) => size - byte <= *suffix,
    };
    if !specs.iter().any(satisfiable) {
        return Wanted::Nothing;
    }
    // For each byte the first spec that names it.
    let mut asked: Vec<Option<usize>> = (0..size)
        .map(|byte| specs.iter().position(|spec| satisfiable(spec) && names(spec, byte)))
        .collect();
    fill_short_gaps(&mut asked);
    let mut runs: Vec<(usize, u64, u64)> = Vec::new();
    for (byte, spec) in (0u64..).zip(&asked) {
        match (spec, runs.last_mut()) {
            (Some(spec), Some((order, _, last))) if *last + 1 == byte => {
                *order = (*order).min(*spec);
                *last = byte;
            }
            (Some(spec), _) => runs.push((*spec, byte, byte)),
            (None, _) => {}
        }
    }
    runs.sort();
    Wanted::Runs(runs.into_iter().map(|(_, first, last)| (first, last)).collect())
}

/// Gaps of fewer than 80 bytes between wanted bytes are wanted too, by nobody in particular.
fn fill_short_gaps(asked: &mut [Option<usize>]) {
    let wanted: Vec<usize> = (0..asked.len()).filter(|byte| asked[*byte].is_some()).collect();
    for pair in wanted.windows(2) {
        let gap = pair[0] + 1..pair[1];
        if gap.len() < 80 {
            asked[gap].fill(Some(usize::MAX));
        }
    }
}

pub fn of(requested: &Requested) -> Wanted {
    let ends = |range: &ByteRange| (range.first, range.last);
    match requested {
        Requested::Whole => Wanted::Whole,
        Requested::One(range) => Wanted::Runs(vec![ends(range)]),
        Requested::Several(ranges) => {
            assert!(ranges.len() > 1, "one range is not several");
            Wanted::Runs(ranges.iter().map(ends).collect())
        }
        Requested::Unsatisfiable => Wanted::Nothing,
    }
}

fn element(input: &mut Input<'_>) -> String {
    const NUMBERS: &[&str] = &[
        "0",
        "1",
        "79",
        "80",
        "81",
        "160",
        "161",
        "199",
        "200",
        "500",
        "999",
        "1000",
        "1999",
        "2000",
        "00090",
        "18446744073709551615",
        "18446744073709551616",
    ];
    let (first, last) = (input.one_of(NUMBERS), input.one_of(NUMBERS));
    match input.below(4) {
        0 => format!("{first}-"),
        1 => format!("-{last}"),
        _ if first.len() > last.len() => format!("{last}-{first}"),
        _ => format!("{first}-{last}"),
    }
}

/// A value of Range.
pub fn value(input: &mut Input<'_>) -> String {
    let mut value = input.list(WORDS, 6, element);
    if !input.rarely(8) {
        value.insert_str(0, "bytes=");
    }
    if input.rarely(16) {
        let count = 195 + input.below(10);
        value.push_str(&",5-6".repeat(count as usize));
    }
    value
}

pub fn check(data: &[u8]) -> &'static str {
    let mut input = Input::new(data);
    let length = input.one_of(&[1000, 1000, 200, 2000, 0, 1, 80, 81]);
    let value = value(&mut input);
    let mut headers = HeaderMap::new();
    headers.append(
        header::RANGE,
        HeaderValue::from_bytes(value.as_bytes()).expect("a field value"),
    );
    let requested = range::requested(&headers, length);
    assert_eq!(of(&requested), read(&value, length), "{value:?} of {length}");

    if let Requested::Several(ranges) = &requested {
        // A flood costs no more than the whole file: 80 bytes are less than any framing.
        let sent: u64 = ranges.iter().map(|range| range.length() + range::SMALLEST_FRAME).sum();
        assert!(sent <= length + range::SMALLEST_FRAME, "{sent} bytes for {length}");
    }
    headers.append(header::RANGE, HeaderValue::from_static("bytes=0-0"));
    assert_eq!(
        range::requested(&headers, length),
        Requested::Whole,
        "a repeated field is ignored"
    );
    match requested {
        Requested::Whole => "whole",
        Requested::One(_) => "one",
        Requested::Several(_) => "several",
        Requested::Unsatisfiable => "nothing",
    }
}
