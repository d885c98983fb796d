//! Policy: sandboxed WebAssembly components decide what is served to whom.
//!
//! In the order of events: [`Host`] (the engine, once per process) loads a [`ChainSpec`] into a [`Chain`] (once per site
//! and generation), which decides each [`Request`] with a [`Verdict`], whose header changes and sharing are then applied
//! to whatever answer it leads to.
//!
//! Within a load: `component` (a file to a checked component), `link` (what it may import), `start`, `snapshot` and `ahead`
//! (its configured state), `code` (what is compiled, and kept on disk). Within a decision, for each policy of the chain:
//! `evidence` (a kept decision, if the answers are the same), else `admission` (whether it may run: `breaker`, `budget`; `usage`: what its site has in common) and
//! `policy` (a call: `instance`, `call` and `questions`, `services`, `recorder`, `running`, `lane`), `decision` (what it
//! returned, checked), `dependence` (what that means to caches).
//!
//! Beside decisions: `crowd` (what each site uses of the processors, while others ask), `effort` and `health` (what operators are told of them), `explain` (what each policy asked and decided), `summary` (a verdict as plain data), `withheld` (what a
//! recording does not have), `shadow` and `difference` (a candidate beside live traffic).
//!
//! The only crate that names wasmtime. Reads no configuration files: what it is given is resolved and checked.
// One item of `code` makes bytes executable, one of `turns` asks the kernel; each says why it may.
#![deny(unsafe_code)]

pub mod chain;
pub mod explain;
pub mod host;
pub mod observer;
pub mod request;
pub mod spec;
pub mod summary;
pub mod turns;
pub mod verdict;
pub mod withheld;

mod admission;
mod ahead;
mod bindings;
mod breaker;
mod budget;
mod call;
mod code;
mod complaints;
mod component;
mod config;
mod counters;
mod crowd;
mod decided;
mod decision;
mod dependence;
mod difference;
mod effort;
mod evidence;
mod failure;
mod grants;
mod health;
mod instance;
mod journal;
mod lane;
mod link;
mod places;
mod policy;
mod questions;
mod recorder;
mod running;
mod services;
mod shadow;
mod site_headers;
mod snapshot;
mod start;
mod text;
mod usage;
mod wasi;

pub use chain::{Chain, PolicyInfo, Undecided};
pub use code::{CodeCache, CodeFrom, Untrusted};
pub use component::{Described, describe};
pub use counters::{Counts, Room};
pub use crowd::Crowd;
pub use decided::NotKept;
pub use effort::Effort;
pub use explain::{Explanation, Step};
pub use grants::{Grants, KeyValueGrant};
pub use health::{BreakerState, Health, LastFailure};
pub use host::{Host, HostError, HostOptions, Loading};
pub use observer::{Ending, Finished, ObserverCounts, Observers};
pub use recorder::Exchange;
pub use request::Request;
pub use services::{HttpGrant, Origin, OriginHost, ServiceBudget, SharedState};
pub use shadow::{ShadowCounts, ShadowInfo};
pub use site_headers::{HeaderOperation, HeaderRule, HeaderRules};
pub use spec::{Budget, ChainSpec, Isolation, Limits, LoadError, Pin, PolicySpec, Reuse, ShadowSpec};
pub use start::{Configured, SnapshotOptions};
pub use summary::Summary;
pub use verdict::{Applied, Fault, Lasting, Mapping, Outcome, Response, Targets, Verdict};
pub use wasmserve_files::Place;
pub use withheld::Withheld;
