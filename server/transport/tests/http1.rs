//! Bodies over hyper's HTTP/1.1, compared byte by byte.
mod support;

use bytes::Bytes;
use hyper::{Request, Response, body::Incoming};
use std::{num::NonZeroU64, sync::Arc, time::Duration};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use wasmserve_transport::{Body, Delivery, Ended, Fault, Options, Summary};

/// Answers `/OFFSET-LENGTH` with that span.
fn ranges(fixture: Fixture) -> impl Handler {
    move |request: &Request<Incoming>, delivery: &Delivery| {
        let (offset, length) = request.uri().path()[1..].split_once('-').unwrap();
        Response::new(delivery.body([fixture.span(offset.parse().unwrap(), length.parse().unwrap())]))
    }
}

fn whole(fixture: Fixture) -> impl Handler {
    move |_: &Request<Incoming>, delivery: &Delivery| Response::new(delivery.body([fixture.whole()]))
}

const MIB: usize = 1024 * 1024;

#[tokio::test]
async fn files_and_ranges_of_all_sizes_arrive_over_one_connection() {
    let fixture = Fixture::random(5 * MIB + 4321, 1);
    let mut server = serve(How::Direct, spans(), ranges(fixture.clone())).await;
    let mut client = server.connect().await;
    let total = fixture.content.len() as u64;
    let edges = [
        0,
        1,
        2,
        4095,
        4096,
        16383,
        16384,
        16385,
        131071,
        131072,
        131073,
        262144,
        300000,
        417792,
        1 << 20,
        total,
    ];
    for length in edges {
        for offset in [0, 1, 4095, total / 2, total - length] {
            let length = length.min(total - offset);
            let body = within(fetch(&mut client, &format!("/{offset}-{length}")))
                .await
                .unwrap();
            assert_same(&body, &fixture.content[offset as usize..][..length as usize]);
            assert_eq!(
                server.next_end().await,
                Summary {
                    sent: length,
                    ended: Ended::Completed
                }
            );
        }
    }
}

#[tokio::test]
async fn a_file_longer_than_a_chunk_can_be_arrives() {
    const GIB: u64 = 1 << 30;
    let fixture = Fixture::random(100_000, 16);
    // Holes but for its beginning, the bytes around the end of the first chunk, and its end.
    let length = GIB + 3_000_000;
    for offset in [GIB - 50_000, length - 100_000] {
        std::os::unix::fs::FileExt::write_all_at(&fixture.file.file, &fixture.content, offset).unwrap();
    }
    fixture.file.renew().unwrap();
    let server = serve(How::Direct, spans(), ranges(fixture.clone())).await;
    let mut client = server.connect().await;
    client.write_all(&get(&format!("/0-{length}"))).await.unwrap();
    assert_eq!(read_head(&mut client).await.unwrap().length, Some(length as usize));
    let mut piece = vec![0; MIB];
    let mut at = 0;
    while at < length {
        let count = within(client.read(&mut piece)).await.unwrap() as u64;
        assert_ne!(count, 0);
        for start in [0, GIB - 50_000, length - 100_000] {
            let (from, to) = (start.max(at), (start + 100_000).min(at + count));
            if from < to {
                let wanted = &fixture.content[(from - start) as usize..(to - start) as usize];
                assert_same(&piece[(from - at) as usize..(to - at) as usize], wanted);
            }
        }
        at += count;
    }
}

