//! What a policy is told about a request, asked one question at a time.
use support::{Chain, Fields, Launch, Policy, Server, Tree};

/// A server whose policy answers with what it was told.
fn server(tree: &Tree, questions: &[&str]) -> (Chain, Server) {
    let chain = Chain::of(
        "probe",
        &format!("ask = {:?}\nrespond = \"echo\"", questions.join("\n")),
    );
    let server = Launch::new(tree).plugins(&chain).start();
    (chain, server)
}

#[track_caller]
fn told(server: &Server, method: &str, target: &str, headers: Fields<'_>) -> Vec<String> {
    let response = server.request(method, target, headers);
    assert_eq!(response.status, 200, "{response:?}");
    response.text().lines().map(str::to_owned).collect()
}

#[test]
fn paths_are_canonical_and_queries_raw() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, &["method", "path", "targets", "query"]);
    for (target, path, query) in [
        ("/", "/", "none"),
        ("/a/b", "/a/b", "none"),
        ("/a/", "/a/", "none"),
        ("/%61%2eb", "/a.b", "none"),
        ("/a%20b+c", "/a b+c", "none"),
        ("/%C3%BC", "/ü", "none"),
        ("/a?", "/a", "some()"),
        ("/a?b=%2e%2e%2F&c?d", "/a", "some(b=%2e%2e%2F&c?d)"),
        ("/a%3Fb", "/a?b", "none"),
    ] {
        assert_eq!(
            told(&server, "GET", target, &[]),
            ["GET", path, path, query],
            "{target}"
        );
    }
    assert_eq!(told(&server, "BREW", "/", &[])[0], "BREW");
}

