//! Misbehaviour: nothing of it is felt elsewhere, and the client learns a status and nothing else.
use crate::{
    guest::{Change, Changes, Guest, Reply, proceed, respond, set},
    harness::{Chains, decide, fault, from, get, targets},
};
use rustix::time::{ClockId, clock_gettime};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use wasmserve_policy::{Host, HostOptions};

pub fn forever() -> Guest {
    let mut guest = Guest::new();
    guest.decide = "(loop $forever (br $forever)) (i32.const 16)".into();
    guest
}

/// This thread's.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}

/// The test's thread serves; calls that run for 20 ms each may take a slice of it, and the first ones no more. A slice ends
/// at a tick of another thread, which is late on a busy machine.
#[tokio::test]
async fn calls_that_run_long_leave_the_thread_that_serves() {
    let chain = Chains::one(&forever()).load().await;
    let before = processor_time();
    for network in 0..10 {
        assert_eq!(fault(&decide(&chain, from(network, "/")).await).status, 503);
    }
    assert_eq!(chain.counts()[0].burnt, 10);
    let used = processor_time() - before;
    assert!(used < Duration::from_millis(120), "{used:?} of 200 ms");
}

/// Loops forever for `/loop`, and proceeds otherwise.
pub fn forever_on_one_path() -> Guest {
    let mut guest = Guest::new();
    let (path, reply) = (guest.text("/loop"), guest.reply(&proceed()));
    guest.decide = format!(
        "(call $request.path (i32.const 64))
         (if (i32.eq (call $hash (i32.load (i32.const 64)) (i32.load (i32.const 68))) (call $hash {path}))
          (then (loop $forever (br $forever))))
         {reply}"
    );
    guest
}

#[tokio::test]
async fn each_misbehaviour_has_its_status() {
    let mut flood = Guest::new();
    flood.decide = "(loop $more (call $request.header (i32.const 4096) (i32.const 4) (i32.const 64)) (br $more))
        (i32.const 16)"
        .into();
    let raw = |decide: &str, more: &str| {
        let mut guest = Guest::new();
        guest.decide = decide.into();
        guest.more = more.into();
        guest
    };
    let overflow = "(func $deep (param i64) (result i64) (i64.add (i64.const 1) (call $deep (local.get 0))))";
    let cases: [(&str, Guest, u16); 8] = [
        ("trap", raw("(unreachable)", ""), 500),
        ("err", Guest::replying(&Reply::Fail("no".into())), 500),
        ("endless loop", forever(), 503),
        (
            "memory growth",
            raw(
                "(loop $more (drop (memory.grow (i32.const 16))) (br $more)) (i32.const 16)",
                "",
            ),
            500,
        ),
        (
            "stack overflow",
            raw("(drop (call $deep (i64.const 1))) (i32.const 16)", overflow),
            500,
        ),
        ("a result outside of memory", raw("(i32.const -8)", ""), 500),
        (
            "a result that is none",
            raw("(i32.store8 (i32.const 64) (i32.const 7)) (i32.const 64)", ""),
            500,
        ),
        ("a flood of questions", flood, 500),
    ];
    for (what, guest, status) in cases {
        let verdict = decide(&Chains::one(&guest).load().await, get("/a")).await;
        assert_eq!(fault(&verdict).status.as_u16(), status, "{what}");
    }
}

#[tokio::test]
async fn answers_have_a_ceiling_of_bytes() {
    // `/ab` three times is nine bytes.
    for (limit, refused) in [(9, false), (8, true)] {
        let mut guest = Guest::new();
        let reply = guest.reply(&respond(204));
        guest.decide = format!("{} {reply}", "(call $request.path (i32.const 64))".repeat(3));
        let mut chains = Chains::one(&guest);
        chains.spec.policies[0].limits.answers = limit;
        let verdict = decide(&chains.load().await, get("/ab")).await;
        match refused {
            true => assert_eq!(fault(&verdict).status, 500),
            false => assert_eq!(crate::harness::response(&verdict).status, 204),
        }
    }
}

#[tokio::test]
async fn memory_that_would_grow_beyond_the_limit_traps() {
    // With -1 instead of a trap, the guest would go on and proceed.
    let mut guest = Guest::new();
    let reply = guest.reply(&proceed());
    guest.decide = format!("(drop (memory.grow (i32.const 300))) {reply}");
    let verdict = decide(&Chains::one(&guest).load().await, get("/")).await;
    assert_eq!(fault(&verdict).status, 500);
}

