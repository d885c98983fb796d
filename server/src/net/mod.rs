//! Connections: from a listening socket to requests, and from answers back to bytes.
//!
//! In the order of events: [`listen`] (accept), [`connection`] (one task each: HTTP by hyper over the transport, its
//! deadlines and its end), [`tls`] (certificate and handshake), [`http2`] (its settings and streams), [`activity`] and [`watched`] (what a connection is waiting for, so that none waits for ever),
//! [`exchange`] (a request to the spine, its answer back), [`body`] (its content in the transport's hands), [`stop`] (the
//! graceful end).

pub mod activity;
pub mod body;
pub mod connection;
pub mod exchange;
pub mod http2;
pub mod listen;
mod refused;
mod reserve;
pub mod stop;
pub mod tls;
pub mod watched;

pub use connection::{NetOptions, Server};
pub use listen::{Bound, ListenError};
pub use stop::{Stop, Stopper};
pub use tls::{Tls, TlsError};
