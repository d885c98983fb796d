//! What a connection is waiting for, and until when.
//!
//! hyper has a deadline for reading a head, but starts it when the last chunk of a response is queued, not when it is
//! sent: a slow client's last chunk would be cut off. So all deadlines are here: one clock a connection, looked at whenever
//! its task runs anyway.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
    time::Duration,
};
use tokio::{
    task::unconstrained,
    time::{Instant, sleep_until},
};

/// How long a connection may wait for its client.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For the first byte of a request, on a new connection or between two requests.
    pub idle: Duration,
    /// Of that time, until the connection is to rest; `None`: never.
    pub rest: Option<Duration>,
    /// From the first byte of a head to its last.
    pub head: Duration,
    /// From a request's head to the last byte of its answer, whatever its client takes of it meanwhile; `None`: any time.
    pub total: Option<Duration>,
    /// After the last response, for what the client is still sending: closing before it is read would reset the
    /// connection and could destroy the response on its way.
    pub linger: Duration,
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Idle,
    /// As [`Self::Idle`], and what requests are read with has been given back.
    Rest,
    Head,
    /// An answer is made or sent: policies, files and a client that takes nothing have deadlines of their own.
    Exchange,
    Linger,
}

/// The state of one connection, shared by its socket, its requests and its clock.
#[derive(Debug)]
pub struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    stage: Stage,
    since: Instant,
    /// When the latest exchange began.
    begun: Instant,
    /// How many: the last bytes of one may leave after the next one began.
    exchanges: usize,
    /// Whether there was any exchange yet.
    used: bool,
    /// Whether bytes are offered that the client has not taken: how long it may do that is the transport's business.
    blocked: bool,
    /// Whether a request's body may be left unread.
    unread: bool,
}

/// An exchange under way; its end makes the connection idle.
#[derive(Debug)]
pub struct UnderWay {
    activity: Arc<Activity>,
    /// When its first byte came; for one that came while the one before it was answered, when that was done.
    pub since: std::time::Instant,
}

// === impl Activity ===

impl Activity {
    pub fn new() -> Arc<Self> {
        let state = State {
            stage: Stage::Idle,
            since: Instant::now(),
            begun: Instant::now(),
            exchanges: 0,
            used: false,
            blocked: false,
            unread: false,
        };
        Arc::new(Self(Mutex::new(state)))
    }

