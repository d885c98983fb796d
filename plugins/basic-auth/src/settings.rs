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
    for (name, text) in written.users {
        let hash = check_name(&name)
            .map_err(str::to_owned)
            .and_then(|()| PasswordHash::parse(&text));
        if let Some(hash) = mistakes.take("users", &name, hash) {
            users.insert(name, hash);
        }
    }
    mistakes.check()?;
    Ok(Settings {
        prefixes: written.prefixes,
        users,
        realm: written.realm,
    })
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
