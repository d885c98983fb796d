//! What [`export!`](crate::export!) expands to calls. Not part of the interface.
use crate::{Config, Decision, Policy, Request};
use std::cell::OnceCell;

pub use crate::bindings::exports::wasmserve::policy::guest::Guest;

/// The contract's `configure`.
pub fn configure<P: Policy>(configured: &OnceCell<P>) -> Result<(), String> {
    #[cfg(all(feature = "logging", target_family = "wasm"))]
    crate::logging::log_panics();
    let policy = P::configure(&Config::new())?;
    configured.set(policy).map_err(|_| "configured twice".to_owned())
}

/// The contract's `decide`.
pub fn decide<P: Policy>(configured: &OnceCell<P>) -> Result<Decision, String> {
    let policy = configured.get().ok_or("asked to decide before it was configured")?;
    policy.decide(&Request::new())
}
