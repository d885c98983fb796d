//! TLS: a certificate and its key from their files, and the handshake, which says which HTTP is spoken.

use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Speaks TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// What the client and the server agreed on (ALPN, RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not PEM: {problem}")]
    Pem { path: PathBuf, problem: pem::Error },
    #[error("{path} has no certificate: a PEM block that begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate { path: PathBuf },
    #[error("{path} has no private key: a PEM block that begins with -----BEGIN PRIVATE KEY-----{hint}")]
    NoKey { path: PathBuf, hint: &'static str },
    #[error("the key in {key} is not that of the first certificate in {certificate}")]
    OtherKey { certificate: PathBuf, key: PathBuf },
    #[error("{certificate} and {key} cannot be used")]
    Unusable {
        certificate: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
}

// === impl Tls ===

impl Tls {
    /// Reads a chain of certificates, the server's own first, and its key.
    ///
    /// # Errors
    /// With the file and what is wrong with it, and nothing of what is in it.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let chain = read_chain(certificate)?;
        let secret = read_key(key)?;
        let unusable = |source| match source {
            rustls::Error::InconsistentKeys(_) => TlsError::OtherKey {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
            },
            source => TlsError::Unusable {
                certificate: certificate.to_owned(),
                key: key.to_owned(),
                source,
            },
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, secret)
            .map_err(unusable)?;
        config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
        Ok(Self(Arc::new(config).into()))
    }

    /// Shakes hands. How long that may take is the caller's business.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Protocol)> {
        let stream = self.0.accept(stream).await?;
        let protocol = match stream.get_ref().1.alpn_protocol() {
            Some(HTTP_2) => Protocol::Http2,
            // A client that offers nothing speaks what is older than the offer.
            _ => Protocol::Http1,
        };
        Ok((stream, protocol))
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls")
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read {
        path: path.to_owned(),
        source,
    })
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate { path: path.to_owned() }),
        Ok(chain) => Ok(chain),
        Err(problem) => Err(TlsError::Pem {
            path: path.to_owned(),
            problem,
        }),
    }
}

fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|problem| match problem {
        pem::Error::NoItemsFound => TlsError::NoKey {
            path: path.to_owned(),
            hint: hint(&text),
        },
        problem => TlsError::Pem {
            path: path.to_owned(),
            problem,
        },
    })
}

/// What is there instead of a key.
fn hint(text: &[u8]) -> &'static str {
    let has = |label: &str| text.windows(label.len()).any(|window| window == label.as_bytes());
    if has("BEGIN ENCRYPTED PRIVATE KEY") {
        "; the one that is there is encrypted: decrypt it with `openssl pkey`"
    } else if has("BEGIN CERTIFICATE") {
        "; there is a certificate instead: are the two files swapped?"
    } else {
        ""
    }
}
