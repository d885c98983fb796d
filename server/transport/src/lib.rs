//! Bodies whose file spans the kernel copies (sendfile) under hyper, fail-safe.
#![deny(unsafe_code)]

mod body;
mod chunk;
mod connection;
mod delivery;
mod file;
mod guard;
mod ledger;
mod pace;
mod region;
mod stall;
mod tally;
mod turn;

pub use body::{Body, Part, Source};
pub use chunk::Chunk;
pub use connection::{Connection, Options, Socket, accept};
pub use delivery::Delivery;
pub use file::File;
pub use guard::{Guarded, guard};
pub use ledger::Fault;
pub use tally::{Ended, Summary};
