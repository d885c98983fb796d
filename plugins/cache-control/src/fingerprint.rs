//! Names with a fingerprint of the content in them, as build tools write them: `app.3f9a1c7b.js`, `app-3f9a1c7b.js`.

/// The fewest digits: half of what tools write by default, and more than a version or a year has.
const SHORTEST: usize = 8;

/// Whether a part of the name, between `.` or `-`, is at least eight lower-case hexadecimal digits with both a letter and a
/// number among them. A date (`20240131`) is none and a word is none. The first part is the file's own name, and the last
/// its extension.
///
/// Fingerprints of other alphabets look like words: those are for the operator to name.
pub fn is_in(name: &str) -> bool {
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    !extension.is_empty() && stem.split(['.', '-', '_']).skip(1).any(is_fingerprint)
}

fn is_fingerprint(part: &str) -> bool {
    part.len() >= SHORTEST
        && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && part.bytes().any(|byte| byte.is_ascii_digit())
        && part.bytes().any(|byte| byte.is_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, expected) in [
            ("app.3f9a1c7b.js", true),
            ("app-3f9a1c7b.min.css", true),
            ("main.3f9a1c7b4e5d6f70.chunk.js.map", true),
            ("app_3f9a1c7b.js", true),
            ("3f9a1c7b.js", false), // all that there is: perhaps a name
            ("app.js", false),
            ("app.3f9a1c7.js", false),
            ("report-20240131.pdf", false),
            ("feed-defaced.html", false),
            ("photo-iphone15.jpg", false),
            ("app-3F9A1C7B.js", false),
            ("jquery-3.7.1.min.js", false),
            ("app-3f9a1c7b", false),
            ("app-3f9a1c7b.", false),
            ("", false),
        ] {
            assert_eq!(is_in(name), expected, "{name}");
        }
    }
}
