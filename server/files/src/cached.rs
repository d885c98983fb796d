//! Stores with a cache on local disk in front of them: bytes come from there, all else from the store.
//!
//! What is kept is kept by the version that a read is held to. A version that the store does not tell from others (no
//! strong entity tag, no version id) is read from the store each time.
use crate::{
    Piece, Stream,
    store::{Asking, ObjectStream, ObjectVersion, Page, Store, StoreError, StoreSpec, Stores},
};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use std::{
    error::Error,
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use wasmserve_pieces::{self as pieces, Cache, Chunks, Failure, Fetching, Origin, Part, Reader, Span};

/// Opens stores whose objects are kept in one cache.
#[derive(Debug)]
pub struct CachedStores {
    stores: Arc<dyn Stores>,
    cache: Cache,
}

/// A store, and its part of the cache.
#[derive(Debug)]
struct Cached {
    store: Arc<dyn Store>,
    part: pieces::Store,
    cache: Cache,
}

/// One version of an object in its store.
struct Version {
    store: Arc<dyn Store>,
    version: ObjectVersion,
}

/// What is read of an object, piece by piece.
enum Reading {
    /// The first piece is there.
    First(Option<Part>, Reader),
    Next(BoxFuture<'static, (io::Result<Option<Part>>, Reader)>),
    Ended,
}

/// Pieces, or their bytes.
struct Pieces {
    reading: Reading,
    /// What is still to be read of a piece, for who wants its bytes.
    local: Option<(Span, Range<u64>)>,
    bytes: Option<BoxFuture<'static, io::Result<Bytes>>>,
}

/// Bytes of a piece that are read at once, for who wants them.
const CHUNK: u64 = 64 << 10;

// === impl CachedStores ===

impl CachedStores {
    pub fn new(stores: Arc<dyn Stores>, cache: Cache) -> Self {
        Self { stores, cache }
    }
}

impl Stores for CachedStores {
    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Store>, Box<dyn Error + Send + Sync>> {
        let store = self.stores.open(spec)?;
        Ok(Arc::new(Cached {
            part: pieces::Store::new(identity(spec, store.place()), pieces::FETCHES),
            store,
            cache: self.cache.clone(),
        }))
    }

    fn disk_cache(&self) -> Option<&Cache> {
        Some(&self.cache)
    }
}

/// What tells a store, and the right to read from it, from all others. How it is asked makes no difference, nor do new keys
/// from the same file: whether they may read an object is asked with each HEAD.
fn identity(spec: &StoreSpec, place: &str) -> String {
    let StoreSpec {
        bucket,
        endpoint,
        region,
        virtual_hosted_style,
        credentials,
        ..
    } = spec;
    format!(
        "{:?}",
        (bucket, endpoint, region, virtual_hosted_style, credentials, place)
    )
}

// === impl Cached ===

impl Cached {
    /// What the version is kept as; `None`: it cannot be told from others.
    fn object(&self, version: &ObjectVersion) -> Option<pieces::Object> {
        let etag = version.etag.as_ref().filter(|etag| !etag.starts_with("W/"));
        if etag.is_none() && version.version.is_none() {
            return None;
        }
        let told = format!("{:?}", (etag, &version.version));
        let origin = Version {
            store: Arc::clone(&self.store),
            version: version.clone(),
        };
        Some(self.part.object(&version.key, &told, version.length, Arc::new(origin)))
    }
}

impl Store for Cached {
    fn place(&self) -> &str {
        self.store.place()
    }

    fn head<'a>(&'a self, key: &'a str) -> Asking<'a, Option<ObjectVersion>> {
        self.store.head(key)
    }

    fn read(&self, version: &ObjectVersion, range: Range<u64>) -> Asking<'static, ObjectStream> {
        let Some(object) = self.object(version) else {
            return self.store.read(version, range);
        };
        let mut reader = self.cache.read(&object, range);
        Box::pin(async move {
            // A refusal of the store can become a status only before the head is sent.
            let first = reader.next().await.map_err(|error| meaning(&error))?;
            Ok(Box::pin(Pieces {
                reading: Reading::First(first, reader),
                local: None,
                bytes: None,
            }) as ObjectStream)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str, from: Option<String>, most: usize) -> Asking<'a, Page> {
        self.store.list(prefix, from, most)
    }
}

/// What an error of the cache means for who asked: it passes on what the store said.
fn meaning(error: &io::Error) -> StoreError {
    let inner = error.get_ref();
    let told = inner
        .and_then(|error| error.downcast_ref::<Failure>())
        .map_or(inner, |failure| failure.error().get_ref());
    match told.and_then(|error| error.downcast_ref::<StoreError>()) {
        Some(told) => *told,
        None if error.kind() == io::ErrorKind::TimedOut => StoreError::Slow,
        None => StoreError::Broken,
    }
}

// === impl Version ===

impl Origin for Version {
    fn fetch(&self, range: Range<u64>) -> Fetching {
        let asking = self.store.read(&self.version, range);
        Box::pin(async move {
            let body = asking.await?;
            let chunks = stream::unfold(body, |mut body| async move {
                let next = std::future::poll_fn(|context| body.as_mut().poll_next(context)).await;
                next.map(|chunk| (chunk, body))
            });
            Ok(Box::pin(chunks) as Chunks)
        })
    }
}

// === impl Pieces ===

impl Pieces {
    fn poll_part(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Part>>> {
        loop {
            match std::mem::replace(&mut self.reading, Reading::Ended) {
                Reading::Ended => return Poll::Ready(None),
                Reading::First(first, reader) => {
                    self.reading = next(reader);
                    if first.is_some() {
                        return Poll::Ready(first.map(Ok));
                    }
                }
                Reading::Next(mut reading) => match reading.as_mut().poll(context) {
                    Poll::Pending => {
                        self.reading = Reading::Next(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready((Ok(Some(part)), reader)) => {
                        self.reading = next(reader);
                        return Poll::Ready(Some(Ok(part)));
                    }
                    Poll::Ready((Ok(None), _)) => {}
                    Poll::Ready((Err(error), _)) => return Poll::Ready(Some(Err(meaning(&error).into()))),
                },
            }
        }
    }
}

/// Not begun before it is polled.
fn next(mut reader: Reader) -> Reading {
    Reading::Next(Box::pin(async move {
        let part = reader.next().await;
        (part, reader)
    }))
}

impl Stream for Pieces {
    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let this = self.get_mut();
        loop {
            if let Some(bytes) = &mut this.bytes {
                let read = ready!(bytes.as_mut().poll(context));
                this.bytes = None;
                return Poll::Ready(Some(read));
            }
            if let Some((span, left)) = &mut this.local
                && !left.is_empty()
            {
                let (span, offset, length) = (span.clone(), left.start, CHUNK.min(left.end - left.start));
                left.start += length;
                let length = usize::try_from(length).expect("a chunk fits in memory");
                this.bytes = Some(Box::pin(async move { span.read(offset, length).await }));
                continue;
            }
            match ready!(this.poll_part(context)) {
                Some(Ok(Part::Local(span))) => {
                    let bytes = span.offset()..span.offset() + span.length();
                    this.local = Some((span, bytes));
                }
                Some(Ok(Part::Bytes(bytes))) => return Poll::Ready(Some(Ok(bytes))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_piece(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Piece>>> {
        let part = ready!(self.get_mut().poll_part(context));
        Poll::Ready(part.map(|part| {
            part.map(|part| match part {
                Part::Local(span) => Piece::Local(span),
                Part::Bytes(bytes) => Piece::Bytes(bytes),
            })
        }))
    }
}
