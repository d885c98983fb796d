//! Bodies whose file spans the kernel copies (`sendfile`) under hyper, fail-safe.
//!
//! hyper takes bodies as bytes. A [`Body`] of this crate gives it [`Chunk`]s: real bytes, or a *span* that shows a
//! placeholder of the same length. A [`Connection`] recognises placeholders by their address and has the kernel send the
//! file's bytes instead. The order of events for one response:
//!
//! 1. [`accept`] makes a connection and its [`Delivery`]; [`guard`] does so for TLS and HTTP/2, which take real bytes.
//! 2. [`Delivery::body`] makes a body of [`Part`]s; it can be given a pace ([`Body::pace`]) and a report of its end
//!    ([`Body::on_end`]).
//! 3. hyper asks the body for chunks, buffers them behind the head and writes: the head with `MSG_MORE`, so that it
//!    leaves with the first file bytes, then spans with `sendfile`, what is not in the page cache read ahead first.
//! 4. The end of the last span is read and sent as real bytes. A piece of it waits until the client has acknowledged all
//!    that `sendfile` sent, and leaves only if the files are still what they were: a complete body is a right one.
//! 5. hyper lets go of the chunks; when the last is gone the [`Summary`] is reported.
//!
//! **Fail-safe.** Should anything but a [`Connection`] read a placeholder (a setting that makes hyper flatten bodies, a
//! wrapper that buffers, another protocol), the connection ends before a byte of it leaves. The rules are in `ledger`,
//! the argument in decision 0006.
//!
//! **Fair.** One turn of a connection writes at most some 2 MiB; a client that takes nothing is ended by
//! [`Options::stall`]. No worker waits for a disk.
//!
//! The boundary: this crate knows sockets, open files and bytes. What to send, and what HTTP says about it, is decided
//! elsewhere. It is for Linux.
//!
//! ```
//! use hyper::{Response, server::conn::http1, service::service_fn};
//! use std::{convert::Infallible, sync::Arc};
//! use tokio::net::TcpStream;
//! use wasmserve_transport::{File, Options, Part, accept};
//!
//! async fn serve(socket: TcpStream, file: Arc<dyn File>, length: u64) -> hyper::Result<()> {
//!     let (io, delivery) = accept(socket, Options::default());
//!     let service = service_fn(move |_request| {
//!         let part = Part::Span { file: file.clone(), offset: 0, length };
//!         let body = delivery.body([part]).on_end(|end| println!("{} bytes, {:?}", end.sent, end.ended));
//!         async { Ok::<_, Infallible>(Response::new(body)) }
//!     });
//!     http1::Builder::new().serve_connection(io, service).await
//! }
//! ```
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
mod release;
mod sequence;
mod socket;
mod stall;
mod tally;
mod turn;

pub use body::{Body, Part, Pieces, Source};
pub use chunk::Chunk;
pub use connection::{Connection, Options, Sendfile, Socket, accept};
pub use delivery::Delivery;
pub use file::{File, Reading};
pub use guard::{Guarded, guard};
pub use ledger::Fault;
pub use pace::Allowance;
pub use tally::{Ended, Meter, Summary};
