//! An answer's content as the transport takes it, and what became of it for the record.

use super::{activity::UnderWay, cached};
use crate::{
    limits::Admitted,
    observe::{Ending, Record},
};
use bytes::Bytes;
use rustix::fd::{AsFd, BorrowedFd};
use std::{io, num::NonZeroU64, pin::Pin, sync::Arc, task::Context};
use wasmserve_files::{Content, FileSpan, OpenFile, Part, Parts, Stream};
use wasmserve_transport::{self as transport, Body, Delivery, Ended, Fault, Reading, Summary};

/// What a body's bytes wait for, and what is held until the last of them.
#[derive(Debug, Default)]
pub struct Sending {
    /// Bytes a second, by the policies' word.
    pub pace: Option<u64>,
    /// The site's part of the line, and its count of what is under way.
    pub admitted: Admitted,
}

/// Makes the body of a response. However that ends, the exchange and its record end with it.
pub fn body(delivery: &Delivery, content: Content, sending: Sending, record: Record, under_way: UnderWay) -> Body {
    let body = match content {
        Content::Parts(parts) => delivery.body(spans(parts)),
        Content::Stream(mut stream) => {
            let source = Box::new(move |context: &mut Context<'_>| stream.as_mut().poll_next(context));
            delivery.body([transport::Part::Stream(source)])
        }
    };
    let body = match sending.pace {
        Some(pace) => body.pace(NonZeroU64::new(pace).unwrap_or(NonZeroU64::MIN)),
        None => body,
    };
    let body = match sending.admitted.turn() {
        Some(turn) => body.allowed_by(turn),
        None => body,
    };
    body.on_end(move |end| {
        note_end(record, end);
        drop((under_way, sending.admitted));
    })
}

fn note_end(mut record: Record, end: Summary) {
    record.bytes = end.sent;
    record.ending = match end.ended {
        Ended::Completed => Ending::Completed,
        // Of a client that is too slow the connection tells.
        Ended::Aborted => Ending::Aborted,
        Ended::Failed(Fault::Stalled) => {
            record.abort = Some("stalled");
            Ending::Aborted
        }
        Ended::Failed(fault) => {
            tracing::warn!(path = record.path(), error = %fault, "a response was broken off");
            record.abort = Some(word(fault));
            Ending::Failed
        }
    };
}

/// In the access log.
fn word(fault: Fault) -> &'static str {
    match fault {
        Fault::Stalled => "stalled",
        Fault::Changed | Fault::Shrunk | Fault::Source(io::ErrorKind::StaleNetworkFileHandle) => "file-changed",
        Fault::Unreadable(_) | Fault::Source(_) => "file-unreadable",
        // Those of the transport with itself.
        _ => "internal",
    }
}

/// Parts as the transport has them. Ranges of one file share what stands for it.
fn spans(parts: Parts) -> impl Iterator<Item = transport::Part> {
    let mut last: Option<Arc<Version>> = None;
    parts.into_iter().map(move |part| match part {
        Part::Bytes(bytes) => transport::Part::Bytes(bytes),
        Part::Object(mut span) => transport::Part::Pieces {
            length: span.length(),
            source: Box::new(move |context: &mut Context<'_>| {
                let piece = Pin::new(&mut span).poll_piece(context);
                piece.map(|piece| piece.map(|piece| piece.map(cached::part)))
            }),
        },
        Part::File(span) => match in_memory(&span) {
            Some(bytes) => transport::Part::Bytes(bytes),
            None => {
                let file = match last.take() {
                    Some(last) if Arc::ptr_eq(&last.0, &span.file) => last,
                    _ => Arc::new(Version(span.file)),
                };
                last = Some(file.clone());
                transport::Part::Span {
                    file,
                    offset: span.offset,
                    length: span.length,
                }
            }
        },
    })
}

/// The bytes of a span, when the file is held in memory: fewer, which ends the connection, if it does not have them all.
fn in_memory(span: &FileSpan) -> Option<Bytes> {
    let content = span.file.in_memory()?;
    let within = |at: u64| usize::try_from(at).map_or(content.len(), |at| at.min(content.len()));
    Some(content.slice(within(span.offset)..within(span.offset.saturating_add(span.length))))
}

/// An open file in the transport's hands.
struct Version(Arc<OpenFile>);

impl AsFd for Version {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl transport::File for Version {
    fn unchanged(&self) -> io::Result<()> {
        self.0.unchanged()
    }

    fn is_lendable(&self) -> bool {
        self.0.tells_what_is_cached()
    }

    fn is_cached(&self, offset: u64, length: u64) -> bool {
        self.0.is_cached(offset, length)
    }

    fn load(self: Arc<Self>, offset: u64, length: usize) -> Reading<()> {
        Box::pin(async move { self.0.load(offset, length).await })
    }

    fn read(self: Arc<Self>, offset: u64, length: usize) -> Reading<Bytes> {
        Box::pin(async move { self.0.read_at(offset, length).await })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{net::activity::Activity, request::Scheme};
    use http::{HeaderMap, Method, Version};
    use http_body_util::BodyExt;
    use std::path::Path;
    use wasmserve_files::{Files, FilesOptions, Lookup, SitePath, answer};

    /// A body with the content of `file.bin` in a folder.
    async fn body_of(folder: &Path) -> Body {
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
        let under_way = Activity::new().begin();
        let record = Record::begin(Version::HTTP_11, None, Scheme::Http, None, under_way.since);
        let delivery = Delivery::copies(64 * 1024);
        body(&delivery, answer.content, Sending::default(), record, under_way)
    }

    #[tokio::test]
    async fn files_of_all_sizes_come_whole() {
        for count in [0, 1, 4000, 4096, 5000, 200_000_u32] {
            let folder = tempfile::tempdir().expect("a folder");
            let content: Vec<u8> = (0..count).flat_map(u32::to_le_bytes).collect();
            std::fs::write(folder.path().join("file.bin"), &content).expect("a file");
            let received = body_of(folder.path()).await.collect().await.expect("all of it");
            assert_eq!(received.to_bytes(), content);
        }
    }

    #[tokio::test]
    async fn a_file_that_becomes_shorter_ends_the_body_with_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file.bin");
        std::fs::write(&file, vec![1; 500_000]).expect("a file");
        let mut body = body_of(folder.path()).await;
        body.frame().await.expect("a frame").expect("the first chunk");
        std::fs::write(&file, b"short").expect("a file");
        assert!(body.collect().await.is_err());
    }
}
