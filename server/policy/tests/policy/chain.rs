//! Policies together: what is passed along, what accumulates, what wins, and what caches are told.
use crate::{
    guest::{Change, Changes, Guest, Reply, proceed, respond, set, with_header},
    harness::{Chains, NOW, applied, at, decide, fault, get, mapping, response, targets, with},
};
use std::time::Duration;

fn changes() -> Changes {
    Changes::default()
}

/// A guest that makes some calls before its reply.
fn asking(calls: &[&str], reply: &Reply) -> Guest {
    let mut guest = Guest::new();
    let reply = guest.reply(reply);
    let mut body = String::new();
    for call in calls {
        // `header "accept"`: a function and its one text.
        let code = match call.split_once(' ') {
            Some((name @ "clock.before", moment)) => format!("(drop (call ${name} (i64.const {moment})))"),
            Some((name @ "request.client-within", text)) => format!("(drop (call ${name} {}))", guest.text(text)),
            Some((name, text)) => format!("(call ${name} {} (i32.const 64))", guest.text(text)),
            None if *call == "clock.now" => "(drop (call $clock.now))".into(),
            None if *call == "random.u64" => "(drop (call $random.u64))".into(),
            None => format!("(call ${call} (i32.const 64))"),
        };
        body.push_str(&code);
    }
    guest.decide = format!("{body} {reply}");
    guest
}

#[tokio::test]
async fn later_mappings_replace_earlier_ones_and_empty_ones_do_not() {
    let mut chains = Chains::new();
    let first = Changes {
        paths: vec!["/a".into(), "/b".into()],
        place: Some(("main".into(), "/".into())),
        missing: Some((vec!["/404.html".into()], 404)),
        pace: Some(500),
        ..changes()
    };
    chains.add(&Guest::replying(&Reply::Proceed(first)));
    chains.add(&Guest::replying(&proceed()));
    let second = Changes {
        place: Some(("tenants".into(), "/t1".into())),
        pace: Some(900),
        ..changes()
    };
    chains.add(&Guest::replying(&Reply::Proceed(second)));
    let verdict = decide(&chains.load().await, get("/x")).await;
    assert_eq!(targets(&verdict), ["/a", "/b"]);
    let mapping = mapping(&verdict);
    let place = mapping.place.as_ref().unwrap();
    assert_eq!((place.root.as_str(), place.directory.as_str()), ("tenants", "/t1"));
    let missing = mapping.missing.as_ref().unwrap();
    assert_eq!(missing.to_string(), "404 /404.html");
    assert_eq!(verdict.pace, Some(500));
}

/// The Location of such a redirect is its own: it is on no other redirect that the chain may lead to.
#[tokio::test]
async fn what_is_missing_leads_elsewhere() {
    let redirecting = |when, location: &str| {
        Guest::replying(&Reply::Proceed(Changes {
            missing: Some((vec![], 307)),
            headers: vec![
                set("x-a", "1"),
                Change {
                    when,
                    ..set("Location", location)
                },
            ],
            ..changes()
        }))
    };
    let mut chains = Chains::new();
    chains.add(&redirecting(2, "/first"));
    chains.add(&redirecting(2, "/second?a=b"));
    let verdict = decide(&chains.load().await, get("/x")).await;
    assert_eq!(
        mapping(&verdict).missing.as_ref().unwrap().to_string(),
        "307 to /second?a=b"
    );
    assert_eq!(targets(&verdict), ["/x"]);
    assert_eq!(
        applied(&verdict, 301, None, &[("location", "folder/")]),
        ["location: folder/", "x-a: 1"]
    );

    let mut chains = Chains::new();
    chains.add(&redirecting(2, "/first"));
    let page = Changes {
        missing: Some((vec!["/404.html".into()], 404)),
        ..changes()
    };
    chains.add(&Guest::replying(&Reply::Proceed(page)));
    let verdict = decide(&chains.load().await, get("/x")).await;
    assert_eq!(mapping(&verdict).missing.as_ref().unwrap().to_string(), "404 /404.html");
    assert_eq!(applied(&verdict, 302, None, &[]), ["x-a: 1"]);
}

