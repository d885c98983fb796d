//! TLS and HTTP/2, as curl speaks them.
use rustix::process::Signal;
use std::{fs, os::unix::fs::symlink, path::Path, thread};
use support::{Certificate, Chain, Launch, Policy, Server, Tree, eventually, pattern, process, tool};

const LENGTH: usize = 5_000_003;

fn tree() -> Tree {
    Tree::new()
        .file("large.bin", pattern(51, LENGTH))
        .file("small.txt", "content")
}

fn secured(launch: Launch, certificate: &Certificate) -> Launch {
    launch
        .arguments(["--tls-cert"])
        .arguments([certificate.at("cert.pem")])
        .arguments(["--tls-key"])
        .arguments([certificate.at("key.pem")])
}

/// Runs curl, trusting the certificate and nothing else, and gives what it printed.
fn curl(server: &Server, certificate: &Certificate, arguments: &[&str], path: &str) -> tool::Ran {
    let trusted = certificate.at("cert.pem");
    let url = format!("https://{}{path}", server.address());
    let always = ["-sS", "--cacert", trusted.to_str().expect("a path of ASCII")];
    tool::run(
        Path::new("/"),
        "curl",
        always.iter().chain(arguments).copied().chain([url.as_str()]),
    )
}

#[test]
fn both_versions_of_http_serve_the_same_files() {
    let (tree, certificate) = (tree(), Certificate::new());
    for sendfile in ["remote", "always"] {
        let launch = Launch::new(&tree).arguments(["--sendfile", sendfile]);
        let server = secured(launch, &certificate).start();
        for (option, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
            let fetch = |arguments: &[&str], path: &str| {
                curl(&server, &certificate, &[&[option], arguments].concat(), path)
                    .success()
                    .stdout
            };
            let version_of = fetch(&["-o", "/dev/null", "-w", "%{http_version} %{http_code}"], "/small.txt");
            assert_eq!(String::from_utf8_lossy(&version_of), format!("{version} 200"));
            assert!(fetch(&[], "/large.bin") == pattern(51, LENGTH), "HTTP/{version}");
            assert!(fetch(&["-r", "1000000-3999999"], "/large.bin") == pattern(51, LENGTH)[1_000_000..4_000_000]);
            let status = |arguments: &[&str], path| {
                let code = ["-o", "/dev/null", "-w", "%{http_code}"];
                String::from_utf8_lossy(&fetch(&[&code[..], arguments].concat(), path)).into_owned()
            };
            assert_eq!(status(&["-I"], "/large.bin"), "200");
            assert_eq!(status(&[], "/nothing"), "404");
            assert_eq!(status(&["-H", "If-None-Match: *"], "/large.bin"), "304");
            // Nobody reads what is sent with a request.
            assert_eq!(status(&["-d", "x=1"], "/small.txt"), "405");
            assert_eq!(status(&["-H", "Host: other.example"], "/small.txt"), "200");
        }
    }
}

#[test]
fn many_streams_of_one_connection_do_not_mix() {
    let names: Vec<String> = (0..40).map(|n| format!("{n}.bin")).collect();
    let content = |n: usize| pattern(60 + n as u64, 10_000 * n + n);
    let tree = names
        .iter()
        .enumerate()
        .fold(Tree::new(), |tree, (n, name)| tree.file(name, content(n)));
    let certificate = Certificate::new();
    let server = secured(Launch::new(&tree), &certificate).start();
    let folder = tempfile::tempdir().expect("the machine has room for temporary files");
    let trusted = certificate.at("cert.pem").to_string_lossy().into_owned();
    let urls = names.iter().map(|name| format!("https://{}/{name}", server.address()));
    let mut arguments: Vec<String> = [
        "-sS",
        "--http2",
        "-Z",
        "--parallel-max",
        "40",
        "--remote-name-all",
        "--cacert",
    ]
    .map(str::to_owned)
    .into();
    arguments.push(trusted);
    arguments.extend(urls);
    tool::run(folder.path(), "curl", arguments).success();
    for (n, name) in names.iter().enumerate() {
        let received = fs::read(folder.path().join(name)).expect("curl stored it");
        assert!(received == content(n), "{name}");
    }
}

#[test]
fn policies_are_told_what_the_client_asked() {
    let (tree, certificate) = (tree(), Certificate::new());
    let ask = "ask = \"scheme\\nhost\\nheader host\"\nrespond = \"echo\"";
    let chain = Chain::new([Policy::guest("probe").config(ask)]);
    let server = secured(Launch::new(&tree).plugins(&chain), &certificate).start();
    let port = server.address().port();
    for option in ["--http1.1", "--http2"] {
        let told = curl(&server, &certificate, &[option], "/").success().stdout;
        assert_eq!(
            String::from_utf8_lossy(&told),
            format!("https\n127.0.0.1\nsome(127.0.0.1:{port})\n"),
            "{option}"
        );
    }
}

#[test]
fn the_key_is_never_served() {
    let (tree, certificate) = (Tree::new().file("file.txt", "content"), Certificate::new());
    for name in ["cert.pem", "key.pem"] {
        fs::copy(certificate.at(name), tree.at(name)).expect("the tree is writable");
    }
    symlink("key.pem", tree.at("link.pem")).expect("the tree is writable");
    fs::hard_link(tree.at("key.pem"), tree.at("hard.pem")).expect("the tree is writable");
    let server = Launch::new(&tree)
        .arguments(["--tls-cert"])
        .arguments([tree.at("cert.pem")])
        .arguments(["--tls-key"])
        .arguments([tree.at("key.pem")])
        .start();
    for (path, expected) in [
        ("/file.txt", "200"),
        ("/key.pem", "404"),
        ("/cert.pem", "404"),
        ("/link.pem", "404"),
        ("/hard.pem", "404"),
    ] {
        let ran = curl(&server, &certificate, &["-o", "/dev/null", "-w", "%{http_code}"], path).success();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), expected, "{path}");
    }
}

