//! Names as HTTP has them.

/// Whether a text is a token (RFC 9110, section 5.6.2): what methods, field names and the names of cookies are made of.
///
/// ```
/// # use wasmserve_plugin::is_token;
/// assert!(is_token("X-Api-Key") && !is_token("X Api Key") && !is_token(""));
/// ```
pub fn is_token(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(fits)
}