    /// A head has been read: the exchange lasts until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        if state.stage != Stage::Head {
            state.since = Instant::now();
        }
        state.stage = Stage::Exchange;
        state.begun = state.since;
        state.exchanges += 1;
        state.used = true;
        state.unread = false;
        UnderWay {
            activity: self.clone(),
            since: state.since.into_std(),
        }
    }

    /// The request's body may not be read to its end.
    pub fn leave_unread(&self) {
        self.state().unread = true;
    }

    /// The request's body has been read to its end, maybe after the response.
    pub fn read_to_end(&self) {
        let mut state = self.state();
        state.unread = false;
        if state.stage == Stage::Head {
            state.enter(Stage::Idle);
        }
    }

    /// Bytes came in: with nothing under way, the head of the next request.
    pub fn received(&self) {
        let mut state = self.state();
        if matches!(state.stage, Stage::Idle | Stage::Rest) {
            state.enter(Stage::Head);
        }
    }

    /// Whether an idle connection may rest now: it has not yet been waited for to the end, and nothing of its last request
    /// is still to come. The time it has been idle goes on.
    pub fn rest(&self, deadlines: &Deadlines) -> bool {
        let mut state = self.state();
        let may = deadlines.rest.is_some()
            && state.stage == Stage::Idle
            && !state.unread
            && state.since.elapsed() < deadlines.idle;
        if may {
            state.stage = Stage::Rest;
        }
        may
    }

    /// The client took bytes.
    pub fn sent(&self) {
        let mut state = self.state();
        if std::mem::take(&mut state.blocked) {
            // What the client waits for begins once it has what it asked for.
            state.since = Instant::now();
        }
    }

    /// Bytes are offered and not taken.
    pub fn blocked(&self) {
        self.state().blocked = true;
    }

    /// The connection is being closed: whether the client may still be sending.
    pub fn close(&self) -> bool {
        let mut state = self.state();
        let sending = state.unread || state.stage == Stage::Head;
        state.blocked = false;
        state.enter(Stage::Linger);
        sending
    }

    /// Ends when the client has been waited for long enough, with what it was waited for.
    pub async fn expired(&self, deadlines: &Deadlines) -> Stage {
        let mut clock = pin!(sleep_until(Instant::now() + deadlines.idle));
        let mut told: Option<Waker> = None;
        poll_fn(|context| {
            loop {
                let Some((deadline, stage)) = self.deadline(deadlines) else {
                    return Poll::Pending;
                };
                // A clock that is set too early is left alone: it is looked at again when it rings. So a connection that
                // is busy never touches the timers.
                if clock.deadline() > deadline || clock.is_elapsed() {
                    clock.as_mut().reset(deadline);
                    told = None;
                }
                // One that knows whom to wake need not be told again, which costs more than to look at it.
                let knows = told.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
                if knows && !clock.is_elapsed() {
                    return Poll::Pending;
                }
                told = Some(context.waker().clone());
                // Also when the task has used its turn up: what looks only once must not be sent away.
                match pin!(unconstrained(clock.as_mut())).poll(context) {
                    Poll::Ready(()) if Instant::now() >= deadline => return Poll::Ready(stage),
                    Poll::Ready(()) => {}
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    /// Ends when the first exchange has begun. As [`Self::expired`], to be awaited in the task of the connection.
    pub async fn used(&self) {
        poll_fn(|_| match self.state().used {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    fn deadline(&self, deadlines: &Deadlines) -> Option<(Instant, Stage)> {
        let state = self.state();
        let total = deadlines.total.filter(|_| state.exchanges > 0);
        let total = total.map(|total| (state.begun + total, Stage::Exchange));
        if state.blocked {
            return total;
        }
        let limit = match state.stage {
            // What is left of a request's body must not be taken for a request by who reads on.
            Stage::Idle if !state.unread => deadlines.rest.unwrap_or(Duration::MAX).min(deadlines.idle),
            Stage::Idle | Stage::Rest => deadlines.idle,
            Stage::Head => deadlines.head,
            Stage::Exchange => return total,
            Stage::Linger => deadlines.linger,
        };
        Some((state.since + limit, state.stage))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn enter(&mut self, stage: Stage) {
        self.stage = stage;
        self.since = Instant::now();
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.activity.state();
        state.exchanges -= 1;
        if state.exchanges == 0 && state.stage == Stage::Exchange {
            state.enter(Stage::Idle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINES: Deadlines = Deadlines {
        idle: Duration::from_secs(1),
        rest: None,
        head: Duration::from_secs(2),
        total: None,
        linger: Duration::from_secs(4),
    };

    /// What is waited for, and for how long altogether.
    fn waits(activity: &Activity) -> Option<(Duration, Stage)> {
        let (deadline, stage) = activity.deadline(&DEADLINES)?;
        let state = activity.state();
        Some((deadline - state.since, stage))
    }

    #[test]
    fn every_wait_for_the_client_has_an_end_and_the_servers_turn_has_none() {
        let activity = Activity::new();
        assert_eq!(waits(&activity), Some((DEADLINES.idle, Stage::Idle)));
        activity.received();
        assert_eq!(waits(&activity), Some((DEADLINES.head, Stage::Head)));
        let under_way = activity.begin();
        assert_eq!(waits(&activity), None);
        activity.blocked();
        activity.sent();
        assert_eq!(waits(&activity), None);
        drop(under_way);
        assert_eq!(waits(&activity), Some((DEADLINES.idle, Stage::Idle)));
        activity.close();
        assert_eq!(waits(&activity), Some((DEADLINES.linger, Stage::Linger)));
    }

    #[tokio::test]
    async fn a_task_that_has_used_its_turn_up_is_woken_all_the_same() {
        // In a task of its own: what a runtime blocks on may be polled without being woken.
        let waits = tokio::spawn(async {
            let (activity, idle) = (Activity::new(), Duration::from_millis(20));
            let deadlines = Deadlines { idle, ..DEADLINES };
            let mut expired = pin!(activity.expired(&deadlines));
            let mut begun = false;
            poll_fn(|context| {
                if !std::mem::replace(&mut begun, true) {
                    while pin!(tokio::task::consume_budget()).poll(context).is_ready() {}
                }
                expired.as_mut().poll(context)
            })
            .await
        });
        let stage = tokio::time::timeout(Duration::from_secs(30), waits).await;
        assert_eq!(stage.expect("the clock rings").expect("no panic"), Stage::Idle);
    }

    #[test]
    fn a_whole_exchange_has_an_end_where_it_is_given_one() {
        let deadlines = Deadlines {
            total: Some(Duration::from_secs(8)),
            ..DEADLINES
        };
        let activity = Activity::new();
        let total = |activity: &Activity| activity.deadline(&deadlines).map(|(_, stage)| stage);
        let under_way = activity.begin();
        assert_eq!(total(&activity), Some(Stage::Exchange));
        let first = activity.deadline(&deadlines);
        activity.blocked();
        assert_eq!(activity.deadline(&deadlines), first, "whatever the client takes");
        activity.sent();
        assert_eq!(activity.deadline(&deadlines), first);
        drop(under_way);
        assert_eq!(total(&activity), Some(Stage::Idle));
    }

    #[test]
    fn what_is_idle_rests_for_what_is_left_of_its_time() {
        let deadlines = Deadlines {
            rest: Some(Duration::ZERO),
            idle: Duration::from_secs(60),
            ..DEADLINES
        };
        let activity = Activity::new();
        let since = activity.state().since;
        assert_eq!(activity.deadline(&deadlines), Some((since, Stage::Idle)));
        assert!(activity.rest(&deadlines));
        assert_eq!(
            activity.deadline(&deadlines),
            Some((since + deadlines.idle, Stage::Rest))
        );
        assert!(!activity.rest(&deadlines), "only once");
        activity.received();
        assert_eq!(activity.deadline(&deadlines).map(|(_, stage)| stage), Some(Stage::Head));
    }

    #[test]
    fn nothing_rests_before_a_body_that_is_still_to_come() {
        let deadlines = Deadlines {
            rest: Some(Duration::ZERO),
            idle: Duration::from_secs(60),
            ..DEADLINES
        };
        let activity = Activity::new();
        let under_way = activity.begin();
        assert!(!activity.rest(&deadlines));
        activity.leave_unread();
        drop(under_way);
        let idle = activity.state().since + deadlines.idle;
        assert_eq!(activity.deadline(&deadlines), Some((idle, Stage::Idle)));
        assert!(!activity.rest(&deadlines));
        activity.read_to_end();
        assert!(activity.rest(&deadlines));
    }

    #[test]
    fn more_bytes_of_a_head_do_not_prolong_it() {
        let activity = Activity::new();
        activity.received();
        let first = activity.deadline(&DEADLINES);
        activity.received();
        assert_eq!(activity.deadline(&DEADLINES), first);
    }

    #[test]
    fn a_response_that_is_still_being_taken_is_not_idle() {
        let activity = Activity::new();
        let under_way = activity.begin();
        activity.blocked();
        // Somebody may let go of the exchange before the last byte is written.
        drop(under_way);
        assert_eq!(waits(&activity), None);
        activity.sent();
        assert_eq!(waits(&activity), Some((DEADLINES.idle, Stage::Idle)));
    }

    #[test]
    fn the_end_of_one_response_does_not_end_the_next_exchange() {
        let activity = Activity::new();
        let first = activity.begin();
        let second = activity.begin();
        drop(first);
        assert_eq!(waits(&activity), None);
        drop(second);
        assert_eq!(waits(&activity), Some((DEADLINES.idle, Stage::Idle)));
    }

    #[test]
    fn lingers_only_for_clients_that_may_be_sending() {
        let idle = Activity::new();
        assert!(!idle.close());
        let half_a_head = Activity::new();
        half_a_head.received();
        assert!(half_a_head.close());
        let unread_body = Activity::new();
        let under_way = unread_body.begin();
        unread_body.leave_unread();
        drop(under_way);
        assert!(unread_body.close());
        let read_body = Activity::new();
        let under_way = read_body.begin();
        read_body.leave_unread();
        drop(under_way);
        read_body.read_to_end();
        assert!(!read_body.close());
    }
}
