//! Answers to the challenges of authorities that are under way: by plain HTTP (http-01, RFC 8555, section 8.3) and within a
//! TLS handshake (tls-alpn-01, RFC 8737). Each is shown for as long as its order is under way, to whoever asks: it says
//! nothing that an authority's question does not.

use crate::request::redirect;
use instant_acme::KeyAuthorization;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::PrivatePkcs8KeyDer,
    sign::{CertifiedKey, SingleCertAndKey},
};
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

/// The protocol that an authority offers in its handshake, and nothing beside it.
pub const ACME_TLS: &[u8] = b"acme-tls/1";

/// How an authority may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    TlsAlpn01,
    Http01,
}

/// What is answered now.
#[derive(Default)]
pub struct Challenges {
    /// By token.
    tokens: RwLock<HashMap<String, Token>>,
    /// By name.
    handshakes: RwLock<HashMap<String, Arc<ServerConfig>>>,
}

struct Token {
    name: String,
    answer: String,
}

/// An answer that is shown; dropping it ends that.
pub struct Shown<'a> {
    challenges: &'a Challenges,
    key: Key,
}

enum Key {
    Token(String),
    Name(String),
}

// === impl Challenges ===

impl Challenges {
    /// The content of the resource that an authority asks a host for by plain HTTP; `None`: it is no challenge of ours.
    pub fn answer(&self, host: &str, path: &str) -> Option<String> {
        let token = path.strip_prefix(redirect::ACME)?;
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens
            .get(token)
            .filter(|token| token.name == host)
            .map(|token| token.answer.clone())
    }

    /// What a handshake for a name is answered with that offers [`ACME_TLS`]; `None`: nobody asked for that name's
    /// certificate.
    pub fn handshake(&self, name: &str) -> Option<Arc<ServerConfig>> {
        let handshakes = self.handshakes.read().unwrap_or_else(PoisonError::into_inner);
        handshakes.get(name).cloned()
    }

    /// Shows the answer to a challenge for a name.
    ///
    /// # Errors
    /// When no certificate can be made for the handshake.
    pub fn show(
        &self,
        method: Method,
        name: &str,
        token: &str,
        authorization: &KeyAuthorization,
    ) -> Result<Shown<'_>, Box<dyn std::error::Error + Send + Sync>> {
        let key = match method {
            Method::Http01 => {
                let answer = Token {
                    name: name.to_owned(),
                    answer: authorization.as_str().to_owned(),
                };
                let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
                tokens.insert(token.to_owned(), answer);
                Key::Token(token.to_owned())
            }
            Method::TlsAlpn01 => {
                let config = handshake(name, authorization.digest().as_ref())?;
                let mut handshakes = self.handshakes.write().unwrap_or_else(PoisonError::into_inner);
                handshakes.insert(name.to_owned(), Arc::new(config));
                Key::Name(name.to_owned())
            }
        };
        Ok(Shown { challenges: self, key })
    }
}

/// A certificate that holds the digest of what authorizes the key (RFC 8737, section 3).
fn handshake(name: &str, digest: &[u8]) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let provider = default_provider();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = provider.key_provider.load_private_key(key.into())?;
    // Not checked against each other: whoever checks does not know the critical extension.
    let pair = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], key));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(pair));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(config)
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        match &self.key {
            Key::Token(token) => {
                let mut tokens = self.challenges.tokens.write().unwrap_or_else(PoisonError::into_inner);
                tokens.remove(token);
            }
            Key::Name(name) => {
                let handshakes = self.challenges.handshakes.write();
                handshakes.unwrap_or_else(PoisonError::into_inner).remove(name);
            }
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
        })
    }
}