#[tokio::test]
async fn malformed_decisions_are_faults() {
    let changed = |change: Change| {
        Reply::Proceed(Changes {
            headers: vec![change],
            ..Changes::default()
        })
    };
    let paths = |path: &str| {
        Reply::Proceed(Changes {
            paths: vec![path.into()],
            ..Changes::default()
        })
    };
    let placed = |root: &str, directory: &str| {
        Reply::Proceed(Changes {
            place: Some((root.into(), directory.into())),
            ..Changes::default()
        })
    };
    let missing = |status| {
        Reply::Proceed(Changes {
            missing: Some((vec![], status)),
            ..Changes::default()
        })
    };
    let with = |status, name: &str, value: &str, body: &[u8]| Reply::Respond {
        status,
        headers: vec![(name.into(), value.into())],
        body: body.into(),
        allowed: false,
    };
    let typed = |range: &str| {
        changed(Change {
            types: vec![range.into()],
            ..set("x", "y")
        })
    };
    let flood = Changes {
        headers: (0..129).map(|_| set("x", "y")).collect(),
        ..Changes::default()
    };
    let large = Changes {
        headers: (0..64).map(|_| set("x", &"y".repeat(1200))).collect(),
        ..Changes::default()
    };
    let many = Changes {
        paths: (0..33).map(|i| format!("/{i}")).collect(),
        ..Changes::default()
    };
    let redirecting = |paths: &[&str], headers: Vec<Change>| {
        Reply::Proceed(Changes {
            missing: Some((paths.iter().map(|path| (*path).into()).collect(), 301)),
            headers,
            ..Changes::default()
        })
    };
    let location = |value: &str| Change {
        when: 2,
        ..set("Location", value)
    };
    let mut cases = vec![
        redirecting(&[], vec![set("x", "/a")]),
        redirecting(&["/404.html"], vec![location("/a")]),
        redirecting(&[], vec![location("")]),
        redirecting(&[], vec![location(" /a")]),
        redirecting(&[], vec![location("/a\r\nx: y")]),
        redirecting(&[], vec![location("/a"), location("/b")]),
        redirecting(&[], vec![location("/a"), set("location", "/b")]),
        redirecting(&[], vec![set("Location", "/a")]),
        redirecting(
            &[],
            vec![Change {
                when: 3,
                ..location("/a")
            }],
        ),
        redirecting(
            &[],
            vec![Change {
                operation: 1,
                ..location("/a")
            }],
        ),
        redirecting(
            &[],
            vec![Change {
                operation: 2,
                ..location("/a")
            }],
        ),
        redirecting(
            &[],
            vec![Change {
                types: vec!["text/html".into()],
                ..location("/a")
            }],
        ),
        changed(set("", "x")),
        changed(set("a b", "x")),
        changed(set("x:", "x")),
        changed(set("x", "a\r\nb: c")),
        changed(set("x", "a\nb")),
        changed(set("x", "a\0b")),
        changed(set("x", " a")),
        changed(set("x", "a\t")),
        changed(set("vary", "origin")),
        changed(Change {
            operation: 2,
            ..set("Vary", "")
        }),
        typed("text"),
        typed("*/*"),
        typed("text/"),
        typed("text/html; charset=utf-8"),
        paths(""),
        paths("a"),
        paths("/../etc/passwd"),
        paths("/a/./b"),
        paths("/a//b"),
        paths("/a\0b"),
        paths("/a\\b"),
        placed("other", "/"),
        placed("tenants", "/.."),
        placed("tenants", "t1"),
        missing(302),
        missing(300),
        missing(304),
        missing(500),
        Reply::Proceed(Changes {
            missing: Some((vec!["..".into()], 404)),
            ..Changes::default()
        }),
        Reply::Proceed(Changes {
            facts: vec![("user".into(), "ann".into())],
            ..Changes::default()
        }),
        Reply::Proceed(Changes {
            facts: vec![("tls.x".into(), "ann".into())],
            ..Changes::default()
        }),
        Reply::Proceed(Changes {
            allowed: true,
            ..Changes::default()
        }),
        Reply::Proceed(flood),
        Reply::Proceed(large),
        Reply::Proceed(many),
        with(204, "x", "y", b"z"),
        with(205, "x", "y", b"z"),
        with(200, "x", "y\n", b""),
        with(200, "transfer-encoding", "chunked", b""),
    ];
    cases.extend([0, 100, 101, 199, 206, 304, 416, 600, 999].map(respond));
    let always = [
        "connection",
        "Keep-Alive",
        "proxy-connection",
        "Proxy-Authenticate",
        "TE",
        "trailer",
        "Transfer-Encoding",
        "upgrade",
        "Content-Length",
        "content-range",
        "Date",
    ];
    cases.extend(always.map(|name| changed(set(name, "x"))));
    cases.extend(always.map(|name| with(200, name, "x", b"")));
    let file = ["content-encoding", "ETag", "last-modified", "accept-ranges"];
    cases.extend(file.map(|name| changed(set(name, "x"))));
    cases.extend(file.map(|name| {
        changed(Change {
            operation: 2,
            ..set(name, "")
        })
    }));
    for reply in &cases {
        let verdict = decide(&Chains::one(&Guest::replying(reply)).load().await, get("/")).await;
        assert_eq!(fault(&verdict).status, 500, "{reply:?}");
    }
    // On a response, the fields that describe content are the policy's own.
    for name in file {
        let reply = with(200, name, "x", b"");
        let verdict = decide(&Chains::one(&Guest::replying(&reply)).load().await, get("/")).await;
        assert_eq!(crate::harness::response(&verdict).status, 200);
    }
}

