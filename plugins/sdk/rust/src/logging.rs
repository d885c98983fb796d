//! The server's log. Needs the feature `logging` here and `grants = ["logging"]` in the chain.
//!
//! Lines belong to the decision: when the server reuses it, they are written again. Log what an operator has to know, not
//! every request: the server's access log does that.
#[cfg(not(target_family = "wasm"))]
use crate::testing::log;
use bindings::wasi::logging::logging::Level;
#[cfg(target_family = "wasm")]
use bindings::wasi::logging::logging::log;

mod bindings {
    #![allow(unsafe_code, missing_docs, dead_code, clippy::all)]
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package wasmserve:plugin-services;
            world logging { import wasi:logging/logging@0.1.0-draft; }
        ",
        world: "wasmserve:plugin-services/logging",
        generate_all,
    });
}

/// The values of variables and the flow of control.
pub fn trace(message: &str) {
    log(Level::Trace, "", message);
}

/// Of interest to whoever debugs the policy.
pub fn debug(message: &str) {
    log(Level::Debug, "", message);
}

/// Of interest to whoever watches the server.
pub fn info(message: &str) {
    log(Level::Info, "", message);
}

/// Something is not as it should be.
pub fn warn(message: &str) {
    log(Level::Warn, "", message);
}

/// Something failed.
pub fn error(message: &str) {
    log(Level::Error, "", message);
}

/// Logs the message of a panic before it traps, which by itself says only where.
#[cfg(target_family = "wasm")]
pub(crate) fn log_panics() {
    std::panic::set_hook(Box::new(|panic| log(Level::Critical, "panic", &panic.to_string())));
}
