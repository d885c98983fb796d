//! `wasmserve replay`: what other plugins would have decided about recorded requests.
//!
//! In the order of events: the plugins are loaded, the recording is read line by line, each request is decided again at
//! its own time and for its own client, several at once, `compare` says what differs, and `report` prints it in the order
//! of the recording, then a summary.

mod compare;
mod report;

use super::Outcome;
use crate::{
    config::{Configuration, plugins::PluginFolder},
    sites::Loader,
    watch::record::{
        entry::{Decision, EntryError, Line},
        redact::Redactor,
        rules::{Rule, Rules},
    },
};
use anyhow::{Context, bail};
use clap::Args;
use compare::Comparison;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use report::Report;
use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal, Read},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread::available_parallelism,
};
use wasmserve_policy::{Chain, Host, HostOptions};

#[derive(Debug, Args)]
pub struct ReplayOptions {
    /// Recording that a server made with --record
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Folder with the plugins that decide again, whichever site a request was for
    #[arg(long, short, value_name = "DIR", required_unless_present = "config")]
    plugins: Option<PathBuf>,

    /// File that describes sites (wasmserve.toml): the plugins of a request's site decide it again
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["plugins", "root_name"])]
    config: Option<PathBuf>,

    /// Name of a root that the plugins may place paths in; may be given several times
    #[arg(long, default_value = "default", value_name = "NAME")]
    root_name: Vec<String>,

    /// Decide the requests of this site only
    #[arg(long, value_name = "NAME")]
    site: Option<String>,

    /// Print a JSON object a line: one for each decision that is not the same, then the summary
    #[arg(long)]
    json: bool,
}

/// Bytes of a line that is read; a longer one is none of a recording's.
const MAX_LINE: u64 = 64 << 20;

/// Decides again, and prints what differs.
pub fn run(options: &ReplayOptions) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let report = runtime.block_on(replay(options))?;
    report.summarize(options.json)?;
    if report.tally.compared() == 0 && report.tally.busy == 0 {
        bail!("nothing could be compared");
    }
    Ok(ExitCode::from(u8::from(report.tally.differ > 0)))
}

async fn replay(options: &ReplayOptions) -> Result<Report, anyhow::Error> {
    let recording = Recorded::open(&options.file)
        .with_context(|| format!("cannot read the recording {}", options.file.display()))?;
    let chains = Arc::new(load(options).await?);
    let progress = progress(recording.bytes);
    let mut report = Report::new(&options.file);
    // Twice as many as run at once, so that none waits for the one whose turn it is to be printed.
    let ahead = 2 * available_parallelism().map_or(1, usize::from);
    let wanted = |entry: &Entry| match (&options.site, &entry.decision) {
        (Some(site), Ok((decision, _))) => decision.site == *site,
        _ => true,
    };
    let mut compared = stream::iter(recording.filter(|entry| entry.as_ref().map_or(true, wanted)))
        .map(|entry| {
            let chains = chains.clone();
            async move {
                let entry = entry?;
                let (line, bytes) = (entry.line, entry.bytes);
                let compared = tokio::spawn(async move { decide(&chains, entry.decision).await }).await;
                let compared = compared.unwrap_or_else(|error| Err(format!("cannot be decided: {error}")));
                Ok::<_, io::Error>((line, bytes, compared))
            }
        })
        .buffered(ahead);
    while let Some(next) = compared.next().await {
        let (line, bytes, compared) = next.context("the recording cannot be read")?;
        progress.inc(bytes);
        progress.suspend(|| report.add(line, compared, options.json))?;
    }
    progress.finish_and_clear();
    Ok(report)
}

async fn load(options: &ReplayOptions) -> Result<Chains, anyhow::Error> {
    match (&options.config, &options.plugins) {
        (Some(file), _) => {
            let configuration = Configuration::read(file).context("the configuration cannot be used")?;
            let mut loader = Loader::new(&configuration.server.cache).aside();
            let sites = loader.load(&configuration, None).await.context("cannot load")?;
            let chains = sites.iter().map(|site| (site.name.to_string(), site.chain.clone()));
            Ok(Chains::OfSites(chains.collect()))
        }
        (None, Some(folder)) => {
            let folder = PluginFolder::read(folder).context("the plugins cannot be run")?;
            let host = Host::new(HostOptions::default())?;
            let roots = options.root_name.iter().cloned().collect();
            let chain = host.load(folder.chain("replay".into(), roots)).await;
            Ok(Chains::OfAll(Arc::new(chain.context("a plugin cannot be loaded")?)))
        }
        (None, None) => bail!("nothing decides: name --plugins or --config"),
    }
}

async fn decide(
    chains: &Chains,
    entry: Result<(Box<Decision>, Arc<Redactor>), EntryError>,
) -> Result<Comparison, String> {
    let (decision, redactor) = entry.map_err(|error| error.to_string())?;
    let (request, withheld) = decision.request().map_err(|error| error.to_string())?;
    let chain = chains.of(&decision.site);
    let chain = chain.ok_or_else(|| format!("is of the site {:?}, which is not configured", decision.site))?;
    let explanation = chain.replay(&Arc::new(request), Arc::new(withheld)).await;
    Ok(Comparison::new(*decision, &explanation, &redactor))
}

/// Shown on a terminal only.
fn progress(bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {eta} left");
    ProgressBar::new(bytes).with_style(style.expect("a constant template"))
}

/// What decides again.
enum Chains {
    OfAll(Arc<Chain>),
    /// By the names of sites.
    OfSites(HashMap<String, Arc<Chain>>),
}

/// The lines of a recording that are decisions, or that cannot be read.
struct Recorded {
    file: BufReader<File>,
    bytes: u64,
    line: u64,
    redactor: Arc<Redactor>,
}

struct Entry {
    line: u64,
    /// Of this line.
    bytes: u64,
    decision: Result<(Box<Decision>, Arc<Redactor>), EntryError>,
}

// === impl Chains, Recorded ===

impl Chains {
    fn of(&self, site: &str) -> Option<&Chain> {
        match self {
            Self::OfAll(chain) => Some(chain),
            Self::OfSites(chains) => chains.get(site).map(|chain| &**chain),
        }
    }
}

impl Recorded {
    fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            bytes: file.metadata()?.len(),
            file: BufReader::new(file),
            line: 0,
            redactor: Arc::new(Redactor::blank(Rules::default())),
        })
    }

    fn read(&mut self) -> io::Result<Option<Entry>> {
        let mut text = Vec::new();
        loop {
            text.clear();
            let bytes = self.file.by_ref().take(MAX_LINE).read_until(b'\n', &mut text)? as u64;
            if bytes == 0 {
                return Ok(None);
            }
            self.line += 1;
            if text.trim_ascii().is_empty() {
                continue;
            }
            let decision = match Line::read(&text) {
                Ok(Line::Decision(decision)) => Ok((decision, self.redactor.clone())),
                Ok(Line::Begin(begin)) => {
                    let rules = begin.rules.iter().map(|rule| rule.parse::<Rule>());
                    match rules.collect::<Result<Vec<_>, _>>() {
                        Ok(rules) => {
                            self.redactor = Arc::new(Redactor::blank(Rules::new(rules)));
                            continue;
                        }
                        Err(_) => Err(EntryError::Value("rule of redaction")),
                    }
                }
                Err(error) => Err(error),
            };
            return Ok(Some(Entry {
                line: self.line,
                bytes,
                decision,
            }));
        }
    }
}

impl Iterator for Recorded {
    type Item = io::Result<Entry>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
