//! The admin listener: what an operator asks of a server that runs. Never reachable from the listeners of the public.
//!
//! In the order of events: [`Socket`] (a Unix socket that only its owner can connect to, from its first moment) and a TCP
//! listener where the operator wants one, [`serve`] (connections and HTTP/1.1 by hyper, everything bounded), [`lobby`] (where
//! they are until they have shown something), [`guard`] (who is let in) and [`login`] (how a browser shows a token), [`api`] (what is asked and answered), about what is on the
//! [`desk`]: [`report`] (sites, plugins, breakers), [`metrics`], [`status`] and its [`page`]. [`client`] is the other end,
//! for the command line.

pub mod api;
pub mod client;
pub mod desk;
pub mod guard;
pub mod lobby;
pub mod login;
pub mod metrics;
pub mod page;
pub mod report;
pub mod serve;
pub mod status;

pub use crate::net::unix::{Socket, SocketError};
pub use client::{Client, ClientError};
pub use desk::{Desk, Serving};
pub use guard::{Guard, Via};
pub use serve::{Counter, serve, serve_tcp};

/// Only its owner may connect: to connect is to write.
pub const MODE: u32 = 0o600;
