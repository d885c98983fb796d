//! A read-through cache of objects' bytes on local disk.
//!
//! An [`Object`] is one version of something in a [`Store`]: its bytes never change. It is cut into pieces of one length
//! ([`Options`]). In the order of a read ([`Cache::read`]):
//!
//! 1. A piece that is there is given out as a [`Span`] of a file, to be sent by the kernel. The first time that this
//!    process meets it, its checksum is compared; what cannot be read is fetched again.
//! 2. A piece that is being fetched is waited for. There is one fetch of it, however many ask, and it goes on when some of
//!    them leave. When it fails, all who wait are told and nothing is remembered.
//! 3. Otherwise it is fetched from its [`Origin`], together with some that follow when the reader goes on in order, and
//!    written to disk while it arrives. It is given out when it is whole.
//! 4. When the disk is full, broken or gone, the reader gets its bytes from the store as they come.
//!
//! **On disk** there are segments: two files each, bytes and an index, bounded in number and together by the capacity.
//! Written bytes are never changed, files never made shorter; whole segments are unlinked, so that a reader keeps what it
//! has. What is read by nobody any more gives its room back. At the start the indexes are read, not the bytes.
//!
//! **After a crash** an entry of an index is whole or it is none, and it was written after its bytes. After a loss of
//! power bytes may be missing that an entry tells of: nothing is forced to disk, the checksum says what can be used.
//!
//! **One process** at a time uses a directory; a second one waits for it, and serves from the stores until then.
//!
//! The boundary: no HTTP, and no stores. Who may use the directory is decided by whoever opens it.
#![forbid(unsafe_code)]

mod cache;
mod counts;
mod disk;
mod fill;
mod flight;
mod index;
mod key;
mod options;
mod origin;
mod reader;
mod segment;
mod shelf;
mod volume;

pub use cache::{Cache, Opener};
pub use counts::Counts;
pub use key::{FETCHES, Object, Store};
pub use options::{Options, OptionsError};
pub use origin::{Chunks, Failure, Fetching, Origin};
pub use reader::{Part, Reader};
pub use segment::Span;
