//! `wasmserve check`: load everything, say what it is, serve nothing.

use super::{Outcome, ServeOptions};
use crate::site::Site;
use anyhow::Context;
use bytesize::ByteSize;
use humantime::format_duration;
use std::{borrow::Borrow, process::ExitCode};
use wasmserve_policy::{Grants, Limits};

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
    let mut text = String::new();
    for (index, policy) in policies.iter().enumerate() {
        let Limits {
            running,
            wall,
            configure,
            memory,
            answers,
            concurrent,
        } = policy.limits;
        let (running, wall, configure) = (
            format_duration(running),
            format_duration(wall),
            format_duration(configure),
        );
        let (memory, answers) = (ByteSize(memory as u64), ByteSize(answers as u64));
        text.push_str(&format!(
            "{}. {}\n   file      {}\n   digest    sha256:{}\n   contract  {}\n   imports   {}\n   grants    {}\n   \
             limits    running {running}, wall {wall}, configure {configure}, memory {memory}, answers {answers}, \
             {concurrent} at once\n",
            index + 1,
            policy.name,
            policy.wasm.display(),
            policy.digest,
            policy.contract,
            listed(&policy.imports),
            listed(&granted(&policy.grants)),
        ));
    }
    text
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
