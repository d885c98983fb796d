//! What the manifest of a fetched plugin asks for, held against what the operator says.
//!
//! A manifest of the operator's own folder is the operator's word. One that comes with a plugin from elsewhere is a wish:
//! it can lower what a plugin gets, never widen it. What it asks for beyond the defaults is an error until the chain says
//! the same, and the error says what to write.

use super::{limits::GivenLimits, units::exact_size};
use humantime::format_duration;
use std::{collections::BTreeSet, fmt::Write};
use wasmserve_policy::Limits;

/// What a plugin may do, by its own word or by somebody's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    pub limits: Limits,
    pub establishes: BTreeSet<String>,
    pub reads: BTreeSet<String>,
}

/// What the operator says of a plugin: the most that it may have.
#[derive(Clone, Copy)]
pub struct Allowed<'a> {
    pub limits: &'a GivenLimits,
    /// What holds of the limits that are not given.
    pub otherwise: &'a Limits,
    pub establishes: &'a BTreeSet<String>,
    pub reads: &'a BTreeSet<String>,
}

/// What a plugin gets. `asked`: what its manifest says, if it has one; what it has not asked for is the operator's word.
///
/// # Errors
/// What has to be written for all that is asked for, as keys of the chain's entry.
pub fn settle(asked: Option<&Asked>, allowed: Allowed<'_>) -> Result<Asked, String> {
    let most = allowed.limits.over(allowed.otherwise);
    let Some(asked) = asked else {
        return Ok(Asked {
            limits: most,
            establishes: allowed.establishes.clone(),
            reads: allowed.reads.clone(),
        });
    };
    let limits = allowed.limits.over(&asked.limits);
    let mut missing = String::new();
    let beyond = beyond(&limits, &most);
    if !beyond.is_empty() {
        let _ = write!(missing, "limits = {{ {} }}", beyond.join(", "));
    }
    for (key, asked, allowed) in [
        ("establishes", &asked.establishes, allowed.establishes),
        ("reads", &asked.reads, allowed.reads),
    ] {
        if !asked.is_subset(allowed) {
            let separator = if missing.is_empty() { "" } else { "; " };
            let names: Vec<&String> = asked.union(allowed).collect();
            let _ = write!(missing, "{separator}{key} = {names:?}");
        }
    }
    match missing.is_empty() {
        true => Ok(Asked {
            limits,
            ..asked.clone()
        }),
        false => Err(missing),
    }
}

/// Limits that are higher than the others, as keys of a table.
fn beyond(limits: &Limits, most: &Limits) -> Vec<String> {
    let times = [
        ("running", limits.running, most.running),
        ("wall", limits.wall, most.wall),
        ("configure", limits.configure, most.configure),
    ];
    let times = times.into_iter().filter(|(_, asked, most)| asked > most);
    let sizes = [
        ("memory", limits.memory, most.memory),
        ("answers", limits.answers, most.answers),
    ];
    let sizes = sizes.into_iter().filter(|(_, asked, most)| asked > most);
    let mut beyond: Vec<String> = times
        .map(|(key, asked, _)| format!("{key} = \"{}\"", format_duration(asked)))
        .chain(sizes.map(|(key, asked, _)| format!("{key} = \"{}\"", exact_size(asked as u64))))
        .collect();
    if limits.concurrent > most.concurrent {
        beyond.push(format!("concurrent = {}", limits.concurrent));
    }
    beyond
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn facts(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_manifest_widens_nothing() {
        let limits = Limits {
            running: Duration::from_secs(1),
            memory: 64 << 20,
            concurrent: 2,
            ..Limits::default()
        };
        let asked = Asked {
            limits,
            establishes: facts(&["user"]),
            reads: facts(&["tls.subject"]),
        };
        let none = facts(&[]);
        let (nothing, defaults) = (GivenLimits::default(), Limits::default());
        let allowed = Allowed {
            limits: &nothing,
            otherwise: &defaults,
            establishes: &none,
            reads: &none,
        };
        let missing = settle(Some(&asked), allowed).unwrap_err();
        let expected =
            "limits = { running = \"1s\", memory = \"64MiB\" }; establishes = [\"user\"]; reads = [\"tls.subject\"]";
        assert_eq!(missing, expected);
        // What is asked for and allowed is had; what is less than allowed is less.
        let (wide, more) = (asked.limits.clone(), facts(&["user", "more"]));
        let allowed = Allowed {
            otherwise: &wide,
            establishes: &more,
            reads: &asked.reads,
            ..allowed
        };
        assert_eq!(settle(Some(&asked), allowed), Ok(asked.clone()));
        // Without a manifest the operator's word is all there is.
        let own = settle(None, allowed).unwrap();
        assert_eq!((own.limits, own.establishes), (wide.clone(), more.clone()));
    }
}
