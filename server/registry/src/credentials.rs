//! Who we are to a registry: a file in the form of Docker's `config.json`, which `docker login`, `podman login` and
//! `oras login` write. Never logged and never printed.

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use std::{
    collections::HashMap,
    ffi::OsString,
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// Words for a host.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A user and a password.
    Basic { user: String, password: String },
    /// A token that is shown as it is.
    Token(String),
}

/// Words for hosts.
#[derive(Clone, Default)]
pub struct Keyring(HashMap<String, Entry>);

#[derive(Clone, Default, Deserialize)]
struct Entry {
    /// `user:password` in base64.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    #[serde(rename = "identitytoken")]
    identity: Option<String>,
    #[serde(rename = "registrytoken")]
    token: Option<String>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: HashMap<String, String>,
}

/// Docker's name for its own registry.
const DOCKER: &str = "https://index.docker.io/v1/";

/// The text itself, as continuous integration sets it.
const TEXT_VARIABLE: &str = "DOCKER_AUTH_CONFIG";

// === impl Keyring ===

impl Keyring {
    /// Reads a file, or, when none is named, what the environment says: the text of `DOCKER_AUTH_CONFIG`, else the file of
    /// `REGISTRY_AUTH_FILE`, else `config.json` in `DOCKER_CONFIG` or in `~/.docker`; none of these need be there.
    ///
    /// # Errors
    /// When a file that is named cannot be read or means nothing.
    pub fn read(file: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, String> {
        let cannot =
            |file: &Path, reason: &str| format!("the credentials in {} cannot be used: {reason}", file.display());
        let named = file.map(Path::to_owned);
        if named.is_none()
            && let Some(text) = variable(TEXT_VARIABLE).filter(|text| !text.is_empty())
        {
            return Self::parse(text.to_string_lossy().as_bytes())
                .map_err(|reason| format!("the credentials in ${TEXT_VARIABLE} cannot be used: {reason}"));
        }
        let must_be = named.is_some();
        let folder = || {
            let docker = variable("DOCKER_CONFIG").map(PathBuf::from);
            let docker = docker.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".docker")));
            Some(docker?.join("config.json"))
        };
        let named = named.or_else(|| variable("REGISTRY_AUTH_FILE").map(PathBuf::from));
        let Some(file) = named.or_else(folder) else {
            return Ok(Self::default());
        };
        match fs::read(&file) {
            Ok(text) => Self::parse(&text).map_err(|reason| cannot(&file, &reason)),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !must_be => Ok(Self::default()),
            Err(error) => Err(cannot(&file, &error.to_string())),
        }
    }

    /// Reads the text of such a file. What is wrong is told without what is in it.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let document: Document = serde_json::from_slice(text).map_err(|error| {
            format!(
                "line {}, column {}: it is not in the form of Docker's config.json",
                error.line(),
                error.column()
            )
        })?;
        let mut entries = document.auths;
        for host in document.helpers.into_keys() {
            entries.entry(host).or_default();
        }
        Ok(Self(entries))
    }

    /// The words for a host, as a reference writes it.
    ///
    /// # Errors
    /// When there is an entry for the host that cannot be used.
    pub fn of(&self, host: &str) -> Result<Option<Credentials>, String> {
        let names = [host.to_owned(), format!("https://{host}"), format!("https://{host}/")];
        let docker = ["docker.io", "registry-1.docker.io"]
            .contains(&host)
            .then(|| DOCKER.to_owned());
        let Some(entry) = names.into_iter().chain(docker).find_map(|name| self.0.get(&name)) else {
            return Ok(None);
        };
        if let Some(token) = &entry.token {
            return Ok(Some(Credentials::Token(token.clone())));
        }
        if entry.identity.is_some() {
            return Err(format!(
                "the credentials for {host} are an identity token, which is not spoken here: log in with a password or an access token"
            ));
        }
        let pair = match (&entry.username, &entry.password, &entry.auth) {
            (Some(user), Some(password), _) => Some((user.clone(), password.clone())),
            (_, _, Some(auth)) => Base64::decode_vec(auth)
                .ok()
                .and_then(|pair| String::from_utf8(pair).ok())
                .and_then(|pair| {
                    pair.split_once(':')
                        .map(|(user, password)| (user.to_owned(), password.to_owned()))
                }),
            _ => None,
        };
        match pair {
            Some((user, password)) => Ok(Some(Credentials::Basic { user, password })),
            None => Err(format!(
                "the credentials for {host} are kept by a program (`credHelpers`) or are no user and password: such are not used here"
            )),
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring({} hosts)", self.0.len())
    }
}

