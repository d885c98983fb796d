//! A descriptor in reserve, for the moment when there is no other left.
//!
//! A connection that cannot be accepted stays in the kernel's queue, and its client waits for an answer that does not
//! come. With the reserve it is accepted and closed at once: the client knows, and may try another server.

use rustix::io::Errno;
use std::{fs::File, io};

/// One descriptor that nobody needs.
#[derive(Debug)]
pub struct Reserve(Option<File>);

impl Reserve {
    pub fn new() -> Self {
        Self(open())
    }

    /// Whether an error of accepting says that descriptors have run out.
    pub fn is_for(error: &io::Error) -> bool {
        matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
    }

    /// Gives the descriptor up for as long as it takes to accept what is to be closed.
    pub fn lend<T>(&mut self, accept: impl FnOnce() -> T) {
        if self.0.take().is_some() {
            drop(accept());
        }
        self.0 = open();
    }
}

fn open() -> Option<File> {
    File::open("/dev/null").ok()
}
