//! wasmserve: an HTTP file server whose every request is decided by sandboxed plugins.
//!
//! In the order of events: [`cli`] (what was typed), [`config`] (what it means), [`site`] (loaded and ready), [`net`]
//! (connections and HTTP), [`request`] (one request's way: the spine), [`observe`] (what is remembered of it). For operators:
//! [`explain`] (why a request is answered as it is), [`watch`] (what is watched of real requests), [`admin`] (what is asked
//! of a server that runs).
#![forbid(unsafe_code)]

pub mod admin;
pub mod cli;
pub mod config;
pub mod explain;
pub mod net;
pub mod observe;
pub mod request;
pub mod site;
pub mod watch;
