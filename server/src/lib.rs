//! wasmserve: an HTTP file server whose every request is decided by sandboxed plugins.
#![forbid(unsafe_code)]
