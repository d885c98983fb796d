//! Futures that are polled only when there is reason to.
//!
//! A connection's task waits for several things and runs because of one of them, nearly always its socket. Polling the
//! others each time takes a lock each.

use std::{
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::Acquire},
    task::{Context, Poll, Waker},
};

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
        this.future.as_mut().poll(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        future::poll_fn,
        pin::pin,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::Relaxed},
        },
        task::Wake,
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
}
