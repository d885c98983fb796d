//! What is remembered of what happened: the log, and a record of every exchange.

pub mod line;
pub mod log;
pub mod record;

pub use log::{LogFormat, LogGuard};
pub use record::Record;
pub use wasmserve_policy::Ending;
