//! Serves one file for every path, to measure this crate apart from everything else a file server does.
//!
//!     cargo run --release --example serve_one -- FILE ADDRESS [THREADS]
//!
//! A file of at most 16 KiB is answered from memory, as a cache of small files would; a larger one with a span.
#[path = "../tests/support/plain.rs"]
mod plain;

use bytes::Bytes;
use hyper::{Response, header::HeaderValue, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioTimer;
use plain::Plain;
use std::{convert::Infallible, error::Error, future::ready, sync::Arc, time::Duration};
use tokio::net::{TcpListener, TcpStream};
use wasmserve_transport::{Delivery, Options, Part, Sendfile, accept};

struct Served {
    file: Arc<Plain>,
    length: u64,
    content: Option<Bytes>,
}

impl Served {
    fn open(path: &str) -> std::io::Result<Self> {
        let file = Plain::new(std::fs::File::open(path)?)?;
        let length = file.file.metadata()?.len();
        let content = if length <= 16 * 1024 {
            Some(std::fs::read(path)?.into())
        } else {
            None
        };
        Ok(Self {
            file: Arc::new(file),
            length,
            content,
        })
    }

    fn part(&self) -> Part {
        match &self.content {
            Some(content) => Part::Bytes(content.clone()),
            None => Part::Span {
                file: self.file.clone(),
                offset: 0,
                length: self.length,
            },
        }
    }
}

async fn connection(socket: TcpStream, served: Arc<Served>) -> Result<(), Box<dyn Error + Send + Sync>> {
    socket.set_nodelay(true)?;
    let options = Options {
        stall: Some(Duration::from_secs(30)),
        // Measurements go over loopback.
        sendfile: Sendfile::Always,
        ..Options::default()
    };
    let (io, delivery) = accept(socket, options);
    let service = service_fn(move |_| ready(Ok::<_, Infallible>(answer(&served, &delivery))));
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10));
    Ok(builder.serve_connection(io, service).await?)
}

fn answer(served: &Served, delivery: &Delivery) -> Response<wasmserve_transport::Body> {
    let mut response = Response::new(delivery.body([served.part()]));
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/octet-stream"));
    headers.insert(
        "last-modified",
        HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT"),
    );
    headers.insert("etag", HeaderValue::from_static("\"6a1b2c3d-400\""));
    headers.insert("accept-ranges", HeaderValue::from_static("bytes"));
    response
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(address)) = (arguments.next(), arguments.next()) else {
        return Err("usage: serve_one FILE ADDRESS [THREADS]".into());
    };
    let threads = arguments.next().map_or(Ok(2), |threads| threads.parse())?;
    let served = Arc::new(Served::open(&path)?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(address).await?;
        println!("{}", listener.local_addr()?);
        loop {
            match listener.accept().await {
                Ok((socket, _)) => {
                    let served = served.clone();
                    tokio::spawn(async move {
                        // A client that leaves is an error here; nothing is to be done about it.
                        let _ = connection(socket, served).await;
                    });
                }
                Err(error) => {
                    eprintln!("accept: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}
