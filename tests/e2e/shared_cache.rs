//! A real shared cache in front: nginx's `proxy_cache`, which goes by Cache-Control, Vary, Expires and X-Accel-Expires and
//! knows nothing about users. Nobody is ever given what was made for another, and what may be shared is.
use std::{
    path::Path,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use support::{
    Chain, Connection, Fields, Launch, Nginx, Policy, Response, Server, Tree, eventually, password_hash, pattern,
};

/// Everything may be kept by everybody, as far as this first policy of each chain is concerned.
const PUBLIC: &str = "headers = \"set | Cache-Control | public, max-age=3600, s-maxage=7200\"";

/// Where a policy writes what it was told.
const ANSWERS: &str = "x-answers";

/// Who may be given a kept answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// Everybody.
    ForAll,
    /// Who asks in the same words.
    PerVariant,
    /// Nobody: not even kept.
    Never,
}

/// What one policy asks beneath a folder of the case's name, and two visitors who differ in what it asks.
struct Case {
    name: &'static str,
    ask: &'static str,
    /// More lines of the policy's configuration.
    more: &'static str,
    target: &'static str,
    status: u16,
    visitors: [Fields<'static>; 2],
    kept: Kept,
}

const ONE: Fields<'static> = &[("X-Test", "one"), ("Cookie", "session=one"), ("Authorization", "one")];
const TWO: Fields<'static> = &[("X-Test", "two"), ("Cookie", "session=two"), ("Authorization", "two")];

const fn case(name: &'static str, ask: &'static str, kept: Kept) -> Case {
    Case {
        name,
        ask,
        more: "",
        target: "file.txt",
        status: 200,
        visitors: [ONE, TWO],
        kept,
    }
}

const CASES: &[Case] = &[
    case(
        "nothing-personal",
        "method\npath\ntargets\nquery\nquery-parameter a\nscheme\nhost\nsite",
        Kept::ForAll,
    ),
    case("a-header", "header X-Test", Kept::PerVariant),
    case("all-of-a-header", "header-values X-Test", Kept::PerVariant),
    Case {
        visitors: [&[], TWO],
        ..case("a-header-that-is-absent", "header X-Test", Kept::PerVariant)
    },
    Case {
        visitors: [&[("X-One", "1"), ("X-Two", "2")], &[("X-One", "1"), ("X-Two", "3")]],
        ..case("two-headers", "header X-One\nheader X-Two", Kept::PerVariant)
    },
    case("a-cookie", "cookie session", Kept::Never),
    case("all-cookies", "header Cookie", Kept::Never),
    Case {
        visitors: [&[], TWO],
        ..case("a-cookie-that-is-absent", "cookie session", Kept::Never)
    },
    case("credentials", "header Authorization", Kept::Never),
    case("all-credentials", "header-values Authorization", Kept::Never),
    case("a-header-and-a-cookie", "header X-Test\ncookie session", Kept::Never),
    case("the-address", "client-address", Kept::Never),
    case("a-network", "client-within 127.0.0.0/8", Kept::Never),
    case("a-private-fact", "fact user", Kept::Never),
    case("a-public-fact", "fact tenant", Kept::ForAll),
    Case {
        more: "headers = \"set | X-Accel-Expires | 3600\"",
        ..case("accel", "path", Kept::ForAll)
    },
    Case {
        more: "headers = \"set | X-Accel-Expires | 3600\\nset | Expires | Thu, 01 Jan 2099 00:00:00 GMT\"",
        ..case("accel-and-a-cookie", "cookie session", Kept::Never)
    },
    Case {
        more: "sharing = \"allowed\"",
        ..case("allowed", "client-address\nheader X-Test", Kept::ForAll)
    },
    Case {
        target: "nothing.txt",
        status: 404,
        ..case("missing", "path", Kept::ForAll)
    },
    Case {
        target: "nothing.txt",
        status: 404,
        ..case("missing-for-a-header", "header X-Test", Kept::PerVariant)
    },
    Case {
        target: "nothing.txt",
        status: 404,
        ..case("missing-for-a-cookie", "cookie session", Kept::Never)
    },
    Case {
        target: "folder",
        status: 301,
        ..case("redirected", "path", Kept::ForAll)
    },
    Case {
        target: "folder",
        status: 301,
        ..case("redirected-with-a-cookie", "cookie session", Kept::Never)
    },
    Case {
        target: "folder?q=1",
        status: 301,
        ..case("redirected-with-a-header", "header X-Test", Kept::PerVariant)
    },
    Case {
        more: "respond = \"403\"\nresponse-headers = \"Cache-Control: public, max-age=60\"",
        status: 403,
        ..case("refused-by-a-cookie", "cookie session", Kept::Never)
    },
    Case {
        more: "respond = \"echo\"",
        ..case("answered-with-a-cookie", "cookie session", Kept::Never)
    },
    Case {
        more: "respond = \"echo\"",
        ..case("answered-with-a-header", "header X-Test", Kept::PerVariant)
    },
];

/// The cache, with the server behind it.
struct Cached {
    nginx: Nginx,
    _server: Server,
    _chain: Chain,
}

impl Cached {
    fn new(tree: &Tree, policies: impl IntoIterator<Item = Policy>) -> Self {
        let chain = Chain::new(std::iter::once(Policy::guest("probe").config(PUBLIC)).chain(policies));
        let server = Launch::new(tree).plugins(&chain).start();
        let upstream = server.address();
        let nginx = Nginx::start(
            |folder: &Path| format!("proxy_cache_path {}/cache keys_zone=shared:1m;", folder.display()),
            |_| {
                format!(
                    "location / {{ proxy_pass http://{upstream}; proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
                     proxy_set_header Connection \"\"; proxy_cache shared; proxy_cache_revalidate on;\n\
                     add_header X-Cache-Status $upstream_cache_status always; }}"
                )
            },
        );
        Self {
            nginx,
            _server: server,
            _chain: chain,
        }
    }