#[tokio::test]
async fn a_body_has_a_ceiling() {
    for (length, status) in [(256 << 10, None), ((256 << 10) + 1, Some(500)), (2 << 20, Some(500))] {
        // The body is memory as it stands.
        let mut guest = Guest::new();
        guest.pages = 40;
        let reply = guest.reply(&respond(200));
        guest.decide = format!("(i32.store (i32.add {reply} (i32.const 32)) (i32.const {length})) {reply}");
        let verdict = decide(&Chains::one(&guest).load().await, get("/")).await;
        match status {
            Some(status) => assert_eq!(fault(&verdict).status.as_u16(), status, "{length}"),
            None => assert_eq!(crate::harness::response(&verdict).body.len(), length),
        }
    }
}

/// One string of 512 KiB, named by each of 32,000 facts: copied as often, it would take 16 GiB.
#[tokio::test]
async fn a_result_cannot_make_the_host_copy_more_than_its_ceiling() {
    let mut guest = Guest::new();
    guest.pages = 40;
    let reply = guest.reply(&proceed());
    guest.decide = format!(
        "(local $i i32)
         (loop $fill
            (i32.store (i32.add (i32.const 1048576) (i32.mul (local.get $i) (i32.const 16))) (i32.const 262144))
            (i32.store (i32.add (i32.const 1048580) (i32.mul (local.get $i) (i32.const 16))) (i32.const 524288))
            (i32.store (i32.add (i32.const 1048584) (i32.mul (local.get $i) (i32.const 16))) (i32.const 262144))
            (i32.store (i32.add (i32.const 1048588) (i32.mul (local.get $i) (i32.const 16))) (i32.const 524288))
            (br_if $fill (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 32000))))
         (i32.store (i32.add {reply} (i32.const 68)) (i32.const 1048576))
         (i32.store (i32.add {reply} (i32.const 72)) (i32.const 32000))
         {reply}"
    );
    let verdict = decide(&Chains::one(&guest).load().await, get("/")).await;
    assert_eq!(fault(&verdict).status, 500);
}

/// On one worker thread, endless loops leave it to others at every tick.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn an_endless_loop_does_not_hold_a_worker() {
    let mut chains = Chains::one(&forever_on_one_path());
    chains.spec.policies[0].limits.running = Duration::from_secs(3600);
    let chain = Arc::new(chains.load().await);
    let loops: Vec<_> = (0..4)
        .map(|_| {
            let chain = chain.clone();
            tokio::spawn(async move { decide(&chain, get("/loop")).await })
        })
        .collect();
    let others = chain.clone();
    let served = tokio::spawn(async move {
        for _ in 0..50 {
            assert_eq!(targets(&decide(&others, get("/other")).await), ["/other"]);
        }
    });
    // Would never end if a loop held the only worker.
    served.await.unwrap();
    for task in loops {
        assert!(!task.is_finished());
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
}

