//! Files with known content, a hyper server over loopback, and clients that look at raw bytes.
#![allow(dead_code, reason = "every test file uses its own part of this")]
mod plain;

use bytes::Bytes;
use hyper::{
    Request, Response,
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::TokioExecutor;
pub use plain::Plain;
use std::{
    convert::Infallible,
    future::Future,
    io::{self, IoSlice, Write as _},
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};
use wasmserve_transport::{Body, Connection, Delivery, Options, Part, Sendfile, Summary, accept};

/// Small, repeatable random numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    /// In `0..end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(length)
            .collect()
    }
}

/// Spans for clients of this machine too, as all clients of these tests are.
pub fn spans() -> Options {
    Options {
        sendfile: Sendfile::Always,
        ..Options::default()
    }
}

/// A file and what is in it.
#[derive(Clone)]
pub struct Fixture {
    pub file: Arc<Plain>,
    pub content: Arc<Vec<u8>>,
}

impl Fixture {
    pub fn random(length: usize, seed: u64) -> Self {
        let content = Random::new(seed).bytes(length);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&content).unwrap();
        Self {
            file: Arc::new(Plain::new(file).unwrap()),
            content: Arc::new(content),
        }
    }
    pub fn span(&self, offset: u64, length: u64) -> Part {
        Part::Span {
            file: self.file.clone(),
            offset,
            length,
        }
    }
    pub fn whole(&self) -> Part {
        self.span(0, self.content.len() as u64)
    }
}

/// A stream part that gives `pieces`, pending once before each.
pub fn stream(pieces: Vec<Bytes>) -> Part {
    let mut pieces = pieces.into_iter();
    let mut ready = false;
    Part::Stream(Box::new(move |context| {
        ready = !ready;
        if ready {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(pieces.next().map(Ok))
    }))
}

/// What stands between hyper and the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Direct,
    /// `http1::Builder::pipeline_flush(true)`: hyper flattens bodies into its head buffer.
    PipelineFlush,
    /// A wrapper without vectored writes: hyper flattens.
    NotVectored,
    /// A wrapper that copies the buffers of a write into one and writes that.
    Gathering,
    /// A wrapper that says it is vectored and passes on the first buffer only, as hyper's default method does.
    FirstOnly,
    /// A wrapper that takes everything and writes it later, from flush.
    WriteBehind,
    /// A wrapper that passes on what it can and keeps a copy of the rest.
    KeepsRest,
    /// A wrapper that changes every byte, as TLS does.
    Scrambling,
    /// hyper's HTTP/2 over the connection, with the span delivery by mistake.
    Http2,
}

pub struct Wrapper {
    io: Connection,
    how: How,
    kept: Vec<u8>,
}

pub const SCRAMBLE: u8 = 0x55;

impl Wrapper {
    fn poll_kept(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.kept.is_empty() {
            let written = ready!(Pin::new(&mut self.io).poll_write(context, &self.kept))?;
            self.kept.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl Read for Wrapper {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, target)
    }
}

impl Write for Wrapper {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let all = || buffers.iter().flat_map(|buffer| buffer.iter().copied());
        match this.how {
            How::Direct | How::PipelineFlush | How::NotVectored | How::Http2 => {
                Pin::new(&mut this.io).poll_write_vectored(context, buffers)
            }
            How::Gathering => Pin::new(&mut this.io).poll_write(context, &all().collect::<Vec<_>>()),
            How::FirstOnly => {
                let first = buffers
                    .iter()
                    .find(|buffer| !buffer.is_empty())
                    .map_or(&[][..], |buffer| buffer);
                Pin::new(&mut this.io).poll_write(context, first)
            }
            How::WriteBehind => {
                this.kept.extend(all());
                Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()))
            }
            How::KeepsRest => {
                ready!(this.poll_kept(context))?;
                let written = match Pin::new(&mut this.io).poll_write_vectored(context, buffers) {
                    Poll::Ready(written) => written?,
                    Poll::Pending => 0,
                };
                this.kept.extend(all().skip(written));
                Poll::Ready(Ok(buffers.iter().map(|buffer| buffer.len()).sum()))
            }
            How::Scrambling => {
                let scrambled: Vec<u8> = all().map(|byte| byte ^ SCRAMBLE).collect();
                Pin::new(&mut this.io).poll_write(context, &scrambled)
            }
        }
    }
    fn is_write_vectored(&self) -> bool {
        self.how != How::NotVectored
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_kept(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_kept(context))?;
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    /// How bodies ended, in the order in which they did.
    pub ends: UnboundedReceiver<Summary>,
    /// Connections whose task is over.
    pub closed: Arc<AtomicUsize>,
    /// How hyper's connections ended: the text of their errors.
    pub errors: UnboundedReceiver<String>,
}

