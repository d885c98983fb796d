//! Instances: a store, what runs in it, and the place in the pool that it takes.
//!
//! With [`Isolation::Request`](crate::Isolation) each call has a new one. With `Reuse` an instance goes back to the policy's
//! own shelf afterwards, last in, first out, until it was called often, grew, or failed; it is never another chain's.
use crate::{
    bindings::{PolicyWithServices, PolicyWithServicesPre},
    call::{Call, Ceilings, Phase, Setting},
    failure::Failure,
    host::Engine,
    places::{Held, Slot},
    recorder::Recorder,
    running::Meter,
    spec::Limits,
};
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::Store;

/// Bytes of arguments or results that one crossing between guest and host may copy: a response body (256 KiB), header
/// fields and facts at their ceilings, and what their list entries weigh. Without it a guest could name one large string
/// many times over, and the host would copy it as often.
const CROSSING: usize = 1 << 20;
/// Calls after which an instance is replaced: what it leaks stays bounded.
const MAX_CALLS: u32 = 10_000;

pub(crate) struct Instance {
    pub store: Store<Call>,
    pub policy: PolicyWithServices,
    calls: u32,
    /// Bytes of memory when it was configured.
    memory: usize,
    /// Dropped after the store, so that there is always room for as many instances as there are slots.
    slot: Slot,
}

/// A store in which a guest is configured, or called.
pub(crate) fn store(
    engine: &Engine,
    setting: &Arc<Setting>,
    limits: &Limits,
    phase: Phase,
    recorder: Box<Recorder>,
    meter: Meter,
) -> Store<Call> {
    let call = Call::new(setting.clone(), phase, recorder, Ceilings::new(limits.memory), meter);
    let mut store = Store::new(engine.wasm(), call);
    store.limiter(|call| &mut call.ceilings);
    store.set_epoch_deadline(1);
    store.epoch_deadline_callback(|context| context.data().meter.at_tick());
    store.set_hostcall_fuel(CROSSING);
    store
}

impl Instance {
    /// A new instance in its configured state; `configure`: it has to be called for that.
    pub async fn new(
        slot: Slot,
        mut store: Store<Call>,
        policy: &PolicyWithServicesPre<Call>,
        configure: bool,
    ) -> Result<Box<Self>, Failure> {
        let made = async {
            let policy = policy.instantiate_async(&mut store).await?;
            let configured = match configure {
                true => policy.wasmserve_policy_guest().call_configure(&mut store).await?,
                false => Ok(()),
            };
            Ok::<_, wasmtime::Error>((policy, configured))
        };
        match made.await.map_err(Failure::Trapped)? {
            (policy, Ok(())) => {
                let memory = store.data().ceilings.memory();
                Ok(Box::new(Self {
                    store,
                    policy,
                    calls: 0,
                    memory,
                    slot,
                }))
            }
            (_, Err(words)) => Err(Failure::Said(words)),
        }
    }

    /// Counts its place for the site that calls it.
    pub fn pass_to(&mut self, site: &Arc<Held>) {
        self.slot.pass_to(site);
    }

    /// Readies an instance that has waited for its next call.
    pub fn wake(&mut self) {
        // The epoch went on in the meantime.
        self.store.set_epoch_deadline(1);
    }

    /// Gives back all but its place.
    pub fn take_down(self) -> Slot {
        let Self { store, slot, .. } = self;
        drop(store);
        slot
    }

    /// Whether it may be called once more.
    fn may_go_on(&self) -> bool {
        self.calls < MAX_CALLS && self.store.data().ceilings.memory() == self.memory
    }
}

/// Instances that wait to be called again.
#[derive(Default)]
#[expect(
    clippy::vec_box,
    reason = "an instance is half a KiB, and moves in and out with each call"
)]
pub(crate) struct Shelf(Mutex<Vec<Box<Instance>>>);

impl Shelf {
    /// The one that was used last: its memory is likely to be in the processor's caches.
    pub fn take(&self) -> Option<Box<Instance>> {
        let mut instance = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        instance.wake();
        Some(instance)
    }

    /// Puts an instance back whose call went well, unless there are enough or it is worn out.
    pub fn put(&self, mut instance: Box<Instance>, enough: usize) {
        instance.calls += 1;
        if !instance.may_go_on() {
            return;
        }
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.len() < enough {
            shelf.push(instance);
        }
    }
}

/// Where instances wait to be called again.
pub(crate) trait Spare: Send + Sync {
    /// Gives one up, so that another plugin can have its slot. `false`: there is none.
    fn give_up_one(&self) -> bool;
}

impl Spare for Shelf {
    /// The one that has waited longest.
    fn give_up_one(&self) -> bool {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if shelf.is_empty() {
            return false;
        }
        let given_up = shelf.remove(0);
        drop(shelf);
        drop(given_up);
        true
    }
}
