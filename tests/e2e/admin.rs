//! The admin listener: a Unix socket for its owner alone, that knows what the public never learns.
use std::{fs, os::unix::fs::PermissionsExt, path::Path};
use support::{
    Chain, Launch, Policy, Tree,
    admin::{get, raw, serving},
    eventually,
};

fn tree() -> Tree {
    Tree::new()
        .file("file.txt", "content")
        .modified("file.txt", 1_000_000_000)
}

#[track_caller]
fn post(socket: &Path, path: &str, body: &str) -> String {
    let length = body.len();
    raw(
        socket,
        &format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"),
    )
}

fn explain(socket: &Path, arguments: &[&str]) -> support::server::Refusal {
    Launch::bare()
        .arguments(["explain", "--server"])
        .arguments([socket])
        .arguments(arguments)
        .run_to_end()
}

#[test]
fn a_running_server_explains_as_an_offline_one_does() {
    let tree = tree();
    let chain = Chain::new([
        Policy::guest("probe").config("ask = \"path\\ncookie session\"\nheaders = \"set|x-a|1||\""),
        Policy::guest("probe").config("only = \"/closed\"\nrespond = \"403\""),
    ]);
    let (_server, socket) = serving(&tree, &chain, &[]);
    for arguments in [
        &["/file.txt", "-H", "Cookie: session=s3cret"][..],
        &["HEAD", "/closed/x", "--client", "192.0.2.7"],
        &["/none", "--json"],
        &["/a%2fb"],
        &["/file.txt", "-H", "Cookie: session=s3cret", "--show-secrets"],
    ] {
        let online = explain(&socket, arguments);
        assert!(online.status.success(), "{}", online.log);
        let offline = Launch::bare()
            .arguments(["explain", "--root"])
            .arguments([tree.root()])
            .arguments(["--plugins"])
            .arguments([chain.folder()])
            .arguments(arguments)
            .run_to_end();
        // How long it took is the one thing that differs.
        let timeless = |text: &str| -> Vec<String> {
            let lines = text
                .lines()
                .filter(|line| !line.contains("took") && !line.contains("microseconds"));
            lines.map(str::to_owned).collect()
        };
        assert_eq!(timeless(&online.log), timeless(&offline.log), "{arguments:?}");
        assert_eq!(online.log.contains("s3cret"), arguments.contains(&"--show-secrets"));
    }
}

#[test]
fn a_running_server_knows_what_it_keeps() {
    let tree = tree();
    let chain = Chain::of("probe", "ask = \"path\"");
    let (server, socket) = serving(&tree, &chain, &[]);
    let before = explain(&socket, &["/file.txt"]).log;
    assert!(before.contains("kept     would be\n"), "{before}");
    // Decisions are kept when they come again.
    eventually("a decision is kept", || {
        server.get("/file.txt");
        explain(&socket, &["/file.txt"]).log.contains("kept     already")
    });
    let sites = get(&socket, "/sites");
    for part in [
        "\"name\":\"default\"",
        "\"generation\":1",
        "\"name\":\"probe-0\"",
        "\"digest\":\"sha256:",
        "\"running_microseconds\":20000",
        "\"grants\":[]",
        "\"ran\":1,",
        "\"decisions\":1",
    ] {
        assert!(sites.contains(part), "no {part}: {sites}");
    }
}

#[test]
fn asking_is_strict_and_bounded() {
    let tree = tree();
    let (_server, socket) = serving(&tree, &Chain::of("probe", ""), &[]);
    assert!(get(&socket, "/healthz").contains("\"status\":\"serving\""));
    for (answer, status, says) in [
        (get(&socket, "/file.txt"), 404, "there is no /file.txt here"),
        (get(&socket, "/explain"), 405, "takes POST"),
        (post(&socket, "/sites", ""), 405, "takes GET"),
        (post(&socket, "/explain", "{}"), 400, "missing field `url`"),
        (post(&socket, "/explain", r#"{"url":"/","x":1}"#), 400, "unknown field"),
        (post(&socket, "/explain", &" ".repeat(300 << 10)), 400, "cannot be read"),
        (get(&socket, &format!("/{}", "x".repeat(20 << 10))), 431, ""),
    ] {
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains(says), "{answer}");
    }
    let answer = post(&socket, "/explain", r#"{"url":"/file.txt"}"#);
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"status\":200"),
        "{answer}"
    );
    let refused = explain(&socket, &["/", "-H", "Host: a", "-H", "Host: b"]);
    assert!(refused.log.contains("more than one Host"), "{}", refused.log);
}

#[test]
fn the_socket_is_its_owners_alone_and_goes_with_the_server() {
    let tree = tree();
    let chain = Chain::of("probe", "");
    let (mut server, socket) = serving(&tree, &chain, &[]);
    let mode = fs::metadata(&socket).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let refusal = Launch::new(&tree).arguments(["--admin"]).arguments([&socket]).refusal();
    assert!(refusal.contains("a server that runs has it"), "{refusal}");
    assert!(
        get(&socket, "/healthz").contains("serving"),
        "the first one is still there"
    );
    server.ask_to_stop();
    assert!(server.ended().success());
    assert!(!socket.exists());

    // One that was killed leaves its socket behind.
    let (server, socket) = serving(&tree, &chain, &[]);
    drop(server);
    assert!(socket.symlink_metadata().is_ok());
    let refused = explain(&socket, &["/"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(refused.log.contains("no server listens on"), "{}", refused.log);
    let (_server, socket) = serving(&tree, &chain, &[]);
    assert!(get(&socket, "/healthz").contains("serving"));
}

#[test]
fn something_else_of_that_name_is_left_alone() {
    let tree = tree().file_outside("admin.sock", "precious");
    let socket = tree.outside("admin.sock");
    let refusal = Launch::new(&tree).arguments(["--admin"]).arguments([&socket]).refusal();
    assert!(refusal.contains("there is something else"), "{refusal}");
    assert_eq!(fs::read(&socket).expect("it is left alone"), b"precious");
}

#[test]
fn the_public_never_reaches_it() {
    let tree = tree();
    let socket = tree.at("admin.sock");
    let server = Launch::new(&tree).arguments(["--admin"]).arguments([&socket]).start();
    for path in ["/healthz", "/sites", "/explain", "/admin.sock"] {
        assert_eq!(server.get(path).status, 404, "{path}");
    }
}

#[test]
fn systemd_says_where_it_is() {
    let tree = tree();
    let folder = tree.outside("run");
    fs::create_dir(&folder).expect("the folder is writable");
    let _server = Launch::new(&tree).variable("RUNTIME_DIRECTORY", &folder).start();
    let socket = folder.join("admin.sock");
    eventually("the admin socket is there", || socket.exists());
    assert!(get(&socket, "/healthz").contains("serving"));
}
