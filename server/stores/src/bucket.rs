//! A bucket: what `wasmserve_files` asks of a store, within bounds of time and number.
use crate::{failure, read::Reader};
use http::StatusCode;
use object_store::{
    Attribute, GetOptions, GetRange, GetResult, ObjectMeta, ObjectStore,
    list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore},
    path::Path,
};
use std::{
    fmt,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{sync::Semaphore, time::timeout};
use wasmserve_files::{
    ObjectVersion, Store, StoreError, StoreSpec,
    store::{Asking, Denied, Listed, ObjectStream, Page},
};

/// A store that lists by pages.
pub(crate) trait Paged: ObjectStore + PaginatedListStore {}

impl<S: ObjectStore + PaginatedListStore> Paged for S {}

/// A bucket of some provider.
pub struct Bucket(Arc<Inner>);

pub(crate) struct Inner {
    /// For the log.
    name: String,
    place: String,
    objects: Arc<dyn Paged>,
    pub(crate) bounds: Bounds,
    /// Questions about objects; reading one is bounded by the number of clients.
    turns: Semaphore,
    waiting: AtomicUsize,
}

/// Bounds of time and number: see [`StoreSpec`].
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub request_timeout: Duration,
    pub read_timeout: Duration,
    pub max_retries: usize,
    pub max_requests: usize,
    pub denied: Denied,
}

/// How many may wait for their turn.
const QUEUE: usize = 1024;

impl Bounds {
    pub fn of(spec: &StoreSpec) -> Self {
        Self {
            request_timeout: spec.request_timeout,
            read_timeout: spec.read_timeout,
            max_retries: spec.max_retries,
            max_requests: spec.max_requests,
            denied: spec.denied,
        }
    }
}

impl Bucket {
    pub(crate) fn new(name: &str, place: String, objects: Arc<dyn Paged>, bounds: Bounds) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            place,
            objects,
            turns: Semaphore::new(bounds.max_requests),
            waiting: AtomicUsize::new(0),
            bounds,
        }))
    }
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bucket").field(&self.0.name).finish()
    }
}

impl Store for Bucket {
    fn place(&self) -> &str {
        &self.0.place
    }

    fn head<'a>(&'a self, key: &'a str) -> Asking<'a, Option<ObjectVersion>> {
        Box::pin(self.0.head(key))
    }

    fn read(&self, version: &ObjectVersion, range: Range<u64>) -> Asking<'static, ObjectStream> {
        let reader = Reader::new(Arc::clone(&self.0), version.clone(), range);
        Box::pin(reader.begin())
    }

    fn list<'a>(&'a self, prefix: &'a str, from: Option<String>, most: usize) -> Asking<'a, Page> {
        Box::pin(self.0.list(prefix, from, most))
    }
}

