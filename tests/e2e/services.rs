//! Services that a policy may import when the operator grants them: key-value pairs and token buckets.
use support::{Chain, Hosting, Launch, Policy, Server, Tree};

const GRANTS: &str = "grants = [\"key-value\", \"counters\"]";

fn services(settings: &str) -> Policy {
    Policy::guest("services").settings(settings)
}

fn server(tree: &Tree, settings: &str) -> (Chain, Server) {
    let chain = Chain::new([services(settings)]);
    let server = Launch::new(tree).plugins(&chain).start();
    (chain, server)
}

#[track_caller]
fn told(server: &Server, path: &str) -> String {
    let response = server.get(path);
    assert_eq!(response.status, 200, "{path}: {response:?}");
    response.text().to_owned()
}

#[test]
fn what_is_not_granted_says_what_to_add() {
    let tree = Tree::new();
    for (settings, import, add) in [
        (
            "grants = [\"counters\"]",
            "wasi:keyvalue/",
            "add \"key-value\" to its grants",
        ),
        (
            "grants = [\"key-value\"]",
            "wasmserve:policy/counters@0.1.0",
            "add \"counters\" to its grants",
        ),
    ] {
        let log = Launch::new(&tree).plugins(&Chain::new([services(settings)])).refusal();
        let line = log.lines().find(|line| line.contains("which is not granted"));
        let line = line.unwrap_or_else(|| panic!("{log}"));
        assert!(
            line.contains("services") && line.contains(import) && line.ends_with(add),
            "{line}"
        );
    }
}

#[test]
fn pairs_last_from_request_to_request() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, GRANTS);
    for (path, expected) in [
        ("/default/get/a", "None"),
        ("/default/exists/a", "false"),
        ("/default/set/a/one", "()"),
        ("/default/get/a", "Some(\"one\")"),
        ("/default/set/a/two", "()"),
        ("/default/get/a", "Some(\"two\")"),
        ("/default/exists/a", "true"),
        ("/default/increment/n/5", "5"),
        ("/default/increment/n/7", "12"),
        ("/default/get/n", "Some(\"12\")"),
        (
            "/default/increment/a/1",
            "Error::Other(\"the value is not a number in decimal digits\")",
        ),
        ("/default/keys", "a n"),
        ("/default/delete/a", "()"),
        ("/default/delete/a", "()"),
        ("/default/get/a", "None"),
        ("/default/keys", "n"),
        ("/other/get/a", "Error::NoSuchStore"),
    ] {
        assert_eq!(told(&server, path), expected, "{path}");
    }
}

#[test]
fn policies_have_buckets_of_their_own_and_share_what_the_operator_names() {
    let tree = Tree::new();
    let named = |name: &str| {
        services(&format!(
            "name = \"{name}\"\ngrants = [\"counters\"]\nkey-value = {{ buckets = [\"common\"] }}"
        ))
    };
    // The second policy of a chain is not asked: the first responds. So each has a server's turn.
    let first = Chain::new([named("first"), named("second")]);
    let server = Launch::new(&tree).plugins(&first).start();
    assert_eq!(told(&server, "/default/set/a/own"), "()");
    assert_eq!(told(&server, "/common/set/a/shared"), "()");
    assert_eq!(told(&server, "/common/get/a"), "Some(\"shared\")");
    assert_eq!(told(&server, "/default/get/a"), "Some(\"own\")");
}

#[test]
fn pairs_end_with_their_time_to_live() {
    let tree = Tree::new();
    let settings = "grants = [\"counters\"]\nkey-value = { time-to-live = \"300ms\" }";
    let (_chain, server) = server(&tree, settings);
    assert_eq!(told(&server, "/default/set/a/one"), "()");
    support::eventually("the pair is forgotten", || told(&server, "/default/get/a") == "None");
}

#[test]
fn pairs_are_bounded_and_the_least_recently_used_go_first() {
    let tree = Tree::new();
    let chain = Chain::new([services(GRANTS)]).append("[services.key-value]\nbytes = \"64KiB\"\npairs = 20\n");
    let server = Launch::new(&tree).plugins(&chain).start();
    assert_eq!(told(&server, "/default/fill/100/10"), "()");
    let kept = told(&server, "/default/keys");
    assert_eq!(kept.split(' ').count(), 20, "{kept}");
    assert!(kept.contains("99") && !kept.contains("79"), "{kept}");
    assert_eq!(told(&server, "/default/fill/100/10000"), "()");
    assert!(told(&server, "/default/keys").split(' ').count() <= 6);
    assert_eq!(
        told(&server, "/default/fill/1/70000"),
        "Error::Other(\"there is no room for a value of this size\")"
    );
}

