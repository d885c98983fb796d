//! Placeholders in the wrong hands: the answer is right, or the connection ends before a wrong byte leaves.
mod support;

use http_body_util::BodyExt;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::*;
use tokio::io::AsyncWriteExt;
use wasmserve_transport::{Delivery, Ended, Fault};

const LENGTH: usize = 1_500_000;

/// One client, one request: what came of the body, how it ended and what hyper said.
async fn attempt(how: How, seed: u64, scramble: u8) -> (Fixture, Vec<u8>, Ended, String) {
    let fixture = Fixture::random(LENGTH, seed);
    let file = fixture.clone();
    let whole = move |_: &Request<Incoming>, delivery: &Delivery| Response::new(delivery.body([file.whole()]));
    let mut server = serve(how, spans(), whole).await;
    let mut client = server.connect().await;
    client.write_all(&get("/")).await.unwrap();
    let all: Vec<u8> = within(drain(&mut client))
        .await
        .into_iter()
        .map(|byte| byte ^ scramble)
        .collect();
    assert!(
        !String::from_utf8_lossy(&all).contains("placeholder"),
        "a placeholder left"
    );
    let start = all
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map_or(all.len(), |at| at + 4);
    let error = within(server.errors.recv()).await.unwrap();
    let end = server.next_end().await;
    (fixture, all[start..].to_vec(), end.ended, error)
}

#[tokio::test]
async fn every_way_of_copying_ends_the_connection_before_a_byte_of_it_leaves() {
    for how in [
        How::PipelineFlush,
        How::NotVectored,
        How::Gathering,
        How::WriteBehind,
        How::Scrambling,
    ] {
        let scramble = if how == How::Scrambling { SCRAMBLE } else { 0 };
        let (_, body, ended, error) = attempt(how, 20, scramble).await;
        assert_eq!(body, b"", "{how:?}");
        assert_eq!(ended, Ended::Failed(Fault::Copied), "{how:?}");
        assert!(error.contains("copied"), "{how:?}: {error}");
    }
}

#[tokio::test]
async fn a_wrapper_that_copies_what_was_not_taken_ends_after_right_bytes() {
    let (fixture, body, ended, error) = attempt(How::KeepsRest, 21, 0).await;
    assert_prefix(&body, &fixture.content);
    assert!(body.len() < LENGTH);
    assert_eq!(ended, Ended::Failed(Fault::Copied));
    assert!(error.contains("copied"), "{error}");
}

#[tokio::test]
async fn a_wrapper_that_hides_buffers_ends_the_connection() {
    let (fixture, body, ended, _) = attempt(How::FirstOnly, 22, 0).await;
    assert_prefix(&body, &fixture.content);
    assert_eq!(ended, Ended::Failed(Fault::Copied));
}

#[tokio::test]
async fn http2_with_span_delivery_by_mistake_gets_real_bytes() {
    let fixture = Fixture::random(LENGTH, 23);
    let file = fixture.clone();
    let whole = move |_: &Request<Incoming>, delivery: &Delivery| Response::new(delivery.body([file.whole()]));
    let mut server = serve(How::Http2, spans(), whole).await;
    let io = TokioIo::new(server.connect().await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(connection);
    for _ in 0..3 {
        let request = Request::get("http://test/").body(String::new()).unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        let body = within(response.into_body().collect()).await.unwrap().to_bytes();
        assert_same(&body, &fixture.content);
        assert_eq!(server.next_end().await.ended, Ended::Completed);
    }
}

#[tokio::test]
async fn a_body_longer_than_its_content_length_ends_the_connection_at_the_length() {
    let fixture = Fixture::random(LENGTH, 24);
    let file = fixture.clone();
    // With a stream in it hyper does not know the length of the body and believes the header.
    let short = move |_: &Request<Incoming>, delivery: &Delivery| {
        let body = delivery.body([file.whole(), stream(vec![])]);
        Response::builder()
            .header("content-length", 200_000)
            .body(body)
            .unwrap()
    };
    let mut server = serve(How::Direct, spans(), short).await;
    let mut client = server.connect().await;
    client.write_all(&[get("/"), get("/")].concat()).await.unwrap();
    let all = within(drain(&mut client)).await;
    let start = all
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map_or(all.len(), |at| at + 4);
    assert_prefix(&all[start..], &fixture.content[..200_000]);
    let end = server.next_end().await.ended;
    assert!(matches!(end, Ended::Failed(Fault::Copied | Fault::Dropped)), "{end:?}");
}

#[tokio::test]
async fn a_body_made_for_another_connection_is_sent_as_real_bytes() {
    let fixture = Fixture::random(LENGTH, 25);
    let file = fixture.clone();
    let first: std::sync::Arc<std::sync::OnceLock<Delivery>> = Default::default();
    let mixed = move |_: &Request<Incoming>, delivery: &Delivery| {
        Response::new(first.get_or_init(|| delivery.clone()).body([file.whole()]))
    };
    let server = serve(How::Direct, spans(), mixed).await;
    let (mut one, mut two) = (server.connect().await, server.connect().await);
    for client in [&mut one, &mut two] {
        assert_same(&within(fetch(client, "/")).await.unwrap(), &fixture.content);
    }
}
