//! Fetching: from a reference to bytes whose digest is the one that was asked for.
//!
//! In the order of events: of a web server the file is asked for, and its signature when one is wanted; of a registry the
//! manifest, which must have the digest of the reference, then the layer that it names, which must have the digest that
//! the manifest says. When the registry asks who we are, a token is got where it says, and asked again, once.

use crate::{
    client::{Client, ClientError, Reply, Request, authority, challenge::Challenge},
    credentials::{Credentials, Keyring},
    digest::Digest,
    oci,
    reference::{Artifact, Place, Reference},
    signature,
};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode};
use serde::Deserialize;
use std::{future::Future, time::Duration};
use tokio::time::timeout;
use url::Url;

/// What was fetched.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Of the file, or of the artifact's manifest: what pins the reference.
    pub digest: Digest,
    pub plugin: Bytes,
    /// Of an artifact.
    pub manifest: Option<Bytes>,
    /// A signature of the plugin, not verified yet.
    pub signature: Option<String>,
}

/// What a fetch may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From the beginning to the last byte.
    pub time: Duration,
    /// Bytes of a plugin.
    pub size: u64,
}

/// Why a plugin could not be fetched or published.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("it took longer than {} seconds", .0.as_secs())]
    Slow(Duration),
    #[error("{host} answers {status}{}", hint(.status, .known))]
    Status {
        host: String,
        status: StatusCode,
        /// Whether it was told who we are.
        known: bool,
    },
    #[error(
        "what is there has the digest {found}, not {wanted}: it was changed, or the reference means something else"
    )]
    Digest { wanted: Digest, found: Digest },
    #[error("the plugin has {size} bytes, and {most} are the most that is taken")]
    Size { size: u64, most: u64 },
    #[error("the artifact {0}")]
    Artifact(String),
    #[error("{0}")]
    Credentials(String),
    #[error("{host} sends who asks to {realm:?}, which is no place to show credentials to")]
    Realm { host: String, realm: String },
    #[error("{host} gives a token that cannot be read")]
    Token { host: String },
    #[error("{host} does not say where to send the plugin to")]
    Upload { host: String },
}

fn hint(status: &StatusCode, known: &bool) -> &'static str {
    match (status.as_u16(), known) {
        (401 | 403, false) => ": it wants to know who asks (see `credentials` of [server.registry])",
        (401 | 403, true) => ": it does not accept the credentials, or they do not suffice",
        (404, _) => ": there is no such plugin, or it is not for us to see",
        (429, _) => ": it has been asked too often, try again later",
        _ => "",
    }
}

/// A registry or a web server, and who we are to it.
pub(crate) struct Session<'a> {
    client: &'a Client,
    keyring: &'a Keyring,
    /// As references write it: what credentials are looked up by.
    name: &'a str,
    authorization: Option<HeaderValue>,
}

/// Fetches what is there. The digest of the reference is checked, if it has one; signatures are not.
///
/// # Errors
/// Why it could not be fetched, without a name of what it was.
pub async fn fetch(
    client: &Client,
    keyring: &Keyring,
    reference: &Reference,
    bounds: Bounds,
) -> Result<Fetched, FetchError> {
    within(bounds.time, async {
        match reference.place() {
            Place::File(url) => fetch_file(client, keyring, url, reference.digest(), bounds.size).await,
            Place::Artifact(artifact) => {
                fetch_artifact(client, keyring, artifact, reference.digest(), bounds.size).await
            }
        }
    })
    .await
}

/// Bounds the whole of an attempt.
pub(crate) async fn within<T>(
    time: Duration,
    attempt: impl Future<Output = Result<T, FetchError>>,
) -> Result<T, FetchError> {
    timeout(time, attempt).await.unwrap_or(Err(FetchError::Slow(time)))
}

async fn fetch_file(
    client: &Client,
    keyring: &Keyring,
    url: &Url,
    wanted: Option<Digest>,
    most: u64,
) -> Result<Fetched, FetchError> {
    let name = authority(url);
    let mut session = Session::new(client, keyring, &name);
    let plugin = session.get(url.clone(), "application/wasm, */*", most).await?;
    let digest = verified(&plugin, wanted)?;
    // The signature is told to be missing by whoever needs one.
    let mut beside = url.clone();
    beside.set_path(&format!("{}{}", url.path(), signature::ENDING));
    let signature = match session.get(beside, "*/*", signature::LONGEST).await {
        Ok(text) => String::from_utf8(text.into()).ok(),
        Err(FetchError::Status { status, .. }) if status.is_client_error() => None,
        Err(error) => return Err(error),
    };
    Ok(Fetched {
        digest,
        plugin,
        manifest: None,
        signature,
    })
}

async fn fetch_artifact(
    client: &Client,
    keyring: &Keyring,
    artifact: &Artifact,
    wanted: Option<Digest>,
    most: u64,
) -> Result<Fetched, FetchError> {
    let mut session = Session::new(client, keyring, &artifact.registry);
    let by = match (&wanted, &artifact.tag) {
        (Some(digest), _) => digest.to_string(),
        (None, tag) => tag.clone().unwrap_or_else(|| "latest".into()),
    };
    let url = session.url(artifact, &format!("manifests/{by}"))?;
    let accept = format!("{}, {}", oci::MANIFEST, oci::INDEX);
    let manifest = session.get(url, &accept, oci::LONGEST).await?;
    let digest = verified(&manifest, wanted)?;
    let content = oci::read(&manifest).map_err(FetchError::Artifact)?;
    if content.size > most {
        return Err(FetchError::Size {
            size: content.size,
            most,
        });
    }
    let url = session.url(artifact, &format!("blobs/{}", content.plugin))?;
    let plugin = session.get(url, "*/*", content.size).await?;
    verified(&plugin, Some(content.plugin))?;
    Ok(Fetched {
        digest,
        plugin,
        manifest: Some(manifest),
        signature: content.signature,
    })
}

