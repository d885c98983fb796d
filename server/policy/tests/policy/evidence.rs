//! Decisions that are used again, and those that must not be.
use crate::{
    guest::{Changes, Guest, Reply, proceed, respond, set, with_header},
    harness::{Chains, NOW, applied, at, decide, fault, get, response, targets, with},
    logs::{Log, logging},
};
use wasmserve_policy::{Chain, Counts, HeaderOperation, HeaderRule, HeaderRules, Reuse, Room};

/// How often the first policy of a chain ran, and how often a decision of it was used again.
fn ran_and_reused(chain: &Chain) -> (u64, u64) {
    let Counts { ran, reused, .. } = chain.counts()[0];
    (ran, reused)
}

/// Responds 200 when a cookie `session` is `good`, else 403.
fn session() -> Guest {
    let mut guest = Guest::new();
    let (name, good) = (guest.text("session"), guest.text("good"));
    let (yes, no) = (guest.reply(&respond(200)), guest.reply(&respond(403)));
    guest.decide = format!(
        "(call $request.cookie {name} (i32.const 64))
         (if (result i32) (i32.and (i32.load8_u (i32.const 64)) (i32.eq
            (call $hash (i32.load (i32.const 68)) (i32.load (i32.const 72))) (call $hash {good})))
          (then {yes}) (else {no}))"
    );
    guest
}

#[tokio::test]
async fn a_decision_is_used_again_when_the_answers_are_the_same() {
    let chain = Chains::one(&session()).load().await;
    for (cookie, status, ran, reused) in [
        ("session=good", 200, 1, 0),
        ("session=good", 200, 1, 1),
        ("other=1; session=good", 200, 1, 2),
        ("session=bad", 403, 2, 2),
        ("session=good", 200, 2, 3),
        ("session=", 403, 3, 3),
        ("none=1", 403, 4, 3),
        ("session=", 403, 4, 4),
        ("session=bad", 403, 4, 5),
    ] {
        let verdict = decide(&chain, with(get("/any"), "cookie", cookie)).await;
        assert_eq!(response(&verdict).status.as_u16(), status, "{cookie}");
        assert_eq!(ran_and_reused(&chain), (ran, reused), "{cookie}");
        assert_eq!(applied(&verdict, status, None, &[]), ["cache-control: private"]);
    }
}

#[tokio::test]
async fn a_policy_that_asks_nothing_runs_once() {
    let chain = Chains::one(&Guest::replying(&with_header("x-a", "1"))).load().await;
    for path in ["/", "/a", "/b"] {
        let verdict = decide(&chain, get(path)).await;
        assert_eq!(
            (targets(&verdict), applied(&verdict, 200, None, &[])),
            (vec![path], vec!["x-a: 1".to_owned()])
        );
    }
    assert_eq!(ran_and_reused(&chain), (1, 2));
}

#[tokio::test]
async fn before_is_asked_again() {
    let mut guest = Guest::new();
    let (yes, no) = (guest.reply(&proceed()), guest.reply(&respond(410)));
    guest.decide = format!(
        "(if (result i32) (call $clock.before (i64.const {})) (then {yes}) (else {no}))",
        NOW + 100
    );
    let chain = Chains::one(&guest).load().await;
    for (seconds, ran) in [(NOW, 1), (NOW + 99, 1), (NOW + 100, 2), (NOW + 500, 2), (NOW, 2)] {
        let verdict = decide(&chain, at(get("/"), seconds)).await;
        if seconds < NOW + 100 {
            // Freshness ends at that moment, whenever the decision was made.
            let left = format!("cache-control: max-age={}", NOW + 99 - seconds);
            assert_eq!(applied(&verdict, 200, None, &[]), [left]);
        } else {
            assert_eq!(response(&verdict).status, 410);
        }
        assert_eq!(ran_and_reused(&chain).0, ran, "{seconds}");
    }
}

