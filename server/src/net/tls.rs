//! TLS: certificates and keys from their files, which of them a client is shown, and the handshake, which says which HTTP is
//! spoken.
//!
//! The name that a client asks for (SNI, RFC 6066) chooses a site as a Host would, and the site its certificate, or the
//! server's. What was chosen stays with the connection: a request for a host with another certificate, or with other
//! demands on clients, is refused with 421, so that no site is reached past its own handshake. An [`Identity`] that did not
//! change outlives reloads, and with it the tickets that its clients hold.

use crate::{
    acme::{Acme, challenges::ACME_TLS},
    sites::Sites,
};
use ring::digest::{Context as Digest, SHA256, digest};
use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    crypto::{
        CryptoProvider,
        ring::{Ticketer, default_provider},
    },
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    server::{
        Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError, WebPkiClientVerifier,
    },
    sign::CertifiedKey,
};
use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{LazyConfigAcceptor, server::TlsStream};
use x509_cert::{Certificate, der::Decode};

/// What HTTPS is spoken with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TlsFiles {
    pub certificate: CertificateSource,
    /// What is asked of clients.
    pub clients: Option<ClientCertificates>,
}

/// Where a certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertificateSource {
    Files {
        /// The server's certificate, and those that lead from it to one that clients trust.
        certificate: PathBuf,
        key: PathBuf,
    },
    /// Each name has its own, which is ordered: see [`crate::acme`].
    Acme,
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCertificates {
    /// Those that lead to one of these are accepted.
    pub authorities: PathBuf,
    pub demand: Demand,
}

/// Whether a client may come without a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Demand {
    Required,
    Optional,
}

/// Speaks TLS 1.2 and 1.3.
#[derive(Clone)]
pub struct Tls {
    /// For names that no site has a certificate of its own for.
    default: Option<Arc<Identity>>,
    own: Arc<HashMap<Arc<TlsFiles>, Arc<Identity>>>,
    /// Tells clients that there is nothing for the name that they ask for.
    refusing: Arc<ServerConfig>,
    acme: Arc<Acme>,
}

/// What a handshake came to.
pub enum Shaken<S> {
    /// A connection, with what is spoken on it.
    Client(Box<TlsStream<S>>, Protocol, Secured),
    /// An authority saw the answer to its challenge: that was all.
    Challenge,
}

/// A certificate with what is asked of its clients, ready to use.
struct Identity {
    config: Arc<ServerConfig>,
    /// Of the content of its files.
    content: [u8; 32],
}

/// What a handshake agreed on.
#[derive(Debug)]
pub struct Secured {
    /// The site's own certificate; `None` for the server's.
    files: Option<Arc<TlsFiles>>,
    /// The only host that it is for, where each has its own.
    only: Option<Box<str>>,
    /// `tls.*`, for policies and the log.
    pub facts: Vec<(String, String)>,
}

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
    #[error("{path} has a certificate that cannot be trusted for clients")]
    Authority { path: PathBuf, source: rustls::Error },
    #[error("{path} cannot be trusted for clients")]
    Authorities {
        path: PathBuf,
        source: VerifierBuilderError,
    },
    #[error("TLS cannot be spoken")]
    Library(#[source] rustls::Error),
    #[error("the key in {key} is not that of the first certificate in {certificate}")]
    OtherKey { certificate: PathBuf, key: PathBuf },
    #[error("{certificate} and {key} cannot be used")]
    Unusable {
        certificate: PathBuf,
        key: PathBuf,
        source: rustls::Error,
    },
}

// === impl TlsFiles ===

impl TlsFiles {
    /// Read again at each reload, and never served.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        let own = match &self.certificate {
            CertificateSource::Files { certificate, key } => vec![certificate.clone(), key.clone()],
            CertificateSource::Acme => Vec::new(),
        };
        let clients = self.clients.as_ref().map(|clients| clients.authorities.clone());
        own.into_iter().chain(clients)
    }
}

// === impl Tls ===

