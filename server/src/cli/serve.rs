//! Serving: load, listen, and end gracefully.

use super::{Outcome, ServeOptions, descriptors::Descriptors};
use crate::{
    admin::{self, Socket},
    net::{Bound, ListenError, Server, Stopper, stop::Stopped},
    observe::log,
    request::Scheme,
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
    let watch = options.watch()?;
    let site = Site::load(site).await?;
    let server = Server::new(Arc::new(site), watch, options.net()?);
    let watched = server.clone();
    let admin = options.admin().map(|path| Socket::bind(&path)).transpose()?;
    let bound = options
        .listen()
        .iter()
        .map(|address| Bound::new(*address))
        .collect::<Result<Vec<_>, ListenError>>()?;
    announce(&bound, server.scheme()).context("cannot write to standard output")?;

    let (stopper, stop) = Stopper::new();
    for listener in bound {
        tokio::spawn(listener.accept(server.clone(), room.clone(), stop.clone()));
    }
    drop(stop);
    let admin = admin.map(|socket| {
        tracing::info!(path = %socket.path().display(), "listening for operators");
        tokio::spawn(admin::serve(socket, server))
    });

    let name = signals.next().await;
    tracing::info!(signal = name, "stopping: responses under way are finished");
    tokio::select! {
        stopped = stopper.stop(options.drain_timeout()) => note_stopped(stopped, options.drain_timeout()),
        name = signals.next() => tracing::warn!(signal = name, "stopped at once"),
    }
    if let Some(admin) = admin {
        admin.abort();
        // Its socket is removed when it has ended.
        let _ = admin.await;
    }
    if let Some(recording) = &watched.watch.record {
        tokio::task::block_in_place(|| recording.finish());
    }
    Ok(ExitCode::SUCCESS)
}

/// One line for each address, for people and for programs.
fn announce(bound: &[Bound], scheme: Scheme) -> io::Result<()> {
    let mut output = io::stdout().lock();
    for listener in bound {
        writeln!(output, "listening on {}://{}", scheme.as_str(), listener.address)?;
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
