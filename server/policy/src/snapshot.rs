//! The configured state of a policy, captured: `configure` runs once, and every call starts from what it left in memory.
//!
//! In the order of events: instrument the component (crate `wasmtime-wizer`), instantiate it, call `configure`, read its
//! memories and globals through what the instrumentation exports, and write a component that starts with them.
//!
//! What is captured is memory, and nothing else. So whatever would leave a handle behind traps while the state is captured
//! ([`Phase::Capturing`](crate::call::Phase)), and a component whose state is not all in memory is not captured at all: it
//! is configured for every call.
use crate::{
    bindings::PolicyWithServices,
    call::{Call, NotInMemory},
    code::Codes,
    component::{Compiled, one_line},
    crowd::Crowd,
    lane::{Lane, Lost, Share},
    running::RanTooLong,
};
use std::sync::Arc;
use wasmparser::{CanonicalFunction, Parser, Payload};
use wasmtime::{
    Store, UpdateDeadline,
    component::{Component, Instance, Lift, Linker, WasmList},
    format_err,
};
use wasmtime_wizer::{ComponentInstanceState, Wizer};

/// Why there is no snapshot.
pub(crate) enum Uncaptured {
    /// `configure` said so, in its own words.
    Refused(String),
    /// It imports something under a type that it does not have.
    Unlinked(wasmtime::Error),
    /// `configure` ran for too long.
    TooLong,
    /// The component is not one that can be captured, or `configure` asked for what cannot be repeated: it will not be
    /// otherwise another time.
    Unsuited(String),
    /// It did not go well, this time at least.
    Failed(String),
}

impl From<wasmtime::Error> for Uncaptured {
    fn from(error: wasmtime::Error) -> Self {
        if error.is::<RanTooLong>() {
            Self::TooLong
        } else if error.is::<NotInMemory>() {
            Self::Unsuited(one_line(&error))
        } else {
            Self::Failed(one_line(&error))
        }
    }
}

/// A configured state, as a component that starts with it.
pub(crate) struct Captured {
    pub component: Component,
    /// Whether configuring it at another load would lead to the same state.
    pub repeatable: bool,
}

/// Configures a policy in a store made for that, by turns in a lane for such work, which give way while several sites are
/// asked. The rest compiles, which takes long and keeps a processor busy: call it where that holds nobody up.
pub(crate) async fn capture(
    compiled: &Compiled,
    codes: &Codes,
    linker: &Linker<Call>,
    store: Store<Call>,
    lane: &Lane,
    crowd: &Arc<Crowd>,
) -> Result<Captured, Uncaptured> {
    check(&compiled.bytes).map_err(Uncaptured::Unsuited)?;
    let wizer = Wizer::new();
    let (context, instrumented) = wizer
        .instrument_component(&compiled.bytes)
        .map_err(|error| Uncaptured::Unsuited(one_line(&error)))?;
    let instrumented = compiled.instrumented(codes, &instrumented)?;
    linker.instantiate_pre(&instrumented).map_err(Uncaptured::Unlinked)?;
    let meter = store.data().meter.clone();
    let configuring = configuring(linker.clone(), store, instrumented);
    let share = Arc::new(Share::background(crowd));
    let (mut store, instance, configured) = match lane.drive(Box::pin(configuring), &meter, &share).await {
        Ok(configured) => configured?,
        Err(Lost) => return Err(Uncaptured::Failed("configuring it failed: it panicked".into())),
    };
    configured.map_err(Uncaptured::Refused)?;
    if !store.data().holds_nothing() {
        return Err(Uncaptured::Unsuited(
            "configure left a handle of the host's behind".into(),
        ));
    }
    // Reading is the host's work, and not counted: `snapshot_component` has no way to fail.
    store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Yield(1)));
    store.set_hostcall_fuel(usize::MAX);
    let mut state = State {
        store: &mut store,
        instance,
        failure: None,
    };
    let snapshot = wizer.snapshot_component(&context, &mut state).await?;
    if let Some(failure) = state.failure {
        return Err(failure.into());
    }
    let repeatable = !store.data().asked_for_seed;
    // Its slot is free while the rest is compiled.
    drop(store);
    Ok(Captured {
        component: codes.uncached(&snapshot)?,
        repeatable,
    })
}

/// Instantiates and calls `configure`.
async fn configuring(
    linker: Linker<Call>,
    mut store: Store<Call>,
    component: Component,
) -> wasmtime::Result<(Store<Call>, Instance, Result<(), String>)> {
    store.data().meter.clone().hand_over().await;
    let instance = linker.instantiate_async(&mut store, &component).await?;
    let policy = PolicyWithServices::new(&mut store, &instance)?;
    let configured = policy.wasmserve_policy_guest().call_configure(&mut store).await?;
    Ok((store, instance, configured))
}

/// Handles of a component's own resources are not in its memory either.
fn check(component: &[u8]) -> Result<(), String> {
    for payload in Parser::new(0).parse_all(component) {
        let Payload::ComponentCanonicalSection(functions) = payload.map_err(|error| error.to_string())? else {
            continue;
        };
        for function in functions {
            if let CanonicalFunction::ResourceNew { .. } = function.map_err(|error| error.to_string())? {
                return Err("it has resources of its own, whose handles are not in memory".into());
            }
        }
    }
    Ok(())
}

/// Reads the state of an instrumented component.
struct State<'a> {
    store: &'a mut Store<Call>,
    instance: Instance,
    /// The first failure; what was read after it means nothing.
    failure: Option<wasmtime::Error>,
}

impl State<'_> {
    async fn read<R: Lift + Send + Sync + 'static>(&mut self, instance: &str, function: &str) -> wasmtime::Result<R> {
        let missing = || format_err!("the instrumentation exports no {function}");
        let (_, exported) = self
            .instance
            .get_export(&mut *self.store, None, instance)
            .ok_or_else(missing)?;
        let (_, exported) = self
            .instance
            .get_export(&mut *self.store, Some(&exported), function)
            .ok_or_else(missing)?;
        let function = self.instance.get_typed_func::<(), (R,)>(&mut *self.store, exported)?;
        Ok(function.call_async(&mut *self.store, ()).await?.0)
    }

    async fn read_or_default<R: Lift + Default + Send + Sync + 'static>(
        &mut self,
        instance: &str,
        function: &str,
    ) -> R {
        match self.read(instance, function).await {
            Ok(value) => value,
            Err(error) => {
                self.failure.get_or_insert(error);
                R::default()
            }
        }
    }
}

impl ComponentInstanceState for State<'_> {
    async fn call_func_ret_list_u8(&mut self, instance: &str, function: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.read::<WasmList<u8>>(instance, function).await {
            Ok(list) => contents(list.as_le_slice(&*self.store)),
            Err(error) => {
                self.failure.get_or_insert(error);
                contents(&[]);
            }
        }
    }

    async fn call_func_ret_s32(&mut self, instance: &str, function: &str) -> i32 {
        self.read_or_default(instance, function).await
    }

    async fn call_func_ret_s64(&mut self, instance: &str, function: &str) -> i64 {
        self.read_or_default(instance, function).await
    }

    async fn call_func_ret_f32(&mut self, instance: &str, function: &str) -> u32 {
        self.read_or_default::<f32>(instance, function).await.to_bits()
    }

    async fn call_func_ret_f64(&mut self, instance: &str, function: &str) -> u64 {
        self.read_or_default::<f64>(instance, function).await.to_bits()
    }
}
