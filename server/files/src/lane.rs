//! Lanes to the blocking pool: what would block a worker runs there, a bounded number of jobs per root and per device, so
//! that one slow disk cannot take the whole pool from the others.
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;

/// A share of the blocking pool.
#[derive(Debug)]
pub(crate) struct Lane {
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
    queue: usize,
}

/// Why a job did not run to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotRun {
    #[error("too many wait for the disk already")]
    QueueFull,
    #[error("the runtime is shutting down")]
    Ended,
}

impl From<NotRun> for std::io::Error {
    fn from(not_run: NotRun) -> Self {
        Self::other(not_run)
    }
}

impl Lane {
    /// A lane in which `running` jobs run at once and `queue` more may wait.
    pub(crate) fn new(running: usize, queue: usize) -> Self {
        Self {
            running: Arc::new(Semaphore::new(running)),
            waiting: AtomicUsize::new(0),
            queue,
        }
    }

    /// Runs a job on the blocking pool. When the caller goes away the job still ends, and holds its place until then.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, NotRun> {
        let permit = match Arc::clone(&self.running).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let _waiting = Waiting::enter(self)?;
                Arc::clone(&self.running)
                    .acquire_owned()
                    .await
                    .map_err(|_| NotRun::Ended)?
            }
        };
        let job = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            job()
        });
        match job.await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Err(NotRun::Ended),
        }
    }
}

/// A place in the queue.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn enter(lane: &'a Lane) -> Result<Self, NotRun> {
        let waiting = Self(&lane.waiting);
        if lane.waiting.fetch_add(1, Ordering::Relaxed) < lane.queue {
            Ok(waiting)
        } else {
            Err(NotRun::QueueFull)
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
