//! What the kernel says about a process, read from `/proc`.
use std::{fs, time::Duration};

/// Resident memory in bytes.
pub fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is alive");
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("VmRSS:"))
        .expect("a living process has VmRSS");
    let kibibytes: u64 = line
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .expect("VmRSS is a number of kB");
    kibibytes * 1024
}

/// Resident memory in bytes, where a page that several processes share counts for each in part.
pub fn proportional(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("the process is alive and ours");
    let kibibytes = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("Pss:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .expect("the rollup has Pss in kB");
    kibibytes * 1024
}

/// How many descriptors are open.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process is alive")
        .count()
}

/// What the open descriptors point at: paths of files, `socket:[...]` and the like.
pub fn open_files(pid: u32) -> Vec<String> {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process is alive")
        .flatten()
        // One that was closed since is no longer open.
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect()
}

/// CPU time that was spent so far, in user and kernel mode together; the clock ticks every 10 ms.
pub fn cpu_time(pid: u32) -> Duration {
    /// Ticks a second of the times in `/proc/PID/stat`: a constant of Linux's interface, whatever the kernel's own rate.
    const USER_HZ: u64 = 100;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is alive");
    // The name, in parentheses, may hold anything: what follows its last one is regular (proc_pid_stat(5)).
    let (_, fields) = stat.rsplit_once(") ").expect("the name is in parentheses");
    let ticks: u64 = fields
        .split(' ')
        .skip(11)
        .take(2)
        .map(|t| t.parse::<u64>().expect("utime and stime"))
        .sum();
    Duration::from_millis(ticks * 1000 / USER_HZ)
}

/// CPU time of the threads that are alive, to the nanosecond, as the scheduler counts it.
pub fn exact_cpu_time(pid: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).expect("the process is alive");
    let spent = threads.flatten().filter_map(|thread| {
        // A thread that has ended since has no file.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}

/// Children of a process, such as the workers of nginx.
pub fn children(pid: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}
