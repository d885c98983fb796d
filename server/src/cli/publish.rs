//! `wasmserve publish`: a plugin becomes one file, with its manifest in it, and an artifact of a registry.
//!
//! In the order of events: the built artefact of a folder is read, made a component if it is a core module, and gets the
//! folder's manifest embedded; that is written to a file, to be signed or put on a web server, or sent to a registry.

use super::Outcome;
use crate::config::{Manifest, RegistrySettings, manifest::MANIFEST_FILE};
use anyhow::{Context, anyhow, bail, ensure};
use clap::Args;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};
use wasmserve_policy::describe;
use wasmserve_registry::{Digest, Reference, embedded, oci, signature};

#[derive(Debug, Args)]
pub struct PublishOptions {
    /// Folder with a plugin.toml whose plugin is built, or a .wasm file as it is
    #[arg(value_name = "PLUGIN")]
    plugin: PathBuf,

    /// Where to: oci://REGISTRY/REPOSITORY:TAG, or a FILE.wasm to sign or to put on a web server
    #[arg(value_name = "TARGET")]
    target: String,

    /// Signature of the .wasm file, as `minisign -S` writes it beside
    ///
    /// It travels with the artifact. What is signed has to be what is sent: write a FILE.wasm first, sign it, and publish
    /// that file.
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,

    /// File whose [server.registry] says how registries are asked
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A plugin, ready to travel.
struct Parcel {
    bytes: Vec<u8>,
    said: oci::Description,
}

/// Publishes a plugin and prints what pins it.
pub fn run(options: &PublishOptions) -> Outcome {
    let mut parcel = Parcel::of(&options.plugin)?;
    let remote = Reference::is_remote(&options.target);
    if let Some(file) = &options.signature {
        ensure!(
            remote,
            "--signature is for registries: on a web server it lies beside the file"
        );
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        ensure!(
            text.len() as u64 <= signature::LONGEST,
            "{} is no signature: it is too long",
            file.display()
        );
        parcel.said.signature = Some(text);
    }
    if remote {
        send(options, parcel)?;
    } else {
        let file = Path::new(&options.target);
        ensure!(
            file.extension().is_some_and(|extension| extension == "wasm"),
            "{} is neither a reference (oci://...) nor a file that ends in .wasm",
            file.display()
        );
        fs::write(file, &parcel.bytes).with_context(|| format!("cannot write {}", file.display()))?;
        println!("{} {}", file.display(), Digest::of(&parcel.bytes));
    }
    Ok(ExitCode::SUCCESS)
}

fn send(options: &PublishOptions, parcel: Parcel) -> Result<(), anyhow::Error> {
    let reference = options
        .target
        .parse::<Reference>()
        .map_err(|problem| anyhow!("{problem}"))?;
    let settings = match &options.config {
        Some(file) => RegistrySettings::of_file(file).context("the configuration cannot be used")?,
        None => RegistrySettings::default(),
    };
    let (client, keyring) = settings.client().map_err(|problem| anyhow!("{problem}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("cannot start")?;
    let sent = wasmserve_registry::publish(
        &client,
        &keyring,
        &reference,
        parcel.bytes.into(),
        &parcel.said,
        settings.bounds(),
    );
    let pinned = runtime.block_on(sent);
    runtime.shutdown_background();
    println!(
        "{}",
        pinned.with_context(|| format!("{reference} cannot be published"))?
    );
    Ok(())
}

// === impl Parcel ===

impl Parcel {
    fn of(plugin: &Path) -> Result<Self, anyhow::Error> {
        if plugin.is_dir() {
            return Self::of_folder(plugin);
        }
        let bytes = fs::read(plugin).with_context(|| format!("cannot read {}", plugin.display()))?;
        let described = describe(bytes.clone()).map_err(|problem| anyhow!("{} {problem}", plugin.display()))?;
        let text = embedded::manifest(&bytes).map_err(|problem| anyhow!("{} {problem}", plugin.display()))?;
        let manifest = text.map(|text| Manifest::parse(plugin, text.to_owned())).transpose()?;
        let mut said = description(manifest.as_ref());
        (said.imports, said.exports) = (described.imports, described.exports);
        // As it is: it may have been signed.
        Ok(Self { bytes, said })
    }

    fn of_folder(folder: &Path) -> Result<Self, anyhow::Error> {
        let manifest = Manifest::read(folder)?;
        if let Some(reason) = manifest.unbuilt() {
            bail!(
                "{} {reason}: run wasmserve build {}",
                manifest.artefact.display(),
                folder.display()
            );
        }
        let artefact = &manifest.artefact;
        let told = |problem: String| anyhow!("{} {problem}", artefact.display());
        let bytes = fs::read(artefact).with_context(|| format!("cannot read {}", artefact.display()))?;
        let described = describe(bytes).map_err(told)?;
        let bytes = embedded::embed(&described.component, &travelling(&manifest.file)?).map_err(told)?;
        let mut said = description(Some(&manifest));
        (said.imports, said.exports) = (described.imports, described.exports);
        Ok(Self { bytes, said })
    }
}

/// The manifest without what is about this machine alone: how it is built of which files.
fn travelling(file: &Path) -> Result<String, anyhow::Error> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let mut table: toml::Table = text.parse().with_context(|| format!("cannot read {MANIFEST_FILE}"))?;
    table.remove("build");
    Ok(table.to_string())
}

fn description(manifest: Option<&Manifest>) -> oci::Description {
    oci::Description {
        title: manifest.map(|manifest| manifest.name.clone()),
        version: manifest.map(|manifest| manifest.version.clone()),
        description: manifest.and_then(|manifest| manifest.description.clone()),
        ..oci::Description::default()
    }
}
