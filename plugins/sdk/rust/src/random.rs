//! Random numbers. Needs the feature `random` here, and no grant.
//!
//! A decision that asked for one is never reused: ask only on the branch that needs it.
#[cfg(not(target_family = "wasm"))]
use crate::testing::randomness as service;
#[cfg(target_family = "wasm")]
use bindings::wasi::random::random as service;

#[cfg(target_family = "wasm")]
mod bindings {
    #![allow(unsafe_code, missing_docs, dead_code, clippy::all)]
    wit_bindgen::generate!({
        inline: "
            package wasmserve:plugin-services;
            world random { import wasi:random/random@0.2.0; }
            package wasi:random@0.2.0 {
                interface random { get-random-u64: func() -> u64; }
            }
        ",
        world: "wasmserve:plugin-services/random",
        generate_all,
    });
}

/// Sixty-four bits that nobody can foresee.
pub fn random() -> u64 {
    service::get_random_u64()
}
