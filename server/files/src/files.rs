//! One site's files: its roots, and the search for the first candidate that exists.
use crate::{
    Answer, Compression, FilesOptions, Listing, Representation, RootOptions, SitePath, Source,
    answer::Head,
    beneath::{self, Patience},
    cache::{Asked, Key},
    compress,
    known::Known,
    listing,
    opened::{self, patiently},
    options::Location,
    pool::Pool,
    remote::{Prefix, RemoteRoot},
    root::{Base, BaseKey, Root},
    search::{self, Scope, Search},
    store::StoreError,
    trouble::Trouble,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::{fmt, path::PathBuf, sync::Arc, time::Instant};
use tokio::sync::Semaphore;

#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    #[error("cannot open the root {path}")]
    Root { path: PathBuf, source: std::io::Error },
    #[error("cannot open the root {location}")]
    Store {
        location: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("there is no root: a site needs at least one")]
    NoRoot,
    #[error("there are two roots of the name {0}")]
    RootTwice(String),
    #[error("the index {index:?} of the root {root} is not a file name")]
    Index { root: String, index: String },
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

/// What happens when no candidate exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The first of these that exists is sent.
    Page { paths: Vec<SitePath>, status: StatusCode },
    /// The request is led elsewhere.
    Redirect { status: StatusCode, location: HeaderValue },
}

/// How often an object is looked up anew that changes between being looked up and being read.
const ATTEMPTS: usize = 3;

/// What a lookup led to.
pub enum Found {
    File(Selected),
    /// A directory without an index whose listing is allowed: a page that is streamed.
    Listing(Listing),
    /// A directory that was asked for without its trailing slash: the relative reference for Location.
    Redirect(String),
    /// Nothing there: where the request is led instead.
    Elsewhere {
        status: StatusCode,
        location: HeaderValue,
    },
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
    pub source: Source,
    pub representation: Arc<Representation>,
    pub(crate) head: Arc<Head>,
}

// === impl Missing, Found, Selected ===

/// `404 /a.html, /b.html`, or `302 to /elsewhere`, for someone to read.
impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page { paths, status } => {
                write!(f, "{}", status.as_u16())?;
                let mut between = " ";
                for path in paths {
                    write!(f, "{between}{path}")?;
                    between = ", ";
                }
                Ok(())
            }
            Self::Redirect { status, location } => {
                write!(
                    f,
                    "{} to {}",
                    status.as_u16(),
                    String::from_utf8_lossy(location.as_bytes())
                )
            }
        }
    }
}

impl Found {
    pub(crate) fn elsewhere(status: StatusCode, location: &HeaderValue) -> Self {
        let location = location.clone();
        Self::Elsewhere { status, location }
    }
}

impl Selected {
    pub fn new(source: impl Into<Source>, representation: Representation) -> Self {
        Self {
            source: source.into(),
            head: Arc::new(Head::of(&representation)),
            representation: Arc::new(representation),
        }
    }
}

/// One site's files.
pub struct Files {
    roots: Vec<AnyRoot>,
    shared: Arc<Shared>,
}

/// A directory or a prefix in a store.
enum AnyRoot {
    Local(Arc<Root>),
    Remote(Arc<RemoteRoot>),
}

/// What a search takes place beneath.
enum AnyScope {
    Local(Scope),
    Remote(Prefix),
}

/// What the roots of a site share.
pub(crate) struct Shared {
    pub(crate) pool: Arc<Pool>,
    pub(crate) compression: Option<Compression>,
    /// KiB that sorted listings may hold.
    pub(crate) listing_memory: Arc<Semaphore>,
}

impl Files {
    /// Opens the roots, with a pool of their own. Blocks; needs no runtime.
    ///
    /// # Errors
    /// A root that cannot be opened; none; two of one name.
    pub fn new(options: FilesOptions) -> Result<Self, FilesError> {
        let pool = Pool::new(&options.cache, options.protected.clone());
        Self::within(pool, options)
    }

