//! The configured state: captured once where it can be, and never anything that is not in memory.
use crate::{
    guest::{Guest, proceed, respond},
    harness::{Chains, decide, get, response},
    logs::Log,
};
use wasmserve_policy::{Chain, Configured, Host, HostOptions, Reuse, SnapshotOptions};

/// Adds one to a word of memory and to a global in `configure`, and responds 200 + 10 times the one + the other, adding one
/// to each again. So 222 says that `configure` ran once and `decide` once.
pub fn counting() -> Guest {
    let mut guest = Guest::new();
    let reply = guest.reply(&respond(200));
    guest.more = "(func $count
        (i32.store (i32.const 128) (i32.add (i32.const 1) (i32.load (i32.const 128))))
        (global.set $counter (i32.add (i32.const 1) (global.get $counter))))"
        .into();
    guest.configure = "(call $count) (i32.const 16)".into();
    guest.decide = format!(
        "(call $count)
         (i32.store16 (i32.add {reply} (i32.const 16)) (i32.add (i32.const 200) (i32.add
            (i32.mul (i32.const 10) (i32.load (i32.const 128))) (global.get $counter))))
         {reply}"
    );
    guest
}

/// A chain whose decisions are never kept, so that each one runs.
pub fn running(guest: &Guest) -> Chains {
    let mut chains = Chains::one(guest);
    chains.spec.policies[0].reuse = Reuse {
        evidence: false,
        ..Reuse::default()
    };
    chains
}

fn reason(configured: &Configured) -> &str {
    match configured {
        Configured::Ahead { reason } | Configured::EachCall { reason } => reason,
        other @ (Configured::Once | Configured::EachInstance) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn every_call_starts_from_the_configured_state() {
    let chain = running(&counting()).load().await;
    assert_eq!(chain.policies()[0].configured, Configured::Once);
    for _ in 0..5 {
        assert_eq!(response(&decide(&chain, get("/")).await).status, 222);
    }
}

#[tokio::test]
async fn memory_that_configure_grew_is_part_of_the_state() {
    let mut guest = Guest::new();
    let reply = guest.reply(&respond(200));
    // Writes at the end of what it grew, and reads it back.
    guest.configure = "(drop (memory.grow (i32.const 64)))
        (i32.store8 (i32.const 5242879) (i32.const 7)) (i32.const 16)"
        .into();
    guest.decide = format!(
        "(i32.store16 (i32.add {reply} (i32.const 16))
            (i32.add (i32.const 200) (i32.add (memory.size) (i32.load8_u (i32.const 5242879)))))
         {reply}"
    );
    let chain = running(&guest).load().await;
    assert_eq!(chain.policies()[0].configured, Configured::Once);
    for _ in 0..3 {
        assert_eq!(response(&decide(&chain, get("/")).await).status.as_u16(), 200 + 80 + 7);
    }
}

#[tokio::test]
async fn a_configure_of_many_ticks_is_captured() {
    let mut guest = counting();
    guest.configure = "(local $i i32)
        (loop $work (br_if $work (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 50000000))))
        (call $count) (i32.const 16)"
        .into();
    let chain = running(&guest).load().await;
    assert_eq!(chain.policies()[0].configured, Configured::Once);
    assert_eq!(response(&decide(&chain, get("/")).await).status, 222);
}

/// A stream handle that is captured would later be another stream's.
#[tokio::test]
async fn a_guest_that_prints_in_configure_is_not_captured() {
    let mut guest = counting();
    let print = guest.text("configured\n");
    guest.configure = format!(
        "(call $count)
         (global.set $out (call $stdout.get))
         (call $stream.write (global.get $out) {print} (i32.const 64))
         (i32.const 16)"
    );
    guest.more.push_str("(global $out (mut i32) (i32.const 0))");
    let print = guest.text("decided\n");
    guest.decide = format!(
        "(call $stream.write (global.get $out) {print} (i32.const 64)) {}",
        guest.decide
    );
    let (log, _guard) = Log::start();
    let chain = Chains::one(&guest).load().await;
    let info = chain.policies().remove(0);
    assert!(
        reason(&info.configured).contains("standard output cannot be captured"),
        "{:?}",
        info.configured
    );
    let line = log.lines("message", "a policy is loaded").remove(0);
    assert_eq!(line["configured"], "ahead of every call");
    assert_eq!(log.lines("said", "configured").len(), 1);
    for round in 1..4 {
        assert_eq!(response(&decide(&chain, get("/")).await).status, 222);
        // What configure prints is written at load alone, what decide prints each time.
        assert_eq!(
            (
                log.lines("said", "configured").len(),
                log.lines("said", "decided").len()
            ),
            (1, round)
        );
    }
    // All of it can be repeated, so it is kept.
    assert_eq!(chain.counts()[0].reused, 2);
}

