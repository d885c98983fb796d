//! The search for the first candidate that exists, and what stands in for it when none does.
use crate::{
    Dotfiles, Found, Lookup, Missing, Selected, SitePath,
    beneath::Patience,
    entry::{Entry, Variants, What},
    files::{Shared, without_page},
    options::{Listings, RootOptions},
    path::NOT_PATH,
    protect::Protected,
    root::{Base, Root},
    trouble::Trouble,
};
use http::{HeaderMap, StatusCode};
use percent_encoding::{AsciiSet, utf8_percent_encode};
use std::{borrow::Cow, sync::Arc, time::Instant};

/// Where a search takes place: a root, and the directory in it that nothing leads out of.
#[derive(Clone)]
pub(crate) struct Scope {
    pub(crate) shared: Arc<Shared>,
    pub(crate) root: Arc<Root>,
    pub(crate) base: Arc<Base>,
    pub(crate) protected: Arc<Protected>,
}

/// Characters of a query that a field value or a reference cannot hold; everything else stays as it was sent.
const QUERY: &AsciiSet = &percent_encoding::CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>');

/// Everything but what RFC 3986, section 3.3 allows in a segment; `:` too, so that no segment looks like a scheme.
pub(crate) const SEGMENT: &AsciiSet = &NOT_PATH.add(b':').add(b'/');

/// What is searched: a directory and what is beneath it, or the objects of a store.
pub(crate) trait Ground: Sync {
    fn options(&self) -> &RootOptions;

    /// What a path that may be known of leads to. Whether it is a directory that was asked for without its slash is only
    /// to be found out for those who are to be sent on.
    fn target(&self, target: &SitePath, slash: Slash) -> impl Future<Output = Result<Target, Trouble>> + Send;

    /// The listing of a directory that a search led to.
    fn listing(&self, target: &SitePath, lookup: &Lookup<'_>) -> impl Future<Output = Found> + Send;
}

/// Whether anybody would be sent to a directory's own path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slash {
    Redirects,
    Nothing,
}

/// The search beneath a ground.
pub(crate) struct Search<'a, G>(pub(crate) &'a G);

impl<G: Ground> Search<'_, G> {
    /// The first candidate that exists. One that fails other than by not being there ends the search.
    pub(crate) async fn run(&self, lookup: &Lookup<'_>) -> Found {
        let mut redirect = false;
        for target in lookup.targets {
            let slash = match is_same_folder(target, lookup.path) {
                true => Slash::Redirects,
                false => Slash::Nothing,
            };
            match self.target(target, slash).await {
                Ok(Target::File(variants)) => return file(&variants, lookup.headers),
                Ok(Target::Listing) => return self.0.listing(target, lookup).await,
                Ok(Target::Directory) => redirect |= slash == Slash::Redirects,
                Err(Trouble::NotThere) => {}
                Err(trouble) => return failed(trouble),
            }
        }
        if redirect {
            return Found::Redirect(with_slash(lookup.path, lookup.query));
        }
        Box::pin(self.missing(lookup)).await
    }

    /// The page for a failure, as the root's options say. Without one, or when it cannot be read, `None`.
    pub(crate) async fn error_page(&self, status: StatusCode, headers: &HeaderMap) -> Option<Selected> {
        let (_, path) = self.0.options().error_pages.iter().find(|(of, _)| *of == status)?;
        self.page(path, headers).await.ok()
    }

    async fn missing(&self, lookup: &Lookup<'_>) -> Found {
        let fallback = self.0.options().fallback.as_slice();
        let (pages, status) = match lookup.missing {
            Some(Missing::Redirect { status, location }) => return Found::elsewhere(*status, location),
            Some(Missing::Page { paths, status }) => (paths.as_slice(), *status),
            None => (fallback, StatusCode::OK),
        };
        for path in pages {
            match self.page(path, lookup.headers).await {
                Ok(page) => {
                    let page = Some(page);
                    return Found::Missing { page, status };
                }
                Err(Trouble::NotThere) => {}
                Err(trouble) => return failed(trouble),
            }
        }
        let status = without_page(status);
        Found::Missing {
            page: self.error_page(status, lookup.headers).await,
            status,
        }
    }

    /// A page that stands in for what is not there. A client that refuses every coding of it gets the file itself.
    async fn page(&self, path: &SitePath, headers: &HeaderMap) -> Result<Selected, Trouble> {
        let Target::File(variants) = self.target(path, Slash::Nothing).await? else {
            return Err(Trouble::NotThere);
        };
        Ok(variants
            .negotiate(headers)
            .unwrap_or_else(|| variants.original().clone()))
    }

    async fn target(&self, target: &SitePath, slash: Slash) -> Result<Target, Trouble> {
        if is_hidden(target, self.0.options()) {
            return Err(Trouble::NotThere);
        }
        self.0.target(target, slash).await
    }
}

impl Ground for Scope {
    fn options(&self) -> &RootOptions {
        &self.root.options
    }

    async fn target(&self, target: &SitePath, _slash: Slash) -> Result<Target, Trouble> {
        let path = target.relative();
        let entry = self.fetch(path).await?;
        match (&entry.what, target.is_directory()) {
            (What::File(variants), false) => Ok(Target::File(Arc::clone(variants))),
            (What::File(_), true) | (What::NotThere, _) => Err(Trouble::NotThere),
            (What::Directory, false) => Ok(Target::Directory),
            (What::Directory, true) => self.index(path).await,
            (What::Failed(trouble), _) => Err(*trouble),
        }
    }

