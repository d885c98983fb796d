//! How much one connection may write before the others have their turn.
use std::task::{Context, Poll};
use tokio::task::coop::{has_budget_remaining, poll_proceed};

/// Bytes that one turn of a task may write: some 200 µs of copying by the kernel, and what nginx allows
/// (`sendfile_max_chunk`). Less costs more, because a turn that ends while the client could take more wakes another
/// worker and may move the task to another core: with ten clients on two workers 1 MiB took 1.2 times the CPU of 2 MiB.
pub(crate) const BYTES: u64 = 2 * 1024 * 1024;

/// tokio gives a task 128 units per turn.
const BYTES_PER_UNIT: u64 = BYTES / 128;

/// Waits for the next turn when this one is used up.
pub(crate) fn poll_begin(context: &mut Context<'_>) -> Poll<()> {
    // Taken and given back when dropped unused: what is written is charged afterwards.
    poll_proceed(context).map(drop)
}

/// Charges the turn for bytes that were written.
pub(crate) fn charge(context: &mut Context<'_>, bytes: u64) {
    for _ in 0..bytes / BYTES_PER_UNIT {
        if !has_budget_remaining() {
            return;
        }
        if let Poll::Ready(unit) = poll_proceed(context) {
            unit.made_progress();
        }
    }
}
