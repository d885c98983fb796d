//! A policy that burns its time, from outside: clients of several networks, one server.
use std::{net::Ipv4Addr, thread, time::Duration};
use support::{Chain, Connection, Launch, Policy, Server, Tree, client::Response, eventually};

fn start() -> (Server, Tree, Chain) {
    let tree = Tree::new()
        .file("file.txt", "content")
        .file("bad/file.txt", "never sent");
    let chain = Chain::new([Policy::guest("misbehaving")
        .settings("name = \"culprit\"\nlimits = { running = \"5ms\", wall = \"20s\" }")
        .config("behaviour = \"endless_loop\"\nonly = \"/bad/\"")]);
    let server = Launch::new(&tree).plugins(&chain).start();
    (server, tree, chain)
}

fn get(server: &Server, network: u8, target: &str) -> Response {
    Connection::open_from(Ipv4Addr::new(127, 0, network, 1), server.address()).request("GET", target, &[])
}

#[test]
fn it_opens_for_many_and_heals_by_itself() {
    let (server, _tree, _chain) = start();
    assert_eq!(get(&server, 1, "/file.txt").status, 200);
    // At once, and again if a busy machine took longer than the time within which they count.
    eventually("the breaker opens", || {
        thread::scope(|scope| {
            for network in 10..34 {
                let server = &server;
                scope.spawn(move || {
                    let response = get(server, network, "/bad/file.txt");
                    assert_eq!((response.status, response.text().contains("never")), (503, false));
                });
            }
        });
        server.log().contains("breaker=\"open\"")
    });
    let refused = get(&server, 1, "/other.txt");
    assert_eq!(refused.status, 503);
    let wait: u64 = refused.header("retry-after").expect("a time to wait").parse().unwrap();
    assert!((1..=5).contains(&wait), "{refused:?}");
    // This decision is kept.
    assert_eq!(get(&server, 1, "/file.txt").text(), "content");
    let log = server.logged("breaker=\"open\"");
    assert!(log.contains("culprit"), "{log}");

    thread::sleep(Duration::from_secs(wait));
    eventually("trials go well and it closes", || {
        (0..4).all(|at| get(&server, 1, &format!("/other-{at}")).status == 404)
    });
    server.logged("breaker=\"closed\"");
}

#[test]
fn one_client_is_kept_out_alone() {
    let (server, _tree, _chain) = start();
    for _ in 0..6 {
        assert_eq!(get(&server, 10, "/bad/file.txt").status, 503);
    }
    let refused = get(&server, 10, "/file.txt");
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    assert_eq!(get(&server, 11, "/file.txt").text(), "content");
}

/// A request that costs nothing must not shut a policy off, however often it is sent.
#[test]
fn a_cheap_failure_is_no_lever() {
    let tree = Tree::new().file("file.txt", "content");
    let chain = Chain::of("misbehaving", "behaviour = \"trap\"\nonly = \"/bad/\"");
    let server = Launch::new(&tree).plugins(&chain).start();
    for at in 0..100 {
        assert_eq!(get(&server, at % 10, "/bad/").status, 500);
    }
    assert_eq!(get(&server, 1, "/file.txt").text(), "content");
    // Further ones are only counted. The access log of the last request comes after them.
    eventually("the last request is logged", || {
        server.log().matches("/file.txt").count() > 0
    });
    assert_eq!(server.log().matches("a policy failed").count(), 10);
}
