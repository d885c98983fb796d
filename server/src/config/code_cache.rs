//! Where compiled code is kept from one start to the next.

use std::{
    convert::Infallible,
    error::Error,
    ffi::OsString,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};
use wasmserve_policy::CodeCache;

/// The folder of this program within the one for everybody's caches.
const FOLDER: &str = "wasmserve";

/// What is said about the cache of compiled code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CodeCacheOption {
    Off,
    Folder(PathBuf),
}

impl CodeCacheOption {
    /// What holds when nothing is said: systemd's folder for this service (`CacheDirectory=`), else the user's.
    pub fn by_environment(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        // The XDG Base Directory Specification has relative paths ignored.
        let folder = |name: &str| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
        // systemd lists several in the order of the unit's setting.
        let of_service = variable("CACHE_DIRECTORY").and_then(|list| std::env::split_paths(&list).next());
        let of_service = of_service.filter(|path| path.is_absolute());
        let of_user = || folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
        match of_service.or_else(|| Some(of_user()?.join(FOLDER))) {
            Some(folder) => Self::Folder(folder),
            None => Self::Off,
        }
    }

    /// The folder, which is never served.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Off => None,
            Self::Folder(folder) => Some(folder),
        }
    }

    /// Opens the cache for a server of these roots. `None`: there is none, and the log says why.
    pub fn open(&self, roots: &[PathBuf]) -> Option<Arc<CodeCache>> {
        match CodeCache::open(self.folder()?, roots, CodeCache::MOST) {
            Ok(cache) => Some(Arc::new(cache)),
            Err(untrusted) => {
                let cause = untrusted
                    .source()
                    .map_or_else(String::new, |cause| format!(": {cause}"));
                tracing::warn!(
                    reason = format!("{untrusted}{cause}"),
                    "compiled code is not kept: plugins are compiled at each start (see --code-cache)"
                );
                None
            }
        }
    }
}

impl FromStr for CodeCacheOption {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "off" => Self::Off,
            folder => Self::Folder(folder.into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::CodeCacheOption::{self, Folder, Off};

    #[test]
    fn the_folder_is_systemds_or_the_users() {
        let by = |variables: &[(&str, &str)]| {
            CodeCacheOption::by_environment(|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| value.into())
            })
        };
        let home = ("HOME", "/home/ann");
        for (variables, folder) in [
            (vec![home], "/home/ann/.cache/wasmserve"),
            (vec![home, ("XDG_CACHE_HOME", "/fast")], "/fast/wasmserve"),
            (vec![home, ("XDG_CACHE_HOME", "relative")], "/home/ann/.cache/wasmserve"),
            (vec![home, ("XDG_CACHE_HOME", "")], "/home/ann/.cache/wasmserve"),
            (vec![home, ("CACHE_DIRECTORY", "/var/cache/a")], "/var/cache/a"),
            (vec![("CACHE_DIRECTORY", "/var/cache/a:/var/cache/b")], "/var/cache/a"),
        ] {
            assert_eq!(by(&variables), Folder(folder.into()), "{variables:?}");
        }
        assert_eq!(by(&[]), Off);
    }

    #[test]
    fn off_is_a_word_and_all_else_a_folder() {
        assert_eq!("off".parse(), Ok(Off));
        assert_eq!("./off".parse(), Ok(Folder("./off".into())));
    }
}
