//! Requests that this server makes itself: to a certificate authority, to a collector of traces. One connection for each:
//! there are few of them.

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{error::Error, fs, future::pending, io, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// Bytes of an answer that are read.
const LONGEST: usize = 1 << 20;

/// Makes requests.
#[derive(Clone)]
pub struct Outgoing {
    tls: TlsConnector,
    /// From the beginning of a request to the end of its answer.
    timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    #[error("{0} is not a URL that can be asked")]
    Url(Uri),
    #[error("cannot connect to {to}")]
    Connect { to: String, source: io::Error },
    #[error("cannot speak TLS with {to}")]
    Tls { to: String, source: io::Error },
    #[error("the exchange broke")]
    Exchange(#[from] hyper::Error),
    #[error("the answer cannot be read")]
    Answer(#[source] Box<dyn Error + Send + Sync>),
    #[error("no answer came in {}", humantime::format_duration(*.0))]
    Late(Duration),
}

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("cannot read {path}")]
    Read { path: String, source: io::Error },
    #[error("{path} has no certificate that can be trusted: a PEM block that begins with -----BEGIN CERTIFICATE-----")]
    NoCertificate { path: String },
    #[error("TLS cannot be spoken")]
    Library(#[from] rustls::Error),
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

// === impl Outgoing ===

impl Outgoing {
    /// Trusts the certificates of a file, or the public authorities. Blocks.
    ///
    /// # Errors
    /// A file without certificates.
    pub fn new(trusted: Option<&Path>, timeout: Duration) -> Result<Self, TrustError> {
        let roots = match trusted {
            Some(file) => certificates(file)?,
            None => RootCertStore {
                roots: webpki_roots::TLS_SERVER_ROOTS.into(),
            },
        };
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            timeout,
        })
    }

    /// Asks, with a whole URL as the request's target. A redirect is an answer like any other.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask(&self, request: Request<Bytes>) -> Result<Response<Bytes>, OutgoingError> {
        let asked = timeout(self.timeout, self.exchange(request)).await;
        asked.unwrap_or(Err(OutgoingError::Late(self.timeout)))
    }

    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, OutgoingError> {
        let stream = self.connect(request.uri()).await?;
        if let Some(authority) = request.uri().authority()
            && let Ok(host) = authority.as_str().parse()
        {
            request.headers_mut().insert(header::HOST, host);
        }
        // In origin form (RFC 9112, section 3.2.1).
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| OutgoingError::Url(request.uri().clone()))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let response = sender.send_request(request.map(Full::new)).await?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LONGEST).collect().await;
            Ok(Response::from_parts(
                head,
                body.map_err(OutgoingError::Answer)?.to_bytes(),
            ))
        };
        // The end of the connection is the exchange's too, which tells why.
        let driven = async {
            let _ = connection.await;
            pending().await
        };
        tokio::select! {
            answer = exchange => answer,
            never = driven => never,
        }
    }

    async fn connect(&self, url: &Uri) -> Result<Box<dyn Stream>, OutgoingError> {
        let refused = || OutgoingError::Url(url.clone());
        let host = url.host().ok_or_else(refused)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_tls = match url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(refused()),
        };
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let to = format!("{host}:{port}");
        let stream = TcpStream::connect((host, port)).await;
        let stream = stream.map_err(|source| OutgoingError::Connect { to: to.clone(), source })?;
        if !is_tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(|_| refused())?;
        let stream = self.tls.connect(name, stream).await;
        Ok(Box::new(stream.map_err(|source| OutgoingError::Tls { to, source })?))
    }
}

fn certificates(file: &Path) -> Result<RootCertStore, TrustError> {
    let path = || file.display().to_string();
    let text = fs::read(file).map_err(|source| TrustError::Read { path: path(), source })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).flatten());
    match roots.is_empty() {
        true => Err(TrustError::NoCertificate { path: path() }),
        false => Ok(roots),
    }
}
