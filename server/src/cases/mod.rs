//! Policy tests as data: requests in a file beside a plugin, and what the policy is expected to decide about them.
//!
//! In the order of events: [`file`] (what was written), [`run`] (each request decided by the built plugin, in a chain of
//! its own, as `explain` decides it), [`expect`] (what was expected beside what was decided), [`report`] (for people and
//! for programs).
//!
//! No file of a site is looked at: a decision falls before that, and so does the test of it.

pub mod expect;
mod expected;
pub mod file;
pub mod report;
pub mod run;

pub use file::TestFile;
pub use report::Report;
pub use run::Runner;