/// The bounds of a configuration that came to nothing were those of the site from then on.
#[test]
fn a_reload_that_fails_leaves_what_is_kept() {
    let site = |pairs: u32| {
        format!(
            "[[site]]\nname = \"a\"\nhosts = [\"*\"]\nroot = \"root\"\n[site.services.key-value]\npairs = {pairs}\n\
             [[site.policy]]\nplugin = \"services\"\n{GRANTS}\n"
        )
    };
    let hosting = Hosting::new()
        .guest("services")
        .guest("misbehaving")
        .file("root/file", "");
    let hosting = hosting.config(&site(20));
    let server = hosting.start();
    assert_eq!(told(&server, "/default/fill/20/10"), "()");
    let kept = |server: &Server| told(server, "/default/keys").split(' ').count();
    assert_eq!(kept(&server), 20);
    let broken = "[[site.policy]]\nplugin = \"misbehaving\"\nconfig = { behaviour = \"configure_fails\" }\n";
    hosting.configure("", &(site(5) + broken));
    server.reload_in_vain("the key `colour` is missing");
    assert_eq!(told(&server, "/default/exists/0"), "true");
    assert_eq!(kept(&server), 20);
    hosting.configure("", &site(5));
    server.reload(2);
    assert_eq!(kept(&server), 5);
}

#[test]
fn a_token_bucket_admits_as_many_as_it_holds() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, GRANTS);
    for expected in ["true 2 0", "true 1 0", "true 0 ", "false 0 ", "false 0 "] {
        let told = told(&server, "/take/client/3/0.001");
        assert!(told.starts_with(expected), "{told}");
    }
    assert!(told(&server, "/take/another/3/0.001").starts_with("true 2 0"));
    assert_eq!(
        told(&server, "/take/never/1/0"),
        format!("true 0 {} {}", u64::MAX, u64::MAX)
    );
}

#[test]
fn no_more_are_admitted_than_the_limit_says_from_many_connections() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, GRANTS);
    let granted: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = server.connect();
                    let answers = (0..50).map(|_| connection.request("GET", "/take/key/100/0", &[]));
                    answers.filter(|answer| answer.text().starts_with("true")).count()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("no panic")).sum()
    });
    assert_eq!(granted, 100);
}

#[test]
fn token_buckets_are_bounded_and_none_is_reset_by_naming_others() {
    let tree = Tree::new();
    let chain = Chain::new([services(GRANTS)]).append("[services.counters]\nbuckets = 3\n");
    let server = Launch::new(&tree).plugins(&chain).start();
    for key in ["a", "b", "c"] {
        assert!(told(&server, &format!("/take/{key}/1/0")).starts_with("true"));
    }
    for at in 0..10 {
        assert!(told(&server, &format!("/take/{at}/1/0")).starts_with("error: 3 token buckets"));
    }
    for key in ["a", "b", "c"] {
        assert!(told(&server, &format!("/take/{key}/1/0")).starts_with("false"));
    }
}

#[test]
fn a_capacity_or_a_rate_that_is_none_traps() {
    let tree = Tree::new().file("file.txt", "content");
    let (_chain, server) = server(&tree, GRANTS);
    for path in ["/take/a/0/1", "/take/a/1/-1", "/take/a/1/inf", "/take/a/1/NaN"] {
        assert_eq!(server.get(path).status, 500, "{path}");
    }
    server.logged("a token bucket cannot hold 1 tokens and gain NaN a second");
}

#[test]
fn decisions_that_used_a_service_are_made_anew_and_private() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, GRANTS);
    for sum in 1..=10 {
        let response = server.get("/default/increment/n/1");
        assert_eq!(response.text(), sum.to_string());
        assert_eq!(response.header("cache-control"), Some("private"));
    }
}

#[test]
fn there_are_no_services_while_a_policy_is_configured() {
    let tree = Tree::new();
    for (configure, service) in [("take", "counters"), ("open", "key-value")] {
        let policy = services(GRANTS).config(&format!("configure = \"{configure}\""));
        let log = Launch::new(&tree).plugins(&Chain::new([policy])).refusal();
        let expected = format!("there is no {service} while a plugin is configured");
        assert!(log.contains("cannot be configured") && log.contains(&expected), "{log}");
    }
}

#[test]
fn check_prints_what_is_granted() {
    let tree = Tree::new();
    let settings = "grants = [\"counters\"]\nkey-value = { buckets = [\"common\"], time-to-live = \"1h\" }";
    let chain = Chain::new([services(settings)]);
    let checked = Launch::check(&tree).plugins(&chain).run_to_end();
    assert!(checked.status.success(), "{}", checked.log);
    let line = "grants     counters, key-value (bucket common, for 1h)";
    assert!(checked.log.contains(line), "{}", checked.log);
}

#[test]
fn explain_shows_what_a_service_was_asked() {
    let tree = Tree::new();
    let chain = Chain::new([services(GRANTS)]);
    let explained = Launch::bare()
        .arguments(["explain", "--root"])
        .arguments([tree.root()])
        .plugins(&chain)
        .arguments(["/take/client/3/1"])
        .run_to_end();
    assert!(explained.log.contains("take(\"client\", 3, 1)"), "{}", explained.log);
    assert!(explained.log.contains("granted, 2 left"), "{}", explained.log);
    assert!(
        explained
            .log
            .contains("it asked for counters, which cannot be repeated"),
        "{}",
        explained.log
    );
}
