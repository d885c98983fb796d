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

/// A canonical path in the form that a URL has it (RFC 3986, section 3.3): everything but unreserved characters,
/// sub-delimiters, `:`, `@` and `/` is percent-encoded.
///
/// ```
/// # use wasmserve_plugin::path::encode;
/// assert_eq!(encode("/a b/50%?"), "/a%20b/50%25%3F");
/// ```
pub fn encode(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
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
