//! Certificates that the server orders by itself, from a real authority for tests.
use crate::upgrading::Successor;
use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};
use support::{Hosting, Launch, Pebble, Server, eventually, tool};

const LONG: Duration = Duration::from_secs(24 * 3600);

/// Two listeners where the authority asks, and the sites.
fn hosting(pebble: &Pebble, acme: &str, sites: &str) -> Hosting {
    let hosting = Hosting::new().file("root/file.txt", "content").guest("probe");
    let (http, tls) = (pebble.http, pebble.tls);
    let listeners = format!(
        "[[listener]]\naddress = \"127.0.0.1:{http}\"\nredirect = \"https\"\n[[listener]]\naddress = \"127.0.0.1:{tls}\"\n"
    );
    hosting.write(
        "wasmserve.toml",
        format!(
            "[server]\nadmin = \"admin.sock\"\naccess-log = \"access.log\"\n{listeners}{}{acme}{sites}",
            pebble.config()
        ),
    );
    hosting
}

/// A site whose policy refuses everybody.
fn guarded(name: &str, hosts: &str) -> String {
    let policy = "[[site.policy]]\nplugin = \"probe\"\nconfig = { respond = \"403\" }\n";
    format!("[[site]]\nname = \"{name}\"\nhosts = [{hosts}]\nroot = \"root\"\n{policy}[site.tls]\nacme = true\n")
}

fn open(name: &str, hosts: &str) -> String {
    format!("[[site]]\nname = \"{name}\"\nhosts = [{hosts}]\nroot = \"root\"\n[site.tls]\nacme = true\n")
}

/// curl asks for the file, trusting the authority alone, and prints the status.
fn ask(pebble: &Pebble, host: &str) -> tool::Ran {
    let port = pebble.tls;
    let (resolve, url) = (
        format!("{host}:{port}:127.0.0.1"),
        format!("https://{host}:{port}/file.txt"),
    );
    let root = pebble.root().display().to_string();
    let arguments = [
        "-sS",
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "--cacert",
        &root,
        "--resolve",
        &resolve,
        &url,
    ];
    tool::run(Path::new("/"), "curl", arguments)
}

/// Waits until a name has a certificate, and gives the status that follows.
#[track_caller]
fn status(pebble: &Pebble, host: &str) -> String {
    let mut status = Vec::new();
    eventually("the name has a certificate", || {
        let ran = ask(pebble, host);
        status = ran.stdout;
        ran.code == Some(0)
    });
    String::from_utf8(status).expect("three digits")
}

/// The serial number and the end of what is shown for a name.
fn shown(pebble: &Pebble, host: &str) -> String {
    let script = format!(
        "openssl s_client -connect 127.0.0.1:{} -servername {host} </dev/null 2>/dev/null | openssl x509 -noout -serial -enddate",
        pebble.tls
    );
    String::from_utf8(tool::run(Path::new("/"), "sh", ["-c", &script]).stdout).expect("text")
}

fn told(hosting: &Hosting, path: &str) -> String {
    let url = format!("http://localhost{path}");
    let socket = hosting.at("admin.sock").display().to_string();
    let ran = tool::run(Path::new("/"), "curl", ["-sSf", "--unix-socket", &socket, &url]).success();
    String::from_utf8(ran.stdout).expect("text")
}

#[test]
fn names_get_certificates_by_either_challenge_before_any_policy() {
    for challenge in ["tls-alpn-01", "http-01"] {
        let mut pebble = Pebble::new(LONG);
        pebble.start();
        let acme = format!("challenges = [\"{challenge}\"]\n");
        let hosting = hosting(&pebble, &acme, &guarded("a", "\"a.example\", \"b.example\""));
        let mut server = hosting.start();
        for host in ["a.example", "b.example"] {
            assert_eq!(status(&pebble, host), "403", "{challenge} {host}");
        }
        let metrics = told(&hosting, "/metrics");
        assert!(
            metrics.contains("wasmserve_acme_orders_total{result=\"done\"} 2\n"),
            "{metrics}"
        );
        assert!(
            metrics.contains("wasmserve_acme_names{state=\"missing\"} 0\n"),
            "{metrics}"
        );
        let status = told(&hosting, "/status");
        assert!(status.contains("\"name\":\"a.example\""), "{status}");

        // Nobody else reads the keys.
        let folder = hosting.at("acme");
        assert_eq!(
            fs::metadata(&folder).expect("it was made").permissions().mode() & 0o777,
            0o700
        );

        // A restart shows what is stored, without asking anybody.
        let before = shown(&pebble, "a.example");
        pebble.stop();
        server.ask_to_stop();
        assert!(server.ended().success());
        let server = hosting.start();
        assert_eq!(ask(&pebble, "a.example").success().stdout, b"403");
        assert_eq!(shown(&pebble, "a.example"), before);
        drop(server);
    }
}

