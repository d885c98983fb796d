//! The file system's half of serving files, from outside the crate: trees in temporary directories, lookups, reading.
mod lookup;
mod protected;
mod support;
