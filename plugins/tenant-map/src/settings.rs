//! The configuration, checked.
use crate::tenant::Tenant;
use serde::Deserialize;
use std::collections::BTreeMap;
use wasmserve_plugin::{Config, HostPattern, Mistakes, path};

/// What stands for the tenant's name in `directory`.
pub const PLACEHOLDER: &str = "{tenant}";

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    by: WrittenBy,
    #[serde(default)]
    hosts: Vec<String>,
    #[serde(default)]
    tenants: BTreeMap<String, String>,
    #[serde(default = "default_root")]
    root: String,
    #[serde(default = "default_directory")]
    directory: String,
    #[serde(default = "not_found")]
    unknown: u16,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
enum WrittenBy {
    Host,
    Path,
}

/// What that means.
pub struct Settings {
    pub by: By,
    pub root: String,
    /// A canonical path with [`PLACEHOLDER`] in it.
    pub directory: String,
    /// The status for what is no tenant's.
    pub unknown: u16,
}

/// What names the tenant.
pub enum By {
    Host {
        /// `*.example.com`: `*` is the tenant.
        hosts: Vec<HostPattern>,
        /// Tenants with hosts of their own.
        names: BTreeMap<String, Tenant>,
    },
    /// The first segment.
    Path,
}

fn default_root() -> String {
    "default".to_owned()
}

fn default_directory() -> String {
    format!("/{PLACEHOLDER}")
}

fn not_found() -> u16 {
    404
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it, each with its key.
pub fn read(config: &Config) -> Result<Settings, String> {
    let written: Written = config.read()?;
    let mut mistakes = Mistakes::default();
    mistakes.check_refusal("unknown", written.unknown);
    let directory = written.directory.strip_suffix('/').unwrap_or(&written.directory);
    mistakes.take("directory", directory, check_directory(directory));
    let by = match written.by {
        WrittenBy::Path => {
            for (key, given) in [
                ("hosts", !written.hosts.is_empty()),
                ("tenants", !written.tenants.is_empty()),
            ] {
                if given {
                    mistakes.note(key, "means nothing with by = \"path\"");
                }
            }
            By::Path
        }
        WrittenBy::Host => {
            if written.hosts.is_empty() && written.tenants.is_empty() {
                mistakes.note("hosts", "is empty, and so is `tenants`: there would be no tenant");
            }
            let hosts: Vec<HostPattern> = mistakes.parse_all("hosts", &written.hosts);
            for host in hosts.iter().filter(|host| matches!(host, HostPattern::Exactly(_))) {
                mistakes.note(
                    "hosts",
                    format_args!("has {host:?}, in which nothing stands for a tenant: see `tenants`"),
                );
            }
            let mut names = BTreeMap::new();
            for (host, tenant) in written.tenants {
                match mistakes.parse("tenants", &host) {
                    Some(HostPattern::Exactly(host)) => {
                        if let Some(tenant) = mistakes.parse("tenants", &tenant) {
                            names.insert(host, tenant);
                        }
                    }
                    Some(HostPattern::Beneath(_)) => mistakes.note_text("tenants", &host, "is a pattern: see `hosts`"),
                    None => {}
                }
            }
            By::Host { hosts, names }
        }
    };
    let directory = directory.to_owned();
    mistakes.check()?;
    Ok(Settings {
        by,
        root: written.root,
        directory,
        unknown: written.unknown,
    })
}

fn check_directory(directory: &str) -> Result<(), &'static str> {
    path::check(directory)?;
    match directory.matches(PLACEHOLDER).count() {
        1 => Ok(()),
        _ => Err("has to hold {tenant} once, which stands for the tenant's name"),
    }
}
