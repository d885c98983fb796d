//! The file system's half of serving files, from outside the crate: trees in temporary directories, lookups, reading.
mod beneath;
mod cache;
mod changing;
mod fuse;
mod known;
mod listing;
mod lookup;
mod protected;
mod siblings;
mod support;
mod variants;
