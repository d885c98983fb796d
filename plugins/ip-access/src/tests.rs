use super::*;
use wasmserve_plugin::testing::{self, Question, configure};

fn policy() -> IpAccess {
    configure([
        (
            "rules",
            r#"["deny 192.0.2.66", "allow 192.0.2.0/24", "allow 2001:db8::/32", "deny all"]"#,
        ),
        (
            "prefixes",
            r#"{"/public/": ["allow all"], "/public/staff": ["allow 10.0.0.0/8", "deny all"]}"#,
        ),
    ])
    .unwrap()
}

fn from(address: &str, request: testing::Request) -> testing::Request {
    request.client(address.parse::<std::net::IpAddr>().unwrap())
}

#[test]
fn clients_and_the_first_rule_that_holds() {
    for (path, address, admitted) in [
        ("/", "192.0.2.1", true),
        ("/", "192.0.2.66", false),
        ("/", "192.0.3.1", false),
        ("/", "2001:db8::1", true),
        ("/", "::ffff:192.0.2.1", true),
        ("/public", "192.0.3.1", true),
        ("/public/a", "192.0.3.1", true),
        ("/publicity", "192.0.3.1", false),
        ("/public/staff/a", "192.0.2.1", false),
        ("/public/staff", "10.1.1.1", true),
        ("/a", "10.1.1.1", false),
    ] {
        let expected: Decision = if admitted { proceed().into() } else { deny(403).into() };
        let request = from(address, testing::Request::get(path));
        assert_eq!(request.decide(&policy()), Ok(expected), "{path} {address}");
    }
}

/// Mapping leads neither around a refusal nor into one's exception.
#[test]
fn the_path_and_every_target_have_to_admit() {
    for (path, targets, address, admitted) in [
        ("/public/a", ["/public/a", "/public/a.html"], "192.0.3.1", true),
        ("/public/a", ["/public/a", "/private/a"], "192.0.3.1", false),
        ("/private/a", ["/public/a", "/public/b"], "192.0.3.1", false),
        ("/public/a", ["/public/a", "/public/staff/a"], "192.0.2.1", false),
    ] {
        let expected: Decision = if admitted { proceed().into() } else { deny(403).into() };
        let request = from(address, testing::Request::get(path).targets(targets));
        assert_eq!(request.decide(&policy()), Ok(expected), "{path} {targets:?}");
    }
}

#[test]
fn a_unix_socket_is_within_no_block() {
    let request = testing::Request::get("/").client(None);
    assert_eq!(request.decide(&policy()), Ok(deny(403).into()));
}

#[test]
fn asks_about_blocks_and_no_more_than_decides() {
    let open = from("192.0.3.1", testing::Request::get("/public/a"));
    open.decide(&policy()).unwrap();
    assert_eq!(open.asked(), [Question::Path, Question::Targets]);
    let within = from("192.0.2.1", testing::Request::get("/"));
    within.decide(&policy()).unwrap();
    let asked = ["192.0.2.66", "192.0.2.0/24"].map(|block| Question::ClientWithin(block.into()));
    assert_eq!(within.asked()[2..], asked);
    // What is denied anyway need not be asked about.
    let policy: IpAccess = configure([("rules", r#"["allow 10.0.0.0/8", "deny 10.0.0.0/4", "deny all"]"#)]).unwrap();
    within.decide(&policy).unwrap();
    assert_eq!(within.asked()[2..], [Question::ClientWithin("10.0.0.0/8".into())]);
}

#[test]
fn another_status() {
    let policy: IpAccess = configure([("rules", r#"["deny all"]"#), ("status", "404")]).unwrap();
    assert_eq!(testing::Request::get("/").decide(&policy), Ok(deny(404).into()));
}

#[test]
fn mistakes_in_the_configuration() {
    for (configuration, named) in [
        (&[][..], "`rules`"),
        (&[("rules", r#"["allow 10.0.0.0/8"]"#)], "has to end"),
        (&[("rules", r#"["deny all", "allow 10.0.0.0/8"]"#)], "behind one for"),
        (&[("rules", r#"["allow 10.0.0.0/33", "deny all"]"#)], "10.0.0.0/33"),
        (&[("rules", r#"["permit 10.0.0.0/8", "deny all"]"#)], "permit"),
        (&[("rules", r#"["allow", "deny all"]"#)], "\"allow\""),
        (&[("rules", r#"["deny all"]"#), ("status", "200")], "`status`"),
        (
            &[("rules", r#"["deny all"]"#), ("prefixes", r#"{"/": ["allow all"]}"#)],
            "`prefixes`",
        ),
        (&[("prefixes", r#"{"/a*": ["deny all"]}"#)], "/a*"),
        (
            &[("prefixes", r#"{"/a": ["deny all"], "/a/": ["allow all"]}"#)],
            "twice",
        ),
        (&[("prefixes", r#"{"/a": []}"#)], "has to end"),
        (&[("rule", r#"["deny all"]"#)], "`rule`"),
    ] {
        let error = configure::<IpAccess>(configuration.iter().copied()).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(named)),
            "{configuration:?}: {error:?}"
        );
    }
}
