//! A candidate beside live traffic: it changes nothing, and says what it would change.
use support::{Chain, Launch, Policy, Server, Tree, admin, eventually};

fn tree() -> Tree {
    Tree::new()
        .file("file.txt", "content")
        .modified("file.txt", 1_000_000_000)
}

/// A policy and its candidate, both guests of this name.
fn chain(guest: &str, config: &str, candidate: &str) -> Chain {
    let settings = format!("[policy.shadow]\nplugin = \"{guest}\"\n[policy.shadow.config]\n{candidate}");
    Chain::new([Policy::guest(guest).settings(&settings).config(config)])
}

fn serving(tree: &Tree, chain: &Chain) -> (Server, impl Fn() -> String) {
    let (server, socket) = admin::serving(tree, chain, &[]);
    (server, move || admin::get(&socket, "/sites"))
}

/// Waits until so many comparisons ended so.
#[track_caller]
fn until(sites: impl Fn() -> String, counts: &str) {
    eventually(&format!("{counts}, not {}", sites()), || sites().contains(counts));
}

#[test]
fn agreement_is_counted_and_nothing_is_logged() {
    let tree = tree();
    let config = "ask = \"path\\nheader accept\"\nheaders = \"set|x-a|1||\"";
    let chain = chain("probe", config, config);
    let (server, sites) = serving(&tree, &chain);
    for _ in 0..5 {
        assert_eq!(server.get("/file.txt").header("x-a"), Some("1"));
    }
    until(
        sites,
        "\"counts\":{\"agreed\":5,\"differed\":0,\"failed\":0,\"dropped\":0}",
    );
    assert!(!server.log().contains("a shadow decides differently"));
}

#[test]
fn what_a_candidate_would_change_is_said_without_its_values() {
    let tree = tree();
    let chain = chain(
        "probe",
        "headers = \"set|x-a|1||\"",
        "only = \"/closed\"\nrespond = \"403\"\nresponse-headers = \"x-b: s3cret\"",
    );
    let (server, sites) = serving(&tree, &chain);
    for path in ["/file.txt", "/closed/x", "/file.txt"] {
        assert_eq!(server.get(path).header("x-a"), Some("1"));
    }
    until(sites, "\"agreed\":0,\"differed\":3");
    let refused = server.logged("proceeds; it responds 403");
    assert!(
        refused.contains("path=/closed/x") && refused.contains("policy=\"probe-0\""),
        "{refused}"
    );
    assert!(server.logged("header x-a").contains("path=/file.txt"));
    assert!(!server.log().contains("s3cret"));
}

#[test]
fn a_candidate_that_fails_or_never_ends_is_not_felt() {
    let tree = tree();
    for behaviour in ["trap", "endless_loop"] {
        let settings = format!(
            "[policy.shadow]\nplugin = \"misbehaving\"\nlimits = {{ running = \"2ms\" }}\n[policy.shadow.config]\nbehaviour = \"{behaviour}\""
        );
        let chain = Chain::new([
            // So that its folder is there for the candidate.
            Policy::guest("misbehaving").config("behaviour = \"trap\"\nonly = \"/trap\""),
            Policy::guest("probe")
                .settings(&settings)
                .config("headers = \"set|x-a|1||\""),
        ]);
        let (server, sites) = serving(&tree, &chain);
        let mut connection = server.connect();
        for _ in 0..100 {
            let response = connection.request("GET", "/file.txt", &[]);
            assert_eq!((response.status, response.header("x-a")), (200, Some("1")));
        }
        let line = server.logged("it fails: ");
        assert!(line.contains("a shadow decides differently"), "{line}");
        // Each of them is told once, as one thing or the other; more than wait are left out.
        eventually("all are counted", || {
            let sites = sites();
            let counts = sites
                .split("\"agreed\":0,\"differed\":0,\"failed\":")
                .nth(1)
                .expect("they are counted");
            let numbers: Vec<u64> = counts
                .split(|c: char| !c.is_ascii_digit())
                .filter_map(|number| number.parse().ok())
                .collect();
            numbers[0] + numbers[1] == 100
        });
    }
}

#[test]
fn a_share_is_compared() {
    let tree = tree();
    let settings = "[policy.shadow]\nplugin = \"probe\"\none-in = 3";
    let chain = Chain::new([Policy::guest("probe").settings(settings)]);
    let (server, sites) = serving(&tree, &chain);
    for _ in 0..9 {
        server.get("/file.txt");
    }
    until(&sites, "\"agreed\":3,\"differed\":0");
    assert!(sites().contains("\"one_in\":3"));
}

#[test]
fn a_candidate_that_cannot_run_keeps_the_server_from_starting() {
    let tree = tree();
    for (settings, says) in [
        ("shadow = \"none.wasm\"", "there is no plugin `none.wasm`"),
        ("shadow = 1", "`shadow` must be a string"),
        ("[policy.shadow]\none-in = 2", "has no key `plugin`"),
        ("[policy.shadow]\nplugin = \"probe\"\nevery = 2", "unknown key `every`"),
        ("shadow = \"broken.wasm\"", "probe-0 (shadow)"),
    ] {
        let chain = Chain::new([Policy::guest("probe").settings(settings)]);
        std::fs::write(chain.at("broken.wasm"), "no module").expect("the folder is writable");
        let refusal = Launch::new(&tree).plugins(&chain).refusal();
        assert!(refusal.contains(says), "{settings}: {refusal}");
    }
}

#[test]
fn check_shows_it() {
    let tree = tree();
    let chain = Chain::new([Policy::guest("probe").settings("shadow = \"probe\"")]);
    let checked = Launch::check(&tree).plugins(&chain).run_to_end();
    assert!(checked.log.contains("   shadow     "), "{}", checked.log);
    assert!(checked.log.contains("every request"), "{}", checked.log);
}
