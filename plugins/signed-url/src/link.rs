//! The links of `wasmserve sign`: `?expires=1795197600&signature=...`, perhaps with `prefix` and `client`.
//!
//! The signature is HMAC-SHA256 (RFC 2104) of three lines, in base64url without padding:
//!
//! ```text
//! path /private/a.pdf
//! expires 1795197600
//! client any
//! ```
//!
//! `prefix /private/` in the place of the first line, and an address or block in the place of `any`. Paths are decoded and
//! hold no control characters, so that no value can pass for two lines.
use crate::{Signed, seconds};
use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmserve_plugin::{Network, Request, covers, path};

pub const EXPIRES: &str = "expires";
pub const SIGNATURE: &str = "signature";
pub const PREFIX: &str = "prefix";
pub const CLIENT: &str = "client";

/// The signing keys: whoever knows one of them can make links.
pub struct Secrets(Vec<Vec<u8>>);

impl Secrets {
    pub fn new(secrets: Vec<Vec<u8>>) -> Self {
        Self(secrets)
    }

    /// Whether one of them made this signature; takes as long for each that did not.
    fn signed(&self, message: &str, signature: &[u8]) -> bool {
        self.0.iter().any(|secret| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
            mac.update(message.as_bytes());
            mac.verify_slice(signature).is_ok()
        })
    }
}

/// What the request's link says, when its signature is right and covers the path.
pub fn check(request: &Request, secrets: &Secrets) -> Option<Signed> {
    let signature = Base64UrlUnpadded::decode_vec(&request.query_parameter(SIGNATURE)?).ok()?;
    let expires = seconds(&request.query_parameter(EXPIRES)?)?;
    let client = request.query_parameter(CLIENT);
    let requested = request.path();
    let scope = match request.query_parameter(PREFIX) {
        Some(prefix) => {
            path::check(&prefix).ok()?;
            covers(&prefix, &requested).then(|| format!("prefix {prefix}"))?
        }
        None => format!("path {requested}"),
    };
    // What is no network would trap when it is asked for; the signer makes no such link.
    let network = client.as_deref().map(str::parse::<Network>).transpose().ok()?;
    if !secrets.signed(&message(&scope, expires, client.as_deref()), &signature) {
        return None;
    }
    // Asked after the signature, so that nobody else chooses the question.
    let for_client = network.is_none_or(|network| request.client_within(network.as_ref()));
    Some(Signed { expires, for_client })
}

fn message(scope: &str, expires: u64, client: Option<&str>) -> String {
    format!("{scope}\nexpires {expires}\nclient {}\n", client.unwrap_or("any"))
}
