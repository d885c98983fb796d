//! Content-Disposition: whether a file is shown or saved, and under which name (RFC 6266; names as in RFC 8187).
use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What the client is to do with the content (RFC 6266, section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Shown where it was asked for; the name is for saving it later.
    Inline,
    /// Saved under the name.
    Attachment,
}

/// Why a name cannot be a file's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    #[error("a file name must not be empty")]
    Empty,
    #[error("a file name must not hold a slash or backslash")]
    Separator,
    #[error("a file name must not hold control characters")]
    Control,
}

/// All but attr-char (RFC 8187, section 3.2.1).
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

impl Disposition {
    /// The field value for a file called `name`.
    ///
    /// A plain name stands in quotes. One that old clients would misread (not ASCII, a quote, a percent sign) is given
    /// twice: exactly in `filename*`, and with `_` for what they misread in `filename` (RFC 6266, appendix D).
    pub fn to_header(self, name: &str) -> Result<HeaderValue, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if name.contains(['/', '\\']) {
            return Err(NameError::Separator);
        }
        if name.chars().any(char::is_control) {
            return Err(NameError::Control);
        }
        let kind = match self {
            Self::Inline => "inline",
            Self::Attachment => "attachment",
        };
        let plain = |c: char| c.is_ascii() && c != '"' && c != '%';
        let fallback: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
        let mut value = format!("{kind}; filename=\"{fallback}\"");
        if fallback != name {
            value.push_str("; filename*=UTF-8''");
            value.extend(utf8_percent_encode(name, NOT_ATTR_CHAR));
        }
        Ok(HeaderValue::try_from(value).expect("visible ASCII and spaces: everything else was refused or escaped"))
    }
}
