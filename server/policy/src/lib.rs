//! Policy: sandboxed WebAssembly components decide what is served to whom.
//!
//! In the order of events: [`Host`] (the engine, once per process) loads a [`ChainSpec`] into a [`Chain`] (once per site
//! and generation), which decides each [`Request`] with a [`Verdict`], whose header changes and sharing are then applied
//! to whatever answer it leads to.
//!
//! The only crate that names wasmtime. Reads no configuration files: what it is given is resolved and checked.
#![forbid(unsafe_code)]

pub mod chain;
pub mod explain;
pub mod host;
pub mod request;
pub mod spec;
pub mod verdict;

mod bindings;
mod call;
mod component;
mod config;
mod counters;
mod decided;
mod decision;
mod dependence;
mod evidence;
mod failure;
mod instance;
mod journal;
mod link;
mod policy;
mod questions;
mod recorder;
mod running;
mod snapshot;
mod wasi;

pub use chain::{Chain, Configured, PolicyInfo};
pub use counters::Counts;
pub use decided::NotKept;
pub use explain::{Explanation, Step};
pub use host::{Host, HostError, HostOptions};
pub use recorder::Exchange;
pub use request::Request;
pub use spec::{ChainSpec, Grants, Isolation, Limits, LoadError, PolicySpec, Reuse};
pub use verdict::{Fault, Mapping, Outcome, Place, Response, Verdict};
