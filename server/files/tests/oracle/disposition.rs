//! Content-Disposition as a client reads it (RFC 6266, section 4.1; RFC 8187, section 3.2).
use super::input::Input;
use wasmserve_files::Disposition;

const WORDS: &[&str] = &[
    "report",
    ".pdf",
    " ",
    "\"",
    "\\",
    "/",
    "%",
    "%41",
    "%22",
    ";",
    "'",
    "''",
    "é",
    "\u{20ac}",
    "\u{1f600}",
    "\u{202e}",
    "\r\n",
    "\0",
    "=",
    "filename*=",
    "UTF-8''",
    "`",
    "~",
    "!",
    "#",
    "$",
    "&",
    "+",
    "-",
    "^",
    "_",
    "|",
    "\u{7f}",
    "\u{80}",
    "(",
    ")",
    "@",
    ",",
    "[",
];

/// The value in quotes that `text` begins with, unescaped, and what follows it.
fn quoted(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.strip_prefix('"').expect("an opening quote").char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 2..]),
            '\\' => value.push(chars.next().expect("an escaped character").1),
            _ => value.push(c),
        }
    }
    panic!("no closing quote in {text:?}")
}

/// `value-chars` decoded; panics on what is neither attr-char nor pct-encoded.
fn value_chars(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [byte, after @ ..] = rest {
        rest = after;
        if *byte == b'%' {
            let digits = std::str::from_utf8(&rest[..2]).expect("two digits");
            bytes.push(u8::from_str_radix(digits, 16).expect("hexadecimal digits"));
            rest = &rest[2..];
        } else {
            assert!(
                byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(byte),
                "{text:?}"
            );
            bytes.push(*byte);
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

pub fn check(data: &[u8]) -> &'static str {
    let mut input = Input::new(data);
    let (disposition, kind) = input.one_of(&[(Disposition::Inline, "inline"), (Disposition::Attachment, "attachment")]);
    let name = input.sentence(WORDS, 10);
    let is_control = |c: char| (c as u32) < 0x20 || (0x7f..0xa0).contains(&(c as u32));
    let acceptable = !name.is_empty() && !name.chars().any(|c| c == '/' || c == '\\' || is_control(c));
    let header = match disposition.to_header(&name) {
        Ok(header) if acceptable => header,
        Err(_) if !acceptable => return "refused",
        result => panic!("{name:?} gives {result:?}"),
    };
    let value = header.to_str().expect("visible ASCII");
    let rest = value
        .strip_prefix(kind)
        .and_then(|rest| rest.strip_prefix("; filename="))
        .expect("a file name");
    let (fallback, rest) = quoted(rest);
    // Appendix D: no percent sign and no escapes, which clients read in different ways.
    assert!(!fallback.contains(['%', '\\', '"']) && fallback.is_ascii(), "{value:?}");
    assert_eq!(fallback.chars().count(), name.chars().count());
    // "filename*" takes precedence (section 4.3).
    let understood = match rest {
        "" => fallback,
        extended => value_chars(extended.strip_prefix("; filename*=UTF-8''").expect("an extended value")),
    };
    assert_eq!(understood, name, "{value:?}");
    if rest.is_empty() { "plain" } else { "extended" }
}
