//! Roots in object storage: `root = "s3://BUCKET/PREFIX"`, and `[site.store]`, how the store is asked.

use super::{
    ConfigErrors,
    document::Section,
    units::{duration, positive},
};
use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Duration,
};
use wasmserve_files::{Credentials, Location, SitePath, StoreRoot, StoreSpec, store::Denied};

/// `[site.store]`: the keys that were given; the others stay as they are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GivenStore {
    /// `endpoint`: the URL of an S3-compatible server, such as `"https://minio.example.org:9000"`. Default: the provider's
    /// own, or what `AWS_ENDPOINT` says.
    endpoint: Option<String>,
    /// `region`: that of the bucket. Default: what `AWS_REGION` says, or `"us-east-1"`.
    region: Option<String>,
    /// `allow-http`: whether the store may be asked by plain HTTP. Default: `false`.
    allow_http: Option<bool>,
    /// `virtual-hosted-style`: whether the bucket is part of the endpoint's host name instead of its path. Default: `false`.
    virtual_hosted_style: Option<bool>,
    /// `credentials`: whose keys are used: `"environment"` (variables as the provider's tools name them), `"instance"` (the
    /// metadata service of the machine) or `"none"` (the bucket is public). Default: `"environment"`.
    credentials: Option<Credentials>,
    /// `credentials-file`: a file with these variables, a line `NAME=VALUE` each, instead of `credentials`.
    credentials_file: Option<PathBuf>,
    /// `ca-file`: PEM file of certificates that are trusted beside the public authorities. Default: none.
    ca_file: Option<PathBuf>,
    /// `connect-timeout`: for a connection to stand. Default: `"3s"`.
    connect_timeout: Option<Duration>,
    /// `request-timeout`: for the head of an answer, further tries included; then the client gets 504. Default: `"10s"`.
    request_timeout: Option<Duration>,
    /// `read-timeout`: between two pieces of an object that the client is ready for; then they are asked for again.
    /// Default: `"10s"`.
    read_timeout: Option<Duration>,
    /// `max-retries`: further tries of what failed. Default: `3`.
    max_retries: Option<usize>,
    /// `max-requests`: questions about objects under way at once; further ones wait. Reading is not counted. Default: `64`.
    max_requests: Option<usize>,
    /// `metadata-ttl`: how long what is known of an object, or that there is none, is used without asking again. Reads are
    /// held to one version however long that is. Default: `"1s"`.
    metadata_ttl: Option<Duration>,
    /// `denied`: what it means that the store refuses one key: `"fails"` (502) or `"missing"` (there is no such object: what
    /// S3 says where `s3:ListBucket` is not granted). Default: `"fails"`.
    denied: Option<Denied>,
}

const DENIED: [(&str, Denied); 2] = [("fails", Denied::Fails), ("missing", Denied::Missing)];

const METADATA_TTL: Duration = Duration::from_secs(1);

// === impl GivenStore ===

