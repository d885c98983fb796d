//! The command `wasmserve`: everything is in the library, so that tests can reach it. Only the allocator is here.
#![deny(unsafe_code)]

use std::process::ExitCode;
use tikv_jemallocator::Jemalloc;

/// glibc keeps what thousands of clients used at once long after they left: server/docs/decisions/0007-allocator.md.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// jemalloc's options: a thread of its own gives memory back to the system half a second after it was freed.
// SAFETY: jemalloc declares `const char *malloc_conf` under this name. What is exported is a pointer to bytes that end with
// NUL, are never written to and live as long as the process; nothing else exports this name.
#[allow(unsafe_code)]
#[unsafe(export_name = "_rjem_malloc_conf")]
pub static ALLOCATOR_OPTIONS: &[u8; 59] = b"background_thread:true,dirty_decay_ms:500,muzzy_decay_ms:0\0";

fn main() -> ExitCode {
    wasmserve::cli::main()
}
