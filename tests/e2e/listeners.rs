//! Listeners of every kind, and the proxies in front of them.
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::Signal;
use std::{
    fs,
    io::Write,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
};
use support::{Certificate, Connection, Hosting, Server, client::exchange, eventually, server_binary};

/// A site that answers with who asks, how, and for which host.
const TELLS: &str = "[[site]]\nname = \"a\"\nhosts = [\"a.example\", \"127.0.0.1\"]\nroot = \"a\"\n[[site.policy]]\nplugin = \"probe\"\n\
                     [site.policy.config]\nask = \"client-address\\nscheme\\nhost\"\nrespond = \"echo\"\n";

fn hosting(listeners: &str) -> Hosting {
    let hosting = Hosting::new().guest("probe").file("a/file.txt", "content");
    hosting.write("wasmserve.toml", format!("{listeners}\n{TELLS}"));
    hosting
}

/// The addresses that are listened on, in order.
fn addresses(server: &Server, count: usize) -> Vec<SocketAddr> {
    let found = || -> Vec<SocketAddr> {
        let log = server.log();
        let urls = log
            .lines()
            .filter_map(|line| line.strip_prefix("listening on http")?.split_once("://"));
        urls.filter_map(|(_, address)| address.parse().ok()).collect()
    };
    eventually("all addresses are listened on", || found().len() >= count);
    found()
}

