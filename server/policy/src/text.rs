//! Words of a guest, made fit for a log: nothing in them can begin a line of its own or command a terminal.
use std::borrow::Cow;

/// Characters of a guest's own words in a log line.
const MAX_CHARACTERS: usize = 2000;

/// At most 2,000 characters of a text, with control characters escaped.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let end = text.char_indices().nth(MAX_CHARACTERS).map_or(text.len(), |(at, _)| at);
    let text = &text[..end];
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_length_is_bounded() {
        let cases = [
            ("plain, ünïcode", "plain, ünïcode"),
            ("a\nERROR forged", "a\\nERROR forged"),
            ("\u{1b}[2J\u{85}", "\\u{1b}[2J\\u{85}"),
        ];
        for (text, expected) in cases {
            assert_eq!(printable(text), expected);
        }
        assert_eq!(printable(&"ü".repeat(5000)).chars().count(), 2000);
    }
}
