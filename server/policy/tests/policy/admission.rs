//! Runs that are refused: what a policy or a site has used up is felt by whoever used it, and kept decisions stay.
use crate::{
    faults::forever_on_one_path,
    guest::Guest,
    harness::{Chains, decide, fault, from, get, host, targets},
    logs::Log,
};
use std::{sync::Arc, time::Duration};
use wasmserve_policy::Chain;

/// Endless loops on `/loop` end soon.
async fn chain(change: impl FnOnce(&mut Chains)) -> Chain {
    let mut chains = Chains::one(&forever_on_one_path());
    chains.spec.policies[0].limits.running = Duration::from_millis(2);
    change(&mut chains);
    chains.load().await
}

fn trap() -> Guest {
    let mut guest = Guest::new();
    guest.decide = "(unreachable)".into();
    guest
}

#[tokio::test]
async fn the_breaker_opens_on_burnt_time_and_kept_decisions_are_answered() {
    let (log, _guard) = Log::start();
    let (chain, other) = (chain(|_| {}).await, chain(|_| {}).await);
    assert_eq!(targets(&decide(&chain, get("/kept")).await), ["/kept"]);
    for at in 0..20 {
        let fault = fault(&decide(&chain, from(at % 4, "/loop")).await);
        assert_eq!((fault.status.as_u16(), at), (503, at));
    }
    let refused = fault(&decide(&chain, get("/other")).await);
    assert_eq!(refused.status, 503);
    assert!(refused.retry_after > Some(Duration::from_secs(1)), "{refused:?}");
    assert_eq!(targets(&decide(&chain, get("/kept")).await), ["/kept"]);
    let counts = chain.counts()[0];
    assert_eq!((counts.burnt, counts.opened, counts.refused), (20, 1, 1), "{counts:?}");
    let lines = log.lines("breaker", "open");
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&line["policy"], &line["site"]), (&"policy-0".into(), &"test".into()));
    // The same file, for another site.
    assert_eq!(targets(&decide(&other, get("/other")).await), ["/other"]);
}

#[tokio::test]
async fn cheap_failures_never_open_it() {
    let chain = Chains::one(&trap()).load().await;
    for at in 0..200 {
        assert_eq!(fault(&decide(&chain, from(at % 50, "/")).await).status, 500, "{at}");
    }
    let counts = chain.counts()[0];
    assert_eq!((counts.failed, counts.burnt, counts.opened), (200, 0, 0), "{counts:?}");
}

#[tokio::test]
async fn one_client_that_burns_keeps_itself_out() {
    let chain = chain(|_| {}).await;
    for _ in 0..10 {
        assert_eq!(fault(&decide(&chain, from(1, "/loop")).await).status, 503);
    }
    assert_eq!(fault(&decide(&chain, from(1, "/other")).await).status, 503);
    assert_eq!(targets(&decide(&chain, from(2, "/other")).await), ["/other"]);
    // What is kept is answered to that client too.
    assert_eq!(targets(&decide(&chain, from(1, "/other")).await), ["/other"]);
    let counts = chain.counts()[0];
    assert_eq!((counts.burnt, counts.throttled, counts.opened), (5, 6, 0), "{counts:?}");
}

/// Whoever leaves before the end has burnt as much. How long a run takes to use half of its time, and not all of it, is up
/// to what else the machine does: so it is found out.
#[tokio::test]
async fn runs_that_nobody_waits_for_burn_too() {
    let chain = chain(|chains| chains.spec.policies[0].limits.running = Duration::from_millis(100)).await;
    // From below: whoever leaves too early has burnt nothing and may come again, and only five runs may burn.
    let mut patience = Duration::from_millis(5);
    let mut burnt_by_leaving = 0;
    for _ in 0..500 {
        let before = chain.counts()[0].burnt;
        let left = tokio::time::timeout(patience, decide(&chain, from(1, "/loop")))
            .await
            .is_err();
        let counts = chain.counts()[0];
        if counts.throttled > 0 {
            break;
        }
        match (left, counts.burnt > before) {
            (true, true) => burnt_by_leaving += 1,
            (true, false) => patience = (patience * 5 / 4).min(Duration::from_secs(10)),
            (false, _) => patience = patience * 4 / 5,
        }
    }
    assert_eq!(chain.counts()[0].burnt, 5);
    assert!(burnt_by_leaving > 0, "all of them ended by themselves");
    assert_eq!(fault(&decide(&chain, from(1, "/other")).await).status, 503);
    assert_eq!(targets(&decide(&chain, from(2, "/other")).await), ["/other"]);
}

