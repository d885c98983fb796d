//! Object storage, as this crate sees it: what a root in a store asks of it. Whoever speaks a store's protocol implements
//! [`Store`], which is also the place for a cache between the two: one that answers [`Store::read`] itself and passes the
//! rest on.
//!
//! A read is of one version of an object or it fails: bytes of two versions never meet in one response.
use crate::{Piece, Stream};
use bytes::Bytes;
use std::{
    error::Error,
    fmt, io,
    ops::Range,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::{Duration, SystemTime},
};

/// A question to a store that is under way.
pub type Asking<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Bytes of one version of an object, in order: exactly those that were asked for, or an error after some of them.
pub type ObjectStream = Pin<Box<dyn Stream + Send>>;

/// A bucket of objects. Whatever goes wrong is logged here with its reason; callers are told what it means for a client.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// What tells it from all others beside its specification: what the environment says of where it is. No secrets.
    fn place(&self) -> &str;

    /// What the object of a key is now; `None`: there is none.
    fn head<'a>(&'a self, key: &'a str) -> Asking<'a, Option<ObjectVersion>>;

    /// Reads a range of a version, which is not empty and lies within its length. Ready when the store has promised the
    /// bytes, so that a refusal can still become a status.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when the object is another version by now.
    fn read(&self, version: &ObjectVersion, range: Range<u64>) -> Asking<'static, ObjectStream>;

    /// What is directly beneath a prefix (empty, or ending in `/`), at most `most` entries; `from` is the `next` of the page
    /// before.
    fn list<'a>(&'a self, prefix: &'a str, from: Option<String>, most: usize) -> Asking<'a, Page>;
}

/// Opens stores; the same for the same specification, so that sites of one bucket share connections and bounds.
pub trait Stores: fmt::Debug + Send + Sync + 'static {
    /// Needs no network.
    ///
    /// # Errors
    /// What is wrong with the specification, or missing in the environment.
    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Store>, Box<dyn Error + Send + Sync>>;

    /// The cache on local disk, if there is one.
    fn disk_cache(&self) -> Option<&wasmserve_pieces::Cache> {
        None
    }
}

/// Which store, and how it is asked. Holds no secrets: they are read from where `credentials` says when it is opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoreSpec {
    /// `s3://BUCKET`, `gs://BUCKET` or `az://CONTAINER`.
    pub bucket: String,
    /// The URL of an S3-compatible server; `None`: the provider's own.
    pub endpoint: Option<String>,
    pub region: Option<String>,
    /// Whether plain HTTP may be spoken.
    pub allow_http: bool,
    /// Whether the bucket is part of the endpoint's host name instead of its path.
    pub virtual_hosted_style: bool,
    pub credentials: Credentials,
    /// Certificates, in PEM, that are trusted beside the public authorities.
    pub ca: Option<PathBuf>,
    /// For a connection to stand.
    pub connect_timeout: Duration,
    /// For the head of a response, tries and waits between them included.
    pub request_timeout: Duration,
    /// Between two pieces of a body that the client is ready for.
    pub read_timeout: Duration,
    /// Tries beyond the first.
    pub max_retries: usize,
    /// Questions about objects under way at once; further ones wait.
    pub max_requests: usize,
    pub denied: Denied,
    /// Tells what the files named here held from what they hold later, so that a store is opened anew for new keys.
    pub contents: u64,
}

/// What a store's refusal of one key means. Without the right to list, S3 says of a key that there is none of that it may not
/// be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Denied {
    /// The server's keys are not what they should be.
    Fails,
    /// There is no such object.
    Missing,
}

/// Where the keys to a store come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// Variables of the environment, as the provider names them.
    Environment,
    /// The same variables, from a file of `NAME=VALUE` lines.
    File(PathBuf),
    /// The metadata service of the machine.
    Instance,
    /// None: the bucket is public.
    Anonymous,
}

impl StoreSpec {
    /// With every default.
    pub fn new(bucket: impl Into<String>) -> Self {
        Self {
            bucket: bucket.into(),
            endpoint: None,
            region: None,
            allow_http: false,
            virtual_hosted_style: false,
            credentials: Credentials::Environment,
            ca: None,
            connect_timeout: Duration::from_secs(3),
            request_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(10),
            max_retries: 3,
            max_requests: 64,
            denied: Denied::Fails,
            contents: 0,
        }
    }
}

/// One version of an object: what a store says of it, and by what its reads are held to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectVersion {
    /// The whole key, without a slash at the beginning.
    pub key: String,
    /// Bytes.
    pub length: u64,
    pub modified: SystemTime,
    /// As the store says it, quotes included.
    pub etag: Option<String>,
    /// Where the store keeps several versions of one key.
    pub version: Option<String>,
    /// The Content-Encoding that it is stored with.
    pub coding: Option<&'static str>,
}

/// What is directly beneath a prefix.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Names of objects, without the prefix.
    pub objects: Vec<Listed>,
    /// Names of what has more beneath it, without the prefix and slashes.
    pub directories: Vec<String>,
    /// There is more.
    pub next: Option<String>,
    /// Whether any key begins with the prefix, if only one that is no name: that of the prefix itself.
    pub exists: bool,
}

