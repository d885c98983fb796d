//! `wasmserve check`: load everything, say what it is, serve nothing.

use super::{Outcome, ServeOptions};
use crate::{config::grants, site::Site};
use anyhow::Context;
use bytesize::ByteSize;
use humantime::format_duration;
use std::{borrow::Borrow, process::ExitCode};
use wasmserve_policy::{Configured, Limits, PolicyInfo};

/// Loads a site and prints its plugins.
pub fn run(options: &ServeOptions) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let site = runtime.block_on(Site::load(options.site()))?;
    print!("{}", describe(&site));
    Ok(ExitCode::SUCCESS)
}

fn describe(site: &Site) -> String {
    let policies = site.chain.policies();
    if policies.is_empty() {
        return "no plugins: every file beneath the root is served to everyone\n".to_owned();
    }
    let described = policies.iter().enumerate();
    let policies = described.map(|(index, policy)| format!("{}. {}\n{}", index + 1, policy.name, properties(policy)));
    let observers = site.observers.infos();
    let observers = observers
        .iter()
        .map(|observer| format!("observer {}\n{}", observer.name, properties(observer)));
    policies.chain(observers).collect()
}

/// One line each.
fn properties(policy: &PolicyInfo) -> String {
    let properties = [
        ("file", policy.wasm.display().to_string()),
        ("digest", format!("sha256:{}", policy.digest)),
        ("contract", policy.contract.clone()),
        ("imports", listed(&policy.imports)),
        ("grants", listed(&grants::describe(&policy.grants))),
        ("limits", limits(&policy.limits)),
        ("configured", configured(&policy.configured)),
    ];
    properties
        .iter()
        .map(|(name, value)| format!("   {name:<11}{value}\n"))
        .collect()
}

fn limits(limits: &Limits) -> String {
    format!(
        "running {}, wall {}, configure {}, memory {}, answers {}, {} at once",
        format_duration(limits.running),
        format_duration(limits.wall),
        format_duration(limits.configure),
        ByteSize(limits.memory as u64),
        ByteSize(limits.answers as u64),
        limits.concurrent,
    )
}

fn configured(configured: &Configured) -> String {
    match configured {
        Configured::Once => "once, every call starts from its memory".to_owned(),
        Configured::EachInstance => "once, and again after a failure".to_owned(),
        Configured::EachCall { reason } => format!("for each call: {reason}"),
    }
}

fn listed(names: &[impl Borrow<str>]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
