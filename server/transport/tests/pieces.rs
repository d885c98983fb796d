//! Parts that become known while the body is sent.
mod support;

use bytes::Bytes;
use hyper::{Request, Response, body::Incoming};
use rustix::fd::{AsFd, BorrowedFd};
use std::{io, sync::Arc, task::Poll};
use support::*;
use wasmserve_transport::{Delivery, Ended, Fault, File, Part, Reading, Summary};

/// A file that nobody changes.
struct Fixed(Arc<Plain>);

impl AsFd for Fixed {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl File for Fixed {
    fn unchanged(&self) -> io::Result<()> {
        Ok(())
    }
    fn is_immutable(&self) -> bool {
        true
    }
    fn is_lendable(&self) -> bool {
        self.0.is_lendable()
    }
    fn is_cached(&self, offset: u64, length: u64) -> bool {
        self.0.is_cached(offset, length)
    }
    fn load(self: Arc<Self>, offset: u64, length: usize) -> Reading<()> {
        self.0.clone().load(offset, length)
    }
    fn read(self: Arc<Self>, offset: u64, length: usize) -> Reading<Bytes> {
        self.0.clone().read(offset, length)
    }
}

/// Gives these parts, pending once before each.
fn pieces(parts: Vec<Part>, length: u64) -> Part {
    let mut parts = parts.into_iter();
    let mut ready = false;
    let source = Box::new(move |context: &mut std::task::Context<'_>| {
        ready = !ready;
        if ready {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(parts.next().map(Ok))
    });
    Part::Pieces { source, length }
}

/// The content in pieces of random lengths, some of them as bytes.
fn cut(fixture: &Fixture, seed: u64) -> Vec<Part> {
    let (mut random, mut at, mut parts) = (Random::new(seed), 0, Vec::new());
    let total = fixture.content.len() as u64;
    while at < total {
        let most = [100, 70_000, 1 << 20, 3 << 20][random.below(4) as usize];
        let length = (1 + random.below(most)).min(total - at);
        parts.push(match random.one_in(4) {
            true => Part::Bytes(Bytes::copy_from_slice(
                &fixture.content[at as usize..][..length as usize],
            )),
            false => Part::Span {
                file: Arc::new(Fixed(fixture.file.clone())),
                offset: at,
                length,
            },
        });
        at += length;
    }
    parts
}

#[tokio::test]
async fn they_arrive_in_order() {
    let fixture = Fixture::random(9 << 20, 7);
    let content = fixture.clone();
    let handler = move |request: &Request<Incoming>, delivery: &Delivery| {
        let seed = request.uri().path()[1..].parse().unwrap();
        let length = content.content.len() as u64;
        Response::new(delivery.body([pieces(cut(&content, seed), length)]))
    };
    let mut server = serve(How::Direct, spans(), handler).await;
    let mut client = server.connect().await;
    for seed in 1..20 {
        let body = within(fetch(&mut client, &format!("/{seed}"))).await.unwrap();
        assert_same(&body, &fixture.content);
        let whole = Summary {
            sent: fixture.content.len() as u64,
            ended: Ended::Completed,
        };
        assert_eq!(server.next_end().await, whole, "{seed}");
    }
}

#[tokio::test]
async fn too_few_too_many_and_files_that_may_change_end_the_response() {
    let fixture = Fixture::random(1 << 20, 8);
    let total = fixture.content.len() as u64;
    let content = fixture.clone();
    let handler = move |request: &Request<Incoming>, delivery: &Delivery| {
        let body = match request.uri().path() {
            "/few" => pieces(cut(&content, 1), total + 1),
            "/many" => pieces(cut(&content, 1), total - 1),
            _ => pieces(vec![content.whole()], total),
        };
        Response::new(delivery.body([body]))
    };
    let mut server = serve(How::Direct, spans(), handler).await;
    for (path, fault) in [
        ("/few", Fault::Shrunk),
        ("/many", Fault::Source(io::ErrorKind::InvalidData)),
        ("/mutable", Fault::Source(io::ErrorKind::InvalidData)),
    ] {
        let mut client = server.connect().await;
        let answer = within(fetch(&mut client, path)).await;
        assert!(answer.is_err(), "{path}");
        assert_eq!(server.next_end().await.ended, Ended::Failed(fault), "{path}");
    }
}
