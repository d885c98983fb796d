//! [`Route`]: the URL patterns of `_redirects` and `_headers` files.
use crate::path;

/// A pattern of URLs, as hosting services have them in `_redirects` and `_headers`: a path, or `https://`, a host and a
/// path, in which `:name` stands for one segment, or a part of one, and `*` for anything. What they stand for can be put
/// elsewhere by [`Captures`].
///
/// ```
/// # use wasmserve_plugin::{Captures, Route};
/// let route = Route::parse("/news/:year/*").unwrap();
/// let captures = route.match_path("/news/2026/may/a b").unwrap();
/// assert_eq!(captures.fill("/blog/:year-:splat", |value| value.to_owned()), "/blog/2026-may/a b");
/// assert!(route.match_path("/news").is_none());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Scheme and host, where the pattern has them.
    origin: Option<(String, Vec<Part>)>,
    path: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(String),
    Splat,
}

/// What the placeholders and `*` (`splat`) of a route stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captures(Vec<(String, String)>);

/// How `*` is called where it is filled in.
const SPLAT: &str = "splat";

impl Route {
    /// Reads a pattern. Its path may be percent-encoded; it is compared with decoded ones.
    ///
    /// # Errors
    /// What is wrong with it, to be put behind the pattern.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (origin, rest) = match text.split_once("://") {
            Some((scheme @ ("http" | "https"), rest)) => {
                let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let port = host.rsplit_once(':').map_or("", |(_, port)| port);
                if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err("has a port: hosts are compared without".to_owned());
                }
                let host = parts(&host.to_ascii_lowercase())?;
                (
                    Some((scheme.to_owned(), host)),
                    if path.is_empty() { "/" } else { path },
                )
            }
            Some(_) => return Err("is of a scheme other than http and https".to_owned()),
            None => (None, text),
        };
        if rest.contains(['?', '#']) {
            return Err("has a query or a fragment: only paths are compared".to_owned());
        }
        let decoded = path::decode(rest)?;
        path::check(&decoded)?;
        let path = parts(&decoded)?;
        let route = Self { origin, path };
        let all = route.origin.iter().flat_map(|(_, host)| host).chain(&route.path);
        let mut names: Vec<&str> = all.filter_map(Part::name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        if names.len() < count {
            return Err("has two `*`, or two placeholders of one name".to_owned());
        }
        Ok(route)
    }

    /// Whether only requests of some hosts match: then [`match_host`](Self::match_host) has to be asked, too.
    pub fn has_host(&self) -> bool {
        self.origin.is_some()
    }

    /// The path, when it is plain text and nothing else.
    pub fn exact(&self) -> Option<&str> {
        match (&self.origin, self.path.as_slice()) {
            (None, [Part::Text(text)]) => Some(text),
            _ => None,
        }
    }

    /// What the placeholders of the path stand for; `None` when the canonical path does not match.
    pub fn match_path(&self, path: &str) -> Option<Captures> {
        captured(&self.path, path, '/')
    }

    /// What the placeholders of the host stand for; `None` when scheme or host do not match.
    pub fn match_host(&self, scheme: &str, host: &str) -> Option<Captures> {
        match &self.origin {
            None => Some(Captures::default()),
            Some((wanted, _)) if wanted != scheme => None,
            Some((_, parts)) => captured(parts, host, '.'),
        }
    }
}

impl Part {
    fn name(&self) -> Option<&str> {
        match self {
            Self::Text(_) => None,
            Self::Placeholder(name) => Some(name),
            Self::Splat => Some(SPLAT),
        }
    }
}

impl Captures {
    /// Both together.
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// One more value.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// A text with every `:name` and `:splat` that was captured replaced by what it stands for, encoded. Other colons stay.
    pub fn fill(&self, template: &str, encode: impl Fn(&str) -> String) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(at) = rest.find(':') {
            let (before, from_colon) = rest.split_at(at);
            filled += before;
            let name = name_at(&from_colon[1..]);
            match self.0.iter().find(|(captured, _)| captured == name && !name.is_empty()) {
                Some((_, value)) => filled += &encode(value),
                None => filled += &from_colon[..=name.len()],
            }
            rest = &from_colon[1 + name.len()..];
        }
        filled + rest
    }
}

