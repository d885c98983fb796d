//! Why a request is answered as it is, for `wasmserve explain`, the admin listener and the debug header.
//!
//! In the order of events: [`asked`] (the request as somebody typed it), [`account`] (what it leads to, found by the code
//! that serves), [`secrets`] (what is hidden), then `text` for people or JSON for programs.

pub mod account;
pub mod asked;
pub mod secrets;
mod text;

pub use account::Account;
pub use asked::Asked;
pub(crate) use text::printable;
