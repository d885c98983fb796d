//! `isolation = "reuse"`: instances that are called again, until they are worn out.
use crate::{
    guest::{Guest, respond},
    harness::{Chains, decide, fault, get, response},
};
use wasmserve_policy::{Host, HostOptions, Isolation, Reuse, Room};

/// Responds 200 + how often the instance was called. Traps for `/trap`, grows its memory for `/grow`, and responds with what
/// is no status for `/malformed`.
fn counting() -> Guest {
    let mut guest = Guest::new();
    let [trap, grow, malformed] = ["/trap", "/grow", "/malformed"].map(|path| guest.text(path));
    let reply = guest.reply(&respond(200));
    guest.more = "(func $is (param $at i32) (param $length i32) (result i32)
        (i32.eq (call $hash (i32.load (i32.const 64)) (i32.load (i32.const 68)))
                (call $hash (local.get $at) (local.get $length))))"
        .into();
    guest.decide = format!(
        "(call $request.path (i32.const 64))
         (if (call $is {trap}) (then (unreachable)))
         (if (call $is {grow}) (then (drop (memory.grow (i32.const 1)))))
         (global.set $counter (i32.add (global.get $counter) (i32.const 1)))
         (i32.store16 (i32.add {reply} (i32.const 16)) (i32.add (i32.const 200) (global.get $counter)))
         (if (call $is {malformed}) (then (i32.store16 (i32.add {reply} (i32.const 16)) (i32.const 99))))
         {reply}"
    );
    guest
}

fn reused(guest: &Guest) -> Chains {
    let mut chains = Chains::one(guest);
    chains.spec.policies[0].reuse = Reuse {
        isolation: Isolation::Reuse,
        ..Reuse::default()
    };
    chains
}

#[tokio::test]
async fn an_instance_is_called_again_and_nothing_is_kept() {
    let chain = reused(&counting()).load().await;
    for count in 1..6 {
        assert_eq!(response(&decide(&chain, get("/")).await).status.as_u16(), 200 + count);
    }
    assert_eq!((chain.counts()[0].reused, chain.evidence()), (0, Room::default()));
}

#[tokio::test]
async fn an_instance_that_failed_or_grew_is_not_called_again() {
    let chain = reused(&counting()).load().await;
    let next = async |path: &str| response(&decide(&chain, get(path)).await).status.as_u16();
    assert_eq!([next("/").await, next("/").await], [201, 202]);
    assert_eq!(fault(&decide(&chain, get("/trap")).await).status, 500);
    assert_eq!([next("/").await, next("/grow").await, next("/").await], [201, 202, 201]);
    assert_eq!(fault(&decide(&chain, get("/malformed")).await).status, 500);
    assert_eq!(next("/").await, 201);
}

#[tokio::test]
async fn each_chain_has_instances_of_its_own() {
    let chains = reused(&counting());
    let (one, other) = (chains.load().await, chains.load().await);
    for chain in [&one, &other] {
        assert_eq!(response(&decide(chain, get("/")).await).status, 201);
    }
}

#[tokio::test]
async fn an_instance_that_waits_makes_room_for_one_that_is_needed() {
    let host = Host::new(HostOptions {
        instances: 1,
        ..HostOptions::default()
    })
    .unwrap();
    let chains = reused(&counting());
    let (one, other) = (
        host.load(chains.spec.clone()).await.unwrap(),
        host.load(chains.spec.clone()).await.unwrap(),
    );
    for _ in 0..3 {
        for chain in [&one, &other] {
            assert_eq!(response(&decide(chain, get("/")).await).status, 201);
        }
    }
}
