//! One request's way: the spine.
//!
//! In the order of events: [`framing`] (a body that can be read in one way: or 501), [`target`] (which host, which path:
//! or 400), [`handle`] (policy, then file, then answer),
//! [`refusal`] (the one place where what went wrong becomes a status); [`redirect`] (instead of all that, to HTTPS).
//!
//! Knows nothing of connections: what comes in is a request's head, what goes out an answer that [`crate::net`] sends.

pub mod framing;
pub mod handle;
pub mod redirect;
pub mod refusal;
pub mod target;

pub use framing::FramingError;
pub use handle::{Answering, Arrival, Judged, Noted, Reply, Step, Waiting};
pub use refusal::Refusal;
pub use target::{Host, Scheme, Target, TargetError};
