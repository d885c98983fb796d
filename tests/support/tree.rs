//! A temporary tree of files to serve.
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};
use tempfile::TempDir;

/// A folder that is removed with this value. The root that is served is a folder within it, so that tests can put files
/// beside the root that must never be served.
pub struct Tree {
    folder: TempDir,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("the machine has room for temporary files");
        fs::create_dir(folder.path().join("root")).expect("a new folder is writable");
        Self { folder }
    }

    /// The folder to serve.
    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// A path beside the root, outside of what is served.
    pub fn outside(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Where a path of the tree is.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    /// Writes a file, making the folders above it.
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.write(path, content);
        self
    }

    /// Writes a file while the tree is being served.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the tree is writable");
        fs::write(path, content).expect("the tree is writable");
    }

    pub fn directory(self, path: &str) -> Self {
        fs::create_dir_all(self.at(path)).expect("the tree is writable");
        self
    }

    /// A file of zeros that takes no room on the disk.
    pub fn sparse(self, path: &str, length: u64) -> Self {
        let file = fs::File::create(self.at(path)).expect("the tree is writable");
        file.set_len(length)
            .expect("file systems of this century know sparse files");
        self
    }

    /// A symbolic link in the tree with this very text.
    pub fn link(self, path: &str, target: impl AsRef<Path>) -> Self {
        symlink(target, self.at(path)).expect("the tree is writable");
        self
    }

    /// A second name of a file.
    pub fn hard_link(self, path: &str, original: impl AsRef<Path>) -> Self {
        fs::hard_link(original, self.at(path)).expect("both names are on one file system");
        self
    }

    /// A named pipe.
    pub fn fifo(self, path: &str) -> Self {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            self.at(path),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .expect("the tree is writable");
        self
    }

    /// Sets a file's time of modification, in seconds since 1970.
    pub fn modified(self, path: &str, seconds: u64) -> Self {
        let file = fs::File::options()
            .write(true)
            .open(self.at(path))
            .expect("the file is there");
        file.set_modified(UNIX_EPOCH + Duration::from_secs(seconds))
            .expect("the tree is writable");
        self
    }

    pub fn mode(self, path: &str, mode: u32) -> Self {
        fs::set_permissions(self.at(path), fs::Permissions::from_mode(mode)).expect("the tree is ours");
        self
    }

    /// Writes a file beside the root, outside of what is served.
    pub fn file_outside(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.outside(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("the tree is writable");
        fs::write(path, content).expect("the tree is writable");
        self
    }
}
