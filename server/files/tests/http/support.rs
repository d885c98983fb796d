//! What the tests of this folder share.
use std::sync::Arc;
use wasmserve_files::{OpenFile, Representation, Selected};

/// A file of which no byte is read: answers only point into it.
pub fn selected(representation: Representation) -> Selected {
    let file = OpenFile::try_from(tempfile::tempfile().expect("a file")).expect("an open file");
    Selected::new(Arc::new(file), representation)
}
