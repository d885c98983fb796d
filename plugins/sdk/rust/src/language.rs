//! What a visitor wants to read: Accept-Language (RFC 9110, section 12.5.4).

/// More ranges than this are not looked at; browsers send a dozen.
const MOST_RANGES: usize = 32;

/// A language range (RFC 4647, section 2.1) and how much it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LanguageRange<'a> {
    /// `de`, `de-CH` or `*`; compared without case.
    pub tag: &'a str,
    /// In thousandths, 0 (not wanted) to 1000.
    pub weight: u16,
}

impl<'a> LanguageRange<'a> {
    /// The ranges of a field, in its order. What is malformed is left out, and what comes after the first 32.
    pub fn all(field: &'a str) -> impl Iterator<Item = Self> {
        field.split(',').take(MOST_RANGES).filter_map(Self::parse)
    }

    /// `de-CH;q=0.8`
    fn parse(text: &'a str) -> Option<Self> {
        let (tag, weight) = match text.split_once(';') {
            None => (text, 1000),
            Some((tag, parameter)) => {
                let (name, value) = parameter.trim().split_once('=')?;
                if !name.trim().eq_ignore_ascii_case("q") {
                    return None;
                }
                (tag, thousandths(value.trim())?)
            }
        };
        let tag = tag.trim();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (tag == "*" || (!tag.is_empty() && tag.bytes().all(fits))).then_some(Self { tag, weight })
    }
}

/// RFC 9110, section 12.4.2: `0`, `0.5`, `1.000`.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_their_weights() {
        for (field, expected) in [
            ("", &[][..]),
            ("de", &[("de", 1000)]),
            (" de-CH ; q=0.7 , *;Q=0.08", &[("de-CH", 700), ("*", 80)]),
            ("de;q=1.000,en;q=0", &[("de", 1000), ("en", 0)]),
            (
                "de;q=2, de;q=0.1234, de;q=1.1, de;q, de;level=1, d\u{fffd}, de en, ;q=1, fr",
                &[("fr", 1000)],
            ),
        ] {
            let ranges: Vec<(&str, u16)> = LanguageRange::all(field)
                .map(|range| (range.tag, range.weight))
                .collect();
            assert_eq!(ranges, expected, "{field:?}");
        }
        assert_eq!(LanguageRange::all(&"de,".repeat(100)).count(), MOST_RANGES);
    }
}
