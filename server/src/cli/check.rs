//! `wasmserve check`: load everything, say what it is, serve nothing.

use super::{Outcome, ServeOptions};
use crate::site::Site;
use anyhow::Context;
use std::process::ExitCode;

/// Loads a site and prints its plugins.
pub fn run(options: &ServeOptions) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().context("cannot start")?;
    let site = runtime.block_on(Site::load(&options.site()))?;
    print!("{}", describe(&site));
    Ok(ExitCode::SUCCESS)
}

fn describe(site: &Site) -> String {
    let mut text = String::new();
    let policies = site.chain.policies();
    if policies.is_empty() {
        text.push_str("no plugins: every file beneath the root is served to everyone\n");
    }
    for policy in policies {
        let imports = if policy.imports.is_empty() {
            "nothing".to_owned()
        } else {
            policy.imports.join(", ")
        };
        text.push_str(&format!(
            "{}\n  file      {}\n  digest    sha256:{}\n  contract  {}\n  imports   {imports}\n",
            policy.name,
            policy.wasm.display(),
            policy.digest,
            policy.contract,
        ));
    }
    text.push_str("all is well\n");
    text
}