fn verified(bytes: &[u8], wanted: Option<Digest>) -> Result<Digest, FetchError> {
    let found = Digest::of(bytes);
    match wanted {
        Some(wanted) if wanted != found => Err(FetchError::Digest { wanted, found }),
        _ => Ok(found),
    }
}

// === impl Session ===

impl<'a> Session<'a> {
    pub fn new(client: &'a Client, keyring: &'a Keyring, name: &'a str) -> Self {
        Self {
            client,
            keyring,
            name,
            authorization: None,
        }
    }

    /// Something of a repository.
    pub fn url(&self, artifact: &Artifact, what: &str) -> Result<Url, FetchError> {
        let host = artifact.host();
        // Docker's own images have a folder that nobody writes.
        let library = match artifact.registry == "docker.io" && !artifact.repository.contains('/') {
            true => "library/",
            false => "",
        };
        let text = format!(
            "{}://{host}/v2/{library}{}/{what}",
            self.client.scheme(host),
            artifact.repository
        );
        Url::parse(&text).map_err(|error| FetchError::Artifact(format!("has no URL: {error}")))
    }

    /// What is there.
    async fn get(&mut self, url: Url, accept: &str, most: u64) -> Result<Bytes, FetchError> {
        let host = authority(&url);
        let reply = self.send(Method::GET, url, accept, ("", Bytes::new()), most).await?;
        match reply.status {
            StatusCode::OK => Ok(reply.body),
            status => Err(self.status(host, status)),
        }
    }

    pub fn status(&self, host: String, status: StatusCode) -> FetchError {
        FetchError::Status {
            host,
            status,
            known: self.authorization.is_some(),
        }
    }

    /// Asks; says who we are when that is asked, and asks again, once.
    pub async fn send(
        &mut self,
        method: Method,
        url: Url,
        accept: &str,
        (content_type, body): (&str, Bytes),
        most: u64,
    ) -> Result<Reply, FetchError> {
        let mut asked = false;
        loop {
            let request = Request {
                method: method.clone(),
                url: url.clone(),
                accept,
                authorization: self.authorization.as_ref(),
                content_type,
                body: body.clone(),
                most,
            };
            let reply = self.client.send(request).await?;
            if reply.status != StatusCode::UNAUTHORIZED || asked {
                return Ok(reply);
            }
            asked = true;
            let host = authority(&url);
            match Challenge::of(&reply.headers) {
                Some(challenge) => match self.answer(challenge, &host).await? {
                    Some(authorization) => self.authorization = Some(authorization),
                    None => return Ok(reply),
                },
                None => return Ok(reply),
            }
        }
    }

    /// What says who we are; `None`: we are nobody.
    async fn answer(&self, challenge: Challenge, host: &str) -> Result<Option<HeaderValue>, FetchError> {
        let credentials = self.keyring.of(self.name).map_err(FetchError::Credentials)?;
        let basic = match &credentials {
            Some(Credentials::Basic { user, password }) => Some(secret(Credentials::basic(user, password))?),
            Some(Credentials::Token(token)) => return Ok(Some(secret(format!("Bearer {token}"))?)),
            None => None,
        };
        match challenge {
            Challenge::Basic => Ok(basic),
            Challenge::Bearer { realm, service, scope } => {
                let token = self.token(host, &realm, (service, scope), basic.as_ref()).await?;
                Ok(Some(secret(format!("Bearer {token}"))?))
            }
        }
    }

    /// Gets a token where the registry says.
    async fn token(
        &self,
        host: &str,
        realm: &str,
        (service, scope): (Option<String>, Option<String>),
        authorization: Option<&HeaderValue>,
    ) -> Result<String, FetchError> {
        #[derive(Deserialize)]
        struct Given {
            token: Option<String>,
            access_token: Option<String>,
        }
        let wrong = || FetchError::Realm {
            host: host.to_owned(),
            realm: realm.to_owned(),
        };
        let mut url = Url::parse(realm).map_err(|_| wrong())?;
        // A registry that is spoken to with TLS sends nobody's password anywhere without.
        if url.scheme() != "https" && (self.client.scheme(host) == "https" || url.scheme() != "http") {
            return Err(wrong());
        }
        let parameters = [("service", service), ("scope", scope)];
        for (name, value) in parameters.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            url.query_pairs_mut().append_pair(name, &value);
        }
        let request = Request {
            method: Method::GET,
            url,
            accept: "application/json",
            authorization,
            content_type: "",
            body: Bytes::new(),
            most: LONGEST_TOKEN,
        };
        let realm_host = authority(&request.url);
        let reply = self.client.send(request).await?;
        if reply.status != StatusCode::OK {
            return Err(FetchError::Status {
                host: realm_host,
                status: reply.status,
                known: authorization.is_some(),
            });
        }
        let given = serde_json::from_slice::<Given>(&reply.body).ok();
        let token = given.and_then(|given| given.token.or(given.access_token));
        token.ok_or(FetchError::Token { host: realm_host })
    }
}

/// No token is longer.
const LONGEST_TOKEN: u64 = 64 << 10;

/// A value that is not shown when it is printed for a developer.
fn secret(text: String) -> Result<HeaderValue, FetchError> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| FetchError::Credentials("credentials hold what cannot be sent".into()))?;
    value.set_sensitive(true);
    Ok(value)
}
