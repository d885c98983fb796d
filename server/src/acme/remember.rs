//! Certificates of an earlier start, of names that no configuration lists: those of tenants. They are renewed although nobody
//! has asked for them since, and read whole only when somebody does.

use super::{Acme, Authority, Standing, Wanted};
use std::{collections::HashSet, sync::Arc};

// === impl Acme ===

impl Acme {
    /// Names that something is stored for, and that nothing is known of. Blocks.
    pub fn unknown_in_store(&self) -> Vec<String> {
        let Some(authority) = self.state().authority.clone() else {
            return Vec::new();
        };
        let names = authority.store.names().unwrap_or_else(|error| {
            tracing::warn!(%error, "stored certificates cannot be listed: they are renewed when they are asked for");
            Vec::new()
        });
        let known: HashSet<Box<str>> = self.state().names.keys().cloned().collect();
        names
            .into_iter()
            .filter(|name| !known.contains(name.as_str()))
            .collect()
    }

    /// Sees to the certificate that is stored for a name, from now on. Blocks.
    pub fn remember(&self, name: &str) {
        let Some(authority) = self.state().authority.clone() else {
            return;
        };
        // One that cannot be read is ordered anew when somebody asks for it.
        let Ok(Some(stored)) = authority.store.certificate(name) else {
            return;
        };
        let standing = Standing::new(Wanted::OnDemand).with(name, &stored.lifetime);
        let mut state = self.state();
        if state.authority.as_ref().is_some_and(|now| Arc::ptr_eq(now, &authority)) {
            state.names.entry(name.into()).or_insert(standing);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Shows what is stored for a name that is seen to and was not asked for yet. Blocks.
    pub(super) fn show_stored(&self, name: &str, authority: &Authority) {
        if let Ok(Some(stored)) = authority.store.certificate(name) {
            // A renewal that came meanwhile is newer.
            self.shown_mut().entry(name.into()).or_insert(stored.key);
        }
    }
}
