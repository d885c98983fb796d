//! One site's files: its roots, and the search for the first candidate that exists.
use crate::{
    FilesOptions, OpenFile, Representation, SitePath,
    beneath::Method,
    opened::patiently,
    protect::Protected,
    root::Root,
    search::{self, Scope},
    trouble::Trouble,
};
use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, StatusCode};
use std::{path::PathBuf, sync::Arc};

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot open the root {path}")]
    Root { path: PathBuf, source: std::io::Error },
    #[error("there is no root: a site needs at least one")]
    NoRoot,
    #[error("there are two roots of the name {0}")]
    RootTwice(String),
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
#[derive(Clone, Debug)]
pub struct Selected {
    pub file: Arc<OpenFile>,
    pub representation: Arc<Representation>,
}

/// One site's files.
pub struct Files {
    roots: Vec<Arc<Root>>,
    protected: ArcSwap<Protected>,
}

impl Files {
    /// Opens the roots. Blocks; needs no runtime.
    ///
    /// # Errors
    /// A root that cannot be opened; none; two of one name.
    pub fn new(options: FilesOptions) -> Result<Self, FilesError> {
        let method = Method::choose(options.resolver);
        let mut roots: Vec<Arc<Root>> = Vec::with_capacity(options.roots.len());
        for (name, root) in options.roots {
            if roots.iter().any(|other| other.name == name) {
                return Err(FilesError::RootTwice(name));
            }
            let path = root.path.clone();
            let root = Root::new(name, root, method).map_err(|errno| FilesError::Root {
                path,
                source: errno.into(),
            })?;
            roots.push(Arc::new(root));
        }
        if roots.is_empty() {
            return Err(FilesError::NoRoot);
        }
        let protected = ArcSwap::from_pointee(Protected::new(options.protected));
        Ok(Self { roots, protected })
    }

    /// Replaces the files and directories that are never served; what is being sent goes on. Blocks.
    pub fn protect(&self, paths: Vec<PathBuf>) {
        self.protected.store(Arc::new(Protected::new(paths)));
    }

    /// The first of the targets that exists, or what stands for it. Never blocks the calling worker.
    pub async fn open(&self, lookup: &Lookup<'_>) -> Found {
        match self.scope(lookup.place).await {
            Ok(scope) => scope.search(lookup).await,
            Err(Trouble::NotThere) => Found::Missing {
                page: None,
                status: StatusCode::NOT_FOUND,
            },
            Err(trouble) => search::failed(trouble),
        }
    }

    /// The page that a site's options name for a status, for answers that no lookup led to.
    pub async fn error_page(&self, status: StatusCode, place: Option<&Place>) -> Option<Selected> {
        if let Ok(scope) = self.scope(place).await
            && let Some(page) = scope.error_page(status).await
        {
            return Some(page);
        }
        place?;
        self.scope(None).await.ok()?.error_page(status).await
    }

    async fn scope(&self, place: Option<&Place>) -> Result<Scope, Trouble> {
        let root = match place {
            None => &self.roots[0],
            Some(place) => self.roots.iter().find(|root| root.name == place.root).ok_or_else(|| {
                tracing::error!(
                    root = place.root,
                    "a policy placed a request in a root that the site does not have"
                );
                Trouble::Broken
            })?,
        };
        let base = patiently(root, |root, patience| {
            root.base(patience).map_err(|errno| match Trouble::of(errno) {
                Trouble::WouldBlock if patience == crate::beneath::Patience::Never => Trouble::WouldBlock,
                // A root that is gone is the operator's trouble, not a sign that every file was deleted.
                _ => {
                    let (path, error): (_, &dyn std::error::Error) = (root.options.path.display(), &errno);
                    tracing::error!(root = root.name, %path, error, "cannot open the root");
                    Trouble::Busy
                }
            })
        });
        let base = base.await?;
        let base = match place {
            Some(place) => search::place(root, base, &place.directory).await?,
            None => base,
        };
        Ok(Scope {
            root: Arc::clone(root),
            base,
            protected: self.protected.load_full(),
        })
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
