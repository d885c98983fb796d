//! Files that are changed in place while clients take them: a complete response is a right one.
mod support;

use bytes::Bytes;
use hyper::{Request, Response, body::Incoming};
use std::{os::unix::fs::FileExt, time::Duration};
use support::*;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use wasmserve_transport::{Delivery, Ended, Fault, Options, Part};

const LENGTH: usize = 1_500_000;
/// More than the client's socket holds: so much is unacknowledged when the client has read nothing.
const BEYOND: usize = 256 * 1024;

#[derive(Clone, Copy, Debug)]
enum Change {
    Truncate,
    /// Cut off and made longer again: what was cut off is zeros.
    Hollow,
    Overwrite,
    /// One byte at the beginning, long sent.
    Touch,
}

const CHANGES: [Change; 4] = [Change::Truncate, Change::Hollow, Change::Overwrite, Change::Touch];

impl Change {
    fn make(self, fixture: &Fixture) {
        let file = &fixture.file.file;
        let length = fixture.content.len() as u64;
        match self {
            Self::Truncate => file.set_len(length / 3 + 77).unwrap(),
            Self::Hollow => {
                file.set_len(1000).unwrap();
                file.set_len(length).unwrap();
            }
            Self::Overwrite => file.write_all_at(&vec![b'!'; fixture.content.len()], 0).unwrap(),
            Self::Touch => file.write_all_at(b"!", 5).unwrap(),
        }
    }
}

fn whole(fixture: Fixture) -> impl Handler {
    move |_: &Request<Incoming>, delivery: &Delivery| Response::new(delivery.body([fixture.whole()]))
}

/// A client whose socket holds little.
async fn narrow(server: &Server) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(32 * 1024).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// What came of the body until it was complete or the connection ended.
async fn rest(client: &mut TcpStream, mut body: Vec<u8>, length: usize) -> Vec<u8> {
    let mut piece = vec![0; 64 * 1024];
    while body.len() < length
        && let Ok(count @ 1..) = within(client.read(&mut piece)).await
    {
        body.extend_from_slice(&piece[..count]);
    }
    body
}

/// Reads `before` bytes of a body, waits until the rest is in the sockets, makes the change and reads on.
async fn take(server: &Server, fixture: &Fixture, before: usize, change: Change, pause: Duration) -> Vec<u8> {
    let mut client = narrow(server).await;
    client.write_all(&get("/")).await.unwrap();
    let length = read_head(&mut client).await.unwrap().length.unwrap();
    let mut body = vec![0; before];
    within(client.read_exact(&mut body)).await.unwrap();
    tokio::time::sleep(pause).await;
    change.make(fixture);
    rest(&mut client, body, length).await
}

#[tokio::test]
async fn a_change_before_the_client_acknowledged_what_the_kernel_sent_breaks_the_response_off() {
    for change in CHANGES {
        for before in [0, 1000, LENGTH / 4, LENGTH / 2, LENGTH - BEYOND] {
            for pause in [0, 30] {
                let fixture = Fixture::random(LENGTH, 60);
                let mut server = serve(How::Direct, spans(), whole(fixture.clone())).await;
                let body = take(&server, &fixture, before, change, Duration::from_millis(pause)).await;
                assert!(body.len() < LENGTH, "{change:?} at {before}: complete");
                let ended = server.next_end().await.ended;
                assert!(
                    matches!(ended, Ended::Failed(Fault::Changed | Fault::Shrunk)),
                    "{change:?} at {before}: {ended:?}"
                );
            }
        }
    }
}

/// The kernel hands a client of its own the page cache, and the client may read it after it was acknowledged.
#[tokio::test]
async fn a_client_of_the_same_machine_gets_no_wrong_byte_whenever_the_file_changes() {
    let (mut complete, mut broken_off) = (0, 0);
    for change in CHANGES {
        for step in 0..=15 {
            // More than the sockets hold.
            let length = 8 * LENGTH;
            let fixture = Fixture::random(length, 61);
            let server = serve(How::Direct, Options::default(), whole(fixture.clone())).await;
            let body = take(&server, &fixture, length * step / 15, change, Duration::from_millis(20)).await;
            if body.len() == length {
                assert_same(&body, &fixture.content);
                complete += 1;
            } else {
                broken_off += 1;
            }
        }
    }
    assert!(complete >= 4 && broken_off >= 4, "{complete} {broken_off}: weak");
}

#[tokio::test]
async fn a_file_sent_earlier_in_the_body_counts_until_the_end() {
    let (one, two) = (Fixture::random(300_000, 62), Fixture::random(LENGTH, 63));
    let (a, b) = (one.clone(), two.clone());
    let parts = move |_: &Request<Incoming>, delivery: &Delivery| {
        let line = |text: &'static str| Part::Bytes(Bytes::from_static(text.as_bytes()));
        Response::new(delivery.body([a.whole(), line("\r\n--b\r\n"), b.whole(), line("\r\n--b--\r\n")]))
    };
    let mut server = serve(How::Direct, spans(), parts).await;
    let mut client = narrow(&server).await;
    client.write_all(&get("/")).await.unwrap();
    let length = read_head(&mut client).await.unwrap().length.unwrap();
    let mut body = vec![0; 800_000];
    within(client.read_exact(&mut body)).await.unwrap();
    assert_same(&body[..300_000], &one.content);
    Change::Touch.make(&one);
    assert!(rest(&mut client, body, length).await.len() < length);
    assert_eq!(server.next_end().await.ended, Ended::Failed(Fault::Changed));
}

#[tokio::test]
async fn waiting_for_acknowledgements_is_subject_to_the_stall_limit() {
    let fixture = Fixture::random(400_000, 64);
    let options = Options {
        stall: Some(Duration::from_secs(2)),
        ..spans()
    };
    let mut server = serve(How::Direct, options, whole(fixture)).await;
    let mut client = narrow(&server).await;
    client.write_all(&get("/")).await.unwrap();
    let end = server.next_end().await;
    assert_eq!(end.ended, Ended::Failed(Fault::Stalled));
    // All but the held end had been written; a client may take long for that as long as it takes something.
    let mut client = narrow(&server).await;
    client.write_all(&get("/")).await.unwrap();
    read_head(&mut client).await.unwrap();
    for _ in 0..20 {
        // Longer than the limit in all, much shorter each time.
        tokio::time::sleep(Duration::from_millis(120)).await;
        within(client.read_exact(&mut vec![0; 20_000])).await.unwrap();
    }
    assert_eq!(server.next_end().await.ended, Ended::Completed);
}

#[tokio::test]
async fn a_client_that_leaves_while_its_acknowledgements_are_awaited_is_let_go_of() {
    let fixture = Fixture::random(400_000, 65);
    let mut server = serve(How::Direct, spans(), whole(fixture)).await;
    let mut client = narrow(&server).await;
    client.write_all(&get("/")).await.unwrap();
    read_head(&mut client).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(client);
    assert_eq!(server.next_end().await.ended, Ended::Aborted);
    server.wait_closed(1).await;
}
