//! Every request explains itself to whoever is at the terminal: for `wasmserve dev`.
//!
//! No kept decision is used, and none is kept: each policy runs for each request.

use crate::{
    explain::{Account, secrets},
    request::{Arrival, Reply},
    sites::Sites,
};
use std::io::{self, Write};

/// Tells of every request on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrator {
    /// Credentials and cookies are hidden.
    Discreet,
    Frank,
}

impl Narrator {
    /// Answers a request, and tells how.
    pub async fn answer(self, sites: &Sites, arrival: Arrival) -> Reply {
        let (mut account, reply) = Account::of(sites, arrival).await;
        if self == Self::Discreet {
            secrets::hide(&mut account);
        }
        let mut output = io::stdout().lock();
        // Who does not read it is served all the same.
        let _ = writeln!(output, "\n{account}").and_then(|()| output.flush());
        reply
    }
}
