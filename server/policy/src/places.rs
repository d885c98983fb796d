//! Places for the instances that may be alive at once, shared fairly between sites.
//!
//! A guest that waits for an answer from the network holds its place meanwhile, so a few sites whose policies wait could
//! hold them all. How many a site may hold therefore depends on how many are free: never more than twice as many (the
//! dynamic threshold of Choudhury and Hahne, IEEE/ACM Transactions on Networking 6(2), 1998). One site alone gets two
//! thirds of all places, two get two fifths each, and there is always one left for a site that comes later.
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// A site may hold so many times the places that are free.
const OF_THE_FREE: usize = 2;

pub(crate) struct Places {
    free: Arc<Semaphore>,
}

/// The places that one site holds.
#[derive(Debug, Default)]
pub(crate) struct Held {
    places: AtomicUsize,
    given_back: Notify,
}

/// A place for one of the instances that may be alive at once.
pub(crate) struct Slot {
    /// `None` once it is given back.
    permit: Option<OwnedSemaphorePermit>,
    holder: Arc<Held>,
}

impl Places {
    pub fn new(places: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(places)),
        }
    }

    pub fn free(&self) -> usize {
        self.free.available_permits()
    }

    /// A place, when there is one for this holder.
    pub fn try_take(&self, holder: &Arc<Held>) -> Option<Slot> {
        if !self.may_take(holder) {
            return None;
        }
        let permit = self.free.clone().try_acquire_owned().ok()?;
        Some(Slot::new(permit, holder))
    }

    /// Waits for a place.
    pub async fn take(&self, holder: &Arc<Held>) -> Slot {
        loop {
            let mut given_back = pin!(holder.given_back.notified());
            // From here on nothing that is given back is missed.
            given_back.as_mut().enable();
            if self.may_take(holder) {
                break;
            }
            // It holds some: one of them comes back.
            given_back.await;
        }
        let permit = self.free.clone().acquire_owned().await;
        let slot = Slot::new(permit.expect("this semaphore is never closed"), holder);
        // Others may have given back many meanwhile, which nobody here was told of.
        if self.may_take(holder) {
            holder.given_back.notify_one();
        }
        slot
    }

    fn may_take(&self, holder: &Held) -> bool {
        let held = holder.places.load(SeqCst);
        held == 0 || held < self.free().saturating_mul(OF_THE_FREE)
    }
}

impl Slot {
    fn new(permit: OwnedSemaphorePermit, holder: &Arc<Held>) -> Self {
        holder.places.fetch_add(1, SeqCst);
        Self {
            permit: Some(permit),
            holder: holder.clone(),
        }
    }

    /// Counts it for another holder from now on.
    pub fn pass_to(&mut self, holder: &Arc<Held>) {
        holder.places.fetch_add(1, SeqCst);
        std::mem::replace(&mut self.holder, holder.clone()).give_back();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // First, because whoever is woken counts those that are free.
        drop(self.permit.take());
        self.holder.give_back();
    }
}

impl Held {
    fn give_back(&self) {
        self.places.fetch_sub(1, SeqCst);
        self.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn fill(places: &Places, holder: &Arc<Held>) -> Vec<Slot> {
        std::iter::from_fn(|| places.try_take(holder)).collect()
    }

    #[test]
    fn who_comes_later_finds_a_place() {
        let places = Places::new(256);
        let holders: [Arc<Held>; 8] = Default::default();
        let held: Vec<Vec<Slot>> = holders.iter().map(|holder| fill(&places, holder)).collect();
        let held: Vec<usize> = held.iter().map(Vec::len).collect();
        assert_eq!(held, [171, 57, 19, 6, 2, 1, 0, 0]);
    }

    #[test]
    fn there_is_a_place_for_each_of_a_few() {
        let places = Places::new(2);
        let one = Arc::default();
        assert_eq!(fill(&places, &one).len(), 2);
        let single = Places::new(1);
        assert_eq!(fill(&single, &one).len(), 1);
    }

    #[tokio::test]
    async fn who_holds_its_share_waits_for_its_own() {
        let places = Places::new(3);
        let (greedy, modest) = (Arc::default(), Arc::default());
        let mut held = fill(&places, &greedy);
        assert_eq!(held.len(), 2);
        let early = timeout(Duration::from_millis(1), places.take(&greedy)).await;
        assert!(early.is_err(), "the last place is for others");
        let other = places.take(&modest).await;
        drop(held.pop());
        held.push(places.take(&greedy).await);
        drop((held, other));
        assert_eq!(places.free(), 3);
        assert_eq!(fill(&places, &greedy).len(), 2);
    }

    /// Nobody waits for ever, whoever gives back what and when.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn everybody_has_a_turn() {
        let places = Arc::new(Places::new(4));
        let holders: [Arc<Held>; 3] = Default::default();
        let calls = (0..3000).map(|at| {
            let (places, holder) = (places.clone(), holders[at % 3].clone());
            tokio::spawn(async move {
                let slot = places.take(&holder).await;
                tokio::task::yield_now().await;
                drop(slot);
            })
        });
        for call in calls.collect::<Vec<_>>() {
            call.await.unwrap();
        }
        assert_eq!(places.free(), 4);
        assert!(holders.iter().all(|holder| holder.places.load(SeqCst) == 0));
    }

    #[test]
    fn a_place_can_be_passed_on() {
        let places = Places::new(4);
        let (before, after) = (Arc::default(), Arc::default());
        let mut slot = places.try_take(&before).unwrap();
        slot.pass_to(&after);
        let held = |holder: &Arc<Held>| holder.places.load(SeqCst);
        assert_eq!((held(&before), held(&after), places.free()), (0, 1, 3));
        drop(slot);
        assert_eq!((held(&after), places.free()), (0, 4));
    }
}
