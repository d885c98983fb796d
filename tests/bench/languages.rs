//! `cargo xtask bench languages`: what a policy costs in each language, as the table in `plugins/examples/README.md`.
//!
//! The policy of `plugins/examples` is built anew, loaded without and with a cache of compiled code, and asked over one
//! connection: requests that differ in their token, so that it runs for each (in an instance of its own, and in one that is
//! used again), and one request again and again, whose decision is kept. Costs are processor time of the server per request,
//! less what the same request costs without any policy; so a busy machine makes them a little larger, not many times.
//!
//! Touches loopback only. Every loop is bounded; every process that is started is ended.
#![forbid(unsafe_code)]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};
use support::{Chain, Launch, Policy, Server, Tree, process, project, server_binary};

const LANGUAGES: [(&str, &str); 5] = [
    ("rust", "Rust"),
    ("c", "C"),
    ("js", "JavaScript"),
    ("ts", "TypeScript"),
    ("python", "Python"),
];

const CONFIG: &str = "prefix = \"/members/\"\nmembers = { alice = \"alice-token\" }";
const TARGET: &str = "/members/a.txt";

/// Requests before those that are counted, and those that are.
const WARM_UP: usize = 500;
const REQUESTS: usize = 4000;

const TABLE: &str = "plugins/examples/README.md";
const BEGIN: &str = "<!-- costs: begin -->";
const END: &str = "<!-- costs: end -->";

/// What was measured of one language.
struct Row {
    language: &'static str,
    build: Duration,
    size: u64,
    load: Duration,
    load_cached: Duration,
    fresh: f64,
    reused: f64,
    kept: f64,
}

fn main() -> ExitCode {
    let tree = Tree::new().file("members/a.txt", "text");
    let without = cost(&Launch::new(&tree).start(), Asked::Anew);
    let rows: Vec<Row> = LANGUAGES
        .iter()
        .map(|(folder, language)| {
            eprintln!("{language}");
            measure(&tree, folder, language, without)
        })
        .collect();
    let table = table(&rows, without);
    print!("{table}");
    let file = project().join(TABLE);
    match fs::read_to_string(&file).map(|text| replaced(&text, &table)) {
        Ok(Some(text)) if fs::write(&file, &text).is_ok() => ExitCode::SUCCESS,
        _ => {
            eprintln!("{TABLE} has no markers, or cannot be written");
            ExitCode::FAILURE
        }
    }
}

fn measure(tree: &Tree, folder: &str, language: &'static str, without: f64) -> Row {
    let plugin = project().join("plugins/examples").join(folder);
    let chain = |settings: &str| Chain::new([Policy::at(plugin.clone()).settings(settings).config(CONFIG)]);
    let build = wall(Command::new(server_binary()).args(["build", "--force"]).arg(&plugin));
    let size = fs::metadata(plugin.join("members.wasm")).map_or(0, |metadata| metadata.len());
    let cache = tempfile::tempdir().expect("the machine has room for temporary files");
    fs::set_permissions(cache.path(), fs::Permissions::from_mode(0o700)).expect("the folder is ours");
    let ordinary = chain("");
    let load = wall(&mut check(tree, &ordinary.folder(), cache.path()));
    let load_cached = wall(&mut check(tree, &ordinary.folder(), cache.path()));
    let start = |chain: &Chain| {
        let launch = Launch::new(tree).plugins(chain).arguments(["--code-cache"]);
        launch.arguments([cache.path()]).start()
    };
    let server = start(&ordinary);
    let fresh = cost(&server, Asked::Anew) - without;
    let kept = cost(&server, Asked::Again) - without;
    drop(server);
    let reusing = chain("isolation = \"reuse\"");
    // What such an instance is made of was not compiled yet.
    wall(&mut check(tree, &reusing.folder(), cache.path()));
    let reused = cost(&start(&reusing), Asked::Anew) - without;
    Row {
        language,
        build,
        size,
        load,
        load_cached,
        fresh,
        reused,
        kept,
    }
}

/// Loads a chain as a server does, without serving.
fn check(tree: &Tree, plugins: &Path, cache: &Path) -> Command {
    let mut command = Command::new(server_binary());
    let root: PathBuf = tree.root();
    command
        .arg("check")
        .arg("--root")
        .arg(root)
        .arg("--plugins")
        .arg(plugins);
    command.arg("--code-cache").arg(cache);
    command
}

/// How long a command takes that has to end well.
fn wall(command: &mut Command) -> Duration {
    let since = Instant::now();
    let output = command.output().expect("the server was built");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    since.elapsed()
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// A token that nobody asked with before: the policy runs.
    Anew,
    /// The same as before.
    Again,
}

/// Processor time of one request, in microseconds.
fn cost(server: &Server, asked: Asked) -> f64 {
    let mut connection = server.connect();
    let mut ask = |number: usize| {
        let cookie = match asked {
            Asked::Anew => format!("member=nobody-{number}"),
            Asked::Again => "member=alice-token".to_owned(),
        };
        let status = connection.request("GET", TARGET, &[("Cookie", &cookie)]).status;
        assert!(status == 200 || status == 401, "{status}");
    };
    (0..WARM_UP).for_each(&mut ask);
    let before = process::cpu_time(server.pid());
    (WARM_UP..WARM_UP + REQUESTS).for_each(ask);
    let spent = process::cpu_time(server.pid()) - before;
    spent.as_secs_f64() * 1e6 / REQUESTS as f64
}

fn table(rows: &[Row], without: f64) -> String {
    let mut table = String::from(
        "| language | build | artefact | first load | load with compiled code | fresh call | call of a used instance | kept decision |\n\
         |---|--:|--:|--:|--:|--:|--:|--:|\n",
    );
    for row in rows {
        let Row { language, .. } = row;
        table += &format!(
            "| {language} | {} | {} | {} | {} | {} | {} | {} |\n",
            seconds(row.build),
            kibibytes(row.size),
            seconds(row.load),
            seconds(row.load_cached),
            microseconds(row.fresh),
            microseconds(row.reused),
            microseconds(row.kept),
        );
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    table += &format!(
        "\nMade by `cargo xtask bench languages` on {cores} cores. A call: processor time of the server for one request, more than \
         the {without:.0} µs that it takes without any policy; `fresh` starts from the configured state, a used instance does not \
         (`isolation = \"reuse\"`), and a kept decision runs no policy. Builds are from scratch but for what cargo has built \
         already.\n"
    );
    table
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn kibibytes(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes.div_ceil(1024)),
        _ => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
    }
}

/// Below one, the clock's ticks and the other work of a request say more than the policy.
fn microseconds(value: f64) -> String {
    if value < 1.0 {
        return "< 1 µs".into();
    }
    format!("{value:.0} µs")
}

/// The file with this between its markers.
fn replaced(text: &str, table: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{table}{END}{after}"))
}
