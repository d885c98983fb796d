//! The status page in a real browser: headless Chromium, which reaches the admin socket as an operator's does, by a tunnel.
use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
};
use support::{Chain, Launch, Policy, Tree, eventually, tool};

/// Forwards connections to a Unix socket, as `ssh -L` does.
fn tunnel(socket: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let socket = socket.clone();
            thread::spawn(move || forward(&stream, &socket));
        }
    });
    address
}

/// Until either side has had enough.
fn forward(stream: &TcpStream, socket: &Path) -> io::Result<()> {
    let server = UnixStream::connect(socket)?;
    thread::scope(|scope| {
        scope.spawn(|| {
            // The rest of the exchange goes on when the browser has sent everything.
            let _ = io::copy(&mut &*stream, &mut &server);
        });
        io::copy(&mut &server, &mut &*stream)?;
        stream.shutdown(std::net::Shutdown::Both)
    })
}

/// What a page is after its scripts have run, and what the browser complained of. `None`: there is no browser.
fn shown(folder: &Path, url: &str) -> Option<(String, String)> {
    let browser = ["/usr/bin/chromium", "/usr/bin/chromium-browser"];
    let Some(browser) = browser.into_iter().find(|path| Path::new(path).exists()) else {
        eprintln!("skipped: there is no Chromium here; `cargo xtask setup` installs it on Debian");
        return None;
    };
    let profile = format!("--user-data-dir={}", folder.join("profile").display());
    let ran = tool::run(
        folder,
        browser,
        [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            &profile,
            "--virtual-time-budget=12000",
            "--dump-dom",
            url,
        ],
    )
    .success();
    Some((String::from_utf8_lossy(&ran.stdout).into_owned(), ran.stderr))
}

#[test]
fn an_operator_sees_what_happened() {
    let tree = Tree::new().file("file.txt", "content");
    let chain = Chain::new([
        Policy::guest("probe").config("ask = \"path\""),
        // Its words are shown as words.
        Policy::guest("probe").config("only = \"/bad\"\nrespond = \"<img src=x onerror=alert(1)>\""),
    ]);
    let socket = tree.outside("admin.sock");
    let server = Launch::new(&tree)
        .plugins(&chain)
        .arguments(["--admin"])
        .arguments([&socket])
        .start();
    for _ in 0..5 {
        server.get("/file.txt");
    }
    assert_eq!(server.get("/bad").status, 500);
    eventually("a sample has it", || {
        super::metrics::get(&socket, "/status").contains("\"site\":\"default\",\"requests\":6")
    });
    let url = format!("http://{}/", tunnel(socket));
    let Some((page, complaints)) = shown(&tree.outside(""), &url) else {
        return;
    };
    for part in [
        "data-shown=\"yes\"",
        ">ready</span>",
        "<td>default</td>",
        "<td>probe-0</td>",
        "<path class=\"area c-ok\"",
        "<path class=\"line s-accent\"",
        "1 failed",
        "&lt;img src=x onerror=alert(1)&gt;",
    ] {
        assert!(page.contains(part), "no {part}: {page}\n{complaints}");
    }
    assert!(!page.contains("<img"), "{page}");
    for complaint in ["Refused to", "Uncaught", "violates"] {
        assert!(!complaints.contains(complaint), "{complaints}");
    }
}

#[test]
fn over_tcp_a_browser_is_asked_for_the_token() {
    let tree = Tree::new();
    let (_server, address) = super::metrics::over_tcp(&tree);
    let Some((page, complaints)) = shown(&tree.outside(""), &format!("http://{address}/")) else {
        return;
    };
    assert!(
        page.contains("name=\"token\"") && !page.contains("id=\"sites\""),
        "{page}"
    );
    assert!(!complaints.contains("Refused to"), "{complaints}");
}
