//! Accept-Language (RFC 9110, section 12.5.4) and which language it prefers.
//!
//! A range is looked for in both directions of RFC 4647: `pt` finds `pt-BR` (basic filtering, section 3.3.1), and `de-CH`
//! finds `de` when there is no `de-CH` (lookup, section 3.4). What a language's quality is, its most specific range says.
use crate::tag::Tag;
use wasmserve_plugin::LanguageRange;

/// How a range fits a language; more is closer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// `*`
    Any,
    /// The language is more general than what was asked for: `de` for `de-CH`.
    General,
    /// The language is a kind of what was asked for: `pt-BR` for `pt`.
    Kind,
    Exact,
}

/// The language with the highest quality; among equals the one whose range comes first, then the one that is listed first.
/// `None`: none is wanted, or nothing was said.
pub fn best<'a>(field: &str, languages: &'a [Tag]) -> Option<&'a Tag> {
    let ranges: Vec<LanguageRange<'_>> = LanguageRange::all(field).collect();
    let wanted = languages.iter().filter_map(|language| {
        let (fit, place) = closest(&ranges, language)?;
        let weight = ranges[place].weight;
        (weight > 0).then_some((language, weight, fit, place))
    });
    // `max_by_key` takes the last of equals, and the first is wanted.
    let wanted: Vec<_> = wanted.collect();
    wanted
        .iter()
        .rev()
        .max_by_key(|(_, weight, fit, place)| (*weight, *fit > Fit::Any, std::cmp::Reverse(*place), *fit))
        .map(|(language, ..)| *language)
}

/// The range that fits a language most closely, and its place.
fn closest(ranges: &[LanguageRange<'_>], language: &Tag) -> Option<(Fit, usize)> {
    let fitting = ranges
        .iter()
        .enumerate()
        .filter_map(|(place, range)| Some((fit(range.tag, language)?, place)));
    fitting.max_by_key(|(fit, place)| (*fit, std::cmp::Reverse(*place)))
}

fn fit(range: &str, language: &Tag) -> Option<Fit> {
    if range == "*" {
        return Some(Fit::Any);
    }
    if language.is(range) {
        return Some(Fit::Exact);
    }
    if begins(language.as_str(), range) {
        return Some(Fit::Kind);
    }
    begins(range, language.as_str()).then_some(Fit::General)
}

/// Whether a tag begins with all subtags of another.
fn begins(tag: &str, with: &str) -> bool {
    let beginning = tag.get(..with.len());
    beginning.is_some_and(|beginning| beginning.eq_ignore_ascii_case(with))
        && tag.as_bytes().get(with.len()) == Some(&b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_what_they_prefer() {
        let languages: Vec<Tag> = ["en", "de", "pt-BR", "zh-Hant", "fr-CA"]
            .iter()
            .map(|tag| tag.parse().unwrap())
            .collect();
        for (field, expected) in [
            ("", None),
            ("de", Some("de")),
            ("DE", Some("de")),
            ("de-CH", Some("de")),
            ("de-CH, en;q=0.5", Some("de")),
            ("pt", Some("pt-BR")),
            ("pt-PT", None),
            ("pt-br", Some("pt-BR")),
            ("zh-Hant-TW", Some("zh-Hant")),
            ("zh", Some("zh-Hant")),
            ("en;q=0.5, de;q=0.9", Some("de")),
            ("en;q=0.5, de;q=0.5", Some("en")),
            ("de;q=0.5, en;q=0.5", Some("de")),
            ("ja, *;q=0.1", Some("en")),
            ("*", Some("en")),
            ("*, de", Some("de")),
            ("en;q=0, *", Some("de")),
            ("en;q=0", None),
            ("de;q=0, de-CH", None), // what is excepted by name is not what was meant in general
            ("ja;q=1, nl;q=0.9", None),
            ("de;q=2, en;q=0.1", Some("en")),
            ("de;q=0.1234, en;q=0.1", Some("en")),
            ("de;level=1, en", Some("en")),
            ("de;q, en", Some("en")),
            ("d\u{fffd}, en", Some("en")),
            (" de ; q=0.7 , en;Q=0.8", Some("en")),
            ("de;q=1.000,en;q=0.999", Some("de")),
            ("e", None),
            ("english", None),
            ("-", None),
        ] {
            assert_eq!(best(field, &languages).map(Tag::as_str), expected, "{field:?}");
        }
    }
}
