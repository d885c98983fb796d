//! Where a plugin is: `https://HOST/PATH.wasm` or `oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]`.
//!
//! There is one way to write each place, so that an operator's list of prefixes means what it says: whatever a server
//! could read as another path (dots, coded slashes, a query, a user) is refused, not repaired.

use crate::digest::Digest;
use std::{fmt, str::FromStr};
use url::Url;

/// A place that is not a file of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    place: Place,
    /// Of the file, or of the artifact's manifest.
    digest: Option<Digest>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Place {
    /// A file of a web server. `http` is for hosts that an operator names.
    File(Url),
    /// An artifact in a registry.
    Artifact(Artifact),
}

/// An artifact of a registry (OCI distribution specification).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Artifact {
    /// `host` or `host:port`, in lower case.
    pub registry: String,
    pub repository: String,
    pub tag: Option<String>,
}

/// A reference, and the digest that what is there must have.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pinned {
    pub reference: Reference,
    pub digest: Digest,
}

const OCI: &str = "oci://";

/// What `https://` asks for.
const ENDING: &str = ".wasm";

// === impl Reference ===

impl Reference {
    /// Whether a text means a place that is not a file, well written or not.
    pub fn is_remote(text: &str) -> bool {
        // `file:` has no `//` as a rule, and is the only scheme that is not remote.
        text.split_once("://").is_some_and(|(scheme, _)| scheme != "file")
    }

    /// The digest that is a part of the reference.
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// Whether it is in a registry: then the digest is that of a manifest.
    pub fn is_artifact(&self) -> bool {
        matches!(self.place, Place::Artifact(_))
    }

    /// The same place, whatever is there.
    pub fn without_digest(&self) -> Self {
        Self {
            place: self.place.clone(),
            digest: None,
        }
    }

    /// The last name in it: what a plugin is called that does not say its own.
    pub fn name(&self) -> &str {
        let path = match &self.place {
            Place::File(url) => url.path(),
            Place::Artifact(artifact) => &artifact.repository,
        };
        let last = path.rsplit('/').next().unwrap_or(path);
        last.strip_suffix(ENDING).unwrap_or(last)
    }

    /// Whether it begins with one of these prefixes, each of which ends where a segment of the path does.
    pub fn is_beneath(&self, prefixes: &[Prefix]) -> bool {
        let text = match &self.place {
            Place::File(url) => url.to_string(),
            Place::Artifact(artifact) => format!("{OCI}{}/{}", artifact.registry, artifact.repository),
        };
        prefixes.iter().any(|prefix| text.starts_with(&prefix.0))
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |problem: &str| format!("{text:?} {problem}");
        let (place, digest) = match text.rsplit_once('@') {
            Some((place, digest)) => (place, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let place = match place.strip_prefix(OCI) {
            Some(rest) => Place::Artifact(Artifact::parse(rest).map_err(|problem| wrong(&problem))?),
            None => Place::File(file(place).map_err(|problem| wrong(&problem))?),
        };
        Ok(Self { place, digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::File(url) => write!(f, "{url}")?,
            Place::Artifact(artifact) => write!(f, "{artifact}")?,
        }
        match self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => Ok(()),
        }
    }
}

fn file(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no URL: {error}"))?;
    if !["https", "http"].contains(&url.scheme()) {
        return Err("is neither `https://HOST/PATH.wasm` nor `oci://REGISTRY/REPOSITORY`".into());
    }
    if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
        return Err("must have no user, query or fragment".into());
    }
    plain(url.path())?;
    if !url.path().ends_with(ENDING) {
        return Err(format!("must end in {ENDING}"));
    }
    match url.as_str() == text {
        true => Ok(url),
        false => Err(format!("has another way to be written: write {url}")),
    }
}

/// Nothing in a path that a server may take for a slash or for a step up.
fn plain(path: &str) -> Result<(), String> {
    let lower = path.to_ascii_lowercase();
    if ["%2f", "%5c", "%2e", "%00", "\\"]
        .iter()
        .any(|coded| lower.contains(coded))
    {
        return Err("must not have coded dots or slashes in its path".into());
    }
    let mut segments = path.split('/').skip(1);
    if segments.any(|segment| segment.is_empty() || segment == "." || segment == "..") {
        return Err("must not have empty segments or dots for segments in its path".into());
    }
    Ok(())
}

// === impl Artifact ===

impl Artifact {
    /// `REGISTRY/REPOSITORY[:TAG]`, in the grammar of the distribution specification ("Pulling manifests").
    fn parse(text: &str) -> Result<Self, String> {
        let (registry, rest) = text
            .split_once('/')
            .ok_or("has no repository: write oci://REGISTRY/REPOSITORY")?;
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        authority(registry)?;
        let word = |text: &str, also: &[u8]| {
            let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
            let bytes = text.as_bytes();
            bytes.first().is_some_and(|byte| alphanumeric(*byte))
                && bytes.last().is_some_and(|byte| alphanumeric(*byte))
                && bytes.iter().all(|byte| alphanumeric(*byte) || also.contains(byte))
        };
        if repository.len() > 255 || !repository.split('/').all(|part| word(part, b"._-")) {
            return Err(format!(
                "has {repository:?} for a repository: small letters, digits, and `.`, `_`, `-` between them make its parts"
            ));
        }
        let fits = |tag: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            tag.len() <= 128
                && tag.bytes().next().is_some_and(plain)
                && tag.bytes().all(|byte| plain(byte) || b".-".contains(&byte))
        };
        if let Some(tag) = tag.filter(|tag| !fits(tag)) {
            return Err(format!("has {tag:?} for a tag"));
        }
        Ok(Self {
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
        })
    }

