//! Asks for a user name and a password beneath given prefixes (RFC 7617). README.md is the reference.
//!
//! The order of events: is the path, or anything that it is mapped to, beneath a prefix? Only then `Authorization` is
//! asked, so that everything else stays shareable by caches. Then one password hash is computed, for known and unknown
//! names alike. The answer to a wrong name, a wrong password and none at all is the same.
#![forbid(unsafe_code)]

mod credentials;
mod hash;
mod settings;

use credentials::Credentials;
use hash::PasswordHash;
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
};
use wasmserve_plugin::{Config, Decision, Policy, Request, Response, proceed, unauthorized};

struct BasicAuth {
    prefixes: Vec<String>,
    users: BTreeMap<String, PasswordHash>,
    challenge: Response,
}

wasmserve_plugin::export!(BasicAuth);

impl Policy for BasicAuth {
    fn configure(config: &Config) -> Result<Self, String> {
        let settings = settings::read(config)?;
        Ok(Self {
            prefixes: settings.prefixes,
            users: settings.users,
            challenge: unauthorized(&settings.realm),
        })
    }

    fn decide(&self, request: &Request) -> Result<Decision, String> {
        if !request.reaches_any(&self.prefixes) {
            return Ok(proceed().into());
        }
        let authorization = request.header("authorization");
        match authorization.as_deref().and_then(Credentials::parse) {
            Some(credentials) if self.admits(&credentials)? => Ok(proceed().fact("user", credentials.user).into()),
            _ => Ok(self.challenge.clone().into()),
        }
    }
}

impl BasicAuth {
    /// Whether the password is this user's. Takes as long for a name that nobody has.
    fn admits(&self, credentials: &Credentials) -> Result<bool, String> {
        let known = self.users.get(&credentials.user);
        match known.or_else(|| self.decoy(&credentials.user)) {
            // The hash first: what it costs must not depend on whether the name is known.
            Some(hash) => Ok(hash.is_of(&credentials.password)? && known.is_some()),
            None => Ok(false),
        }
    }

    /// The hash to compute for an unknown name: one of the users', always the same for a name. Hashes may differ in cost,
    /// and what a name costs must not tell whether it is known; which hash a name gets depends on all of them, which
    /// nobody outside knows.
    fn decoy(&self, user: &str) -> Option<&PasswordHash> {
        let mut hasher = DefaultHasher::new();
        self.users.values().for_each(|hash| hasher.write(hash.secret()));
        hasher.write(user.as_bytes());
        let count = u64::try_from(self.users.len()).ok()?;
        let index = usize::try_from(hasher.finish().checked_rem(count)?).ok()?;
        self.users.values().nth(index)
    }
}

#[cfg(test)]
mod tests;
