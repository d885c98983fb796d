//! A limit on how long a client may take nothing.
use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, Sleep, sleep_until};

/// Runs only while a write waits for the client. The timer is moved at most once per limit, not once per write.
#[derive(Debug)]
pub(crate) struct Stall {
    limit: Option<Duration>,
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            since: None,
            sleep: None,
        }
    }

    /// The client took something.
    pub fn progressed(&mut self) {
        self.since = None;
    }

    /// The client takes nothing now; ready when it has done so for the whole limit.
    pub fn poll_blocked(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else { return Poll::Pending };
        let deadline = *self.since.get_or_insert_with(Instant::now) + limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        loop {
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            // The timer may be from an earlier wait that ended well.
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}
