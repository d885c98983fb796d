//! Configuration: what was typed, apart from what it means.
//!
//! A file is read into a [`document::Section`] that knows where every value stands, then resolved into the
//! specifications that the crates `policy` and `files` take. Every error of a file is reported at once. What is wrong
//! refuses the whole: a chain that cannot be read never means a server without it.

pub mod document;
pub mod errors;
pub mod limits;
pub mod manifest;
pub mod plugins;
pub mod texts;
pub mod units;

pub use errors::{ConfigError, ConfigErrors};
pub use manifest::Manifest;
