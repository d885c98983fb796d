//! One site's files: its roots, and the search for the first candidate that exists.
use crate::{OpenFile, Representation, SitePath};
use http::{HeaderMap, HeaderValue, StatusCode};
use std::{path::PathBuf, sync::Arc};

/// How a site's files are served.
pub struct FilesOptions {
    /// Named roots; the first is where paths are looked up unless a policy places them elsewhere.
    pub roots: Vec<(String, RootOptions)>,
}

pub struct RootOptions {
    pub path: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot open the root {path}")]
    Root { path: PathBuf, source: std::io::Error },
}

/// What to look up.
pub struct Lookup<'a> {
    /// The request's own path: redirects to the trailing slash are built from it.
    pub path: &'a SitePath,
    pub query: Option<&'a str>,
    /// Candidates, most wanted first.
    pub targets: &'a [SitePath],
    pub place: Option<&'a Place>,
    pub missing: Option<&'a Missing>,
    /// The request's header fields, for Accept-Encoding and Accept.
    pub headers: &'a HeaderMap,
}

/// A root by name and the directory beneath it that confines the search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub root: String,
    pub directory: SitePath,
}

/// What is sent when no candidate exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub paths: Vec<SitePath>,
    pub status: StatusCode,
}

/// What a lookup led to.
pub enum Found {
    File(Selected),
    /// A directory without an index whose listing is allowed: a page that is streamed.
    Listing(crate::Listing),
    /// A directory that was asked for without its trailing slash: the relative reference for Location.
    Redirect(String),
    /// Nothing there: the page to show, and 404, 410 or (single-page fallback) 200.
    Missing {
        page: Option<Selected>,
        status: StatusCode,
    },
    /// Something is there that cannot be given: 403, 500 or 503 (descriptors exhausted: with a time to retry).
    Failed {
        status: StatusCode,
        retry_after: Option<std::time::Duration>,
    },
}

/// An open file in the variant that was chosen for the request.
pub struct Selected {
    pub file: Arc<OpenFile>,
    pub representation: Arc<Representation>,
}

pub struct Files {}

impl Files {
    pub fn new(_options: FilesOptions) -> Result<Self, FilesError> {
        todo!()
    }
    pub async fn open(&self, _lookup: &Lookup<'_>) -> Found {
        todo!()
    }
}

/// The entries of a directory, as a page.
pub struct Listing {
    /// HTML or JSON, as Accept asked.
    pub content_type: HeaderValue,
    pub content: crate::Content,
}

impl Listing {
    /// The page with its Content-Type.
    pub fn into_content(self) -> (HeaderValue, crate::Content) {
        (self.content_type, self.content)
    }
}
