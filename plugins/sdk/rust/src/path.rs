//! Canonical paths: comparing and encoding them.

/// Whether `path` is `prefix` or beneath it, by whole segments: `/private` and `/private/` both cover `/private`,
/// `/private/` and `/private/a`, and neither covers `/privateer`. `/` covers everything. Case-sensitive.
///
/// ```
/// # use wasmserve_plugin::covers;
/// assert!(covers("/private/", "/private"));
/// assert!(!covers("/private", "/privateer"));
/// ```
pub fn covers(prefix: &str, path: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// Whether a path is canonical, as [`Request::path`](crate::Request::path) gives it and decisions need it: for paths that
/// an operator configures.
///
/// # Errors
/// What is wrong with it, to be put behind the key's name.
///
/// ```
/// # use wasmserve_plugin::path::check;
/// assert_eq!(check("/private/"), Ok(()));
/// assert_eq!(check("private"), Err("does not begin with `/`"));
/// ```
pub fn check(path: &str) -> Result<(), &'static str> {
    let Some(rest) = path.strip_prefix('/') else {
        return Err("does not begin with `/`");
    };
    if path
        .chars()
        .any(|character| character.is_control() || character == '\\')
    {
        return Err("has a control character or a backslash");
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if path != "/" && rest.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return Err("has an empty, `.` or `..` segment");
    }
    Ok(())
}

/// Whether a path can be a prefix that [`covers`] compares with: canonical, and neither percent-encoded nor a pattern. A
/// prefix that cannot match would leave open what it was meant to guard.
///
/// # Errors
/// What is wrong with it, to be put behind the key's name.
///
/// ```
/// # use wasmserve_plugin::path::check_prefix;
/// assert_eq!(check_prefix("/private/"), Ok(()));
/// assert!(check_prefix("/private/*").is_err());
/// ```
pub fn check_prefix(prefix: &str) -> Result<(), &'static str> {
    check(prefix)?;
    if prefix.contains('*') {
        return Err("is not a pattern: everything beneath a prefix is meant, so leave out `*`");
    }
    if has_escapes(prefix) {
        return Err("is percent-encoded: prefixes are compared with decoded paths");
    }
    Ok(())
}

/// Whether a text has something that looks percent-encoded.
pub(crate) fn has_escapes(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes
        .windows(3)
        .any(|window| window[0] == b'%' && window[1..].iter().all(u8::is_ascii_hexdigit))
}

/// A canonical path in the form that a URL has it (RFC 3986, section 3.3): everything but unreserved characters,
/// sub-delimiters, `:`, `@` and `/` is percent-encoded.
///
/// ```
/// # use wasmserve_plugin::path::encode;
/// assert_eq!(encode("/a b/50%?"), "/a%20b/50%25%3F");
/// ```
pub fn encode(path: &str) -> String {
    encoded(path, b"-._~!$&'()*+,;=:@/")
}

/// What `Location` takes: a path, encoded by [`encode`], and a raw query such as [`Request::query`](crate::Request::query)
/// gives it, of which only what a URL cannot hold is encoded.
///
/// ```
/// # use wasmserve_plugin::path::reference;
/// assert_eq!(reference("/a b", Some("c=%20d")), "/a%20b?c=%20d");
/// ```
pub fn reference(path: &str, query: Option<&str>) -> String {
    let mut reference = encode(path);
    if let Some(query) = query {
        reference.push('?');
        reference += &encoded(query, b"-._~!$&'()*+,;=:@/?%");
    }
    reference
}

/// Percent-encodes everything but letters, digits and `kept`.
fn encoded(text: &str, kept: &[u8]) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 0xF] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn covers_whole_segments() {
        for (prefix, path, expected) in [
            ("/", "/", true),
            ("/", "/a", true),
            ("/a", "/a", true),
            ("/a/", "/a", true),
            ("/a", "/a/", true),
            ("/a/", "/a/b/c", true),
            ("/a/b", "/a/b.html", false),
            ("/a", "/ab", false),
            ("/a/", "/", false),
            ("/a/b", "/a", false),
            ("/a", "/A", false),
        ] {
            assert_eq!(covers(prefix, path), expected, "{prefix} covers {path}");
        }
    }

    #[test]
    fn canonical_or_what_is_wrong() {
        for path in ["/", "/a", "/a/", "/a/b.html", "/a b/%20", "/...", "/.well-known/"] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        for path in [
            "", "a", "//", "/a//b", "/a//", "/.", "/../a", "/a/./", "/a/..", "/a\\b", "/a\0", "/a\n", "/\u{85}",
        ] {
            assert!(check(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn prefixes_that_could_never_match() {
        for prefix in ["/", "/private/", "/a b", "/100%", "/50%-off/"] {
            assert_eq!(check_prefix(prefix), Ok(()), "{prefix}");
        }
        for prefix in ["private", "/private//", "/a/../b", "/private/*", "/my%20files/"] {
            assert!(check_prefix(prefix).is_err(), "{prefix}");
        }
    }

    #[test]
    fn a_query_stays_as_it_was_sent() {
        for (query, expected) in [
            (None, "/a"),
            (Some(""), "/a?"),
            (Some("b=%zz&c?/:@"), "/a?b=%zz&c?/:@"),
            (Some("b=\r\nc:\"ü"), "/a?b=%0D%0Ac:%22%C3%BC"),
        ] {
            assert_eq!(reference("/a", query), expected);
        }
    }

    #[test]
    fn encodes_what_a_url_cannot_hold() {
        for (path, expected) in [
            ("/", "/"),
            ("/a/b-c_d.e~f", "/a/b-c_d.e~f"),
            ("/a:b@c", "/a:b@c"),
            ("/ü\\\"<>", "/%C3%BC%5C%22%3C%3E"),
            ("/a\r\nb#c?d%", "/a%0D%0Ab%23c%3Fd%25"),
        ] {
            assert_eq!(encode(path), expected);
        }
    }
}
