//! Plugins that were fetched, by digest, in a folder of this user alone.
//!
//! Whatever is read is verified: a file's bytes must have the digest that its name says, each time. Files are written
//! whole, on the disk before they have their name, and always hold the same under the same name, so that several processes
//! may fetch the same at once and a crash leaves nothing that is half there. Nothing is ever removed but what nobody will
//! finish: what a configuration names has to be there when no network is.

use crate::digest::Digest;
use rustix::fs::{AtFlags, Dir, statat, unlinkat};
use std::{
    error::Error,
    io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};
use wasmserve_files::trusted::{Durability, Folder, UNFINISHED, Untrusted};

/// The folder within the given one. Its version is that of the files' layout.
const FOLDER: &str = "plugins-1";

/// Seconds after which an unfinished file is one that nobody will finish.
const ABANDONED: i64 = 3600;

/// What a file of the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plugin,
    /// The manifest of an artifact.
    Manifest,
}

/// A folder of plugins that only this user can have written.
#[derive(Debug)]
pub struct Store {
    folder: Folder,
}

/// Why something of the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the local store of plugins cannot be trusted: {}", in_one_line(.untrusted))]
    Untrusted { untrusted: Untrusted },
    #[error("{} does not hold what its name says: remove it, and run `wasmserve fetch`", .file.display())]
    Changed { file: PathBuf },
    #[error("{} cannot be used: {source}", .file.display())]
    Io { file: PathBuf, source: io::Error },
}

fn in_one_line(untrusted: &Untrusted) -> String {
    match untrusted.source() {
        Some(cause) => format!("{untrusted}: {cause}"),
        None => untrusted.to_string(),
    }
}

impl From<Untrusted> for StoreError {
    fn from(untrusted: Untrusted) -> Self {
        Self::Untrusted { untrusted }
    }
}

// === impl Store ===

impl Store {
    /// Opens the store in a folder, which is made if it is not there. `roots`: folders that are served, none of which may
    /// be above it.
    ///
    /// # Errors
    /// When somebody else than root or this process's user could change what is in it; the text says what to do.
    pub fn open(folder: &Path, roots: &[PathBuf]) -> Result<Self, StoreError> {
        let folder = Folder::open(folder, FOLDER, roots)?;
        Ok(Self { folder })
    }

