//! Compression while sending, where the operator asked for it ([`Compression`] says why not to): texts that have no
//! sibling in a coding that the client accepts.
//!
//! What is compressed is a transformation of the whole representation: its entity tag becomes weak and there are no
//! ranges of it. A range, asked for with the strong tag, is one of the file's own bytes.
use crate::{
    Answer, Coding, Compression, Content, FileSpan, Part, Stream, content::Reading, preferences, store::ObjectSpan,
};
use async_compression::{
    Level,
    tokio::bufread::{BrotliEncoder, GzipEncoder, ZstdEncoder},
};
use bytes::{Buf, Bytes};
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT_RANGES, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, VARY},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncBufRead, AsyncRead, ReadBuf};

/// Read from the file at a time, and given on at a time.
const CHUNK: usize = 32 << 10;

const CODINGS: [Coding; 3] = [Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// Whether a file of this type may be sent compressed, so that Accept-Encoding matters to every answer about it.
pub(crate) fn applies(compression: Option<&Compression>, length: u64, content_type: &HeaderValue) -> bool {
    compression.is_some_and(|compression| {
        (compression.shortest..=compression.longest).contains(&length) && is_compressible(content_type)
    })
}

/// Text, and the few other types that compress.
fn is_compressible(content_type: &HeaderValue) -> bool {
    const OTHERS: [&str; 9] = [
        "application/javascript",
        "application/json",
        "application/manifest+json",
        "application/rss+xml",
        "application/wasm",
        "application/xhtml+xml",
        "application/xml",
        "image/bmp",
        "image/svg+xml",
    ];
    let essence = content_type
        .to_str()
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default()
        .trim();
    essence.starts_with("text/") || essence.ends_with("+json") || essence.ends_with("+xml") || OTHERS.contains(&essence)
}

/// Compresses what an answer sends, if that is a whole file that may be and the client accepts it.
pub(crate) fn compress(compression: &Compression, request: &HeaderMap, mut answer: Answer) -> Answer {
    let wanted = preferences(request, &CODINGS)
        .as_slice()
        .first()
        .copied()
        .unwrap_or(Coding::Identity);
    if wanted == Coding::Identity || !answer.headers.contains_key(VARY) || answer.headers.contains_key(CONTENT_ENCODING)
    {
        return answer;
    }
    if answer.status == StatusCode::NOT_MODIFIED {
        // It may stand for what was sent compressed: to make the tag of that strong would let ranges of the file be
        // added to it.
        weaken(&mut answer.headers);
        return answer;
    }
    let Some(length) = whole(&answer) else { return answer };
    let content_type = answer.headers.get(http::header::CONTENT_TYPE);
    if answer.status != StatusCode::OK || !content_type.is_some_and(|of| applies(Some(compression), length, of)) {
        return answer;
    }
    answer.content = match answer.content {
        Content::Parts(parts) => match parts.into_iter().next().and_then(State::of) {
            Some(source) => Content::Stream(Box::pin(Encoded(encoder(wanted, source)))),
            None => Content::NONE,
        },
        stream => stream,
    };
    answer
        .headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static(wanted.token()));
    answer.headers.remove(CONTENT_LENGTH);
    answer.headers.remove(ACCEPT_RANGES);
    weaken(&mut answer.headers);
    answer
}

/// The length of what is sent, when that is all of one file or object.
fn whole(answer: &Answer) -> Option<u64> {
    match &answer.content {
        Content::Parts(parts) => match &**parts {
            [part @ (Part::File(_) | Part::Object(_))] if part.is_whole() => Some(part.length()),
            _ => None,
        },
        Content::Stream(_) => None,
    }
}

fn weaken(headers: &mut HeaderMap) {
    if let Some(tag) = headers.get(ETAG)
        && !tag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        headers.insert(ETAG, weak);
    }
}

/// For a stream that is read once the fastest levels are the right ones: the next few per cent cost several times the CPU.
fn encoder(coding: Coding, state: State) -> Pin<Box<dyn AsyncRead + Send>> {
    let source = Source {
        state,
        chunk: Bytes::new(),
    };
    match coding {
        Coding::Brotli => Box::pin(BrotliEncoder::with_quality(source, Level::Precise(4))),
        Coding::Zstd => Box::pin(ZstdEncoder::with_quality(source, Level::Default)),
        Coding::Gzip | Coding::Identity => Box::pin(GzipEncoder::with_quality(source, Level::Fastest)),
    }
}

/// What an encoder gives, in chunks.
struct Encoded(Pin<Box<dyn AsyncRead + Send>>);

impl Stream for Encoded {
    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let mut chunk = vec![0; CHUNK];
        let mut buffer = ReadBuf::new(&mut chunk);
        if let Err(error) = ready!(self.0.as_mut().poll_read(context, &mut buffer)) {
            return Poll::Ready(Some(Err(error)));
        }
        let length = buffer.filled().len();
        chunk.truncate(length);
        Poll::Ready((length > 0).then(|| Ok(chunk.into())))
    }
}

/// A file or an object as encoders read.
struct Source {
    state: State,
    chunk: Bytes,
}

enum State {
    Idle(FileSpan),
    Reading(Reading<(Option<Bytes>, FileSpan)>),
    Object(ObjectSpan),
    Ended,
}

impl State {
    fn of(part: Part) -> Option<Self> {
        match part {
            Part::File(span) => Some(Self::Idle(span)),
            Part::Object(span) => Some(Self::Object(span)),
            Part::Bytes(_) => None,
        }
    }
}

impl AsyncBufRead for Source {
    fn poll_fill_buf(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let this = self.get_mut();
        while this.chunk.is_empty() {
            match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => break,
                State::Object(mut span) => {
                    let next = Pin::new(&mut span).poll_next(context);
                    if next.is_pending() {
                        this.state = State::Object(span);
                        return Poll::Pending;
                    }
                    if let Some(chunk) = ready!(next).transpose()? {
                        this.chunk = chunk;
                        this.state = State::Object(span);
                    }
                }
                State::Idle(mut span) => {
                    this.state = State::Reading(Box::pin(async move {
                        let chunk = span.read_next(CHUNK).await?;
                        Ok((chunk, span))
                    }));
                }
                State::Reading(mut reading) => match reading.as_mut().poll(context) {
                    Poll::Pending => {
                        this.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready(read) => {
                        if let (Some(chunk), span) = read? {
                            this.chunk = chunk;
                            this.state = State::Idle(span);
                        }
                    }
                },
            }
        }
        Poll::Ready(Ok(&this.chunk))
    }

    fn consume(self: Pin<&mut Self>, amount: usize) {
        self.get_mut().chunk.advance(amount);
    }
}

impl AsyncRead for Source {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let available = ready!(self.as_mut().poll_fill_buf(context))?;
        let length = available.len().min(buffer.remaining());
        buffer.put_slice(&available[..length]);
        self.consume(length);
        Poll::Ready(Ok(()))
    }
}
