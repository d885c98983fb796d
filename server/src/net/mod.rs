//! Connections: from a listening socket to requests, and from answers back to bytes.
//!
//! In the order of events: [`listener`] (what a listener is told to do), [`listen`] (accept; sockets of their own kind in
//! [`unix`] and [`inherited`]), [`connection`] (one task each: HTTP by hyper over the transport, its deadlines and its end),
//! [`proxy`] and [`forwarded`] (for whom proxies ask), [`origin`] (what comes of it), [`tls`] (certificate and handshake),
//! [`http2`] (its settings and streams), [`activity`] and [`watched`] (what a connection is waiting for, so that none waits
//! for ever), [`exchange`] (a request to the spine, its answer back), [`body`] (its content in the transport's hands),
//! [`stop`] (the graceful end). [`outgoing`]: what this server asks others.

pub mod activity;
pub mod body;
mod cached;
pub mod connection;
pub mod exchange;
pub mod forwarded;
pub mod http2;
pub mod inherited;
pub mod listen;
pub mod listener;
pub mod origin;
pub mod outgoing;
pub mod proxy;
mod refused;
mod reserve;
mod seldom;
pub mod stop;
pub mod tls;
pub mod unix;
pub mod watched;

pub use connection::{NetOptions, Server};
pub use inherited::Inherited;
pub use listen::{Bound, ListenError};
pub use listener::{ListenAddress, ListenerOptions};
pub use stop::{Stop, Stopper};
pub use tls::{Tls, TlsError};
