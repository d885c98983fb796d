//! What [`export!`](crate::export!) expands to calls. Not part of the interface.
use crate::{Config, Decision, Policy, Request};
use std::{cell::OnceCell, hint::black_box};

pub use crate::bindings::exports::wasmserve::policy::guest::Guest;

/// Bytes that a decision can allocate before its memory has to grow. Memory that grows in a decision does so in every one,
/// because each starts from what `configure` left behind: two calls of the host's kernel that all processors wait for.
const ROOM: usize = 32 << 10;

/// The contract's `configure`.
pub fn configure<P: Policy>(configured: &OnceCell<P>) -> Result<(), String> {
    #[cfg(all(feature = "logging", target_family = "wasm"))]
    crate::logging::log_panics();
    let policy = P::configure(&Config::new())?;
    configured.set(policy).map_err(|_| "configured twice".to_owned())?;
    // Given back at once, to the allocator: memory does not shrink.
    drop(black_box(Vec::<u8>::with_capacity(ROOM)));
    Ok(())
}

/// The contract's `decide`.
pub fn decide<P: Policy>(configured: &OnceCell<P>) -> Result<Decision, String> {
    let policy = configured.get().ok_or("asked to decide before it was configured")?;
    policy.decide(&Request::new())
}
