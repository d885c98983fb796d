//! What plugins keep beyond a decision: key-value pairs and token buckets, and where.
//!
//! `backend` is the seam: each operation is atomic, and whatever keeps the data answers alike. Behind it, [`Embedded`]
//! (`pairs` and `tokens`) keeps it in this process's memory, and [`RedisSite`] in a Redis that many servers share.
//!
//! The boundary: what a site may keep is bounded here, whoever keeps it; what a guest may ask, and how often, is decided
//! before. Nothing here knows WebAssembly.
#![forbid(unsafe_code)]

mod backend;
mod embedded;
mod pairs;
pub mod redis;
mod tokens;

pub use self::redis::{Redis, RedisOptions, RedisSite};
pub use backend::{Backend, Bounds, Bucket, BucketName, Page, Taken, Unavailable};
pub use embedded::Embedded;
