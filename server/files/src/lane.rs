//! Lanes to the blocking pool: what would block a worker runs there, a bounded number of jobs per root and per device, so
//! that one slow disk cannot take the whole pool from the others.
use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A share of the blocking pool.
#[derive(Debug)]
pub(crate) struct Lane {
    running: Arc<Semaphore>,
    most: usize,
    waiting: AtomicUsize,
    queue: usize,
}

/// Lanes of one kind, one for each device, made when they are first asked for.
#[derive(Debug)]
pub(crate) struct Lanes {
    running: usize,
    queue: usize,
    by_device: RwLock<HashMap<u64, Arc<Lane>>>,
}

/// A place in a lane, given back when dropped.
pub(crate) type Place = OwnedSemaphorePermit;

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
            most: running,
            waiting: AtomicUsize::new(0),
            queue,
        }
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// [`NotRun::QueueFull`] when as many wait already as may.
    pub(crate) async fn enter(&self) -> Result<Place, NotRun> {
        if let Ok(place) = Arc::clone(&self.running).try_acquire_owned() {
            return Ok(place);
        }
        let _waiting = Waiting::enter(self)?;
        Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| NotRun::Ended)
    }

    /// Waits for a place and runs a job in it.
    pub(crate) async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, NotRun> {
        run([Some(self.enter().await?)], job).await
    }

    fn is_idle(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1 && self.running.available_permits() == self.most
    }
}

/// Runs a job on the blocking pool. When the caller goes away the job still ends, and holds its places until then.
pub(crate) async fn run<T: Send + 'static, const N: usize>(
    places: [Option<Place>; N],
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, NotRun> {
    let job = tokio::task::spawn_blocking(move || {
        let _places = places;
        job()
    });
    match job.await {
        Ok(done) => Ok(done),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(NotRun::Ended),
    }
}

// === impl Lanes ===

impl Lanes {
    /// Lanes in each of which `running` jobs run at once and `queue` more may wait.
    pub(crate) fn new(running: usize, queue: usize) -> Self {
        Self {
            running,
            queue,
            by_device: RwLock::default(),
        }
    }

    /// The lane of a device.
    pub(crate) fn of(&self, device: u64) -> Arc<Lane> {
        let known = self.by_device.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = known.get(&device) {
            return Arc::clone(lane);
        }
        drop(known);
        let mut lanes = self.by_device.write().unwrap_or_else(PoisonError::into_inner);
        // Devices come and go as file systems are mounted: those that nobody waits for are forgotten.
        lanes.retain(|_, lane| !lane.is_idle());
        let lane = lanes
            .entry(device)
            .or_insert_with(|| Arc::new(Lane::new(self.running, self.queue)));
        Arc::clone(lane)
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
