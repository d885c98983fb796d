//! `wasmserve check`: load everything, say what it is, serve nothing.

use super::{Outcome, ServeOptions};
use crate::site::Site;
use anyhow::Context;
use bytesize::ByteSize;
use humantime::format_duration;
use std::{borrow::Borrow, process::ExitCode};
use wasmserve_policy::{CodeFrom, Configured, Grants, Limits, PolicyInfo};

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
    described
        .map(|(index, policy)| format!("{}. {}\n{}", index + 1, policy.name, properties(policy)))
        .collect()
}

/// One line each.
fn properties(policy: &PolicyInfo) -> String {
    let properties = [
        ("file", policy.wasm.display().to_string()),
        ("digest", format!("sha256:{}", policy.digest)),
        ("contract", policy.contract.clone()),
        ("imports", listed(&policy.imports)),
        ("grants", listed(&granted(&policy.grants))),
        ("limits", limits(&policy.limits)),
        ("configured", configured(&policy.configured)),
        ("code", code(policy.code).to_owned()),
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
        Configured::Ahead { reason } => format!("ahead, an instance for each call: {reason}"),
        Configured::EachCall { reason } => format!("for each call: {reason}"),
    }
}

fn code(from: CodeFrom) -> &'static str {
    match from {
        CodeFrom::Cache => "from the cache",
        CodeFrom::Compiler => "compiled",
    }
}

fn granted(grants: &Grants) -> Vec<&'static str> {
    let all = [("logging", grants.logging), ("sharing", grants.sharing)];
    all.into_iter()
        .filter_map(|(name, granted)| granted.then_some(name))
        .collect()
}

fn listed(names: &[impl Borrow<str>]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
