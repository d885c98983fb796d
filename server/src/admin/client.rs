//! The other end of the admin listener, for commands.

use super::api::{Problem, Question};
use crate::explain::Account;
use http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{body::Bytes, client::conn::http1::handshake};
use hyper_util::rt::TokioIo;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, time::timeout};

/// A little longer than the server takes at most, so that its own words are heard.
const PATIENCE: Duration = Duration::from_secs(65);

/// Bytes of an answer: an account of 64 policies that asked as much as is written down.
const ANSWER_SIZE: usize = 128 * 1024 * 1024;

/// Asks the server behind a socket.
#[derive(Debug)]
pub struct Client<'a> {
    socket: &'a Path,
}

/// Why a server did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no server listens on {}: is it the path that it was given with --admin?", .socket.display())]
    NoServer { socket: PathBuf, source: io::Error },
    #[error("the server does not answer within {PATIENCE:?}")]
    TooSlow,
    #[error("the connection to the server broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the server refuses: {0}")]
    Refused(String),
    #[error("the server's answer makes no sense: is it another version?")]
    Strange(#[from] serde_json::Error),
}

// === impl Client ===

impl<'a> Client<'a> {
    pub fn new(socket: &'a Path) -> Self {
        Self { socket }
    }

    /// How the server would answer a request.
    ///
    /// # Errors
    /// When there is no server, or when it refuses.
    pub async fn explain(&self, question: &Question) -> Result<Account, ClientError> {
        let body = serde_json::to_vec(question)?;
        let answer = self.send(Method::POST, "/explain", body.into()).await?;
        Ok(serde_json::from_slice(&answer)?)
    }

    async fn send(&self, method: Method, path: &'static str, body: Bytes) -> Result<Bytes, ClientError> {
        timeout(PATIENCE, self.exchange(method, path, body))
            .await
            .map_err(|_| ClientError::TooSlow)?
    }

    async fn exchange(&self, method: Method, path: &'static str, body: Bytes) -> Result<Bytes, ClientError> {
        let stream = UnixStream::connect(self.socket).await;
        let stream = stream.map_err(|source| ClientError::NoServer {
            socket: self.socket.to_owned(),
            source,
        })?;
        let broken = |error: hyper::Error| ClientError::Broken(error.into());
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // It ends with the one exchange.
        tokio::spawn(connection);
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().expect("a constant path");
        let headers = request.headers_mut();
        headers.insert(header::HOST, HeaderValue::from_static("localhost"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let (head, answer) = sender.send_request(request).await.map_err(broken)?.into_parts();
        let answer = Limited::new(answer, ANSWER_SIZE)
            .collect()
            .await
            .map_err(ClientError::Broken)?;
        match head.status {
            StatusCode::OK => Ok(answer.to_bytes()),
            _ => Err(ClientError::Refused(
                serde_json::from_slice::<Problem>(&answer.to_bytes())?.error,
            )),
        }
    }
}
