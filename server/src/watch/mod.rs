//! What an operator has watched of real requests: [`debug`] (one request explains itself), [`narrate`] (every request
//! does, on a terminal) and [`record`] (decisions are written down, to be decided again by `wasmserve replay`).
//!
//! Nothing here changes what is decided.

pub mod debug;
pub mod key;
pub mod narrate;
pub mod record;

pub use debug::{Secret, SecretError};
pub use narrate::Narrator;
pub use record::{RecordOptions, Recording};

/// What is watched.
#[derive(Debug, Default)]
pub struct Watch {
    /// `None`: the debug header means nothing.
    pub debug: Option<Secret>,
    /// `None`: nothing is recorded.
    pub record: Option<Recording>,
    /// `None`: requests are answered without a word.
    pub narrator: Option<narrate::Narrator>,
}
