//! What the service manager is told (sd_notify(3)), where there is one: when the server serves, reloads and stops, which
//! process it is after an upgrade, and that it lives.

use sd_notify::NotifyState;
use std::time::Duration;
use tokio::time::interval;

/// The server answers requests, or does so again after a reload.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// What is said is read anew, until [`ready`].
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::debug!(%error, "the time cannot be told"),
    }
}

/// Responses under way are finished, and then the server ends.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Another process is the server from now on.
pub fn replaced_by(pid: u32) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Ready]);
}

/// Says that the server lives, twice as often as it is asked to (`WatchdogSec=`), for as long as its runtime runs tasks.
pub async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut ticks = interval((limit / 2).max(Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told how the server is");
    }
}
