//! Serving: load, listen, reload and upgrade when asked to, and end gracefully.

use super::{
    Outcome, ServeOptions,
    operators::Operators,
    reload::Serving,
    upgrade::{Program, UpgradeError},
};
use crate::{
    config::Configuration,
    net::{Inherited, stop::Stopped, unix},
    observe::{LogGuard, access, log, meters, traces},
    supervisor,
};
use anyhow::Context;
use std::{io, process::ExitCode, time::Duration, time::SystemTime};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
};
use wasmserve_policy::turns;

/// Serves until a signal ends it.
pub fn run(options: &ServeOptions) -> Outcome {
    let begun = SystemTime::now();
    let configuration = options.configuration()?;
    let inherited = Inherited::take().context("cannot take the sockets that the process was started with")?;
    let log = log::start(&configuration.server);
    access::start(&configuration.server.operators.access)?;
    let runtime = runtime().context("cannot start")?;
    let outcome = runtime.block_on(serve(options, configuration, begun, &log, inherited));
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

/// One for all, whose threads take short turns.
fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(|| {
            if let Err(error) = turns::serve() {
                tracing::debug!(%error, "a thread that serves has the turns of those that run long");
            }
        })
        .build()
}

async fn serve(
    options: &ServeOptions,
    configuration: Configuration,
    begun: SystemTime,
    log: &LogGuard,
    mut inherited: Inherited,
) -> Outcome {
    // Before anything that takes time, so that a signal is never missed.
    let mut signals = Signals::new().context("cannot wait for signals")?;
    let reopen = signal(SignalKind::user_defined1()).context("cannot wait for signals")?;
    tokio::spawn(reopen_logs(reopen));
    let program = Program::this().context("cannot tell which program this is")?;
    let (operators, mut reloads) = Operators::start(&configuration.server.operators, &mut inherited).await?;
    let traces = traces::start(configuration.server.operators.traces.as_ref())?;
    let mut serving = Serving::start(options, log, configuration, begun, operators, inherited).await?;
    tokio::spawn(supervisor::watchdog());
    serving.ready();
    let end = loop {
        let mut operator = None;
        let asked = tokio::select! {
            asked = signals.next() => asked,
            cause = serving.changed() => Asked::Reload(cause),
            Some(reload) = reloads.recv() => {
                operator = Some(reload);
                Asked::Reload("an operator")
            }
        };
        match asked {
            Asked::Stop(name) => break End::Stop(name),
            Asked::Reload(cause) => {
                supervisor::reloading();
                tokio::select! {
                    () = serving.reload(cause) => {}
                    name = signals.stop() => break End::Stop(name),
                }
                supervisor::ready();
            }
            Asked::Upgrade => tokio::select! {
                upgraded = upgrade(&program, &serving) => match upgraded {
                    Ok(pid) => break End::Upgraded(pid),
                    Err(error) => note_not_upgraded(&error),
                },
                name = signals.stop() => break End::Stop(name),
            },
        }
        if let Some(operator) = operator {
            // Nobody waits any more when the connection has ended.
            let _ = operator.send(());
        }
    };
    serving.stop_ordering();
    let limit = match end {
        End::Stop(name) => {
            // Not after an upgrade: another process is ready at the same addresses, and whoever asks means those.
            meters().drain();
            supervisor::stopping();
            tracing::info!(signal = name, "stopping: responses under way are finished");
            Some(serving.drain_timeout())
        }
        End::Upgraded(pid) => {
            supervisor::replaced_by(pid);
            unix::hand_over();
            serving.withdraw();
            tracing::info!(
                pid,
                "upgraded: another process serves, responses under way are finished"
            );
            // Nobody waits for this process: downloads have the time that they take.
            None
        }
    };
    let finish = async {
        if let End::Stop(_) = end {
            // So that a load balancer sees that the server is not ready.
            tokio::time::sleep(serving.drain_delay()).await;
        }
        note_stopped(serving.stop(limit).await, limit);
        serving.tell_observers().await;
    };
    tokio::select! {
        () = finish => {}
        name = signals.stop() => tracing::warn!(signal = name, "stopped at once"),
    }
    serving.end().await;
    traces.finish().await;
    Ok(ExitCode::SUCCESS)
}

/// Starts the program anew, and ends when that serves.
async fn upgrade(program: &Program, serving: &Serving<'_>) -> Result<u32, UpgradeError> {
    let sockets = serving.sockets().map_err(UpgradeError::Start)?;
    let mut successor = program.start(sockets)?;
    tracing::info!(pid = successor.pid(), "upgrading: a new process is started");
    successor.serves().await?;
    Ok(successor.pid())
}

fn note_not_upgraded(error: &UpgradeError) {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    tracing::error!(%error, cause, "not upgraded: this process serves on");
}

/// Of both logs.
fn lines_lost() -> u64 {
    log::lost() + access::lost()
}

fn note_stopped(stopped: Stopped, limit: Option<Duration>) {
    match stopped {
        Stopped::Done => tracing::info!("stopped"),
        Stopped::Unfinished(connections) => {
            let limit = limit.map(|limit| humantime::format_duration(limit).to_string());
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
    Upgrade,
}

/// Why this process ends.
enum End {
    Stop(&'static str),
    /// The process that serves now.
    Upgraded(u32),
}

/// The signals that ask for something.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
    user_2: Signal,
}

// === impl Signals ===

impl Signals {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            user_2: signal(SignalKind::user_defined2())?,
        })
    }
    /// The name of the next signal that asks to end.
    pub async fn stop(&mut self) -> &'static str {
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
            _ = self.user_2.recv() => Asked::Upgrade,
        }
    }
}
