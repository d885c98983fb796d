//! Waiting until the kernel has let go of what `sendfile` was given.
//!
//! A socket holds references to the page cache until the client has acknowledged the bytes: a file that is changed
//! before that changes what is sent. The kernel has no event for "all acknowledged", so it is asked, at once and then
//! ever more rarely.
use crate::socket;
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd,
};
use std::{future::Future, io, pin::Pin, task::Context, time::Duration};
use tokio::time::{Instant, Sleep, sleep_until};

const FIRST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(50);

/// Whether the peer took anything since it was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    All,
    Some,
    Nothing,
}

#[derive(Debug, Default)]
pub(crate) struct Release {
    /// The last answer.
    waiting: Option<u64>,
    pause: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Bytes that were written after the last `sendfile`: copies, whose acknowledgement does not matter.
    copied: u64,
}

impl Release {
    /// `sendfile` was used: nothing is known any more.
    pub fn kernel_sent(&mut self) {
        self.copied = 0;
    }

    /// `count` real bytes were written.
    pub fn copies_sent(&mut self, count: u64) {
        self.copied += count;
    }

    /// Ready when everything that `sendfile` sent is acknowledged; else `context` is woken later.
    ///
    /// # Errors
    /// The connection broke: nothing more will be acknowledged.
    pub fn poll(&mut self, context: &mut Context<'_>, socket: impl AsFd) -> io::Result<Taken> {
        let mut taken = Taken::Nothing;
        loop {
            if let Some(sleep) = &mut self.sleep
                && self.waiting.is_some()
                && sleep.as_mut().poll(context).is_pending()
            {
                return Ok(taken);
            }
            let left = socket::unacknowledged(&socket)?;
            if left <= self.copied {
                self.waiting = None;
                return Ok(Taken::All);
            }
            if is_broken(&socket) {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            self.pause = match self.waiting.replace(left) {
                None => FIRST,
                Some(before) => {
                    if left < before {
                        taken = Taken::Some;
                    }
                    (self.pause * 2).min(LONGEST)
                }
            };
            let due = Instant::now() + self.pause;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(due),
                none => *none = Some(Box::pin(sleep_until(due))),
            }
        }
    }
}

fn is_broken(socket: impl AsFd) -> bool {
    let mut sockets = [PollFd::new(&socket, PollFlags::empty())];
    poll(&mut sockets, Some(&Timespec::default())).is_ok_and(|count| count > 0)
}
