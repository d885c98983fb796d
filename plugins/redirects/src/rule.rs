//! One rule.
use crate::condition::Condition;
use wasmserve_plugin::Route;

/// A rule, checked.
#[derive(Debug)]
pub struct Rule {
    pub from: Route,
    /// Query parameters that have to be there: a value, or `:name` for any.
    pub parameters: Vec<(String, String)>,
    /// A path or a URL, with placeholders; of a rewrite, a decoded path.
    pub to: String,
    pub action: Action,
    pub conditions: Vec<Condition>,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Elsewhere: where no file is, or whatever is there.
    Redirect { status: u16, forced: bool },
    /// Another file, with 200: behind the file itself, or in its place.
    Rewrite { forced: bool },
    /// A page with 404 or 410 where no file is, or that status whatever is there.
    Missing { status: u16, forced: bool },
}

/// Everything but unreserved characters percent-encoded (RFC 3986, section 2.3), so that a value stays one value.
pub fn encode_component(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}