fn tcp(address: SocketAddr, bytes: &[u8]) -> String {
    exchange(TcpStream::connect(address).expect("it listens"), bytes)
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// The body of an answer.
fn told(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn a_unix_socket_is_for_whom_its_mode_says_and_is_cleaned_up() {
    let hosting = hosting(
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[listener]]\naddress = \"unix:http.sock\"\nmode = \"600\"\n",
    );
    let path = hosting.at("http.sock");
    // As a process that was killed leaves it.
    drop(UnixListener::bind(&path).expect("the folder is writable"));
    let mut server = hosting.start();
    let mode = |path: &Path| fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777;
    let get = || exchange(UnixStream::connect(&path).expect("it listens"), GET.as_bytes());
    assert_eq!(told(&get()), "none\nhttp\na.example\n", "nobody has an address there");
    assert_eq!(mode(&path), 0o600);
    // A second server leaves the living one alone.
    let other = Hosting::new().file("a/file.txt", "");
    other.write(
        "wasmserve.toml",
        format!(
            "[server]\nlisten = [\"unix:{}\"]\n[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"a\"\n",
            path.display()
        ),
    );
    assert!(other.launch().refusal().contains("a server that runs has it"));
    assert_eq!(told(&get()), "none\nhttp\na.example\n");
    let text = fs::read_to_string(hosting.at("wasmserve.toml")).expect("it is there");
    hosting.write("wasmserve.toml", text.replace("600", "666"));
    server.reload(2);
    assert_eq!(mode(&path), 0o666);
    assert!(
        fs::symlink_metadata(&path)
            .expect("it is there")
            .file_type()
            .is_socket()
    );
    server.ask_to_stop();
    assert!(server.ended().success());
    assert!(!path.exists(), "it is removed");
}

#[test]
fn a_redirecting_listener_sends_to_https_and_leaves_acme_to_the_site() {
    let hosting = hosting(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nredirect = \"https\"\nredirect-port = 8443\n",
    );
    let server = hosting.start();
    let at = addresses(&server, 2);
    let get = |address, target: &str, host: &str| Connection::open(address).request("GET", target, &[("Host", host)]);
    for (address, target, host, location) in [
        (at[0], "/a%20b/?x=1&y", "A.example:80", "https://a.example/a%20b/?x=1&y"),
        (
            at[0],
            "//other.example/",
            "a.example",
            "https://a.example//other.example/",
        ),
        (at[1], "/", "127.0.0.1", "https://127.0.0.1:8443/"),
    ] {
        let response = get(address, target, host);
        assert_eq!((response.status, response.header("location")), (308, Some(location)));
    }
    // What is no site's is nobody's to redirect to, and a client chooses no other place.
    assert_eq!(get(at[0], "/", "evil.example").status, 421);
    assert!(
        tcp(
            at[0],
            b"GET / HTTP/1.1\r\nHost: a.example\r\nHost: evil.example\r\n\r\n"
        )
        .starts_with("HTTP/1.1 400 ")
    );
    assert!(
        tcp(at[0], b"GET / HTTP/1.0\r\n\r\n").starts_with("HTTP/1.0 421 "),
        "no host is no site's"
    );
    let acme = get(at[0], "/.well-known/acme-challenge/token", "a.example");
    assert_eq!((acme.status, acme.text()), (200, "some(127.0.0.1)\nhttp\na.example\n"));
    let post = Connection::open(at[0]).request("POST", "/form", &[("Host", "a.example"), ("Content-Length", "0")]);
    assert_eq!(post.status, 308, "the method is kept");
}

#[test]
fn trusted_proxies_hand_on_connections_of_others() {
    let hosting = hosting(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = true\ntrusted = [\"127.0.0.1\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = true\ntrusted = [\"10.0.0.0/8\"]\n",
    );
    hosting.write(
        "wasmserve.toml",
        format!(
            "[server]\nhead-timeout = \"1s\"\n{}",
            fs::read_to_string(hosting.at("wasmserve.toml")).expect("it is there")
        ),
    );
    let server = hosting.start();
    let at = addresses(&server, 2);
    let v2 = |command: u8, family: u8, rest: &[u8]| {
        let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        header.extend([0x20 | command, family, 0, u8::try_from(rest.len()).expect("short")]);
        header.extend(rest);
        header
    };
    for (header, client) in [
        (
            b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n".to_vec(),
            "some(192.0.2.7)",
        ),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec(), "some(2001:db8::7)"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "none"),
        (
            v2(1, 0x11, &[192, 0, 2, 7, 127, 0, 0, 1, 1, 2, 0, 80, 3, 0, 1, 9]),
            "some(192.0.2.7)",
        ),
        (v2(0, 0, &[]), "some(127.0.0.1)"),
    ] {
        let answer = tcp(at[0], &[&header[..], GET.as_bytes()].concat());
        assert_eq!(told(&answer), format!("{client}\nhttp\na.example\n"), "{answer}");
    }
    for bytes in [
        GET.as_bytes(),
        b"PROXY TCP4 192.0.2.7\r\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\nGET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
        // One that never ends.
        b"PROXY TCP4 192.0.2.7 ",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff",
    ] {
        assert_eq!(tcp(at[0], bytes), "", "{}", String::from_utf8_lossy(bytes));
    }
    // Whoever is not named cannot connect at all.
    let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n";
    assert_eq!(tcp(at[1], &[&header[..], GET.as_bytes()].concat()), "");
    assert_eq!(tcp(at[1], GET.as_bytes()), "");
    server.logged("none of the trusted proxies");
}

#[test]
fn forwarded_fields_count_from_the_listeners_proxies_alone() {
    let hosting = hosting(
        "[[listener]]\naddress = \"127.0.0.1:0\"\nforwarded = \"forwarded\"\ntrusted = [\"127.0.0.0/8\", \"10.0.0.0/8\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nforwarded = \"x-forwarded-for\"\ntrusted = [\"127.0.0.1\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nforwarded = \"x-forwarded-for\"\ntrusted = [\"10.0.0.0/8\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\naddress = \"unix:http.sock\"\nforwarded = \"forwarded\"\ntrusted = [\"unix\"]\n",
    );
    let server = hosting.start();
    let at = addresses(&server, 4);
    let forwarded = (
        "Forwarded",
        "for=1.2.3.4, for=192.0.2.7;proto=https;host=evil.example, for=10.0.0.2",
    );
    let x_for = ("X-Forwarded-For", "1.2.3.4, 192.0.2.7");
    let x_proto = ("X-Forwarded-Proto", "https");
    for (address, fields, expected) in [
        (at[0], &[forwarded][..], "some(192.0.2.7)\nhttps\na.example\n"),
        (at[0], &[x_for, x_proto], "some(127.0.0.1)\nhttp\na.example\n"),
        (at[1], &[x_for, x_proto], "some(192.0.2.7)\nhttps\na.example\n"),
        (at[1], &[forwarded], "some(127.0.0.1)\nhttp\na.example\n"),
        (at[2], &[x_for, x_proto], "some(127.0.0.1)\nhttp\na.example\n"),
        (
            at[3],
            &[forwarded, x_for, x_proto],
            "some(127.0.0.1)\nhttp\na.example\n",
        ),
    ] {
        let fields: Vec<_> = [("Host", "a.example")].iter().chain(fields).copied().collect();
        let response = Connection::open(address).request("GET", "/", &fields);
        assert_eq!(response.text(), expected, "{address} {fields:?}");
    }
    let request = format!(
        "GET / HTTP/1.1\r\nHost: a.example\r\n{}: {}\r\nConnection: close\r\n\r\n",
        forwarded.0, forwarded.1
    );
    let answer = exchange(
        UnixStream::connect(hosting.at("http.sock")).expect("it listens"),
        request.as_bytes(),
    );
    assert_eq!(told(&answer), "some(10.0.0.2)\nhttp\na.example\n", "{answer}");
    // The log has who asked.
    server.logged("client=192.0.2.7");
}

#[test]
fn what_is_wrong_with_a_listener_is_told_with_its_place() {
    for (listener, expected) in [
        ("", "[[listener]] has no key `address`"),
        ("address = \"80\"", "`address`: must be an IP address and a port"),
        (
            "address = \"127.0.0.1:1\"\n[[listener]]\naddress = \"127.0.0.1:1\"",
            "listened on twice",
        ),
        ("address = \"127.0.0.1:1\"\nproxy-protocol = true", "need `trusted`"),
        (
            "address = \"127.0.0.1:1\"\nforwarded = \"forward\"",
            "did you mean `forwarded`?",
        ),
        (
            "address = \"127.0.0.1:1\"\ntrusted = [\"10.0.0.0/33\"]",
            "is not an address or a network",
        ),
        ("address = \"127.0.0.1:1\"\nmode = \"999\"", "permission bits in octal"),
        ("address = \"127.0.0.1:1\"\nredirect-port = 1", "needs redirect"),
        ("address = \"127.0.0.1:1\"\nredirect = \"http\"", "`redirect` cannot be"),
        ("address = \"127.0.0.1:1\"\ntls = true", "no certificate"),
        ("address = \"systemd:absent\"", "not started with a socket of that name"),
    ] {
        let refusal = hosting(&format!("[[listener]]\n{listener}\n")).launch().refusal();
        assert!(refusal.contains(expected), "{listener}: {refusal}");
    }
}

/// Runs the server as systemd does: with listening sockets as descriptors 3 and on.
fn activated(hosting: &Hosting, sockets: &[(&str, std::os::fd::OwnedFd)], notify: &Path) -> std::process::Child {
    let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
    // Only in the child: other tests of this process start programs too, which must not inherit them.
    let mappings = sockets.iter().enumerate().map(|(index, (_, socket))| FdMapping {
        parent_fd: socket.try_clone().expect("there is room"),
        child_fd: i32::try_from(3 + index).expect("a few"),
    });
    let mut command = Command::new("sh");
    command
        .fd_mappings(mappings.collect())
        .expect("no number is given twice");
    command
        .args(["-c", "export LISTEN_PID=$$; exec \"$0\" --config \"$1\""])
        .arg(server_binary())
        .arg(hosting.at("wasmserve.toml"))
        .env("LISTEN_FDS", sockets.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"))
        .env("NOTIFY_SOCKET", notify)
        .env("WATCHDOG_USEC", "200000")
        .env_remove("HOME")
        .env_remove("XDG_CACHE_HOME")
        .spawn()
        .expect("a shell")
}

#[test]
fn systemd_passes_sockets_and_is_told_how_it_goes() {
    let tcp_socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let by_address = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (one, two) = (
        tcp_socket.local_addr().expect("bound"),
        by_address.local_addr().expect("bound"),
    );
    let hosting = hosting(&format!(
        "[server]\nlisten = [\"systemd:web\", \"{two}\", \"systemd:local\", \"unix:by-path.sock\"]\n"
    ));
    let (path, by_path) = (hosting.at("local.sock"), hosting.at("by-path.sock"));
    let unix = UnixListener::bind(&path).expect("the folder is writable");
    let unix_by_path = UnixListener::bind(&by_path).expect("the folder is writable");
    let notify = hosting.at("notify.sock");
    let told = UnixDatagram::bind(&notify).expect("the folder is writable");
    told.set_read_timeout(Some(support::PATIENCE)).expect("a time");
    let until = |word: &str| {
        let mut seen = String::new();
        loop {
            let mut buffer = [0; 512];
            let length = told
                .recv(&mut buffer)
                .unwrap_or_else(|error| panic!("no {word} after {seen:?}: {error}"));
            let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let found = text.lines().any(|line| line.starts_with(word));
            seen += &text;
            if found {
                return;
            }
        }
    };
    let sockets = [
        ("web", tcp_socket.into()),
        ("units.socket", by_address.into()),
        ("local", unix.into()),
        ("units.socket", unix_by_path.into()),
    ];
    // They are connected to before anybody serves: the queue is the kernel's.
    let mut early = TcpStream::connect(one).expect("it listens");
    early.write_all(GET.as_bytes()).expect("there is room");
    let mut child = activated(&hosting, &sockets, &notify);
    drop(sockets);
    until("READY=1");
    assert_eq!(self::told(&exchange(early, b"")), "some(127.0.0.1)\nhttp\na.example\n");
    assert_eq!(
        self::told(&tcp(two, GET.as_bytes())),
        "some(127.0.0.1)\nhttp\na.example\n"
    );
    for path in [&path, &by_path] {
        let local = exchange(UnixStream::connect(path).expect("it listens"), GET.as_bytes());
        assert_eq!(self::told(&local), "none\nhttp\na.example\n");
    }
    until("WATCHDOG=1");
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, Signal::HUP).expect("it runs");
    until("RELOADING=1");
    until("READY=1");
    rustix::process::kill_process(pid, Signal::TERM).expect("it runs");
    until("STOPPING=1");
    assert!(child.wait().expect("it is ours").success());
    assert!(path.exists() && by_path.exists(), "whoever made them removes them");
}

#[test]
fn a_listener_is_told_something_else_without_losing_a_connection() {
    let hosting = hosting("[[listener]]\naddress = \"127.0.0.1:0\"\n");
    let server = hosting.start();
    let mut before = server.connect();
    let fields = [("Host", "a.example"), ("X-Forwarded-For", "192.0.2.7")];
    assert_eq!(
        before.request("GET", "/", &fields).text(),
        "some(127.0.0.1)\nhttp\na.example\n"
    );
    let listener =
        "[[listener]]\naddress = \"127.0.0.1:0\"\nforwarded = \"x-forwarded-for\"\ntrusted = [\"127.0.0.1\"]\n";
    hosting.write("wasmserve.toml", format!("{listener}{TELLS}"));
    server.reload(2);
    assert_eq!(
        server.request("GET", "/", &fields).text(),
        "some(192.0.2.7)\nhttp\na.example\n"
    );
    assert_eq!(
        before.request("GET", "/", &fields).text(),
        "some(127.0.0.1)\nhttp\na.example\n"
    );
}

#[test]
fn a_proxys_header_comes_before_tls() {
    let certificate = Certificate::new();
    let hosting = hosting(&format!(
        "[server]\ntls-cert = \"{}\"\ntls-key = \"{}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nproxy-protocol = true\ntrusted = [\"127.0.0.1\"]\n",
        certificate.at("cert.pem").display(),
        certificate.at("key.pem").display()
    ));
    let server = hosting.start();
    let ran = support::tool::run(
        Path::new("/"),
        "curl",
        ["-sSk", "--haproxy-protocol", &format!("https://{}/", server.address())],
    );
    assert_eq!(
        String::from_utf8_lossy(&ran.success().stdout),
        "some(127.0.0.1)\nhttps\n127.0.0.1\n"
    );
    let plain = TcpStream::connect(server.address()).expect("it listens");
    plain.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(exchange(plain, b""), "");
}
