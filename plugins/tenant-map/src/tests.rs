use super::*;
use wasmserve_plugin::testing::{self, Question, configure};

fn by_host() -> TenantMap {
    configure([
        ("by", "host"),
        ("hosts", r#"["*.example.com"]"#),
        ("tenants", r#"{"www.customer.org": "customer"}"#),
        ("directory", "/tenants/{tenant}/public/"),
    ])
    .unwrap()
}

fn by_path() -> TenantMap {
    configure([("by", "path"), ("root", "files")]).unwrap()
}

#[test]
fn hosts_and_their_directories() {
    for (host, tenant) in [
        ("alice.example.com", Some("alice")),
        ("www.customer.org", Some("customer")),
        ("example.com", None),
        ("a.b.example.com", None),
        ("-a.example.com", None),
        ("_dmarc.example.com", None),
        ("customer.org", None),
        ("evil.org", None),
        ("alice.example.com.evil.org", None),
    ] {
        let request = testing::Request::get("/a/b").host(host);
        let expected: Decision = match tenant {
            Some(tenant) => proceed()
                .place("default", format!("/tenants/{tenant}/public"))
                .fact("tenant", tenant)
                .into(),
            None => deny(404).into(),
        };
        assert_eq!(request.decide(&by_host()), Ok(expected), "{host}");
        assert_eq!(request.asked(), [Question::Host]);
    }
}

#[test]
fn the_first_segment_and_its_directory() {
    for (path, expected) in [
        ("/alice/", Some(("/alice", "/"))),
        ("/alice/a/b.html", Some(("/alice", "/a/b.html"))),
        ("/alice/a/", Some(("/alice", "/a/"))),
        ("/", None),
        ("/.git/config", None),
        ("/a b/c", None),
        ("/a..b/c", Some(("/a..b", "/c"))),
    ] {
        let expected: Decision = match expected {
            Some((directory, rest)) => proceed()
                .place("files", directory)
                .fact("tenant", &directory[1..])
                .paths([rest])
                .into(),
            None => deny(404).into(),
        };
        assert_eq!(testing::Request::get(path).decide(&by_path()), Ok(expected), "{path}");
    }
}

#[test]
fn a_tenant_alone_is_a_directory() {
    let request = testing::Request::get("/alice").query("a=1");
    assert_eq!(request.decide(&by_path()), Ok(redirect(308, "./alice/?a=1").into()));
}

#[test]
fn what_was_mapped_out_of_the_tenants_part_is_not_the_tenants() {
    let request = testing::Request::get("/alice/a").targets(["/alice/a.html", "/bob/a", "/alice"]);
    let expected = proceed()
        .place("files", "/alice")
        .fact("tenant", "alice")
        .paths(["/a.html"]);
    assert_eq!(request.decide(&by_path()), Ok(expected.into()));
    let request = testing::Request::get("/alice/a").targets(["/bob/a"]);
    assert_eq!(request.decide(&by_path()), Ok(deny(404).into()));
}

#[test]
fn mistakes_in_the_configuration() {
    for (configuration, named) in [
        (&[][..], "by"),
        (&[("by", "user")], "`by`"),
        (&[("by", "host")], "`hosts`"),
        (&[("by", "host"), ("hosts", r#"["example.com"]"#)], "`hosts`"),
        (&[("by", "host"), ("hosts", r#"["*.Example.com"]"#)], "`hosts`"),
        (&[("by", "host"), ("tenants", r#"{"a.org": "../b"}"#)], "`tenants`"),
        (&[("by", "host"), ("tenants", r#"{"*.a.org": "b"}"#)], "`tenants`"),
        (&[("by", "path"), ("hosts", r#"["*.a.org"]"#)], "`hosts`"),
        (&[("by", "path"), ("directory", "/tenants")], "`directory`"),
        (&[("by", "path"), ("directory", "tenants/{tenant}")], "`directory`"),
        (&[("by", "path"), ("directory", "/../{tenant}")], "`directory`"),
        (&[("by", "path"), ("unknown", "200")], "`unknown`"),
        (&[("by", "path"), ("tenant", "a")], "`tenant`"),
    ] {
        let error = configure::<TenantMap>(configuration.iter().copied()).err();
        assert!(
            error.as_ref().is_some_and(|error| error.contains(named)),
            "{configuration:?}: {error:?}"
        );
    }
}
