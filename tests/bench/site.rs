//! The files that every contestant serves.
use std::{fs, path::PathBuf};
use support::{Tree, pattern};

/// A tree with files of many sizes, and what each must hold.
pub struct Site {
    tree: Tree,
}

/// The files that are always there, by their sizes in bytes.
pub const SIZES: &[(&str, usize)] = &[
    ("1KiB.bin", 1 << 10),
    ("10KiB.bin", 10 << 10),
    ("100KiB.bin", 100 << 10),
    ("1MiB.bin", 1 << 20),
    ("100MiB.bin", 100 << 20),
];

impl Site {
    pub fn new() -> Self {
        let tree = Tree::new();
        for (name, size) in SIZES {
            tree.write(name, pattern(*size as u64, *size));
        }
        Self { tree }
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    pub fn root(&self) -> PathBuf {
        self.tree.root()
    }

    /// A folder for compiled code, outside of what is served.
    pub fn code_cache(&self) -> PathBuf {
        self.tree.outside("code")
    }

    /// `count` different files of 1 KiB beneath `/many/`, a thousand to a folder.
    pub fn many(&self, count: usize) {
        for number in 0..count {
            let path = self.tree.at(&format!("many/{}", number / 1000));
            if number % 1000 == 0 {
                fs::create_dir_all(&path).expect("the tree is writable");
            }
            fs::write(
                path.join(format!("{}.bin", number % 1000)),
                pattern(number as u64, 1 << 10),
            )
            .expect("the tree is writable");
        }
    }

    /// A file without content on the disk: zeros of this length.
    pub fn sparse(&self, name: &str, length: u64) {
        let file = fs::File::create(self.tree.at(name)).expect("the tree is writable");
        file.set_len(length).expect("the file system knows sparse files");
    }
}
