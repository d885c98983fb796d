//! The search for the first candidate that exists, and what stands in for it when none does.
use crate::{
    Coding, Dotfiles, FileState, Found, Lookup, Machines, OpenFile, Representation, Selected, SitePath,
    beneath::Patience,
    opened::{self, Opened, patiently},
    options::RootOptions,
    protect::Protected,
    root::{Base, Root},
    trouble::Trouble,
};
use http::StatusCode;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::{sync::Arc, time::SystemTime};

/// Where a search takes place: a root, and the directory in it that nothing leads out of.
pub(crate) struct Scope {
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
pub(crate) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b'@');

impl Scope {
    /// The first candidate that exists. One that fails other than by not being there ends the search.
    pub(crate) async fn search(&self, lookup: &Lookup<'_>) -> Found {
        let mut redirect = false;
        for target in lookup.targets {
            match self.target(target).await {
                Ok(Target::File(selected)) => return Found::File(selected),
                Ok(Target::Directory) => redirect |= target == lookup.path,
                Err(Trouble::NotThere) => {}
                Err(trouble) => return failed(trouble),
            }
        }
        if redirect {
            return Found::Redirect(with_slash(lookup.path, lookup.query));
        }
        self.missing(lookup).await
    }

    /// The page for a failure, as the root's options say. Without one, or when it cannot be read, `None`.
    pub(crate) async fn error_page(&self, status: StatusCode) -> Option<Selected> {
        let (_, path) = self.root.options.error_pages.iter().find(|(of, _)| *of == status)?;
        self.page(path).await.ok()
    }

    async fn missing(&self, lookup: &Lookup<'_>) -> Found {
        let mut status = StatusCode::NOT_FOUND;
        if let Some(missing) = lookup.missing {
            for path in &missing.paths {
                match self.page(path).await {
                    Ok(page) => {
                        return Found::Missing {
                            page: Some(page),
                            status: missing.status,
                        };
                    }
                    Err(Trouble::NotThere) => {}
                    Err(trouble) => return failed(trouble),
                }
            }
            // Nothing is there to be sent with 200.
            if missing.status != StatusCode::OK {
                status = missing.status;
            }
        } else if let Some(fallback) = &self.root.options.fallback {
            match self.page(fallback).await {
                Ok(page) => {
                    return Found::Missing {
                        page: Some(page),
                        status: StatusCode::OK,
                    };
                }
                Err(Trouble::NotThere) => {}
                Err(trouble) => return failed(trouble),
            }
        }
        Found::Missing {
            page: self.error_page(status).await,
            status,
        }
    }

    async fn page(&self, path: &SitePath) -> Result<Selected, Trouble> {
        match self.target(path).await? {
            Target::File(selected) => Ok(selected),
            Target::Directory => Err(Trouble::NotThere),
        }
    }

    async fn target(&self, target: &SitePath) -> Result<Target, Trouble> {
        if is_hidden(target, &self.root.options) {
            return Err(Trouble::NotThere);
        }
        let path = target.relative();
        match (self.fetch(path).await?, target.is_directory()) {
            (Opened::File(file), false) => Ok(Target::File(select(path, file, &self.root.options))),
            (Opened::File(_), true) => Err(Trouble::NotThere),
            (Opened::Directory, false) => Ok(Target::Directory),
            (Opened::Directory, true) => self.index(path).await,
        }
    }

    async fn index(&self, path: &str) -> Result<Target, Trouble> {
        for name in &self.root.options.index {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}/{name}")
            };
            match self.fetch(&path).await {
                Ok(Opened::File(file)) => return Ok(Target::File(select(&path, file, &self.root.options))),
                Ok(Opened::Directory) | Err(Trouble::NotThere) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Err(Trouble::NotThere)
    }

    async fn fetch(&self, path: &str) -> Result<Opened, Trouble> {
        let (base, protected, path) = (Arc::clone(&self.base), Arc::clone(&self.protected), path.to_owned());
        patiently(&self.root, move |root, patience| {
            opened::open(root, &base, &path, &protected, patience)
        })
        .await
    }
}

/// What a target is.
enum Target {
    File(Selected),
    /// A directory that was asked for without its slash.
    Directory,
}

fn select(path: &str, file: OpenFile, options: &RootOptions) -> Selected {
    let name = path.rsplit('/').next().unwrap_or(path);
    let stat = file.stat();
    let state = FileState {
        length: stat.length,
        modified: stat.modified.system_time(),
        inode: (options.machines == Machines::One).then_some(stat.identity.inode),
    };
    let content_type = options.media_types.of(name);
    let representation = Representation::of_file(&state, content_type, Coding::Identity, false, SystemTime::now());
    Selected {
        file: Arc::new(file),
        representation: Arc::new(representation),
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

/// The directory that a policy placed the search in.
pub(crate) async fn place(root: &Arc<Root>, base: Arc<Base>, directory: &SitePath) -> Result<Arc<Base>, Trouble> {
    if is_hidden(directory, &root.options) {
        return Err(Trouble::NotThere);
    }
    if directory.relative().is_empty() {
        return Ok(base);
    }
    let directory = directory.relative().to_owned();
    let placing = patiently(root, move |root: &Root, patience: Patience| {
        let found = root.place(&base, &directory, patience);
        found.map_err(|errno| opened::sort(errno, root, &directory, patience))
    });
    Ok(Arc::new(placing.await?))
}
