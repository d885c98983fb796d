//! The configuration, checked.
use crate::key::{JwkSet, Key, WrittenKey};
use serde::Deserialize;
use std::collections::BTreeMap;
use wasmserve_plugin::{Config, Mistakes, is_token};

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    prefixes: Vec<String>,
    #[serde(default = "default_realm")]
    realm: String,
    #[serde(default)]
    keys: Vec<WrittenKey>,
    jwks: Option<String>,
    issuer: Option<String>,
    #[serde(default)]
    audience: Vec<String>,
    #[serde(default = "default_leeway")]
    leeway: u64,
    #[serde(default)]
    expiry: Expiry,
    cookie: Option<String>,
    query: Option<String>,
    #[serde(default = "default_claims")]
    claims: BTreeMap<String, String>,
    #[serde(default)]
    require: BTreeMap<String, String>,
}

/// Whether a token has to say when it expires.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Expiry {
    #[default]
    Required,
    Optional,
}

/// What that means.
pub struct Settings {
    pub prefixes: Vec<String>,
    pub realm: String,
    /// At least one.
    pub keys: Vec<Key>,
    pub issuer: Option<String>,
    /// One of these has to be meant; none: any may be.
    pub audience: Vec<String>,
    /// Seconds.
    pub leeway: u64,
    pub expiry: Expiry,
    pub cookie: Option<String>,
    pub query: Option<String>,
    /// Claims and the facts that they become.
    pub claims: BTreeMap<String, String>,
    /// Claims and what they have to hold.
    pub require: BTreeMap<String, String>,
}

/// The facts that plugin.toml lists.
const FACTS: [&str; 8] = ["user", "email", "groups", "plan", "roles", "scope", "subject", "tenant"];

/// A day of leeway is a mistake, most likely in the unit.
const MOST_LEEWAY: u64 = 3600;

fn default_realm() -> String {
    "Restricted".to_owned()
}

fn default_leeway() -> u64 {
    60
}

fn default_claims() -> BTreeMap<String, String> {
    BTreeMap::from([("sub".to_owned(), "user".to_owned())])
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it, each with its key and without secrets.
pub fn read(config: &Config) -> Result<Settings, String> {
    let written: Written = config.read()?;
    let mut mistakes = Mistakes::default();
    mistakes.check_prefixes("prefixes", &written.prefixes);
    // A quoted-string (RFC 9110, section 5.6.4) without anything to escape.
    let plain = |byte: u8| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte);
    if written.realm.is_empty() || !written.realm.bytes().all(plain) {
        mistakes.note(
            "realm",
            format_args!("is {:?}: expected printable ASCII without quotes", written.realm),
        );
    }
    if written.leeway > MOST_LEEWAY {
        mistakes.note(
            "leeway",
            format_args!("is {} s: expected at most {MOST_LEEWAY}", written.leeway),
        );
    }
    for fact in written.claims.values().filter(|fact| !FACTS.contains(&fact.as_str())) {
        mistakes.note_text(
            "claims",
            fact,
            format_args!("is no fact of this plugin: known are {}", FACTS.join(", ")),
        );
    }
    for (key, name) in [("cookie", &written.cookie), ("query", &written.query)] {
        if name.as_ref().is_some_and(String::is_empty) {
            mistakes.note(key, "is empty");
        }
    }
    if written
        .cookie
        .as_ref()
        .is_some_and(|name| !name.is_empty() && !is_token(name))
    {
        mistakes.note("cookie", "is no name of a cookie");
    }
    let mut facts: Vec<&str> = written.claims.values().map(String::as_str).collect();
    facts.sort_unstable();
    if let Some(pair) = facts.windows(2).find(|pair| pair[0] == pair[1]) {
        mistakes.note_text("claims", pair[0], "is told by two claims: which one would count?");
    }
    let mut keys = Vec::new();
    for (index, key) in written.keys.into_iter().enumerate() {
        match Key::written(key) {
            Ok(key) => keys.push(key),
            Err(problem) => mistakes.note("keys", format_args!("number {}: {problem}", index + 1)),
        }
    }
    if let Some(set) = &written.jwks {
        match published(set) {
            Ok(published) => keys.extend(published),
            Err(problem) => mistakes.note("jwks", problem),
        }
    } else if keys.is_empty() {
        mistakes.note("keys", "is empty, and there is no `jwks`: no token could be valid");
    }
    mistakes.check()?;
    Ok(Settings {
        prefixes: written.prefixes,
        realm: written.realm,
        keys,
        issuer: written.issuer,
        audience: written.audience,
        leeway: written.leeway,
        expiry: written.expiry,
        cookie: written.cookie,
        query: written.query,
        claims: written.claims,
        require: written.require,
    })
}

/// The keys of a set that can be used here.
fn published(text: &str) -> Result<Vec<Key>, String> {
    let set: JwkSet = serde_json::from_str(text).map_err(|error| {
        format!(
            "is no set of keys (RFC 7517), {{\"keys\": [...]}}: line {}, {error}",
            error.line()
        )
    })?;
    let mut keys = Vec::new();
    for (index, jwk) in set.keys.into_iter().enumerate() {
        let key = Key::published(jwk).map_err(|problem| format!("has a key, number {}, that {problem}", index + 1))?;
        keys.extend(key);
    }
    if keys.is_empty() {
        return Err("has no key for RS256, ES256, EdDSA or HS256 signatures".to_owned());
    }
    Ok(keys)
}
