//! From a specification to a bucket: which provider, how it is reached, and with whose keys.
use crate::{
    Bucket,
    bucket::{Bounds, Paged},
    connect::Connector,
};
use object_store::{
    BackoffConfig, ClientOptions, RetryConfig,
    aws::{AmazonS3Builder, AmazonS3ConfigKey},
    azure::MicrosoftAzureBuilder,
    gcp::GoogleCloudStorageBuilder,
};
use std::{
    collections::HashMap,
    error::Error,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use wasmserve_files::{Credentials, Store, StoreSpec, Stores};

/// Opens buckets; one for each specification, shared by all who use it.
#[derive(Debug, Default)]
pub struct ObjectStores {
    open: Mutex<HashMap<StoreSpec, Weak<Bucket>>>,
}

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{0:?} is none of s3://BUCKET, gs://BUCKET and az://CONTAINER")]
    Scheme(String),
    #[error("there are no credentials: set {names}, or say where they are with `credentials`")]
    NoCredentials { names: &'static str },
    #[error("cannot read {}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("{}, line {line}: not NAME=VALUE", file.display())]
    Line { file: PathBuf, line: usize },
    #[error("TLS cannot be spoken")]
    Tls(#[source] io::Error),
    #[error("what is configured cannot be")]
    Refused(#[from] object_store::Error),
}

/// A provider: how it is named, and the variables that its keys are in.
#[derive(Clone, Copy)]
enum Provider {
    S3,
    Google,
    Azure,
}

impl Stores for ObjectStores {
    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Store>, Box<dyn Error + Send + Sync>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = open.get(spec).and_then(Weak::upgrade) {
            return Ok(bucket);
        }
        let bucket = Arc::new(bucket(spec)?);
        open.retain(|_, bucket| bucket.strong_count() > 0);
        open.insert(spec.clone(), Arc::downgrade(&bucket));
        Ok(bucket)
    }
}

fn bucket(spec: &StoreSpec) -> Result<Bucket, OpenError> {
    let (provider, name) = Provider::of(&spec.bucket).ok_or_else(|| OpenError::Scheme(spec.bucket.clone()))?;
    let variables = provider.variables(&spec.credentials)?;
    let connector = Connector::new(spec.connect_timeout, spec.ca.as_deref()).map_err(|source| match &spec.ca {
        Some(file) => OpenError::File {
            file: file.clone(),
            source,
        },
        None => OpenError::Tls(source),
    })?;
    let place = place(&variables);
    let objects: Arc<dyn Paged> = match provider {
        Provider::S3 => Arc::new(s3(spec, name, variables, connector).build()?),
        Provider::Google => Arc::new(google(spec, name, variables, connector).build()?),
        Provider::Azure => Arc::new(azure(spec, name, variables, connector).build()?),
    };
    Ok(Bucket::new(&spec.bucket, place, objects, Bounds::of(spec)))
}

/// What variables say of where a store is: of two accounts or endpoints, a bucket of one name is two.
fn place(variables: &[(String, String)]) -> String {
    const WORDS: [&str; 6] = ["ENDPOINT", "REGION", "ACCOUNT_NAME", "EMULATOR", "VIRTUAL", "FABRIC"];
    let is_place = |name: &str| WORDS.iter().any(|word| name.contains(word)) && !name.contains("TOKEN");
    let mut told: Vec<_> = variables.iter().filter(|(name, _)| is_place(name)).collect();
    told.sort();
    format!("{told:?}")
}

/// The whole time of a request is bounded by whoever waits for it.
fn retries(spec: &StoreSpec) -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(50),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: spec.max_retries,
        retry_timeout: spec.request_timeout,
    }
}

