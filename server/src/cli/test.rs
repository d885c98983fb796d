//! `wasmserve test`: the tests that lie beside plugins, run against what was built.
//!
//! In the order of events: every folder with a plugin.toml is found, and the files of tests in it; all of them are read,
//! and what is wrong is told at once; each case is run; the differences are printed.

use super::{Outcome, build};
use crate::{
    cases::{Report, Runner, TestFile, file, report::PluginReport},
    config::{CodeCacheOption, ConfigError, ConfigErrors, Manifest},
};
use anyhow::{Context, bail};
use clap::Args;
use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Debug, Args)]
pub struct TestOptions {
    /// Folder of a plugin, or one with such folders in it
    #[arg(default_value = ".", value_name = "DIR")]
    dir: PathBuf,

    /// Run only the cases that have TEXT in "PLUGIN: NAME", in capital or small letters
    #[arg(long, short, value_name = "TEXT")]
    filter: Option<String>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// A plugin that has tests.
pub(super) struct Tested {
    pub manifest: Manifest,
    pub files: Vec<TestFile>,
}

/// Runs tests and prints how they went.
pub fn run(options: &TestOptions) -> Outcome {
    let tested = find(&options.dir)?;
    if tested.is_empty() {
        let dir = options.dir.display();
        bail!("there are no tests in {dir}: they are files named tests/*.toml beside a plugin.toml");
    }
    let runner = runner()?;
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let mut report = Report::default();
    for plugin in &tested {
        let ran = runtime.block_on(plugin.run(&runner, options.filter.as_deref()));
        if !options.json {
            // At once: what comes next may take a while to compile.
            print(&ran.to_string())?;
        }
        report.add(ran);
    }
    if report.passed + report.failed == 0 {
        let text = options.filter.as_deref().unwrap_or_default();
        bail!("no test has {text:?} in its name");
    }
    print(&match options.json {
        true => serde_json::to_string_pretty(&report).context("cannot be written as JSON")? + "\n",
        false => report.tally() + "\n",
    })?;
    Ok(if report.is_success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Plugins with tests in a folder and beneath it.
///
/// # Errors
/// Everything that is wrong with manifests and files of tests, and plugins that are not built.
pub(super) fn find(dir: &Path) -> anyhow::Result<Vec<Tested>> {
    let mut errors = ConfigErrors::default();
    let mut tested = Vec::new();
    for folder in build::find(dir)? {
        let files = file::find(&folder).with_context(|| format!("cannot look for tests in {}", folder.display()))?;
        if files.is_empty() {
            continue;
        }
        match read(&folder, &files) {
            Ok(plugin) => tested.push(plugin),
            Err(found) => errors.extend(found),
        }
    }
    errors.check().context("the tests cannot be run")?;
    Ok(tested)
}

fn read(folder: &Path, files: &[PathBuf]) -> Result<Tested, ConfigErrors> {
    let mut errors = ConfigErrors::default();
    let manifest = Manifest::read(folder).map_err(|found| errors.extend(found));
    if let Some((manifest, reason)) = manifest
        .as_ref()
        .ok()
        .and_then(|manifest| Some((manifest, manifest.unbuilt()?)))
    {
        let hint = format!("run: wasmserve build {}", folder.display());
        errors.push(ConfigError::new(&manifest.artefact, reason).hint(hint));
    }
    let mut read = Vec::new();
    for file in files {
        match TestFile::read(file) {
            Ok(file) => read.push(file),
            Err(found) => errors.extend(found),
        }
    }
    errors.clone().check()?;
    let manifest = manifest.map_err(|()| errors)?;
    Ok(Tested { manifest, files: read })
}

/// What runs tests, with the compiled code that a server of this user keeps.
pub(super) fn runner() -> anyhow::Result<Runner> {
    let code = CodeCacheOption::by_environment(|name| std::env::var_os(name));
    Ok(Runner::new(code.open(&[]))?)
}

pub(super) fn print(text: &str) -> anyhow::Result<()> {
    let mut output = anstream::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.context("cannot write to standard output")
}

// === impl Tested ===

impl Tested {
    /// Runs the cases whose names have the text in them.
    pub async fn run(&self, runner: &Runner, filter: Option<&str>) -> PluginReport {
        let plugin = &self.manifest.name;
        let filter = filter.map(str::to_lowercase);
        let wanted = |case: &str| {
            let name = format!("{plugin}: {case}").to_lowercase();
            filter.as_ref().is_none_or(|text| name.contains(&**text))
        };
        runner.run(&self.manifest, &self.files, wanted).await
    }
}
