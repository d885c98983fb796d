//! One request after the other, each over a connection of its own: plugins are fetched once.
//!
//! Everything is bounded: the way to a server, its answer in bytes and in time, redirects, and how often is asked again of
//! a server that says it is busy. What says who we are goes to the host that it is for and never along with a redirect to
//! another one.

pub mod challenge;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::TlsConnector;
use url::{Host, Url};

/// To a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// Without a byte of an answer.
const SILENCE: Duration = Duration::from_secs(20);
/// Bytes of an answer's head.
const LONGEST_HEAD: usize = 64 << 10;
/// As browsers have it, roughly.
const REDIRECTS: usize = 5;
/// How often a busy server is asked again, and how long it is waited for at most and by default.
const ATTEMPTS: usize = 3;
const LONGEST_WAIT: Duration = Duration::from_secs(10);
const WAIT: Duration = Duration::from_secs(1);

/// Which hosts are spoken to without TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PlainHttp {
    /// Those on this machine, named by address or `localhost`.
    #[default]
    Loopback,
    /// These, as references write them (`host` or `host:port`), and no other.
    Hosts(Vec<String>),
}

/// Asks servers.
pub struct Client {
    tls: TlsConnector,
    plain: PlainHttp,
}

/// A question.
pub(crate) struct Request<'a> {
    pub method: Method,
    pub url: Url,
    pub accept: &'a str,
    /// What says who we are, to the host of `url`.
    pub authorization: Option<&'a HeaderValue>,
    pub content_type: &'a str,
    pub body: Bytes,
    /// Bytes of the answer.
    pub most: u64,
}

/// An answer, whole.
#[derive(Debug)]
pub(crate) struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the certificates in {} cannot be used: {reason}", .file.display())]
    Certificates { file: PathBuf, reason: String },
    #[error("{host} cannot be reached: {reason}")]
    Unreachable { host: String, reason: String },
    #[error("{host} would be asked without TLS: name it in `plain-http` of [server.registry] if that is meant")]
    Plain { host: String },
    #[error("{host} broke off: {reason}")]
    BrokeOff { host: String, reason: String },
    #[error("{host} sent nothing for {} seconds", SILENCE.as_secs())]
    Silent { host: String },
    #[error("{host} sends more than {most} bytes, which is the most that is taken")]
    TooLarge { host: String, most: u64 },
    #[error("{host} redirects {problem}")]
    Redirect { host: String, problem: String },
}

// === impl PlainHttp ===

impl PlainHttp {
    /// Whether a host is spoken to without TLS.
    pub(crate) fn covers(&self, authority: &str) -> bool {
        match self {
            Self::Hosts(hosts) => hosts.iter().any(|host| host == authority),
            Self::Loopback => {
                let url = Url::parse(&format!("http://{authority}/")).ok();
                match url.as_ref().and_then(Url::host) {
                    Some(Host::Domain(name)) => name == "localhost",
                    Some(Host::Ipv4(address)) => IpAddr::from(address).is_loopback(),
                    Some(Host::Ipv6(address)) => IpAddr::from(address).is_loopback(),
                    None => false,
                }
            }
        }
    }
}

// === impl Client ===