#[test]
fn a_connection_is_for_the_name_of_its_certificate_alone() {
    let mut pebble = Pebble::new(LONG);
    pebble.start();
    let hosting = hosting(&pebble, "", &open("a", "\"a.example\", \"b.example\""));
    let _server = hosting.start();
    for host in ["a.example", "b.example"] {
        assert_eq!(status(&pebble, host), "200");
    }
    // What was agreed on is in the access log.
    eventually("the line is written", || {
        let written = fs::read_to_string(hosting.at("access.log")).unwrap_or_default();
        let lines: Vec<serde_json::Value> = written
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect();
        lines
            .iter()
            .any(|line| line["tls"]["server_name"] == "b.example" && line["tls"]["version"] == "TLSv1.3")
    });
    let port = pebble.tls;
    let root = pebble.root().display().to_string();
    let resolve = format!("a.example:{port}:127.0.0.1");
    let url = format!("https://a.example:{port}/file.txt");
    for (host, expected) in [("a.example", "200"), ("b.example", "421")] {
        let host = format!("Host: {host}");
        let always = [
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
            &root,
            "--resolve",
            &resolve,
            "-H",
        ];
        let ran = tool::run(
            Path::new("/"),
            "curl",
            always.into_iter().chain([host.as_str(), url.as_str()]),
        )
        .success();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), expected, "{host}");
    }
}

#[test]
fn a_certificate_is_renewed_before_it_expires_and_nobody_is_cut_off() {
    // Renewed after some 13 of 20 seconds, for which this waits by what is shown.
    let mut pebble = Pebble::new(Duration::from_secs(20));
    pebble.start();
    let hosting = hosting(&pebble, "", &open("a", "\"a.example\""));
    let server = hosting.start();
    assert_eq!(status(&pebble, "a.example"), "200");
    let first = shown(&pebble, "a.example");
    let mut kept = Kept::open(pebble.tls);
    kept.get();
    eventually("another certificate is shown", || {
        let now = shown(&pebble, "a.example");
        !now.is_empty() && now != first
    });
    kept.get();
    assert!(!server.log().contains("no certificate was ordered"), "{}", server.log());

    // An authority that is gone takes away nothing, not even when what is there has expired.
    pebble.stop();
    server.logged("no certificate was ordered");
    assert!(!shown(&pebble, "a.example").is_empty());
}

#[test]
fn what_an_authority_refuses_is_told_and_holds_up_nobody() {
    let mut pebble = Pebble::new(LONG);
    let sites = [open("a", "\"a.example\""), open("refused", "\"refused.example\"")].concat();
    let hosting = hosting(&pebble, "", &sites);
    let server = hosting.start();
    // Nobody can be asked yet: the handshake fails, and the log says why.
    server.logged("the authority cannot be asked");
    assert!(shown(&pebble, "a.example").is_empty(), "a handshake that fails");
    server.logged("there is no certificate for the name yet");
    pebble.start();
    assert_eq!(status(&pebble, "a.example"), "200");
    let refused = server.logged("rejectedIdentifier");
    assert!(
        refused.contains("refused.example") && refused.contains("again_in"),
        "{refused}"
    );
    let status = told(&hosting, "/status");
    assert!(status.contains("rejectedIdentifier"), "{status}");
    // An authority that has forgotten the account is given another.
    pebble.stop();
    pebble.start();
    let sites = [sites, open("c", "\"c.example\"")].concat();
    let text = fs::read_to_string(hosting.at("wasmserve.toml")).expect("it was written");
    let (begin, _) = text.split_once("[[site]]").expect("there are sites");
    hosting.write("wasmserve.toml", format!("{begin}{sites}"));
    server.reload(2);
    assert_eq!(self::status(&pebble, "c.example"), "200");
}

