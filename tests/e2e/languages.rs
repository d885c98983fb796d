//! The policy of `plugins/examples` in every language: built by its real tools, loaded by the real server, asked over a
//! socket. All answers are equal, and are what the specification says. (What cannot be sent over a socket is in the table
//! that `wasmserve test` runs.)
use std::{
    fs,
    net::Ipv4Addr,
    ops::RangeInclusive,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::{SystemTime, UNIX_EPOCH},
};
use support::{
    Chain, Connection, Launch, Policy, Response, Server, Tree, eventually, kernel_copies, project, server_binary,
};

const LANGUAGES: [&str; 5] = ["rust", "js", "ts", "python", "c"];

const CONFIG: &str = "prefix = \"/members/\"\nmembers = { alice = \"alice-token\", bob = \"bob.token_1\" }\n\
                      office = [\"127.0.0.2\"]\ncloses = 32503680000\npace = 1048576\nshared = true";

/// When the folder closes, in seconds since 1970: `closes` of [`CONFIG`].
const CLOSES: u64 = 32_503_680_000;

fn tree() -> Tree {
    Tree::new()
        .file("index.html", "home")
        .file("members/index.html", "members")
        .file("members/alice.html", "alice's")
        .file("members/a b.html", "ab")
        .file("members/a.txt", "text")
        .file("members/missing.html", "not here")
}

fn example(language: &str) -> PathBuf {
    project().join("plugins/examples").join(language)
}

fn members(language: &str, config: &str) -> Policy {
    Policy::at(example(language))
        .settings("grants = [\"sharing\"]")
        .config(config)
}

/// Compiled code of all tests and runs: an interpreter takes a while, however busy the machine is.
fn code_cache() -> PathBuf {
    let folder = server_binary().with_file_name("languages-code");
    fs::create_dir_all(&folder).expect("the target folder is writable");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("the folder is ours");
    folder
}

/// Runs a command of the server to its end, however long that takes.
fn wasmserve<'a>(arguments: impl IntoIterator<Item = &'a Path>) -> Output {
    let mut command = Command::new(server_binary());
    command.args(arguments).env("NO_COLOR", "1").env_remove("VIRTUAL_ENV");
    command.output().expect("the server was built")
}

/// `wasmserve check`: loads the chain as the server does.
fn check(tree: &Tree, chain: &Chain) -> Output {
    let (root, folder, cache) = (tree.root(), chain.folder(), code_cache());
    wasmserve([
        Path::new("check"),
        Path::new("--root"),
        &root,
        Path::new("--plugins"),
        &folder,
        Path::new("--code-cache"),
        &cache,
    ])
}

/// A server whose code was compiled before, so that it starts while somebody waits.
#[track_caller]
fn start(tree: &Tree, chain: &Chain) -> Server {
    let checked = check(tree, chain);
    let errors = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{errors}");
    let cache = code_cache();
    let launch = Launch::new(tree).plugins(chain).arguments(["--code-cache"]);
    launch.arguments([cache]).start()
}

/// What must be the same, whatever the policy is written in, of an answer to a request that was sent and answered between
/// these seconds since 1970. An answer that is fresh until the folder closes says how many seconds that is away, which is
/// one less for whoever is asked a moment later.
fn essence(response: &Response, asked: RangeInclusive<u64>) -> (u16, Vec<(String, String)>, String) {
    let mut headers = response.stable_headers();
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == "cache-control") {
        let left = value.split(", ").find_map(|member| member.strip_prefix("max-age="));
        let left = left.map(|left| left.parse::<u64>().expect("a number of seconds"));
        if let Some(left) = left.filter(|left| *left > 366 * 86_400) {
            assert!(asked.contains(&(CLOSES - left)), "{asked:?}: {response:?}");
            *value = value.replace(&left.to_string(), "(until it closes)");
        }
    }
    (response.status, headers, response.text().to_owned())
}

fn seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}

/// A method, a target, header fields, whether it is asked from the office, and the answer.
type Case = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    bool,
    (u16, &'static str),
);

const ALICE: &[(&str, &str)] = &[("Cookie", "a=1; member=alice-token")];

