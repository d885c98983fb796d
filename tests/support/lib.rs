//! What tests from outside are made of: a tree of files ([`Tree`]), a chain of plugins ([`Chain`]), many sites
//! ([`Hosting`]), the real server over them ([`Launch`], [`Server`]), with a [`Certificate`] where it speaks TLS, a client
//! that shows every byte ([`Connection`]), real clients ([`tool`]), nginx beside or in front of it ([`Nginx`]), an
//! authority that it orders certificates from ([`Pebble`]), a registry of plugins ([`Registry`]), a Redis behind it
//! ([`redis`]), an S3 ([`Moto`]), several servers as one ([`cluster`]), and what the kernel says about the server's process
//! ([`process`]).
//!
//! Helpers panic where a test would have nothing else to do; the server's log is then printed with the failure.
#![forbid(unsafe_code)]

pub mod admin;
pub mod bucket;
pub mod certificate;
pub mod chain;
pub mod client;
pub mod cluster;
pub mod frames;
pub mod hosting;
pub mod moto;
pub mod nginx;
pub mod pebble;
pub mod process;
pub mod redis;
pub mod registry;
pub mod server;
pub mod tokens;
pub mod tool;
pub mod tree;

pub use certificate::Certificate;
pub use chain::{Chain, Policy};
pub use client::{Connection, Fields, Response};
pub use hosting::Hosting;
pub use moto::Moto;
pub use nginx::Nginx;
pub use pebble::Pebble;
pub use registry::Registry;
pub use server::{Launch, Server, kernel_copies, password_hash};
pub use tree::Tree;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long anything may take before a test calls it hung. Generous: a machine may be busy, and no test measures speed.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Asks again until the answer is yes; panics when it never is.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The project's folder.
pub fn project() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is a folder of the project's")
}

/// The built server.
///
/// # Panics
/// When it is not built: nothing beside this test program's folders is called `wasmserve`.
pub fn server_binary() -> PathBuf {
    let own = std::env::current_exe().expect("the kernel knows what is running");
    own.ancestors()
        .skip(1)
        .map(|folder| folder.join("wasmserve"))
        .find(|binary| binary.is_file())
        .expect("the server is not built: run `cargo xtask test`")
}

/// Bytes that differ from place to place, so that a wrong offset or a mixture of files shows: the same for a seed.
pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // xorshift64 (Marsaglia, 2003)
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
