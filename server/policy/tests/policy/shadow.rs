//! Candidates that run beside policies.
use crate::{
    guest::{Guest, proceed, respond},
    harness::{Chains, decide, get, targets},
};
use std::time::{Duration, Instant};
use wasmserve_policy::{Chain, Limits, ShadowCounts, ShadowSpec};

/// A policy that proceeds, and this candidate beside it.
fn beside(candidate: &Guest) -> (Chains, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let wasm = folder.path().join("candidate.wasm");
    std::fs::write(&wasm, candidate.build()).unwrap();
    let mut chains = Chains::one(&Guest::replying(&proceed()));
    chains.spec.policies[0].shadow = Some(ShadowSpec {
        wasm,
        config: toml::Table::new(),
        limits: Limits {
            running: Duration::from_millis(2),
            ..Limits::default()
        },
        establishes: Default::default(),
        reads: Default::default(),
        one_in: 1,
        pin: None,
    });
    (chains, folder)
}

fn counts(chain: &Chain) -> ShadowCounts {
    chain.policies()[0].shadow.clone().expect("there is a candidate").counts
}

/// Waits until as many decisions were compared or dropped.
async fn compared(chain: &Chain, expected: u64) -> ShadowCounts {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let ShadowCounts {
            agreed,
            differed,
            failed,
            dropped,
        } = counts(chain);
        if agreed + differed + failed + dropped == expected {
            return counts(chain);
        }
        assert!(Instant::now() < deadline, "{:?}", counts(chain));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn every_decision_is_compared_and_none_is_changed() {
    let mut trap = Guest::new();
    trap.decide = "(unreachable)".into();
    for (candidate, agreed, differed, failed) in [
        (Guest::replying(&proceed()), 5, 0, 0),
        (Guest::replying(&respond(403)), 0, 5, 0),
        (trap, 0, 0, 5),
    ] {
        let (chains, _folder) = beside(&candidate);
        let chain = chains.load().await;
        // Most of them are kept decisions: those are compared too.
        for _ in 0..5 {
            assert_eq!(targets(&decide(&chain, get("/x")).await), ["/x"]);
        }
        let counts = compared(&chain, 5).await;
        assert_eq!(
            (counts.agreed, counts.differed, counts.failed),
            (agreed, differed, failed)
        );
        assert!(chain.counts()[0].ran < 5);
    }
}

#[tokio::test]
async fn there_is_no_queue_without_end() {
    let mut endless = Guest::new();
    endless.decide = "(loop $forever (br $forever)) (unreachable)".into();
    let (chains, _folder) = beside(&endless);
    let chain = chains.load().await;
    for _ in 0..1000 {
        decide(&chain, get("/x")).await;
    }
    let counts = compared(&chain, 1000).await;
    assert!(counts.dropped > 900 && counts.failed > 0, "{counts:?}");
}

#[tokio::test]
async fn what_cannot_be_loaded_is_refused() {
    let (mut chains, folder) = beside(&Guest::replying(&proceed()));
    let broken = folder.path().join("broken.wasm");
    std::fs::write(&broken, "no module").unwrap();
    chains.spec.policies[0].shadow.as_mut().unwrap().wasm = broken;
    let refused = chains.refused().await;
    assert!(refused.starts_with("policy-0 (shadow)"), "{refused}");
}
