//! `wasmserve fetch`: the one command that asks registries for plugins.
//!
//! With references: each is fetched and put into the local store, and what pins it is printed as an entry of a chain, with
//! all that it asks for. Without: whatever the configuration names and the store lacks is fetched; nothing is printed but
//! what is there then.

use super::{Outcome, ServeOptions};
use crate::config::{
    Manifest, RegistrySettings,
    asked::{self, Allowed, Asked},
    limits::GivenLimits,
    remote::Purpose,
    tenants::SITE_FILE,
};
use crate::sites::Tenants;
use anyhow::{Context, anyhow, ensure};
use clap::Args;
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};
use wasmserve_policy::Limits;
use wasmserve_registry::{Digest, Fetched, Pinned, Reference, embedded};

#[derive(Debug, Args)]
pub struct FetchOptions {
    /// What to fetch, pinned or not: https://HOST/PATH.wasm, or oci://REGISTRY/REPOSITORY:TAG; may be several
    ///
    /// Printed for each: an entry of a chain that names it by its digest, and what it asks for. Without any, everything is
    /// fetched that the configuration names and the local store lacks.
    #[arg(value_name = "REFERENCE")]
    references: Vec<Reference>,

    #[command(flatten)]
    serve: ServeOptions,
}

/// Fetches what was asked for.
pub fn run(options: &FetchOptions) -> Outcome {
    let text = match options.references.is_empty() {
        true => fetch_configured(&options.serve)?,
        false => {
            let settings = options.serve.registry()?;
            let entries = options.references.iter().map(|reference| {
                let fetched = fetch_named(&settings, reference);
                fetched.with_context(|| reference.to_string())
            });
            entries.collect::<Result<Vec<_>, _>>()?.join("\n")
        }
    };
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// Everything that a configuration names, tenants' plugins too.
fn fetch_configured(serve: &ServeOptions) -> Result<String, anyhow::Error> {
    let configuration = serve.configuration_for(Purpose::Fetching)?;
    let references = configuration.references();
    let mut text: String = references.iter().map(|reference| format!("{reference}\n")).collect();
    let _ = writeln!(
        text,
        "{} plugins of the operator's are in the local store",
        references.len()
    );
    let Some(rules) = &configuration.tenants else {
        return Ok(text);
    };
    let directory = rules.directory.display();
    let (count, wrong) = Tenants::resolve_all(rules).with_context(|| format!("cannot read {directory}"))?;
    for (host, error) in &wrong {
        for line in error.lines() {
            let _ = writeln!(text, "tenant {host}: {line}");
        }
    }
    let _ = writeln!(
        text,
        "{count} tenants in {directory} were looked at, {} of them have a {SITE_FILE} or plugins with errors",
        wrong.len()
    );
    Ok(text)
}

/// One plugin that somebody wants to know.
fn fetch_named(settings: &RegistrySettings, reference: &Reference) -> Result<String, anyhow::Error> {
    let said = |problem: String| anyhow!("{problem}");
    let store = settings.open_store().map_err(said)?;
    let fetched = settings.fetch(reference, &settings.public_keys).map_err(said)?;
    let manifest = manifest(&fetched, reference)?;
    settings.keep(&store, &fetched, &settings.public_keys)?;
    let pinned = Pinned {
        reference: reference.without_digest(),
        digest: fetched.digest,
    };
    Ok(entry(&pinned, &fetched, manifest.as_ref()))
}

fn manifest(fetched: &Fetched, reference: &Reference) -> Result<Option<Manifest>, anyhow::Error> {
    let text = embedded::manifest(&fetched.plugin).map_err(|problem| anyhow!("what is there {problem}"))?;
    let named = reference.to_string();
    let parsed = text.map(|text| Manifest::parse(Path::new(&named), text.to_owned()));
    Ok(parsed.transpose()?)
}

/// What a chain has to say to run it.
fn entry(pinned: &Pinned, fetched: &Fetched, manifest: Option<&Manifest>) -> String {
    let mut text = String::new();
    if let Some(manifest) = manifest {
        let description = manifest.description.as_deref().unwrap_or("no description");
        // One line, whatever it says.
        let description: String = description
            .chars()
            .filter(|character| !character.is_control())
            .collect();
        let version: String = manifest
            .version
            .chars()
            .filter(|character| !character.is_control())
            .collect();
        let _ = writeln!(text, "# {} {version}: {description}", manifest.name);
    }
    let signed = match fetched.signature.is_some() {
        true => "it has a signature",
        false => "it has no signature",
    };
    let (plugin, bytes) = (Digest::of(&fetched.plugin), fetched.plugin.len());
    let _ = writeln!(text, "# {bytes} bytes, {plugin}; {signed}");
    let _ = writeln!(text, "[[policy]]\nplugin = \"{pinned}\"");
    let asked = manifest.map(|manifest| Asked {
        limits: manifest.limits.clone(),
        establishes: manifest.establishes.clone(),
        reads: manifest.reads.clone(),
    });
    let nothing = Allowed {
        limits: &GivenLimits::default(),
        otherwise: &Limits::default(),
        establishes: &BTreeSet::new(),
        reads: &BTreeSet::new(),
    };
    if let Err(missing) = asked::settle(asked.as_ref(), nothing) {
        for key in missing.split("; ") {
            let _ = writeln!(text, "{key}");
        }
    }
    text
}

impl ServeOptions {
    /// `[server.registry]` of the file, if there is one.
    pub(super) fn registry(&self) -> Result<RegistrySettings, anyhow::Error> {
        let Some(file) = self.config() else {
            return Ok(RegistrySettings::default());
        };
        ensure!(file.exists(), "there is no {}", file.display());
        RegistrySettings::of_file(file).context("the configuration cannot be used")
    }
}