#[test]
fn query_parameters_are_decoded_as_forms_are() {
    let tree = Tree::new();
    let (_chain, server) = server(
        &tree,
        &["query-parameter a", "query-parameter-values a", "query-parameter é"],
    );
    for (query, first, all, accented) in [
        ("a=1", "some(1)", r#"["1"]"#, "none"),
        ("b=1", "none", "[]", "none"),
        ("a=1&a=2&b=3&a", "some(1)", r#"["1", "2", ""]"#, "none"),
        ("a=+%2B%26", "some( +&)", r#"[" +&"]"#, "none"),
        ("A=1", "none", "[]", "none"),
        ("%61=1", "some(1)", r#"["1"]"#, "none"),
        ("a=%FF", "some(\u{fffd})", "[\"\u{fffd}\"]", "none"),
        ("a=%zz", "some(%zz)", r#"["%zz"]"#, "none"),
        ("%C3%A9=x", "none", "[]", "some(x)"),
    ] {
        assert_eq!(
            told(&server, "GET", &format!("/?{query}"), &[]),
            [first, all, accented],
            "{query}"
        );
    }
}

#[test]
fn headers_are_joined_and_never_hidden() {
    let tree = Tree::new();
    let (_chain, server) = server(
        &tree,
        &[
            "header X-Test",
            "header x-test",
            "header-values X-TEST",
            "header cookie",
        ],
    );
    assert_eq!(told(&server, "GET", "/", &[]), ["none", "none", "[]", "none"]);
    let headers = [
        ("X-Test", "a"),
        ("x-TEST", "b, c"),
        ("Cookie", "d=1"),
        ("Cookie", "e=2"),
    ];
    assert_eq!(
        told(&server, "GET", "/", &headers),
        [
            "some(a, b, c)",
            "some(a, b, c)",
            "[[97], [98, 44, 32, 99]]",
            "some(d=1; e=2)"
        ]
    );
    assert_eq!(told(&server, "GET", "/", &[("X-Test", "")])[0], "some()");
    let mut connection = server.connect();
    connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Test: a\xffb\r\n\r\n");
    let response = connection.response_to("GET");
    assert!(response.text().starts_with("some(a\u{fffd}b)\n"), "{response:?}");
    assert!(response.text().contains("[[97, 255, 98]]"), "{response:?}");
}

#[test]
fn cookies_are_found_by_name() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, &["cookie session"]);
    for (cookie, value) in [
        ("session=abc", "some(abc)"),
        ("other=1; session=abc; session=def", "some(abc)"),
        ("session=", "some()"),
        ("session=\"quoted\"", "some(quoted)"),
        ("session=a=b", "some(a=b)"),
        ("xsession=abc", "none"),
        ("SESSION=abc", "none"),
        ("other=session=abc", "none"),
    ] {
        assert_eq!(told(&server, "GET", "/", &[("Cookie", cookie)]), [value], "{cookie}");
    }
}

#[test]
fn the_client_and_the_site_are_known() {
    let tree = Tree::new();
    let (_chain, server) = server(
        &tree,
        &[
            "scheme",
            "host",
            "client-address",
            "client-within 127.0.0.0/8",
            "client-within 127.0.0.1",
            "client-within 10.0.0.0/8",
            "client-within 2001:db8::/32",
        ],
    );
    assert_eq!(
        told(&server, "GET", "/", &[]),
        ["http", "localhost", "some(127.0.0.1)", "true", "true", "false", "false"]
    );
}

/// A client cannot name another address for itself.
#[test]
fn forwarded_fields_are_not_believed() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, &["client-address", "scheme", "host"]);
    let headers = [
        ("X-Forwarded-For", "10.1.1.1"),
        ("Forwarded", "for=10.1.1.1;proto=https;host=evil.example"),
        ("X-Real-IP", "10.1.1.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
    ];
    assert_eq!(
        told(&server, "GET", "/", &headers),
        ["some(127.0.0.1)", "http", "localhost"]
    );
}

#[test]
fn the_moment_is_the_requests() {
    let tree = Tree::new();
    let (_chain, server) = server(&tree, &["now", "now", "before 1", "before 99999999999"]);
    let start = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let answers = told(&server, "GET", "/", &[]);
    let now: u64 = answers[0].parse().expect("a number of seconds");
    assert!((start..start + 600).contains(&now), "{now} is not about {start}");
    assert_eq!(answers[0], answers[1], "frozen for the request");
    assert_eq!(answers[2..], ["false", "true"]);
}

#[test]
fn configuration_arrives_by_its_top_level_keys() {
    let tree = Tree::new();
    let chain = Chain::new([Policy::guest("probe").config(
        "ask = \"config text\\nconfig number\\nconfig switch\\nconfig list\\nconfig table\\nconfig none\"\n\
         respond = \"echo\"\ntext = \"as it is\"\nnumber = 3\nswitch = true\nlist = [1, \"two\"]\ntable = { key = \"v\" }",
    )]);
    let server = Launch::new(&tree).plugins(&chain).start();
    assert_eq!(
        told(&server, "GET", "/", &[]),
        [
            "some(as it is)",
            "some(3)",
            "some(true)",
            r#"some([1,"two"])"#,
            r#"some({"key":"v"})"#,
            "none"
        ]
    );
}

#[test]
fn facts_are_passed_along_the_chain() {
    let tree = Tree::new();
    let chain = Chain::new([
        Policy::guest("probe").config("facts = \"user=alice\\ntenant=north\""),
        Policy::guest("probe").config("facts = \"user=bob\""),
        Policy::guest("probe").config("ask = \"fact user\\nfact tenant\"\nrespond = \"echo\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    assert_eq!(told(&server, "GET", "/", &[]), ["some(bob)", "some(north)"]);
    let nobody = Chain::new([Policy::guest("probe").config("ask = \"fact user\"\nrespond = \"echo\"")]);
    let server = Launch::new(&tree).plugins(&nobody).start();
    assert_eq!(told(&server, "GET", "/", &[]), ["none"]);
}

#[test]
fn later_policies_see_what_earlier_ones_mapped() {
    let tree = Tree::new();
    let chain = Chain::new([
        Policy::guest("probe").config("paths = \"/one\\n/two\""),
        Policy::guest("probe").config("ask = \"path\\ntargets\"\nrespond = \"echo\""),
    ]);
    let server = Launch::new(&tree).plugins(&chain).start();
    assert_eq!(told(&server, "GET", "/asked", &[]), ["/asked", "/one /two"]);
}
