//! wasmserve: an HTTP file server whose every request is decided by sandboxed plugins.
//!
//! In the order of events: [`cli`] (what was typed), [`config`] (what it means), [`sites`] (loaded and ready: each a [`site`]), [`net`]
//! (connections and HTTP), [`request`] (one request's way: the spine), [`observe`] (what is remembered of it).
#![forbid(unsafe_code)]

pub mod changes;
pub mod cli;
pub mod config;
pub mod listeners;
pub mod net;
pub mod observe;
pub mod request;
pub mod site;
pub mod sites;
