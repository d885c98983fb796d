//! Futures that are polled only when there is reason to.
//!
//! A connection's task waits for several things and runs because of one of them, nearly always its socket. Polling the
//! others each time takes a lock each.

use std::{
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering::Acquire},
    task::{Context, Poll, Waker},
};
use tokio::task::unconstrained;

/// A future that is polled once, so that it wakes the task, and then only from when its flag is set, which happens before
/// it wakes anybody.
pub struct Seldom<'a, F> {
    future: Pin<&'a mut F>,
    flag: &'a AtomicBool,
    polled_by: Option<Waker>,
}

impl<'a, F: Future> Seldom<'a, F> {
    pub fn new(future: Pin<&'a mut F>, flag: &'a AtomicBool) -> Self {
        Self {
            future,
            flag,
            polled_by: None,
        }
    }
}

impl<F: Future> Future for Seldom<'_, F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.get_mut();
        let waits = this
            .polled_by
            .as_ref()
            .is_some_and(|waker| waker.will_wake(context.waker()));
        if waits && !this.flag.load(Acquire) {
            return Poll::Pending;
        }
        this.polled_by = Some(context.waker().clone());
        // Also when the task has used its turn up: sent away, it would not know whom to wake.
        pin!(unconstrained(this.future.as_mut())).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::poll_fn,
        sync::{
            Arc,
            atomic::{
                AtomicUsize,
                Ordering::{Relaxed, Release},
            },
        },
        task::Wake,
        time::Duration,
    };
    use tokio::{
        sync::mpsc,
        time::{sleep, timeout},
    };

    /// A task, told from others by its address.
    #[derive(Default)]
    struct Task(AtomicBool);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Relaxed);
        }
    }

    #[test]
    fn is_polled_again_when_the_flag_is_set_or_another_task_asks() {
        let polls = AtomicUsize::new(0);
        let flag = AtomicBool::new(false);
        let future = pin!(poll_fn(|_| {
            polls.fetch_add(1, Relaxed);
            match flag.load(Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        let mut seldom = Seldom::new(future, &flag);
        let wakers = [0, 1].map(|_| Waker::from(Arc::new(Task::default())));
        let mut poll = |waker: &Waker| Pin::new(&mut seldom).poll(&mut Context::from_waker(waker));
        assert_eq!(poll(&wakers[0]), Poll::Pending);
        assert_eq!(poll(&wakers[0]), Poll::Pending);
        assert_eq!(polls.load(Relaxed), 1, "it was told once who waits");
        assert_eq!(poll(&wakers[1]), Poll::Pending);
        assert_eq!(polls.load(Relaxed), 2, "another waits");
        flag.store(true, Relaxed);
        assert_eq!(poll(&wakers[1]), Poll::Ready(()));
    }

    #[tokio::test]
    async fn one_that_is_first_polled_at_the_end_of_a_turn_wakes_its_task() {
        let (sender, mut receiver) = mpsc::channel::<()>(1);
        let flag = Arc::new(AtomicBool::new(false));
        let set = flag.clone();
        // In a task of its own: what a runtime blocks on may be polled without being woken.
        let waits = tokio::spawn(async move {
            let event = pin!(receiver.recv());
            let mut seldom = Seldom::new(event, &flag);
            let mut begun = false;
            poll_fn(|context| {
                if !std::mem::replace(&mut begun, true) {
                    while pin!(tokio::task::consume_budget()).poll(context).is_ready() {}
                }
                Pin::new(&mut seldom).poll(context)
            })
            .await
        });
        sleep(Duration::from_millis(20)).await;
        set.store(true, Release);
        sender.send(()).await.expect("it is waited for");
        let event = timeout(Duration::from_secs(30), waits).await;
        assert_eq!(event.expect("it wakes the task").expect("no panic"), Some(()));
    }
}