impl GivenStore {
    /// Reads `store` of a section.
    pub fn read(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Self {
        let Some(mut section) = section.section("store", errors) else {
            return Self::default();
        };
        let credentials = section.parsed("credentials", credentials, errors);
        let file = section.string("credentials-file", errors);
        if let (Some(_), Some(file)) = (&credentials, &file) {
            let problem = "`credentials` and `credentials-file` are two ways to say the same: give one of them";
            errors.push(section.error_at(file, problem));
        }
        let folder = section.folder();
        let given = Self {
            endpoint: section.parsed("endpoint", endpoint, errors),
            region: section.string("region", errors).map(|region| region.value),
            allow_http: section.flag("allow-http", errors),
            virtual_hosted_style: section.flag("virtual-hosted-style", errors),
            credentials,
            credentials_file: file.map(|file| folder.join(file.value)),
            ca_file: section.string("ca-file", errors).map(|file| folder.join(file.value)),
            connect_timeout: section.parsed("connect-timeout", positive, errors),
            request_timeout: section.parsed("request-timeout", positive, errors),
            read_timeout: section.parsed("read-timeout", positive, errors),
            max_retries: section.number("max-retries", 0..=100, errors),
            max_requests: section.count_to("max-requests", 10_000, errors),
            metadata_ttl: section.parsed("metadata-ttl", duration, errors),
            denied: section.choice("denied", &DENIED, errors),
        };
        section.finish(errors);
        given
    }

    /// These keys where they are given, the others from `base`.
    pub fn over(self, base: &Self) -> Self {
        let own_credentials = self.credentials.is_some() || self.credentials_file.is_some();
        let (credentials, credentials_file) = match own_credentials {
            true => (self.credentials, self.credentials_file),
            false => (base.credentials.clone(), base.credentials_file.clone()),
        };
        Self {
            endpoint: self.endpoint.or_else(|| base.endpoint.clone()),
            region: self.region.or_else(|| base.region.clone()),
            allow_http: self.allow_http.or(base.allow_http),
            virtual_hosted_style: self.virtual_hosted_style.or(base.virtual_hosted_style),
            credentials,
            credentials_file,
            ca_file: self.ca_file.or_else(|| base.ca_file.clone()),
            connect_timeout: self.connect_timeout.or(base.connect_timeout),
            request_timeout: self.request_timeout.or(base.request_timeout),
            read_timeout: self.read_timeout.or(base.read_timeout),
            max_retries: self.max_retries.or(base.max_retries),
            max_requests: self.max_requests.or(base.max_requests),
            metadata_ttl: self.metadata_ttl.or(base.metadata_ttl),
            denied: self.denied.or(base.denied),
        }
    }

    /// The place that a root names: a folder relative to `folder`, or a store that is asked as these keys say.
    ///
    /// # Errors
    /// What is wrong with it, in words for the one who typed it.
    pub fn locate(&self, folder: &Path, text: &str) -> Result<Location, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Location::Directory(folder.join(text)));
        };
        match scheme {
            "file" => match rest.starts_with('/') {
                true => Ok(Location::Directory(rest.into())),
                false => Err(format!(
                    "{text:?} names no folder of this machine: write file:///FOLDER"
                )),
            },
            "s3" | "gs" | "az" => {
                let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
                let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
                let is_prefix = prefix.is_empty()
                    || SitePath::from_decoded(&format!("/{prefix}")).is_ok_and(|path| path.relative() == prefix);
                if bucket.is_empty() || !is_prefix {
                    return Err(format!("{text:?} is not {scheme}://BUCKET or {scheme}://BUCKET/PREFIX"));
                }
                Ok(Location::Store(Box::new(StoreRoot {
                    store: self.spec(format!("{scheme}://{bucket}")),
                    prefix: prefix.to_owned(),
                    metadata_ttl: self.metadata_ttl.unwrap_or(METADATA_TTL),
                })))
            }
            _ => Err(format!(
                "there is no store {scheme}://: there are s3://, gs://, az:// and file://"
            )),
        }
    }

    /// Another number when a file that is named here holds something else. Nobody can tell from it what that is.
    fn contents(&self) -> u64 {
        static KEYED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let files = [&self.credentials_file, &self.ca_file];
        // What cannot be read is an error when the store is opened.
        KEYED.hash_one(files.map(|file| file.as_ref().and_then(|file| std::fs::read(file).ok())))
    }

    fn spec(&self, bucket: String) -> StoreSpec {
        let defaults = StoreSpec::new(bucket);
        let credentials = self.credentials_file.clone().map(Credentials::File);
        StoreSpec {
            endpoint: self.endpoint.clone(),
            region: self.region.clone(),
            allow_http: self.allow_http.unwrap_or(defaults.allow_http),
            virtual_hosted_style: self.virtual_hosted_style.unwrap_or(defaults.virtual_hosted_style),
            credentials: credentials
                .or_else(|| self.credentials.clone())
                .unwrap_or(defaults.credentials),
            ca: self.ca_file.clone(),
            connect_timeout: self.connect_timeout.unwrap_or(defaults.connect_timeout),
            request_timeout: self.request_timeout.unwrap_or(defaults.request_timeout),
            read_timeout: self.read_timeout.unwrap_or(defaults.read_timeout),
            max_retries: self.max_retries.unwrap_or(defaults.max_retries),
            max_requests: self.max_requests.unwrap_or(defaults.max_requests),
            denied: self.denied.unwrap_or(defaults.denied),
            contents: self.contents(),
            bucket: defaults.bucket,
        }
    }
}

