//! `wasmserve check`: load everything, say what it is, serve nothing.

use super::{Outcome, ServeOptions, operators};
use crate::{
    config::{Configuration, ServerSettings, grants, print::print},
    observe::{log, traces},
    site::Site,
    sites::Sites,
};
use anyhow::Context;
use bytesize::ByteSize;
use clap::Args;
use humantime::format_duration;
use std::{
    borrow::Borrow,
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};
use wasmserve_policy::{Chain, CodeFrom, Configured, Limits, PolicyInfo, ShadowInfo};
use wasmserve_shared::Redis;

#[derive(Debug, Args)]
pub struct CheckOptions {
    /// Print the configuration with all that it inherits and every default, as a file that can be read again
    ///
    /// The configurations of plugins are in it, with any secrets that are in them.
    #[arg(long)]
    print_config: bool,

    #[command(flatten)]
    serve: ServeOptions,
}

/// Sites beyond are described in one line each.
const IN_FULL: usize = 20;

/// Sites beyond are counted only.
const IN_ONE_LINE: usize = 200;

/// What is told of in lines of the log: why a store does not answer.
const LOG: &str = "off,wasmserve_stores=warn";

/// Loads all sites and prints what they are.
pub fn run(options: &CheckOptions) -> Outcome {
    let _log = log::start(&ServerSettings {
        log: LOG.to_owned(),
        ..ServerSettings::default()
    });
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let (configuration, sites) = runtime.block_on(options.serve.load())?;
    let stores = runtime.block_on(stores(&sites));
    // What else serving reads.
    configuration.tls(None, &Arc::default())?;
    traces::check(configuration.server.operators.traces.as_ref())?;
    operators::check(&configuration.server.operators)?;
    let text = match (options.print_config, options.serve.config()) {
        (true, _) => print(&configuration),
        (false, Some(_)) => {
            let redises = runtime.block_on(redises(&configuration));
            all(&sites) + &runtime.block_on(tenants(&sites))? + &redises
        }
        (false, None) => sites.iter().map(|site| policies(site)).collect(),
    };
    let mut output = io::stdout().lock();
    let written = output.write_all(text.as_bytes()).and_then(|()| output.flush());
    written.context("cannot write to standard output")?;
    stores?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the stores that roots are in for anything at all.
///
/// # Errors
/// Those that do not answer; the log says why.
async fn stores(sites: &Sites) -> Result<(), anyhow::Error> {
    let mut silent = Vec::new();
    for site in sites.iter() {
        for (root, location, answer) in site.files.ask_stores().await {
            if let Err(error) = answer {
                silent.push(format!(
                    "site {}, root {root}: {location} cannot be listed: {error}",
                    site.name
                ));
            }
        }
    }
    match silent.is_empty() {
        true => Ok(()),
        false => Err(anyhow::anyhow!(silent.join("\n"))),
    }
}

/// Every site: the first in full, then lines, then a number.
fn all(sites: &Sites) -> String {
    let mut text = String::new();
    for (index, site) in sites.iter().enumerate().take(IN_ONE_LINE) {
        if index == IN_FULL {
            text.push_str("The sites that follow in one line each: name, hosts, policies.\n");
        }
        text += &match index < IN_FULL {
            true => format!("{}{}\n", heading(site), policies(site)),
            false => line(site),
        };
    }
    let rest = sites.len().saturating_sub(IN_ONE_LINE);
    if rest > 0 {
        text += &format!("and {rest} more (--print-config prints them all)\n");
    }
    text + &format!("{} sites can be served\n", sites.len())
}

/// How many tenants there are, what is the same for all of them, and what is wrong with which. A tenant's mistake is none
/// of the operator's: the exit status does not tell of it.
async fn tenants(sites: &Sites) -> Result<String, anyhow::Error> {
    let Some(tenants) = sites.tenants() else {
        return Ok(String::new());
    };
    let directory = tenants.rules().directory.display();
    let examined = tenants.examine().await;
    let (count, wrong) = examined.with_context(|| format!("cannot read {directory}"))?;
    let mut text = format!(
        "{count} tenants in {directory}, {} of them cannot be served\n",
        wrong.len()
    );
    for (host, error) in &wrong {
        for line in error.lines() {
            text += &format!("tenant {host}: {line}\n");
        }
    }
    let ring = tenants.ring().map(chain);
    Ok(text + "the operator's policies for each of them:\n" + &ring.unwrap_or_else(|| "none\n".to_owned()))
}

/// Whether each Redis that is named can be used. One that cannot is no mistake of the configuration: servers start without
/// it, and policies are told.
async fn redises(configuration: &Configuration) -> String {
    let mut text = String::new();
    for options in configuration.redises() {
        let endpoint = &options.endpoint;
        text += &match Redis::probe(options.clone()).await {
            Ok(version) => format!("{endpoint} can be used: {version}\n"),
            Err(problem) => format!("{endpoint} cannot be used: {problem}\n"),
        };
    }
    text
}

fn heading(site: &Site) -> String {
    let roots = site.spec.files.roots.iter();
    let roots: Vec<String> = roots.map(|(name, root)| format!("{name} {}", root.location)).collect();
    format!(
        "site {}\n   {:<11}{}\n   {:<11}{}\n",
        site.name,
        "hosts",
        hosts(site),
        "roots",
        roots.join(", ")
    )
}

fn line(site: &Site) -> String {
    let policies = site.chain.policies();
    let names: Vec<&str> = policies.iter().map(|policy| &*policy.name).collect();
    format!("{}: {}: {}\n", site.name, hosts(site), listed(&names))
}

fn hosts(site: &Site) -> String {
    let hosts: Vec<String> = site.spec.hosts.iter().map(ToString::to_string).collect();
    hosts.join(", ")
}

fn policies(site: &Site) -> String {
    chain(&site.chain)
}

fn chain(chain: &Chain) -> String {
    let policies = chain.policies();
    if policies.is_empty() {
        return "no plugins: every file beneath the root is served to everyone\n".to_owned();
    }
    let described = policies.iter().enumerate();
    let policies = described.map(|(index, policy)| format!("{}. {}\n{}", index + 1, policy.name, properties(policy)));
    let observers = chain.observers().infos();
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
        ("code", code(policy.code).to_owned()),
    ];
    let reference = policy.reference.iter().map(|reference| ("from", reference.clone()));
    let shadow = policy.shadow.iter().map(|shadow| ("shadow", in_words(shadow)));
    properties
        .into_iter()
        .chain(reference)
        .chain(shadow)
        .map(|(name, value)| format!("   {name:<11}{value}\n"))
        .collect()
}

fn in_words(shadow: &ShadowInfo) -> String {
    let (file, digest) = (shadow.wasm.display(), &shadow.digest);
    let share = match shadow.one_in {
        1 => "every request".to_owned(),
        count => format!("one of {count} requests"),
    };
    format!("{file} (sha256:{digest}), {share}, {}", limits(&shadow.limits))
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
        Configured::EachInstance => "once, and again after a failure".to_owned(),
        Configured::EachCall { reason } => format!("for each call: {reason}"),
    }
}

fn code(from: CodeFrom) -> &'static str {
    match from {
        CodeFrom::Cache => "from the cache",
        CodeFrom::Compiler => "compiled",
    }
}

fn listed(names: &[impl Borrow<str>]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
