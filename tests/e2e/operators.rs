//! What operators have, of many sites in one `wasmserve.toml`, and across reloads.
use std::fs;
use support::{Hosting, Launch, admin, eventually};

/// Two sites that answer differently; the second one's answer can be chosen.
fn sites(second: &str) -> String {
    format!(
        "[[site]]\nname = \"one\"\nhosts = [\"one.example\"]\nroot = \"one\"\n\
         [[site.policy]]\nplugin = \"probe\"\n[site.policy.config]\nheaders = \"set|x-site|one||\"\n\
         [[site]]\nname = \"two\"\nhosts = [\"two.example\"]\nroot = \"two\"\n\
         [[site.policy]]\nplugin = \"probe\"\n[site.policy.config]\nrespond = \"{second}\"\n"
    )
}

fn hosting() -> Hosting {
    let hosting = Hosting::new()
        .guest("probe")
        .file("one/file.txt", "one")
        .file("two/file.txt", "two");
    hosting.configure(
        "admin = \"admin.sock\"\n[server.record]\nfile = \"record\"",
        &sites("403"),
    );
    hosting
}

#[test]
fn the_admin_socket_knows_every_site_and_the_generation_that_serves() {
    let hosting = hosting();
    let server = hosting.start();
    let socket = hosting.at("admin.sock");
    eventually("the admin socket is there", || socket.exists());
    let before = admin::get(&socket, "/sites");
    for part in [
        "\"generation\":1",
        "\"name\":\"one\"",
        "\"name\":\"two\"",
        "two.example",
    ] {
        assert!(before.contains(part), "no {part}: {before}");
    }
    let explain = |url: &str| {
        Launch::bare()
            .arguments(["explain", "--server"])
            .arguments([&socket])
            .arguments([url])
            .run_to_end()
            .log
    };
    assert!(explain("http://one.example/file.txt").contains("x-site: one"));
    assert!(explain("http://two.example/file.txt").contains("403 Forbidden"));
    assert!(explain("http://three.example/").contains("421 Misdirected Request"));
    hosting.configure(
        "admin = \"admin.sock\"\n[server.record]\nfile = \"record\"",
        &sites("401"),
    );
    server.reload(2);
    assert!(admin::get(&socket, "/sites").contains("\"generation\":2"));
    assert!(explain("http://two.example/file.txt").contains("401 Unauthorized"));
}

#[test]
fn recordings_are_replayed_by_the_sites_that_they_are_of() {
    let hosting = hosting();
    let mut server = hosting.start();
    for host in ["one.example", "two.example", "two.example", "three.example"] {
        server.get_from(host, "/file.txt");
    }
    server.ask_to_stop();
    assert!(server.ended().success());
    let recording = hosting.at("record");
    let replay = |arguments: &[&str]| {
        Launch::bare()
            .arguments(["replay"])
            .arguments([&recording])
            .arguments(arguments)
            .run_to_end()
    };
    let config = hosting.at("wasmserve.toml");
    let config = config.to_str().expect("temporary folders have plain names");
    let same = replay(&["--config", config]);
    assert!(same.log.contains("3 decisions are the same, 0 differ"), "{}", same.log);
    hosting.configure("", &sites("401"));
    let differs = replay(&["--config", config]);
    assert_eq!(differs.status.code(), Some(1));
    assert!(
        differs.log.contains("1 decisions are the same, 2 differ"),
        "{}",
        differs.log
    );
    let one = replay(&["--config", config, "--site", "one"]);
    assert!(one.log.contains("1 decisions are the same, 0 differ"), "{}", one.log);
    let text = fs::read_to_string(&recording).expect("it was recorded");
    fs::write(&recording, text.replace("\"site\":\"two\"", "\"site\":\"gone\"")).expect("it is ours");
    let gone = replay(&["--config", config]);
    assert!(gone.log.contains("is of the site \"gone\""), "{}", gone.log);
    assert_eq!(replay(&[]).status.code(), Some(2));
}
