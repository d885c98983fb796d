//! Token buckets, for limits on how often something may happen. Needs the feature `counters` here and
//! `grants = ["counters"]` in the chain.
//!
//! ```
//! # use wasmserve_plugin::{Decision, Request, Sharing, counters, deny, proceed};
//! fn decide(request: &Request) -> Result<Decision, String> {
//!     let client = request.client_address().unwrap_or_default();
//!     let taken = counters::take(&client, 20, 5.0)?;
//!     if taken.granted {
//!         return Ok(proceed().sharing(Sharing::Allowed).into());
//!     }
//!     let seconds = taken.retry_after.div_ceil(1000);
//!     Ok(deny(429).header("Retry-After", seconds.to_string()).into())
//! }
//! ```
//!
//! A decision that took a token is never reused, so take one only where it counts.
#[cfg(not(target_family = "wasm"))]
use crate::testing::tokens as service;
#[cfg(target_family = "wasm")]
use bindings::wasmserve::policy::counters as service;
pub use bindings::wasmserve::policy::counters::Taken;

pub(crate) mod bindings {
    #![allow(unsafe_code, missing_docs, dead_code, clippy::all)]
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package wasmserve:plugin-services;
            world counters { import wasmserve:policy/counters@0.1.0; }
        ",
        world: "wasmserve:plugin-services/counters",
        generate_all,
        additional_derives: [PartialEq, Eq],
    });
}

/// Takes one token from the bucket `key`, which holds at most `capacity` tokens (at least 1), starts full and gains
/// `refill_per_second` tokens a second (finite, not negative: anything else traps). The bucket is this plugin's, and is
/// shared by all requests of the site.
///
/// # Errors
/// The bucket could not be had, for instance because as many as the operator allows are in use. Whether that admits or
/// refuses is the policy's decision.
pub fn take(key: &str, capacity: u64, refill_per_second: f64) -> Result<Taken, String> {
    service::take(key, capacity, refill_per_second)
}
