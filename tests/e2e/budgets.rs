//! What sites and clients may use: one that uses it up is refused, and the others do not feel it.
use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};
use support::{Connection, Hosting, Response, Server, client::request_head, eventually};

/// Bytes of the large file: more than any buffer on the way holds.
const LARGE: usize = 64 << 20;

/// Two sites, the first with this budget.
fn two_sites(server: &str, budget: &str) -> Hosting {
    let hosting = Hosting::new()
        .file("one/small.txt", "one")
        .file("one/large.bin", vec![1; LARGE])
        .file("other/small.txt", "other")
        .file("other/large.bin", vec![2; LARGE]);
    hosting.configure(
        server,
        &format!(
            "[[site]]\nname = \"one\"\nhosts = [\"one.example\"]\nroot = \"one\"\nheaders = {{ set = {{ x-site = \"one\" }} }}\n\
             [site.budget]\n{budget}\n\
             [[site]]\nname = \"other\"\nhosts = [\"other.example\"]\nroot = \"other\"\n"
        ),
    );
    hosting
}

#[track_caller]
fn assert_over(response: &Response, status: u16) -> u64 {
    assert_eq!(response.status, status, "{response:?}");
    assert_eq!(response.header("cache-control"), Some("no-store"));
    let after = response.header("retry-after").expect("it says when to come back");
    after.parse().expect("seconds")
}

/// A download that is begun and not read.
fn held(server: &Server, host: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(request_head("GET", "/large.bin", &[("Host", host)]));
    assert_eq!(connection.try_head().expect("an answer").status, 200);
    connection
}

#[test]
fn requests_under_way_are_counted_until_their_last_byte() {
    let hosting = two_sites("", "requests = 2");
    let server = hosting.start();
    let first = held(&server, "one.example");
    let second = held(&server, "one.example");
    let refused = server.get_from("one.example", "/small.txt");
    assert_over(&refused, 503);
    assert_eq!(
        refused.header("x-site"),
        Some("one"),
        "its own fields are on every answer"
    );
    assert_eq!(server.get_from("other.example", "/small.txt").text(), "other");
    server.logged("a site is over its budget");
    drop(first);
    eventually("one may ask again", || {
        server.get_from("one.example", "/small.txt").status == 200
    });
    drop(second);
}

#[test]
fn connections_belong_to_the_site_that_they_asked_for_last() {
    let hosting = two_sites("", "connections = 1");
    let server = hosting.start();
    let get = |connection: &mut Connection, host| connection.request("GET", "/small.txt", &[("Host", host)]);
    let (mut first, mut second) = (server.connect(), server.connect());
    assert_eq!(get(&mut first, "one.example").status, 200);
    let refused = get(&mut second, "one.example");
    assert_over(&refused, 503);
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(second.is_ended(), "the connection is given back");
    // The first goes to another site, and makes room.
    assert_eq!(get(&mut first, "other.example").status, 200);
    assert_eq!(get(&mut server.connect(), "one.example").status, 200);
}

#[test]
fn a_sites_rate_is_held() {
    let hosting = two_sites("", "rate = \"6/h\"\nburst = 3");
    let server = hosting.start();
    let statuses: Vec<u16> = (0..6)
        .map(|_| server.get_from("one.example", "/small.txt").status)
        .collect();
    assert_eq!(statuses, [200, 200, 200, 503, 503, 503]);
    let after = assert_over(&server.get_from("one.example", "/none"), 503);
    assert!((500..=600).contains(&after), "one comes every ten minutes: {after}");
    assert_eq!(server.get_from("other.example", "/small.txt").status, 200);
}