#[tokio::test]
async fn the_first_respond_ends_the_chain_and_earlier_headers_apply_to_it() {
    let mut chains = Chains::new();
    chains.add(&Guest::replying(&with_header("x-first", "1")));
    chains.add(&Guest::replying(&Reply::Respond {
        status: 403,
        headers: vec![("x-own".into(), "2".into())],
        body: b"no".to_vec(),
        allowed: false,
    }));
    chains.add(&Guest::replying(&respond(500)));
    let verdict = decide(&chains.load().await, get("/")).await;
    let response = response(&verdict);
    assert_eq!((response.status.as_u16(), &response.body[..]), (403, &b"no"[..]));
    assert_eq!(response.headers["x-own"], "2");
    assert_eq!(applied(&verdict, 403, None, &[]), ["x-first: 1"]);
}

#[tokio::test]
async fn header_changes_apply_in_order_by_outcome_and_type() {
    let change = |operation, value: &str, when, types: &[&str]| Change {
        operation,
        name: "x-seen".into(),
        value: value.into(),
        when,
        types: types.iter().map(ToString::to_string).collect(),
    };
    let headers = vec![
        change(0, "always", 0, &[]),
        change(1, "found", 1, &[]),
        change(1, "redirected", 2, &[]),
        change(1, "missing", 4, &[]),
        change(1, "failed", 8, &[]),
        change(1, "html", 0, &["text/html"]),
        change(1, "image", 1, &["image/*", "video/*"]),
    ];
    let mut chains = Chains::one(&Guest::replying(&Reply::Proceed(Changes { headers, ..changes() })));
    chains.add(&Guest::replying(&Reply::Proceed(Changes {
        headers: vec![Change {
            operation: 2,
            name: "x-gone".into(),
            ..Change::default()
        }],
        ..changes()
    })));
    let verdict = decide(&chains.load().await, get("/")).await;
    let table: [(u16, Option<&str>, &[&str]); 9] = [
        (200, Some("text/HTML; charset=utf-8"), &["always", "found", "html"]),
        (304, Some("image/png"), &["always", "found", "image"]),
        (206, None, &["always", "found"]),
        (301, None, &["always", "redirected"]),
        (404, Some("text/html"), &["always", "html", "missing"]),
        (410, None, &["always", "missing"]),
        (403, Some("image/png"), &["always", "failed"]),
        (503, None, &["always", "failed"]),
        (200, Some("text/html5"), &["always", "found"]),
    ];
    for (status, media_type, expected) in table {
        let expected: Vec<String> = expected.iter().map(|value| format!("x-seen: {value}")).collect();
        assert_eq!(
            applied(&verdict, status, media_type, &[("x-gone", "1"), ("x-seen", "before")]),
            expected,
            "{status}"
        );
    }
    // Without a media type of the content, that of the answer counts.
    let own = applied(&verdict, 200, None, &[("content-type", "text/html")]);
    assert!(own.contains(&"x-seen: html".to_owned()), "{own:?}");
}

#[tokio::test]
async fn facts_are_passed_along_to_those_who_read_them() {
    let mut chains = Chains::new();
    let facts = vec![
        ("user".to_owned(), "ann".to_owned()),
        ("user".to_owned(), "bob".to_owned()),
    ];
    chains
        .add(&Guest::replying(&Reply::Proceed(Changes { facts, ..changes() })))
        .establishes
        .insert("user".into());
    // Replies with 403 unless the fact is `bob`.
    let mut guest = Guest::new();
    let (name, bob, yes, no) = (
        guest.text("user"),
        guest.text("bob"),
        guest.reply(&proceed()),
        guest.reply(&respond(403)),
    );
    guest.decide = format!(
        "(call $request.fact {name} (i32.const 64))
         (if (result i32) (i32.and (i32.load8_u (i32.const 64)) (i32.eq
            (call $hash (i32.load (i32.const 68)) (i32.load (i32.const 72)))
            (call $hash {bob})))
          (then {yes}) (else {no}))"
    );
    chains.add(&guest).reads.insert("user".into());
    let verdict = decide(&chains.load().await, get("/")).await;
    assert_eq!(targets(&verdict), ["/"]);
    assert_eq!(verdict.facts, [("user".to_owned(), "bob".to_owned())]);

    chains.spec.policies[1].reads.clear();
    assert_eq!(fault(&decide(&chains.load().await, get("/")).await).status, 500);
}