#[tokio::test]
async fn a_site_that_has_spent_its_processor_time_waits_alone() {
    let poor = chain(|chains| {
        chains.spec.budget.processor = Some(Duration::from_millis(1));
        // So much that it stays spent for the rest of the test.
        chains.spec.policies[0].limits.running = Duration::from_millis(50);
    })
    .await;
    let other = chain(|_| {}).await;
    assert_eq!(targets(&decide(&poor, get("/kept")).await), ["/kept"]);
    assert_eq!(fault(&decide(&poor, get("/loop")).await).status, 503);
    let refused = fault(&decide(&poor, get("/other")).await);
    assert_eq!((refused.status.as_u16(), refused.retry_after.is_some()), (503, true));
    assert_eq!(targets(&decide(&poor, get("/kept")).await), ["/kept"]);
    assert_eq!(targets(&decide(&other, get("/other")).await), ["/other"]);
    assert_eq!(poor.counts()[0].over_budget, 1);
    assert_eq!(poor.counts()[0].ran, 2);
}

#[tokio::test]
async fn a_site_has_so_many_calls_under_way_and_no_more() {
    let site = chain(|chains| {
        chains.spec.budget.concurrent = 2;
        chains.spec.policies[0].limits.running = Duration::from_secs(3600);
    })
    .await;
    let site = Arc::new(site);
    let loops: Vec<_> = (0..2)
        .map(|_| {
            let site = site.clone();
            tokio::spawn(async move { decide(&site, get("/loop")).await })
        })
        .collect();
    while site.counts()[0].ran < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fault(&decide(&site, get("/other")).await).status, 503);
    let other = chain(|_| {}).await;
    assert_eq!(targets(&decide(&other, get("/other")).await), ["/other"]);
    loops.iter().for_each(tokio::task::JoinHandle::abort);
    for one in loops {
        assert!(one.await.unwrap_err().is_cancelled());
    }
    assert_eq!(targets(&decide(&site, get("/other")).await), ["/other"]);
    assert_eq!(site.counts()[0].over_budget, 1);
}

/// Nothing that an operator looks at counts, and nothing keeps an operator from looking.
#[tokio::test]
async fn explaining_is_neither_refused_nor_counted() {
    let chain = chain(|_| {}).await;
    let request = Arc::new(from(1, "/loop"));
    for _ in 0..10 {
        chain.explain(&request).await;
    }
    assert_eq!(chain.counts()[0].burnt, 0);
    assert_eq!(targets(&decide(&chain, from(1, "/other")).await), ["/other"]);
}

#[tokio::test]
async fn many_failures_are_written_as_the_first_ten() {
    let (log, _guard) = Log::start();
    let chain = Chains::one(&trap()).load().await;
    for _ in 0..50 {
        decide(&chain, get("/")).await;
    }
    assert_eq!(log.lines("message", "a policy failed").len(), 10);
    assert_eq!(chain.counts()[0].failed, 50);
}

/// Half a million calls that cost next to nothing each, and would not spend the running time for long.
#[tokio::test]
async fn a_guest_calls_the_host_only_so_often() {
    let mut guest = Guest::new();
    guest.decide = "(loop $more (drop (call $clock.before (i64.const 1))) (br $more)) (i32.const 16)".into();
    let mut chains = Chains::one(&guest);
    chains.spec.policies[0].limits.running = Duration::from_secs(3600);
    let chain = host().load(chains.spec.clone()).await.unwrap();
    assert_eq!(fault(&decide(&chain, get("/")).await).status, 500);
}