    /// The host that speaks for the registry. Docker's has a name that it is known by and another that answers.
    pub fn host(&self) -> &str {
        match &*self.registry {
            "docker.io" => "registry-1.docker.io",
            registry => registry,
        }
    }
}

impl fmt::Display for Artifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{OCI}{}/{}", self.registry, self.repository)?;
        match &self.tag {
            Some(tag) => write!(f, ":{tag}"),
            None => Ok(()),
        }
    }
}

/// `host` or `host:port`, as a URL has it.
pub(crate) fn authority(text: &str) -> Result<(), String> {
    let url = Url::parse(&format!("https://{text}/")).ok();
    let same = url.as_ref().and_then(|url| {
        let host = url.host_str()?;
        Some(match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        })
    });
    match same.as_deref() == Some(text) {
        true => Ok(()),
        false => Err(format!(
            "has {text:?} for a host: write HOST or HOST:PORT, in small letters"
        )),
    }
}

// === Prefixes ===

/// The beginning of references that somebody may use, such as `oci://registry.example.org/shared/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if !text.ends_with('/') {
            return Err(format!(
                "{text:?} must end with a slash: a prefix ends where a segment does"
            ));
        }
        // Whatever may stand behind it has to be a reference.
        let example = match text.starts_with(OCI) {
            true => format!("{text}a"),
            false => format!("{text}a{ENDING}"),
        };
        match example.parse::<Reference>() {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(format!(
                "{text:?} is no beginning of a reference, such as oci://registry.example.org/shared/"
            )),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Pinned ===

impl fmt::Display for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.reference.without_digest(), self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn there_is_one_way_to_write_each() {
        for (text, name) in [
            ("https://example.org/a/guard-1.wasm", "guard-1"),
            ("http://127.0.0.1:8080/guard.wasm", "guard"),
            ("https://[::1]:8443/guard.wasm", "guard"),
            ("oci://ghcr.io/acme/guard", "guard"),
            ("oci://ghcr.io/acme/guard:1.2.0", "guard"),
            ("oci://127.0.0.1:5000/a/b_c/guard-x:V1", "guard-x"),
            ("oci://[::1]:5000/guard:1", "guard"),
        ] {
            for text in [text.to_owned(), format!("{text}@{DIGEST}")] {
                let reference: Reference = text.parse().expect("a reference");
                assert_eq!(reference.to_string(), text);
                assert_eq!(reference.name(), name);
                assert_eq!(reference.digest().is_some(), text.contains('@'));
                assert!(Reference::is_remote(&text));
            }
        }
    }

    #[test]
    fn what_could_be_read_as_another_place_is_refused() {
        for text in [
            "ftp://example.org/a.wasm",
            "https://example.org/",
            "https://example.org/a.txt",
            "https://example.org/a.wasm?x",
            "https://example.org/a.wasm#x",
            "https://user@example.org/a.wasm",
            "https://example.org/b/../a.wasm",
            "https://example.org/b/%2e%2e/a.wasm",
            "https://example.org/b/..%2fa.wasm",
            "https://example.org/b/..%5Ca.wasm",
            "https://example.org/b//a.wasm",
            "https://example.org\\a.wasm",
            "https://EXAMPLE.org/a.wasm",
            "https://example.org:443/a.wasm",
            "https:/example.org/a.wasm",
            "https://example.org/a.wasm@sha256:12",
            "oci://",
            "oci://ghcr.io",
            "oci://ghcr.io/",
            "oci://ghcr.io/Acme/guard",
            "oci://ghcr.io/acme//guard",
            "oci://ghcr.io/acme/../guard",
            "oci://ghcr.io/acme/guard:",
            "oci://ghcr.io/acme/guard:a b",
            "oci://GHCR.io/acme/guard",
            "oci://user@ghcr.io/acme/guard",
            "oci://ghcr.io:443/acme/guard",
            "oci://ghcr.io/acme/guard@latest",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn files_are_not_remote() {
        for text in ["guard", "guard.wasm", "file:guard", "file:///srv/guard", "../a:b", "@x"] {
            assert!(!Reference::is_remote(text), "{text}");
        }
        // Not a name of a file by accident: told as what it is.
        assert!(Reference::is_remote("htps://example.org/a.wasm"));
    }

    #[test]
    fn prefixes_end_where_segments_do() {
        let prefixes: Vec<Prefix> = [
            "oci://r.example/shared/",
            "https://w.example/plugins/",
            "oci://all.example/",
        ]
        .map(|text| text.parse().expect("a prefix"))
        .into();
        for (text, beneath) in [
            ("oci://r.example/shared/guard", true),
            ("oci://r.example/shared/deep/guard:1", true),
            ("oci://r.example/shared", false),
            ("oci://r.example/sharedx/guard", false),
            ("oci://r.example:5000/shared/guard", false),
            ("oci://all.example/any", true),
            ("oci://all.example.evil/any", false),
            ("https://w.example/plugins/a.wasm", true),
            ("https://w.example/a.wasm", false),
            ("http://w.example/plugins/a.wasm", false),
        ] {
            assert_eq!(
                text.parse::<Reference>().expect(text).is_beneath(&prefixes),
                beneath,
                "{text}"
            );
        }
        for wrong in [
            "oci://r.example/shared",
            "",
            "/",
            "oci://",
            "https:///",
            "oci://r.example/a:1/",
            "a/",
        ] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
    }
}