#[test]
fn every_language_gives_the_same_answers() {
    let tree = tree();
    let cases: &[Case] = &[
        ("GET", "/", &[], false, (200, "home")),
        ("GET", "/none.html", &[], false, (404, "")),
        ("GET", "/membership", &[], false, (404, "")),
        ("POST", "/members/", ALICE, false, (405, "405 Method Not Allowed\n")),
        ("GET", "/members/", ALICE, false, (200, "alice's")),
        ("HEAD", "/members/", ALICE, false, (200, "")),
        (
            "GET",
            "/members/?b",
            &[("Cookie", "member=bob.token_1")],
            false,
            (200, "members"),
        ),
        ("GET", "/members/a%20b.html", ALICE, false, (200, "ab")),
        (
            "GET",
            "/members/a.txt",
            &[("Authorization", "bEARER  bob.token_1")],
            false,
            (200, "text"),
        ),
        ("GET", "/members/none", ALICE, false, (404, "not here")),
        ("GET", "/members/a.txt", &[], false, (401, "Members only.\n")),
        ("GET", "/members/a.txt", &[], true, (200, "text")),
        (
            "GET",
            "/members/a.txt",
            &[("Authorization", "Bearer nobody")],
            true,
            (401, "Members only.\n"),
        ),
        ("GET", "/members/a%20b.html?invite=alice-token", &[], false, (303, "")),
        (
            "GET",
            "/members/a.txt?invite=alice-token%00",
            &[],
            false,
            (401, "Members only.\n"),
        ),
        (
            "GET",
            "/members/a.txt?invite=%C3%BC",
            &[("Cookie", "member=\"alice-token\"")],
            false,
            (200, "text"),
        ),
    ];
    let servers: Vec<(&str, Server)> = LANGUAGES
        .into_iter()
        .map(|language| (language, start(&tree, &Chain::new([members(language, CONFIG)]))))
        .collect();
    // The second time, the decision is a kept one.
    for _ in 0..2 {
        for (method, target, headers, office, (status, text)) in cases {
            let mut first = None;
            for (language, server) in &servers {
                let source = Ipv4Addr::new(127, 0, 0, if *office { 2 } else { 1 });
                let mut connection = Connection::open_from(source, server.address());
                let begun = seconds();
                let response = connection.request(method, target, headers);
                // What is left is told in whole seconds, of a moment that is not one.
                let asked = begun..=seconds() + 1;
                let what = format!("{language}: {method} {target} {headers:?}: {response:?}");
                assert_eq!(response.status, *status, "{what}");
                if !text.is_empty() || *method == "HEAD" {
                    assert_eq!(response.text(), *text, "{what}");
                }
                let essence = essence(&response, asked);
                assert_eq!(*first.get_or_insert_with(|| essence.clone()), essence, "{what}");
            }
        }
    }
    let (_, rust) = &servers[0];
    assert_eq!(rust.get("/").header("link"), Some("</members/>; rel=\"related\""));
    let welcome = rust.request("GET", "/members/", ALICE);
    assert_eq!(welcome.header("x-member"), Some("alice"));
    assert!(
        welcome.members("cache-control").contains(&"max-age=60".to_owned()),
        "{welcome:?}"
    );
    let invited = rust.get("/members/a%20b.html?invite=alice-token");
    let cookie = "member=alice-token; Path=/members/; HttpOnly; SameSite=Lax";
    assert_eq!(invited.header("set-cookie"), Some(cookie));
    assert_eq!(invited.header("location"), Some("/members/a%20b.html"));
}

/// Facts of an earlier policy, and an error, which nobody is told the reason of.
#[test]
fn every_language_reads_facts_and_fails_closed() {
    let tree = tree();
    for (fact, status, text) in [
        ("user=bob", 200, Some("members")),
        ("user=mallory", 403, Some("403 Forbidden\n")),
        ("user=", 500, None),
    ] {
        for language in LANGUAGES {
            let probe = Policy::guest("probe").config(&format!("facts = \"{fact}\""));
            let server = start(&tree, &Chain::new([probe, members(language, CONFIG)]));
            let response = server.get("/members/");
            assert_eq!(response.status, status, "{language}, {fact}: {response:?}");
            match text {
                Some(text) => assert_eq!(response.text(), text, "{language}, {fact}"),
                None => {
                    assert!(!response.text().contains("user"), "{language}: {response:?}");
                    server.logged("the fact `user` is empty");
                }
            }
        }
    }
}

/// What is wrong with a configuration is said in the same words, all of it at once.
#[test]
fn every_language_refuses_what_is_no_configuration() {
    // An interpreter is compiled for this; once is enough.
    if kernel_copies() {
        return;
    }
    let tree = tree();
    let wrong =
        "prefix = \"/members/*\"\nmembers = { alice = \"short\", Bob = \"bob.token_1\" }\noffice = [\"10.0.0.0/33\"]";
    for language in LANGUAGES {
        let checked = check(&tree, &Chain::new([members(language, wrong)]));
        let errors = String::from_utf8_lossy(&checked.stderr);
        assert!(!checked.status.success(), "{language}");
        for problem in [
            "`prefix`: \"/members/*\" is not a pattern",
            "`members`: \"Bob\" is no name",
            "`members`: \"alice\" has no token",
            "`office`: \"10.0.0.0/33\" has a length that is not 0 to 32",
        ] {
            assert!(errors.contains(problem), "{language}: {problem}: {errors}");
        }
    }
}

