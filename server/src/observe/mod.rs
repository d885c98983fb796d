//! What is remembered of what happened: the logs, what is counted, and a record of every exchange.
//!
//! In the order of events: [`record`] rides with an exchange and tells, at its end, the [`access`] log, the [`meter`]s and the
//! collector of [`traces`];
//! [`history`] looks at those every ten seconds, for the last hour; [`policies`] and [`process`] are what else is told with
//! them; [`log`] is for everything else, written by [`line`].

pub mod access;
pub mod history;
pub mod line;
pub mod log;
pub mod meter;
pub mod policies;
pub mod process;
pub mod record;
pub mod traces;

pub use access::{AccessOptions, Destination};
pub use log::{LogFormat, LogGuard};
pub use meter::{Meter, Meters, meters};
pub use record::Record;
pub use wasmserve_policy::Ending;
