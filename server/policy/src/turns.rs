//! How long the turns of a thread are, when more threads want to run than there are processors.
//!
//! Linux lets a thread run to the end of its turn, 0.7 ms times a factor for the number of processors by default, before
//! another that was woken has the processor, unless that one asked for shorter turns. Threads that serve do: what runs long
//! beside them, in the lane of policies, while code is compiled, or in other programs, is then cut short when there is a
//! request. It gives no thread more of the processor, and takes none from others.
//!
//! Measured and argued in server/docs/decisions/0043-neighbours.md.
use rustix::process::{getpriority_process, setpriority_process};
use std::{io, mem::size_of, time::Duration};

/// The shortest turn that Linux gives (`sched(7)`, EEVDF).
const SHORT: Duration = Duration::from_micros(100);
/// What threads that run long add to the niceness of the process: server/docs/decisions/0012-the-slow-lane.md.
const NICENESS: i32 = 5;

/// This thread serves: it runs for some ten microseconds, whenever somebody asks. Kernels before Linux 6.12 know no turns of
/// a thread's own, and take no notice.
///
/// # Errors
/// When the kernel refuses: the thread goes on with the turns that it had.
pub fn serve() -> io::Result<()> {
    ask_for(SHORT)
}

/// This thread has whatever nobody else wants: any other that is woken takes its place at once, and where others want all
/// processors it has a few thousandths of one. Its own turns are short, so that what it holds then is not held for long.
///
/// # Errors
/// When the kernel refuses: the thread goes on as one that runs long.
pub fn give_way() -> io::Result<()> {
    run_long()?;
    // Before the policy is changed, which keeps it.
    let _ = set(SchedulingPolicy::AsItIs, SHORT);
    set(SchedulingPolicy::Idle, Duration::ZERO)
}

/// This thread runs long: it has a lower priority than the one that started it, and the turns that everybody has.
///
/// # Errors
/// As [`serve`].
pub fn run_long() -> io::Result<()> {
    // Of the thread that asks, and it alone: on Linux each has a niceness of its own.
    let own = getpriority_process(None)?;
    setpriority_process(None, (own + NICENESS).min(19))?;
    // Where this is refused, turns are what they are everywhere.
    let _ = ask_for(Duration::ZERO);
    Ok(())
}

/// As `sched(7)` calls them.
enum SchedulingPolicy {
    /// Where the operator chose another one, what is asked for is refused or does no harm.
    AsItIs,
    Idle,
}

/// Zero: as the kernel pleases.
fn ask_for(turn: Duration) -> io::Result<()> {
    set(SchedulingPolicy::AsItIs, turn)
}

#[allow(unsafe_code, reason = "no crate asks this of the kernel safely")]
fn set(policy: SchedulingPolicy, turn: Duration) -> io::Result<()> {
    let (sched_policy, sched_flags) = match policy {
        SchedulingPolicy::AsItIs => (0, libc::SCHED_FLAG_KEEP_POLICY as u64),
        SchedulingPolicy::Idle => (libc::SCHED_IDLE as u32, 0),
    };
    let attributes = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy,
        sched_flags,
        // It would be set too: to what it is.
        sched_nice: getpriority_process(None)?,
        sched_priority: 0,
        sched_runtime: u64::try_from(turn.as_nanos()).unwrap_or(0),
        sched_deadline: 0,
        sched_period: 0,
    };
    // SAFETY: sched_setattr(2) reads `size` bytes, which is what `attributes` has, and keeps nothing of them. It changes when
    // this thread runs, and nothing that Rust knows of.
    let done = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gives_way_has_the_policy_for_that() {
        let policy = std::thread::spawn(|| {
            give_way().unwrap();
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // proc_pid_stat(5): field 41, of which the name, in parentheses, is the second.
            let mut fields = stat.rsplit_once(')').unwrap().1.split_whitespace();
            fields.nth(38).unwrap().parse::<i32>().unwrap()
        });
        assert_eq!(policy.join().unwrap(), libc::SCHED_IDLE);
    }

    #[test]
    fn whoever_serves_keeps_its_priority_and_whoever_runs_long_gives_some_up() {
        let priorities = std::thread::spawn(|| {
            let before = getpriority_process(None).unwrap();
            serve().unwrap();
            let serving = getpriority_process(None).unwrap();
            run_long().unwrap();
            (before, serving, getpriority_process(None).unwrap())
        });
        let (before, serving, long) = priorities.join().unwrap();
        assert_eq!(serving, before);
        assert_eq!(long, (before + NICENESS).min(19));
    }
}