#[derive(Clone, Debug)]
pub struct Listed {
    pub name: String,
    /// Bytes.
    pub length: u64,
    pub modified: SystemTime,
}

/// What a failure of a store means for who asked. The reason is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the object is gone")]
    NotThere,
    #[error("the object is another version by now")]
    Changed,
    /// It asks to be asked less, or as much is under way as may be.
    #[error("the store has too much to do")]
    Busy,
    #[error("the store took too long")]
    Slow,
    #[error("the store refuses this server")]
    Denied,
    /// It cannot be reached, fails or says what cannot be.
    #[error("the store failed")]
    Broken,
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match error {
            StoreError::NotThere | StoreError::Changed => io::ErrorKind::StaleNetworkFileHandle,
            StoreError::Busy => io::ErrorKind::ResourceBusy,
            StoreError::Slow => io::ErrorKind::TimedOut,
            StoreError::Denied | StoreError::Broken => io::ErrorKind::ConnectionAborted,
        };
        Self::new(kind, error)
    }
}

/// One version of an object, and where it is read.
#[derive(Debug)]
pub struct Object {
    store: Arc<dyn Store>,
    version: ObjectVersion,
    /// Somebody was told that there is another version by now.
    outdated: AtomicBool,
}

impl Object {
    pub fn new(store: Arc<dyn Store>, version: ObjectVersion) -> Self {
        Self {
            store,
            version,
            outdated: AtomicBool::new(false),
        }
    }

    pub fn version(&self) -> &ObjectVersion {
        &self.version
    }

    pub(crate) fn is_outdated(&self) -> bool {
        self.outdated.load(Ordering::Relaxed)
    }

    async fn read(self: Arc<Self>, range: Range<u64>) -> Result<ObjectStream, StoreError> {
        self.store
            .read(&self.version, range)
            .await
            .inspect_err(|error| self.note(*error))
    }

    fn note(&self, error: StoreError) {
        if matches!(error, StoreError::NotThere | StoreError::Changed) {
            self.outdated.store(true, Ordering::Relaxed);
        }
    }
}

/// Bytes `offset .. offset + length` of an object, which are streamed: nothing is read ahead of whoever takes them.
pub struct ObjectSpan {
    object: Arc<Object>,
    offset: u64,
    length: u64,
    state: State,
}

enum State {
    Waiting,
    Asking(Asking<'static, ObjectStream>),
    Reading(ObjectStream),
    Ended,
}

impl ObjectSpan {
    pub fn new(object: Arc<Object>, offset: u64, length: u64) -> Self {
        Self {
            object,
            offset,
            length,
            state: State::Waiting,
        }
    }

    pub fn object(&self) -> &Arc<Object> {
        &self.object
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes, of which none is taken yet.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.offset == 0 && self.length == self.object.version.length
    }

    /// Waits until the store has promised the bytes.
    ///
    /// # Errors
    /// As [`Store::read`].
    pub async fn begin(&mut self) -> Result<(), StoreError> {
        if matches!(self.state, State::Waiting) {
            self.state = State::Reading(self.ask().await?);
        }
        Ok(())
    }

    fn ask(&self) -> Asking<'static, ObjectStream> {
        let range = self.offset..self.offset + self.length;
        Box::pin(Arc::clone(&self.object).read(range))
    }
}

impl fmt::Debug for ObjectSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectSpan")
            .field("object", &self.object.version)
            .field("offset", &self.offset)
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

impl ObjectSpan {
    /// The next of what the store's stream gives, in whichever form it is taken.
    fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        take: impl Fn(Pin<&mut (dyn Stream + Send)>, &mut Context<'_>) -> Poll<Option<io::Result<T>>>,
    ) -> Poll<Option<io::Result<T>>> {
        loop {
            match &mut self.state {
                State::Waiting if self.length == 0 => return Poll::Ready(None),
                State::Waiting => self.state = State::Asking(self.ask()),
                State::Asking(asking) => match ready!(asking.as_mut().poll(context)) {
                    Ok(stream) => self.state = State::Reading(stream),
                    Err(error) => {
                        self.state = State::Ended;
                        return Poll::Ready(Some(Err(error.into())));
                    }
                },
                State::Reading(stream) => {
                    let next = ready!(take(stream.as_mut(), context));
                    if !matches!(next, Some(Ok(_))) {
                        self.state = State::Ended;
                    }
                    if let Some(Err(error)) = &next
                        && let Some(error) = error.get_ref().and_then(|error| error.downcast_ref())
                    {
                        self.object.note(*error);
                    }
                    return Poll::Ready(next);
                }
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}

impl Stream for ObjectSpan {
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.get_mut()
            .poll(context, |stream, context| stream.poll_next(context))
    }

    fn poll_piece(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Piece>>> {
        self.get_mut()
            .poll(context, |stream, context| stream.poll_piece(context))
    }
}
