//! What the process uses of the machine, as the kernel tells it.

use rustix::{
    process::{Resource, getrlimit},
    time::{ClockId, clock_gettime},
};
use serde::Serialize;
use std::fs;

/// Now.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Process {
    pub cpu_seconds: f64,
    /// Bytes; 0: the system does not tell.
    pub resident_bytes: u64,
    pub descriptors: u64,
    /// The limit of them; `None`: there is none.
    pub most_descriptors: Option<u64>,
    pub threads: u64,
}

// === impl Process ===

impl Process {
    pub fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let descriptors = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self {
            cpu_seconds: time.tv_sec as f64 + time.tv_nsec as f64 / 1e9,
            resident_bytes: number(&status, "VmRSS:") * 1024,
            // One of them is the folder that was read.
            descriptors: descriptors.saturating_sub(1) as u64,
            most_descriptors: getrlimit(Resource::Nofile).current,
            threads: number(&status, "Threads:"),
        }
    }
}

/// The number behind a name in /proc/self/status (proc_pid_status(5)).
fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_ascii_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells() {
        let process = Process::now();
        assert!(process.resident_bytes > 0 && process.descriptors > 2 && process.threads > 0);
        assert_eq!(number("VmRSS:\t  12 kB\nThreads:\t3\n", "Threads:"), 3);
    }
}
