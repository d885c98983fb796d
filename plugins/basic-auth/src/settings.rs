//! The configuration, checked.
use crate::hash::PasswordHash;
use serde::Deserialize;
use std::collections::BTreeMap;
use wasmserve_plugin::{Config, path};

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    prefixes: Vec<String>,
    #[serde(default)]
    users: BTreeMap<String, String>,
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
    let mut errors = Vec::new();
    if written.prefixes.is_empty() {
        errors.push("`prefixes` is empty: nothing would be guarded".to_owned());
    }
    for prefix in &written.prefixes {
        if let Err(problem) = check_prefix(prefix) {
            errors.push(format!("`prefixes`: {prefix:?} {problem}"));
        }
    }
    if written.realm.is_empty() || !written.realm.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        errors.push(format!("`realm` is {:?}: expected printable ASCII", written.realm));
    }
    let mut users = BTreeMap::new();
    for (name, text) in written.users {
        let hash = check_name(&name)
            .map_err(str::to_owned)
            .and_then(|()| PasswordHash::parse(&text));
        match hash {
            Ok(hash) => drop(users.insert(name, hash)),
            Err(problem) => errors.push(format!("`users`: {name:?} {problem}")),
        }
    }
    if errors.is_empty() {
        return Ok(Settings {
            prefixes: written.prefixes,
            users,
            realm: written.realm,
        });
    }
    Err(errors.join("; "))
}

/// A prefix that cannot match would leave open what it was meant to guard.
fn check_prefix(prefix: &str) -> Result<(), &'static str> {
    path::check(prefix)?;
    if prefix.contains('*') {
        return Err("is not a pattern: everything beneath a prefix is guarded, so leave out `*`");
    }
    let escapes = |at: usize| {
        prefix
            .as_bytes()
            .get(at + 1..at + 3)
            .is_some_and(|two| two.iter().all(u8::is_ascii_hexdigit))
    };
    if prefix.bytes().enumerate().any(|(at, byte)| byte == b'%' && escapes(at)) {
        return Err("is percent-encoded: prefixes are compared with decoded paths");
    }
    Ok(())
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
