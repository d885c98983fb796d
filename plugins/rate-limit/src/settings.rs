//! The configuration, checked.
use crate::limit::{By, Grouping, Limit};
use serde::Deserialize;
use std::time::Duration;
use wasmserve_plugin::{Config, Mistakes, Network, Sharing, is_token};

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    limits: Vec<WrittenLimit>,
    #[serde(default)]
    exempt: Vec<String>,
    #[serde(default)]
    unavailable: Unavailable,
    #[serde(default)]
    shared: bool,
    #[serde(default = "one_address")]
    ipv4_prefix: u8,
    #[serde(default = "one_network")]
    ipv6_prefix: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenLimit {
    name: String,
    by: String,
    requests: u64,
    per: String,
    burst: Option<u64>,
    #[serde(default = "whole_site")]
    prefixes: Vec<String>,
}

/// What becomes of requests when no bucket can be had.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Unavailable {
    #[default]
    Refuse,
    Allow,
}

/// What that means.
pub struct Settings {
    /// At least one.
    pub limits: Vec<Limit>,
    pub exempt: Vec<Network>,
    pub unavailable: Unavailable,
    pub sharing: Sharing,
    pub grouping: Grouping,
}

/// The facts that plugin.toml lists.
const FACTS: [&str; 4] = ["user", "subject", "tenant", "plan"];

/// A field of a list that stays readable.
const MOST_LIMITS: usize = 16;

fn one_address() -> u8 {
    32
}

/// What one household is given.
fn one_network() -> u8 {
    64
}

fn whole_site() -> Vec<String> {
    vec!["/".to_owned()]
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it, each with its key.
pub fn read(config: &Config) -> Result<Settings, String> {
    let written: Written = config.read()?;
    let mut mistakes = Mistakes::default();
    if written.limits.is_empty() || written.limits.len() > MOST_LIMITS {
        mistakes.note(
            "limits",
            format_args!("has {}: expected 1 to {MOST_LIMITS}", written.limits.len()),
        );
    }
    for (key, bits, most) in [
        ("ipv4-prefix", written.ipv4_prefix, 32),
        ("ipv6-prefix", written.ipv6_prefix, 128),
    ] {
        if bits == 0 || bits > most {
            mistakes.note(key, format_args!("is {bits}: expected 1 to {most}"));
        }
    }
    let exempt = mistakes.parse_all("exempt", &written.exempt);
    let mut limits: Vec<Limit> = Vec::new();
    for limit in written.limits {
        let name = limit.name.clone();
        if limits.iter().any(|other| other.name == name) {
            mistakes.note_text("limits", &name, "is there twice");
        }
        let read = read_limit(limit, &mut mistakes);
        limits.extend(mistakes.take("limits", &name, read));
    }
    mistakes.check()?;
    Ok(Settings {
        limits,
        exempt,
        unavailable: written.unavailable,
        sharing: if written.shared {
            Sharing::Allowed
        } else {
            Sharing::Derived
        },
        grouping: Grouping {
            ipv4: written.ipv4_prefix,
            ipv6: written.ipv6_prefix,
        },
    })
}

fn read_limit(written: WrittenLimit, mistakes: &mut Mistakes) -> Result<Limit, String> {
    mistakes.check_prefixes("limits", &written.prefixes);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if written.name.is_empty() || !written.name.bytes().all(fits) {
        return Err("is no name: expected letters, digits, `-` and `_`".to_owned());
    }
    let per = humantime::parse_duration(&written.per).unwrap_or(Duration::ZERO);
    if per.is_zero() {
        return Err(format!(
            "is per {:?}: expected a time such as \"10s\", \"1m\" or \"1h\"",
            written.per
        ));
    }
    let capacity = written.burst.unwrap_or(written.requests);
    if written.requests == 0 || capacity == 0 {
        return Err("admits nothing: expected one request or more".to_owned());
    }
    Ok(Limit {
        by: by(&written.by)?,
        name: written.name,
        prefixes: written.prefixes,
        requests: written.requests,
        per: per.as_secs_f64(),
        capacity,
    })
}

/// `client`, `site`, `fact:user`, `header:X-Api-Key`.
fn by(text: &str) -> Result<By, String> {
    match (text, text.split_once(':')) {
        ("client", _) => Ok(By::Client),
        ("site", _) => Ok(By::Site),
        (_, Some(("fact", name))) if FACTS.contains(&name) => Ok(By::Fact(name.to_owned())),
        (_, Some(("fact", _))) => Err(format!("is by {text:?}: known facts are {}", FACTS.join(", "))),
        (_, Some(("header", name))) if is_token(name) => Ok(By::Header(name.to_owned())),
        _ => Err(format!(
            "is by {text:?}: expected \"client\", \"site\", \"fact:NAME\" or \"header:NAME\""
        )),
    }
}