fn s3(spec: &StoreSpec, bucket: &str, variables: Vec<(String, String)>, connector: Connector) -> AmazonS3Builder {
    let mut builder = AmazonS3Builder::new();
    let allow_http = spec.allow_http
        || variables
            .iter()
            .any(|(name, value)| name == "AWS_ALLOW_HTTP" && value == "true");
    for (name, value) in variables {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(region) = &spec.region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &spec.endpoint {
        builder = builder.with_config(AmazonS3ConfigKey::S3Endpoint, endpoint);
    }
    if spec.virtual_hosted_style {
        builder = builder.with_virtual_hosted_style_request(true);
    }
    builder
        .with_bucket_name(bucket)
        .with_skip_signature(spec.credentials == Credentials::Anonymous)
        .with_retry(retries(spec))
        .with_client_options(ClientOptions::new().with_allow_http(allow_http))
        .with_http_connector(connector)
}

fn google(
    spec: &StoreSpec,
    bucket: &str,
    variables: Vec<(String, String)>,
    connector: Connector,
) -> GoogleCloudStorageBuilder {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in variables {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = &spec.endpoint {
        builder = builder.with_base_url(endpoint);
    }
    builder
        .with_bucket_name(bucket)
        .with_skip_signature(spec.credentials == Credentials::Anonymous)
        .with_retry(retries(spec))
        .with_client_options(ClientOptions::new().with_allow_http(spec.allow_http))
        .with_http_connector(connector)
}

fn azure(
    spec: &StoreSpec,
    container: &str,
    variables: Vec<(String, String)>,
    connector: Connector,
) -> MicrosoftAzureBuilder {
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in variables {
        if let Ok(key) = name.to_ascii_lowercase().parse() {
            builder = builder.with_config(key, value);
        }
    }
    if let Some(endpoint) = &spec.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    builder
        .with_container_name(container)
        .with_skip_signature(spec.credentials == Credentials::Anonymous)
        .with_retry(retries(spec))
        .with_client_options(ClientOptions::new().with_allow_http(spec.allow_http))
        .with_http_connector(connector)
}

// === impl Provider ===

impl Provider {
    fn of(bucket: &str) -> Option<(Self, &str)> {
        let (scheme, name) = bucket.split_once("://")?;
        let provider = match scheme {
            "s3" => Self::S3,
            "gs" => Self::Google,
            "az" => Self::Azure,
            _ => return None,
        };
        (!name.is_empty() && !name.contains('/')).then_some((provider, name))
    }

    fn prefix(self) -> &'static str {
        match self {
            Self::S3 => "AWS_",
            Self::Google => "GOOGLE_",
            Self::Azure => "AZURE_",
        }
    }

    /// Variables of which one has to be there: without, the machine's metadata service would be asked for keys.
    fn needed(self) -> &'static [&'static str] {
        match self {
            Self::S3 => &[
                "AWS_ACCESS_KEY_ID",
                "AWS_WEB_IDENTITY_TOKEN_FILE",
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            ],
            Self::Google => &[
                "GOOGLE_SERVICE_ACCOUNT",
                "GOOGLE_SERVICE_ACCOUNT_PATH",
                "GOOGLE_SERVICE_ACCOUNT_KEY",
                "GOOGLE_APPLICATION_CREDENTIALS",
                "GOOGLE_BEARER_TOKEN",
            ],
            Self::Azure => &[
                "AZURE_STORAGE_ACCOUNT_KEY",
                "AZURE_STORAGE_ACCESS_KEY",
                "AZURE_STORAGE_SAS_KEY",
                "AZURE_STORAGE_SAS_TOKEN",
                "AZURE_STORAGE_CLIENT_SECRET",
                "AZURE_CLIENT_SECRET",
                "AZURE_STORAGE_TOKEN",
                "AZURE_FEDERATED_TOKEN_FILE",
            ],
        }
    }

    /// What is said of it when none is there.
    fn hint(self) -> &'static str {
        match self {
            Self::S3 => "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            Self::Google => "GOOGLE_SERVICE_ACCOUNT or GOOGLE_APPLICATION_CREDENTIALS",
            Self::Azure => "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
        }
    }

    /// The variables that say who this server is, and whatever else the provider's own tools read from there.
    fn variables(self, credentials: &Credentials) -> Result<Vec<(String, String)>, OpenError> {
        let all = match credentials {
            Credentials::File(file) => variables_of(file)?,
            Credentials::Environment | Credentials::Instance | Credentials::Anonymous => std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        };
        let own = all.into_iter().filter(|(name, _)| name.starts_with(self.prefix()));
        let is_key = |name: &str| self.needed().contains(&name);
        match credentials {
            Credentials::Environment | Credentials::File(_) => {
                let own: Vec<_> = own.collect();
                match own.iter().any(|(name, value)| is_key(name) && !value.is_empty()) {
                    true => Ok(own),
                    false => Err(OpenError::NoCredentials { names: self.hint() }),
                }
            }
            // Keys that lie about for other programs are not used when others are asked for.
            Credentials::Instance | Credentials::Anonymous => {
                let others = ["AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
                Ok(own
                    .filter(|(name, _)| !is_key(name) && !others.contains(&&**name))
                    .collect())
            }
        }
    }
}

