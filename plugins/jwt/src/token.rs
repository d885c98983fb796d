//! The compact serialization of a signed token (RFC 7515, section 7.1): header, payload and signature.
use crate::key::Key;
use base64ct::{Base64UrlUnpadded, Encoding};
use serde::Deserialize;
use serde_json::{Map, Value};

/// A token whose signature is not checked yet: nothing that it says is to be believed.
pub struct Token<'a> {
    header: Header,
    signed: &'a [u8],
    payload: &'a str,
    signature: Vec<u8>,
}

/// What a header says that matters here. It never chooses how a signature is checked: a key has an algorithm, and the
/// header has to name the same one (RFC 8725, section 3.1).
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that have to be understood (RFC 7515, section 4.1.11). None is.
    crit: Option<Value>,
}

impl<'a> Token<'a> {
    /// `None` when the text is no token, or has extensions that would have to be understood.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.crit.is_some() || payload.contains('.') {
            return None;
        }
        Some(Self {
            header,
            signed: signed.as_bytes(),
            payload,
            signature: decode(signature)?,
        })
    }

    /// Whether the header names this key's algorithm and, when both have one, its identifier, and the signature is the
    /// key's.
    pub fn is_signed_by(&self, key: &Key) -> bool {
        let named = match (&self.header.kid, &key.id) {
            (Some(wanted), Some(id)) => wanted == id,
            _ => true,
        };
        named && key.is_for(&self.header.alg) && key.verifies(self.signed, &self.signature)
    }

    /// What it claims. `None` when that is no JSON object.
    pub fn claims(&self) -> Option<Map<String, Value>> {
        serde_json::from_slice(&decode(self.payload)?).ok()
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    Base64UrlUnpadded::decode_vec(text).ok()
}
