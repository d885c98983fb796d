//! Paths, read character by character.
use super::input::Input;
use std::path::{Component, Path};
use wasmserve_files::SitePath;

const WORDS: &[&str] = &[
    "/",
    "/",
    "/",
    "a",
    "b",
    ".",
    "..",
    "%2e",
    "%2E",
    "%2f",
    "%2F",
    "%5c",
    "%5C",
    "\\",
    "%00",
    "\0",
    "%c0%af",
    "%c3%a9",
    "é",
    "%",
    "%z",
    "%4",
    "%25",
    "%252e",
    "%252f",
    " ",
    "%20",
    "+",
    "\u{85}",
    "%c2%85",
    "%7f",
    "~",
    ":",
    "a:b",
    "?",
    "#",
    "%ed%a0%80",
    "%f4%90%80%80",
    "%f0%9f%98%80",
    "\u{1f600}",
    "...",
    ".well-known",
    "\r\n",
    "%0d%0a",
    ";x=y",
    "@",
    "%61",
    "index.html",
];

/// What `encoded` names, by the RFC's grammar, one condition at a time.
pub fn read(encoded: &str) -> Option<String> {
    let text: Vec<char> = encoded.chars().collect();
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text[at] == '%' {
            let digits: String = text.get(at + 1..at + 3)?.iter().collect();
            if !digits.chars().all(|c| "0123456789abcdefABCDEF".contains(c))
                || ["2f", "5c"].contains(&&*digits.to_lowercase())
            {
                return None;
            }
            bytes.push(u8::from_str_radix(&digits, 16).ok()?);
            at += 3;
        } else {
            bytes.extend(text[at].to_string().bytes());
            at += 1;
        }
    }
    let decoded = utf8(&bytes)?;
    let printable = decoded
        .chars()
        .all(|c| c as u32 >= 0x20 && !(0x7f..=0x9f).contains(&(c as u32)) && c != '\\');
    (printable && bytes.len() <= 4096 && is_canonical(&decoded)).then_some(decoded)
}

/// `/`, or segments that each follow a slash, and at most one slash at the end.
fn is_canonical(path: &str) -> bool {
    let mut chars = path.chars().peekable();
    if chars.next() != Some('/') {
        return false;
    }
    while chars.peek().is_some() {
        let mut segment = String::new();
        let mut ended = false;
        for c in chars.by_ref() {
            if c == '/' {
                ended = true;
                break;
            }
            segment.push(c);
        }
        if ["", ".", ".."].contains(&&*segment) {
            return false;
        }
        if !ended {
            break;
        }
    }
    true
}

/// UTF-8 by the ranges of RFC 3629, section 4.
fn utf8(bytes: &[u8]) -> Option<String> {
    let mut text = String::new();
    let mut rest = bytes;
    while let [lead, tail @ ..] = rest {
        let (count, smallest) = match lead {
            0x00..=0x7f => (0, 0),
            0xc2..=0xdf => (1, 0x80),
            0xe0..=0xef => (2, 0x800),
            0xf0..=0xf4 => (3, 0x10000),
            _ => return None,
        };
        let mut scalar = u32::from(*lead) & [0x7f, 0x1f, 0x0f, 0x07][count];
        for byte in tail.get(..count)? {
            if byte & 0xc0 != 0x80 {
                return None;
            }
            scalar = scalar << 6 | u32::from(byte & 0x3f);
        }
        if scalar < smallest {
            return None;
        }
        // Refuses the surrogates and what lies beyond U+10FFFF.
        text.push(char::from_u32(scalar)?);
        rest = &tail[count..];
    }
    Some(text)
}

/// The path that `reference` leads to from `base` (RFC 3986, section 5.2.2, of a reference with neither scheme nor
/// authority, and no dot segments but a leading `./`).
pub fn resolve(base: &str, reference: &str) -> String {
    let first = reference
        .split(['/', '?', '#'])
        .next()
        .expect("split gives at least one piece");
    assert!(!first.contains(':'), "{reference:?} would be read as a scheme");
    assert!(!reference.starts_with('/'), "{reference:?} is not relative");
    let (directory, _) = base.rsplit_once('/').expect("a base path begins with a slash");
    let reference = reference.strip_prefix("./").unwrap_or(reference);
    format!("{directory}/{reference}")
}

pub fn check(data: &[u8]) -> &'static str {
    let mut input = Input::new(data);
    let mut encoded = input.sentence(WORDS, 12);
    if !input.rarely(8) {
        encoded.insert(0, '/');
    }
    if input.rarely(16) {
        encoded.push_str(&"x".repeat(4090 + input.below(12) as usize));
    }
    let expected = read(&encoded);
    let path = match (SitePath::from_uri(&encoded), expected) {
        (Err(_), None) => return "refused",
        (Ok(path), Some(expected)) if path.as_str() == expected => path,
        (path, expected) => panic!("{encoded:?} is {path:?}, should be {expected:?}"),
    };
    holds_together(&path);

    let prefix = match SitePath::from_uri(&format!("/{}", input.sentence(WORDS, 3))) {
        Ok(prefix) => prefix,
        Err(_) => {
            SitePath::from_decoded(&path.as_str()[..=path.as_str().rfind('/').expect("a slash")]).expect("a parent")
        }
    };
    let segments: Vec<&str> = path.segments().collect();
    let wanted: Vec<&str> = prefix.segments().collect();
    let within = segments.starts_with(&wanted);
    assert_eq!(path.is_within(&prefix), within, "{path} within {prefix}");
    if within { "within" } else { "elsewhere" }
}

/// What is true of every path that was let in.
fn holds_together(path: &SitePath) {
    assert_eq!(
        SitePath::from_decoded(path.as_str()).as_ref(),
        Ok(path),
        "a path is canonical once and for all"
    );
    let uri = path.to_uri();
    assert!(
        uri.bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%".contains(&b)),
        "{uri:?}"
    );
    assert_eq!(
        SitePath::from_uri(&uri).as_ref(),
        Ok(path),
        "percent-encoding goes there and back"
    );

    let components: Vec<Component> = Path::new(path.relative()).components().collect();
    assert!(
        components
            .iter()
            .all(|component| matches!(component, Component::Normal(_))),
        "{path} leaves its root"
    );
    assert_eq!(components.len(), path.segments().count());
    assert_eq!(path.segments().last().unwrap_or_default(), path.name());

    if !path.is_directory() {
        let reference = path.slash_redirect(Some("q=%20 \u{e9}\"<\u{7f}>"));
        assert_eq!(resolve(&uri, &reference), format!("{uri}/?q=%20%20%C3%A9%22%3C%7F%3E"));
        assert_eq!(resolve(&uri, &path.slash_redirect(None)), format!("{uri}/"));
    }
}
