//! The files that are served: those of a folder, or a copy of `site` in the plugin's own folder, because nothing that lies in
//! a plugin's folder is ever served.

use anyhow::Context;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use walkdir::WalkDir;

/// What is served.
pub enum Site {
    Folder(PathBuf),
    Copy {
        of: PathBuf,
        /// Removed with this value.
        at: TempDir,
    },
}

/// The folder of a plugin's folder that is copied.
const SITE_FOLDER: &str = "site";

impl Site {
    /// `given`: the folder that was typed.
    ///
    /// # Errors
    /// There is no room for a copy, or it cannot be read.
    pub fn of(dir: &Path, given: Option<&Path>) -> anyhow::Result<Self> {
        let own = dir.join(SITE_FOLDER);
        match given {
            Some(folder) => Ok(Self::Folder(folder.to_owned())),
            None if own.is_dir() => {
                let at = tempfile::tempdir().context("there is no room for a copy of the site")?;
                let site = Self::Copy { of: own, at };
                site.refresh().context("the site cannot be copied")?;
                Ok(site)
            }
            None => Ok(Self::Folder(PathBuf::from("."))),
        }
    }

    pub fn folder(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Copy { at, .. } => at.path(),
        }
    }

    /// What is copied, if anything is.
    pub fn source(&self) -> Option<&Path> {
        match self {
            Self::Folder(_) => None,
            Self::Copy { of, .. } => Some(of),
        }
    }

    /// Copies what is there now. What is gone stays until the end.
    pub fn refresh(&self) -> io::Result<()> {
        let Self::Copy { of, at } = self else { return Ok(()) };
        for entry in WalkDir::new(of) {
            let entry = entry?;
            let to = at.path().join(entry.path().strip_prefix(of).map_err(io::Error::other)?);
            if entry.file_type().is_dir() {
                fs::create_dir_all(to)?;
            } else {
                fs::copy(entry.path(), to)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_in_the_folder_is_copied_and_any_other_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        assert_eq!(Site::of(folder.path(), None).unwrap().folder(), Path::new("."));
        fs::create_dir_all(at("site/deep")).unwrap();
        fs::write(at("site/deep/a.txt"), "a").unwrap();
        let site = Site::of(folder.path(), None).unwrap();
        let served = || fs::read_to_string(site.folder().join("deep/a.txt")).unwrap();
        assert_eq!(served(), "a");
        fs::write(at("site/deep/a.txt"), "b").unwrap();
        site.refresh().unwrap();
        assert_eq!(served(), "b");
        let given = Site::of(folder.path(), Some(&at("other"))).unwrap();
        assert_eq!((given.folder(), given.source()), (&*at("other"), None));
    }
}
