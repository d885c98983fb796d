//! Components that cannot be captured: an instance for each call, configured before it is needed.
use crate::{
    guest::{Guest, respond},
    harness::{Chains, decide, get, response},
    snapshot::{counting, running},
};
use std::sync::Arc;
use wasmserve_policy::{Chain, Configured, Host, HostOptions, Isolation, Reuse};

/// Changes its table, which is not memory.
pub fn uncapturable(mut guest: Guest) -> Guest {
    guest.more.push_str(
        "(table $table 2 2 funcref) (elem declare func $hash)
         (func $change (table.set $table (i32.const 0) (ref.func $hash)))",
    );
    guest.configure = format!("(call $change) {}", guest.configure);
    guest
}

fn is_ahead(chain: &Chain) -> bool {
    matches!(&chain.policies()[0].configured, Configured::Ahead { reason } if reason.contains("table.set"))
}

/// Decides until a call found an instance that was configured ahead.
async fn decide_until_ahead(chain: &Chain, calls: u64) {
    while chain.counts()[0].ahead < calls {
        assert_eq!(response(&decide(chain, get("/")).await).status, 222);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn each_instance_is_called_once_and_another_is_made() {
    let chain = running(&uncapturable(counting())).load().await;
    assert!(is_ahead(&chain), "{:?}", chain.policies()[0].configured);
    // The one that was configured at load.
    assert_eq!(response(&decide(&chain, get("/")).await).status, 222);
    assert_eq!(chain.counts()[0].ahead, 1);
    decide_until_ahead(&chain, 20).await;
}

#[tokio::test]
async fn what_it_uses_its_table_for_works() {
    let mut guest = uncapturable(counting());
    guest.more = guest
        .more
        .replace("(ref.func $hash)", "(ref.func $count)")
        .replace("func $hash)", "func $count)");
    guest.decide = guest
        .decide
        .replacen("(call $count)", "(call_indirect $table (i32.const 0))", 1);
    decide_until_ahead(&running(&guest).load().await, 5).await;
}

#[tokio::test]
async fn decisions_are_kept_as_those_from_a_snapshot() {
    let chain = Chains::one(&uncapturable(counting())).load().await;
    for _ in 0..3 {
        assert_eq!(response(&decide(&chain, get("/")).await).status, 222);
    }
    assert_eq!((chain.counts()[0].ran, chain.counts()[0].reused), (1, 2));
}

/// What `configure` was told counts for itself: whether a call found a configured instance makes no difference.
#[tokio::test]
async fn answers_to_configure_do_not_count_for_the_decision() {
    let mut guest = Guest::new();
    let (key, reply) = (guest.text("name"), guest.reply(&respond(200)));
    guest.configure = format!("(call $config.get {key} (i32.const 64)) (i32.const 16)");
    guest.decide = format!("(call $config.get {key} (i32.const 64)) {reply}");
    for guest in [uncapturable(guest.clone()), guest] {
        let mut chains = running(&guest);
        chains.spec.policies[0].config = toml::Table::from_iter([("name".to_owned(), "x".repeat(600).into())]);
        chains.spec.policies[0].limits.answers = 1000;
        let chain = chains.load().await;
        for _ in 0..4 {
            assert_eq!(response(&decide(&chain, get("/")).await).status, 200);
        }
    }
}

#[tokio::test]
async fn a_policy_whose_instances_are_reused_has_none_ahead() {
    let mut chains = Chains::one(&uncapturable(counting()));
    chains.spec.policies[0].reuse = Reuse {
        isolation: Isolation::Reuse,
        ..Reuse::default()
    };
    let chain = chains.load().await;
    assert!(matches!(chain.policies()[0].configured, Configured::EachCall { .. }));
    decide(&chain, get("/")).await;
    assert_eq!(chain.counts()[0].ahead, 0);
}

/// They take no more than half of the instances, and make room when a call needs it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_instances_never_keep_a_call_from_its_own() {
    for instances in [1, 2, 3] {
        let host = Host::new(HostOptions {
            instances,
            ..HostOptions::default()
        })
        .unwrap();
        let mut chains = Vec::new();
        for number in 0..3 {
            let mut one = running(&uncapturable(counting()));
            // Different configurations have instances of their own.
            one.spec.policies[0].config = toml::Table::from_iter([("number".to_owned(), number.into())]);
            chains.push(Arc::new(host.load(one.spec.clone()).await.unwrap()));
        }
        let mut calls = tokio::task::JoinSet::new();
        for at in 0..60 {
            let chain = chains[at % 3].clone();
            calls.spawn(async move { response(&decide(&chain, get("/")).await).status });
        }
        while let Some(status) = calls.join_next().await {
            assert_eq!(status.unwrap(), 222, "{instances} instances");
        }
        if instances == 1 {
            // There is none to spare.
            assert!(chains.iter().all(|chain| chain.counts()[0].ahead == 0));
        } else {
            decide_until_ahead(&chains[0], chains[0].counts()[0].ahead + 1).await;
        }
    }
}

#[tokio::test]
async fn instances_of_a_chain_that_is_gone_make_room() {
    let host = Host::new(HostOptions {
        instances: 4,
        ..HostOptions::default()
    })
    .unwrap();
    for round in 0..5 {
        let mut chains = running(&uncapturable(counting()));
        chains.spec.policies[0].config = toml::Table::from_iter([("round".to_owned(), round.into())]);
        decide_until_ahead(&host.load(chains.spec.clone()).await.unwrap(), 3).await;
    }
}