// === impl Credentials ===

impl Credentials {
    /// What a field `Authorization` says of a user and a password (RFC 7617).
    pub(crate) fn basic(user: &str, password: &str) -> String {
        format!(
            "Basic {}",
            Base64::encode_string(format!("{user}:{password}").as_bytes())
        )
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(..)",
            Self::Token(_) => "Token(..)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn basic(user: &str, password: &str) -> Option<Credentials> {
        Some(Credentials::Basic {
            user: user.into(),
            password: password.into(),
        })
    }

    #[test]
    fn the_forms_that_logins_write() {
        let text = br#"{
            "auths": {
                "ghcr.io": { "auth": "YW5uOnNlY3JldDp4" },
                "https://quay.io": { "username": "bob", "password": "p" },
                "https://index.docker.io/v1/": { "auth": "ZG9jOnA=" },
                "tokens.example:5000": { "registrytoken": "abc" },
                "azure.example": { "auth": "YTpi", "identitytoken": "x" },
                "broken.example": { "auth": "%%" },
                "empty.example": {}
            },
            "credHelpers": { "aws.example": "ecr-login" },
            "credsStore": "desktop"
        }"#;
        let keyring = Keyring::parse(text).unwrap();
        assert_eq!(keyring.of("ghcr.io"), Ok(basic("ann", "secret:x")));
        assert_eq!(keyring.of("quay.io"), Ok(basic("bob", "p")));
        assert_eq!(keyring.of("docker.io"), Ok(basic("doc", "p")));
        assert_eq!(
            keyring.of("tokens.example:5000"),
            Ok(Some(Credentials::Token("abc".into())))
        );
        assert_eq!(keyring.of("tokens.example"), Ok(None));
        for host in ["azure.example", "broken.example", "empty.example", "aws.example"] {
            assert!(keyring.of(host).unwrap_err().contains(host));
        }
    }

    #[test]
    fn where_they_are_looked_for() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, user: &str| {
            let file = folder.path().join(name);
            let pair = Base64::encode_string(format!("{user}:p").as_bytes());
            fs::write(&file, format!(r#"{{"auths":{{"h":{{"auth":"{pair}"}}}}}}"#)).unwrap();
            file
        };
        let named = write("named", "named");
        let by_variable = write("variable", "variable");
        write("config.json", "docker");
        let read = |file: Option<&Path>, variables: &[(&str, &str)]| {
            let variable = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| OsString::from(value))
            };
            Keyring::read(file, variable).and_then(|keyring| keyring.of("h"))
        };
        let docker = ("DOCKER_CONFIG", folder.path().to_str().unwrap());
        let auth = ("REGISTRY_AUTH_FILE", by_variable.to_str().unwrap());
        let text = (TEXT_VARIABLE, r#"{"auths":{"h":{"username":"text","password":"p"}}}"#);
        assert_eq!(read(Some(&named), &[docker, auth, text]), Ok(basic("named", "p")));
        assert_eq!(read(None, &[docker, auth, text]), Ok(basic("text", "p")));
        assert_eq!(read(None, &[docker, auth]), Ok(basic("variable", "p")));
        assert_eq!(read(None, &[docker]), Ok(basic("docker", "p")));
        assert_eq!(read(None, &[("HOME", "/nowhere")]), Ok(None));
        assert_eq!(read(None, &[]), Ok(None));
        assert!(read(Some(Path::new("/nowhere")), &[]).unwrap_err().contains("/nowhere"));
    }

    #[test]
    fn what_is_in_them_is_never_told() {
        let secret = "hunter2";
        let wrong = Keyring::parse(format!(r#"{{"auths":{{"h":{{"auth":{secret}}}}}}}"#).as_bytes()).unwrap_err();
        assert!(!wrong.contains(secret), "{wrong}");
        let keyring =
            Keyring::parse(format!(r#"{{"auths":{{"h":{{"username":"u","password":"{secret}"}}}}}}"#).as_bytes());
        let keyring = keyring.unwrap();
        assert!(!format!("{keyring:?}{:?}", keyring.of("h")).contains(secret));
    }
}