/// Files that say who the server is to its stores: never served.
pub fn kept(location: &Location) -> Option<PathBuf> {
    match location {
        Location::Store(root) => match &root.store.credentials {
            Credentials::File(file) => Some(file.clone()),
            Credentials::Environment | Credentials::Instance | Credentials::Anonymous => None,
        },
        Location::Directory(_) => None,
    }
}

/// As [`GivenStore::read`] reads it.
pub fn print(location: &Location) -> Option<toml::Table> {
    let Location::Store(root) = location else {
        return None;
    };
    let (store, metadata_ttl) = (&root.store, &root.metadata_ttl);
    let time = |time: Duration| toml::Value::from(humantime::format_duration(time).to_string());
    let number = |number: usize| toml::Value::from(i64::try_from(number).unwrap_or(i64::MAX));
    let path = |path: &PathBuf| toml::Value::from(path.display().to_string());
    let credentials = match &store.credentials {
        Credentials::File(file) => ("credentials-file", path(file)),
        Credentials::Environment => ("credentials", "environment".into()),
        Credentials::Instance => ("credentials", "instance".into()),
        Credentials::Anonymous => ("credentials", "none".into()),
    };
    let optional = [
        store
            .endpoint
            .as_ref()
            .map(|endpoint| ("endpoint", endpoint.as_str().into())),
        store.region.as_ref().map(|region| ("region", region.as_str().into())),
        store.ca.as_ref().map(|file| ("ca-file", path(file))),
    ];
    let keys = [
        ("allow-http", store.allow_http.into()),
        ("virtual-hosted-style", store.virtual_hosted_style.into()),
        credentials,
        ("connect-timeout", time(store.connect_timeout)),
        ("request-timeout", time(store.request_timeout)),
        ("read-timeout", time(store.read_timeout)),
        ("max-retries", number(store.max_retries)),
        ("max-requests", number(store.max_requests)),
        ("metadata-ttl", time(*metadata_ttl)),
        ("denied", super::print::word(store.denied, &DENIED)),
    ];
    let keys = keys.into_iter().chain(optional.into_iter().flatten());
    Some(keys.map(|(key, value)| (key.to_owned(), value)).collect())
}

fn credentials(text: &str) -> Result<Credentials, String> {
    match text {
        "environment" => Ok(Credentials::Environment),
        "instance" => Ok(Credentials::Instance),
        "none" => Ok(Credentials::Anonymous),
        _ => Err(format!(
            "{text:?} is none of \"environment\", \"instance\" and \"none\""
        )),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if host.contains('@') => Err("an endpoint holds no credentials: give `credentials-file`".into()),
        Some(host) if !host.is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(format!("{text:?} is not a URL, such as \"https://s3.example.org\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roots_are_folders_or_stores() {
        let locate = |text| GivenStore::default().locate(Path::new("/etc"), text);
        for (text, shown) in [
            ("www", "/etc/www"),
            ("/srv/www", "/srv/www"),
            ("file:///srv/www", "/srv/www"),
            ("s3://bucket", "s3://bucket"),
            ("s3://bucket/", "s3://bucket"),
            ("gs://bucket/a/b", "gs://bucket/a/b"),
            ("az://container/a/b/", "az://container/a/b"),
        ] {
            let located = locate(text).expect("a location");
            assert_eq!(located.to_string(), shown);
            assert_eq!(matches!(located, Location::Store(_)), !shown.starts_with('/'), "{text}");
        }
        for text in [
            "s3://",
            "s3:///a",
            "s3://b//a",
            "s3://b/a//c",
            "s3://b/../c",
            "s3://b/.",
            "ftp://b",
            "file://host/a",
        ] {
            assert!(locate(text).is_err(), "{text}");
        }
    }
}