/// Lines of `NAME=VALUE`, as systemd reads environment files: empty ones and comments are passed over, quotes around a value
/// are not part of it.
fn variables_of(file: &PathBuf) -> Result<Vec<(String, String)>, OpenError> {
    let text = std::fs::read_to_string(file).map_err(|source| OpenError::File {
        file: file.clone(),
        source,
    })?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with(['#', ';']))
        .map(|(index, line)| {
            let (name, value) = line.split_once('=').ok_or_else(|| OpenError::Line {
                file: file.clone(),
                line: index + 1,
            })?;
            let value = value.trim();
            let quoted = ['"', '\'']
                .into_iter()
                .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote));
            Ok((name.trim().to_owned(), quoted.unwrap_or(value).to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_variables() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys");
        std::fs::write(
            &file,
            "# of the bucket\n\nAWS_ACCESS_KEY_ID = me\nAWS_SECRET_ACCESS_KEY=\"a=b\"\n",
        )
        .expect("a file");
        let read = variables_of(&file).expect("variables");
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            read,
            [pair("AWS_ACCESS_KEY_ID", "me"), pair("AWS_SECRET_ACCESS_KEY", "a=b")]
        );
        std::fs::write(&file, "AWS_ACCESS_KEY_ID=me\nsecret\n").expect("a file");
        let error = variables_of(&file).expect_err("a line without a name").to_string();
        assert!(error.contains("line 2") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn keys_are_only_taken_from_where_they_are_looked_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys");
        std::fs::write(&file, "AWS_REGION=eu-central-1\n").expect("a file");
        let mut spec = StoreSpec::new("s3://bucket");
        spec.credentials = Credentials::File(file.clone());
        // Otherwise the metadata service of the machine would be asked, which nobody wanted.
        assert!(matches!(bucket(&spec), Err(OpenError::NoCredentials { .. })));
        std::fs::write(&file, "AWS_ACCESS_KEY_ID=me\nAWS_SECRET_ACCESS_KEY=SECRET\n").expect("a file");
        let opened = bucket(&spec).expect("a bucket");
        assert!(!format!("{opened:?} {spec:?}").contains("SECRET"));
        for bad in ["bucket", "s3://", "s3://a/b", "ftp://a"] {
            assert!(
                matches!(bucket(&StoreSpec::new(bad)), Err(OpenError::Scheme(_))),
                "{bad}"
            );
        }
    }

    #[test]
    fn places_are_told_without_secrets() {
        let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let of = |variables: &[(String, String)]| place(variables);
        let keys = variable("AWS_SECRET_ACCESS_KEY", "secret");
        let there = variable("AWS_ENDPOINT", "http://there");
        let region = variable("AWS_REGION", "eu-central-1");
        assert_eq!(of(std::slice::from_ref(&keys)), of(&[]));
        assert_ne!(of(std::slice::from_ref(&there)), of(&[]));
        assert_eq!(of(&[there.clone(), region.clone()]), of(&[region, keys, there]));
        let accounts = ["one", "two"].map(|name| of(&[variable("AZURE_STORAGE_ACCOUNT_NAME", name)]));
        assert_ne!(accounts[0], accounts[1]);
        let token = variable("AZURE_FABRIC_SESSION_TOKEN", "secret");
        assert_eq!(of(&[token]), of(&[]));
    }

    #[test]
    fn one_bucket_for_one_specification() {
        let stores = ObjectStores::default();
        let mut spec = StoreSpec::new("s3://bucket");
        spec.credentials = Credentials::Anonymous;
        let one = stores.open(&spec).expect("a bucket");
        assert!(Arc::ptr_eq(&one, &stores.open(&spec).expect("a bucket")));
        spec.region = Some("eu-central-1".into());
        assert!(!Arc::ptr_eq(&one, &stores.open(&spec).expect("a bucket")));
    }
}
