//! Opening connections: a socket, TLS where it is wanted, who we are, and a write that shows that writes are taken.
use super::{
    options::{Address, RedisOptions},
    trouble::Trouble,
};
use ::redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, aio::MultiplexedConnection};
use rustls::{ClientConfig, RootCertStore, pki_types::ServerName};
use std::{io, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;

/// What opens connections to one Redis.
pub(super) struct Connector {
    pub options: Arc<RedisOptions>,
    tls: Option<TlsConnector>,
}

/// Runs for as long as its connection lasts.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How long the key of a probe lasts, in milliseconds.
const PROBE: u64 = 1000;

/// Operations that may wait for their turn to be written. Those beyond wait as well, within their timeout.
const QUEUE: usize = 256;

impl Connector {
    pub fn new(options: Arc<RedisOptions>) -> Self {
        let tls = matches!(options.endpoint.address, Address::Tls { .. }).then(|| {
            let roots = match &options.authorities {
                Some(authorities) => authorities.roots(),
                None => Arc::new(RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())),
            };
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .expect("ring has cipher suites for both versions of TLS")
                .with_root_certificates(roots)
                .with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        });
        Self { options, tls }
    }

    /// A connection over which operations can be expected to be done. Nothing of it is bounded in time.
    pub async fn connect(&self) -> Result<(MultiplexedConnection, Driver), Trouble> {
        let stream = self.stream().await.map_err(|error| Trouble::connecting(&error))?;
        let mut who = RedisConnectionInfo::default()
            .set_skip_set_lib_name()
            .set_db(self.options.endpoint.database.into());
        if let Some(user) = &self.options.endpoint.user {
            who = who.set_username(user);
        }
        if let Some(password) = &self.options.password {
            who = who.set_password(password.reveal());
        }
        let config = AsyncConnectionConfig::new()
            // The line has its own.
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let (connection, driver) = MultiplexedConnection::new_with_config(&who, stream, config).await?;
        Ok((connection, Box::pin(driver)))
    }

    /// Whether operations would be done: by a write, as they all may write.
    pub async fn probe(&self, connection: &mut MultiplexedConnection) -> Result<(), Trouble> {
        let key = format!("{}:probe", self.options.prefix);
        let mut set = Cmd::new();
        set.arg("SET").arg(key).arg(1).arg("PX").arg(PROBE);
        Ok(set.query_async::<()>(connection).await?)
    }

    /// Connects, probes, and asks what it is.
    pub async fn version(&self) -> Result<String, Trouble> {
        let (mut connection, driver) = self.connect().await?;
        let ask = async {
            self.probe(&mut connection).await?;
            let mut info = Cmd::new();
            info.arg("INFO").arg("server");
            // Who may do no more than scripts may not ask this.
            let text = info.query_async::<String>(&mut connection).await.unwrap_or_default();
            let version = text.lines().find_map(|line| line.strip_prefix("redis_version:"));
            Ok(version.map_or("Redis".to_owned(), |version| format!("Redis {}", version.trim())))
        };
        tokio::select! {
            answer = ask => answer,
            () = driver => Err(Trouble::ended()),
        }
    }

    async fn stream(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match &self.options.endpoint.address {
            Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Address::Tcp { host, port } => Box::new(tcp(host, *port).await?),
            Address::Tls { host, port } => {
                let tls = self.tls.as_ref().ok_or(io::ErrorKind::Unsupported)?;
                let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                Box::new(tls.connect(name, tcp(host, *port).await?).await?)
            }
        })
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How long to wait before the next attempt: from this on, twice as long each time, up to a second.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(50);
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(1);
