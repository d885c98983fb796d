//! Upgrading and reloading under load: nobody notices.
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
};
use support::{Connection, Hosting, Server, client::request_head, eventually, pattern};

const LENGTH: usize = 8 << 20;

fn hosting() -> Hosting {
    let hosting = Hosting::new()
        .file("root/large.bin", pattern(71, LENGTH))
        .file("root/file.txt", "content");
    hosting.configure(
        "listen = [\"127.0.0.1:0\", \"unix:http.sock\"]\nadmin = \"admin.sock\"\nstall-timeout = \"10m\"\n",
        "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n",
    );
    hosting
}

/// A process that took over. Killed when dropped.
pub struct Successor(Pid);

impl Successor {
    /// Asks for an upgrade and waits until the new process serves.
    pub fn of(server: &Server) -> Self {
        server.signal(Signal::USR2);
        let line = server.logged("upgraded: another process serves");
        let (_, pid) = line.split_once("pid=").expect("the line has the process");
        let digits: String = pid.chars().take_while(char::is_ascii_digit).collect();
        let pid = digits.parse().ok().and_then(Pid::from_raw);
        Self(pid.expect("a process"))
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::KILL);
    }
}

/// Asks on new connections, and on one that is kept, until it is told to stop: how many answers were as they should be.
fn load(address: SocketAddr, stop: &AtomicBool, answers: &AtomicUsize) {
    let mut kept = Connection::open(address);
    while !stop.load(Relaxed) {
        let response = Connection::open(address).request("GET", "/file.txt", &[("Connection", "close")]);
        assert_eq!((response.status, response.text()), (200, "content"));
        // A connection that is idle may be closed at any time (RFC 9112, section 9.6): then another is opened.
        let sent = kept.try_send(request_head("GET", "/file.txt", &[]));
        match sent.and_then(|()| kept.try_response_to("GET")) {
            Ok(response) => assert_eq!((response.status, response.text()), (200, "content")),
            Err(_) => kept = Connection::open(address),
        }
        answers.fetch_add(1, Relaxed);
    }
}

#[test]
fn an_upgrade_and_reloads_under_load_cut_nothing() {
    let hosting = hosting();
    let mut server = hosting.start();
    let address = server.address();
    let mut downloads: Vec<Connection> = (0..20)
        .map(|_| {
            let mut download = Connection::open(address);
            download.send(request_head("GET", "/large.bin", &[]));
            assert_eq!(download.try_head().expect("a head comes").status, 200);
            download
        })
        .collect();
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let more = |count: usize| {
        let now = answers.load(Relaxed);
        eventually("requests are answered", || answers.load(Relaxed) >= now + count);
    };
    let successor = thread::scope(|scope| {
        let loads: Vec<_> = (0..2).map(|_| scope.spawn(|| load(address, &stop, &answers))).collect();
        more(20);
        for generation in 2..5 {
            server.reload(generation);
            more(5);
        }
        let successor = Successor::of(&server);
        more(50);
        assert!(server.is_running(), "downloads are under way");
        // Half of them end now, the others are still running.
        for download in &mut downloads[..10] {
            assert!(download.take(LENGTH).expect("it is not cut") == pattern(71, LENGTH));
        }
        more(10);
        stop.store(true, Relaxed);
        for load in loads {
            load.join().expect("no request failed");
        }
        successor
    });
    for download in &mut downloads[10..] {
        assert!(download.take(LENGTH).expect("it is not cut") == pattern(71, LENGTH));
    }
    drop(downloads);
    assert!(server.ended().success(), "the old process ends when its downloads have");
    // The new one has it all: both sockets, the admin's, and their names.
    assert_eq!(
        Connection::open(address).request("GET", "/file.txt", &[]).text(),
        "content"
    );
    for name in ["http.sock", "admin.sock"] {
        UnixStream::connect(hosting.at(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    kill_process(successor.0, Signal::TERM).expect("it runs");
    eventually("the new process ends", || TcpStream::connect(address).is_err());
    eventually("the sockets are removed", || {
        ["http.sock", "admin.sock"]
            .iter()
            .all(|name| !hosting.at(name).exists())
    });
}

/// Old and new process share the socket of operators: a load balancer that asks must not be told of one that is still loading.
#[test]
fn the_server_is_ready_all_the_time() {
    let hosting = hosting().guest("probe");
    let text = std::fs::read_to_string(hosting.at("wasmserve.toml")).expect("it is there");
    // Compiled anew by each process, which takes a while.
    let policy = "[[site.policy]]\nplugin = \"probe\"\nconfig = { headers = \"set | x-a | b\" }\n";
    hosting.write("wasmserve.toml", text + policy);
    let server = hosting.start();
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let ask = scope.spawn(|| {
            while !stop.load(Relaxed) {
                let mut stream = UnixStream::connect(hosting.at("admin.sock")).expect("somebody listens");
                stream
                    .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                    .expect("it is read");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("it is answered");
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                asked.fetch_add(1, Relaxed);
            }
        });
        let _successor = Successor::of(&server);
        let before = asked.load(Relaxed);
        eventually("the new process is asked", || {
            asked.load(Relaxed) >= before + 20 || ask.is_finished()
        });
        stop.store(true, Relaxed);
        ask.join().expect("it was ready all the time");
    });
}

#[test]
fn an_upgrade_that_fails_leaves_the_old_process_as_it_was() {
    let hosting = hosting();
    let mut server = hosting.start();
    let good = std::fs::read(hosting.at("wasmserve.toml")).expect("it is there");
    hosting.write("wasmserve.toml", "this is no configuration");
    server.signal(Signal::USR2);
    server.logged("not upgraded");
    assert_eq!(server.get("/file.txt").text(), "content");
    // One that fails late has taken the sockets, and must not take their names with it: by a root that is not there, and by
    // an address that somebody else has.
    let text = String::from_utf8(good.clone()).expect("it is text");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let more = format!("\"unix:http.sock\", \"{}\"]", taken.local_addr().expect("it is bound"));
    for (count, broken) in [
        (2, text.replace("root = \"root\"", "root = \"absent\"")),
        (3, text.replace("\"unix:http.sock\"]", &more)),
    ] {
        assert_ne!(broken, text);
        hosting.write("wasmserve.toml", broken);
        server.signal(Signal::USR2);
        eventually("it fails", || server.log().matches("not upgraded").count() == count);
        for name in ["http.sock", "admin.sock"] {
            UnixStream::connect(hosting.at(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
    hosting.write("wasmserve.toml", good);
    let successor = Successor::of(&server);
    assert!(server.ended().success());
    assert_eq!(
        Connection::open(server.address())
            .request("GET", "/file.txt", &[])
            .text(),
        "content"
    );
    drop(successor);
}
