//! Write policies for the wasmserve file server in Rust.
//!
//! A policy is asked about every request before a file is touched. It asks the questions it needs answered and decides:
//! let the request [`proceed`] (perhaps to other paths, with other headers), or answer it ([`deny`], [`redirect`],
//! [`respond`]). The server does everything else.
//!
//! ```
//! use wasmserve_plugin::{Config, Decision, Policy, Request, deny, proceed};
//!
//! /// Hides everything beneath one directory from clients outside one network.
//! struct Intranet {
//!     directory: String,
//!     network: String,
//! }
//!
//! impl Policy for Intranet {
//!     fn configure(config: &Config) -> Result<Self, String> {
//!         config.only(&["directory", "network"])?;
//!         Ok(Self { directory: config.required("directory")?, network: config.required("network")? })
//!     }
//!
//!     fn decide(&self, request: &Request) -> Result<Decision, String> {
//!         if request.reaches(&self.directory) && !request.client_within(&self.network) {
//!             return Ok(deny(403).into());
//!         }
//!         Ok(proceed().header("X-Robots-Tag", "noindex").into())
//!     }
//! }
//!
//! wasmserve_plugin::export!(Intranet);
//! ```
//!
//! The order of events: the server starts the policy, calls [`Policy::configure`] once, and then [`Policy::decide`] for
//! each request, **always from the state that `configure` left behind**: what one decision writes to memory, no other
//! decision sees. There is no clock, file or network but what a [`Request`] answers and the operator grants.
//!
//! # Failing
//!
//! Every failure is closed: the client never gets the file. An `Err` from `configure` keeps the server from loading the
//! policy and is shown to the operator, so let it name the key and say what is expected. An `Err` from `decide`, a panic
//! or a malformed decision is logged and answered with 500; spending more time or memory than the manifest's limits,
//! with 503.
//!
//! # Features
//!
//! - `serde`: `Config::read` turns the whole configuration into a type of your own.
//! - `logging`: the module `logging` writes to the server's log, and a panic's message is logged before it traps. Such a
//!   policy needs `grants = ["logging"]` in the chain.
//! - `counters`: the module `counters` has token buckets. Needs the grant `counters`.
//! - `key-value`: the module `key_value` keeps pairs from one request to others. Needs the grant `key-value`.
//! - `observer`: the module `observer` is for plugins that are told of finished exchanges.
//! - `random`: random numbers, with `random::random`. No grant is needed.
//!
//! # Testing
//!
//! Policies are ordinary Rust: `cargo test` runs them on the machine that builds them, against made-up requests. See
//! `testing` (not part of what is compiled to WebAssembly).

#![deny(unsafe_code)]
#![warn(missing_docs)]

// `export!` names this crate from outside; so do the bindings, in here as well.
extern crate self as wasmserve_plugin;

pub mod bindings;
mod config;
#[cfg(feature = "counters")]
pub mod counters;
mod decision;
#[doc(hidden)]
pub mod export;
mod host_pattern;
#[cfg(feature = "key-value")]
pub mod key_value;
mod language;
#[cfg(feature = "logging")]
pub mod logging;
mod mistakes;
mod network;
#[cfg(feature = "observer")]
pub mod observer;
pub mod path;
mod pattern;
#[cfg(feature = "random")]
pub mod random;
mod request;
mod route;
#[cfg(feature = "serde")]
mod settings;
#[cfg(not(target_family = "wasm"))]
pub mod testing;
mod token;

pub use config::Config;
pub use decision::{
    Changes, Decision, Header, HeaderChange, HeaderOperation, Missing, Outcomes, Place, Response, Sharing, deny,
    proceed, redirect, respond, unauthorized,
};
pub use host_pattern::HostPattern;
pub use language::LanguageRange;
pub use mistakes::Mistakes;
pub use network::Network;
pub use path::covers;
pub use pattern::Pattern;
pub use request::Request;
pub use route::{Captures, Route};
pub use token::is_token;

/// Decides requests. One type of a plugin implements this and is named in [`export!`].
pub trait Policy: Sized + 'static {
    /// Reads the configuration and prepares for deciding: parse keys, sort rules, compile patterns here. Called once per
    /// load, so what it costs is not paid by requests. Nothing may be asked about a request, there is none: that traps.
    ///
    /// # Errors
    /// What is wrong with the configuration: the key, what was found, what is expected. Shown to the operator; the policy
    /// is not loaded, and the server does not serve without it.
    fn configure(config: &Config) -> Result<Self, String>;

    /// Decides the request.
    ///
    /// # Errors
    /// Why no decision could be made. Logged for the operator; the client gets 500 and never learns the reason. To refuse
    /// a request is not an error: that is [`deny`].
    fn decide(&self, request: &Request) -> Result<Decision, String>;
}

/// Exports a [`Policy`] as this plugin's: `wasmserve_plugin::export!(MyPolicy);`, once in the crate's root.
///
/// Expands to the contract's two functions, `configure` and `decide`, and the place where the configured policy is kept
/// between them.
#[macro_export]
macro_rules! export {
    ($policy:ty) => {
        const _: () = {
            ::std::thread_local! {
                static CONFIGURED: ::std::cell::OnceCell<$policy> = const { ::std::cell::OnceCell::new() };
            }

            struct Exported;

            impl $crate::export::Guest for Exported {
                fn configure() -> ::std::result::Result<(), ::std::string::String> {
                    CONFIGURED.with($crate::export::configure)
                }

                fn decide() -> ::std::result::Result<$crate::Decision, ::std::string::String> {
                    CONFIGURED.with($crate::export::decide)
                }
            }

    $crate::bindings::export_bindings!(Exported with_types_in $crate::bindings);
        };
    };
}
