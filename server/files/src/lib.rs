//! Serving files: from a canonical path to an open file, and from an open file to what HTTP says about it.
//!
//! In the order of a request: [`path`] (bytes to a canonical path), [`Files::open`] (paths to something open beneath a
//! root), [`answer`] (what HTTP says about it: status, head and which bytes; no input or output), [`content`] (the bytes).
//!
//! Knows neither hyper nor wasmtime: everything here can be tested without a connection and without a policy.
#![forbid(unsafe_code)]

pub mod answer;
pub mod coding;
pub mod content;
pub mod date;
pub mod disposition;
pub mod etag;
mod fields;
pub mod files;
pub mod media_type;
pub mod multipart;
pub mod path;
pub mod plan;
pub mod precondition;
pub mod range;
pub mod representation;

pub use answer::{Answer, answer};
pub use coding::{Coding, Preferences, preferences};
pub use content::{Content, FileSpan, OpenFile, Part};
pub use disposition::Disposition;
pub use etag::FileState;
pub use files::{Files, FilesError, FilesOptions, Found, Listing, Lookup, Missing, Place, RootOptions, Selected};
pub use media_type::MediaTypes;
pub use path::{PathError, SitePath};
pub use plan::{Action, Plan, plan};
pub use representation::Representation;
