//! Reading a range: a stream that goes on where the store broke it off, and never gives a byte twice or of another version.
use crate::{bucket::Inner, failure};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use std::{
    io,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{sleep, timeout};
use wasmserve_files::{ObjectVersion, StoreError, Stream, store::ObjectStream};

/// So much without a failure, and as many are tolerated again as at the beginning: a long download outlives more of them
/// than a short one, and one that does not get on ends.
const PROGRESS: u64 = 1 << 20;

/// How long to wait before the first further try; then twice as long each time.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type Body = stream::BoxStream<'static, object_store::Result<Bytes>>;

/// A range that is being read.
pub(crate) struct Reader {
    bucket: Arc<Inner>,
    version: ObjectVersion,
    /// What is still to come.
    range: Range<u64>,
    /// Failures since there was progress, and how far it was when it was last noted.
    failures: usize,
    noted: u64,
}

impl Reader {
    pub(crate) fn new(bucket: Arc<Inner>, version: ObjectVersion, range: Range<u64>) -> Self {
        Self {
            bucket,
            version,
            noted: range.start,
            range,
            failures: 0,
        }
    }

    /// The stream, once the store promised its bytes.
    pub(crate) async fn begin(self) -> Result<ObjectStream, StoreError> {
        if self.range.is_empty() || self.range.end > self.version.length {
            return Err(StoreError::Broken);
        }
        let body = self.ask().await?;
        let chunks = stream::try_unfold((self, body), |(mut reader, mut body)| async move {
            let chunk = reader.next(&mut body).await?;
            Ok(chunk.map(|chunk| (chunk, (reader, body))))
        });
        Ok(Box::pin(Chunks(chunks.boxed())))
    }

    async fn ask(&self) -> Result<Body, StoreError> {
        Ok(self.bucket.get(&self.version, self.range.clone()).await?.into_stream())
    }

    /// The next bytes; `None` when all were given.
    async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, io::Error> {
        while !self.range.is_empty() {
            match self.piece(body).await {
                Ok(bytes) if bytes.is_empty() => {}
                Ok(bytes) => {
                    self.range.start += bytes.len() as u64;
                    if self.range.start - self.noted >= PROGRESS {
                        (self.failures, self.noted) = (0, self.range.start);
                    }
                    return Ok(Some(bytes));
                }
                Err(error) => *body = self.go_on(error).await?,
            }
        }
        Ok(None)
    }

    /// A piece of the body in hand.
    async fn piece(&self, body: &mut Body) -> Result<Bytes, StoreError> {
        let key = &self.version.key;
        let limit = self.bucket.bounds.read_timeout;
        let (piece, status) = match timeout(limit, failure::watching(body.next())).await {
            Ok(came) => came,
            Err(_) => {
                self.bucket.log("GET", key, &format!("nothing came for {limit:?}"));
                return Err(StoreError::Slow);
            }
        };
        let bytes = match piece {
            None => {
                self.bucket.log("GET", key, "fewer bytes came than were promised");
                return Err(StoreError::Broken);
            }
            Some(piece) => piece.map_err(|error| self.bucket.sort("GET", key, &error, status))?,
        };
        if bytes.len() as u64 > self.range.end - self.range.start {
            self.bucket.log("GET", key, "more bytes came than were promised");
            return Err(StoreError::Broken);
        }
        Ok(bytes)
    }

    /// Asks for what is still to come of the same version, until tries run out.
    async fn go_on(&mut self, mut error: StoreError) -> Result<Body, StoreError> {
        loop {
            let is_over = matches!(error, StoreError::Changed | StoreError::NotThere);
            if is_over || self.failures >= self.bucket.bounds.max_retries {
                return Err(error);
            }
            let pause = PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
            self.failures += 1;
            sleep(pause).await;
            match self.ask().await {
                Ok(body) => return Ok(body),
                Err(again) => error = again,
            }
        }
    }
}

struct Chunks(stream::BoxStream<'static, io::Result<Bytes>>);

impl Stream for Chunks {
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.0.poll_next_unpin(context)
    }
}
