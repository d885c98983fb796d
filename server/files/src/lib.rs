//! Serving files: from a canonical path to an open file, and from an open file to what HTTP says about it.
//!
//! In the order of a request: [`path`] (bytes to a canonical path), [`Files::open`] (paths to something open beneath a
//! root), [`answer()`] (what HTTP says about it: status, head and which bytes; no input or output), [`content`] (the bytes).
//!
//! Knows neither hyper nor wasmtime: everything here can be tested without a connection and without a policy.
#![forbid(unsafe_code)]

pub mod answer;
mod beneath;
mod buffer;
mod cache;
mod cached;
pub mod coding;
mod compress;
pub mod content;
pub mod date;
mod device;
pub mod disposition;
mod entry;
pub mod etag;
mod fields;
pub mod files;
mod known;
mod lane;
pub mod listing;
pub mod media_type;
pub mod multipart;
mod opened;
pub mod options;
pub mod parts;
pub mod path;
pub mod plan;
mod pool;
pub mod precondition;
mod protect;
pub mod range;
mod remote;
pub mod representation;
mod root;
mod search;
mod siblings;
mod stat;
pub mod store;
pub mod striped;
mod trouble;
pub mod trusted;

pub use answer::{Answer, answer};
pub use cached::CachedStores;
pub use coding::{Coding, Preferences, preferences};
pub use content::{Changed, Content, FileSpan, OpenFile, Part, Piece, Source, Stream};
pub use disposition::Disposition;
pub use etag::FileState;
pub use files::{Files, FilesError, Found, Lookup, Missing, Place, Selected};
pub use listing::Listing;
pub use media_type::MediaTypes;
pub use options::{
    CacheOptions, Compression, Dotfiles, FilesOptions, Growing, Listings, Location, Machines, Resolver, RootOptions,
    StoreRoot, Symlinks,
};
pub use parts::Parts;
pub use path::{PathError, SitePath};
pub use plan::{Action, Plan, plan};
pub use pool::{CacheCounts, Pool};
pub use representation::Representation;
pub use store::{Credentials, Object, ObjectSpan, ObjectVersion, Store, StoreError, StoreSpec, Stores};
pub use striped::Striped;
