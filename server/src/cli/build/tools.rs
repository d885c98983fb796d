//! Where a machine has the programs that build plugins.

use std::{
    env,
    path::{Path, PathBuf},
};

/// A program on the search path.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// A file beneath this folder or one of those around it, the nearest first: where npm and Python's venv put the programs of a
/// project.
pub fn up_from(folder: &Path, file: &str) -> Option<PathBuf> {
    let folder = folder.canonicalize().ok()?;
    folder
        .ancestors()
        .map(|folder| folder.join(file))
        .find(|file| file.is_file())
}

/// A folder as a shell takes it.
pub fn in_shell(folder: &Path) -> String {
    let text = folder.display().to_string();
    let plain = |character: char| character.is_alphanumeric() || "/._-+".contains(character);
    if !text.is_empty() && text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_nearest_file_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("a/b");
        fs::create_dir_all(inner.join("bin")).unwrap();
        fs::create_dir_all(dir.path().join("bin")).unwrap();
        fs::write(dir.path().join("bin/tool"), "").unwrap();
        let outer = dir.path().canonicalize().unwrap().join("bin/tool");
        assert_eq!(up_from(&inner, "bin/tool"), Some(outer));
        fs::write(inner.join("bin/tool"), "").unwrap();
        assert_eq!(
            up_from(&inner, "bin/tool"),
            Some(inner.canonicalize().unwrap().join("bin/tool"))
        );
        assert_eq!(up_from(&inner, "bin/no-such-tool"), None);
    }

    #[test]
    fn folders_that_a_shell_would_take_apart_are_quoted() {
        for (folder, word) in [
            ("plugins/a-b_1.c", "plugins/a-b_1.c"),
            ("", "''"),
            ("a b", "'a b'"),
            ("a'b", r"'a'\''b'"),
        ] {
            assert_eq!(in_shell(Path::new(folder)), word);
        }
    }
}
