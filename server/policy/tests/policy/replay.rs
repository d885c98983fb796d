//! Decisions that are written down, and decided again without what was withheld.
use crate::{
    guest::{Guest, proceed, respond},
    harness::{Chains, decide, get, targets, with},
};
use std::sync::Arc;
use wasmserve_policy::{Counts, Withheld, explain::Keeping};

/// Asks for a cookie, a parameter and the path, and answers with this status or proceeds.
fn asking(status: Option<u16>) -> Guest {
    let mut guest = Guest::new();
    let (session, reply) = (
        guest.text("session"),
        guest.reply(&status.map_or_else(proceed, respond)),
    );
    guest.decide = format!(
        "(call $request.path (i32.const 64))
         (call $request.cookie {session} (i32.const 64)) {reply}"
    );
    guest
}

fn without_the_session() -> Arc<Withheld> {
    Arc::new(Withheld {
        cookies: ["session".to_owned()].into(),
        ..Withheld::default()
    })
}

#[tokio::test]
async fn notes_change_nothing_and_have_no_secrets() {
    let noted = Chains::one(&asking(Some(403))).load().await;
    let plain = Chains::one(&asking(Some(403))).load().await;
    for round in 0..4 {
        let request = with(get("/x"), "cookie", "session=s3cret");
        let expected = decide(&plain, request.clone()).await;
        let (verdict, steps) = noted.decide_noting(&Arc::new(request), without_the_session()).await;
        assert_eq!(verdict.summary(), expected.summary());
        let counts = [&noted, &plain].map(|chain| Counts {
            spent_microseconds: 0,
            ..chain.counts()[0]
        });
        assert_eq!(counts[0], counts[1], "round {round}");
        let [step] = &steps[..] else { panic!("{steps:?}") };
        match step.keeping {
            Keeping::Kept => assert!(step.asked.is_empty()),
            _ => {
                let answers: Vec<&str> = step.asked.iter().map(|exchange| &*exchange.answer).collect();
                assert_eq!(answers, ["\"/x\"", "redacted"]);
            }
        }
    }
    assert!(noted.counts()[0].reused > 0, "nothing was kept");
}

#[tokio::test]
async fn nobody_guesses_what_was_withheld() {
    let mut chains = Chains::one(&Guest::replying(&proceed()));
    chains.add(&asking(None));
    chains.add(&Guest::replying(&respond(403)));
    let chain = chains.load().await;
    let request = Arc::new(with(get("/x"), "cookie", "session=~"));
    let ended = chain.replay(&request, without_the_session()).await;
    assert_eq!(ended.unrecorded.as_deref(), Some("cookie(\"session\")"));
    assert_eq!(ended.steps.len(), 2, "{:?}", ended.steps);
    // What is known of it is told.
    let known = chain.replay(&request, Arc::default()).await;
    assert_eq!((known.unrecorded, known.steps.len()), (None, 3));
    let absent = chain.replay(&Arc::new(get("/x")), Arc::default()).await;
    assert_eq!(absent.unrecorded, None);
    assert_eq!(chain.counts().iter().map(|counts| counts.ran).sum::<u64>(), 0);
}

#[tokio::test]
async fn summaries_say_what_was_decided() {
    let chain = Chains::one(&asking(None)).load().await;
    let verdict = decide(&chain, get("/x")).await;
    assert_eq!(targets(&verdict), ["/x"]);
    let json = serde_json::to_string(&verdict.summary()).unwrap();
    assert!(json.starts_with(r#"{"outcome":"serve","targets":["/x"]"#), "{json}");
    let again = serde_json::from_str(&json).unwrap();
    assert_eq!(verdict.summary(), again);
}
