//! The admin listener: what an operator asks of a server that runs. Never reachable from the listeners of the public.
//!
//! In the order of events: [`Socket`] (a Unix socket that only its owner can connect to, from its first moment), [`serve`]
//! (connections and HTTP/1.1 by hyper, everything bounded), [`api`] (what is asked and answered, as JSON), [`report`] (the
//! sites as they are), [`client`] (the other end, for the command line).
//!
//! Whoever can connect is the operator: the file's mode is the whole of the access control. A listener over TCP would
//! check its token, Host and Origin between [`serve`] and [`api`], which know nothing of where a request came from.

pub mod api;
pub mod client;
pub mod report;
pub mod serve;

pub use crate::net::unix::{Socket, SocketError};
pub use client::{Client, ClientError};
pub use serve::serve;

/// Only its owner may connect: to connect is to write.
pub const MODE: u32 = 0o600;
