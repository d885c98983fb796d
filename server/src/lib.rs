//! wasmserve: an HTTP file server whose every request is decided by sandboxed plugins.
//!
//! In the order of events: [`cli`] (what was typed), [`config`] (what it means), [`sites`] (loaded and ready: each a
//! [`site`]; replaced when [`changes`] are seen or asked for), [`listeners`] and [`net`] (connections and HTTP), [`limits`] (what sites and
//! clients may use), [`acme`] (certificates that are ordered), [`request`]
//! (one request's way: the spine), [`observe`] (what is remembered of it). For operators: [`explain`] (why a request is
//! answered as it is), [`cases`] (what a plugin's tests expect), [`watch`] (what is watched of real requests), [`admin`] (what
//! is asked of a server that runs), [`supervisor`] (what the service manager is told).
#![forbid(unsafe_code)]

pub mod acme;
pub mod admin;
pub mod cases;
pub mod changes;
pub mod cli;
pub mod config;
pub mod explain;
pub mod limits;
pub mod listeners;
pub mod net;
pub mod observe;
pub mod request;
pub mod site;
pub mod sites;
pub mod supervisor;
pub mod watch;