impl Server {
    pub async fn next_end(&mut self) -> Summary {
        within(self.ends.recv()).await.expect("the server runs")
    }
    pub async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
    pub async fn wait_closed(&self, count: usize) {
        within(async {
            while self.closed.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }
}

/// What answers requests.
pub trait Handler: Fn(&Request<Incoming>, &Delivery) -> Response<Body> + Clone + Send + Sync + 'static {}
impl<F: Fn(&Request<Incoming>, &Delivery) -> Response<Body> + Clone + Send + Sync + 'static> Handler for F {}

pub async fn serve(how: How, options: Options, handler: impl Handler) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (end_sender, ends) = unbounded_channel();
    let (error_sender, errors) = unbounded_channel();
    let closed = Arc::new(AtomicUsize::new(0));
    let counter = closed.clone();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let (handler, ends, errors, counter) = (
                handler.clone(),
                end_sender.clone(),
                error_sender.clone(),
                counter.clone(),
            );
            tokio::spawn(async move {
                if let Err(error) = serve_one(socket, how, options, handler, ends).await {
                    let _ = errors.send(error);
                }
                counter.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    Server {
        address,
        ends,
        closed,
        errors,
    }
}

async fn serve_one(
    socket: TcpStream,
    how: How,
    options: Options,
    handler: impl Handler,
    ends: UnboundedSender<Summary>,
) -> Result<(), String> {
    socket.set_nodelay(true).unwrap();
    let (io, delivery) = accept(socket, options);
    let service = service_fn(move |request| {
        let ends = ends.clone();
        let response = handler(&request, &delivery).map(|body| {
            body.on_end(move |end| {
                let _ = ends.send(end);
            })
        });
        async move { Ok::<_, Infallible>(response) }
    });
    let io = Wrapper {
        io,
        how,
        kept: Vec::new(),
    };
    let result = match how {
        How::Http2 => {
            http2::Builder::new(TokioExecutor::new())
                .serve_connection(io, service)
                .await
        }
        _ => {
            http1::Builder::new()
                .pipeline_flush(how == How::PipelineFlush)
                .serve_connection(io, service)
                .await
        }
    };
    result.map_err(|error| {
        let cause = std::error::Error::source(&error)
            .map(|cause| format!(": {cause}"))
            .unwrap_or_default();
        format!("{error}{cause}")
    })
}

/// Fails a test that hangs. Generous: it never decides what is right.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("this should have been over long ago")
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").into_bytes()
}

/// A response head: its text, and Content-Length.
#[derive(Debug)]
pub struct Head {
    pub text: String,
    pub length: Option<usize>,
}

/// Reads a head byte by byte, so that nothing after it is taken.
pub async fn read_head(socket: &mut TcpStream) -> io::Result<Head> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(socket.read_u8().await?);
    }
    let text = String::from_utf8(text).unwrap().to_lowercase();
    let length = text
        .split("\r\n")
        .find_map(|line| line.strip_prefix("content-length: "))
        .map(|n| n.parse().unwrap());
    Ok(Head { text, length })
}

/// Sends a GET and reads the answer, which has a Content-Length.
pub async fn fetch(socket: &mut TcpStream, path: &str) -> io::Result<Vec<u8>> {
    socket.write_all(&get(path)).await?;
    read_answer(socket).await
}

pub async fn read_answer(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let head = read_head(socket).await?;
    let mut body = vec![0; head.length.expect("a Content-Length")];
    socket.read_exact(&mut body).await?;
    Ok(body)
}

/// Everything until the connection ends, in whatever way.
pub async fn drain(socket: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    while let Ok(count @ 1..) = socket.read(&mut piece).await {
        all.extend_from_slice(&piece[..count]);
    }
    all
}

/// Panics at the first difference, without printing megabytes.
#[track_caller]
pub fn assert_same(got: &[u8], wanted: &[u8]) {
    assert_prefix(got, wanted);
    assert_eq!(
        got.len(),
        wanted.len(),
        "all that came is right, but it has another length"
    );
}

/// What came is right as far as it goes.
#[track_caller]
pub fn assert_prefix(got: &[u8], wanted: &[u8]) {
    if let Some(at) = got.iter().zip(wanted).position(|(a, b)| a != b) {
        panic!(
            "wrong byte at {at} of {}: {:?}",
            wanted.len(),
            String::from_utf8_lossy(&got[at..got.len().min(at + 64)])
        );
    }
    assert!(
        got.len() <= wanted.len(),
        "{} bytes beyond the end",
        got.len() - wanted.len()
    );
}