    #[track_caller]
    fn get(&self, target: &str, headers: Fields<'_>) -> Response {
        Connection::open(self.nginx.address()).request("GET", target, headers)
    }
}

/// Whether the cache gave it without asking anew.
fn is_kept(response: &Response) -> bool {
    // nginx says it twice when it answers 416.
    let said = response.header_values("x-cache-status");
    let status = said.first().copied().unwrap_or("none");
    assert!(
        ["MISS", "HIT", "EXPIRED", "REVALIDATED"].contains(&status),
        "{response:?}"
    );
    status == "HIT"
}

/// What the policy was told about the visitor, wherever it wrote that.
fn answers(response: &Response) -> String {
    match response.header(ANSWERS) {
        Some(answers) => answers.to_owned(),
        None => response.text().trim_end().replace('\n', "; "),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

/// A tree with a folder for each case, and the policies beneath them.
fn table() -> (Tree, Vec<Policy>) {
    let facts = [
        "only = \"/a-private-fact/\"\nask = \"cookie session\"\nfacts = \"user=alice\"",
        "only = \"/a-public-fact/\"\nask = \"path\"\nfacts = \"tenant=readers\"",
    ];
    let mut policies: Vec<Policy> = facts
        .into_iter()
        .map(|config| Policy::guest("probe").config(config))
        .collect();
    let mut tree = Tree::new();
    for Case { name, ask, more, .. } in CASES {
        tree = tree
            .file(&format!("{name}/file.txt"), "content")
            .file(&format!("{name}/folder/index.html"), "index");
        let config = format!("only = \"/{name}/\"\nask = {ask:?}\nanswers-header = \"{ANSWERS}\"\n{more}");
        let policy = Policy::guest("probe").config(&config);
        policies.push(match more.contains("allowed") {
            true => policy.settings("grants = [\"sharing\"]"),
            false => policy,
        });
    }
    (tree, policies)
}

#[test]
fn nobody_is_given_what_was_made_for_another() {
    let (tree, policies) = table();
    let cached = Cached::new(&tree, policies);
    for case in CASES {
        let target = format!("/{}/{}", case.name, case.target);
        let visit = |visitor: Fields<'_>| {
            let response = cached.get(&target, visitor);
            assert_eq!(response.status, case.status, "{}: {response:?}", case.name);
            (is_kept(&response), answers(&response))
        };
        let [one, two] = case.visitors;
        if case.kept == Kept::Never {
            let told = [one, one, two, two, one].map(|visitor| {
                let (kept, told) = visit(visitor);
                assert!(!kept, "{}", case.name);
                // Time to be kept in, if it were.
                thread::sleep(Duration::from_millis(10));
                told
            });
            assert!(
                told[0] == told[1] && told[2] == told[3] && told[0] == told[4],
                "{}: {told:?}",
                case.name
            );
            continue;
        }
        let (_, to_one) = visit(one);
        // nginx keeps an answer a moment after it has sent it.
        let kept_for = |visitor, expected: &str| {
            eventually(case.name, || {
                let (kept, told) = visit(visitor);
                assert_eq!(told, expected, "{}", case.name);
                kept
            });
        };
        kept_for(one, &to_one);
        let (kept, to_two) = visit(two);
        match case.kept {
            Kept::PerVariant => assert!(!kept && to_one != to_two, "{}: {to_two}", case.name),
            _ => assert!(kept && to_one == to_two, "{}: {to_two}", case.name),
        }
        kept_for(two, &to_two);
        assert_eq!(visit(one), (true, to_one), "{}", case.name);
    }
}

#[test]
fn a_password_opens_for_nobody_else() {
    let tree = Tree::new().file("private/file.txt", "secret").file("file.txt", "open");
    let hash = password_hash("correct horse");
    let guard = format!("prefixes = [\"/private/\"]\nusers = {{ alice = \"{hash}\", bob = \"{hash}\" }}");
    let greeting = format!("only = \"/private/\"\nask = \"fact user\"\nanswers-header = \"{ANSWERS}\"");
    let cached = Cached::new(
        &tree,
        [
            Policy::standard("basic-auth").config(&guard),
            Policy::guest("probe").config(&greeting),
        ],
    );
    // In base64: the names and `:correct horse`.
    let alice: Fields<'_> = &[("Authorization", "Basic YWxpY2U6Y29ycmVjdCBob3JzZQ==")];
    let bob: Fields<'_> = &[("Authorization", "Basic Ym9iOmNvcnJlY3QgaG9yc2U=")];
    let wrong: Fields<'_> = &[("Authorization", "Basic YWxpY2U6d3Jvbmc=")];
    for (visitor, status, user) in [
        (alice, 200, "alice"),
        (&[], 401, ""),
        (bob, 200, "bob"),
        (wrong, 401, ""),
        (alice, 200, "alice"),
        (&[], 401, ""),
    ] {
        let response = cached.get("/private/file.txt", visitor);
        assert_eq!(response.status, status, "{response:?}");
        assert!(!is_kept(&response), "{response:?}");
        assert_eq!(response.text().contains("secret"), status == 200);
        if status == 200 {
            assert!(answers(&response).contains(user), "{response:?}");
        }
    }
    // What the guard lets through without a question is everybody's.
    assert!(!is_kept(&cached.get("/file.txt", alice)));
    for visitor in [bob, &[]] {
        eventually("it is kept for everybody", || {
            is_kept(&cached.get("/file.txt", visitor))
        });
    }
}

/// Many at once, each with a session and a language of his own.
#[test]
fn a_crowd_is_not_mixed_up() {
    let tree = Tree::new()
        .file("own/file.txt", "content")
        .file("varied/file.txt", "content");
    let config =
        |folder: &str, ask: &str| format!("only = \"/{folder}/\"\nask = {ask:?}\nanswers-header = \"{ANSWERS}\"");
    let cached = Cached::new(
        &tree,
        [
            Policy::guest("probe").config(&config("own", "cookie session")),
            Policy::guest("probe").config(&config("varied", "header Accept-Language")),
        ],
    );
    thread::scope(|scope| {
        for visitor in 0..16 {
            let cached = &cached;
            scope.spawn(move || {
                let (cookie, language) = (format!("session={visitor}"), format!("x-{}", visitor % 4));
                let headers: Fields<'_> = &[("Cookie", &cookie), ("Accept-Language", &language)];
                let mut connection = Connection::open(cached.nginx.address());
                for _ in 0..50 {
                    let own = connection.request("GET", "/own/file.txt", headers);
                    assert_eq!(answers(&own), format!("some({visitor})"), "{own:?}");
                    assert!(!is_kept(&own), "{own:?}");
                    let varied = connection.request("GET", "/varied/file.txt", headers);
                    assert_eq!(answers(&varied), format!("some({language})"), "{varied:?}");
                }
                assert!(is_kept(&connection.request("GET", "/varied/file.txt", headers)));
            });
        }
    });
}

#[test]
fn an_answer_is_not_kept_beyond_the_moment_it_depends_on() {
    let tree = Tree::new().file("file.txt", "content");
    let until = now() + 8;
    // Answers of the policy's own, because nginx gives the fields that it has kept when a file is still the same (304).
    let embargo = format!("ask = \"before {until}\"\nrespond = \"echo\"\nresponse-headers = \"X-Accel-Expires: 3600\"");
    let cached = Cached::new(&tree, [Policy::guest("probe").config(&embargo)]);
    let (mut kept, mut in_time) = (false, false);
    loop {
        let began = now();
        let response = cached.get("/file.txt", &[]);
        match answers(&response).as_str() {
            "true" => assert!(began < until, "kept beyond the moment: {response:?}"),
            "false" => break assert!(now() >= until, "{response:?}"),
            other => panic!("{other}: {response:?}"),
        }
        kept |= is_kept(&response);
        // Later it is fresh for less than what the cache counts in.
        in_time |= began + 3 < until;
        thread::sleep(Duration::from_millis(50));
    }
    // A busy machine may have needed the whole time to start.
    assert!(kept || !in_time, "it was never shared before the moment");
}

#[test]
fn ranges_and_preconditions_are_those_of_the_visitor() {
    let content = pattern(41, 100_000);
    let tree = Tree::new()
        .file("own/file.bin", &content)
        .file("all/file.bin", &content);
    let own = format!("only = \"/own/\"\nask = \"cookie session\"\nanswers-header = \"{ANSWERS}\"");
    let cached = Cached::new(&tree, [Policy::guest("probe").config(&own)]);
    for (folder, shared) in [("own", false), ("all", true)] {
        let target = format!("/{folder}/file.bin");
        let whole = cached.get(&target, &[("Cookie", "session=one")]);
        assert!(whole.body == content && !is_kept(&whole));
        if shared {
            eventually("it is kept", || is_kept(&cached.get(&target, &[])));
        }
        let tag = whole.header("etag").expect("a file has an entity tag");
        for (name, value, status, body) in [
            ("Range", "bytes=100-299", 206, &content[100..300]),
            ("Range", "bytes=-50", 206, &content[99_950..]),
            ("Range", "bytes=100000-", 416, &[][..]),
            ("If-None-Match", tag, 304, &[]),
            ("If-None-Match", "\"another\"", 200, &content),
            ("If-Match", "\"another\"", 412, &[]),
        ] {
            let response = cached.get(&target, &[("Cookie", "session=two"), (name, value)]);
            if shared {
                assert_eq!(response.status, status, "{name}: {value}: {response:?}");
                assert!(status >= 300 || response.body == body, "{name}: {value}");
                assert!(is_kept(&response), "{name}: {value}: {response:?}");
            } else {
                // nginx asks for the whole without conditions, and gives that when it may not keep it.
                assert_eq!(
                    (response.status, answers(&response)),
                    (200, "some(two)".into()),
                    "{name}: {value}"
                );
                assert!(response.body == content && !is_kept(&response), "{name}: {value}");
            }
        }
    }
}

#[test]
fn what_has_expired_is_revalidated_and_codings_are_kept_apart() {
    let text = "a text that compresses well\n".repeat(100);
    let tree = Tree::new()
        .file("page.txt", &text)
        .modified("page.txt", 1_700_000_000)
        .file("page.txt.gz", pattern(42, 300));
    let brief = "headers = \"set | Cache-Control | public, max-age=1\"";
    let cached = Cached::new(&tree, [Policy::guest("probe").config(brief)]);
    let gzip: Fields<'_> = &[("Accept-Encoding", "gzip")];
    for _ in 0..2 {
        assert_eq!(cached.get("/page.txt", &[]).text(), text);
        let coded = cached.get("/page.txt", gzip);
        assert_eq!(coded.header("content-encoding"), Some("gzip"));
        assert_eq!(coded.body, pattern(42, 300));
    }
    thread::sleep(Duration::from_millis(2100));
    for headers in [&[][..], gzip] {
        let response = cached.get("/page.txt", headers);
        assert_eq!(response.header("x-cache-status"), Some("REVALIDATED"), "{response:?}");
        assert_eq!(response.header("content-encoding").is_some(), !headers.is_empty());
        assert_eq!(response.body.len(), if headers.is_empty() { text.len() } else { 300 });
    }
}

/// A failure is nobody's to keep, though the first policy lets everything be kept.
#[test]
fn failures_are_not_kept() {
    let tree = Tree::new().file("file.txt", "content");
    let policy = Policy::guest("misbehaving").config("behaviour = \"trap\"\nonly = \"/file.txt\"");
    let accel = Policy::guest("probe").config("headers = \"set | X-Accel-Expires | 3600\"");
    let cached = Cached::new(&tree, [accel, policy]);
    for _ in 0..3 {
        let response = cached.get("/file.txt", &[]);
        assert!(response.status >= 500 && !is_kept(&response), "{response:?}");
    }
}
