//! Outbound requests of a policy: to the servers that the operator names, and nowhere else.
//!
//! In the order of events: the request's [`Origin`] has to be allowed; a turn of the site is taken; the name is resolved
//! here, every address it leads to is checked (`addresses`), and the connection goes to an address that was checked, so a
//! name that leads elsewhere a moment later changes nothing; TLS; one exchange, whose head, body and duration are bounded
//! (`body`). Redirects are the policy's to follow. Whatever is under way ends with the call.
mod addresses;
mod body;
mod origin;

pub use origin::{Origin, OriginHost};

use super::SiteServices;
use body::Bounded;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use ipnet::IpNet;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpHooks, io::TokioIo, p2::bindings::http::types::ErrorCode,
};

/// Bytes of a response's head, and fields in it.
const MAX_HEAD: usize = 64 << 10;
const MAX_FIELDS: usize = 128;
/// How long a connection outlives its deadline, so that the body is what tells of it.
const GRACE: Duration = Duration::from_millis(100);
/// Bytes that a guest hands over at once.
const CHUNK: usize = 64 << 10;

/// What a policy may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpGrant {
    /// The servers.
    pub allow: Vec<Origin>,
    /// Addresses that are reached although they are not public. An address that is itself a server of `allow` is.
    pub addresses: Vec<IpNet>,
    /// A file of certificates (PEM) that are trusted instead of the public authorities.
    pub certificates: Option<PathBuf>,
    /// For a turn; from then to the connection, TLS included. `None`: as `timeout`.
    pub connect_timeout: Option<Duration>,
    /// From the connection to the response's head. `None`: as `timeout`.
    pub first_byte_timeout: Option<Duration>,
    /// From the request to the response's end. `None`: half the wall time of the policy.
    pub timeout: Option<Duration>,
    /// Bytes of a request's body, and of a response's.
    pub request_bytes: u64,
    pub response_bytes: u64,
    /// Requests of one call.
    pub requests: usize,
}

impl Default for HttpGrant {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            addresses: Vec::new(),
            certificates: None,
            connect_timeout: None,
            first_byte_timeout: None,
            timeout: None,
            request_bytes: 256 << 10,
            response_bytes: 1 << 20,
            requests: 4,
        }
    }
}

/// What makes the requests of one policy.
pub(crate) struct HttpClient {
    grant: HttpGrant,
    timeout: Duration,
    tls: TlsConnector,
    /// What the file of trusted certificates held.
    trusted: Option<Vec<u8>>,
    site: Arc<SiteServices>,
}

type Sent = Result<
    (
        http::Response<WasiBody>,
        Box<dyn Future<Output = Result<(), Error>> + Send>,
    ),
    Error,
>;