#[tokio::test]
async fn a_later_policy_sees_the_targets_of_an_earlier_one() {
    let mut chains = Chains::new();
    let paths = vec!["/private/a".to_owned(), "/b".to_owned()];
    chains.add(&Guest::replying(&Reply::Proceed(Changes { paths, ..changes() })));
    // Responds with 200 + the number of targets.
    let mut guest = Guest::new();
    let reply = guest.reply(&respond(200));
    guest.decide = format!(
        "(call $request.targets (i32.const 64))
         (i32.store16 (i32.add {reply} (i32.const 16)) (i32.add (i32.const 200) (i32.load (i32.const 68))))
         {reply}"
    );
    chains.add(&guest);
    assert_eq!(response(&decide(&chains.load().await, get("/x")).await).status, 202);
}

#[tokio::test]
async fn a_fault_keeps_the_headers_gathered_so_far_and_is_never_stored() {
    let mut chains = Chains::new();
    let headers = vec![
        set("cache-control", "public, max-age=600"),
        set("x-frame-options", "DENY"),
    ];
    chains.add(&Guest::replying(&Reply::Proceed(Changes { headers, ..changes() })));
    chains.add(&Guest::replying(&Reply::Fail("secret words".into())));
    let verdict = decide(&chains.load().await, get("/")).await;
    assert_eq!(
        (fault(&verdict).status.as_u16(), fault(&verdict).retry_after),
        (500, None)
    );
    assert_eq!(
        applied(&verdict, 500, None, &[]),
        ["cache-control: no-store", "x-frame-options: DENY"]
    );
}

// === sharing ===