#[tokio::test]
async fn a_dropped_call_leaves_its_turn_and_its_instance() {
    let mut chains = Chains::one(&forever_on_one_path());
    chains.spec.policies[0].limits.running = Duration::from_secs(3600);
    chains.spec.policies[0].limits.concurrent = 1;
    let chain = chains.load().await;
    // More often than the pool has instances.
    for _ in 0..100 {
        let call = tokio::time::timeout(Duration::from_millis(3), decide(&chain, get("/loop"))).await;
        assert!(call.is_err());
    }
    assert_eq!(targets(&decide(&chain, get("/other")).await), ["/other"]);
}

/// More calls at once than there are instances: they wait, and none is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_beyond_the_pool_wait() {
    let host = Host::new(HostOptions {
        instances: 2,
        ..HostOptions::default()
    })
    .unwrap();
    // Each call takes several ticks.
    let mut guest = Guest::new();
    let reply = guest.reply(&proceed());
    guest.decide = format!(
        "(local $i i32)
         (loop $work (br_if $work (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 3000000))))
         (call $request.path (i32.const 64)) {reply}"
    );
    let mut chains = Chains::one(&guest);
    chains.spec.policies[0].limits.running = Duration::from_secs(3600);
    let chain = Arc::new(host.load(chains.spec.clone()).await.unwrap());
    let calls: Vec<_> = (0..40)
        .map(|i| {
            let chain = chain.clone();
            tokio::spawn(async move { targets(&decide(&chain, get(&format!("/{i}"))).await)[0].to_owned() })
        })
        .collect();
    for (i, call) in calls.into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), format!("/{i}"));
    }
    assert_eq!(chain.counts()[0].failed, 0);
}

/// However many calls of one site are under way, another finds a place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_cannot_hold_all_places() {
    let host = Host::new(HostOptions {
        instances: 3,
        ..HostOptions::default()
    })
    .unwrap();
    let mut chains = Chains::one(&forever_on_one_path());
    chains.spec.policies[0].limits.running = Duration::from_secs(3600);
    let greedy = Arc::new(host.load(chains.spec.clone()).await.unwrap());
    chains.spec.site = "another".into();
    let other = host.load(chains.spec.clone()).await.unwrap();
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let chain = greedy.clone();
            tokio::spawn(async move { decide(&chain, get("/loop")).await })
        })
        .collect();
    while greedy.counts()[0].ran < 8 {
        tokio::task::yield_now().await;
    }
    for turn in 0..20 {
        let path = format!("/{turn}");
        assert_eq!(targets(&decide(&other, get(&path)).await), [path]);
    }
    for call in calls {
        call.abort();
        assert!(call.await.is_err(), "an endless call ended");
    }
    assert_eq!(targets(&decide(&greedy, get("/free")).await), ["/free"]);
}

#[tokio::test]
async fn who_waits_longer_than_the_wall_time_for_a_turn_is_told_to_come_back() {
    let mut chains = Chains::one(&forever_on_one_path());
    let limits = &mut chains.spec.policies[0].limits;
    limits.running = Duration::from_secs(3600);
    limits.concurrent = 1;
    limits.wall = Duration::from_millis(200);
    let chain = Arc::new(chains.load().await);
    let holder = chain.clone();
    let first = tokio::spawn(async move { decide(&holder, get("/loop")).await });
    let begun = Instant::now();
    let verdict = decide(&chain, get("/loop")).await;
    assert_eq!(fault(&verdict).status, 503);
    assert!(begun.elapsed() >= Duration::from_millis(200));
    assert_eq!(fault(&first.await.unwrap()).status, 503);
}

#[tokio::test]
async fn one_call_does_not_see_what_another_left_behind() {
    // Responds with 200 + how often it was called.
    let mut guest = Guest::new();
    let reply = guest.reply(&respond(200));
    guest.decide = format!(
        "(i32.store (i32.const 128) (i32.add (i32.const 1) (i32.load (i32.const 128))))
         (global.set $counter (i32.add (i32.const 1) (global.get $counter)))
         (i32.store16 (i32.add {reply} (i32.const 16)) (i32.add (i32.const 200)
            (i32.add (i32.load (i32.const 128)) (global.get $counter))))
         {reply}"
    );
    let chain = Chains::one(&guest).load().await;
    for i in 0..5 {
        let verdict = decide(&chain, get(&format!("/{i}"))).await;
        assert_eq!(crate::harness::response(&verdict).status, 202);
    }
}