impl HttpClient {
    /// The error is one line for the operator.
    pub fn new(grant: &HttpGrant, wall: Duration, site: Arc<SiteServices>) -> Result<Arc<Self>, String> {
        let (roots, trusted) = match &grant.certificates {
            Some(file) => {
                let (roots, text) = certificates(file)
                    .map_err(|reason| format!("cannot trust the certificates of {}: {reason}", file.display()))?;
                (roots, Some(text))
            }
            None => {
                let roots = webpki_roots::TLS_SERVER_ROOTS.into();
                (RootCertStore { roots }, None)
            }
        };
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("cannot use TLS: {error}"))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::new(Self {
            timeout: grant.timeout.unwrap_or(wall / 2),
            grant: grant.clone(),
            tls: TlsConnector::from(Arc::new(config)),
            trusted,
            site,
        }))
    }

    /// Whether the file of trusted certificates holds what it held.
    pub fn is_current(&self) -> bool {
        let (Some(file), Some(held)) = (&self.grant.certificates, &self.trusted) else {
            return true;
        };
        std::fs::read(file).is_ok_and(|holds| holds == *held)
    }

    async fn send(self: Arc<Self>, request: http::Request<WasiBody>, options: RequestOptions) -> Sent {
        let deadline = Instant::now() + self.timeout;
        let sent = timeout_at(deadline, self.try_send(request, options, deadline)).await;
        sent.unwrap_or(Err(Error::HttpResponseTimeout))
    }

    async fn try_send(&self, mut request: http::Request<WasiBody>, options: RequestOptions, deadline: Instant) -> Sent {
        let origin = Origin::of(request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        if !self.grant.allow.contains(&origin) || request.method() == http::Method::CONNECT {
            tracing::debug!(%origin, "an outbound request was refused: the server is not allowed");
            return Err(Error::HttpRequestDenied);
        }
        let connect_timeout = shortest(options.connect_timeout, self.grant.connect_timeout, self.timeout);
        let turn = timeout(connect_timeout, self.site.turns().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Error::ConnectionLimitReached);
        };
        let connected = timeout(connect_timeout, self.connect(&origin, turn)).await;
        let (stream, turn) = connected.unwrap_or(Err(Error::ConnectionTimeout))?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_FIELDS)
            .handshake(TokioIo::new(stream))
            .await?;
        // Ends with the handle, which ends with the response.
        let connection = wasmtime_wasi::runtime::spawn(connection);
        // In origin form (RFC 9112, section 3.2.1).
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|_| Error::HttpRequestUriInvalid)?;
        let limit = self.grant.request_bytes;
        let request = request.map(|body| {
            Bounded::new(body, limit, deadline, None, Error::HttpRequestBodySize(Some(limit))).boxed_unsync()
        });
        let first_byte = shortest(options.first_byte_timeout, self.grant.first_byte_timeout, self.timeout);
        let response = timeout(first_byte, sender.send_request(request)).await;
        let response = response.map_err(|_| Error::ConnectionReadTimeout)??;
        let limit = self.grant.response_bytes;
        let response = response.map(|body| {
            let body = body.map_err(Error::from);
            let between = options.between_bytes_timeout;
            Bounded::new(body, limit, deadline, between, Error::HttpResponseBodySize(Some(limit))).boxed_unsync()
        });
        let ending = async move {
            // A guest that holds on to a response and does not read it keeps the turn no longer than this. One that reads is
            // told by the body.
            let ended = timeout_at(deadline + GRACE, connection).await;
            drop(turn);
            match ended {
                Ok(ended) => ended.map_err(Error::from),
                Err(_) => Err(Error::HttpResponseTimeout),
            }
        };
        Ok((response, Box::new(ending)))
    }

    async fn connect(
        &self,
        origin: &Origin,
        turn: OwnedSemaphorePermit,
    ) -> Result<(Box<dyn Stream>, OwnedSemaphorePermit), Error> {
        let (addresses, turn) = self.resolve(origin, turn).await?;
        let mut failure = Error::DestinationNotFound;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(stream) => return Ok((self.secure(origin, stream).await?, turn)),
                Err(error) => failure = Error::Connect(error),
            }
        }
        Err(failure)
    }

    /// Addresses that were checked, all of them.
    async fn resolve(
        &self,
        origin: &Origin,
        turn: OwnedSemaphorePermit,
    ) -> Result<(Vec<SocketAddr>, OwnedSemaphorePermit), Error> {
        let name = match &origin.host {
            // The operator named it.
            OriginHost::Address(address) => return Ok((vec![(*address, origin.port).into()], turn)),
            OriginHost::Name(name) => (name.clone(), origin.port),
        };
        // The resolver cannot be cut off: the turn is taken for as long as it is busy, so that there are never many.
        let resolved = tokio::task::spawn_blocking(move || (name.to_socket_addrs(), turn)).await;
        let (addresses, turn) = resolved.map_err(|error| Error::InternalError(Some(error.to_string())))?;
        let addresses: Vec<SocketAddr> = addresses.map_err(|_| Error::DestinationNotFound)?.collect();
        for address in &addresses {
            if let Some(what) = addresses::refused(address.ip(), &self.grant.addresses) {
                tracing::warn!(
                    %origin,
                    address = %address.ip(),
                    "an outbound request was refused: its name leads to an address that is {what}; the operator can name \
                     it in `addresses`"
                );
                return Err(Error::DestinationIpProhibited);
            }
        }
        Ok((addresses, turn))
    }

    async fn secure(&self, origin: &Origin, stream: TcpStream) -> Result<Box<dyn Stream>, Error> {
        if !origin.tls {
            return Ok(Box::new(stream));
        }
        let name = match &origin.host {
            OriginHost::Address(address) => ServerName::from(*address),
            OriginHost::Name(name) => ServerName::try_from(name.clone()).map_err(|_| Error::HttpRequestUriInvalid)?,
        };
        let stream = self.tls.connect(name, stream).await.map_err(Error::Tls)?;
        Ok(Box::new(stream))
    }
}

/// What hyper reads and writes, with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// With the text of the file.
fn certificates(file: &Path) -> Result<(RootCertStore, Vec<u8>), String> {
    let mut roots = RootCertStore::empty();
    let text = std::fs::read(file).map_err(|error| error.to_string())?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    match roots.is_empty() {
        true => Err("it holds none".into()),
        false => Ok((roots, text)),
    }
}

/// What the guest asked for, within what the operator allows.
fn shortest(asked: Option<Duration>, allowed: Option<Duration>, most: Duration) -> Duration {
    [asked, allowed].into_iter().flatten().fold(most, Duration::min)
}

/// The outbound requests of one call.
#[derive(Default)]
pub(crate) struct Outbound {
    /// `None`: there is none to be made, because nothing is granted or because the guest is configured.
    client: Option<Arc<HttpClient>>,
    /// What was requested.
    sent: Vec<String>,
}

impl Outbound {
    pub fn new(client: Option<Arc<HttpClient>>) -> Self {
        Self {
            client,
            sent: Vec::new(),
        }
    }

    /// What was requested so far, for the record.
    pub fn take_sent(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sent)
    }
}

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: http::Request<WasiBody>,
        options: Option<RequestOptions>,
        // Would tell the request's maker what became of a response's body; nothing of 0.2 asks.
        _outcome: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        let Some(client) = self.client.clone() else {
            return Box::new(async { Err(Error::HttpRequestDenied) });
        };
        if self.sent.len() == client.grant.requests {
            return Box::new(async { Err(Error::ConnectionLimitReached) });
        }
        self.sent.push(format!("{} {}", request.method(), request.uri()));
        Box::new(client.send(request, options.unwrap_or_default()))
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        CHUNK
    }

    // The policy is told, and logs what matters; whoever makes requests fail must not fill the log.
    fn p2_error_from_connect(&mut self, error: &std::io::Error) -> ErrorCode {
        tracing::debug!(%error, "an outbound request could not connect");
        ErrorCode::ConnectionRefused
    }

    fn p2_error_from_tls(&mut self, error: &std::io::Error) -> ErrorCode {
        tracing::debug!(%error, "an outbound request found no trusted server");
        ErrorCode::TlsProtocolError
    }
}