/// What was asked, what the answer had, and what caches are told.
type Case<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a [&'a str]);

#[tokio::test]
async fn sharing_is_derived_from_what_was_asked() {
    const SOON: &str = "clock.before 1000000060";
    const PAST: &str = "clock.before 999999999";
    let cases: &[Case] = &[
        (
            &["request.path", "request.host", "request.method", "request.query"],
            &[],
            &[],
        ),
        (&["request.header Accept-Language"], &[], &["vary: accept-language"]),
        (
            &["request.all-values Origin", "request.header origin"],
            &[("vary", "Origin")],
            &["vary: Origin"],
        ),
        (&["request.header accept"], &[("vary", "*")], &["vary: *"]),
        (&["request.header not a header"], &[], &[]),
        (&["request.header authorization"], &[], &["cache-control: private"]),
        (
            &["request.header COOKIE"],
            &[("cache-control", "no-store")],
            &["cache-control: no-store"],
        ),
        (
            &["request.cookie session"],
            &[("cache-control", "public, max-age=60")],
            &["cache-control: private, max-age=60"],
        ),
        (
            &["request.client-within 10.0.0.0/8", "request.header accept"],
            &[
                ("cache-control", "max-age=60"),
                ("cache-control", "S-MaxAge=90, public"),
            ],
            &["cache-control: private, max-age=60", "vary: accept"],
        ),
        (
            &["request.client-address"],
            &[("cache-control", "private=\"set-cookie\", x=\"a, public\"")],
            &["cache-control: private, x=\"a, public\""],
        ),
        (
            &["request.client-address"],
            &[("cache-control", "Private")],
            &["cache-control: Private"],
        ),
        (&["clock.now"], &[], &["cache-control: private"]),
        (&["random.u64"], &[], &["cache-control: private"]),
        (
            &["request.cookie a"],
            &[
                ("cdn-cache-control", "max-age=9"),
                ("surrogate-control", "x"),
                ("x-accel-expires", "9"),
            ],
            &["cache-control: private"],
        ),
        (&[SOON], &[], &["cache-control: max-age=59"]),
        (&[SOON], &[("cache-control", "no-store")], &["cache-control: no-store"]),
        (
            &[SOON],
            &[("cache-control", "max-age=30, public")],
            &["cache-control: max-age=30, public"],
        ),
        (
            &[SOON, "clock.before 1000000040"],
            &[(
                "cache-control",
                "max-age=\"600\", s-maxage=20, stale-while-revalidate=9",
            )],
            &["cache-control: max-age=39, s-maxage=20"],
        ),
        (
            &[SOON],
            &[("cache-control", "max-age=soon")],
            &["cache-control: max-age=59"],
        ),
        (
            &[SOON],
            &[("expires", "Sun, 09 Sep 2001 02:46:40 GMT")],
            &["expires: Sun, 09 Sep 2001 01:47:39 GMT"],
        ),
        (&[SOON], &[("expires", "0")], &["expires: 0"]),
        (
            &[PAST],
            &[("cache-control", "max-age=600")],
            &["cache-control: max-age=600"],
        ),
        (
            &[SOON, "request.cookie a"],
            &[("cache-control", "public, max-age=600")],
            &["cache-control: private, max-age=59"],
        ),
    ];
    for (calls, before, expected) in cases {
        let expected: Vec<&str> = expected.to_vec();
        let chain = Chains::one(&asking(calls, &proceed())).load().await;
        let verdict = decide(&chain, get("/?a=b")).await;
        for status in [200, 304, 302, 404, 503] {
            assert_eq!(
                applied(&verdict, status, None, before),
                expected,
                "{calls:?} {before:?}"
            );
        }
    }
}

/// A file that took its time to be opened does not prolong what it is fresh for.
#[tokio::test]
async fn freshness_counts_from_when_the_answer_is_made() {
    let chain = Chains::one(&asking(&["clock.before 1000000060"], &proceed()))
        .load()
        .await;
    let verdict = decide(&chain, get("/")).await;
    for (waited, expected) in [(0, "max-age=59"), (59, "max-age=0"), (3600, "max-age=0")] {
        let mut headers = http::HeaderMap::new();
        let now = verdict.arrived + std::time::Duration::from_secs(waited);
        verdict.apply_at(|| now, http::StatusCode::OK, None, &mut headers);
        assert_eq!(headers["cache-control"], expected, "after {waited} s");
    }
}

#[tokio::test]
async fn no_later_policy_undoes_what_sharing_says() {
    let mut chains = Chains::one(&asking(&["request.cookie session"], &proceed()));
    chains.add(&Guest::replying(&with_header("cache-control", "public, s-maxage=600")));
    let verdict = decide(&chains.load().await, get("/")).await;
    assert_eq!(applied(&verdict, 200, None, &[]), ["cache-control: private"]);
}

#[tokio::test]
async fn a_fact_carries_what_it_came_from_even_when_it_is_absent() {
    for facts in [vec![("user".to_owned(), "ann".to_owned())], vec![]] {
        let mut chains = Chains::new();
        // Allowed sharing keeps its own questions out of the answer, but not out of the facts it establishes.
        let login = asking(
            &["request.header authorization"],
            &Reply::Proceed(Changes {
                facts,
                allowed: true,
                ..changes()
            }),
        );
        let spec = chains.add(&login);
        spec.establishes.insert("user".into());
        spec.grants.sharing = true;
        let chain = chains.load().await;
        assert_eq!(
            applied(&decide(&chain, get("/")).await, 200, None, &[]),
            Vec::<String>::new()
        );

        chains
            .add(&asking(&["request.fact user"], &proceed()))
            .reads
            .insert("user".into());
        let verdict = decide(&chains.load().await, get("/")).await;
        assert_eq!(applied(&verdict, 200, None, &[]), ["cache-control: private"]);
    }
}

#[tokio::test]
async fn what_the_server_knows_of_the_connection_is_private() {
    let mut chains = Chains::one(&asking(&["request.fact tls.client-name"], &proceed()));
    chains.spec.policies[0].reads.insert("tls.client-name".into());
    let verdict = decide(&chains.load().await, get("/")).await;
    assert_eq!(applied(&verdict, 200, None, &[]), ["cache-control: private"]);
}

#[tokio::test]
async fn the_sharing_of_a_response_is_its_own() {
    let reply = Reply::Respond {
        status: 429,
        headers: vec![],
        body: vec![],
        allowed: true,
    };
    let mut chains = Chains::one(&asking(&["request.client-address"], &reply));
    assert_eq!(fault(&decide(&chains.load().await, get("/")).await).status, 500);
    chains.spec.policies[0].grants.sharing = true;
    let verdict = decide(&chains.load().await, get("/")).await;
    assert_eq!(applied(&verdict, 429, None, &[]), Vec::<String>::new());
}

#[tokio::test]
async fn more_header_questions_than_can_be_named_vary_by_everything() {
    let calls: Vec<String> = (0..40).map(|i| format!("request.header x-{i}")).collect();
    let calls: Vec<&str> = calls.iter().map(String::as_str).collect();
    let chain = Chains::one(&asking(&calls, &proceed())).load().await;
    let verdict = decide(&chain, get("/")).await;
    assert_eq!(
        applied(&verdict, 200, None, &[("vary", "Accept-Encoding")]),
        ["vary: *"]
    );
}

#[tokio::test]
async fn the_clock_of_a_request_stands_still() {
    // Responds 201 when `now` and `before` agree after some waiting, else 500.
    let mut guest = Guest::new();
    let (yes, no) = (guest.reply(&respond(201)), guest.reply(&respond(500)));
    guest.decide = format!(
        "(local $i i32)
         (loop $wait (br_if $wait (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000000))))
         (if (result i32) (i32.and
            (i64.eq (call $clock.now) (i64.const {NOW}))
            (i32.and (call $clock.before (i64.const {})) (i32.eqz (call $clock.before (i64.const {NOW})))))
          (then {yes}) (else {no}))",
        NOW + 1,
    );
    let chain = Chains::one(&guest).load().await;
    assert_eq!(response(&decide(&chain, at(get("/"), NOW)).await).status, 201);
}

