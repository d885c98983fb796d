//! Plugins that are not files of the operator's: from a reference to bytes that are what was asked for.
//!
//! In the order of events: a [`Reference`] says where a plugin is, a [`Digest`] what it has to be; [`fetch()`] gets it;
//! [`signature`] says who made it; the [`Store`] keeps it, and is all that a server ever reads; [`embedded`] has what the
//! plugin says of itself. [`publish()`] is the way back.
//!
//! Knows neither configuration nor WebAssembly's meaning: what a plugin may do is decided elsewhere. Nothing here trusts
//! what comes over a network or lies on a disk before its digest was compared.
#![forbid(unsafe_code)]

pub mod client;
pub mod credentials;
pub mod digest;
pub mod embedded;
pub mod fetch;
pub mod oci;
pub mod publish;
pub mod reference;
pub mod signature;
pub mod store;

pub use client::{Client, ClientError, PlainHttp};
pub use credentials::Keyring;
pub use digest::Digest;
pub use fetch::{Bounds, FetchError, Fetched, fetch};
pub use publish::publish;
pub use reference::{Pinned, Prefix, Reference};
pub use signature::PublicKey;
pub use store::{Kind, Store, StoreError};

/// Whether a text is a host as references write it: `HOST` or `HOST:PORT`.
///
/// # Errors
/// What is wrong with it.
pub fn check_host(text: &str) -> Result<(), String> {
    reference::authority(text)
}
