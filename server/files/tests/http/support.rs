//! What the tests of this folder share.
use std::sync::Arc;
use wasmserve_files::{OpenFile, Representation, Selected};

/// A file of which no byte is read: answers only point into it.
pub fn selected(representation: Representation) -> Selected {
    Selected {
        file: Arc::new(OpenFile::try_from(tempfile::tempfile().expect("a file")).expect("an open file")),
        representation: Arc::new(representation),
    }
}
