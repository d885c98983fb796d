//! Clients that are slow or ask for too much: each limit by itself, seen from outside.
use std::{
    fs,
    time::{Duration, Instant},
};
use support::{Connection, Hosting, client::request_head, eventually};

/// One site for every host, with these lines of `[server]`.
fn hosting(server: &str) -> Hosting {
    let hosting = Hosting::new()
        .file("root/file.txt", "content")
        .file("root/large.bin", vec![7; 64 << 20]);
    hosting.configure(server, "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n");
    hosting
}

#[test]
fn a_target_is_not_longer_than_it_may_be() {
    let hosting = hosting("target-size = \"1KiB\"");
    let server = hosting.start();
    let get = |connection: &mut Connection, length: usize| {
        let target = format!("/file.txt?{}", "a".repeat(length - "/file.txt?".len()));
        connection.request("GET", &target, &[])
    };
    let mut connection = server.connect();
    assert_eq!(get(&mut connection, 1024).status, 200);
    let refused = get(&mut connection, 1025);
    assert_eq!((refused.status, refused.header("connection")), (414, Some("close")));
    assert!(connection.is_ended());
}

#[test]
fn a_head_has_no_more_fields_than_it_may_have() {
    for (server, most) in [("header-fields = 20", 20), ("header-fields = 150", 150), ("", 100)] {
        let hosting = hosting(server);
        let server = hosting.start();
        let get = |count: usize| {
            // One of them is Host.
            let names: Vec<String> = (1..count).map(|number| format!("x-{number}")).collect();
            let fields: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "a")).collect();
            server.request("GET", "/file.txt", &fields).status
        };
        assert_eq!((get(most), get(most + 1)), (200, 431), "{most}");
    }
}

#[test]
fn a_head_is_not_larger_than_it_may_be() {
    let hosting = hosting("head-size = \"8KiB\"");
    let server = hosting.start();
    let get = |length: usize| {
        server
            .request("GET", "/file.txt", &[("x-long", &"a".repeat(length))])
            .status
    };
    assert_eq!((get(7 << 10), get(9 << 10)), (200, 431));
}

/// A client that takes some bytes now and then is no stalled one, and still has an end.
#[test]
fn a_whole_response_has_an_end() {
    for sendfile in ["always", "off"] {
        let hosting = hosting(&format!(
            "total-timeout = \"2s\"\nstall-timeout = \"20s\"\nsendfile = \"{sendfile}\""
        ));
        let server = hosting.start();
        let mut slow = server.connect();
        slow.send(request_head("GET", "/large.bin", &[]));
        assert_eq!(slow.try_head().expect("an answer").status, 200);
        for _ in 0..40 {
            // What had been sent may still be read when the connection has ended.
            if slow.take(1000).is_err() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        server.logged("total-timeout");
        assert!(slow.count_rest() < 32 << 20, "{sendfile}: most of it came");
        assert_eq!(server.get("/file.txt").text(), "content");
    }
}

#[test]
fn what_means_nothing_is_told() {
    for (server, expected) in [
        ("head-size = \"1B\"", "`head-size`: must be between 8KiB and 1MiB"),
        ("head-size = \"8191B\"", "`head-size`: must be between 8KiB and 1MiB"),
        ("target-size = \"2MiB\"", "`target-size`: must be between"),
        (
            "header-fields = 0",
            "`header-fields` must be a whole number, 1 to 10000",
        ),
        (
            "header-fields = 10001",
            "`header-fields` must be a whole number, 1 to 10000",
        ),
        (
            "total-timeout = \"never\"",
            "`total-timeout`: \"never\" is not a duration",
        ),
    ] {
        let said = hosting(server).launch().refusal();
        assert!(said.contains(expected), "{server}: {said}");
    }
}

#[test]
fn the_folders_of_a_site_that_is_gone_are_closed() {
    let site = |name: &str| format!("[[site]]\nname = \"{name}\"\nhosts = [\"{name}\"]\nroot = \"{name}\"\n");
    let hosting = Hosting::new().file("a/file.txt", "a").file("b/file.txt", "b");
    hosting.configure("", &(site("a") + &site("b")));
    let server = hosting.start();
    assert_eq!(server.get_from("a", "/file.txt").text(), "a");
    let held = |folder: &str| {
        let folder = fs::canonicalize(hosting.at(folder)).expect("a folder");
        let open = support::process::open_files(server.pid());
        open.iter().any(|path| std::path::Path::new(path).starts_with(&folder))
    };
    assert!(held("a"));
    hosting.configure("", &site("b"));
    server.reload(2);
    eventually("nothing of it is open", || !held("a"));
    assert_eq!(server.get_from("b", "/file.txt").text(), "b");
}

/// What was read well and could not be loaded is watched too: mending the plugin is enough.
#[test]
fn watching_follows_what_could_not_be_loaded() {
    let site = "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n";
    let hosting = hosting("").file("new/new.wasm", "no module");
    let mut launch = hosting.launch();
    launch = launch.arguments(["--watch"]);
    let server = launch.start();
    hosting.configure("", &format!("{site}plugins = \"new\"\n"));
    server.logged("not reloaded");
    let module = fs::read(support::project().join("tests/guests/probe/probe.wasm")).expect("the guests are built");
    hosting.write("new/new.wasm", module);
    server.logged("generation=2 ");
}

/// Two listeners and room for one connection: the one that waits does not keep it from the other.
#[test]
fn listeners_do_not_hold_room_while_they_wait() {
    let hosting = hosting("listen = [\"127.0.0.1:0\", \"127.0.0.2:0\"]\nmax-connections = 1");
    let server = hosting.start();
    let lines = || -> Vec<String> {
        let log = server.log();
        let lines = log.lines().filter_map(|line| line.split("listening on http://").nth(1));
        lines.map(str::to_owned).collect()
    };
    eventually("both listen", || lines().len() == 2);
    for address in lines() {
        let mut connection = Connection::open(address.trim().parse().expect("an address"));
        assert_eq!(connection.request("GET", "/file.txt", &[]).status, 200, "{address}");
        drop(connection);
    }
}

/// More clients than descriptors: nobody is waited for in vain, and who leaves makes room.
#[test]
fn running_out_of_descriptors_is_survived() {
    let hosting = hosting("");
    let limited = "ulimit -n 64; exec \"$0\" \"$@\"";
    let server = hosting.launch().through(["/bin/sh", "-c", limited]).start();
    let clients: Vec<Connection> = (0..200).map(|_| server.connect()).collect();
    let (before, begun) = (support::process::cpu_time(server.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let spent = support::process::cpu_time(server.pid()) - before;
    let waited = begun.elapsed();
    assert!(spent < waited * 9 / 10, "it spins: {spent:?} in {waited:?}");
    drop(clients);
    eventually("it serves again", || {
        let mut connection = server.connect();
        connection.send(request_head("GET", "/file.txt", &[]));
        connection
            .try_response_to("GET")
            .is_ok_and(|response| response.status == 200)
    });
}
