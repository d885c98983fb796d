//! An answer's bytes on their way to hyper: one chunk at a time, so that memory does not grow with files or clients.

use super::activity::UnderWay;
use crate::observe::{Ending, Record};
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
    vec,
};
use tokio::time::{Instant, Sleep, sleep_until};
use wasmserve_files::{Content, Part, Stream};

/// The body of a response. Whatever becomes of it, the exchange ends with its drop.
pub struct Body {
    source: Source,
    /// The most bytes that are read at once.
    chunk: usize,
    pacer: Option<Pacer>,
    /// Bytes since the connection last let others run.
    turn: usize,
    record: Record,
    _under_way: UnderWay,
}

enum Source {
    Parts(Parts),
    Stream(Pin<Box<dyn Stream + Send>>),
    Ended,
}

/// Pieces whose length is known.
struct Parts {
    waiting: vec::IntoIter<Part>,
    /// What is left of the piece that is being sent.
    current: Option<Part>,
    reading: Option<Reading>,
    /// Bytes of all pieces that are left.
    left: u64,
}

type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

/// Spreads a body over time.
struct Pacer {
    bytes_per_second: u64,
    due: Pin<Box<Sleep>>,
}

/// After so many bytes in a row a connection lets others run, however fast its client is.
const TURN: usize = 1 << 20;

/// A paced body is sent in so many pieces a second.
const PACED_PIECES: u64 = 8;

// === impl Body ===

impl Body {
    /// `chunk`: the most bytes of a file that are in memory at once. `pace`: bytes a second.
    pub fn new(content: Content, chunk: usize, pace: Option<u64>, record: Record, under_way: UnderWay) -> Self {
        let source = match content {
            Content::Parts(parts) => Source::Parts(Parts::new(parts)),
            Content::Stream(stream) => Source::Stream(stream),
        };
        let pacer = pace.map(Pacer::new);
        let chunk = pacer.as_ref().map_or(chunk, |pacer| chunk.min(pacer.piece()));
        let mut body = Self {
            source,
            chunk,
            pacer,
            turn: 0,
            record,
            _under_way: under_way,
        };
        body.note_end();
        body
    }

    /// A body that is complete is so before hyper drops it, which it does without asking for the end.
    fn note_end(&mut self) {
        if matches!(&self.source, Source::Parts(parts) if parts.left == 0) {
            self.source = Source::Ended;
        }
        if matches!(self.source, Source::Ended) {
            self.record.ending = Ending::Completed;
        }
    }

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(pacer) = &mut self.pacer {
            ready!(pacer.due.as_mut().poll(context));
        }
        match &mut self.source {
            Source::Parts(parts) => parts.poll_chunk(self.chunk, context).map(Some),
            Source::Stream(stream) => stream.as_mut().poll_next(context),
            Source::Ended => Poll::Ready(None),
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        if self.turn >= TURN {
            self.turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Poll::Ready(chunk) = self.poll_chunk(context) else {
            self.turn = 0;
            return Poll::Pending;
        };
        match chunk {
            Some(Ok(bytes)) => {
                self.turn += bytes.len();
                self.record.bytes += bytes.len() as u64;
                if let Some(pacer) = &mut self.pacer {
                    pacer.spent(bytes.len());
                }
                self.note_end();
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => {
                tracing::warn!(path = self.record.path(), %error, "a response was broken off");
                self.source = Source::Ended;
                self.record.ending = Ending::Failed;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                self.source = Source::Ended;
                self.note_end();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.source, Source::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Parts(parts) => SizeHint::with_exact(parts.left),
            Source::Stream(_) => SizeHint::default(),
            Source::Ended => SizeHint::with_exact(0),
        }
    }
}

// === impl Parts ===

impl Parts {
    fn new(parts: Vec<Part>) -> Self {
        let left = parts.iter().map(length).sum();
        Self {
            waiting: parts.into_iter(),
            current: None,
            reading: None,
            left,
        }
    }

    /// The next bytes; never called when none are left. A file that is shorter than was promised is an error: the rest
    /// of the response is not made up.
    fn poll_chunk(&mut self, most: usize, context: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let bytes = ready!(reading.as_mut().poll(context))?;
                self.reading = None;
                return Poll::Ready(self.advance(bytes));
            }
            match self.current.take().or_else(|| self.waiting.next()) {
                Some(Part::Bytes(mut bytes)) => {
                    let piece = bytes.split_to(bytes.len().min(most));
                    self.left -= piece.len() as u64;
                    if !bytes.is_empty() {
                        self.current = Some(Part::Bytes(bytes));
                    }
                    if !piece.is_empty() {
                        return Poll::Ready(Ok(piece));
                    }
                }
                Some(Part::File(span)) if span.length == 0 => {}
                Some(Part::File(span)) => {
                    let wanted = usize::try_from(span.length).map_or(most, |length| length.min(most));
                    let (file, offset) = (span.file.clone(), span.offset);
                    self.reading = Some(Box::pin(async move { file.read_at(offset, wanted).await }));
                    self.current = Some(Part::File(span));
                }
                None => {
                    return Poll::Ready(Err(io::Error::other(
                        "the parts of a response are fewer than its length",
                    )));
                }
            }
        }
    }

    /// Takes note of bytes that were read from the current file.
    fn advance(&mut self, bytes: Bytes) -> io::Result<Bytes> {
        let read = bytes.len() as u64;
        match &mut self.current {
            Some(Part::File(span)) if read > 0 && read <= span.length => {
                span.offset += read;
                span.length -= read;
                self.left -= read;
                Ok(bytes)
            }
            _ => Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the file became shorter while it was sent",
            )),
        }
    }
}

