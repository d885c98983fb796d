//! Two sites, one of which uses the processors: its calls leave the threads that serve to the other.
use crate::{
    guest::{Guest, proceed},
    harness::{Chains, decide, get, targets},
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use wasmserve_policy::{Chain, Crowd, Host, HostOptions, Reuse};

/// A host of its own: which sites are asked is what this is about.
fn host(crowd: &Arc<Crowd>) -> Host {
    let options = HostOptions {
        instances: 4,
        crowd: crowd.clone(),
        ..HostOptions::default()
    };
    Host::new(options).unwrap()
}

/// A policy that is called for each request.
async fn called(host: &Host) -> Chain {
    let mut guest = Guest::new();
    let proceeds = guest.reply(&proceed());
    guest.decide = proceeds.to_string();
    let mut chains = Chains::one(&guest);
    chains.spec.policies[0].reuse = Reuse {
        evidence: false,
        ..Reuse::default()
    };
    host.load(chains.spec.clone()).await.unwrap()
}

fn deferred(chain: &Chain) -> u64 {
    chain.counts()[0].deferred
}

#[tokio::test]
async fn a_site_that_uses_more_than_its_part_gives_way_while_others_are_asked() {
    let crowd = Arc::new(Crowd::of(1));
    let greedy = called(&host(&crowd)).await;
    // Files for everybody: such a site has no policies that could be counted.
    let other = Chain::empty_among("other".into(), &crowd);
    let begun = Instant::now();
    while deferred(&greedy) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", greedy.counts());
        decide(&other, get("/")).await;
        for _ in 0..100 {
            assert_eq!(targets(&decide(&greedy, get("/file")).await), ["/file"]);
        }
    }
    // Its calls are answered all the same.
    for _ in 0..20 {
        decide(&other, get("/")).await;
        assert_eq!(targets(&decide(&greedy, get("/file")).await), ["/file"]);
    }
}

#[tokio::test]
async fn a_site_alone_has_all_of_the_processors() {
    let crowd = Arc::new(Crowd::of(1));
    let only = called(&host(&crowd)).await;
    for _ in 0..2000 {
        assert_eq!(targets(&decide(&only, get("/file")).await), ["/file"]);
    }
    assert_eq!(deferred(&only), 0);
}