#[tokio::test]
async fn every_question_is_answered_as_the_contract_says() {
    // Each guest responds 200 and the answer as its body.
    let text = "(i32.const 64)";
    let cases: &[(&str, &str, &str)] = &[
        ("request.method", "", "GET"),
        ("request.path", "", "/a b"),
        ("request.scheme", "", "http"),
        ("request.host", "", "example.org"),
        ("request.site", "", "test"),
    ];
    for (function, _, expected) in cases {
        let mut guest = Guest::new();
        let reply = guest.reply(&respond(200));
        guest.decide = format!(
            "(call ${function} {text})
             (i64.store (i32.add {reply} (i32.const 28)) (i64.load {text}))
             {reply}"
        );
        let chain = Chains::one(&guest).load().await;
        let verdict = decide(&chain, get("/a%20b?x=1")).await;
        assert_eq!(
            std::str::from_utf8(&response(&verdict).body).unwrap(),
            *expected,
            "{function}"
        );
    }
    let optional: &[(&str, &str, Option<&str>)] = &[
        ("request.query", "", Some("q=a+b%21&q=c&e&%C3=x")),
        ("request.query-parameter", "q", Some("a b!")),
        ("request.query-parameter", "e", Some("")),
        ("request.query-parameter", "\u{fffd}", Some("x")),
        ("request.query-parameter", "none", None),
        ("request.header", "X-Two", Some("1, 2")),
        ("request.header", "x-latin", Some("caf\u{fffd}")),
        ("request.header", "cookie", Some("a=1; session=\"s=1\"; b")),
        ("request.header", "x-none", None),
        ("request.cookie", "session", Some("s=1")),
        ("request.cookie", "a", Some("1")),
        ("request.cookie", "b", None),
        ("request.cookie", "Session", None),
        ("request.client-address", "", Some("192.0.2.1")),
        ("request.fact", "wasmserve.listener", Some("main")),
    ];
    for (function, name, expected) in optional {
        let mut guest = Guest::new();
        let (yes, no) = (guest.reply(&respond(200)), guest.reply(&respond(404)));
        let name = if name.is_empty() {
            String::new()
        } else {
            guest.text(name)
        };
        guest.decide = format!(
            "(call ${function} {name} {text})
             (i64.store (i32.add {yes} (i32.const 28)) (i64.load (i32.const 68)))
             (if (result i32) (i32.load8_u {text}) (then {yes}) (else {no}))"
        );
        let mut chains = Chains::one(&guest);
        chains.spec.policies[0].reads.insert("wasmserve.listener".into());
        let mut request = get("/?q=a+b%21&q=c&e&%C3=x");
        for (name, value) in [
            ("x-two", "1"),
            ("x-two", "2"),
            ("cookie", "a=1; session=\"s=1\""),
            ("cookie", "b"),
        ] {
            request = with(request, name, value);
        }
        request
            .headers
            .insert("x-latin", http::HeaderValue::from_bytes(b"caf\xe9").unwrap());
        request.facts.push(("wasmserve.listener".into(), "main".into()));
        let verdict = decide(&chains.load().await, request).await;
        let response = response(&verdict);
        let body = (response.status == 200).then(|| std::str::from_utf8(&response.body).unwrap());
        assert_eq!(body, *expected, "{function} {name}");
    }
}