fn length(part: &Part) -> u64 {
    match part {
        Part::Bytes(bytes) => bytes.len() as u64,
        Part::File(span) => span.length,
    }
}

// === impl Pacer ===

impl Pacer {
    fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            due: Box::pin(sleep_until(Instant::now())),
        }
    }

    /// Bytes to send at once.
    fn piece(&self) -> usize {
        usize::try_from(self.bytes_per_second / PACED_PIECES)
            .unwrap_or(usize::MAX)
            .max(1)
    }

    /// Sets when the next piece is due. A client that was slow does not catch up: the pace is a ceiling at all times.
    fn spent(&mut self, bytes: usize) {
        let from = self.due.deadline().max(Instant::now());
        let pause = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.due.as_mut().reset(from + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::activity::Activity;
    use http::{HeaderMap, Method, Request};
    use http_body_util::BodyExt;
    use std::path::Path;
    use wasmserve_files::{Files, FilesOptions, Lookup, SitePath, answer};

    /// A body with the content of `file.bin` in a folder.
    async fn body(folder: &Path, chunk: usize, pace: Option<u64>) -> Body {
        let files = Files::new(FilesOptions::new(folder)).expect("a root");
        let path = SitePath::from_decoded("/file.bin").expect("a path");
        let headers = HeaderMap::new();
        let targets = [path.clone()];
        let lookup = Lookup {
            path: &path,
            query: None,
            targets: &targets,
            place: None,
            missing: None,
            headers: &headers,
        };
        let answer = answer(&Method::GET, &headers, files.open(&lookup).await);
        let head = Request::get("/file.bin").body(()).expect("a request").into_parts().0;
        Body::new(
            answer.content,
            chunk,
            pace,
            Record::begin(&head, None),
            Activity::new().begin(),
        )
    }

    #[tokio::test]
    async fn a_file_comes_in_chunks_and_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let content: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        std::fs::write(folder.path().join("file.bin"), &content).expect("a file");
        let mut body = body(folder.path(), 64 * 1024, None).await;
        assert_eq!(body.size_hint().exact(), Some(800_000));
        let mut received = Vec::new();
        while let Some(frame) = body.frame().await {
            let chunk = frame.expect("a frame").into_data().expect("data");
            assert!(chunk.len() <= 64 * 1024);
            received.extend_from_slice(&chunk);
            assert_eq!(body.record.bytes, received.len() as u64);
        }
        assert_eq!(received, content);
        assert_eq!(body.record.ending, Ending::Completed);
    }

    #[tokio::test]
    async fn a_file_that_becomes_shorter_ends_the_body_with_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file.bin");
        std::fs::write(&file, vec![1; 500_000]).expect("a file");
        let mut body = body(folder.path(), 64 * 1024, None).await;
        body.frame().await.expect("a frame").expect("the first chunk");
        std::fs::write(&file, b"short").expect("a file");
        let rest = loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                other => break other,
            }
        };
        assert!(matches!(rest, Some(Err(_))));
        assert_eq!(body.record.ending, Ending::Failed);
        assert!(body.is_end_stream());
    }

    #[tokio::test]
    async fn a_body_that_is_dropped_early_was_aborted() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file.bin"), vec![1; 500_000]).expect("a file");
        let mut body = body(folder.path(), 64 * 1024, None).await;
        body.frame().await.expect("a frame").expect("the first chunk");
        assert_eq!((body.record.ending, body.record.bytes), (Ending::Aborted, 64 * 1024));
    }

    #[tokio::test]
    async fn bytes_in_memory_are_paced_too() {
        let head = Request::get("/").body(()).expect("a request").into_parts().0;
        let parts = [Bytes::from(vec![1; 10]), Bytes::new(), Bytes::from(vec![2; 5])].map(Part::Bytes);
        let content = Content::Parts(parts.into());
        let record = Record::begin(&head, None);
        let mut body = Body::new(content, 64 * 1024, Some(64), record, Activity::new().begin());
        let mut lengths = Vec::new();
        while let Some(frame) = body.frame().await {
            lengths.push(frame.expect("a frame").into_data().expect("data").len());
        }
        assert_eq!(lengths, [8, 2, 5]);
    }

    #[tokio::test]
    async fn a_pace_is_kept_from_the_first_byte_on() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file.bin"), vec![1; 50_000]).expect("a file");
        let mut body = body(folder.path(), 64 * 1024, Some(100_000)).await;
        let began = Instant::now();
        let mut received = 0;
        while let Some(frame) = body.frame().await {
            received += frame.expect("a frame").into_data().expect("data").len();
            // The piece that was just sent is paid for before the next one, so one piece is ahead.
            let due = Duration::from_secs_f64((received - 12_500) as f64 / 100_000.0);
            assert!(began.elapsed() >= due, "{received} bytes after {:?}", began.elapsed());
        }
        assert_eq!(received, 50_000);
    }
}
