//! However fast the client, a connection gives way to others.
mod support;

use hyper::{Response, rt::Write, server::conn::http1, service::service_fn};
use std::{
    convert::Infallible,
    future::{Future, ready},
    io::{self, IoSlice, Read as _},
    net::TcpListener,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
};
use support::*;
use tokio::net::TcpStream;
use wasmserve_transport::{Connection, accept};

/// Counts what is written.
struct Counting(Connection, Arc<AtomicUsize>);

impl hyper::rt::Read for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        target: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, target)
    }
}

impl Write for Counting {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.0).poll_write_vectored(context, buffers);
        if let Poll::Ready(Ok(count)) = &written {
            self.1.fetch_add(*count, SeqCst);
        }
        written
    }
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[tokio::test]
async fn one_turn_writes_a_bounded_number_of_bytes() {
    let fixture = Fixture::random(64 << 20, 50);
    let total = fixture.content.len();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let client = std::thread::spawn(move || {
        let mut socket = std::net::TcpStream::connect(address).unwrap();
        io::Write::write_all(
            &mut socket,
            b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n",
        )
        .unwrap();
        let mut all = 0;
        let mut piece = vec![0; 1 << 20];
        while let Ok(count @ 1..) = socket.read(&mut piece) {
            all += count;
        }
        all
    });
    let (socket, _) = listener.accept().unwrap();
    socket.set_nonblocking(true).unwrap();
    // Room for more than a turn, so that the socket is not what ends it. Only root may have as much.
    let roomy = rustix::net::sockopt::set_socket_send_buffer_size_force(&socket, 32 << 20).is_ok();
    let (io, delivery) = accept(TcpStream::from_std(socket).unwrap(), spans());
    let written = Arc::new(AtomicUsize::new(0));
    let io = Counting(io, written.clone());
    let service = service_fn(move |_| ready(Ok::<_, Infallible>(Response::new(delivery.body([fixture.whole()])))));
    let most = tokio::spawn(async move {
        let mut connection = pin!(http1::Builder::new().serve_connection(io, service));
        let mut most = 0;
        std::future::poll_fn(move |context| {
            let before = written.load(SeqCst);
            let polled = connection.as_mut().poll(context);
            most = most.max(written.load(SeqCst) - before);
            polled.map(|result| result.map(|()| most))
        })
        .await
    });
    let most = within(most).await.unwrap().unwrap();
    assert!(client.join().unwrap() > total);
    // A turn is 2 MiB. It may begin its last write with almost nothing written.
    assert!(most <= 4 << 20, "{most} bytes in one turn");
    assert!(!roomy || most >= 2 << 20, "{most}: the test does not reach the bound");
}
