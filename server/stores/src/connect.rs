//! Connections to stores: hyper's client over rustls with ring, as the rest of the server speaks TLS.
use crate::{failure, listed};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector as Tcp},
    rt::{TokioExecutor, TokioTimer},
};
use object_store::{
    ClientConfigKey, ClientOptions,
    client::{
        HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
        HttpResponseBody, HttpService,
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use std::{error::Error, io, path::Path, sync::Arc, time::Duration};

/// Bytes of a response that are read ahead of whoever takes them.
const READ_AHEAD: usize = 64 << 10;

/// Connections that wait for the next request, and for how long.
const IDLE: usize = 64;
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Makes the clients of one store, all with the same connections.
#[derive(Clone, Debug)]
pub(crate) struct Connector {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
    notice: Arc<listed::Notice>,
}

/// What object_store asks over.
#[derive(Debug)]
struct Service {
    client: Client<HttpsConnector<Tcp>, HttpRequestBody>,
    notice: Arc<listed::Notice>,
    allow_http: bool,
}

/// Why plain HTTP is refused.
#[derive(Debug, thiserror::Error)]
#[error("the store is to be asked by plain HTTP, which `allow-http` does not allow")]
struct PlainHttp;

/// Why a page of a listing is not read.
#[derive(Debug, thiserror::Error)]
#[error("a page of a listing is longer than {} bytes", listed::LONGEST)]
struct LongPage(#[source] Box<dyn Error + Send + Sync>);

impl Connector {
    /// # Errors
    /// Certificates that cannot be read.
    pub(crate) fn new(connect_timeout: Duration, ca: Option<&Path>) -> io::Result<Self> {
        let mut roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        };
        if let Some(file) = ca {
            let pem = std::fs::read(file)?;
            let public = roots.len();
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots
                    .add(certificate.map_err(io::Error::other)?)
                    .map_err(io::Error::other)?;
            }
            if roots.len() == public {
                return Err(io::Error::other("there is no certificate in it"));
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = Tcp::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        tcp.set_keepalive(Some(IDLE_FOR));
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE)
            .http1_max_buf_size(READ_AHEAD)
            .build(https);
        Ok(Self {
            client,
            notice: Arc::default(),
        })
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allowed = options.get_config_value(&ClientConfigKey::AllowHttp);
        Ok(HttpClient::new(Service {
            client: self.client.clone(),
            notice: self.notice.clone(),
            allow_http: allowed.is_some_and(|allowed| allowed == "true"),
        }))
    }
}

#[async_trait::async_trait]
impl HttpService for Service {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        if request.uri().scheme() != Some(&http::uri::Scheme::HTTPS) && !self.allow_http {
            return Err(HttpError::new(HttpErrorKind::Unknown, PlainHttp));
        }
        let is_listing = request.uri().query().is_some_and(listed::is_asked_for);
        let response = self.client.request(request).await.map_err(|error| {
            let kind = match error.is_connect() {
                true => HttpErrorKind::Connect,
                false => kind(&error),
            };
            HttpError::new(kind, error)
        })?;
        failure::note(response.status());
        let broken = |error: hyper::Error| HttpError::new(kind(&error), error);
        if !is_listing || !response.status().is_success() {
            return Ok(response.map(|body| HttpResponseBody::new(body.map_err(broken))));
        }
        let (head, body) = response.into_parts();
        let page = Limited::new(body, listed::LONGEST).collect().await;
        let page = page.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => broken(*error),
            Err(error) => HttpError::new(HttpErrorKind::Decode, LongPage(error)),
        })?;
        let page = Bytes::from(self.notice.nameable(page.to_bytes().into()));
        let body = Full::new(page).map_err(|never| match never {});
        Ok(HttpResponse::from_parts(head, HttpResponseBody::new(body)))
    }
}

/// Whether what failed may be tried again. All that is ever asked is safe to ask again.
fn kind(error: &(dyn Error + 'static)) -> HttpErrorKind {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_timeout() {
                return HttpErrorKind::Timeout;
            }
            if error.is_parse() {
                return HttpErrorKind::Decode;
            }
        }
        cause = error.source();
    }
    HttpErrorKind::Interrupted
}
