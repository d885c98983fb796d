//! Object storage for roots: S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage, by crate object_store.
//!
//! In the order of events: [`ObjectStores`] opens a bucket (`open`: specification and credentials to a client, and `connect`:
//! the connections below it, of the same TLS as the server's own); a [`Bucket`] answers what `wasmserve_files` asks, within
//! its bounds; `read` streams a range and goes on where it was broken off; `failure` sorts what went wrong.
//!
//! The boundary: this crate alone names object_store. What an object means to HTTP is decided in `wasmserve_files`.
#![forbid(unsafe_code)]

mod bucket;
mod connect;
mod failure;
mod listed;
mod open;
mod read;

pub use bucket::{Bounds, Bucket};
pub use open::{ObjectStores, OpenError};
