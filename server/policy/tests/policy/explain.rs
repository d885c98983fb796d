//! Decisions that explain themselves.
use crate::{
    guest::{Changes, Guest, Reply, proceed, respond, set},
    harness::{Chains, decide, get, response, with},
    logs::Log,
};
use std::sync::Arc;
use wasmserve_policy::explain::{Decided, Keeping};

#[tokio::test]
async fn an_explanation_has_questions_answers_decision_and_keeping() {
    let mut first = Guest::new();
    let (cookie, reply) = (
        first.text("session"),
        first.reply(&Reply::Proceed(Changes {
            paths: vec!["/mapped".into()],
            headers: vec![crate::guest::Change {
                when: 4,
                types: vec!["text/*".into()],
                ..set("x-a", "1")
            }],
            pace: Some(7),
            ..Changes::default()
        })),
    );
    first.decide = format!(
        "(call $request.cookie {cookie} (i32.const 64))
         (drop (call $clock.before (i64.const 5)))
         (call $request.targets (i32.const 64)) {reply}"
    );
    let mut second = Guest::new();
    let reply = second.reply(&Reply::Respond {
        status: 403,
        headers: vec![("x-b".into(), "2".into())],
        body: b"no".to_vec(),
        allowed: false,
    });
    second.decide = format!("(drop (call $clock.now)) (call $request.targets (i32.const 64)) {reply}");
    let mut chains = Chains::new();
    chains.add(&first);
    chains.add(&second);
    chains.add(&Guest::replying(&proceed()));
    let chain = chains.load().await;
    let request = Arc::new(with(get("/x"), "cookie", "session=s3cret"));
    for keeping in [Keeping::WouldBe, Keeping::Kept] {
        let explanation = chain.explain(&request).await;
        let [one, two] = &explanation.steps[..] else {
            panic!("{:?}", explanation.steps)
        };
        let asked: Vec<String> = one
            .asked
            .iter()
            .map(|e| format!("{} = {}", e.question, e.answer))
            .collect();
        assert_eq!(
            asked,
            [
                "cookie(\"session\") = \"s3cret\"",
                "before(5) = false",
                "targets() = [\"/x\"]"
            ]
        );
        let lines = [
            "paths: /mapped",
            "set x-a: 1 (when missing, text/*)",
            "pace: 7 bytes a second",
        ];
        assert_eq!(one.decision, Decided::Proceed(lines.map(String::from).into()));
        assert_eq!(one.keeping, keeping);
        let asked: Vec<String> = two
            .asked
            .iter()
            .map(|e| format!("{} = {}", e.question, e.answer))
            .collect();
        assert_eq!(asked, ["the time = not to be repeated", "targets() = [\"/mapped\"]"]);
        let headers = vec!["x-b: 2".to_owned()];
        assert_eq!(
            two.decision,
            Decided::Respond {
                status: 403,
                headers,
                body: 2,
                sharing: "derived".into()
            }
        );
        assert_eq!(
            two.keeping,
            Keeping::No("it asked for the time, which cannot be repeated".into())
        );
        assert_eq!(response(&explanation.verdict).status, 403);
        assert!(
            serde_json::to_string(&explanation.steps)
                .unwrap()
                .contains("\"question\":\"cookie(\\\"session\\\")\"")
        );
        // Explaining neither keeps nor counts; deciding does.
        let counts = chain.counts()[0];
        assert_eq!((counts.ran + counts.reused == 0), keeping == Keeping::WouldBe);
        decide(&chain, (*request).clone()).await;
    }
}

#[tokio::test]
async fn a_failure_explains_itself_to_the_operator_alone() {
    let mut trap = Guest::new();
    trap.decide = "(call $request.path (i32.const 64)) (call $broken) (i32.const 16)".into();
    trap.more = "(func $broken (unreachable))".into();
    let chain = Chains::one(&trap).load().await;
    let (log, _guard) = Log::start();
    let explanation = chain.explain(&Arc::new(get("/x"))).await;
    let step = &explanation.steps[0];
    assert_eq!(step.asked[0].question, "path()");
    let Decided::Failed {
        status: 500,
        reason,
        backtrace,
    } = &step.decision
    else {
        panic!("{step:?}")
    };
    assert!(reason.contains("unreachable"), "{reason}");
    assert_eq!(backtrace[..2], ["guest!broken", "guest!decide"]);
    assert!(log.lines("message", "a policy failed").is_empty());
    assert_eq!(step.keeping, Keeping::No("it failed".into()));
}

#[tokio::test]
async fn explanations_of_what_is_never_kept_say_so() {
    let mut chains = Chains::one(&Guest::replying(&respond(200)));
    chains.spec.policies[0].reuse.evidence = false;
    let explanation = chains.load().await.explain(&Arc::new(get("/"))).await;
    assert_eq!(explanation.steps[0].keeping, Keeping::Off);
}