#[tokio::test]
async fn chance_in_configure_is_not_captured_and_nothing_of_it_is_kept() {
    for call in ["(drop (call $random.u64))", "(drop (call $monotonic.now))"] {
        let mut guest = counting();
        guest.configure = format!("{call} {}", guest.configure);
        let chain = Chains::one(&guest).load().await;
        let configured = chain.policies().remove(0).configured;
        // Nor is it asked ahead of the call: the time would be another's.
        assert!(matches!(configured, Configured::EachCall { .. }), "{configured:?}");
        assert!(reason(&configured).contains("cannot be captured"));
        assert!(reason(&configured).contains("asks for what cannot be repeated"));
        for _ in 0..3 {
            assert_eq!(response(&decide(&chain, get("/")).await).status, 222);
        }
        assert_eq!((chain.counts()[0].reused, chain.counts()[0].ahead), (0, 0));
    }
}

#[tokio::test]
async fn a_seed_is_one_per_load() {
    let mut guest = Guest::new();
    let reply = guest.reply(&respond(200));
    // The sixteen bytes of the seed, as the body.
    guest.decide = format!(
        "(call $seed.seed (i32.const 64))
         (i32.store (i32.add {reply} (i32.const 28)) (i32.const 64))
         (i32.store (i32.add {reply} (i32.const 32)) (i32.const 16))
         {reply}"
    );
    let chains = running(&guest);
    let one = chains.load().await;
    let seed = response(&decide(&one, get("/")).await).body.clone();
    assert_eq!(response(&decide(&one, get("/")).await).body, seed);
    drop(one);
    let other = chains.load().await;
    assert_ne!(response(&decide(&other, get("/")).await).body, seed);
    let kept = Chains::one(&guest).load().await;
    for _ in 0..2 {
        decide(&kept, get("/")).await;
    }
    assert_eq!(kept.counts()[0].reused, 1);
}

#[tokio::test]
async fn two_configurations_of_one_file_have_a_state_each() {
    let mut guest = Guest::new();
    let (key, reply) = (guest.text("name"), guest.reply(&respond(200)));
    guest.configure = format!("(call $config.get {key} (i32.const 64)) (i32.const 16)");
    guest.decide = format!("(i64.store (i32.add {reply} (i32.const 28)) (i64.load (i32.const 72))) {reply}");
    for name in ["ann", "bartholomew"] {
        let mut chains = Chains::one(&guest);
        chains.spec.policies[0].config = toml::Table::from_iter([("name".to_owned(), name.into())]);
        let chain = chains.load().await;
        assert_eq!(&response(&decide(&chain, get("/")).await).body[..], name.as_bytes());
    }
}

/// With many policies: captured when it is worth it, and the least recently used forgotten.
#[tokio::test]
async fn of_many_configurations_those_in_use_are_captured() {
    let snapshots = SnapshotOptions { at_load: 2, most: 3 };
    let host = Host::with_snapshots(
        HostOptions {
            instances: 8,
            ..HostOptions::default()
        },
        snapshots,
    )
    .unwrap();
    let mut chains = running(&counting());
    let mut loaded = Vec::new();
    for i in 0..6 {
        chains.spec.policies[0].config = toml::Table::from_iter([("number".to_owned(), i.into())]);
        loaded.push(host.load(chains.spec.clone()).await.unwrap());
    }
    let captured = |loaded: &[Chain]| -> Vec<usize> {
        let once = |chain: &Chain| chain.policies()[0].configured == Configured::Once;
        (0..loaded.len()).filter(|at| once(&loaded[*at])).collect()
    };
    assert_eq!(captured(&loaded), [0, 1]);
    for at in [5, 3, 0, 4] {
        // Whatever it starts from, it decides the same.
        while !captured(&loaded).contains(&at) {
            assert_eq!(response(&decide(&loaded[at], get("/")).await).status, 222);
        }
        assert_eq!(response(&decide(&loaded[at], get("/")).await).status, 222);
        // Another is forgotten aside.
        while captured(&loaded).len() > 3 {
            tokio::task::yield_now().await;
        }
    }
    // 0 was forgotten for 3, 1 for 0 when that came back, and 5 for 4.
    assert_eq!(captured(&loaded), [0, 3, 4]);
    // The same configuration starts from the same state, whichever chain it is in.
    chains.spec.policies[0].config = toml::Table::from_iter([("number".to_owned(), 4.into())]);
    let again = host.load(chains.spec.clone()).await.unwrap();
    assert_eq!(again.policies()[0].configured, Configured::Once);
    loaded.clear();
}

#[tokio::test]
async fn one_file_twice_in_a_chain_is_two_policies() {
    let mut chains = Chains::one(&Guest::replying(&proceed()));
    let again = wasmserve_policy::PolicySpec {
        name: "again".into(),
        ..chains.spec.policies[0].clone()
    };
    chains.spec.policies.push(again);
    let chain = chains.load().await;
    decide(&chain, get("/")).await;
    assert_eq!(
        chain.counts().iter().map(|counts| counts.ran).collect::<Vec<_>>(),
        [1, 1]
    );
}