#[tokio::test]
async fn a_slow_client_gets_every_byte() {
    let fixture = Fixture::random(3 * MIB, 2);
    let server = serve(How::Direct, spans(), whole(fixture.clone())).await;
    let mut client = server.connect().await;
    rustix::net::sockopt::set_socket_recv_buffer_size(&client, 128 * 1024).unwrap();
    client.write_all(&get("/")).await.unwrap();
    let head = read_head(&mut client).await.unwrap();
    let mut random = Random::new(3);
    let mut body = Vec::new();
    while body.len() < head.length.unwrap() {
        let mut piece = vec![0; 1 + random.below(60_000) as usize];
        let count = within(client.read(&mut piece)).await.unwrap();
        assert_ne!(count, 0);
        body.extend_from_slice(&piece[..count]);
        if random.one_in(20) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_same(&body, &fixture.content);
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let fixture = Fixture::random(3 * MIB, 4);
    let server = serve(How::Direct, spans(), ranges(fixture.clone())).await;
    let mut client = server.connect().await;
    let spans = [
        (0, 300_000),
        (5, 10),
        (100, 0),
        (77, 1_000_000),
        (2_000_000, 20_000),
        (1, 131_072),
        (0, 1),
    ];
    let requests: Vec<u8> = spans
        .iter()
        .flat_map(|(offset, length)| get(&format!("/{offset}-{length}")))
        .collect();
    client.write_all(&requests).await.unwrap();
    for (offset, length) in spans {
        let body = within(read_answer(&mut client)).await.unwrap();
        assert_same(&body, &fixture.content[offset..][..length]);
    }
}

#[tokio::test]
async fn parts_of_all_kinds_make_one_body() {
    let (one, two) = (Fixture::random(2 * MIB, 5), Fixture::random(700_000, 6));
    let (a, b) = (one.clone(), two.clone());
    let parts = move |_: &Request<Incoming>, delivery: &Delivery| {
        let text = |text: &'static str| wasmserve_transport::Part::Bytes(Bytes::from_static(text.as_bytes()));
        Response::new(delivery.body([
            text("--boundary\r\n\r\n"),
            a.span(10, 500_000),
            text("\r\n--boundary\r\n\r\n"),
            text(""),
            a.span(500_010, 200_000),
            a.span(700_010, 200_000),
            b.span(3, 0),
            b.whole(),
            b.span(100, 50),
            text("\r\n--boundary--\r\n"),
        ]))
    };
    let mut server = serve(How::Direct, spans(), parts).await;
    let mut client = server.connect().await;
    let mut wanted = b"--boundary\r\n\r\n".to_vec();
    wanted.extend(&one.content[10..500_010]);
    wanted.extend(b"\r\n--boundary\r\n\r\n");
    wanted.extend(&one.content[500_010..900_010]);
    wanted.extend(&two.content[..]);
    wanted.extend(&two.content[100..150]);
    wanted.extend(b"\r\n--boundary--\r\n");
    for _ in 0..3 {
        assert_same(&within(fetch(&mut client, "/")).await.unwrap(), &wanted);
        assert_eq!(
            server.next_end().await,
            Summary {
                sent: wanted.len() as u64,
                ended: Ended::Completed
            }
        );
    }
}

#[tokio::test]
async fn spans_in_a_chunked_body_arrive() {
    let fixture = Fixture::random(MIB, 7);
    let file = fixture.clone();
    let parts = move |_: &Request<Incoming>, delivery: &Delivery| {
        Response::new(delivery.body([
            stream(vec![
                Bytes::from_static(b"first "),
                Bytes::new(),
                Bytes::from_static(b"second "),
            ]),
            file.whole(),
            stream(vec![]),
            file.span(0, 5),
        ]))
    };
    let server = serve(How::Direct, spans(), parts).await;
    let mut client = server.connect().await;
    client.write_all(&get("/")).await.unwrap();
    let head = read_head(&mut client).await.unwrap();
    assert!(head.text.contains("transfer-encoding: chunked"), "{}", head.text);
    let mut body = Vec::new();
    loop {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.push(within(client.read_u8()).await.unwrap());
        }
        let length = usize::from_str_radix(std::str::from_utf8(&line).unwrap().trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        within(client.read_exact(&mut chunk)).await.unwrap();
        body.extend_from_slice(&chunk[..length]);
        if length == 0 {
            break;
        }
    }
    let mut wanted = b"first second ".to_vec();
    wanted.extend(&fixture.content[..]);
    wanted.extend(&fixture.content[..5]);
    assert_same(&body, &wanted);
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_ends_the_exchange_without_wrong_bytes() {
    let fixture = Fixture::random(8 * MIB, 8);
    let server = serve(How::Direct, spans(), whole(fixture.clone())).await;
    let mut client = server.connect().await;
    client.write_all(&get("/")).await.unwrap();
    client.shutdown().await.unwrap();
    let all = within(drain(&mut client)).await;
    let start = all
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .map_or(all.len(), |at| at + 4);
    assert_prefix(&all[start..], &fixture.content);
    server.wait_closed(1).await;
}

#[tokio::test]
async fn clients_that_leave_release_the_file_and_are_counted_as_aborted() {
    let fixture = Fixture::random(8 * MIB, 9);
    let mut server = serve(How::Direct, spans(), whole(fixture.clone())).await;
    let descriptors = || Arc::strong_count(&fixture.file);
    let before = descriptors();
    for _ in 0..20 {
        let mut client = server.connect().await;
        client.write_all(&get("/")).await.unwrap();
        within(client.read_u8()).await.unwrap();
        drop(client);
        let end = server.next_end().await;
        assert_eq!(end.ended, Ended::Aborted);
        assert!(end.sent < fixture.content.len() as u64);
    }
    server.wait_closed(20).await;
    assert_eq!(descriptors(), before);
}

#[tokio::test]
async fn a_file_that_shrinks_ends_the_connection_and_never_pads() {
    let fixture = Fixture::random(32 * MIB, 10);
    let mut server = serve(How::Direct, spans(), whole(fixture.clone())).await;
    let mut client = server.connect().await;
    client.write_all(&get("/")).await.unwrap();
    let head = read_head(&mut client).await.unwrap();
    assert_eq!(head.length, Some(fixture.content.len()));
    let kept = 20 * MIB;
    fixture.file.file.set_len(kept as u64).unwrap();
    let body = within(drain(&mut client)).await;
    assert_prefix(&body, &fixture.content);
    assert!(body.len() <= kept);
    assert_eq!(server.next_end().await.ended, Ended::Failed(Fault::Changed));
}

#[tokio::test]
async fn a_file_that_shrank_before_it_was_copied_ends_the_connection() {
    let fixture = Fixture::random(3000, 11);
    fixture.file.file.set_len(1000).unwrap();
    let mut server = serve(How::Direct, spans(), whole(fixture.clone())).await;
    let mut client = server.connect().await;
    client.write_all(&get("/")).await.unwrap();
    let all = within(drain(&mut client)).await;
    assert!(
        !all.windows(4).any(|window| window == &fixture.content[..4]),
        "nothing of it was sent"
    );
    assert_eq!(
        server.next_end().await,
        Summary {
            sent: 0,
            ended: Ended::Failed(Fault::Changed)
        }
    );
}

#[tokio::test]
async fn a_source_that_fails_resets_the_connection() {
    let failing = |_: &Request<Incoming>, delivery: &Delivery| {
        let mut given = false;
        let source = move |_: &mut std::task::Context<'_>| {
            let first = !std::mem::replace(&mut given, true);
            let error = || Err(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
            std::task::Poll::Ready(Some(if first {
                Ok(Bytes::from_static(b"begin"))
            } else {
                error()
            }))
        };
        Response::new(delivery.body([wasmserve_transport::Part::Stream(Box::new(source))]))
    };
    let mut server = serve(How::Direct, spans(), failing).await;
    let mut client = server.connect().await;
    // Without chunks the end of such a body is the end of the connection.
    client.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    let end = within(async {
        loop {
            match client.read_u8().await {
                Ok(_) => {}
                Err(error) => return error.kind(),
            }
        }
    })
    .await;
    assert_eq!(end, std::io::ErrorKind::ConnectionReset);
    let wanted = Ended::Failed(Fault::Source(std::io::ErrorKind::PermissionDenied));
    assert_eq!(server.next_end().await.ended, wanted);
}

#[tokio::test]
async fn a_file_that_sendfile_does_not_know_is_read_and_sent() {
    // A character device without an end; sendfile refuses some kernels' /proc files and reads others.
    let file = Arc::new(Plain::new(std::fs::File::open("/proc/kallsyms").unwrap()).unwrap());
    let content = std::fs::read("/proc/kallsyms").unwrap();
    assert!(content.len() > 200_000);
    let parts = move |_: &Request<Incoming>, delivery: &Delivery| {
        Response::new(delivery.body([wasmserve_transport::Part::Span {
            file: file.clone(),
            offset: 0,
            length: 200_000,
        }]))
    };
    let server = serve(How::Direct, spans(), parts).await;
    let mut client = server.connect().await;
    let body = within(fetch(&mut client, "/")).await.unwrap();
    assert_same(&body, &content[..200_000]);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_ended_by_the_stall_limit() {
    let fixture = Fixture::random(64 * MIB, 12);
    let options = Options {
        stall: Some(Duration::from_millis(200)),
        ..spans()
    };
    let mut server = serve(How::Direct, options, whole(fixture)).await;
    let mut client = server.connect().await;
    client.write_all(&get("/")).await.unwrap();
    assert_eq!(server.next_end().await.ended, Ended::Failed(Fault::Stalled));
    server.wait_closed(1).await;
}

#[tokio::test]
async fn a_client_that_takes_a_little_now_and_then_is_not_ended_by_the_stall_limit() {
    let fixture = Fixture::random(10 * MIB, 13);
    let options = Options {
        stall: Some(Duration::from_secs(3)),
        ..spans()
    };
    let mut server = serve(How::Direct, options, whole(fixture.clone())).await;
    let mut client = server.connect().await;
    client.write_all(&get("/")).await.unwrap();
    let head = read_head(&mut client).await.unwrap();
    let mut body = vec![0; head.length.unwrap()];
    for piece in body.chunks_mut(4 * MIB) {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        within(client.read_exact(piece)).await.unwrap();
    }
    assert_same(&body, &fixture.content);
    assert_eq!(server.next_end().await.ended, Ended::Completed);
}

#[tokio::test]
async fn a_paced_body_takes_its_time_and_is_whole() {
    let fixture = Fixture::random(400_000, 14);
    let file = fixture.clone();
    let paced = move |_: &Request<Incoming>, delivery: &Delivery| {
        Response::new(delivery.body([file.whole()]).pace(NonZeroU64::new(1_000_000).unwrap()))
    };
    let mut server = serve(How::Direct, spans(), paced).await;
    let mut client = server.connect().await;
    let start = std::time::Instant::now();
    let body = within(fetch(&mut client, "/")).await.unwrap();
    // At 1 MB/s 400 kB take 0.4 s, less the 50 ms that may leave at once. A slow machine only takes longer.
    assert!(start.elapsed() >= Duration::from_millis(350), "{:?}", start.elapsed());
    assert_same(&body, &fixture.content);
    assert_eq!(server.next_end().await.ended, Ended::Completed);
}

#[tokio::test]
async fn a_body_without_bytes_is_completed() {
    let empty = |_: &Request<Incoming>, _: &Delivery| Response::new(Body::empty());
    let mut server = serve(How::Direct, spans(), empty).await;
    let mut client = server.connect().await;
    assert_eq!(within(fetch(&mut client, "/")).await.unwrap(), b"");
    assert_eq!(
        server.next_end().await,
        Summary {
            sent: 0,
            ended: Ended::Completed
        }
    );
}

#[tokio::test]
async fn files_that_are_not_in_the_page_cache_arrive() {
    let fixture = Fixture::random(5 * MIB, 15);
    let server = serve(How::Direct, spans(), ranges(fixture.clone())).await;
    let mut client = server.connect().await;
    fixture.file.file.sync_all().unwrap();
    for (offset, length) in [(0, 5 * MIB), (4 * MIB, 20_000), (1_000_001, 3_000_000)] {
        rustix::fs::fadvise(&fixture.file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let body = within(fetch(&mut client, &format!("/{offset}-{length}")))
            .await
            .unwrap();
        assert_same(&body, &fixture.content[offset..][..length]);
    }
}