/// The name of a placeholder that a text begins with; empty: none.
fn name_at(text: &str) -> &str {
    let end = text.find(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let name = &text[..end.unwrap_or(text.len())];
    // `:8080` is a port.
    if name.starts_with(|character: char| character.is_ascii_alphabetic()) {
        name
    } else {
        ""
    }
}

fn parts(text: &str) -> Result<Vec<Part>, String> {
    let mut parts: Vec<Part> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let name = rest.strip_prefix(':').map_or("", name_at);
        if first == '*' {
            parts.push(Part::Splat);
            rest = &rest[1..];
        } else if !name.is_empty() {
            if matches!(parts.last(), Some(Part::Placeholder(_))) {
                return Err("has two placeholders without anything between".to_owned());
            }
            parts.push(Part::Placeholder(name.to_owned()));
            rest = &rest[1 + name.len()..];
        } else {
            match parts.last_mut() {
                Some(Part::Text(text)) => text.push(first),
                _ => parts.push(Part::Text(first.to_string())),
            }
            rest = &rest[first.len_utf8()..];
        }
    }
    Ok(parts)
}

fn captured(parts: &[Part], text: &str, delimiter: char) -> Option<Captures> {
    let mut found = Vec::new();
    matched(parts, text, delimiter, &mut found).then(|| {
        found.reverse();
        Captures(found)
    })
}

/// Whether parts match a whole text. Runs are as long as they can be; what they stand for is noted from the last to the
/// first.
fn matched(parts: &[Part], text: &str, delimiter: char, found: &mut Vec<(String, String)>) -> bool {
    let Some((part, others)) = parts.split_first() else {
        return text.is_empty();
    };
    let (shortest, longest) = match part {
        Part::Text(wanted) => {
            return text
                .strip_prefix(wanted.as_str())
                .is_some_and(|rest| matched(others, rest, delimiter, found));
        }
        Part::Placeholder(_) => (1, text.find(delimiter).unwrap_or(text.len())),
        Part::Splat => (0, text.len()),
    };
    let ends = (shortest..=longest).rev().filter(|end| text.is_char_boundary(*end));
    for end in ends {
        if matched(others, &text[end..], delimiter, found) {
            let name = part.name().unwrap_or_default();
            found.push((name.to_owned(), text[..end].to_owned()));
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_what_they_capture() {
        for (route, path, expected) in [
            ("/a", "/a", Some("")),
            ("/a", "/a/", None),
            ("/*", "/", Some("splat=")),
            ("/*", "/a/b", Some("splat=a/b")),
            ("/a/*", "/a", None),
            ("/a/*", "/a/", Some("splat=")),
            ("/a/*/z", "/a/b/z/z", Some("splat=b/z")),
            ("/a*", "/abc/d", Some("splat=bc/d")),
            ("/:year/:month", "/2026/11", Some("year=2026 month=11")),
            ("/:year/:month", "/2026/", None),
            ("/:year/:month", "/2026/11/20", None),
            ("/:page.html", "/a.b.html", Some("page=a.b")),
            ("/:a-:b/c", "/x-y-z/c", Some("a=x-y b=z")),
            ("/:a/*", "/x/y/z", Some("a=x splat=y/z")),
            ("/a%20b/:c", "/a b/ü", Some("c=ü")),
            ("/a:80", "/a:80", Some("")),
            ("/:", "/:", Some("")),
        ] {
            let parsed = Route::parse(route).unwrap();
            let captures = parsed.match_path(path).map(|captures| {
                let shown: Vec<String> = captures
                    .0
                    .iter()
                    .map(|(name, value)| format!("{name}={value}"))
                    .collect();
                shown.join(" ")
            });
            assert_eq!(captures.as_deref(), expected, "{route} {path}");
        }
    }

    #[test]
    fn hosts() {
        let route = Route::parse("https://:project.Example.com/a/*").unwrap();
        assert!(route.has_host());
        for (scheme, host, expected) in [
            ("https", "blog.example.com", true),
            ("http", "blog.example.com", false),
            ("https", "a.b.example.com", false),
            ("https", "example.com", false),
        ] {
            let matched = route.match_host(scheme, host);
            assert_eq!(matched.is_some(), expected, "{scheme} {host}");
        }
        let whole = Route::parse("http://example.com").unwrap();
        assert!(whole.match_path("/").is_some() && whole.match_host("http", "example.com").is_some());
    }

    #[test]
    fn what_is_no_route() {
        for text in [
            "",
            "a",
            "*",
            "/a/*/*",
            "/:a/:a",
            "/:a:b",
            "ftp://a/b",
            "/a//b",
            "/a/../b",
            "/%2f",
            "/%ff",
        ] {
            assert!(Route::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn filling_in() {
        let captures = Captures::default().with("id", "a b").with("splat", "x/y");
        for (template, expected) in [
            ("/blog/:id", "/blog/a+b"),
            ("/:splat?id=:id#:id", "/x/y?id=a+b#a+b"),
            ("https://a.org:8080/:id", "https://a.org:8080/a+b"),
            ("/:ids/:i/:unknown", "/:ids/:i/:unknown"),
            (":", ":"),
        ] {
            assert_eq!(
                captures.fill(template, |value| value.replace(' ', "+")),
                expected,
                "{template}"
            );
        }
    }
}
