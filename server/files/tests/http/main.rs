//! What HTTP says about files, from outside the crate: tables, and properties against a second reading of the RFCs.
mod answers;
#[path = "../oracle/mod.rs"]
mod oracle;
mod properties;
mod semantics;
mod support;
mod tables;