#[tokio::test]
async fn what_must_not_be_kept_is_not() {
    let calling = |call: &str, reply: &Reply| {
        let mut guest = Guest::new();
        let reply = guest.reply(reply);
        guest.decide = format!("{call} {reply}");
        guest
    };
    let mut many = Guest::new();
    for i in 0..65 {
        let name = many.text(&format!("x-{i}"));
        many.decide
            .push_str(&format!("(call $request.header {name} (i32.const 64))"));
    }
    let reply = many.reply(&proceed());
    many.decide.push_str(&reply);
    let mut long = Guest::new();
    for i in 0..9 {
        let name = long.text(&format!("x-{i}-{}", "n".repeat(1000)));
        long.decide
            .push_str(&format!("(call $request.query-parameter {name} (i32.const 64))"));
    }
    let reply = long.reply(&proceed());
    long.decide.push_str(&reply);
    let cookie = Reply::Respond {
        status: 302,
        headers: vec![("set-cookie".into(), "a=1".into())],
        body: vec![],
        allowed: false,
    };
    let large = Reply::Respond {
        status: 200,
        headers: vec![],
        body: vec![b'x'; 100_000],
        allowed: false,
    };
    let cases = [
        ("now", calling("(drop (call $clock.now))", &proceed())),
        ("random", calling("(drop (call $random.u64))", &proceed())),
        ("a monotonic clock", calling("(drop (call $monotonic.now))", &proceed())),
        ("a cookie on respond", Guest::replying(&cookie)),
        (
            "a cookie on proceed",
            Guest::replying(&with_header("set-cookie", "a=1")),
        ),
        ("a server error", Guest::replying(&respond(503))),
        ("an err", Guest::replying(&Reply::Fail("no".into()))),
        ("a trap", calling("(unreachable)", &proceed())),
        ("something malformed", Guest::replying(&respond(99))),
        ("a large body", Guest::replying(&large)),
        ("more questions than are kept", many),
        ("longer questions than are kept", long),
    ];
    for (what, guest) in cases {
        let chain = Chains::one(&guest).load().await;
        for _ in 0..3 {
            decide(&chain, get("/")).await;
        }
        assert_eq!(ran_and_reused(&chain), (3, 0), "{what}");
        assert_eq!(chain.evidence(), Room::default(), "{what}");
    }
}

#[tokio::test]
async fn evidence_can_be_off_for_a_policy() {
    let mut chains = Chains::one(&Guest::replying(&proceed()));
    chains.spec.policies[0].reuse = Reuse {
        evidence: false,
        ..Reuse::default()
    };
    chains.add(&Guest::replying(&proceed()));
    let chain = chains.load().await;
    for _ in 0..3 {
        decide(&chain, get("/")).await;
    }
    let [off, on] = chain.counts()[..] else { panic!() };
    assert_eq!(((off.ran, off.reused), (on.ran, on.reused)), ((3, 0), (1, 2)));
}

#[tokio::test]
async fn the_lines_of_a_decision_are_written_each_time_it_is_used() {
    let mut chains = Chains::one(&logging(2, 4));
    chains.spec.policies[0].grants.logging = true;
    let chain = chains.load().await;
    for round in 0..3 {
        let (log, _guard) = Log::start();
        decide(&chain, get("/")).await;
        assert_eq!(log.lines("context", "tokens").len(), 2, "round {round}");
        assert_eq!(log.lines("context", "stdout").len(), 2, "round {round}");
    }
    assert_eq!(ran_and_reused(&chain), (1, 2));

    // More than is kept: the policy runs each time.
    let mut chains = Chains::one(&logging(2, 4000));
    chains.spec.policies[0].grants.logging = true;
    let chain = chains.load().await;
    for _ in 0..2 {
        decide(&chain, get("/")).await;
    }
    assert_eq!(ran_and_reused(&chain), (2, 0));
}

#[tokio::test]
async fn facts_and_targets_of_earlier_policies_are_part_of_the_evidence() {
    // The first policy maps and establishes by a header; the second answers by what the first did.
    let mut first = Guest::new();
    let name = first.text("x-user");
    let known = first.reply(&Reply::Proceed(Changes {
        paths: vec!["/mapped".into()],
        facts: vec![("user".into(), "ann".into())],
        ..Changes::default()
    }));
    let unknown = first.reply(&proceed());
    first.decide = format!(
        "(call $request.header {name} (i32.const 64))
         (if (result i32) (i32.load8_u (i32.const 64)) (then {known}) (else {unknown}))"
    );
    let mut second = Guest::new();
    let (fact, yes, no) = (
        second.text("user"),
        second.reply(&respond(200)),
        second.reply(&respond(401)),
    );
    second.decide = format!(
        "(call $request.targets (i32.const 64))
         (call $request.fact {fact} (i32.const 64))
         (if (result i32) (i32.load8_u (i32.const 64)) (then {yes}) (else {no}))"
    );
    let mut chains = Chains::new();
    chains.add(&first).establishes.insert("user".into());
    chains.add(&second).reads.insert("user".into());
    let chain = chains.load().await;
    for _ in 0..3 {
        assert_eq!(
            response(&decide(&chain, with(get("/x"), "x-user", "1")).await).status,
            200
        );
        let verdict = decide(&chain, get("/x")).await;
        assert_eq!(response(&verdict).status, 401);
        // The fact came from a header, even where there is none.
        assert_eq!(applied(&verdict, 401, None, &[]), ["vary: x-user"]);
    }
    assert_eq!(chain.counts()[1].ran, 2);
}

#[tokio::test]
async fn nothing_is_shared_between_chains() {
    let chains = Chains::one(&session());
    let (one, other) = (chains.load().await, chains.load().await);
    for chain in [&one, &other] {
        decide(chain, with(get("/"), "cookie", "session=good")).await;
        assert_eq!(ran_and_reused(chain), (1, 0));
    }
}