#[tokio::test]
async fn the_configuration_is_told() {
    let mut guest = Guest::new();
    let (key, yes, no) = (
        guest.text("limit"),
        guest.reply(&respond(200)),
        guest.reply(&respond(404)),
    );
    guest.decide = format!(
        "(call $config.get {key} (i32.const 64))
         (i64.store (i32.add {yes} (i32.const 28)) (i64.load (i32.const 72)))
         (if (result i32) (i32.load8_u (i32.const 68)) (then {yes}) (else {no}))"
    );
    let mut chains = Chains::one(&guest);
    let chain = chains.load().await;
    assert_eq!(response(&decide(&chain, get("/")).await).status, 404);
    chains.spec.policies[0].config = "limit = [1, 2]".parse().unwrap();
    let verdict = decide(&chains.load().await, get("/")).await;
    assert_eq!(&response(&verdict).body[..], b"[1,2]");
}

#[tokio::test]
async fn client_within_knows_networks_and_refuses_what_is_none() {
    let cases: &[(&str, &str, u16)] = &[
        ("192.0.2.1", "192.0.2.0/24", 200),
        ("192.0.2.1", "192.0.2.77/24", 200),
        ("192.0.2.1", "192.0.2.1", 200),
        ("192.0.2.1", "10.0.0.0/8", 404),
        ("192.0.2.1", "::ffff:192.0.2.0/120", 200),
        ("192.0.2.1", "::/0", 200),
        ("::ffff:192.0.2.1", "192.0.2.0/24", 200),
        ("2001:db8::1", "2001:db8::/32", 200),
        ("2001:db8::1", "0.0.0.0/0", 404),
        ("192.0.2.1", "localhost", 500),
        ("192.0.2.1", "10.0.0.0/33", 500),
        ("192.0.2.1", "", 500),
    ];
    for (client, block, status) in cases {
        let mut guest = Guest::new();
        let (block_text, yes, no) = (
            guest.text(block),
            guest.reply(&respond(200)),
            guest.reply(&respond(404)),
        );
        guest.decide = format!("(if (result i32) (call $request.client-within {block_text}) (then {yes}) (else {no}))");
        let chain = Chains::one(&guest).load().await;
        let mut request = get("/");
        request.client = Some(client.parse().unwrap());
        let verdict = decide(&chain, request).await;
        let told = match &verdict.outcome {
            wasmserve_policy::Outcome::Fault(fault) => fault.status.as_u16(),
            _ => response(&verdict).status.as_u16(),
        };
        assert_eq!(told, *status, "{client} in {block:?}");
        // On a Unix socket there is no address, and nothing admits.
        let mut request = get("/");
        request.client = None;
        let verdict = decide(&chain, request).await;
        assert!(*status == 500 || response(&verdict).status == 404, "{block:?}");
    }
}

#[tokio::test]
async fn a_pace_of_nothing_is_malformed_and_the_lowest_counts() {
    for (paces, expected) in [
        ([None, None], None),
        ([Some(9), Some(5)], Some(5)),
        ([Some(5), None], Some(5)),
    ] {
        let mut chains = Chains::new();
        for pace in paces {
            chains.add(&Guest::replying(&Reply::Proceed(Changes { pace, ..changes() })));
        }
        assert_eq!(decide(&chains.load().await, get("/")).await.pace, expected);
    }
    let chain = Chains::one(&Guest::replying(&Reply::Proceed(Changes {
        pace: Some(0),
        ..changes()
    })))
    .load()
    .await;
    assert_eq!(fault(&decide(&chain, get("/")).await).status, 500);
}

#[tokio::test]
async fn a_busy_policy_tells_clients_when_to_come_back() {
    let mut guest = Guest::new();
    guest.decide = "(loop $forever (br $forever)) (i32.const 16)".into();
    let mut chains = Chains::one(&guest);
    chains.spec.policies[0].limits.running = Duration::from_millis(3);
    let verdict = decide(&chains.load().await, get("/")).await;
    assert_eq!(
        (fault(&verdict).status.as_u16(), fault(&verdict).retry_after),
        (503, Some(Duration::from_secs(1)))
    );
}