    /// As [`Files::new`], within a pool that other sites use too. The bounds of the cache are the pool's.
    pub fn within(pool: Arc<Pool>, options: FilesOptions) -> Result<Self, FilesError> {
        pool.protect_also(options.protected);
        let method = beneath::Method::choose(options.resolver);
        let mut roots: Vec<AnyRoot> = Vec::with_capacity(options.roots.len());
        for (name, root) in options.roots {
            if roots.iter().any(|other| other.name() == name) {
                return Err(FilesError::RootTwice(name));
            }
            let is_name = |index: &&String| {
                !index.is_empty() && !index.contains('/') && SitePath::from_decoded(&format!("/{index}")).is_ok()
            };
            if let Some(index) = root.index.iter().find(|index| !is_name(index)) {
                return Err(FilesError::Index {
                    root: name,
                    index: index.clone(),
                });
            }
            roots.push(AnyRoot::open(&pool, name, root, method)?);
        }
        if roots.is_empty() {
            return Err(FilesError::NoRoot);
        }
        let shared = Shared {
            pool,
            compression: options.compression,
            listing_memory: Arc::new(Semaphore::new(listing::MEMORY)),
        };
        Ok(Self {
            roots,
            shared: Arc::new(shared),
        })
    }

    /// Replaces the files and directories that are never served: see [`Pool::protect`].
    pub fn protect(&self, paths: Vec<PathBuf>) {
        self.shared.pool.protect(paths);
    }

    /// The first of the targets that exists, or what stands for it. Never blocks the calling worker.
    pub async fn open(&self, lookup: &Lookup<'_>) -> Found {
        match self.scope(lookup.place).await {
            Ok(AnyScope::Local(scope)) => Search(&scope).run(lookup).await,
            // On the heap, so that a search of a directory does not carry the room for it.
            Ok(AnyScope::Remote(prefix)) => Box::pin(prefix.search(lookup)).await,
            // The directory that the request was placed in is not there, and so nothing in it.
            Err(Trouble::NotThere) => {
                let status = match lookup.missing {
                    Some(Missing::Redirect { status, location }) => return Found::elsewhere(*status, location),
                    Some(Missing::Page { status, .. }) => without_page(*status),
                    None => StatusCode::NOT_FOUND,
                };
                let page = Box::pin(self.error_page(status, lookup.place, lookup.headers)).await;
                Found::Missing { page, status }
            }
            Err(trouble) => search::failed(trouble),
        }
    }

    /// As [`Files::open`], when all that the search asks for was looked up less than a second before `now`, and ends at a
    /// file: without a system call. `None`: it has to be found out.
    pub fn open_known(&self, lookup: &Lookup<'_>, now: Instant) -> Option<Selected> {
        let (root, base) = self.known_base(lookup.place, now)?;
        let pool = &self.shared.pool;
        let known = Known {
            root,
            base,
            cache: &pool.cache,
            generation: pool.generation(),
            now,
        };
        known.file(lookup)
    }

    fn known_base(&self, place: Option<&Place>, now: Instant) -> Option<(&Root, BaseKey)> {
        let root = match place {
            None => self.roots.first()?,
            Some(place) => self.roots.iter().find(|root| root.name() == place.root)?,
        };
        let AnyRoot::Local(root) = root else { return None };
        let base = root.fresh_key(now)?;
        let Some(directory) = place
            .map(|place| &place.directory)
            .filter(|of| !of.relative().is_empty())
        else {
            return Some((root, base));
        };
        if search::is_hidden(directory, &root.options) {
            return None;
        }
        let path = directory.relative();
        let placed = self.shared.pool.directories.get(&Asked { base, path })?;
        placed.is_fresh().then_some((root, placed.key))
    }

