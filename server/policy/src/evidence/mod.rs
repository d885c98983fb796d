//! Evidence: decisions kept with the questions and answers that led to them.
mod key;

pub(crate) use key::{Fingerprint, Key};
