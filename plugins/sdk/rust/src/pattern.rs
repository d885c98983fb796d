//! [`Pattern`]: which paths are meant.
use crate::path;
use std::str::FromStr;

/// A pattern of whole canonical paths. `*` stands for any characters of one segment, none included; a segment `**` for
/// any number of segments. Case-sensitive; everything else stands for itself.
///
/// ```
/// # use wasmserve_plugin::Pattern;
/// let images: Pattern = "/images/**/*.jpg".parse().unwrap();
/// assert!(images.matches("/images/a.jpg") && images.matches("/images/2024/may/a.jpg"));
/// assert!(!images.matches("/images/a.jpg/b"));
/// let beneath: Pattern = "/images/**".parse().unwrap();
/// assert!(beneath.matches("/images") && beneath.matches("/images/") && !beneath.matches("/images2"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`
    Any,
    /// With `*` for any characters.
    Like(Vec<u8>),
}

impl FromStr for Pattern {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        path::check(text)?;
        if path::has_escapes(text) {
            return Err("is percent-encoded: patterns are compared with decoded paths");
        }
        text.split('/')
            .skip(1)
            .map(|segment| match segment {
                "**" => Ok(Segment::Any),
                _ if segment.contains("**") => Err("has `**` beside other characters of a segment"),
                _ => Ok(Segment::Like(segment.as_bytes().to_vec())),
            })
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Pattern {
    /// Whether it stands for this canonical path.
    pub fn matches(&self, path: &str) -> bool {
        let segments: Vec<&[u8]> = path.split('/').skip(1).map(str::as_bytes).collect();
        wild(
            &self.0,
            &segments,
            |segment| *segment == Segment::Any,
            |segment, name| match segment {
                Segment::Any => true,
                Segment::Like(like) => wild(like, name, |byte| *byte == b'*', |byte, other| byte == other),
            },
        )
    }
}

/// Whether a pattern, in which some items stand for any run of others, matches all of a text. Goes back to the last such
/// item only, which is enough: it takes at most as many steps as pattern times text.
fn wild<P, T>(pattern: &[P], text: &[T], any: impl Fn(&P) -> bool, same: impl Fn(&P, &T) -> bool) -> bool {
    let (mut item, mut at) = (0, 0);
    // The item behind the last one that stands for a run, and where that run ends so far.
    let mut run: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(item) {
            Some(wanted) if any(wanted) => {
                item += 1;
                run = Some((item, at));
            }
            Some(wanted) if same(wanted, &text[at]) => {
                item += 1;
                at += 1;
            }
            _ => match run {
                Some((behind, end)) => {
                    (item, at) = (behind, end + 1);
                    run = Some((item, at));
                }
                None => return false,
            },
        }
    }
    pattern[item..].iter().all(any)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_and_paths() {
        for (pattern, path, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a", "/a", true),
            ("/a", "/a/", false),
            ("/a/", "/a/", true),
            ("/*", "/a", true),
            ("/*", "/", true),
            ("/*", "/a/b", false),
            ("/*.jpg", "/a.jpg", true),
            ("/*.jpg", "/.jpg", true),
            ("/*.jpg", "/a.jpg.txt", false),
            ("/a*b*c", "/aXbYbZc", true),
            ("/a*b*c", "/aXbYbZ", false),
            ("/**", "/", true),
            ("/**", "/a/b", true),
            ("/a/**", "/a", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/a/**", "/ab", false),
            ("/**/*.jpg", "/a.jpg", true),
            ("/**/*.jpg", "/a/b/c.jpg", true),
            ("/**/*.jpg", "/a/b.jpg/c", false),
            ("/**/a/**/b", "/a/b", true),
            ("/**/a/**/b", "/x/a/a/y/b/b", true),
            ("/**/a/**/b", "/x/b/a", false),
            ("/*.JPG", "/a.jpg", false),
            ("/v1.0/?", "/v1x0/a", false),
        ] {
            let parsed: Pattern = pattern.parse().unwrap();
            assert_eq!(parsed.matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern() {
        for text in ["", "a", "*.jpg", "/a//b", "/../a", "/a**", "/**.jpg", "/a%20b"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
    }

    /// Against a plain definition, over every short text of few letters.
    #[test]
    fn going_back_to_the_last_run_is_enough() {
        fn plain(pattern: &[u8], text: &[u8]) -> bool {
            match pattern {
                [] => text.is_empty(),
                [b'*', rest @ ..] => (0..=text.len()).any(|skipped| plain(rest, &text[skipped..])),
                [byte, rest @ ..] => text.first() == Some(byte) && plain(rest, &text[1..]),
            }
        }
        let words = |letters: &[u8], longest: usize| {
            let mut words = vec![Vec::new()];
            let mut begun = 0;
            for _ in 0..longest {
                let shorter = words[begun..].to_vec();
                begun = words.len();
                words.extend(
                    shorter
                        .iter()
                        .flat_map(|word| letters.iter().map(|letter| [word, &[*letter][..]].concat())),
                );
            }
            words
        };
        let texts = words(b"ab", 6);
        for pattern in words(b"ab*", 5) {
            for text in &texts {
                let found = wild(&pattern, text, |byte| *byte == b'*', |byte, other| byte == other);
                assert_eq!(found, plain(&pattern, text), "{pattern:?} {text:?}");
            }
        }
    }
}
