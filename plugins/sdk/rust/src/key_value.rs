//! Key-value pairs that outlive a decision. Needs the feature `key-value` here and `grants = ["key-value"]` in the chain.
//!
//! ```
//! # use wasmserve_plugin::key_value::Bucket;
//! # fn visits(user: &str) -> Result<u64, String> {
//! let bucket = Bucket::open("default")?;
//! bucket.increment(user, 1)
//! # }
//! ```
//!
//! Pairs are the site's: they outlive a reload and end with the server, or when the operator's time to live is over, or
//! when there is no room. So keep nothing here that must not be lost. A decision that used a bucket is never reused.
#[cfg(not(target_family = "wasm"))]
use crate::testing::pairs as service;
#[cfg(target_family = "wasm")]
use wasm as service;

/// What `wit-bindgen` makes of it, in the shape that the tests' stand-in has.
#[cfg(target_family = "wasm")]
mod wasm {
    use super::bindings::wasi::keyvalue::{atomics, store};

    pub use store::Bucket;

    pub fn open(name: &str) -> Result<Bucket, String> {
        store::open(name).map_err(reason)
    }
    pub fn get(bucket: &Bucket, key: &str) -> Result<Option<Vec<u8>>, String> {
        bucket.get(key).map_err(reason)
    }
    pub fn set(bucket: &Bucket, key: &str, value: &[u8]) -> Result<(), String> {
        bucket.set(key, value).map_err(reason)
    }
    pub fn delete(bucket: &Bucket, key: &str) -> Result<(), String> {
        bucket.delete(key).map_err(reason)
    }
    pub fn exists(bucket: &Bucket, key: &str) -> Result<bool, String> {
        bucket.exists(key).map_err(reason)
    }
    pub fn increment(bucket: &Bucket, key: &str, delta: u64) -> Result<u64, String> {
        atomics::increment(bucket, key, delta).map_err(reason)
    }

    fn reason(error: store::Error) -> String {
        match error {
            store::Error::NoSuchStore => "there is no such bucket: the operator names those that are shared".into(),
            store::Error::AccessDenied => "the bucket is not granted".into(),
            store::Error::Other(reason) => reason,
        }
    }
}

#[cfg(target_family = "wasm")]
mod bindings {
    #![allow(unsafe_code, missing_docs, dead_code, clippy::all)]
    wit_bindgen::generate!({
        path: "wit",
        inline: "
            package wasmserve:plugin-services;
            world key-value {
                import wasi:keyvalue/store@0.2.0-draft;
                import wasi:keyvalue/atomics@0.2.0-draft;
            }
        ",
        world: "wasmserve:plugin-services/key-value",
        generate_all,
    });
}

/// A collection of pairs.
pub struct Bucket(service::Bucket);

impl Bucket {
    /// `default` is the plugin's own. Others are shared with the plugins of the site that the operator grants the same
    /// name: `[policy.key-value] buckets = ["name"]`.
    ///
    /// # Errors
    /// There is no such bucket, or it is not granted.
    pub fn open(name: &str) -> Result<Self, String> {
        service::open(name).map(Self)
    }

    /// The value of a key.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        service::get(&self.0, key)
    }

    /// Makes or replaces a pair. Its time to live, when the operator set one, begins anew.
    ///
    /// # Errors
    /// The key (1 KiB) or the value is too large, or the store cannot be reached.
    pub fn set(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), String> {
        service::set(&self.0, key, value.as_ref())
    }

    /// Removes a pair, if it is there.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub fn delete(&self, key: &str) -> Result<(), String> {
        service::delete(&self.0, key)
    }

    /// Whether there is a pair of this key.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub fn exists(&self, key: &str) -> Result<bool, String> {
        service::exists(&self.0, key)
    }

    /// Adds to a number that is kept as decimal digits, and gives the sum; a key that is not there counts as 0. Atomic:
    /// whoever else adds at the same time, nothing is lost. The time to live goes on from the first time.
    ///
    /// # Errors
    /// The value is no number, the sum is larger than 64 bits hold, or the store cannot be reached.
    pub fn increment(&self, key: &str, delta: u64) -> Result<u64, String> {
        service::increment(&self.0, key, delta)
    }
}
