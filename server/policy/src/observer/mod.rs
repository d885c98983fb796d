//! Observers: told of finished exchanges in batches, off the requests' way. They can change nothing and slow nobody.
//!
//! In the order of events: [`Observers::observe`] hands a [`Finished`] exchange to each observer's `queue`, or drops and
//! counts it; a task for each observer takes a batch and calls its `warm` instance. What goes wrong loses the batch, is
//! logged, and makes the next call start anew after a while. When the last [`Observers`] of a generation goes, what waits
//! is still told.
mod queue;
mod warm;

use crate::{PolicyInfo, PolicySpec};
use queue::Queue;
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime},
};
use tokio::{task::JoinHandle, time::timeout_at};
pub(crate) use warm::Observer;

/// How long an observer rests after a fault: twice as long after each, up to the longest.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// At most so often the log says that exchanges were dropped.
const TELL_DROPPED: Duration = Duration::from_secs(10);

/// One finished exchange.
#[derive(Clone, Debug)]
pub struct Finished {
    pub arrived: SystemTime,
    /// From the arrival to the end.
    pub duration: Duration,
    pub site: Arc<str>,
    pub host: String,
    pub scheme: &'static str,
    pub method: String,
    /// Canonical; empty when the request was refused because its path was not.
    pub path: String,
    pub client: Option<IpAddr>,
    /// 0: it ended before there was one.
    pub status: u16,
    /// Bytes of body that were handed to the connection.
    pub body_bytes: u64,
    pub ending: Ending,
    /// All that the chain established.
    pub facts: Vec<(String, String)>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The whole response was handed to the connection.
    Completed,
    /// The client went away, or was too slow, before that.
    Aborted,
    /// The server broke it off.
    Failed,
}

impl Finished {
    /// Bytes that it takes in memory, about.
    fn weight(&self) -> usize {
        let facts: usize = self
            .facts
            .iter()
            .map(|(name, value)| name.len() + value.len() + 48)
            .sum();
        size_of::<Self>() + self.host.len() + self.method.len() + self.path.len() + facts
    }
}

/// What an observer was told since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct ObserverCounts {
    /// Exchanges that it took note of.
    pub told: u64,
    /// Exchanges of batches that it failed at.
    pub failed: u64,
    /// Exchanges that found no room to wait, as far as they were logged.
    pub dropped: u64,
}

/// The observers of a site in one generation.
#[derive(Default)]
pub struct Observers {
    observers: Vec<Observing>,
}

struct Observing {
    observer: Arc<Observer>,
    queue: Arc<Queue>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Observers {
    /// Starts a task for each.
    pub(crate) fn start(observers: Vec<Arc<Observer>>) -> Self {
        let start = |observer: Arc<Observer>| {
            let queue = Arc::new(Queue::default());
            let task = tokio::spawn(work(observer.clone(), queue.clone()));
            Observing {
                observer,
                queue,
                task: Mutex::new(Some(task)),
            }
        };
        Self {
            observers: observers.into_iter().map(start).collect(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.observers.is_empty()
    }

    /// Tells all observers of an exchange, later. Never waits.
    pub fn observe(&self, finished: Finished) {
        let finished = Arc::new(finished);
        for observing in &self.observers {
            observing.queue.push(&finished);
        }
    }

    /// What the observers were told, by name.
    pub fn counts(&self) -> impl Iterator<Item = (&str, ObserverCounts)> {
        self.observers.iter().map(|observing| observing.observer.counts())
    }

    /// What the observers are, in the order of the configuration.
    pub fn infos(&self) -> Vec<PolicyInfo> {
        self.observers
            .iter()
            .map(|observing| observing.observer.info())
            .collect()
    }

    pub(crate) fn services_are_current(&self) -> bool {
        self.observers
            .iter()
            .all(|observing| observing.observer.services_are_current())
    }

    /// What they were loaded from, with the digests of the files.
    pub(crate) fn origins(&self) -> impl Iterator<Item = (&PolicySpec, &str)> {
        self.observers.iter().map(|observing| observing.observer.origin())
    }

    /// Takes no more, and waits until what was taken has been told, but no longer than `limit`.
    pub async fn drain(&self, limit: Duration) {
        for observing in &self.observers {
            observing.queue.close();
        }
        let deadline = tokio::time::Instant::now() + limit;
        for observing in &self.observers {
            let task = observing.task.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(mut task) = task else { continue };
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
                observing.observer.report_lost(observing.queue.len() as u64);
            }
        }
    }
}

impl Drop for Observers {
    fn drop(&mut self) {
        for observing in &self.observers {
            observing.queue.close();
        }
    }
}

/// Tells one observer, until its queue is closed and empty.
async fn work(observer: Arc<Observer>, queue: Arc<Queue>) {
    let (mut rest, mut lost, mut told) = (FIRST_REST, 0, None::<Instant>);
    while let Some(batch) = queue.batch().await {
        let fault = observer.observe(&batch).await;
        lost += queue.dropped();
        if lost > 0 && told.is_none_or(|told| told.elapsed() >= TELL_DROPPED) {
            observer.report_lost(lost);
            (lost, told) = (0, Some(Instant::now()));
        }
        match fault {
            Ok(()) => {
                observer.count_told(batch.len() as u64);
                rest = FIRST_REST;
            }
            Err(failure) => {
                observer.report(&failure, batch.len() as u64);
                queue.rest(rest).await;
                rest = (rest * 2).min(LONGEST_REST);
            }
        }
    }
    lost += queue.dropped();
    if lost > 0 {
        observer.report_lost(lost);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    pub(super) fn finished(path: &str) -> Arc<Finished> {
        Arc::new(Finished {
            arrived: UNIX_EPOCH,
            duration: Duration::ZERO,
            site: "site".into(),
            host: String::new(),
            scheme: "http",
            method: "GET".into(),
            path: path.into(),
            client: None,
            status: 200,
            body_bytes: 0,
            ending: Ending::Completed,
            facts: Vec::new(),
        })
    }
}