#[test]
fn budgets_are_inherited_and_a_reload_changes_them() {
    let hosting = Hosting::new().file("one/small.txt", "one");
    let configure = |rate: &str| {
        let site = "[[site]]\nname = \"one\"\nhosts = [\"*\"]\nroot = \"one\"\n";
        hosting.configure("", &format!("[defaults.budget]\nrate = \"{rate}\"\nburst = 1\n{site}"));
    };
    configure("1/h");
    let server = hosting.start();
    assert_eq!(server.get("/small.txt").status, 200);
    assert_over(&server.get("/small.txt"), 503);
    server.reload(2);
    assert_over(&server.get("/small.txt"), 503);
    configure("unlimited");
    server.reload(3);
    assert_eq!(server.get("/small.txt").status, 200);
}

/// What cannot be served as a whole changes no budget of it.
#[test]
fn a_reload_in_vain_keeps_the_budgets() {
    let hosting = Hosting::new()
        .file("one/small.txt", "one")
        .file("new/new.wasm", "no module");
    let configure = |rate: &str, other: &str| {
        hosting.configure(
            "",
            &format!(
                "[[site]]\nname = \"one\"\nhosts = [\"*\"]\nroot = \"one\"\n[site.budget]\nrate = \"{rate}\"\nburst = 1\n\
                 {other}"
            ),
        );
    };
    configure("1/h", "");
    let server = hosting.start();
    assert_eq!(server.get("/small.txt").status, 200);
    assert_over(&server.get("/small.txt"), 503);
    configure(
        "unlimited",
        "[[site]]\nname = \"two\"\nhosts = [\"two.example\"]\nroot = \"one\"\nplugins = \"new\"\n",
    );
    server.reload_in_vain("new.wasm");
    assert_over(&server.get("/small.txt"), 503);
    configure("unlimited", "");
    server.reload(2);
    assert_eq!(server.get("/small.txt").status, 200);
}

#[test]
fn a_clients_rate_holds_for_all_sites_and_for_nobody_else() {
    let hosting = two_sites("client = { rate = \"4/h\", burst = 2 }", "");
    let server = hosting.start();
    let from = |last: u8, host: &str| {
        let mut connection = Connection::open_from(Ipv4Addr::new(127, 0, 0, last), server.address());
        connection.request("GET", "/small.txt", &[("Host", host)])
    };
    assert_eq!(from(2, "one.example").status, 200);
    assert_eq!(from(2, "other.example").status, 200);
    for host in ["one.example", "other.example", "nobody.example"] {
        assert_over(&from(2, host), 429);
    }
    assert_eq!(from(3, "one.example").status, 200);
}

#[test]
fn a_clients_requests_under_way_are_counted_over_all_its_connections_and_sites() {
    let hosting = two_sites("client = { requests = 2 }", "");
    let server = hosting.start();
    let first = held(&server, "one.example");
    let second = held(&server, "other.example");
    assert_over(&server.get_from("one.example", "/small.txt"), 429);
    drop(first);
    eventually("what was left is given back", || {
        server.get_from("one.example", "/small.txt").status == 200
    });
    // What is refused, or answered with an error, is soon not under way any more: the server takes note after its client.
    for _ in 0..5 {
        for (host, status) in [("one.example", 404), ("nobody.example", 421)] {
            eventually("there is room again", || {
                server.get_from(host, "/nothing").status == status
            });
        }
    }
    drop(second);
}

#[test]
fn a_clients_connections_are_counted_and_networks_are_exempt() {
    let hosting = two_sites("client = { connections = 2, exempt = [\"127.0.0.8/30\"] }", "");
    let server = hosting.start();
    let connect = |last: u8| Connection::open_from(Ipv4Addr::new(127, 0, 0, last), server.address());
    let get = |connection: &mut Connection| connection.request("GET", "/small.txt", &[("Host", "one.example")]);
    let (mut first, mut second) = (connect(2), connect(2));
    assert_eq!((get(&mut first).status, get(&mut second).status), (200, 200));
    let mut third = connect(2);
    assert_over(&get(&mut third), 429);
    assert!(third.is_ended());
    assert_eq!(get(&mut connect(3)).status, 200, "another client");
    let many: Vec<Connection> = (0..8).map(|_| connect(9)).collect();
    assert_eq!(get(&mut connect(9)).status, 200, "who is exempt");
    drop((first, many));
    let asks = || {
        let mut connection = connect(2);
        connection.send(request_head("GET", "/small.txt", &[("Host", "one.example")]));
        connection.try_response_to("GET").ok()
    };
    eventually("there is room again", || {
        asks().is_some_and(|response| response.status == 200)
    });
}

