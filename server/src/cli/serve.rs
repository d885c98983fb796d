//! Serving: load, listen, and end gracefully.

use super::{Outcome, ServeOptions, descriptors::Descriptors};
use crate::{
    net::{Bound, ListenError, Server, Stopper, stop::Stopped},
    observe::log,
    site::Site,
};
use anyhow::Context;
use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tokio::{
    runtime::Runtime,
    signal::unix::{Signal, SignalKind, signal},
    sync::Semaphore,
};

/// How long observers have, when all exchanges have ended, to take note of them.
const TELL_OBSERVERS: Duration = Duration::from_secs(5);

/// Serves until a signal ends it.
pub fn run(options: &ServeOptions) -> Outcome {
    let log = log::start(options.log_format(), options.log_filter());
    let runtime = Runtime::new().context("cannot start")?;
    let outcome = runtime.block_on(serve(options));
    // A read that the disk does not answer must not keep the process.
    runtime.shutdown_background();
    let lost = log.lost();
    if lost > 0 {
        // Into the log like everything else: whoever does not read standard error must not keep the process from ending.
        tracing::warn!(lost, "log lines were lost because standard error was not read in time");
    }
    drop(log);
    outcome
}

async fn serve(options: &ServeOptions) -> Outcome {
    // Before anything that takes time, so that a signal is never missed.
    let mut signals = Signals::new().context("cannot wait for signals")?;
    let descriptors = Descriptors::raise();
    let room = Arc::new(Semaphore::new(room(options, descriptors)));
    let mut site = options.site();
    site.files.cache.descriptors = site.files.cache.descriptors.min(descriptors.cached_files());
    let site = Site::load(site).await?;
    let observers = site.observers.clone();
    let server = Server::new(Arc::new(site), options.net());
    let bound = options
        .listen()
        .iter()
        .map(|address| Bound::new(*address))
        .collect::<Result<Vec<_>, ListenError>>()?;
    announce(&bound).context("cannot write to standard output")?;

    let (stopper, stop) = Stopper::new();
    for listener in bound {
        tokio::spawn(listener.accept(server.clone(), room.clone(), stop.clone()));
    }
    drop(stop);

    let name = signals.next().await;
    tracing::info!(signal = name, "stopping: responses under way are finished");
    let finish = async {
        note_stopped(stopper.stop(options.drain_timeout()).await, options.drain_timeout());
        observers.drain(TELL_OBSERVERS).await;
    };
    tokio::select! {
        () = finish => {}
        name = signals.next() => tracing::warn!(signal = name, "stopped at once"),
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for each address, for people and for programs.
fn announce(bound: &[Bound]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for listener in bound {
        writeln!(output, "listening on http://{}", listener.address)?;
    }
    output.flush()
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

/// How many connections may be open at once.
fn room(options: &ServeOptions, descriptors: Descriptors) -> usize {
    let allowed = descriptors.connections().min(Semaphore::MAX_PERMITS);
    match options.max_connections() {
        Some(wanted) if wanted > allowed => {
            tracing::warn!(
                wanted,
                allowed,
                "the limit of open files allows fewer connections: raise it with ulimit -n"
            );
            allowed
        }
        Some(wanted) => wanted,
        None => allowed,
    }
}

/// The signals that ask to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

// === impl Signals ===

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The name of the next signal.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}