impl Tls {
    /// Reads the server's files and those that sites have of their own; `None` when there are none. What did not change
    /// since `before` is taken over.
    ///
    /// # Errors
    /// With the file and what is wrong with it, and nothing of what is in it.
    pub fn load<'a>(
        default: Option<&TlsFiles>,
        sites: impl Iterator<Item = &'a Arc<TlsFiles>>,
        before: Option<&Self>,
        acme: &Arc<Acme>,
    ) -> Result<Option<Self>, TlsError> {
        let known = |files: &TlsFiles| before.and_then(|before| before.own.get(files));
        let mut own: HashMap<Arc<TlsFiles>, Arc<Identity>> = HashMap::new();
        for files in sites {
            if !own.contains_key(files) {
                own.insert(files.clone(), Identity::load(files, known(files), acme)?);
            }
        }
        let before_default = before.and_then(|before| before.default.as_ref());
        let default = default
            .map(|files| Identity::load(files, before_default, acme))
            .transpose()?;
        if default.is_none() && own.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self {
            default,
            own: Arc::new(own),
            refusing: refusing()?,
            acme: acme.clone(),
        }))
    }

    /// Shakes hands. How long that may take, and how many do at once, is the caller's business: a bound of its own here would
    /// let clients that say nothing keep all others out.
    ///
    /// # Errors
    /// When the client speaks no TLS, agrees to nothing, or comes without a certificate that is demanded.
    pub async fn accept<S>(&self, sites: &Sites, stream: S) -> io::Result<Shaken<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let hello = start.client_hello();
        let name = hello.server_name().map(str::to_ascii_lowercase).unwrap_or_default();
        let name = name.strip_suffix('.').unwrap_or(&name);
        if hello
            .alpn()
            .is_some_and(|mut offered| offered.next() == Some(ACME_TLS) && offered.next().is_none())
        {
            let config = self.acme.challenges.handshake(name);
            let mut stream = start
                .into_stream(config.unwrap_or_else(|| self.refusing.clone()))
                .await?;
            // Nothing follows (RFC 8737, section 3).
            stream.shutdown().await?;
            return Ok(Shaken::Challenge);
        }
        let (files, config) = self.chosen(sites, name).await;
        let stream = start.into_stream(config).await?;
        let connection = stream.get_ref().1;
        let protocol = match connection.alpn_protocol() {
            Some(HTTP_2) => Protocol::Http2,
            // A client that offers nothing speaks what is older than the offer.
            _ => Protocol::Http1,
        };
        let facts = facts(connection);
        let is_acme = files
            .as_ref()
            .is_some_and(|files| files.certificate == CertificateSource::Acme);
        let only = is_acme.then(|| name.into());
        Ok(Shaken::Client(
            Box::new(stream),
            protocol,
            Secured { files, only, facts },
        ))
    }

    /// What a client is shown that asks for a name; empty: for none.
    async fn chosen(&self, sites: &Sites, name: &str) -> (Option<Arc<TlsFiles>>, Arc<ServerConfig>) {
        if self.acme.ready(name).is_none() && sites.has_tenant(name).await {
            self.acme.on_demand(name).await;
        }
        let files = sites.tls_of(name).cloned();
        let identity = match &files {
            Some(files) => self.own.get(files),
            None => self.default.as_ref(),
        };
        let config = identity.map_or(&self.refusing, |identity| &identity.config);
        (files, config.clone())
    }
}

// === impl Identity ===

