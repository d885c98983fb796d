use super::*;
use crate::running::processor_time;
use std::{hint::black_box, sync::atomic::AtomicUsize};

const MILLISECOND: u64 = 1_000_000;

fn meter() -> Meter {
    Meter::new(Duration::from_secs(60))
}

/// Of a site alone.
fn share() -> Arc<Share> {
    Arc::new(Share::new("alone", &Arc::default()))
}

/// Of a site that has used more than its part, whatever the time, and of a modest one beside it.
fn crowded() -> [Arc<Share>; 2] {
    let crowd = Arc::new(Crowd::frozen());
    let [greedy, modest] = ["greedy", "modest"].map(|site| Arc::new(Share::new(site, &crowd)));
    greedy.member.ask();
    modest.member.ask();
    greedy.member.charge(Duration::from_secs(60), Instant::now());
    assert!(greedy.member.is_over_now() && !modest.member.is_over_now());
    [greedy, modest]
}

/// However late a thread comes, calls give way.
fn patient(threads: usize) -> Lane {
    Lane::with("policy", threads, Duration::MAX)
}

fn thread() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// Uses a processor for about a millisecond.
fn work() {
    let begun = processor_time();
    while processor_time() - begun < MILLISECOND {
        (0..1000_u32).for_each(|turn| {
            black_box(turn);
        });
    }
}

/// Sends the name of the thread on which it is dropped.
struct Telling(Sender<String>);

impl Drop for Telling {
    fn drop(&mut self) {
        let _ = self.0.send(thread());
    }
}

#[tokio::test]
async fn a_call_goes_on_elsewhere_once_it_asks_and_comes_back() {
    let lane = Lane::new(1);
    let (own, its) = (meter(), meter());
    let short = async { (thread(), Telling(mpsc::channel().0)) };
    assert_eq!(lane.drive(Box::pin(short), &own, &share()).await.unwrap().0, thread());
    assert!(lane.started.get().is_none(), "nothing was handed over yet");

    let (sender, dropped) = mpsc::channel();
    let call = {
        let meter = its.clone();
        async move {
            let before = thread();
            meter.hand_over().await;
            work();
            // A timer of the runtime where the call began.
            tokio::time::sleep(Duration::from_millis(1)).await;
            (before, thread(), Telling(sender))
        }
    };
    let (before, after, told) = lane.drive(Box::pin(call), &its, &share()).await.unwrap();
    assert_eq!((before, after.as_str()), (thread(), "policy-slow-0"));
    assert!(its.ran() >= Duration::from_millis(1), "{its:?}");
    drop(told);
    assert_eq!(dropped.recv().unwrap(), thread());
}

/// A burnt run was taken for none: its outcome came before its time was counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_call_used_is_known_when_its_outcome_is() {
    let lane = Lane::new(1);
    for turn in 0..200 {
        let own = meter();
        let its = own.clone();
        let call = async move {
            its.hand_over().await;
            work();
        };
        lane.drive(Box::pin(call), &own, &share()).await.unwrap();
        assert!(own.ran() >= Duration::from_millis(1), "in turn {turn}: {own:?}");
    }
}

