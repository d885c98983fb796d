//! Serving: load, listen, reload when asked to, and end gracefully.

use super::{Outcome, ServeOptions, operators::Operators, reload::Serving};
use crate::{
    config::Configuration,
    net::stop::Stopped,
    observe::{LogGuard, access, log, meters},
};
use anyhow::Context;
use std::{io, process::ExitCode, time::Duration, time::SystemTime};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
};

/// Serves until a signal ends it.
pub fn run(options: &ServeOptions) -> Outcome {
    let begun = SystemTime::now();
    let configuration = options.configuration()?;
    let log = log::start(&configuration.server);
    access::start(&configuration.server.operators.access)?;
    let runtime = Runtime::new().context("cannot start")?;
    let outcome = runtime.block_on(serve(options, configuration, begun, &log));
    // A read that the disk does not answer must not keep the process.
    runtime.shutdown_background();
    access::finish();
    let lost = lines_lost();
    if lost > 0 {
        // Into the log like everything else: whoever does not read standard error must not keep the process from ending.
        tracing::warn!(lost, "log lines were lost because they were not taken in time");
    }
    drop(log);
    outcome
}

async fn serve(options: &ServeOptions, configuration: Configuration, begun: SystemTime, log: &LogGuard) -> Outcome {
    // Before anything that takes time, so that a signal is never missed.
    let mut signals = Signals::new().context("cannot wait for signals")?;
    let reopen = signal(SignalKind::user_defined1()).context("cannot wait for signals")?;
    tokio::spawn(reopen_logs(reopen));
    let (operators, mut reloads) = Operators::start(&configuration.server.operators).await?;
    let mut serving = Serving::start(options, log, configuration, begun, operators).await?;
    let name = loop {
        let mut operator = None;
        let cause = tokio::select! {
            asked = signals.next() => match asked {
                Asked::Reload(name) => name,
                Asked::Stop(name) => break name,
            },
            cause = serving.changed() => cause,
            Some(reload) = reloads.recv() => {
                operator = Some(reload);
                "an operator"
            }
        };
        tokio::select! {
            () = serving.reload(cause) => {}
            name = signals.stop() => break name,
        }
        if let Some(operator) = operator {
            // Nobody waits any more when the connection has ended.
            let _ = operator.send(());
        }
    };
    meters().drain();
    tracing::info!(signal = name, "stopping: responses under way are finished");
    let limit = serving.drain_timeout();
    let finish = async {
        note_stopped(serving.stop(limit).await, limit);
        serving.tell_observers().await;
    };
    tokio::select! {
        () = finish => {}
        name = signals.stop() => tracing::warn!(signal = name, "stopped at once"),
    }
    serving.end().await;
    Ok(ExitCode::SUCCESS)
}

/// Of both logs.
fn lines_lost() -> u64 {
    log::lost() + access::lost()
}

fn note_stopped(stopped: Stopped, limit: Duration) {
    match stopped {
        Stopped::Done => tracing::info!("stopped"),
        Stopped::Unfinished(connections) => {
            let limit = humantime::format_duration(limit).to_string();
            tracing::warn!(connections, limit, "stopped before all responses were finished");
        }
    }
}

/// Opens the access log anew each time that SIGUSR1 asks for it.
async fn reopen_logs(mut asked: Signal) {
    while asked.recv().await.is_some() {
        access::reopen();
        tracing::info!(signal = "SIGUSR1", "the access log is opened anew");
    }
}

/// What a signal asks for, and its name.
enum Asked {
    Reload(&'static str),
    Stop(&'static str),
}

/// The signals that ask for something.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

// === impl Signals ===

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
    /// The name of the next signal that asks to end.
    async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// What the next signal asks for.
    async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.interrupt.recv() => Asked::Stop("SIGINT"),
            _ = self.terminate.recv() => Asked::Stop("SIGTERM"),
            _ = self.hangup.recv() => Asked::Reload("SIGHUP"),
        }
    }
}
