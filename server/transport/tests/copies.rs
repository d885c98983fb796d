//! Connections that take real bytes: HTTP/2, a stand-in for TLS, and connections that this crate knows nothing of.
mod support;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{
    Request, Response,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::{convert::Infallible, num::NonZeroU64, sync::Arc, time::Duration};
use support::*;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use wasmserve_transport::{Body, Delivery, Ended, Fault, Options, Part, Summary, guard};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// Serves one connection that is guarded and takes copies.
async fn serve_copies(
    protocol: Protocol,
    options: Options,
    handler: impl Fn(&Delivery) -> Body + Clone + Send + Sync + 'static,
) -> (TcpStream, UnboundedReceiver<Summary>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (socket, _) = listener.accept().await.unwrap();
    let (sender, ends) = unbounded_channel();
    let (io, delivery) = guard(TokioIo::new(socket), options);
    let service = service_fn(move |_| {
        let sender = sender.clone();
        let body = handler(&delivery).on_end(move |end| {
            let _ = sender.send(end);
        });
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    tokio::spawn(async move {
        match protocol {
            Protocol::Http1 => drop(http1::Builder::new().serve_connection(io, service).await),
            Protocol::Http2 => drop(
                http2::Builder::new(TokioExecutor::new())
                    .serve_connection(io, service)
                    .await,
            ),
        }
    });
    (client, ends)
}

const LENGTH: usize = 3_000_000;

#[tokio::test]
async fn http1_copies_arrive() {
    let fixture = Fixture::random(LENGTH, 40);
    let file = fixture.clone();
    let (mut client, mut ends) = serve_copies(Protocol::Http1, Options::default(), move |delivery| {
        delivery.body([
            Part::Bytes(Bytes::from_static(b"head")),
            file.whole(),
            file.span(7, 100),
            file.span(9, 70_000),
        ])
    })
    .await;
    let wanted = [
        b"head",
        &fixture.content[..],
        &fixture.content[7..107],
        &fixture.content[9..70_009],
    ]
    .concat();
    for _ in 0..3 {
        assert_same(&within(fetch(&mut client, "/")).await.unwrap(), &wanted);
        assert_eq!(
            ends.recv().await,
            Some(Summary {
                sent: wanted.len() as u64,
                ended: Ended::Completed
            })
        );
    }
}

#[tokio::test]
async fn http2_copies_arrive_on_many_streams_at_once() {
    let fixture = Fixture::random(LENGTH, 41);
    let file = fixture.clone();
    let options = Options {
        chunk_size: 30_000,
        ..Options::default()
    };
    let (client, mut ends) = serve_copies(Protocol::Http2, options, move |delivery| {
        delivery.body([file.whole(), stream(vec![Bytes::from_static(b"tail")])])
    })
    .await;
    let (sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
        .await
        .unwrap();
    tokio::spawn(connection);
    let wanted = Arc::new([&fixture.content[..], b"tail"].concat());
    let streams: Vec<_> = (0..8)
        .map(|_| {
            let (mut sender, wanted) = (sender.clone(), wanted.clone());
            tokio::spawn(async move {
                let request = Request::get("http://test/").body(String::new()).unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_same(&response.into_body().collect().await.unwrap().to_bytes(), &wanted);
            })
        })
        .collect();
    for stream in streams {
        within(stream).await.unwrap();
        assert_eq!(within(ends.recv()).await.unwrap().ended, Ended::Completed);
    }
}

#[tokio::test]
async fn a_file_that_shrinks_ends_a_copying_connection() {
    let fixture = Fixture::random(LENGTH, 42);
    fixture.file.file.set_len(1_234_567).unwrap();
    let file = fixture.clone();
    let (mut client, mut ends) = serve_copies(Protocol::Http1, Options::default(), move |delivery| {
        delivery.body([file.whole()])
    })
    .await;
    client.write_all(&get("/")).await.unwrap();
    match read_head(&mut client).await {
        Ok(head) => {
            assert_eq!(head.length, Some(LENGTH));
            let body = within(drain(&mut client)).await;
            assert_prefix(&body, &fixture.content[..1_234_567]);
        }
        // When the first read is done at once, the connection ends before hyper has written the head.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof),
    }
    assert_eq!(within(ends.recv()).await.unwrap().ended, Ended::Failed(Fault::Changed));
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_copies_is_ended_by_the_stall_limit() {
    let fixture = Fixture::random(32 * 1024 * 1024, 43);
    let options = Options {
        stall: Some(Duration::from_millis(200)),
        ..Options::default()
    };
    let (mut client, mut ends) = serve_copies(Protocol::Http1, options, move |delivery| {
        delivery.body([fixture.whole()])
    })
    .await;
    client.write_all(&get("/")).await.unwrap();
    assert_eq!(within(ends.recv()).await.unwrap().ended, Ended::Failed(Fault::Stalled));
}

#[tokio::test]
async fn paced_copies_take_their_time() {
    let fixture = Fixture::random(300_000, 44);
    let file = fixture.clone();
    let (mut client, mut ends) = serve_copies(Protocol::Http1, Options::default(), move |delivery| {
        delivery.body([file.whole()]).pace(NonZeroU64::new(1_000_000).unwrap())
    })
    .await;
    let start = std::time::Instant::now();
    assert_same(&within(fetch(&mut client, "/")).await.unwrap(), &fixture.content);
    assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
    assert_eq!(within(ends.recv()).await.unwrap().ended, Ended::Completed);
}

#[tokio::test]
async fn a_body_can_be_collected_without_any_connection() {
    let fixture = Fixture::random(LENGTH, 45);
    let body = Delivery::copies(10_000).body([fixture.whole(), fixture.span(1, 1)]);
    let collected = within(body.collect()).await.unwrap().to_bytes();
    assert_same(&collected, &[&fixture.content[..], &fixture.content[1..2]].concat());
}

#[tokio::test]
async fn a_source_that_fails_fails_the_body_once() {
    let (sender, mut ends) = unbounded_channel();
    let failing = Part::Stream(Box::new(|_| {
        std::task::Poll::Ready(Some(Err(std::io::Error::from(std::io::ErrorKind::BrokenPipe))))
    }));
    let parts = [
        Part::Bytes(Bytes::from_static(b"so far")),
        failing,
        Part::Bytes(Bytes::from_static(b"never")),
    ];
    let body = Delivery::copies(10)
        .body(parts)
        .on_end(move |end| sender.send(end).unwrap());
    let mut body = body;
    let frame = within(body.frame()).await.unwrap().unwrap();
    assert_eq!(bytes::Buf::chunk(frame.data_ref().unwrap()), b"so far");
    drop(frame);
    assert!(within(body.frame()).await.unwrap().is_err());
    assert!(within(body.frame()).await.is_none(), "nothing comes after a failure");
    drop(body);
    let end = ends.recv().await.unwrap();
    assert_eq!(
        end,
        Summary {
            sent: 0,
            ended: Ended::Failed(Fault::Source(std::io::ErrorKind::BrokenPipe))
        }
    );
    assert_eq!(ends.recv().await, None, "reported once");
}
