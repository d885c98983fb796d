//! One connection that is kept open, and its breaker.
//!
//! A task of its own ([`keep`]) connects, probes, and watches. While there is no connection, operations are refused at once;
//! only those that come while the very first one is being opened wait for it. An operation waits no longer than the timeout,
//! whatever it waits for. After three troubles in a row that others can be expected to meet too (no answer in time, no
//! memory, a replica), the connection is given up: the breaker is open until a new one has shown that writes are taken.
//! A connection that ends is noticed by itself and opened anew at once.
use super::{
    Notes,
    connect::{Connector, FIRST_WAIT, LONGEST_WAIT},
    trouble::Trouble,
};
use ::redis::{FromRedisValue, ScriptInvocation, aio::MultiplexedConnection};
use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
};

/// Troubles in a row that open the breaker.
const TROUBLES: u32 = 3;

/// A connection that lasted so long was a good one: the next is tried at once.
const GOOD: Duration = Duration::from_secs(1);

pub(super) struct Line {
    connector: Arc<Connector>,
    notes: Arc<Notes>,
    state: watch::Sender<State>,
    keeper: OnceLock<AbortHandle>,
}

#[derive(Clone)]
enum State {
    /// Nothing was tried yet, or the first attempt is under way.
    New,
    Connected(Arc<Connected>),
    Broken,
}

struct Connected {
    connection: MultiplexedConnection,
    /// Troubles since the last operation that was done.
    troubles: AtomicU32,
    /// That there were too many.
    give_up: Notify,
}

impl Line {
    pub fn new(connector: Arc<Connector>, notes: Arc<Notes>) -> Self {
        Self {
            connector,
            notes,
            state: watch::Sender::new(State::New),
            keeper: OnceLock::new(),
        }
    }

    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    pub fn is_broken(&self) -> bool {
        matches!(*self.state.borrow(), State::Broken)
    }

    /// Calls a script. It is sent once at most.
    pub async fn call<T: FromRedisValue>(&self, invocation: &ScriptInvocation<'_>) -> Result<T, Trouble> {
        let timeout = self.connector.options.timeout;
        let deadline = tokio::time::Instant::now() + timeout;
        let connected = match tokio::time::timeout_at(deadline, self.connected()).await {
            Ok(Some(connected)) => connected,
            Ok(None) => {
                self.notes.refused.fetch_add(1, Relaxed);
                return Err(Trouble::refused());
            }
            Err(_) => {
                self.notes.failed.fetch_add(1, Relaxed);
                return Err(Trouble::timeout(timeout));
            }
        };
        let mut connection = connected.connection.clone();
        let answer = match tokio::time::timeout_at(deadline, invocation.invoke_async(&mut connection)).await {
            Ok(answer) => answer.map_err(Trouble::from),
            Err(_) => Err(Trouble::timeout(timeout)),
        };
        match &answer {
            Ok(_) => {
                self.notes.done.fetch_add(1, Relaxed);
                connected.troubles.store(0, Relaxed);
            }
            Err(trouble) => {
                self.notes.failed.fetch_add(1, Relaxed);
                if !trouble.counts {
                    tracing::debug!(redis = %self.connector.options.endpoint, "{}", trouble.for_operators);
                } else if connected.troubles.fetch_add(1, Relaxed) + 1 >= TROUBLES {
                    self.notes.trouble(&self.connector.options, &trouble.for_operators);
                    connected.give_up.notify_one();
                }
            }
        }
        answer
    }

    /// The connection; `None`: there is none, and nobody is to wait for one.
    async fn connected(&self) -> Option<Arc<Connected>> {
        self.keeper.get_or_init(|| {
            let keeper = keep(self.connector.clone(), self.notes.clone(), self.state.clone());
            tokio::spawn(keeper).abort_handle()
        });
        let mut states = self.state.subscribe();
        let state = states.wait_for(|state| !matches!(state, State::New)).await.ok()?;
        match &*state {
            State::Connected(connected) => Some(connected.clone()),
            State::New | State::Broken => None,
        }
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.abort();
        }
    }
}

/// Keeps a connection open, until it is aborted.
async fn keep(connector: Arc<Connector>, notes: Arc<Notes>, state: watch::Sender<State>) {
    let mut wait = FIRST_WAIT;
    loop {
        let since = Instant::now();
        let trouble = connection(&connector, &notes, &state).await;
        state.send_replace(State::Broken);
        notes.trouble(&connector.options, &trouble.for_operators);
        if since.elapsed() >= GOOD {
            wait = FIRST_WAIT;
            continue;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

/// Opens a connection and runs it to its end.
async fn connection(connector: &Connector, notes: &Notes, state: &watch::Sender<State>) -> Trouble {
    let timeout = connector.options.timeout;
    let deadline = tokio::time::Instant::now() + timeout;
    let (mut connection, mut driver) = match tokio::time::timeout_at(deadline, connector.connect()).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(trouble)) => return trouble,
        Err(_) => return Trouble::timeout(timeout),
    };
    tokio::select! {
        probed = tokio::time::timeout_at(deadline, connector.probe(&mut connection)) => match probed {
            Ok(Ok(())) => {}
            Ok(Err(trouble)) => return trouble,
            Err(_) => return Trouble::timeout(timeout),
        },
        () = &mut driver => return Trouble::ended(),
    }
    let connected = Arc::new(Connected {
        connection,
        troubles: AtomicU32::new(0),
        give_up: Notify::new(),
    });
    state.send_replace(State::Connected(connected.clone()));
    notes.well(&connector.options);
    tokio::select! {
        () = driver => Trouble::ended(),
        () = connected.give_up.notified() => Trouble::timeout(timeout),
    }
}
