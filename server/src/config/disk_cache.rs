//! `[server.disk-cache]`: what is kept on local disk of roots in object storage.

use super::{ConfigErrors, document::Section, units::size};
use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
};
use wasmserve_files::trusted::Folder;
use wasmserve_pieces::{Cache, Options};

/// Where, how much, and in what portions.
#[derive(Clone, Debug, PartialEq)]
pub struct DiskCacheSettings {
    /// `directory`: a folder of this server alone, in which `pieces-1` is made. Needed.
    pub directory: PathBuf,
    /// `capacity`: bytes on disk of all that is kept, such as `"50GiB"`; at least 64 pieces. Default: `"10GiB"`.
    /// `piece-size`: bytes that are fetched, checked and kept as one, from `"4KiB"` to `"16MiB"`; another size empties the
    /// cache. Default: `"1MiB"`.
    pub options: Options,
}

/// The folder within the given one. Its version is that of the files' layout.
const FOLDER: &str = "pieces-1";

const CAPACITY: u64 = 10 << 30;

// === impl DiskCacheSettings ===

impl DiskCacheSettings {
    /// Reads `disk-cache` of `[server]`; paths are relative to `folder`.
    pub fn read(folder: &Path, section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Self> {
        let mut section = section.section("disk-cache", errors)?;
        let directory = section.required_string("directory", errors);
        let capacity = section.parsed("capacity", size, errors).unwrap_or(CAPACITY);
        let piece = section.parsed("piece-size", size, errors);
        let options = Options::new(capacity, piece.unwrap_or(Options::PIECE.into()));
        if let Err(problem) = &options {
            errors.push(section.error(format!("`disk-cache`: {problem}")));
        }
        section.finish(errors);
        Some(Self {
            directory: folder.join(directory?.value),
            options: options.ok()?,
        })
    }

    /// Opens the cache for a server of these roots; blocks. When that cannot be done it is tried again later, and the log
    /// says why: objects are served from their store until then.
    pub fn open(&self, roots: Vec<PathBuf>) -> Cache {
        let directory = self.directory.clone();
        let open = move || match Folder::open(&directory, FOLDER, &roots) {
            Ok(folder) => Ok(folder.descriptor),
            Err(untrusted) => {
                let cause = untrusted
                    .source()
                    .map_or_else(String::new, |cause| format!(": {cause}"));
                Err(io::Error::other(format!("{untrusted}{cause}")))
            }
        };
        let cache = Cache::new(self.options, Box::new(open));
        // The cache has told the log.
        let _ = cache.open();
        cache
    }
}
