//! [`Config`]: what the operator configured for a policy.
#[cfg(target_family = "wasm")]
use crate::bindings::wasi::config::store;
#[cfg(not(target_family = "wasm"))]
use crate::testing::store;
use std::{fmt::Display, str::FromStr};

/// The policy's own configuration: the top-level keys of its `[policy.config]` table.
///
/// A string arrives as it is. Everything else (numbers, booleans, arrays, tables) arrives as JSON text, so that
/// `limit = 3` and `limit = "3"` are the same to [`parsed`](Self::parsed).
#[derive(Debug)]
pub struct Config(());

impl Config {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// The text of a key; `None` when it is not there.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub fn get(&self, key: &str) -> Result<Option<String>, String> {
        store::get(key).map_err(|error| format!("cannot read `{key}`: {}", reason(error)))
    }

    /// The text of a key that has to be there.
    ///
    /// # Errors
    /// Names the key when it is not there.
    pub fn required(&self, key: &str) -> Result<String, String> {
        self.get(key)?.ok_or_else(|| format!("`{key}` is missing"))
    }

    /// The value of a key, parsed: numbers, booleans, addresses, types of your own.
    ///
    /// # Errors
    /// Names the key, its text and why that cannot be parsed.
    pub fn parsed<T: FromStr<Err: Display>>(&self, key: &str) -> Result<Option<T>, String> {
        let Some(text) = self.get(key)? else { return Ok(None) };
        text.parse()
            .map(Some)
            .map_err(|error| format!("`{key}` is {text:?}: {error}"))
    }

    /// Every key and its text, in no particular order.
    ///
    /// # Errors
    /// The configuration cannot be read.
    pub fn all(&self) -> Result<Vec<(String, String)>, String> {
        store::get_all().map_err(|error| format!("cannot read the configuration: {}", reason(error)))
    }

    /// Refuses every key that is not listed: a mistyped key is never ignored.
    ///
    /// # Errors
    /// Names the unknown keys and lists the known ones.
    pub fn only(&self, known: &[&str]) -> Result<(), String> {
        let mut unknown: Vec<String> = self.all()?.into_iter().map(|(key, _)| key).collect();
        unknown.retain(|key| !known.contains(&key.as_str()));
        if unknown.is_empty() {
            return Ok(());
        }
        unknown.sort();
        let known = if known.is_empty() {
            "none".to_owned()
        } else {
            quoted(known)
        };
        Err(format!("unknown {}; known: {known}", quoted(&unknown)))
    }

    /// The whole configuration as a type of your own. Strings may fill strings and enums; everything else is read as JSON.
    /// Derive `Deserialize` with `#[serde(deny_unknown_fields, rename_all = "kebab-case")]`, so that a mistyped key is an
    /// error, and `default` where a key may be left out.
    ///
    /// # Errors
    /// Names the key and says what is expected.
    #[cfg(feature = "serde")]
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        crate::settings::read(self.all()?)
    }
}

fn reason(error: store::Error) -> String {
    match error {
        store::Error::Upstream(reason) | store::Error::Io(reason) => reason,
    }
}

/// Keys as errors show them.
pub(crate) fn quoted<S: AsRef<str>>(keys: &[S]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{}`", key.as_ref())).collect();
    quoted.join(", ")
}
