//! How a site's files are served, as the operator decided: resolved, with every default filled in.
use crate::{Coding, MediaTypes, SitePath, store::StoreSpec};
use http::StatusCode;
use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// How a site's files are served.
#[derive(Clone, Debug, PartialEq)]
pub struct FilesOptions {
    /// Named roots; the first is where paths are looked up unless a policy places them elsewhere.
    pub roots: Vec<(String, RootOptions)>,
    /// Files and directories that are never served, however they are reached.
    pub protected: Vec<PathBuf>,
    pub cache: CacheOptions,
    /// Compression of texts that have no coded sibling, while they are sent; `None`: never.
    pub compression: Option<Compression>,
    pub resolver: Resolver,
}

impl FilesOptions {
    /// One root, named `default`, with every default.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            roots: vec![("default".into(), RootOptions::new(root))],
            protected: Vec::new(),
            cache: CacheOptions::default(),
            compression: None,
            resolver: Resolver::default(),
        }
    }
}

/// How the files beneath one directory are served.
#[derive(Clone, Debug, PartialEq)]
pub struct RootOptions {
    pub location: Location,
    /// A directory beneath it (segments separated by `/`) that is served instead of it. Each segment is opened beneath the
    /// one before it: whoever owns `path` can lead to elsewhere within it by links, and to nowhere else.
    pub within: Option<String>,
    pub symlinks: Symlinks,
    pub dotfiles: Dotfiles,
    /// Names of the files that stand for their directory, most wanted first.
    pub index: Vec<String>,
    pub listing: Listings,
    /// Codings whose siblings (`page.html.br` beside `page.html`) are sent to those who accept them. A sibling counts
    /// when it is not older than the file, in whole seconds.
    pub precompressed: Vec<Coding>,
    /// Pages for failures, by status; looked up where the request was, then in the root.
    pub error_pages: Vec<(StatusCode, SitePath)>,
    /// What is sent with 200 when nothing is there: the page of a single-page application.
    pub fallback: Option<SitePath>,
    pub media_types: MediaTypes,
    pub machines: Machines,
    pub growing: Growing,
}

impl RootOptions {
    /// Links followed while they stay beneath, dotfiles hidden, `index.html`, no listing, coded siblings,
    /// no pages of its own.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            location: Location::Directory(path.into()),
            within: None,
            symlinks: Symlinks::default(),
            dotfiles: Dotfiles::default(),
            index: vec!["index.html".into()],
            listing: Listings::default(),
            precompressed: vec![Coding::Brotli, Coding::Zstd, Coding::Gzip],
            error_pages: Vec::new(),
            fallback: None,
            media_types: MediaTypes::default(),
            machines: Machines::default(),
            growing: Growing::default(),
        }
    }
}

/// Where the files of a root are.
#[derive(Clone, Debug, PartialEq)]
pub enum Location {
    /// A directory. It is looked up again at most a second late, so that a deployment can replace it or flip a link.
    Directory(PathBuf),
    /// A prefix in a store. There are no links in one, and what is protected is not in one.
    Store(Box<StoreRoot>),
}

/// The objects of a store whose keys begin with a prefix.
#[derive(Clone, Debug, PartialEq)]
pub struct StoreRoot {
    pub store: StoreSpec,
    /// Segments separated by `/`; empty: the whole bucket.
    pub prefix: String,
    /// How long what is known of an object, or that there is none, is used without asking again.
    pub metadata_ttl: Duration,
}

impl Location {
    /// The directory, if it is one.
    pub fn directory(&self) -> Option<&Path> {
        match self {
            Self::Directory(path) => Some(path),
            Self::Store(_) => None,
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => path.display().fmt(f),
            Self::Store(root) if root.prefix.is_empty() => f.write_str(&root.store.bucket),
            Self::Store(root) => write!(f, "{}/{}", root.store.bucket, root.prefix),
        }
    }
}

/// What happens at a directory without an index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listings {
    /// It is not there.
    #[default]
    Off,
    /// Its entries are listed, as a page or as JSON.
    On,
}

/// How much of the files is kept open and in memory, for all sites of a [`Pool`](crate::Pool) together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheOptions {
    /// Descriptors of files that nobody reads at the moment; 0 keeps nothing. Small files that rested are in memory and
    /// need none.
    pub descriptors: usize,
    /// Content of small files, and what is known of the others.
    pub bytes: u64,
}

impl Default for CacheOptions {
    /// A thousand descriptors (servers raise their limit far beyond), 32 MiB.
    fn default() -> Self {
        Self {
            descriptors: 1000,
            bytes: 32 << 20,
        }
    }
}

/// Compression while sending, of texts alone.
///
/// Off unless asked for. A page that holds a secret beside something that a client chose (a token beside a search term)
/// tells the secret by its compressed length (BREACH, 2013): leave it off where pages are made for someone. And it costs
/// CPU for every response: siblings made once cost nothing and compress better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compression {
    /// Shorter ones are sent as they are; bytes.
    pub shortest: u64,
    /// Longer ones too: what takes long to compress belongs on disk.
    pub longest: u64,
}

impl Default for Compression {
    fn default() -> Self {
        Self {
            shortest: 1 << 10,
            longest: 1 << 20,
        }
    }
}

/// What happens at a symbolic link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// Followed while it is relative and stays beneath the root (or the directory that a policy placed the request in).
    #[default]
    Beneath,
    /// What it names is not there. The path of the root itself may still be one.
    Deny,
}

/// What happens to names that begin with a dot.
///
/// The names that were asked for count, whether a client, a policy or this configuration asked; the names that a
/// symbolic link leads through do not, so that `current -> .releases/7` works: whoever made the link decided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dotfiles {
    /// Not there, apart from what is beneath `/.well-known/` (RFC 8615).
    #[default]
    Hide,
    Serve,
}

/// What happens when a file grows while it is being sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Growing {
    /// The response ends early, as after every other change: the file may have been written anew from its beginning.
    #[default]
    End,
    /// The bytes that were promised are sent. Right only where files are appended to and never written anew in place
    /// (logs, recordings): there is no telling the two apart.
    Continue,
}

/// How many machines serve the same files under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machines {
    /// One, or several from one shared file system: a file's inode is part of its entity tag.
    #[default]
    One,
    /// Several from copies of their own, whose inodes differ: it is left out. The copies must keep modification times.
    Several,
}

/// How a path is opened beneath a root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resolver {
    /// By openat2 where the kernel has it and lets us (Linux 5.6; some sandboxes refuse it), else step by step.
    #[default]
    Automatic,
    /// Step by step, always: for kernels whose openat2 is not to be trusted, and for comparing the two.
    Steps,
}