#[test]
fn a_certificate_or_key_that_cannot_be_used_says_what_is_wrong() {
    let (tree, certificate, other) = (Tree::new(), Certificate::new(), Certificate::new());
    fs::write(certificate.at("empty.pem"), "").expect("the folder is writable");
    fs::write(certificate.at("cut.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n").expect("the folder is writable");
    fs::write(
        certificate.at("garbage.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .expect("the folder is writable");
    certificate.openssl("pkcs8 -topk8 -in key.pem -out locked.pem -passout pass:secret");
    fs::copy(other.at("key.pem"), certificate.at("other.pem")).expect("the folder is writable");
    for (cert, key, words) in [
        ("absent.pem", "key.pem", ["absent.pem", "cannot read"]),
        ("cert.pem", "absent.pem", ["absent.pem", "cannot read"]),
        ("empty.pem", "key.pem", ["empty.pem", "no certificate"]),
        ("cut.pem", "key.pem", ["cut.pem", "not PEM"]),
        ("garbage.pem", "key.pem", ["garbage.pem", "cannot be used"]),
        ("cert.pem", "empty.pem", ["empty.pem", "no private key"]),
        ("cert.pem", "locked.pem", ["locked.pem", "encrypted"]),
        ("cert.pem", "cert.pem", ["cert.pem", "swapped"]),
        ("cert.pem", "other.pem", ["other.pem", "not that of"]),
    ] {
        let launch = |launch: Launch| {
            launch
                .arguments(["--tls-cert"])
                .arguments([certificate.at(cert)])
                .arguments(["--tls-key"])
                .arguments([certificate.at(key)])
        };
        let refusal = launch(Launch::new(&tree)).refusal();
        for word in words {
            assert!(refusal.contains(word), "{cert}, {key}: {refusal}");
        }
        assert!(!refusal.contains("PRIVATE KEY-----\nM"), "{refusal}");
        let check = Launch::check(&tree);
        assert!(launch(check).refusal().contains(words[0]));
    }
    for option in ["--tls-cert", "--tls-key"] {
        let refusal = Launch::new(&tree)
            .arguments([option])
            .arguments([certificate.at("cert.pem")])
            .refusal();
        assert!(
            refusal.contains("--tls-cert") && refusal.contains("--tls-key"),
            "{refusal}"
        );
    }
}

#[test]
fn a_handshake_that_does_not_end_is_not_waited_for() {
    let (tree, certificate) = (tree(), Certificate::new());
    let launch = Launch::new(&tree).arguments(["--head-timeout", "1s"]);
    let server = secured(launch, &certificate).start();
    let mut silent = server.connect();
    // The beginning of a ClientHello that promises 512 bytes.
    let mut begun = server.connect();
    begun.send([0x16, 3, 1, 2, 0, 1, 0]);
    let mut plain = server.connect();
    plain.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let ran = curl(&server, &certificate, &[], "/small.txt").success();
    assert_eq!(ran.stdout, b"content", "others are served meanwhile");
    for connection in [&mut silent, &mut begun, &mut plain] {
        let last = connection.rest();
        assert!(
            last.len() < 64 && !last.starts_with(b"HTTP"),
            "an alert at most: {last:?}"
        );
    }
}

/// Waits until the server sends a file.
fn is_open(server: &Server, path: &Path) {
    let path = path.to_string_lossy();
    eventually("the file is open", || {
        process::open_files(server.pid()).iter().any(|open| *open == path)
    });
}

#[test]
fn what_becomes_of_a_changing_file_is_never_taken_for_the_whole() {
    let certificate = Certificate::new();
    for option in ["--http1.1", "--http2"] {
        let content = pattern(52, 48 << 20);
        let tree = Tree::new().file("file.bin", &content);
        let server = secured(Launch::new(&tree), &certificate).start();
        let ran = thread::scope(|scope| {
            scope.spawn(|| {
                is_open(&server, &tree.at("file.bin"));
                let file = fs::File::options().write(true).open(tree.at("file.bin"));
                file.and_then(|file| file.set_len(1 << 16))
                    .expect("the tree is writable");
            });
            curl(&server, &certificate, &[option, "--limit-rate", "20M"], "/file.bin")
        });
        assert_ne!(ran.code, Some(0), "{option}: {} bytes", ran.stdout.len());
        assert!(content.starts_with(&ran.stdout), "{option}");
    }
}

#[test]
fn stopping_lets_downloads_finish() {
    let (tree, certificate) = (tree(), Certificate::new());
    for option in ["--http1.1", "--http2"] {
        let server = secured(Launch::new(&tree), &certificate).start();
        let ran = thread::scope(|scope| {
            scope.spawn(|| {
                is_open(&server, &tree.at("large.bin"));
                server.signal(Signal::TERM);
            });
            curl(&server, &certificate, &[option, "--limit-rate", "4M"], "/large.bin").success()
        });
        assert!(ran.stdout == pattern(51, LENGTH), "{option}");
    }
}