    /// Waits until the store has promised the bytes of an answer to a GET (see [`Content::begin`]), or answers what that
    /// means: an object that was replaced since it was looked up is looked up again.
    pub async fn begin(&self, lookup: &Lookup<'_>, mut answer: Answer) -> Answer {
        let mut attempts = 1;
        loop {
            let error = match answer.content.begin().await {
                Ok(()) => return answer,
                Err(error) => error,
            };
            let found = match error {
                StoreError::Changed | StoreError::NotThere if attempts < ATTEMPTS => self.open(lookup).await,
                // It was there, and somebody replaces it faster than we can look.
                StoreError::Changed | StoreError::NotThere => search::failed(Trouble::Busy),
                error => search::failed(error.into()),
            };
            attempts += 1;
            answer = crate::answer(&Method::GET, lookup.headers, found);
        }
    }

    /// Asks the store of each root that is in one for anything at all. Gives the name of the root, where it is, and what
    /// came of it.
    pub async fn ask_stores(&self) -> Vec<(&str, String, Result<(), StoreError>)> {
        let mut answers = Vec::new();
        for root in &self.roots {
            if let AnyRoot::Remote(root) = root {
                answers.push((root.name(), root.options().location.to_string(), root.ask().await));
            }
        }
        answers
    }

    /// The page that the options name for a status: of the directory that the request was placed in, else of its root.
    /// `headers` are the request's, for Accept-Encoding. For answers that no page came with: [`Found::Failed`], and those
    /// that were given before anything was looked up.
    pub async fn error_page(&self, status: StatusCode, place: Option<&Place>, headers: &HeaderMap) -> Option<Selected> {
        if let Ok(scope) = self.scope(place).await
            && let Some(page) = scope.error_page(status, headers).await
        {
            return Some(page);
        }
        let scope = self.root_scope(self.root(place?).ok()?).await.ok()?;
        scope.error_page(status, headers).await
    }

    /// Compresses what an answer sends when the options ask for it, the content may be and the client accepts it. To be
    /// called with the request's header fields on every answer, before policies change its fields.
    pub fn compress(&self, headers: &HeaderMap, answer: Answer) -> Answer {
        match &self.shared.compression {
            Some(compression) => compress::compress(compression, headers, answer),
            None => answer,
        }
    }

    /// Whether answers may be compressed on their way.
    pub fn compresses(&self) -> bool {
        self.shared.compression.is_some()
    }

    fn root(&self, place: &Place) -> Result<&AnyRoot, Trouble> {
        self.roots.iter().find(|root| root.name() == place.root).ok_or_else(|| {
            tracing::error!(
                root = place.root,
                "a policy placed a request in a root that the site does not have"
            );
            Trouble::Broken
        })
    }

    async fn scope(&self, place: Option<&Place>) -> Result<AnyScope, Trouble> {
        match self.try_scope(place).await {
            // What is kept open for later gives way to what is asked for now.
            Err(Trouble::Exhausted) if !self.shared.pool.cache.is_empty() => {
                self.shared.pool.cache.clear();
                Box::pin(self.try_scope(place)).await
            }
            scope => scope,
        }
    }

    async fn try_scope(&self, place: Option<&Place>) -> Result<AnyScope, Trouble> {
        let Some(place) = place else {
            return self.root_scope(&self.roots[0]).await;
        };
        match self.root(place)? {
            AnyRoot::Local(root) => {
                let base = root_base(&self.shared.pool, root).await?;
                let base = Box::pin(self.placed(root, base, &place.directory)).await?;
                Ok(AnyScope::Local(self.scope_of(root, base)))
            }
            AnyRoot::Remote(root) => Ok(AnyScope::Remote(Prefix::placed(&self.shared, root, &place.directory)?)),
        }
    }

    /// All of a root.
    async fn root_scope(&self, root: &AnyRoot) -> Result<AnyScope, Trouble> {
        Ok(match root {
            AnyRoot::Local(root) => AnyScope::Local(self.scope_of(root, root_base(&self.shared.pool, root).await?)),
            AnyRoot::Remote(root) => AnyScope::Remote(Prefix::whole(&self.shared, root)),
        })
    }

    fn scope_of(&self, root: &Arc<Root>, base: Arc<Base>) -> Scope {
        let protected = self.shared.pool.protected();
        Scope {
            shared: Arc::clone(&self.shared),
            root: Arc::clone(root),
            base,
            protected,
        }
    }

