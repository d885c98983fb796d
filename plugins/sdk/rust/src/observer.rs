//! Observers: told of finished exchanges, in batches and off the requests' way. Needs the feature `observer`.
//!
//! ```
//! use wasmserve_plugin::{Config, observer::{Exchange, Observer}};
//! use std::cell::Cell;
//!
//! /// Counts bytes.
//! struct Meter {
//!     bytes: Cell<u64>,
//! }
//!
//! impl Observer for Meter {
//!     fn configure(_: &Config) -> Result<Self, String> {
//!         Ok(Self { bytes: Cell::new(0) })
//!     }
//!
//!     fn observe(&self, batch: &[Exchange]) -> Result<(), String> {
//!         let bytes: u64 = batch.iter().map(|exchange| exchange.body_bytes).sum();
//!         self.bytes.set(self.bytes.get() + bytes);
//!         Ok(())
//!     }
//! }
//!
//! wasmserve_plugin::export_observer!(Meter);
//! ```
//!
//! The operator lists it as `[[observer]]` in the chain. An observer stays in memory from batch to batch, until it fails,
//! the configuration is loaded anew, or the server needs its place for others: what must last longer belongs into a
//! key-value bucket. It can change nothing, and when it cannot keep up, exchanges are dropped.
use crate::Config;
pub use bindings::wasmserve::policy::observation::{Ending, Exchange};
use std::cell::OnceCell;

/// What `wit-bindgen` makes of the contract: public because [`export_observer!`](crate::export_observer) needs it where it
/// is used.
#[doc(hidden)]
pub mod bindings {
    #![allow(unsafe_code, missing_docs, clippy::all)]
    wit_bindgen::generate!({
        path: "wit",
        world: "wasmserve:policy/observer",
        with: { "wasi:config/store@0.2.0-rc.1": crate::bindings::wasi::config::store },
        pub_export_macro: true,
        export_macro_name: "export_observer_bindings",
        default_bindings_module: "wasmserve_plugin::observer::bindings",
        additional_derives: [PartialEq],
    });
}
#[doc(hidden)]
pub use bindings::exports::wasmserve::policy::observing::Guest;

/// Is told of finished exchanges. One type of a plugin implements this and is named in
/// [`export_observer!`](crate::export_observer).
pub trait Observer: Sized + 'static {
    /// Reads the configuration. Called when an instance is made, which is once unless it fails.
    ///
    /// # Errors
    /// What is wrong with the configuration. Shown to the operator; the server does not serve without it.
    fn configure(config: &Config) -> Result<Self, String>;

    /// Takes note of exchanges that have ended, in no particular order: at most 256.
    ///
    /// # Errors
    /// Logged. The batch is not told again.
    fn observe(&self, batch: &[Exchange]) -> Result<(), String>;
}

/// Exports an [`Observer`] as this plugin's: `wasmserve_plugin::export_observer!(MyObserver);`, once in the crate's root.
#[macro_export]
macro_rules! export_observer {
    ($observer:ty) => {
        const _: () = {
            ::std::thread_local! {
                static CONFIGURED: ::std::cell::OnceCell<$observer> = const { ::std::cell::OnceCell::new() };
            }

            struct Exported;

            impl $crate::observer::Guest for Exported {
                fn configure() -> ::std::result::Result<(), ::std::string::String> {
                    CONFIGURED.with($crate::observer::configure)
                }

                fn observe(
                    batch: ::std::vec::Vec<$crate::observer::Exchange>,
                ) -> ::std::result::Result<(), ::std::string::String> {
                    CONFIGURED.with(|configured| $crate::observer::observe(configured, &batch))
                }
            }

    $crate::observer::bindings::export_observer_bindings!(Exported with_types_in $crate::observer::bindings);
        };
    };
}

/// The contract's `configure`.
#[doc(hidden)]
pub fn configure<O: Observer>(configured: &OnceCell<O>) -> Result<(), String> {
    #[cfg(all(feature = "logging", target_family = "wasm"))]
    crate::logging::log_panics();
    let observer = O::configure(&Config::new())?;
    configured.set(observer).map_err(|_| "configured twice".to_owned())
}

/// The contract's `observe`.
#[doc(hidden)]
pub fn observe<O: Observer>(configured: &OnceCell<O>, batch: &[Exchange]) -> Result<(), String> {
    let observer = configured.get().ok_or("told of exchanges before it was configured")?;
    observer.observe(batch)
}
