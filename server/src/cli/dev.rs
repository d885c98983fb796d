//! `wasmserve dev`: a server for whoever writes a policy.
//!
//! In the order of events: what is out of date is built, its tests are run, and the chain is served on loopback; every
//! request explains itself. On a save it is built and tested again; what was built, or a change of the chain, replaces what
//! is served. What cannot be built, loaded or read is told, and what was there before is served on.

pub(super) mod chain;
mod saves;
mod site;

use super::{
    Outcome, ServeOptions,
    build::{self, Extent},
    operators::Operators,
    reload::Serving,
    report,
    serve::Signals,
    test,
};
use crate::{
    cases::{Report, Runner},
    config::ServerSettings,
    net::Inherited,
    observe::{LogGuard, log},
    watch::narrate::Narrator,
};
use anyhow::Context;
use chain::DevChain;
use clap::{Args, Parser};
use saves::Saves;
use site::Site;
use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::SystemTime,
};
use tokio::{runtime::Runtime, task::spawn_blocking};

#[derive(Debug, Args)]
pub struct DevOptions {
    /// Folder of a plugin, or one with a plugins.toml that lists a chain
    ///
    /// The folder of a plugin without a plugins.toml is tried with the configuration and the grants of its first file of
    /// tests.
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,

    /// Folder of files to serve; a copy of `site` in DIR when it is there, else the current one
    ///
    /// Nothing that lies in the folder of a plugin is ever served, hence the copy.
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,

    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    listen: SocketAddr,

    /// Show credentials and cookies, which are hidden otherwise
    #[arg(long)]
    show_secrets: bool,
}

/// What is told of the server itself: what went wrong, and reloads.
const LOG: &str = "warn,wasmserve::cli::reload=info";

/// Serves until a signal ends it.
pub fn run(options: &DevOptions) -> Outcome {
    let chain = DevChain::of(&options.dir)?;
    let narrator = match options.show_secrets {
        true => Narrator::Frank,
        false => Narrator::Discreet,
    };
    let site = Site::of(&options.dir, options.root.as_deref())?;
    let mut serve = options.serve(chain.folder(), site.folder());
    serve.narrate(narrator);
    let log = log::start(&ServerSettings {
        log: LOG.to_owned(),
        ..ServerSettings::default()
    });
    let runtime = Runtime::new().context("cannot start")?;
    let outcome = runtime.block_on(dev(options, &serve, site, &log));
    runtime.shutdown_background();
    outcome
}

async fn dev(options: &DevOptions, serve: &ServeOptions, site: Site, log: &LogGuard) -> Outcome {
    let mut signals = Signals::new().context("cannot wait for signals")?;
    let mut workshop = Workshop::new(&options.dir, site)?;
    let mut serving = loop {
        workshop.work().await?;
        match start(serve, log).await {
            Ok(serving) => break serving,
            Err(error) => report::print(&*error),
        }
        eprintln!("nothing is served yet: waiting for a change");
        tokio::select! {
            () = workshop.saves.changed() => {}
            _ = signals.stop() => return Ok(ExitCode::SUCCESS),
        }
    };
    loop {
        tokio::select! {
            _ = signals.stop() => break,
            cause = serving.changed() => serving.reload(cause).await,
            () = workshop.saves.changed() => workshop.work().await?,
        }
    }
    serving.stop(Some(std::time::Duration::ZERO)).await;
    serving.end().await;
    Ok(ExitCode::SUCCESS)
}

async fn start<'a>(serve: &'a ServeOptions, log: &'a LogGuard) -> anyhow::Result<Serving<'a>> {
    let begun = SystemTime::now();
    let configuration = serve.configuration()?;
    let mut inherited = Inherited::take().context("cannot take the sockets that the process was started with")?;
    let (operators, _) = Operators::start(&configuration.server.operators, &mut inherited).await?;
    Serving::start(serve, log, configuration, begun, operators, inherited).await
}

// === impl DevOptions ===

impl DevOptions {
    /// What would be typed to serve the same.
    fn serve(&self, plugins: &Path, root: &Path) -> ServeOptions {
        let listen = self.listen.to_string();
        let fixed = ["wasmserve", "--watch", "--log", LOG, "--listen", &*listen].map(OsStr::new);
        let paths = [
            "--root".as_ref(),
            root.as_os_str(),
            "--plugins".as_ref(),
            plugins.as_os_str(),
        ];
        Typed::parse_from(fixed.into_iter().chain(paths)).serve
    }
}

/// The options of serving, as they are typed.
#[derive(Debug, Parser)]
struct Typed {
    #[command(flatten)]
    serve: ServeOptions,
}

/// Builds and tests.
struct Workshop {
    dir: PathBuf,
    site: Site,
    saves: Saves,
    runner: Runner,
}

impl Workshop {
    fn new(dir: &Path, site: Site) -> anyhow::Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            saves: Saves::watch(dir, site.source())?,
            site,
            runner: test::runner()?,
        })
    }

    /// Builds what is out of date and runs the tests, if anything was saved since the last time. What is wrong is told.
    async fn work(&mut self) -> anyhow::Result<()> {
        if !self.saves.are_new()? {
            return Ok(());
        }
        if let Err(error) = self.site.refresh() {
            report::print(&error);
        }
        let dir = self.dir.clone();
        match spawn_blocking(move || build::build(&dir, Extent::OutOfDate)).await? {
            Ok(tally) if tally.failed > 0 => eprintln!("not built: what was built before stays"),
            // Of what was built before, they would tell nothing.
            Ok(_) => self.test().await,
            Err(error) => report::print(&*error),
        }
        Ok(())
    }

    async fn test(&self) {
        let tested = match test::find(&self.dir) {
            Ok(tested) => tested,
            Err(error) => return report::print(&*error),
        };
        let mut all = Report::default();
        for plugin in &tested {
            all.add(plugin.run(&self.runner, None).await);
        }
        let text = match (all.failed, all.passed) {
            (0, 0) => return,
            (0, _) => format!("tests: {}\n", all.tally()),
            _ => all.to_string(),
        };
        if let Err(error) = test::print(&text) {
            report::print(&*error);
        }
    }
}