/// Observers where an interpreter is told; that of Rust is the policy `quota`'s.
#[test]
fn observers_in_other_languages_take_note() {
    // An interpreter is compiled for this; once is enough.
    if kernel_copies() {
        return;
    }
    let tree = tree();
    let usage = "key-value = { buckets = [\"usage\"] }";
    for language in ["js", "python"] {
        let meter = Policy::at(example(language).join("meter")).observing().settings(usage);
        let chain = Chain::new([
            Policy::guest("probe").config("facts = \"user=ada\"\nonly = \"/members/\""),
            Policy::guest("services")
                .settings(&format!("grants = [\"counters\"]\n{usage}"))
                .config("only = \"/usage/\""),
            meter.config("by = \"user\""),
        ]);
        let server = start(&tree, &chain);
        let is_written = |key: &str, value: &str| {
            let target = format!("/usage/get/{key}%20of%20ada");
            let value = format!("Some({value:?})");
            eventually(&value, || server.get(&target).text() == value);
        };
        assert_eq!(server.get("/members/a.txt").text(), "text", "{language}");
        is_written("bytes", "4");
        is_written("last", "/members/a.txt 200 127.0.0.1 completed");
        assert_eq!(server.get("/fault").status, 404);
        server.logged("nobody to count for");
        // It goes on with what it counted, whatever it threw.
        assert_eq!(server.get("/members/a.txt").text(), "text", "{language}");
        is_written("bytes", "8");
    }
}

/// Nothing is installed: what is missing is said, with the command that brings it.
#[test]
fn a_build_without_its_tools_says_what_to_run() {
    for (language, manifest, advice) in [
        ("js", "package.json", "npm install`"),
        ("ts", "package.json", "npm install`"),
        (
            "python",
            "requirements.txt",
            "python3 -m venv .venv && .venv/bin/pip install -r requirements.txt`",
        ),
    ] {
        let folder = tempfile::tempdir().expect("the machine has room for temporary files");
        for file in ["plugin.toml", manifest] {
            fs::copy(example(language).join(file), folder.path().join(file)).expect("the example has it");
        }
        let text = fs::read_to_string(folder.path().join("plugin.toml")).expect("it was just copied");
        let bare: Vec<&str> = text.lines().filter(|line| !line.starts_with("sources")).collect();
        let bare = bare.join("\n").replace("[build]", "[build]\nsources = [\"src\"]");
        fs::write(folder.path().join("plugin.toml"), bare).expect("the folder is writable");
        symlink(example(language).join("src"), folder.path().join("src")).expect("the folder is writable");
        let mut command = Command::new(server_binary());
        // No tool of this machine is found by chance.
        let path = std::env::var_os("PATH").expect("there is a search path");
        let path = std::env::split_paths(&path).filter(|folder| !folder.join("componentize-py").exists());
        let path = std::env::join_paths(path).expect("it was one before");
        let built = command
            .arg("build")
            .arg(folder.path())
            .env("PATH", path)
            .env_remove("VIRTUAL_ENV");
        let built = built.output().expect("the server was built");
        let errors = String::from_utf8_lossy(&built.stderr);
        assert!(!built.status.success(), "{language}: {errors}");
        let expected = format!("run `cd {} && {advice}", folder.path().display());
        assert!(errors.contains(&expected), "{language}: {errors}");
    }
}

/// The types that the JavaScript SDK is given away with are made of its source.
#[test]
fn the_types_of_the_javascript_sdk_are_those_of_its_source() {
    let made = tempfile::tempdir().expect("the machine has room for temporary files");
    let sdk = project().join("plugins/sdk/js");
    let mut tsc = Command::new(example("ts").join("node_modules/.bin/tsc"));
    let output = tsc.arg("--project").arg(&sdk).arg("--outDir").arg(made.path()).output();
    let output = output.expect("`cargo xtask test` installs it");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let contents = |folder: &Path| -> Vec<(PathBuf, String)> {
        let entries = fs::read_dir(folder).expect("it is a folder");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
        files.sort();
        let read = |file: PathBuf| {
            let text = fs::read_to_string(&file).expect("types are text");
            (file.file_name().map(PathBuf::from).unwrap_or_default(), text)
        };
        files.into_iter().map(read).collect()
    };
    assert_eq!(contents(made.path()), contents(&sdk.join("types")));
}
