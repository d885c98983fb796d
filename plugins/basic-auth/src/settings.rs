//! The configuration, checked.
use crate::hash::PasswordHash;
use serde::Deserialize;
use std::collections::BTreeMap;
use wasmserve_plugin::{Config, Mistakes};

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    prefixes: Vec<String>,
    #[serde(default)]
    users: BTreeMap<String, String>,
    htpasswd: Option<String>,
    #[serde(default = "default_realm")]
    realm: String,
}

/// What that means.
pub struct Settings {
    /// At least one.
    pub prefixes: Vec<String>,
    pub users: BTreeMap<String, PasswordHash>,
    pub realm: String,
}

fn default_realm() -> String {
    "Restricted".to_owned()
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it, each with its key.
pub fn read(config: &Config) -> Result<Settings, String> {
    let written: Written = config.read()?;
    let mut mistakes = Mistakes::default();
    mistakes.check_prefixes("prefixes", &written.prefixes);
    if written.realm.is_empty() || !written.realm.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        mistakes.note(
            "realm",
            format_args!("is {:?}: expected printable ASCII", written.realm),
        );
    }
    let mut users = BTreeMap::new();
    for (name, text) in &written.users {
        match user(name, text) {
            Ok(hash) => drop(users.insert(name.clone(), hash)),
            Err(problem) => mistakes.note_text("users", name, problem),
        }
    }
    for (number, line) in written.htpasswd.iter().flat_map(|text| text.lines()).enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match htpasswd_line(line) {
            Ok((name, _)) if users.contains_key(&name) => {
                mistakes.note("htpasswd", format_args!("line {}: {name:?} is there twice", number + 1));
            }
            Ok((name, hash)) => drop(users.insert(name, hash)),
            Err(problem) => mistakes.note("htpasswd", format_args!("line {}: {problem}", number + 1)),
        }
    }
    mistakes.check()?;
    Ok(Settings {
        prefixes: written.prefixes,
        users,
        realm: written.realm,
    })
}

fn user(name: &str, hash: &str) -> Result<PasswordHash, String> {
    check_name(name)?;
    PasswordHash::parse(hash)
}

/// A line of a password file: a name, a colon and a hash. What follows another colon is left out, as other servers do.
fn htpasswd_line(line: &str) -> Result<(String, PasswordHash), String> {
    let (name, rest) = line.split_once(':').ok_or("has no colon between a name and a hash")?;
    let hash = rest.split(':').next().unwrap_or_default().trim_end();
    let hash = user(name, hash).map_err(|problem| format!("{name:?} {problem}"))?;
    Ok((name.to_owned(), hash))
}

/// RFC 7617, section 2: a name holds no colon and no control character.
fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("is not a name");
    }
    if name.chars().any(|character| character == ':' || character.is_control()) {
        return Err("has a colon or a control character, which no client can send");
    }
    Ok(())
}
