//! Which Redis, as an operator says it.
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use std::{
    fmt,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
    time::Duration,
};

/// Which Redis, and how it is spoken with. Two that are equal are one Redis with one set of connections.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RedisOptions {
    pub endpoint: Endpoint,
    pub password: Option<Password>,
    /// Who signed the certificate of a `rediss://` server. `None`: one of the authorities that browsers know.
    pub authorities: Option<Authorities>,
    /// The longest that one operation may take, connecting included.
    pub timeout: Duration,
    /// What the names of all keys begin with.
    pub prefix: Prefix,
    /// Connections that are kept open. The operations of one site all go over the same one.
    pub connections: usize,
}

impl RedisOptions {
    pub const TIMEOUT: Duration = Duration::from_millis(100);
    pub const CONNECTIONS: usize = 4;

    /// With every default.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            password: None,
            authorities: None,
            timeout: Self::TIMEOUT,
            prefix: Prefix::default(),
            connections: Self::CONNECTIONS,
        }
    }
}

/// Where a Redis listens, which of its databases, and as whom: `redis://[USER@]HOST[:PORT][/DATABASE]`, `rediss://` the same
/// with TLS, `unix:PATH[?db=DATABASE]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    pub address: Address,
    pub user: Option<String>,
    pub database: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Tcp { host: String, port: u16 },
    Tls { host: String, port: u16 },
    Unix(PathBuf),
}

/// The port that Redis has by default.
const PORT: u16 = 6379;

impl Endpoint {
    /// A path of a Unix socket becomes one beneath this folder, unless it is absolute.
    pub fn beneath(mut self, folder: &Path) -> Self {
        if let Address::Unix(path) = &mut self.address {
            *path = folder.join(&path);
        }
        self
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(rest) = text.strip_prefix("unix:") {
            return unix(rest);
        }
        let (tls, rest) = match (text.strip_prefix("redis://"), text.strip_prefix("rediss://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            // What it is may hold a password: it is not repeated.
            _ => return Err("begins with none of redis://, rediss:// and unix:".into()),
        };
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, server) = match authority.rsplit_once('@') {
            Some((user, server)) => (Some(user), server),
            None => (None, authority),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err("holds a password, which whoever reads this file would know".into());
        }
        let database = match database {
            "" => 0,
            number => self::database(number)?,
        };
        let (host, port) = host_and_port(server)?;
        let address = match tls {
            true => {
                ServerName::try_from(host.clone())
                    .map_err(|_| format!("{host:?} is no name that a certificate has"))?;
                Address::Tls { host, port }
            }
            false => Address::Tcp { host, port },
        };
        Ok(Self {
            address,
            user: user.filter(|user| !user.is_empty()).map(str::to_owned),
            database,
        })
    }
}

fn unix(text: &str) -> Result<Endpoint, String> {
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let database = match (query, query.strip_prefix("db=")) {
        ("", _) => 0,
        (_, Some(number)) => database(number)?,
        _ => return Err(format!("{query:?} is not of the form db=NUMBER")),
    };
    if path.is_empty() {
        return Err("names no socket".into());
    }
    Ok(Endpoint {
        address: Address::Unix(path.trim_start_matches("//").into()),
        user: None,
        database,
    })
}

fn database(number: &str) -> Result<u16, String> {
    number
        .parse()
        .map_err(|_| format!("{number:?} is not the number of a database"))
}

/// `HOST`, `HOST:PORT`, `[::1]`, `[::1]:PORT`.
fn host_and_port(server: &str) -> Result<(String, u16), String> {
    let (host, port) = match server.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))),
        None => match server.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (server, Some("")),
        },
    };
    let wrong = || format!("{server:?} is not of the form HOST:PORT");
    let port = match port.ok_or_else(wrong)? {
        "" => PORT,
        port => port.parse().map_err(|_| wrong())?,
    };
    let strange = |c: char| c.is_whitespace() || c.is_control() || "@/?#".contains(c);
    if host.is_empty() || host.contains(strange) {
        return Err(wrong());
    }
    Ok((host.to_owned(), port))
}

/// As it is written in a configuration. It never holds a password.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host, port) = match &self.address {
            Address::Tcp { host, port } => ("redis", host, port),
            Address::Tls { host, port } => ("rediss", host, port),
            Address::Unix(path) => {
                write!(f, "unix:{}", path.display())?;
                return match self.database {
                    0 => Ok(()),
                    database => write!(f, "?db={database}"),
                };
            }
        };
        write!(f, "{scheme}://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        match host.contains(':') {
            true => write!(f, "[{host}]:{port}")?,
            false => write!(f, "{host}:{port}")?,
        }
        match self.database {
            0 => Ok(()),
            database => write!(f, "/{database}"),
        }
    }
}