    /// The directory that a policy placed the search in, at most a second old.
    async fn placed(&self, root: &Arc<Root>, base: Arc<Base>, directory: &SitePath) -> Result<Arc<Base>, Trouble> {
        if search::is_hidden(directory, &root.options) {
            return Err(Trouble::NotThere);
        }
        if directory.relative().is_empty() {
            return Ok(base);
        }
        let key = Key {
            base: base.key,
            path: directory.relative().into(),
        };
        if let Some(fresh) = self.shared.pool.directories.get(&key).filter(|base| base.is_fresh()) {
            return Ok(fresh);
        }
        let directory = directory.relative().to_owned();
        let ahead = || root.device_ahead(&base, &directory);
        let (base, directory) = (Arc::clone(&base), directory.clone());
        let placing = patiently(root, ahead, move |root, patience| {
            let found = root.place(&base, &directory, patience);
            found.map_err(|errno| opened::sort(errno, root, &directory, patience))
        });
        let placed = Arc::new(placing.await?);
        self.shared.pool.directories.insert(key, Arc::clone(&placed));
        Ok(placed)
    }
}

impl Drop for Files {
    /// What is being sent is sent to its end. Open files that nobody asks for are closed within seconds by themselves.
    fn drop(&mut self) {
        let numbers: Vec<usize> = self.roots.iter().filter_map(AnyRoot::number).collect();
        self.shared.pool.forget_roots(&numbers);
    }
}

/// The status when none of the pages that were named for it exists: nothing is there to be sent with 200.
pub(crate) fn without_page(status: StatusCode) -> StatusCode {
    match status {
        StatusCode::OK => StatusCode::NOT_FOUND,
        status => status,
    }
}

// === impl AnyRoot, AnyScope ===

impl AnyRoot {
    fn open(pool: &Arc<Pool>, name: String, root: RootOptions, method: beneath::Method) -> Result<Self, FilesError> {
        match root.location.clone() {
            Location::Directory(path) => {
                let opened = Root::new(pool, name, path.clone(), root, method);
                let opened = opened.map_err(|errno| FilesError::Root {
                    path,
                    source: errno.into(),
                })?;
                Ok(Self::Local(Arc::new(opened)))
            }
            Location::Store(place) => {
                let stores = pool.stores.as_ref().ok_or("this server cannot open stores".into());
                let store = stores.and_then(|stores| stores.open(&place.store));
                let store = store.map_err(|source| FilesError::Store {
                    location: root.location.to_string(),
                    source,
                })?;
                Ok(Self::Remote(Arc::new(RemoteRoot::new(name, root, &place, store))))
            }
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Local(root) => &root.name,
            Self::Remote(root) => root.name(),
        }
    }

    /// Of roots that descriptors are kept of.
    fn number(&self) -> Option<usize> {
        match self {
            Self::Local(root) => Some(root.number()),
            Self::Remote(_) => None,
        }
    }
}

impl AnyScope {
    async fn error_page(&self, status: StatusCode, headers: &HeaderMap) -> Option<Selected> {
        match self {
            Self::Local(scope) => Search(scope).error_page(status, headers).await,
            Self::Remote(prefix) => Box::pin(Search(prefix).error_page(status, headers)).await,
        }
    }
}

async fn root_base(pool: &Arc<Pool>, root: &Arc<Root>) -> Result<Arc<Base>, Trouble> {
    let pool = Arc::clone(pool);
    let opening = patiently(
        root,
        || root.device(),
        move |root, patience| {
            root.base(&pool, patience).map_err(|errno| match Trouble::of(errno) {
                Trouble::WouldBlock if patience == Patience::Never => Trouble::WouldBlock,
                Trouble::Exhausted => opened::sort(errno, root, "", patience),
                // A root that is gone is the operator's trouble, not a sign that every file was deleted.
                _ => {
                    let (path, error): (_, &dyn std::error::Error) = (root.path().display(), &errno);
                    tracing::error!(root = root.name, %path, error, "cannot open the root");
                    Trouble::Busy
                }
            })
        },
    );
    opening.await
}