impl Client {
    /// `authorities`: a file of certificates (PEM) that are trusted beside the public authorities.
    ///
    /// # Errors
    /// When that file cannot be used.
    pub fn new(authorities: Option<&Path>, plain: PlainHttp) -> Result<Self, ClientError> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        if let Some(file) = authorities {
            let mut add = || {
                let mut found = 0;
                let pem = std::fs::read(file).map_err(|error| error.to_string())?;
                for certificate in CertificateDer::pem_slice_iter(&pem) {
                    let certificate = certificate.map_err(|error| error.to_string())?;
                    roots.add(certificate).map_err(|error| error.to_string())?;
                    found += 1;
                }
                match found {
                    0 => Err("it holds none".to_owned()),
                    _ => Ok(()),
                }
            };
            add().map_err(|reason| ClientError::Certificates {
                file: file.to_owned(),
                reason,
            })?;
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 need")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            plain,
        })
    }

    /// `https` or `http` for a host.
    pub(crate) fn scheme(&self, authority: &str) -> &'static str {
        match self.plain.covers(authority) {
            true => "http",
            false => "https",
        }
    }

    /// Asks, follows redirects of what is only read, and asks again when the server is busy.
    pub(crate) async fn send(&self, request: Request<'_>) -> Result<Reply, ClientError> {
        let mut url = request.url.clone();
        let (mut redirects, mut attempts) = (0, 1);
        loop {
            let authorization = request.authorization.filter(|_| url.origin() == request.url.origin());
            let reply = self.send_once(&request, &url, authorization).await?;
            let busy = [429, 502, 503, 504].contains(&reply.status.as_u16());
            if busy && attempts < ATTEMPTS {
                attempts += 1;
                sleep(patience(&reply.headers)).await;
                continue;
            }
            let reads = request.method == Method::GET || request.method == Method::HEAD;
            let Some(location) = reply
                .headers
                .get(header::LOCATION)
                .filter(|_| reads && reply.status.is_redirection())
            else {
                return Ok(reply);
            };
            let wrong = |problem: String| ClientError::Redirect {
                host: authority(&url),
                problem,
            };
            redirects += 1;
            if redirects > REDIRECTS {
                return Err(wrong(format!("more than {REDIRECTS} times")));
            }
            let target = location.to_str().ok().and_then(|location| url.join(location).ok());
            let target = target.ok_or_else(|| wrong("to what is no URL".into()))?;
            // What began with TLS ends with TLS.
            if target.scheme() != url.scheme() && target.scheme() != "https" {
                return Err(wrong(format!("to {}://{}", target.scheme(), authority(&target))));
            }
            url = target;
        }
    }

    async fn send_once(
        &self,
        request: &Request<'_>,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Reply, ClientError> {
        let host = authority(url);
        let tls = url.scheme() == "https";
        if !tls && !self.plain.covers(&host) {
            return Err(ClientError::Plain { host });
        }
        let mut asked = http::Request::builder()
            .method(&request.method)
            .uri(target(url))
            .header(header::HOST, &host)
            .header(header::USER_AGENT, concat!("wasmserve/", env!("CARGO_PKG_VERSION")));
        if !request.accept.is_empty() {
            asked = asked.header(header::ACCEPT, request.accept);
        }
        if !request.content_type.is_empty() {
            asked = asked.header(header::CONTENT_TYPE, request.content_type);
        }
        if let Some(authorization) = authorization {
            asked = asked.header(header::AUTHORIZATION, authorization);
        }
        let broke_off = |reason: String| ClientError::BrokeOff {
            host: host.clone(),
            reason,
        };
        let asked = asked
            .body(Full::new(request.body.clone()))
            .map_err(|error| broke_off(error.to_string()))?;
        match self.connect(url, &host, tls).await? {
            Connection::Tls(stream) => exchange(stream, asked, &host, request.most).await,
            Connection::Plain(stream) => exchange(stream, asked, &host, request.most).await,
        }
    }

    async fn connect(&self, url: &Url, host: &str, tls: bool) -> Result<Connection, ClientError> {
        let unreachable = |reason: String| ClientError::Unreachable {
            host: host.to_owned(),
            reason,
        };
        let name = match url.host() {
            Some(Host::Domain(name)) => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            None => return Err(unreachable("it is no host".into())),
        };
        let port = url.port_or_known_default().unwrap_or(443);
        let connecting = async {
            let stream = TcpStream::connect((&*name, port)).await?;
            if !tls {
                return Ok(Connection::Plain(stream));
            }
            let server = ServerName::try_from(name.clone()).map_err(io::Error::other)?;
            let stream = self.tls.connect(server, stream).await?;
            Ok(Connection::Tls(Box::new(stream)))
        };
        match timeout(CONNECT, connecting).await {
            Ok(connection) => connection.map_err(|error: io::Error| unreachable(error.to_string())),
            Err(_) => Err(unreachable(format!(
                "no connection within {} seconds",
                CONNECT.as_secs()
            ))),
        }
    }
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: http::Request<Full<Bytes>>,
    host: &str,
    most: u64,
) -> Result<Reply, ClientError> {
    let broke_off = |error: hyper::Error| ClientError::BrokeOff {
        host: host.to_owned(),
        reason: cause(&error),
    };
    let silent = |_| ClientError::Silent { host: host.to_owned() };
    let too_large = || ClientError::TooLarge {
        host: host.to_owned(),
        most,
    };
    let upload = request.method() != Method::GET && request.method() != Method::HEAD;
    let handshake = http1::Builder::new()
        .max_buf_size(LONGEST_HEAD)
        .handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(broke_off)?;
    // Ends with the sender and the body.
    tokio::spawn(connection);
    let sent = sender.send_request(request);
    let response = match upload {
        // How long that takes is bounded by whoever waits for all of it.
        true => sent.await,
        false => timeout(SILENCE, sent).await.map_err(silent)?,
    };
    let (head, mut body) = response.map_err(broke_off)?.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(silent)? {
        let frame = frame.map_err(broke_off)?;
        let Ok(data) = frame.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > most {
            return Err(too_large());
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Reply {
        status: head.status,
        headers: head.headers,
        body: bytes.freeze(),
    })
}

/// What a server is told is wanted: the path and the query.
fn target(url: &Url) -> &str {
    &url[url::Position::BeforePath..url::Position::AfterQuery]
}

/// `host` or `host:port`.
pub(crate) fn authority(url: &Url) -> String {
    url[url::Position::BeforeHost..url::Position::AfterPort].to_owned()
}

/// How long a busy server is left alone (RFC 9110, section 10.2.3; a date is not read).
fn patience(headers: &HeaderMap) -> Duration {
    let seconds = headers
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok());
    seconds.map_or(WAIT, Duration::from_secs).min(LONGEST_WAIT)
}

/// An error with what is beneath it.
fn cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", cause(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_this_machine_or_by_name() {
        for (authority, loopback) in [
            ("localhost:5000", true),
            ("localhost", true),
            ("127.0.0.1:5000", true),
            ("127.9.9.9", true),
            ("[::1]:5000", true),
            ("192.0.2.1:5000", false),
            ("localhost.example:5000", false),
            ("registry.lan:5000", false),
            ("0.0.0.0:5000", false),
        ] {
            assert_eq!(PlainHttp::Loopback.covers(authority), loopback, "{authority}");
            let named = PlainHttp::Hosts(vec!["registry.lan:5000".into()]);
            assert_eq!(named.covers(authority), authority == "registry.lan:5000", "{authority}");
        }
    }
}