#[tokio::test]
async fn kept_decisions_are_answered_while_the_policy_has_no_turn() {
    let mut guest = Guest::new();
    let (path, reply) = (guest.text("/loop"), guest.reply(&proceed()));
    guest.decide = format!(
        "(call $request.path (i32.const 64))
         (if (i32.eq (call $hash (i32.load (i32.const 64)) (i32.load (i32.const 68))) (call $hash {path}))
          (then (loop $forever (br $forever))))
         {reply}"
    );
    let mut chains = Chains::one(&guest);
    let limits = &mut chains.spec.policies[0].limits;
    limits.concurrent = 1;
    limits.running = std::time::Duration::from_secs(3600);
    // Longer than a busy machine makes a test wait in between.
    limits.wall = std::time::Duration::from_secs(2);
    let chain = std::sync::Arc::new(chains.load().await);
    decide(&chain, get("/known")).await;
    let holder = chain.clone();
    let looping = tokio::spawn(async move { decide(&holder, get("/loop")).await });
    tokio::task::yield_now().await;
    assert_eq!(targets(&decide(&chain, get("/known")).await), ["/known"]);
    assert!(!looping.is_finished());
    assert_eq!(fault(&looping.await.unwrap()).status, 503);
}

#[tokio::test]
async fn the_bound_of_bytes_holds_and_what_is_used_stays() {
    let mut guest = Guest::new();
    let reply = guest.reply(&proceed());
    guest.decide = format!("(call $request.path (i32.const 64)) {reply}");
    let mut chains = Chains::one(&guest);
    chains.spec.budget.evidence = 32 << 10;
    let chain = chains.load().await;
    for i in 0..1000 {
        decide(&chain, get(&format!("/random/{i}"))).await;
        // Asked for again and again, it is never let go.
        decide(&chain, get("/popular")).await;
        assert!(chain.evidence().bytes <= 32 << 10);
    }
    let counts = chain.counts()[0];
    assert_eq!(counts.ran, 1001, "{counts:?}");
    assert!(chain.evidence().decisions > 50, "{:?}", chain.evidence());
}

#[tokio::test]
async fn a_header_of_the_chain_is_kept_with_its_conditions() {
    let change = crate::guest::Change {
        when: 4,
        ..set("x-missing", "1")
    };
    let chain = Chains::one(&Guest::replying(&Reply::Proceed(Changes {
        headers: vec![change],
        ..Changes::default()
    })))
    .load()
    .await;
    for _ in 0..2 {
        let verdict = decide(&chain, get("/")).await;
        assert_eq!(applied(&verdict, 404, None, &[]), ["x-missing: 1"]);
        assert_eq!(applied(&verdict, 200, None, &[]), Vec::<String>::new());
    }
}

/// What is done to a head may be kept with it, for those whose verdict does the very same.
#[tokio::test]
async fn what_a_kept_decision_does_to_a_head_is_told_apart() {
    let rules = HeaderRules::default();
    let chain = Chains::one(&Guest::replying(&with_header("x-a", "1"))).load().await;
    let fresh = decide(&chain, get("/")).await;
    assert!(fresh.lasting(&rules, &rules).is_none(), "a policy ran");
    let (one, other) = (decide(&chain, get("/")).await, decide(&chain, get("/b")).await);
    let applied = one.lasting(&rules, &rules).expect("it was kept").applied();
    let other = other.lasting(&rules, &rules).expect("it was kept");
    assert!(other.is(&applied), "the same decision");
    // Of equal text, and another's all the same.
    let another = Chains::one(&Guest::replying(&with_header("x-a", "1"))).load().await;
    decide(&another, get("/")).await;
    let verdict = decide(&another, get("/")).await;
    assert!(!verdict.lasting(&rules, &rules).expect("it was kept").is(&applied));
    let server = HeaderRule {
        name: "x-b".into(),
        operation: HeaderOperation::Set("2".into()),
    };
    let own = HeaderRules::new(vec![server]).unwrap();
    assert!(!one.lasting(&rules, &own).expect("it was kept").is(&applied));
    assert!(!one.lasting(&own, &rules).expect("it was kept").is(&applied));
    // Nothing is done, and nothing has to be kept.
    let nothing = Chain::empty("site".into());
    assert!(decide(&nothing, get("/")).await.lasting(&rules, &rules).is_none());
    // A policy's own answer has no file's head.
    let answers = Chains::one(&Guest::replying(&respond(200))).load().await;
    decide(&answers, get("/")).await;
    assert!(decide(&answers, get("/")).await.lasting(&rules, &rules).is_none());
}

/// How long it may be used depends on when it is sent.
#[tokio::test]
async fn what_holds_until_a_moment_is_not_kept_with_a_head() {
    let rules = HeaderRules::default();
    let mut guest = Guest::new();
    let reply = guest.reply(&with_header("x-a", "1"));
    guest.decide = format!("(drop (call $clock.before (i64.const {}))) {reply}", NOW + 60);
    let chain = Chains::one(&guest).load().await;
    for _ in 0..2 {
        let verdict = decide(&chain, at(get("/"), NOW)).await;
        assert!(verdict.lasting(&rules, &rules).is_none());
    }
    assert_eq!(ran_and_reused(&chain), (1, 1));
}