/// Whatever the call does at that time: it has its turn, waits for one, or for something else.
#[tokio::test]
async fn a_call_whose_future_is_dropped_ends_where_it_began() {
    for busy in [false, true] {
        let lane = Lane::new(1);
        let (sender, dropped) = mpsc::channel();
        let (meter, turns) = (meter(), Arc::new(AtomicUsize::new(0)));
        let (its, count) = (meter.clone(), turns.clone());
        let call = async move {
            let _told = Telling(sender);
            its.clone().hand_over().await;
            loop {
                count.fetch_add(1, Ordering::SeqCst);
                match busy {
                    true => {
                        work();
                        its.clone().hand_over().await;
                    }
                    false => std::future::pending().await,
                }
            }
        };
        let share = share();
        let under_way = async {
            while turns.load(Ordering::SeqCst) < if busy { 3 } else { 1 } {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            _ = lane.drive(Box::pin(call), &meter, &share) => unreachable!("it never ends"),
            () = under_way => {}
        }
        // If it had its turn, this runtime drops it after that.
        let told = tokio::task::spawn_blocking(move || dropped.recv().unwrap());
        assert_eq!(told.await.unwrap(), thread());
    }
}

#[tokio::test]
async fn a_panic_loses_one_call_and_nothing_else() {
    let lane = Lane::new(1);
    let own = meter();
    let its = own.clone();
    let call = async move {
        its.hand_over().await;
        panic!("this panic belongs to a test");
    };
    let lost: Result<(), Lost> = lane.drive(Box::pin(call), &own, &share()).await;
    assert!(lost.is_err());
    let next = meter();
    let its = next.clone();
    let call = async move {
        its.hand_over().await;
        thread()
    };
    assert_eq!(
        lane.drive(Box::pin(call), &next, &share()).await.unwrap(),
        "policy-slow-0"
    );
}

/// Counted in processor time, so that a busy machine does not matter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_endless_calls_of_one_site_take_no_more_turns_than_one_of_another() {
    let lane = Arc::new(Lane::new(1));
    let (greedy, modest) = (share(), share());
    let endless: Vec<_> = (0..8)
        .map(|_| {
            let (lane, share, own) = (lane.clone(), greedy.clone(), meter());
            tokio::spawn(async move {
                let its = own.clone();
                let call = async move {
                    loop {
                        its.clone().hand_over().await;
                        work();
                    }
                };
                let _: Result<(), Lost> = lane.drive(Box::pin(call), &own, &share).await;
            })
        })
        .collect();
    while greedy.nanoseconds.load(Ordering::Relaxed) < 20 * MILLISECOND {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (own, others) = (meter(), greedy.clone());
    let its = own.clone();
    let call = async move {
        its.clone().hand_over().await;
        let before = others.nanoseconds.load(Ordering::Relaxed);
        for _ in 0..10 {
            work();
            its.clone().hand_over().await;
        }
        others.nanoseconds.load(Ordering::Relaxed) - before
    };
    let meanwhile = lane.drive(Box::pin(call), &own, &modest).await.unwrap();
    endless.iter().for_each(tokio::task::JoinHandle::abort);
    assert!(
        meanwhile < 20 * MILLISECOND,
        "{meanwhile} ns while the other site ran 10 ms"
    );
}

/// Turns, timers, ends and drops at random: every call comes to its end, and nothing of it stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_neither_lost_nor_kept() {
    let lane = Arc::new(Lane::new(2));
    let alive = Arc::new(());
    let [greedy, modest] = crowded();
    let calls = (0..500_u64).map(|at| {
        let (lane, own, alive) = (lane.clone(), meter(), alive.clone());
        let share = match at % 4 {
            0 | 1 => greedy.clone(),
            2 => modest.clone(),
            _ => share(),
        };
        tokio::spawn(async move {
            let its = own.clone();
            let call = async move {
                for turn in 0..at % 7 {
                    its.clone().hand_over().await;
                    if (at + turn) % 3 == 0 {
                        tokio::time::sleep(Duration::from_micros(at)).await;
                    }
                }
                drop(alive);
                at
            };
            let limit = match at % 5 {
                0 => Duration::from_micros(at),
                _ => Duration::from_secs(60),
            };
            let ended = tokio::time::timeout(limit, lane.drive(Box::pin(call), &own, &share)).await;
            match ended {
                Ok(outcome) => assert_eq!(outcome.unwrap(), at),
                Err(_) => assert_eq!(at % 5, 0, "it was lost"),
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap();
    }
    // The last may still be on their way home.
    while Arc::strong_count(&alive) > 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_quarter_of_the_processors_is_kept_from_who_has_had_its_part() {
    for (threads, expected) in [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (8, 6), (64, 48)] {
        assert_eq!(open(threads), expected, "{threads}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_greedy_site_leaves_a_thread_to_others() {
    let lane = Arc::new(patient(4));
    let [greedy, modest] = crowded();
    let (running, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (lane, share, own) = (lane.clone(), greedy.clone(), meter());
            let (running, release) = (running.clone(), release.clone());
            tokio::spawn(async move {
                let its = own.clone();
                let call = async move {
                    its.hand_over().await;
                    running.fetch_add(1, Ordering::SeqCst);
                    while !release.load(Ordering::SeqCst) {
                        thread::sleep(Duration::from_millis(1));
                    }
                    thread()
                };
                lane.drive(Box::pin(call), &own, &share).await.unwrap()
            })
        })
        .collect();
    while running.load(Ordering::SeqCst) < 3 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // There is no other thread, and it has not gone to one of those that wait.
    let own = meter();
    let its = own.clone();
    let call = async move {
        its.hand_over().await;
        thread()
    };
    let thread = lane.drive(Box::pin(call), &own, &modest).await.unwrap();
    assert!(thread.starts_with("policy-slow-"), "{thread}");
    assert_eq!(running.load(Ordering::SeqCst), 3);
    release.store(true, Ordering::SeqCst);
    for call in calls {
        let thread = call.await.unwrap();
        assert!(thread.starts_with("policy-spare-"), "{thread}");
    }
}

/// Where all processors are taken, threads that give way hardly run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gives_way_after_a_thread_came_late() {
    let late = Duration::from_millis(20);
    let lane = Arc::new(Lane::with("policy", 1, late));
    let [greedy, _] = crowded();
    let (begun, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let call = |waits: bool| {
        let (lane, share, own) = (lane.clone(), greedy.clone(), meter());
        let (begun, release, its) = (begun.clone(), release.clone(), own.clone());
        let call = async move {
            begun.fetch_add(1, Ordering::SeqCst);
            its.hand_over().await;
            if waits {
                begun.fetch_add(1, Ordering::SeqCst);
                while !release.load(Ordering::SeqCst) {
                    thread::sleep(Duration::from_millis(1));
                }
            }
            thread()
        };
        tokio::spawn(async move { lane.drive(Box::pin(call), &own, &share).await.unwrap() })
    };
    let until = |count: usize| {
        let begun = begun.clone();
        async move {
            while begun.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    let first = call(true);
    until(2).await;
    // It waits for the first one's turn, or is about to.
    let second = call(false);
    until(3).await;
    tokio::time::sleep(late * 8).await;
    release.store(true, Ordering::SeqCst);
    assert_eq!(first.await.unwrap(), "policy-spare-0");
    assert_eq!(second.await.unwrap(), "policy-slow-0");
    assert_eq!(call(false).await.unwrap(), "policy-slow-0");
}

#[test]
fn most_of_the_time_is_forgiven_to_who_is_late() {
    let start = Instant::now();
    let ms = Duration::from_millis;
    // When something began and ended, how long it should have taken, and how late it all was then, in whole milliseconds.
    let turns = [
        (10, 20, 10, 0),
        (20, 22, 0, 0),
        (22, 424, 0, 98),
        (424, 444, 20, 83),
        (448, 448, 0, 80),
        (600, 600, 0, 0),
    ];
    let mut lateness = Lateness {
        late: Duration::ZERO,
        until: start,
    };
    for (begun, ended, due, expected) in turns {
        let late = lateness.note(start + ms(begun), ms(due), start + ms(ended));
        assert_eq!(late.as_millis(), expected, "{begun} to {ended}");
    }
}

#[tokio::test]
async fn what_is_done_in_the_background_gives_way_beside_others() {
    let crowd = Arc::new(Crowd::frozen());
    let lane = patient(1);
    let background = Arc::new(Share::background(&crowd));
    for (sites, expected) in [(&["one"][..], "policy-slow-0"), (&["one", "other"], "policy-spare-0")] {
        for site in sites {
            Share::new(site, &crowd).member.ask();
        }
        let own = meter();
        let its = own.clone();
        let call = async move {
            its.hand_over().await;
            thread()
        };
        assert_eq!(lane.drive(Box::pin(call), &own, &background).await.unwrap(), expected);
    }
}

/// However idle the machine is.
#[tokio::test]
async fn a_greedy_site_has_half_of_a_threads_time() {
    let lane = patient(1);
    let [greedy, _] = crowded();
    let begun = Instant::now();
    for _ in 0..10 {
        let own = meter();
        let its = own.clone();
        let call = async move {
            its.hand_over().await;
            work();
        };
        lane.drive(Box::pin(call), &own, &greedy).await.unwrap();
    }
    assert!(begun.elapsed() >= Duration::from_millis(19), "{:?}", begun.elapsed());
}
