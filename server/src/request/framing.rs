//! The framing of a request's body, where hyper is more lenient than this server wants to be.
//!
//! hyper reads a body as chunked when `chunked` is the last coding named, whatever stands before it. A body that was
//! also compressed, or of a coding that nobody knows, would be read by whoever is in front in another way.

use http::{HeaderMap, header};

/// Why a body is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    #[error("has a transfer coding other than chunked")]
    UnknownCoding,
}

/// Refuses transfer codings that this server does not implement (RFC 9112, section 6.1).
///
/// # Errors
/// When Transfer-Encoding is there and is not `chunked`, once and alone.
pub fn check(headers: &HeaderMap) -> Result<(), FramingError> {
    // Hardly anybody sends a body, and looking at a few names costs less than hashing one.
    if !headers.keys().any(|name| *name == header::TRANSFER_ENCODING) {
        return Ok(());
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(FramingError::UnknownCoding),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn only_chunked_is_known() {
        for (codings, known) in [
            (&[][..], true),
            (&["chunked"], true),
            (&["Chunked"], true),
            (&["chunked\t"], true),
            (&["chunked", "chunked"], false),
            (&["identity", "chunked"], false),
            (&["gzip, chunked"], false),
            (&["chunked, chunked"], false),
            (&[",chunked"], false),
            (&["chunked;q=1"], false),
            (&[""], false),
        ] {
            let value = |text: &&'static str| (header::TRANSFER_ENCODING, HeaderValue::from_static(text));
            let mut headers = HeaderMap::new();
            for (name, value) in codings.iter().map(value) {
                headers.append(name, value);
            }
            assert_eq!(check(&headers).is_ok(), known, "{codings:?}");
        }
    }
}
