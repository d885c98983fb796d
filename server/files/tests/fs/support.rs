//! What the tests of this crate share: trees in temporary directories, and lookups as a server would make them.
use http::{HeaderMap, StatusCode};
use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use wasmserve_files::{
    Files, FilesOptions, Found, Lookup, Missing, OpenFile, Place, RootOptions, Selected, SitePath, Source,
};

/// A temporary directory with a site in `www` and something secret beside it.
pub struct Tree {
    pub directory: TempDir,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    pub fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    /// On a file system without a disk, where there is one: for trees that take a disk long to make.
    pub fn in_memory() -> Self {
        Self::within(
            tempfile::tempdir_in("/dev/shm")
                .or_else(|_| tempfile::tempdir())
                .unwrap(),
        )
    }

    fn within(directory: TempDir) -> Self {
        fs::create_dir(directory.path().join("www")).unwrap();
        fs::write(directory.path().join("secret"), "secret").unwrap();
        Self { directory }
    }

    pub fn root(&self) -> std::path::PathBuf {
        self.directory.path().join("www")
    }

    /// Writes a file of the site and the directories it is in.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> &Self {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    pub fn link(&self, path: &str, target: impl AsRef<Path>) -> &Self {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    pub fn options(&self) -> RootOptions {
        RootOptions::new(self.root())
    }

    pub fn files(&self) -> Files {
        Files::new(FilesOptions::new(self.root())).unwrap()
    }

    pub fn files_with(&self, change: impl FnOnce(&mut RootOptions)) -> Files {
        let mut options = FilesOptions::new(self.root());
        change(&mut options.roots[0].1);
        Files::new(options).unwrap()
    }
}

/// A lookup, as its parts are named one by one.
#[derive(Default)]
pub struct Ask {
    pub path: String,
    pub query: Option<String>,
    pub targets: Option<Vec<String>>,
    pub place: Option<(String, String)>,
    pub missing: Option<(Vec<String>, u16)>,
    pub headers: HeaderMap,
}

pub fn path(text: &str) -> SitePath {
    SitePath::from_decoded(text).unwrap()
}

impl Ask {
    pub fn new(path: &str) -> Self {
        Self {
            path: path.into(),
            ..Self::default()
        }
    }

    pub fn query(mut self, query: &str) -> Self {
        self.query = Some(query.into());
        self
    }

    pub fn targets(mut self, targets: &[&str]) -> Self {
        self.targets = Some(targets.iter().map(|target| target.to_string()).collect());
        self
    }

    pub fn place(mut self, root: &str, directory: &str) -> Self {
        self.place = Some((root.into(), directory.into()));
        self
    }

    pub fn missing(mut self, paths: &[&str], status: u16) -> Self {
        self.missing = Some((paths.iter().map(|path| path.to_string()).collect(), status));
        self
    }

    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    pub async fn of(&self, files: &Files) -> Found {
        let asked = self.asked();
        // Whatever hangs fails the test instead of the run.
        tokio::time::timeout(Duration::from_secs(180), files.open(&asked.lookup(self)))
            .await
            .expect("a lookup ends")
    }

    /// What is known of it at a moment, without looking.
    pub fn known_to(&self, files: &Files, now: Instant) -> Option<Selected> {
        files.open_known(&self.asked().lookup(self), now)
    }

    fn asked(&self) -> Asked {
        let own = path(&self.path);
        let targets = match &self.targets {
            Some(targets) => targets.iter().map(|target| path(target)).collect(),
            None => vec![own.clone()],
        };
        let place = self.place.as_ref().map(|(root, directory)| Place {
            root: root.clone(),
            directory: path(directory),
        });
        let missing = self.missing.as_ref().map(|(paths, status)| {
            let status = StatusCode::from_u16(*status).unwrap();
            match status.is_redirection() {
                true => Missing::Redirect {
                    status,
                    location: paths[0].parse().unwrap(),
                },
                false => Missing::Page {
                    paths: paths.iter().map(|candidate| path(candidate)).collect(),
                    status,
                },
            }
        });
        Asked {
            own,
            targets,
            place,
            missing,
        }
    }
}

/// What a lookup borrows.
struct Asked {
    own: SitePath,
    targets: Vec<SitePath>,
    place: Option<Place>,
    missing: Option<Missing>,
}

impl Asked {
    fn lookup<'a>(&'a self, ask: &'a Ask) -> Lookup<'a> {
        Lookup {
            path: &self.own,
            query: ask.query.as_deref(),
            targets: &self.targets,
            place: self.place.as_ref(),
            missing: self.missing.as_ref(),
            headers: &ask.headers,
        }
    }
}

pub async fn all_of(file: &Arc<OpenFile>) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    while (content.len() as u64) < file.length() {
        let piece = file.read_at(content.len() as u64, 64 << 10).await?;
        assert!(!piece.is_empty(), "a read within the length gives bytes or an error");
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

/// What was found, in a line: `file CONTENT`, `page STATUS CONTENT`, `missing STATUS`, `redirect REFERENCE`, ...
pub async fn say(found: Found) -> String {
    async fn text(source: &Source) -> String {
        String::from_utf8_lossy(&all_of(source.file().expect("a file")).await.unwrap()).into_owned()
    }
    match found {
        Found::File(selected) => format!("file {}", text(&selected.source).await),
        Found::Listing(_) => "listing".into(),
        Found::Redirect(reference) => format!("redirect {reference}"),
        Found::Elsewhere { status, location } => {
            format!("elsewhere {} {}", status.as_u16(), location.to_str().unwrap())
        }
        Found::Missing {
            page: Some(page),
            status,
        } => format!("page {} {}", status.as_u16(), text(&page.source).await),
        Found::Missing { page: None, status } => format!("missing {}", status.as_u16()),
        Found::Failed { status, retry_after } => match retry_after {
            Some(_) => format!("failed {} retry", status.as_u16()),
            None => format!("failed {}", status.as_u16()),
        },
    }
}

pub async fn get(files: &Files, path: &str) -> String {
    say(Ask::new(path).of(files).await).await
}

/// SplitMix64: the same numbers for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// Less than `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Sets a modification time back, so that the file counts as at rest.
pub fn rest(path: &Path) {
    touch(path, Duration::from_secs(60));
}

pub fn touch(path: &Path, ago: Duration) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::SystemTime::now() - ago).unwrap();
}