impl Identity {
    /// Reads its files, unless they have what they had before.
    fn load(files: &TlsFiles, before: Option<&Arc<Self>>, acme: &Arc<Acme>) -> Result<Arc<Self>, TlsError> {
        let (certificate, key) = match &files.certificate {
            CertificateSource::Files { certificate, key } => (read(certificate)?, read(key)?),
            CertificateSource::Acme => Default::default(),
        };
        let clients = files.clients.as_ref();
        let authorities = clients.map(|clients| read(&clients.authorities)).transpose()?;
        let mut content = Digest::new(&SHA256);
        for part in [&certificate, &key, authorities.as_ref().unwrap_or(&Vec::new())] {
            content.update(&part.len().to_le_bytes());
            content.update(part);
        }
        content.update(format!("{:?}", clients.map(|clients| clients.demand)).as_bytes());
        let content: [u8; 32] = content.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
        if let Some(before) = before.filter(|before| before.content == content) {
            return Ok(before.clone());
        }
        let verifier = match clients.zip(authorities) {
            Some((clients, authorities)) => verifier(clients, &authorities)?,
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Library)?
            .with_client_cert_verifier(verifier);
        let config = match &files.certificate {
            CertificateSource::Acme => config.with_cert_resolver(Arc::new(Ordered(acme.clone()))),
            CertificateSource::Files {
                certificate: certificate_path,
                key: key_path,
            } => {
                let chain = chain(certificate_path, &certificate)?;
                let key = secret(key_path, &key)?;
                let (certificate, key_path) = (certificate_path.clone(), key_path.clone());
                config.with_single_cert(chain, key).map_err(|source| match source {
                    rustls::Error::InconsistentKeys(_) => TlsError::OtherKey {
                        certificate,
                        key: key_path,
                    },
                    source => TlsError::Unusable {
                        certificate,
                        key: key_path,
                        source,
                    },
                })?
            }
        };
        Ok(Arc::new(Self {
            config: prepared(config)?,
            content,
        }))
    }
}

/// What all have in common. Sessions are resumed by tickets alone: they need no memory, and those of one identity mean
/// nothing to another.
fn prepared(mut config: ServerConfig) -> Result<Arc<ServerConfig>, TlsError> {
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Ticketer::new().map_err(TlsError::Library)?;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Shows the certificate that was ordered for the name, as it is now: renewing one is nothing to connections.
struct Ordered(Arc<Acme>);

impl ResolvesServerCert for Ordered {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let ready = self.0.ready(name);
        if ready.is_none() {
            tracing::info!(name, "there is no certificate for the name yet");
        }
        ready
    }
}

impl std::fmt::Debug for Ordered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ordered")
    }
}

/// Has no certificate for anybody.
#[derive(Debug)]
struct Nothing;

impl ResolvesServerCert for Nothing {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        None
    }
}

fn refusing() -> Result<Arc<ServerConfig>, TlsError> {
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Library)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Nothing));
    prepared(config)
}

fn verifier(
    clients: &ClientCertificates,
    authorities: &[u8],
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let unusable = |source| TlsError::Authorities {
        path: clients.authorities.clone(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for certificate in chain(&clients.authorities, authorities)? {
        roots.add(certificate).map_err(|source| TlsError::Authority {
            path: clients.authorities.clone(),
            source,
        })?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    let verifier = match clients.demand {
        Demand::Required => verifier,
        Demand::Optional => verifier.allow_unauthenticated(),
    };
    verifier.build().map_err(unusable)
}

// === impl Secured ===

impl Secured {
    /// Whether what was agreed on is what a site asks for.
    pub fn is_for(&self, files: Option<&Arc<TlsFiles>>, host: &str) -> bool {
        self.files.as_ref() == files && self.only.as_deref().is_none_or(|only| only == host)
    }
}

fn facts(connection: &ServerConnection) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| facts.push((format!("tls.{name}"), value));
    if let Some(version) = connection.protocol_version().and_then(|version| version.as_str()) {
        add("version", version.replace('_', "."));
    }
    if let Some(name) = connection.server_name() {
        add("server-name", name.to_ascii_lowercase());
    }
    let client = connection.peer_certificates().and_then(|chain| chain.first());
    if let Some(der) = client {
        let fingerprint = digest(&SHA256, der);
        let hex = fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}"));
        add("client-fingerprint", hex.collect());
        // Whoever accepted it has read it: that this reads it too is likely, and what it does not is no fact.
        if let Ok(certificate) = Certificate::from_der(der) {
            let certificate = certificate.tbs_certificate();
            add("client-subject", certificate.subject().to_string());
            add("client-issuer", certificate.issuer().to_string());
        }
    }
    facts
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

fn chain(path: &Path, text: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate { path: path.to_owned() }),
        Ok(chain) => Ok(chain),
        Err(problem) => Err(TlsError::Pem {
            path: path.to_owned(),
            problem,
        }),
    }
}

fn secret(path: &Path, text: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(text).map_err(|problem| match problem {
        pem::Error::NoItemsFound => TlsError::NoKey {
            path: path.to_owned(),
            hint: hint(text),
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
