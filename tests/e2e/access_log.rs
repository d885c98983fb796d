//! The access log as a stream of its own: to a file or to standard output, as JSON or in the combined format.
use rustix::process::Signal;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Instant,
};
use support::{Chain, Hosting, Launch, Policy, Server, Tree, eventually};

fn tree() -> Tree {
    Tree::new().file("file.txt", "content").file("page.html", "page")
}

/// A server whose access log is `access.log` beside its root.
fn logging(tree: &Tree, chain: &Chain, format: &str) -> (Server, PathBuf) {
    let file = tree.outside("access.log");
    let server = Launch::new(tree)
        .plugins(chain)
        .arguments(["--access-log-format", format, "--access-log"])
        .arguments([&file])
        .start();
    (server, file)
}

/// The lines of a file, once there are so many.
#[track_caller]
fn lines(file: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(file).unwrap_or_default();
    eventually("the lines are written", || read().matches('\n').count() >= count);
    let lines: Vec<String> = read().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{lines:#?}");
    lines
}

fn json(line: &str) -> serde_json::Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn a_line_of_json_tells_what_happened_and_what_policies_said() {
    let tree = tree();
    let chain = Chain::new([
        Policy::guest("probe").config("ask = \"path\""),
        Policy::guest("probe").config("only = \"/closed\"\nrespond = \"403\""),
    ]);
    let (server, file) = logging(&tree, &chain, "json");
    let agent = [
        ("User-Agent", "test \"1\""),
        ("Referer", "http://a.example/x?token=secret"),
    ];
    // Each line is waited for: an exchange may end after its client has everything.
    server.request("GET", "/file.txt?token=secret", &agent);
    lines(&file, 1);
    server.get("/closed/x");
    lines(&file, 2);
    server.raw("GET /file.txt HTTP/1.1\r\n\r\n");
    lines(&file, 3);
    server.raw("\x01\x02 nonsense\r\n\r\n");
    let written = lines(&file, 4);
    let told = written.join("\n");
    assert!(!told.contains("secret"), "{told}");

    let first = json(&written[0]);
    for (key, expected) in [
        ("client", serde_json::json!("127.0.0.1")),
        ("site", serde_json::json!("default")),
        ("method", serde_json::json!("GET")),
        ("scheme", serde_json::json!("http")),
        ("path", serde_json::json!("/file.txt")),
        ("protocol", serde_json::json!("HTTP/1.1")),
        ("status", serde_json::json!(200)),
        ("bytes", serde_json::json!(7)),
        ("outcome", serde_json::json!("completed")),
        ("user_agent", serde_json::json!("test \"1\"")),
        ("referer", serde_json::json!("http://a.example/x")),
    ] {
        assert_eq!(first[key], expected, "{key} of {first}");
    }
    let policy = &first["policy"];
    assert_eq!(policy["verdict"], "proceed");
    assert_eq!((&policy["ran"], &policy["kept"]), (&2.into(), &0.into()));
    assert!(first["duration_us"].as_u64() >= first["head_us"].as_u64(), "{first}");
    assert!(first["head_us"].as_u64() >= policy["us"].as_u64(), "{first}");

    let refused = json(&written[1]);
    assert_eq!(
        (&refused["status"], &refused["policy"]["verdict"]),
        (&403.into(), &"respond".into())
    );
    assert_eq!(refused["policy"]["by"], "probe-1");
    let hostless = json(&written[2]);
    assert_eq!(hostless["status"], 400);
    assert!(
        hostless.get("policy").is_none() && hostless.get("site").is_none(),
        "{hostless}"
    );
    let unreadable = json(&written[3]);
    assert_eq!(unreadable["abort"], "unreadable");

    // Once a decision is kept, no policy runs.
    let mut count = 4;
    eventually("a kept decision is told of", || {
        server.get("/page.html");
        count += 1;
        json(&lines(&file, count)[count - 1])["policy"]["kept"] == 2
    });
    let mode = fs::metadata(&file).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    assert!(!server.log().contains("path=\"/file.txt\""), "{}", server.log());
}

#[test]
fn a_combined_line_is_as_nginx_writes_it() {
    let tree = tree();
    let (server, file) = logging(&tree, &Chain::of("probe", ""), "combined");
    server.request(
        "GET",
        "/file.txt?x=1",
        &[("User-Agent", "a\"b"), ("Referer", "http://a/?b")],
    );
    lines(&file, 1);
    server.request("GET", "/none%20there", &[]);
    let written = lines(&file, 2);
    let (before, rest) = written[0].split_once(" [").expect("a time");
    let (time, after) = rest.split_once("] ").expect("its end");
    assert_eq!(before, "127.0.0.1 - -");
    assert!(time.ends_with(" +0000") && time.len() == 26, "{time}");
    assert_eq!(after, "\"GET /file.txt HTTP/1.1\" 200 7 \"http://a/\" \"a\\x22b\"");
    assert!(
        written[1].contains("\"GET /none\\x20there HTTP/1.1\" 404 "),
        "{}",
        written[1]
    );
}

#[test]
fn a_log_that_was_moved_away_is_begun_anew() {
    let tree = tree();
    let (server, file) = logging(&tree, &Chain::of("probe", ""), "json");
    server.get("/file.txt");
    lines(&file, 1);
    let moved = tree.outside("access.log.1");
    fs::rename(&file, &moved).expect("our folder");
    server.signal(Signal::USR1);
    eventually("it is made anew", || file.exists());
    server.get("/page.html");
    assert!(lines(&file, 1)[0].contains("/page.html"));
    assert!(lines(&moved, 1)[0].contains("/file.txt"));
}

/// A process before this one, or a full disk, may have left half a line.
#[test]
fn half_a_line_of_before_is_nobody_elses() {
    let tree = tree();
    let file = tree.outside("access.log");
    fs::write(&file, "{\"half\":").expect("our folder");
    let (server, file) = logging(&tree, &Chain::of("probe", ""), "json");
    server.get("/file.txt");
    assert_eq!(json(&lines(&file, 2)[1])["path"], "/file.txt");
    // The same where it is opened anew.
    fs::remove_file(&file).expect("our folder");
    fs::write(&file, "half").expect("our folder");
    server.signal(Signal::USR1);
    server.logged("the access log is opened anew");
    eventually("a line is written to the new file", || {
        server.get("/page.html");
        fs::read_to_string(&file).is_ok_and(|text| text.lines().count() > 1)
    });
    let text = fs::read_to_string(&file).expect("it is there");
    let (half, whole) = text.split_once('\n').expect("lines");
    assert_eq!(half, "half");
    assert_eq!(json(whole.lines().next().expect("a line"))["path"], "/page.html");
}

/// Each batch of lines tries again, and not each says so.
#[test]
fn a_log_that_cannot_be_opened_anew_is_told_of_now_and_then() {
    let tree = tree();
    let folder = tree.outside("logs");
    fs::create_dir(&folder).expect("our folder");
    let (file, admin) = (folder.join("access.log"), tree.outside("admin.sock"));
    let server = Launch::new(&tree)
        .arguments(["--access-log"])
        .arguments([&file])
        .arguments(["--admin"])
        .arguments([&admin])
        .start();
    server.get("/file.txt");
    lines(&file, 1);
    let begun = Instant::now();
    fs::rename(&folder, tree.outside("moved")).expect("our folder");
    server.signal(Signal::USR1);
    server.logged("the access log cannot be opened anew");
    let lost = || {
        let metrics = super::metrics::get(&admin, "/metrics");
        let lost = metrics
            .lines()
            .find_map(|line| line.strip_prefix("wasmserve_log_lines_lost_total{log=\"access\"} "));
        lost.expect("it is counted").parse::<u64>().expect("a number")
    };
    // A batch each, because each is waited for.
    for _ in 0..30 {
        let before = lost();
        server.get("/file.txt");
        eventually("its line is lost", || lost() > before);
    }
    let told = server.log().matches("the access log cannot be opened anew").count();
    let most = 2 + begun.elapsed().as_secs() / 10;
    assert!(told as u64 <= most, "{told} times:\n{}", server.log());
    // It comes back by itself.
    fs::create_dir(&folder).expect("our folder");
    eventually("lines are written again", || {
        server.get("/page.html");
        fs::read_to_string(&file).is_ok_and(|text| text.contains("/page.html"))
    });
}

#[test]
fn the_last_lines_are_written_when_the_server_stops() {
    let tree = tree();
    let (mut server, file) = logging(&tree, &Chain::of("probe", ""), "json");
    for _ in 0..50 {
        server.get("/file.txt");
    }
    server.ask_to_stop();
    assert!(server.ended().success());
    lines(&file, 50);
}

#[test]
fn standard_output_has_nothing_but_lines() {
    let tree = tree();
    let server = Launch::new(&tree).arguments(["--access-log", "stdout"]).start();
    // The address is in the log, which is on the other stream.
    assert!(server.log().contains("INFO"), "{}", server.log());
    server.get("/file.txt");
    let line = server.logged("\"path\":\"/file.txt\"");
    assert_eq!(json(&line)["status"], 200);
    let printed = server.log();
    let wrong = printed.lines().find(|line| line.starts_with("listening on"));
    assert_eq!(wrong, None);
}

#[test]
fn a_site_may_leave_no_lines() {
    let hosting = Hosting::new().file("one/file.txt", "one").file("two/file.txt", "two");
    hosting.configure(
        "access-log = \"access.log\"",
        "[defaults]\naccess-log = false\n\
         [[site]]\nname = \"one\"\nhosts = [\"one.example\"]\nroot = \"one\"\n\
         [[site]]\nname = \"two\"\nhosts = [\"two.example\"]\nroot = \"two\"\naccess-log = true\n",
    );
    let server = hosting.start();
    for host in ["one.example", "two.example"] {
        assert_eq!(server.request("GET", "/file.txt", &[("Host", host)]).status, 200);
    }
    let line = &lines(&hosting.at("access.log"), 1)[0];
    assert_eq!(json(line)["site"], "two");
}

#[test]
fn a_log_that_nobody_takes_holds_up_nobody() {
    let tree = tree();
    let pipe = tree.outside("access.log");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo is part of every system").success());
    // Somebody has opened it, and reads nothing.
    let reader = fs::File::options().read(true).write(true).open(&pipe).expect("ours");
    let admin = tree.outside("admin.sock");
    let server = Launch::new(&tree)
        .arguments(["--access-log"])
        .arguments([&pipe])
        .arguments(["--admin"])
        .arguments([&admin])
        .start();
    // More than may wait, and than the thread may have taken: 4 MiB each.
    let path = format!("/{}", "long/".repeat(600));
    let mut connection = server.connect();
    for _ in 0..4000 {
        assert_eq!(connection.request("GET", &path, &[]).status, 404);
    }
    let metrics = super::metrics::get(&admin, "/metrics");
    let lost = metrics
        .lines()
        .find_map(|line| line.strip_prefix("wasmserve_log_lines_lost_total{log=\"access\"} "));
    let lost: u64 = lost.expect("it is counted").parse().expect("a number");
    assert!(lost > 0, "{metrics}");
    assert_eq!(server.get("/file.txt").status, 200);
    drop(reader);
}

#[test]
fn a_log_that_cannot_be_written_keeps_the_server_from_starting() {
    let tree = tree();
    let refusal = Launch::new(&tree)
        .arguments(["--access-log", "/nowhere/access.log"])
        .refusal();
    assert!(
        refusal.contains("cannot write the access log /nowhere/access.log"),
        "{refusal}"
    );
}

#[test]
fn the_log_is_never_served() {
    let tree = tree();
    let file = tree.at("access.log");
    let server = Launch::new(&tree)
        .arguments(["--access-log"])
        .arguments([&file])
        .start();
    assert_eq!(server.get("/file.txt").status, 200);
    lines(&file, 1);
    assert_eq!(server.get("/access.log").status, 404);
}
