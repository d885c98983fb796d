//! [`SitePath`]: the only way from what a client or a policy named to a name on disk.
//!
//! A path is decoded once and then checked; it is refused when it is not canonical and never repaired, because two
//! readings of one path are how guards are walked around.

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{fmt, sync::Arc};

/// What a path may not hold as it is: all but unreserved characters, sub-delims, `:`, `@` and the slash (RFC 3986, section
/// 3.3).
pub(crate) const NOT_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@')
    .remove(b'/');

/// What a query that came from a client may not hold when it is sent back (RFC 3986, section 3.4). A percent sign stays:
/// the query is escaped already.
const NOT_QUERY: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A canonical path within a site: begins with `/`, valid UTF-8, no empty, `.` or `..` segment, no NUL, control
/// character or backslash. One trailing `/` is kept and means a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SitePath(Arc<str>);

/// Why a path was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("does not begin with a slash")]
    Relative,
    #[error("has a percent sign that two hexadecimal digits do not follow")]
    Escape,
    #[error("has an encoded slash or backslash")]
    EncodedSeparator,
    #[error("is not UTF-8")]
    NotUtf8,
    #[error("has a NUL, a control character or a backslash")]
    Character,
    #[error("has an empty, \".\" or \"..\" segment")]
    Segment,
    #[error("is longer than a path can be")]
    TooLong,
}

impl SitePath {
    /// Linux's PATH_MAX; nothing longer can be opened.
    pub const MAX_LENGTH: usize = 4096;

    /// From the path of a request target (RFC 3986, section 3.3): refuses an encoded `/` or `\`, decodes once, then checks.
    pub fn from_uri(encoded: &str) -> Result<Self, PathError> {
        if is_plain(encoded) {
            return Ok(Self(encoded.into()));
        }
        let bytes = encoded.as_bytes();
        let mut decoded = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            if bytes[at] != b'%' {
                decoded.push(bytes[at]);
                at += 1;
                continue;
            }
            let digit = |i: usize| bytes.get(i).and_then(|b| (*b as char).to_digit(16));
            let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                return Err(PathError::Escape);
            };
            let byte = (high * 16 + low) as u8;
            if byte == b'/' || byte == b'\\' {
                return Err(PathError::EncodedSeparator);
            }
            decoded.push(byte);
            at += 3;
        }
        let decoded = String::from_utf8(decoded).map_err(|_| PathError::NotUtf8)?;
        Self::from_decoded(&decoded)
    }

    /// From a path that is decoded already, such as one that a policy returned: only checks, so that nothing is ever
    /// decoded twice.
    pub fn from_decoded(path: &str) -> Result<Self, PathError> {
        if path.len() > Self::MAX_LENGTH {
            return Err(PathError::TooLong);
        }
        let Some(rest) = path.strip_prefix('/') else {
            return Err(PathError::Relative);
        };
        if !are_allowed(path) {
            return Err(PathError::Character);
        }
        let segments = rest.strip_suffix('/').unwrap_or(rest);
        let canonical = rest.is_empty() || segments.split('/').all(|s| !s.is_empty() && s != "." && s != "..");
        if !canonical {
            return Err(PathError::Segment);
        }
        Ok(Self(path.into()))
    }

    /// The decoded path, beginning with `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the path ends with `/` and so names a directory.
    pub fn is_directory(&self) -> bool {
        self.0.ends_with('/')
    }

    /// The path relative to a root, without leading or trailing slash; `""` for the root itself.
    pub fn relative(&self) -> &str {
        let rest = &self.0[1..];
        rest.strip_suffix('/').unwrap_or(rest)
    }

    /// The last segment; `""` for `/`.
    pub fn name(&self) -> &str {
        let relative = self.relative();
        relative.rsplit_once('/').map_or(relative, |(_, name)| name)
    }

    /// Whether `self` is `prefix` or lies beneath it, by whole segments: `/private` and `/private/` cover `/private`,
    /// `/private/` and `/private/x`, not `/privateer`.
    pub fn is_within(&self, prefix: &SitePath) -> bool {
        let (path, prefix) = (self.relative(), prefix.relative());
        match path.strip_prefix(prefix) {
            Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        }
    }

    /// The path percent-encoded, for links and Location: [`SitePath::from_uri`] reads it back. Not escaped for HTML.
    pub fn to_uri(&self) -> String {
        utf8_percent_encode(&self.0, NOT_PATH).to_string()
    }

    /// The relative reference from this path to the same with a trailing slash, the raw `query` kept: `docs/?a=b`.
    ///
    /// Relative, so that it holds behind a proxy that serves the site beneath a prefix, and cannot name another host.
    pub fn slash_redirect(&self, query: Option<&str>) -> String {
        let name = utf8_percent_encode(self.name(), NOT_PATH).to_string();
        // A colon in the first segment would make a scheme of what stands before it (RFC 3986, section 4.2).
        let mut reference = if name.is_empty() || name.contains(':') {
            format!("./{name}")
        } else {
            name
        };
        if !reference.ends_with('/') {
            reference.push('/');
        }
        if let Some(query) = query {
            reference.push('?');
            reference.extend(utf8_percent_encode(query, NOT_QUERY));
        }
        reference
    }

    /// The segments between slashes; none for `/`.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.relative().split('/').filter(|s| !s.is_empty())
    }
}

/// Whether a path is certainly canonical, and not encoded: what nearly all requests ask for. Looks at each byte once.
fn is_plain(path: &str) -> bool {
    if !path.starts_with('/') || path.len() > SitePath::MAX_LENGTH {
        return false;
    }
    let mut slash = false;
    for byte in path.bytes() {
        match KINDS[usize::from(byte)] {
            Kind::Plain => slash = false,
            // Neither an empty segment nor one that begins with a dot.
            Kind::Slash if !slash => slash = true,
            Kind::Dot if !slash => {}
            Kind::Slash | Kind::Dot | Kind::Other => return false,
        }
    }
    true
}

/// What a byte means for [`is_plain`].
#[derive(Clone, Copy)]
enum Kind {
    Plain,
    Slash,
    Dot,
    /// It needs a closer look.
    Other,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Other; 256];
    let mut byte = 0x20;
    while byte <= 0x7E {
        kinds[byte] = Kind::Plain;
        byte += 1;
    }
    kinds[b'/' as usize] = Kind::Slash;
    kinds[b'.' as usize] = Kind::Dot;
    kinds[b'%' as usize] = Kind::Other;
    kinds[b'\\' as usize] = Kind::Other;
    kinds
};

/// No control character and no backslash.
fn are_allowed(path: &str) -> bool {
    // Nearly all paths are ASCII, and bytes are looked at many at a time.
    let plain = |byte: &u8| matches!(byte, 0x20..=0x7E) && *byte != b'\\';
    path.as_bytes().iter().all(plain) || !path.chars().any(|c| c.is_control() || c == '\\')
}

impl fmt::Display for SitePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
