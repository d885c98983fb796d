//! What an operator grants a policy or an observer beyond the contract's own questions.
use crate::HttpGrant;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

/// What a policy may import, and what it finds there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// `wasi:logging`.
    pub logging: bool,
    /// `allowed` sharing.
    pub sharing: bool,
    /// `counters`: token buckets of its own.
    pub counters: bool,
    /// `wasi:keyvalue`.
    pub key_value: Option<KeyValueGrant>,
    /// `wasi:http/outgoing-handler`.
    pub http: Option<HttpGrant>,
    /// Directories that `wasi:filesystem` shows, by the absolute path that the guest knows them by. Never to be written.
    pub directories: BTreeMap<String, PathBuf>,
    /// All that `wasi:cli/environment` tells.
    pub environment: BTreeMap<String, String>,
}

/// What a policy may do with the key-value pairs of its site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyValueGrant {
    /// Buckets that it may open beside its own, `default`, and share with others that are granted the same names.
    pub buckets: BTreeSet<String>,
    /// Pairs that it makes are forgotten after so long. `None`: when there is no more room.
    pub time_to_live: Option<Duration>,
}

/// Which optional imports are linked: what tells one linker from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Links {
    pub logging: bool,
    pub key_value: bool,
    pub counters: bool,
    pub http: bool,
}

impl Links {
    /// How many combinations there are.
    pub const COUNT: usize = 16;

    /// The place of this combination among all.
    pub fn index(self) -> usize {
        let Self {
            logging,
            key_value,
            counters,
            http,
        } = self;
        usize::from(logging) | usize::from(key_value) << 1 | usize::from(counters) << 2 | usize::from(http) << 3
    }
}

impl From<&Grants> for Links {
    fn from(grants: &Grants) -> Self {
        Self {
            logging: grants.logging,
            key_value: grants.key_value.is_some(),
            counters: grants.counters,
            http: grants.http.is_some(),
        }
    }
}
