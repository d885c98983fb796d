//! The table of malformed messages (`malformed.txt`): each is sent raw, and the answers on its connection are compared with
//! what the table demands. With `WASMSERVE_RECORD_NGINX` set, as `cargo xtask messages` does, what nginx answers is written
//! beside it.
use std::{fmt::Write as _, fs, net::SocketAddr, path::PathBuf};
use support::{Connection, Launch, Nginx, Tree, project, tool};

const SECOND: &str = "GET /second.txt HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// The fewest messages that the table must hold: one that is not read as meant would test nothing.
const FEWEST: usize = 150;

#[test]
fn every_malformed_message_is_answered_as_the_table_demands() {
    let tree = tree();
    let server = Launch::new(&tree).start();
    let text = fs::read_to_string(path()).expect("the table is readable");
    let rows: Vec<Row> = text.lines().filter_map(Row::read).collect();
    assert!(rows.len() >= FEWEST, "only {} messages", rows.len());
    let mut wrong = String::new();
    for row in &rows {
        let given = answers(server.address(), row);
        if given != row.ours {
            let _ = writeln!(wrong, "{given} | instead of {} for | {}", row.ours, shown(row.written));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {} messages:\n{wrong}",
        wrong.lines().count(),
        rows.len()
    );
    assert_eq!(server.get("/file.txt").text(), "content");
    if std::env::var_os("WASMSERVE_RECORD_NGINX").is_some() {
        fs::write(path(), recorded(&text, &tree)).expect("the table is writable");
    }
}

/// One message of the table.
struct Row<'a> {
    ours: &'a str,
    /// As it stands in the table.
    written: &'a str,
    bytes: Vec<u8>,
}

impl<'a> Row<'a> {
    /// `None` for headings, comments and empty lines.
    fn read(line: &'a str) -> Option<Self> {
        if line.starts_with('#') || line.is_empty() {
            return None;
        }
        let mut columns = line.splitn(3, '|');
        let (Some(ours), Some(_), Some(written)) = (columns.next(), columns.next(), columns.next()) else {
            panic!("not three columns: {line}");
        };
        let written = written.strip_prefix(' ').expect("a space stands before the request");
        Some(Self {
            ours: ours.trim(),
            written,
            bytes: bytes(written),
        })
    }
}

/// The table again, with nginx's answers and version.
fn recorded(text: &str, tree: &Tree) -> String {
    let root = tree.root().display().to_string();
    let nginx = Nginx::start(|_| String::new(), |_| format!("root {root};"));
    let said = tool::run(&tree.root(), "/usr/sbin/nginx", ["-v"]).stderr;
    let version = said.trim().rsplit('/').next().unwrap_or("unknown").to_owned();
    let mut lines = Vec::new();
    for line in text.lines() {
        lines.push(match Row::read(line) {
            Some(row) => format!(
                "{:7} | {:7} | {}",
                row.ours,
                answers(nginx.address(), &row),
                row.written
            ),
            None => match line.strip_prefix("# (Debian's ") {
                Some(rest) => format!(
                    "# (Debian's {version}){}",
                    rest.split_once(')').map_or("", |(_, rest)| rest)
                ),
                None => line.to_owned(),
            },
        });
    }
    lines.join("\n") + "\n"
}

fn tree() -> Tree {
    Tree::new()
        .file("file.txt", "content")
        .file("second.txt", "second")
        .file("folder/file.txt", "content")
}

fn path() -> PathBuf {
    project().join("tests/e2e/malformed.txt")
}

/// The statuses that a message and the one behind it lead to.
fn answers(address: SocketAddr, row: &Row<'_>) -> String {
    let mut connection = Connection::open(address);
    // One that is refused early may not be read to its end.
    let _ = connection.try_send([&row.bytes, SECOND.as_bytes()].concat());
    connection.finish_sending();
    let came = String::from_utf8_lossy(&connection.rest()).into_owned();
    let statuses: Vec<&str> = came
        .match_indices("HTTP/1.")
        // `HTTP/1.1 200`
        .filter_map(|(at, _)| came.get(at + 9..at + 12))
        .collect();
    match (statuses.is_empty(), came.is_empty()) {
        (false, _) => statuses.join(" "),
        (true, true) => "-".to_owned(),
        (true, false) => "0.9".to_owned(),
    }
}

/// What a request of the table stands for.
fn bytes(written: &str) -> Vec<u8> {
    let mut all = Vec::new();
    let mut rest = written;
    while let Some(first) = rest.chars().next() {
        if let Some((count, text, behind)) = repetition(rest) {
            all.extend(bytes(text).repeat(count));
            rest = behind;
            continue;
        }
        let (taken, byte) = match rest.as_bytes() {
            [b'\\', b'r', ..] => (2, b"\r".to_vec()),
            [b'\\', b'n', ..] => (2, b"\n".to_vec()),
            [b'\\', b't', ..] => (2, b"\t".to_vec()),
            [b'\\', b'0', ..] => (2, b"\0".to_vec()),
            [b'\\', b'\\', ..] => (2, b"\\".to_vec()),
            [b'\\', b'x', high, low, ..] => {
                let digits = [*high, *low];
                let digits = std::str::from_utf8(&digits).expect("digits are ASCII");
                (4, vec![u8::from_str_radix(digits, 16).expect("two hexadecimal digits")])
            }
            [b'\\', ..] => panic!("no such escape: {rest}"),
            _ => (first.len_utf8(), first.to_string().into_bytes()),
        };
        all.extend(byte);
        rest = &rest[taken..];
    }
    all
}

/// `{1000*ab}` at the beginning: how often, what, and what stands behind.
fn repetition(text: &str) -> Option<(usize, &str, &str)> {
    let (inside, behind) = text.strip_prefix('{')?.split_once('}')?;
    let (count, repeated) = inside.split_once('*')?;
    Some((count.parse().ok()?, repeated, behind))
}

fn shown(written: &str) -> String {
    written.chars().take(200).collect()
}

#[test]
fn the_table_is_read_as_it_is_written() {
    assert_eq!(bytes(r"a\r\n\t\0\\\x7f{3*b\n}{x}"), b"a\r\n\t\0\\\x7fb\nb\nb\n{x}");
}
