//! Serving files: from a canonical path to an open file, and from an open file to what HTTP says about it.
//!
//! In the order of a request: [`path`] (bytes to a canonical path), [`Files::open`] (paths to something open beneath a
//! root), [`answer`] (what HTTP says about it: status, head and which bytes; no input or output), [`content`] (the bytes).
//!
//! Knows neither hyper nor wasmtime: everything here can be tested without a connection and without a policy.
#![forbid(unsafe_code)]

pub mod answer;
mod beneath;
pub mod content;
mod device;
pub mod files;
mod lane;
mod opened;
pub mod options;
pub mod path;
mod protect;
pub mod representation;
mod root;
mod search;
mod standin;
mod stat;
mod trouble;

pub use answer::{Answer, answer};
pub use content::{Changed, Content, FileSpan, OpenFile, Part, Stream};
pub use files::{Files, FilesError, Found, Listing, Lookup, Missing, Place, Selected};
pub use options::{Dotfiles, FilesOptions, Growing, Resolver, RootOptions, Symlinks};
pub use path::{PathError, SitePath};
pub use representation::Representation;