/// What is shown to Redis, and where it was read. Never printed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Password {
    text: String,
    pub from: PasswordFrom,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PasswordFrom {
    File(PathBuf),
    Environment(String),
}

impl Password {
    /// # Errors
    /// When there is none: Redis would take every password for that.
    pub fn new(text: &str, from: PasswordFrom) -> Result<Self, &'static str> {
        // Programs and editors end a file with a line break.
        let text = text.trim_end_matches(['\r', '\n']);
        match text.is_empty() {
            true => Err("holds no password"),
            false => Ok(Self {
                text: text.to_owned(),
                from,
            }),
        }
    }

    pub(super) fn reveal(&self) -> &str {
        &self.text
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Password")
            .field("from", &self.from)
            .finish_non_exhaustive()
    }
}

/// What the names of all keys begin with: letters, digits and `-_.:`, so that nobody takes a part of it for anything else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Prefix(Arc<str>);

impl Default for Prefix {
    fn default() -> Self {
        Self("wasmserve".into())
    }
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
        match !text.is_empty() && text.len() <= 64 && text.chars().all(plain) {
            true => Ok(Self(text.into())),
            false => Err(format!(
                "{text:?} is not made of at most 64 letters, digits, dashes, underscores, dots and colons"
            )),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Certificates of authorities, from a PEM file.
#[derive(Clone)]
pub struct Authorities {
    pub file: PathBuf,
    roots: Arc<RootCertStore>,
    pem: Arc<[u8]>,
}

impl Authorities {
    /// # Errors
    /// When these bytes hold no certificate, or one that cannot be used.
    pub fn new(file: PathBuf, pem: &[u8]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| format!("is no PEM file: {error}"))?;
            let added = roots.add(certificate);
            added.map_err(|error| format!("holds a certificate that cannot be used: {error}"))?;
        }
        if roots.is_empty() {
            return Err("holds no certificate".into());
        }
        Ok(Self {
            file,
            roots: Arc::new(roots),
            pem: pem.into(),
        })
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        self.roots.clone()
    }
}

impl PartialEq for Authorities {
    fn eq(&self, other: &Self) -> bool {
        (&self.file, &self.pem) == (&other.file, &other.pem)
    }
}

impl Eq for Authorities {}

impl Hash for Authorities {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.file, &self.pem).hash(state);
    }
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorities").field(&self.file).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_and_written() {
        for (text, written) in [
            ("redis://localhost", "redis://localhost:6379"),
            ("redis://localhost/", "redis://localhost:6379"),
            ("redis://127.0.0.1:7000/3", "redis://127.0.0.1:7000/3"),
            ("redis://[::1]", "redis://[::1]:6379"),
            (
                "rediss://limits@redis.example:7001",
                "rediss://limits@redis.example:7001",
            ),
            ("unix:/run/redis.sock", "unix:/run/redis.sock"),
            ("unix:///run/redis.sock?db=2", "unix:/run/redis.sock?db=2"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.to_string(), written);
            assert_eq!(written.parse(), Ok(endpoint));
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_without_telling_secrets() {
        for text in [
            "",
            "localhost:6379",
            "http://localhost",
            "redis://",
            "redis://:6379",
            "redis://host:port",
            "redis://host:70000",
            "redis://host:1:2",
            "redis://[::1",
            "redis://[::1]x",
            "redis://host/first",
            "redis://host/-1",
            "redis://a b",
            "rediss://a_b..c",
            "unix:",
            "unix:/s?db=x",
            "unix:/s?database=1",
            "redis://:secret@host",
            "redis://user:secret@host",
            "redis//:secret@host",
        ] {
            let problem = text.parse::<Endpoint>().expect_err(text);
            assert!(!problem.contains("secret"), "{problem}");
        }
    }

    #[test]
    fn a_password_is_not_printed() {
        let password = Password::new("secret\n", PasswordFrom::Environment("REDIS".into())).unwrap();
        assert_eq!(password.reveal(), "secret");
        let options = RedisOptions {
            password: Some(password),
            ..RedisOptions::new("redis://localhost".parse().unwrap())
        };
        assert!(!format!("{options:?}").contains("secret"), "{options:?}");
        assert!(Password::new("\n", PasswordFrom::File("f".into())).is_err());
    }

    #[test]
    fn a_prefix_is_plain() {
        assert_eq!("a-b_c.d:e1".parse::<Prefix>().unwrap().to_string(), "a-b_c.d:e1");
        for text in ["", "a b", "{a}", "a*", "ä", &"a".repeat(65)] {
            assert!(text.parse::<Prefix>().is_err(), "{text}");
        }
    }
}