#[test]
fn tenants_get_certificates_when_they_are_asked_for() {
    let mut pebble = Pebble::new(LONG);
    pebble.start();
    let hosting = hosting(
        &pebble,
        "on-demand = \"1/h\"\n",
        "[sites]\ndirectory = \"tenants\"\nacme = true\n",
    );
    for host in ["one.example", "two.example"] {
        hosting.write(&format!("tenants/{host}/public/file.txt"), "content");
    }
    let start = |pebble: &Pebble| {
        let server = hosting.start();
        assert_eq!(ask(pebble, "nobody.example").code, Some(35));
        server
    };
    let server: Server = start(&pebble);
    assert_eq!(status(&pebble, "one.example"), "200");
    assert_eq!(ask(&pebble, "two.example").code, Some(35), "one an hour");
    let names = |hosting: &Hosting| told(hosting, "/metrics").contains("wasmserve_acme_names{state=\"ready\"} 1\n");
    assert!(names(&hosting));
    drop(server);
    // What is stored needs no order.
    pebble.stop();
    let _server = start(&pebble);
    assert_eq!(ask(&pebble, "one.example").success().stdout, b"200");
}

/// Nobody asks a tenant for anything after the restart, and its certificate is renewed all the same.
#[test]
fn a_tenants_certificate_is_renewed_before_it_is_asked_for() {
    let mut pebble = Pebble::new(Duration::from_secs(20));
    pebble.start();
    let hosting = hosting(&pebble, "", "[sites]\ndirectory = \"tenants\"\nacme = true\n");
    for host in ["one.example", "gone.example"] {
        hosting.write(&format!("tenants/{host}/public/file.txt"), "content");
    }
    let server = hosting.start();
    for host in ["one.example", "gone.example"] {
        assert_eq!(status(&pebble, host), "200");
    }
    drop(server);
    fs::remove_dir_all(hosting.at("tenants/gone.example")).expect("our folder");
    let _server = hosting.start();
    let done = || {
        let metrics = told(&hosting, "/metrics");
        let count = metrics
            .lines()
            .find_map(|line| line.strip_prefix("wasmserve_acme_orders_total{result=\"done\"} "));
        count.expect("it is counted").parse::<u64>().expect("a number")
    };
    eventually("it is renewed", || done() > 0);
    let status = told(&hosting, "/status");
    assert!(
        status.contains("one.example") && !status.contains("gone.example"),
        "{status}"
    );
}

/// An authority that makes accounts only for those who have its key.
#[test]
fn an_account_is_bound_to_one_that_the_authority_knows() {
    let mut pebble = Pebble::new(LONG).with_binding();
    pebble.start();
    let hosting = hosting(&pebble, "", &open("a", "\"a.example\""));
    let text = fs::read_to_string(hosting.at("wasmserve.toml")).expect("it was written");
    hosting.write(
        "wasmserve.toml",
        text.replace(&pebble.config(), &pebble.unbound_config()),
    );
    let server = hosting.start();
    server.logged("externalAccountRequired");
    drop(server);
    hosting.write("wasmserve.toml", text);
    let _server = hosting.start();
    assert_eq!(status(&pebble, "a.example"), "200");
}

/// One connection for the name, which outlives a renewal.
struct Kept(Child);

impl Kept {
    fn open(port: u16) -> Self {
        let child = Command::new("openssl")
            .args(["s_client", "-quiet", "-servername", "a.example", "-connect"])
            .arg(format!("127.0.0.1:{port}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("openssl is installed"))
    }

    fn get(&mut self) {
        let request = b"GET /file.txt HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let input = self.0.stdin.as_mut().expect("it was piped");
        input.write_all(request).expect("the connection is open");
        let output = self.0.stdout.as_mut().expect("it was piped");
        let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
        while !answer.ends_with(b"\r\n\r\ncontent") {
            let count = output.read(&mut piece).expect("the connection is open");
            assert!(count > 0, "the connection ended: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..count]);
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_process_that_takes_over_orders_nothing_that_is_there() {
    let mut pebble = Pebble::new(LONG);
    pebble.start();
    let hosting = hosting(&pebble, "", &open("a", "\"a.example\""));
    let server = hosting.start();
    assert_eq!(status(&pebble, "a.example"), "200");
    let first = shown(&pebble, "a.example");
    let _successor = Successor::of(&server);
    assert_eq!(ask(&pebble, "a.example").success().stdout, b"200");
    assert_eq!(shown(&pebble, "a.example"), first, "what is stored is shown");
    assert!(told(&hosting, "/metrics").contains("wasmserve_acme_orders_total{result=\"done\"} 0\n"));
}

#[test]
fn check_asks_nobody() {
    let pebble = Pebble::new(LONG);
    let hosting = hosting(&pebble, "", &open("a", "\"a.example\""));
    let config = hosting.at("wasmserve.toml");
    let checked = Launch::bare()
        .arguments(["check", "--config"])
        .arguments([config])
        .run_to_end();
    assert!(checked.status.success(), "{}", checked.log);
    assert!(!hosting.at("acme").exists());
}