/// Bytes that some connections of a site take until a moment, all at once.
fn download(server: &Server, host: &'static str, connections: usize, until: Instant) -> Vec<thread::JoinHandle<u64>> {
    let begin = |_| {
        let mut connection = server.connect();
        thread::spawn(move || {
            let mut taken = 0;
            while Instant::now() < until {
                connection.send(request_head("GET", "/large.bin", &[("Host", host)]));
                connection.try_head().expect("an answer");
                let mut left = LARGE;
                while left > 0 && Instant::now() < until {
                    let count = left.min(16 << 10);
                    connection.take(count).expect("more of the body");
                    taken += count as u64;
                    left -= count;
                }
                if left > 0 {
                    return taken;
                }
            }
            taken
        })
    };
    (0..connections).map(begin).collect()
}

fn sum(threads: Vec<thread::JoinHandle<u64>>) -> u64 {
    threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
}

/// A site with one connection and weight 3 beside one with eight: it has more bytes, however many connections.
#[test]
fn a_full_line_is_shared_by_weight() {
    for sendfile in ["always", "off"] {
        let server = format!("bandwidth = \"4MiB/s\"\nsendfile = \"{sendfile}\"");
        let hosting = two_sites(&server, "weight = 3");
        let server = hosting.start();
        let until = Instant::now() + Duration::from_secs(6);
        let one = download(&server, "one.example", 1, until);
        let other = download(&server, "other.example", 8, until);
        let (one, other) = (sum(one), sum(other));
        // How much more depends on what lies in sockets' buffers when it ends, and on how busy the machine is.
        assert!(one > other, "{sendfile}: {one} and {other}");
        let together = (one + other) >> 20;
        assert!(
            together <= 24 + 16,
            "{sendfile}: {together} MiB in 6 s over a line of 4 MiB/s"
        );
    }
}

#[test]
fn a_sites_bandwidth_is_its_own() {
    let hosting = two_sites("sendfile = \"always\"", "bandwidth = \"1MiB/s\"");
    let server = hosting.start();
    let until = Instant::now() + Duration::from_secs(3);
    let one = download(&server, "one.example", 4, until);
    // Beside it, one that has no limit has all of its file.
    let whole = server.get_from("other.example", "/large.bin");
    assert_eq!(whole.body.len(), LARGE);
    let one = sum(one);
    assert!(one <= 3 * (1 << 20) + (4 << 20), "{one} bytes in 3 s at 1 MiB/s");
    assert!(one > 0);
}

#[test]
fn mistakes_in_budgets_are_told() {
    for (server, budget, expected) in [
        ("", "rate = \"fast\"", "`rate`: \"fast\" is not a rate"),
        ("", "requests = 0", "`requests`: \"0\" is not a whole number"),
        ("", "bandwidth = \"1MiB\"", "`bandwidth`: \"1MiB\" is not a bandwidth"),
        ("", "weight = 0", "`weight` must be a whole number"),
        ("", "speed = 1", "unknown key `speed`"),
        ("bandwidth = \"x/s\"", "", "`bandwidth`"),
        (
            "client = { exempt = [\"home\"] }",
            "",
            "`exempt`: \"home\" is not a network",
        ),
        ("client = { request = 1 }", "", "unknown key `request`"),
    ] {
        let said = two_sites(server, budget).launch().refusal();
        assert!(said.contains(expected), "{budget}{server}: {said}");
    }
}