impl Inner {
    async fn head(&self, key: &str) -> Result<Option<ObjectVersion>, StoreError> {
        // No store has a key that no path can name.
        let Ok(path) = Path::parse(key) else { return Ok(None) };
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        let asking = async { self.objects.get_opts(&path, options).await };
        match self.ask("HEAD", key, asking).await {
            Ok(result) => Ok(Some(version(key, result))),
            Err(StoreError::NotThere) => Ok(None),
            Err(StoreError::Denied) if self.bounds.denied == Denied::Missing => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The bytes of a range of a version, for as long as the connection lasts.
    ///
    /// # Errors
    /// [`StoreError::Changed`] also when the store ignores what it is asked under.
    pub(crate) async fn get(&self, version: &ObjectVersion, range: Range<u64>) -> Result<GetResult, StoreError> {
        let Ok(path) = Path::parse(&version.key) else {
            return Err(StoreError::NotThere);
        };
        let strong = version.etag.as_ref().filter(|etag| !etag.starts_with("W/"));
        let options = GetOptions {
            if_match: strong.cloned(),
            // A version of its own needs a permission of its own on S3: only where nothing else holds reads together.
            version: version.version.clone().filter(|_| strong.is_none()),
            range: Some(GetRange::Bounded(range.clone())),
            ..GetOptions::default()
        };
        let asking = async { self.objects.get_opts(&path, options).await };
        let result = self.within("GET", &version.key, asking).await?;
        let ObjectMeta {
            size,
            e_tag,
            last_modified,
            ..
        } = &result.meta;
        let is_same = match &version.etag {
            Some(etag) => e_tag.as_ref() == Some(etag),
            None => SystemTime::from(*last_modified) == version.modified,
        };
        if !is_same || *size != version.length {
            return Err(StoreError::Changed);
        }
        if result.range != range {
            self.log("GET", &version.key, "another range came than was asked for");
            return Err(StoreError::Broken);
        }
        Ok(result)
    }

    async fn list(&self, prefix: &str, from: Option<String>, most: usize) -> Result<Page, StoreError> {
        let options = PaginatedListOptions {
            delimiter: Some("/".into()),
            max_keys: Some(most),
            page_token: from,
            ..PaginatedListOptions::default()
        };
        let of = Some(prefix).filter(|prefix| !prefix.is_empty());
        let asking = async { self.objects.list_paginated(of, options).await };
        let PaginatedListResult { result, page_token } = match self.ask("LIST", prefix, asking).await {
            Err(StoreError::NotThere) => {
                self.log("LIST", prefix, "there is no such bucket");
                return Err(StoreError::Broken);
            }
            Err(StoreError::Denied) if self.bounds.denied == Denied::Missing => return Ok(Page::default()),
            listed => listed?,
        };
        let name = |path: &Path| {
            let name = path.as_ref().strip_prefix(prefix)?;
            (!name.is_empty() && !name.contains('/')).then(|| name.to_owned())
        };
        let objects = result.objects.iter().filter_map(|meta| {
            Some(Listed {
                name: name(&meta.location)?,
                length: meta.size,
                modified: meta.last_modified.into(),
            })
        });
        Ok(Page {
            exists: page_token.is_some() || !result.objects.is_empty() || !result.common_prefixes.is_empty(),
            objects: objects.collect(),
            directories: result.common_prefixes.iter().filter_map(name).collect(),
            next: page_token,
        })
    }

    /// Asks when it is this question's turn.
    async fn ask<T>(
        &self,
        what: &str,
        key: &str,
        asking: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let waiting = Waiting::begin(&self.waiting);
        if waiting.before >= QUEUE {
            return Err(StoreError::Busy);
        }
        let turn = match timeout(self.bounds.request_timeout, self.turns.acquire()).await {
            Ok(Ok(turn)) => turn,
            // Nobody closes it; everybody before waited as long.
            Ok(Err(_)) | Err(_) => {
                self.log(what, key, "too many questions wait for the store");
                return Err(StoreError::Busy);
            }
        };
        drop(waiting);
        let answer = self.within(what, key, asking).await;
        drop(turn);
        answer
    }

    async fn within<T>(
        &self,
        what: &str,
        key: &str,
        asking: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, StoreError> {
        let limit = self.bounds.request_timeout;
        match timeout(limit, failure::watching(asking)).await {
            Ok((answer, status)) => answer.map_err(|error| self.sort(what, key, &error, status)),
            Err(_) => {
                self.log(what, key, &format!("no answer within {limit:?}"));
                Err(StoreError::Slow)
            }
        }
    }

    /// What a failure means, and a line in the log when it means something to the operator alone.
    pub(crate) fn sort(
        &self,
        what: &str,
        key: &str,
        error: &object_store::Error,
        status: Option<StatusCode>,
    ) -> StoreError {
        let sorted = failure::sort(error, status);
        let is_answer = match sorted {
            StoreError::NotThere | StoreError::Changed => true,
            // Who reads was told before that it is there.
            StoreError::Denied => self.bounds.denied == Denied::Missing && what != "GET",
            StoreError::Busy | StoreError::Slow | StoreError::Broken => false,
        };
        if !is_answer {
            self.log(what, key, &failure::reason(error));
        }
        sorted
    }

    pub(crate) fn log(&self, what: &str, key: &str, reason: &str) {
        tracing::warn!(store = self.name, key, reason, "{what} of a store failed");
    }
}

/// Counts those who wait.
struct Waiting<'a> {
    count: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        let before = count.fetch_add(1, Ordering::Relaxed);
        Self { count, before }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

fn version(key: &str, result: GetResult) -> ObjectVersion {
    let ObjectMeta {
        last_modified,
        size,
        e_tag,
        version,
        ..
    } = result.meta;
    let coding = result.attributes.get(&Attribute::ContentEncoding);
    ObjectVersion {
        key: key.to_owned(),
        length: size,
        modified: last_modified.into(),
        etag: e_tag,
        version,
        coding: coding.and_then(|coding| coding_of(coding)),
    }
}

/// The coding that an object's own Content-Encoding tells, where it is one that is known here. What clients of S3 added for
/// an upload (`aws-chunked`) is no coding of the object.
fn coding_of(value: &str) -> Option<&'static str> {
    let codings = value.split(',').map(str::trim);
    let mut codings = codings.filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked"));
    let coding = codings.next()?;
    let known = ["gzip", "br", "zstd", "deflate"];
    known
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(coding))
        .filter(|_| codings.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::coding_of;

    #[test]
    fn codings() {
        for (value, coding) in [
            ("gzip", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("aws-chunked", None),
            ("aws-chunked,br", Some("br")),
            ("br, aws-chunked", Some("br")),
            ("gzip, br", None),
            ("identity", None),
            ("", None),
        ] {
            assert_eq!(coding_of(value), coding, "{value:?}");
        }
    }
}