    /// The same, of a store that may not be there. Nothing is made.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn find(folder: &Path, roots: &[PathBuf]) -> Result<Option<Self>, StoreError> {
        let folder = Folder::find(folder, FOLDER, roots)?;
        Ok(folder.map(|folder| Self { folder }))
    }

    /// Where something of this digest is kept.
    pub fn path(&self, kind: Kind, digest: &Digest) -> PathBuf {
        self.folder.path.join(name(kind, digest))
    }

    /// What has this digest, if it is there; at most `most` bytes.
    ///
    /// # Errors
    /// When what is there is something else, or not this user's alone.
    pub fn read(&self, kind: Kind, digest: &Digest, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        let name = name(kind, digest);
        match self.read_file(&name, most)? {
            None => Ok(None),
            Some(bytes) if Digest::of(&bytes) == *digest => Ok(Some(bytes)),
            Some(_) => Err(StoreError::Changed {
                file: self.folder.path.join(name),
            }),
        }
    }

    /// Keeps what has this digest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, kind: Kind, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        debug_assert_eq!(Digest::of(bytes), *digest);
        self.write(&name(kind, digest), bytes)
    }

    /// The signature of a plugin by a key, if it is there. It is worth what verifying it says.
    ///
    /// # Errors
    /// When what is there is not this user's alone.
    pub fn signature(&self, plugin: &Digest, key: &str) -> Result<Option<String>, StoreError> {
        let bytes = self.read_file(&signature_name(plugin, key), crate::signature::LONGEST)?;
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes).ok()))
    }

    /// Keeps the signature of a plugin by a key.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_signature(&self, plugin: &Digest, key: &str, signature: &str) -> Result<(), StoreError> {
        self.write(&signature_name(plugin, key), signature.as_bytes())
    }

    fn read_file(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, StoreError> {
        match self.folder.read(name, most) {
            Ok((_, bytes)) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.io_error(name, source)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.folder.write(name, &[bytes], Durability::Kept);
        written.map_err(|source| self.io_error(name, source))?;
        self.remove_abandoned();
        Ok(())
    }

    /// Removes what another process began to write and will not finish. What cannot be removed does no harm.
    fn remove_abandoned(&self) {
        let folder = &self.folder.descriptor;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        for entry in Dir::read_from(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let unfinished = name.to_bytes().ends_with(UNFINISHED.as_bytes());
            let old = |name| {
                statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
                    .is_ok_and(|stat| now.saturating_sub(stat.st_mtime) > ABANDONED)
            };
            if unfinished && old(name) {
                let _ = unlinkat(folder, name, AtFlags::empty());
            }
        }
    }

    fn io_error(&self, name: &str, source: io::Error) -> StoreError {
        StoreError::Io {
            file: self.folder.path.join(name),
            source,
        }
    }
}

fn name(kind: Kind, digest: &Digest) -> String {
    let ending = match kind {
        Kind::Plugin => "wasm",
        Kind::Manifest => "json",
    };
    format!("sha256-{}.{ending}", digest.hex())
}

fn signature_name(plugin: &Digest, key: &str) -> String {
    format!("sha256-{}.{key}{}", plugin.hex(), crate::signature::ENDING)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        os::unix::fs::{PermissionsExt, symlink},
    };

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), &[]).unwrap();
        (folder, store)
    }

    #[test]
    fn what_was_kept_is_there_and_nothing_else() {
        let (folder, store) = store();
        let digest = Digest::of(b"plugin");
        assert_eq!(store.read(Kind::Plugin, &digest, 100).unwrap(), None);
        store.keep(Kind::Plugin, &digest, b"plugin").unwrap();
        store.keep(Kind::Plugin, &digest, b"plugin").unwrap();
        assert_eq!(store.read(Kind::Plugin, &digest, 100).unwrap().unwrap(), b"plugin");
        assert_eq!(store.read(Kind::Manifest, &digest, 100).unwrap(), None);
        let found = Store::find(folder.path(), &[]).unwrap().expect("it is there");
        assert!(found.read(Kind::Plugin, &digest, 6).unwrap().is_some());
        assert!(found.read(Kind::Plugin, &digest, 5).is_err(), "longer than may be");
        assert_eq!(fs::read_dir(folder.path().join(FOLDER)).unwrap().count(), 1);
    }

    #[test]
    fn a_store_that_is_not_there_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Store::find(&folder.path().join("a/b"), &[]).unwrap().is_none());
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn what_was_tampered_with_is_refused() {
        let (_folder, store) = store();
        let digest = Digest::of(b"plugin");
        let path = store.path(Kind::Plugin, &digest);
        let read = || store.read(Kind::Plugin, &digest, 100);
        for other in [&b"Plugin"[..], b"plugi", b"plugin2", b""] {
            store.keep(Kind::Plugin, &digest, b"plugin").unwrap();
            fs::write(&path, other).unwrap();
            assert!(matches!(read(), Err(StoreError::Changed { .. })), "{other:?}");
        }
        // Fetched again, it is replaced.
        store.keep(Kind::Plugin, &digest, b"plugin").unwrap();
        assert!(read().unwrap().is_some());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(read().unwrap_err().to_string().contains("open to others"));
        let real = path.with_extension("real");
        fs::rename(&path, &real).unwrap();
        symlink(&real, &path).unwrap();
        assert!(read().is_err(), "a link");
        fs::remove_file(&path).unwrap();
        fs::hard_link(&real, &path).unwrap();
        assert!(read().is_err(), "a second name");
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join(FOLDER);
        fs::create_dir(&store).unwrap();
        fs::set_permissions(&store, fs::Permissions::from_mode(0o770)).unwrap();
        for found in [
            Store::open(folder.path(), &[]).map(drop),
            Store::find(folder.path(), &[]).map(drop),
        ] {
            assert!(matches!(found, Err(StoreError::Untrusted { .. })));
        }
        let served = [folder.path().to_owned()];
        fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
        let refused = Store::find(folder.path(), &served).unwrap_err().to_string();
        assert!(refused.contains("beneath the served folder"), "{refused}");
    }

    #[test]
    fn what_nobody_will_finish_goes() {
        let (folder, store) = store();
        let folder = folder.path().join(FOLDER);
        let (old, new) = (folder.join("a.unfinished"), folder.join("b.unfinished"));
        for file in [&old, &new] {
            fs::write(file, "").unwrap();
        }
        let long_ago = SystemTime::now() - std::time::Duration::from_secs(7200);
        fs::File::options()
            .write(true)
            .open(&old)
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        store.keep(Kind::Plugin, &Digest::of(b"a"), b"a").unwrap();
        assert!(!old.exists() && new.exists());
    }

    #[test]
    fn several_may_write_the_same_at_once() {
        let (folder, store) = store();
        let bytes = vec![7; 1 << 20];
        let digest = Digest::of(&bytes);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let own = Store::open(folder.path(), &[]).unwrap();
                    for _ in 0..4 {
                        own.keep(Kind::Plugin, &digest, &bytes).unwrap();
                        // Whole, or not there.
                        assert_eq!(own.read(Kind::Plugin, &digest, 1 << 21).unwrap().unwrap(), bytes);
                    }
                });
            }
        });
        drop(store);
    }
}