    async fn listing(&self, target: &SitePath, lookup: &Lookup<'_>) -> Found {
        self.list(target, lookup).await
    }
}

impl Scope {
    async fn index(&self, path: &str) -> Result<Target, Trouble> {
        for name in &self.root.options.index {
            let entry = self.fetch(&within(path, name)).await?;
            match &entry.what {
                What::File(variants) => return Ok(Target::File(Arc::clone(variants))),
                What::Directory | What::NotThere => {}
                What::Failed(trouble) => return Err(*trouble),
            }
        }
        match self.root.options.listing {
            Listings::Off => Err(Trouble::NotThere),
            Listings::On => Ok(Target::Listing),
        }
    }

    /// What `path` leads to, at most a second old.
    async fn fetch(&self, path: &str) -> Result<Arc<Entry>, Trouble> {
        match self.look(path).await {
            // What is kept open for later gives way to what is asked for now.
            Err(Trouble::Exhausted) if !self.shared.pool.cache.is_empty() => {
                self.shared.pool.cache.clear();
                Box::pin(self.look(path)).await
            }
            looked => looked,
        }
    }

    async fn look(&self, path: &str) -> Result<Arc<Entry>, Trouble> {
        let (cache, generation) = (&self.shared.pool.cache, self.protected.generation());
        loop {
            let earlier = cache.get(self.base.key, path);
            if let Some(entry) = earlier
                .as_ref()
                .filter(|entry| entry.is_fresh(generation, Instant::now()))
            {
                cache.note_hits(1);
                return Ok(Arc::clone(entry));
            }
            cache.note_miss();
            match Entry::load(self, path, earlier.as_deref(), Patience::Never) {
                Err(Trouble::WouldBlock) => {}
                loaded => {
                    let entry = Arc::new(loaded?);
                    cache.insert(self.base.key, path, Arc::clone(&entry));
                    return Ok(entry);
                }
            }
            let load = async {
                let ahead = self.root.device_ahead(&self.base, path);
                let (scope, earlier, path) = (self.clone(), earlier.clone(), path.to_owned());
                let job = move || Entry::load(&scope, &path, earlier.as_deref(), Patience::AsLongAsItTakes);
                self.root.elsewhere(ahead, job).await.map(Arc::new)
            };
            // On the heap, because an entry that is found should not carry the room for making one.
            let entry = Box::pin(cache.replace(self.base.key, path, earlier.as_ref(), load)).await?;
            // Whoever loaded it may have judged it by a protected set that has been replaced meanwhile.
            if entry.generation() == generation {
                return Ok(entry);
            }
        }
    }
}

/// Whether a folder is what a path without its slash asks for: it has the path's own name, wherever a mapping put it (a
/// tenant's directory, a language's). What another folder is called is nobody's business.
fn is_same_folder(target: &SitePath, path: &SitePath) -> bool {
    !path.is_directory() && target.name() == path.name()
}

/// The path of a name in a directory.
pub(crate) fn within<'a>(directory: &str, name: &'a str) -> Cow<'a, str> {
    match directory {
        "" => name.into(),
        _ => format!("{directory}/{name}").into(),
    }
}

/// What a target is.
pub(crate) enum Target {
    File(Arc<Variants>),
    /// A directory without an index whose listing is allowed.
    Listing,
    /// A directory that was asked for without its slash.
    Directory,
}

/// A file in the variant that the client wants. 406 when it refuses every one there is.
fn file(variants: &Variants, headers: &HeaderMap) -> Found {
    match variants.negotiate(headers) {
        Some(selected) => Found::File(selected),
        None => Found::Failed {
            status: StatusCode::NOT_ACCEPTABLE,
            retry_after: None,
        },
    }
}

pub(crate) fn failed(trouble: Trouble) -> Found {
    let (status, retry_after) = trouble.answer();
    Found::Failed { status, retry_after }
}

/// Whether a name on the way begins with a dot and may not be known of.
pub(crate) fn is_hidden(path: &SitePath, options: &RootOptions) -> bool {
    if options.dotfiles == Dotfiles::Serve {
        return false;
    }
    // Nearly no path has a name that begins with a dot.
    if !path.as_str().as_bytes().windows(2).any(|pair| pair == b"/.") {
        return false;
    }
    let mut segments = path.segments().peekable();
    // Only as the first segment: /.well-known/ is at the top of a site (RFC 8615, section 3).
    segments.next_if(|first| *first == ".well-known");
    segments.any(|segment| segment.starts_with('.'))
}

/// The reference from a path without its slash to the one with it: relative, so that it holds behind proxies that strip
/// or add a prefix.
fn with_slash(path: &SitePath, query: Option<&str>) -> String {
    let name = path.segments().last().unwrap_or_default();
    let mut reference = utf8_percent_encode(name, SEGMENT).to_string();
    reference.push('/');
    if let Some(query) = query {
        reference.push('?');
        reference.extend(utf8_percent_encode(query, QUERY));
    }
    reference
}
