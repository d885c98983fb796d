//! Roots in a store: the same search as beneath a directory, with questions to a store in place of system calls.
//!
//! A key is a file; whatever keys have in front of a slash is a directory. What a store said of a key, that there is none
//! included, is kept in the cache of open files for the root's `metadata_ttl`, and asked for once however many wait. A
//! directory is only asked for where somebody would be sent to it or it would be listed. When the first candidate is not
//! there, those after it are asked for side by side.
use crate::{
    Coding, Found, Lookup, Representation, RootOptions, Selected, SitePath, StoreRoot, compress,
    entry::{self, Entry, NOTHING_PROTECTED, Variants, What},
    files::Shared,
    options::Listings,
    root::{self, BaseKey},
    search::{self, Ground, Search, Slash, Target},
    store::{Object, ObjectVersion, Store, StoreError},
    trouble::Trouble,
};
use futures_util::future::{self, Either, join_all, try_join_all};
use std::{
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Longer keys are refused by every store: S3's limit, in bytes.
const LONGEST_KEY: usize = 1024;

/// How long a failure stands for those who ask next, so that a store in trouble is not asked more than one that is well.
const FAILURE_VALID: Duration = Duration::from_secs(1);

/// Candidates that are asked for ahead of their turn, and how many of them at once. Each is a question that costs, and may
/// turn out not to be needed.
const AHEAD: usize = 8;
const AHEAD_AT_ONCE: usize = 4;

/// What is kept for less may have to be asked for again when it is its turn.
const AHEAD_KEPT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct RemoteRoot {
    key: BaseKey,
    name: String,
    options: RootOptions,
    store: Arc<dyn Store>,
    /// Empty, or ending in a slash.
    prefix: String,
    metadata_ttl: Duration,
}

/// What a search takes place beneath: a root, or a directory of it that nothing leads out of.
#[derive(Clone)]
pub(crate) struct Prefix {
    pub(crate) shared: Arc<Shared>,
    root: Arc<RemoteRoot>,
    /// Of keys: empty, or ending in a slash.
    prefix: String,
}

impl RemoteRoot {
    pub(crate) fn new(name: String, options: RootOptions, place: &StoreRoot, store: Arc<dyn Store>) -> Self {
        let within = options.within.as_deref().unwrap_or_default();
        let segments = place.prefix.split('/').chain(within.split('/'));
        Self {
            key: BaseKey::of_store(root::new_number()),
            name,
            store,
            prefix: segments
                .filter(|segment| !segment.is_empty())
                .map(|segment| format!("{segment}/"))
                .collect(),
            metadata_ttl: place.metadata_ttl,
            options,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the store answers at all.
    pub(crate) async fn ask(&self) -> Result<(), StoreError> {
        self.store.list(&self.prefix, None, 1).await.map(drop)
    }

    pub(crate) fn options(&self) -> &RootOptions {
        &self.options
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

impl Prefix {
    pub(crate) fn whole(shared: &Arc<Shared>, root: &Arc<RemoteRoot>) -> Self {
        Self {
            shared: Arc::clone(shared),
            root: Arc::clone(root),
            prefix: root.prefix.clone(),
        }
    }

    /// The part of a root that a policy placed the search in.
    pub(crate) fn placed(shared: &Arc<Shared>, root: &Arc<RemoteRoot>, directory: &SitePath) -> Result<Self, Trouble> {
        if search::is_hidden(directory, &root.options) {
            return Err(Trouble::NotThere);
        }
        let whole = Self::whole(shared, root);
        let prefix = whole.directory_key(directory.relative());
        Ok(Self { prefix, ..whole })
    }

    pub(crate) fn root(&self) -> &RemoteRoot {
        &self.root
    }

    /// The search, with candidates looked at ahead of their turn.
    pub(crate) async fn search(&self, lookup: &Lookup<'_>) -> Found {
        let ground = Search(self);
        let search = pin!(ground.run(lookup));
        let mut rest = self.candidates(lookup.targets);
        if rest.len() < 2 {
            return search.await;
        }
        let first = rest.remove(0);
        match future::select(search, self.look_ahead(first, rest)).await {
            Either::Left((found, _)) => found,
            Either::Right(((), search)) => search.await,
        }
    }

    /// What targets may lead to, in order. Nothing where answers are not kept until it is their turn.
    fn candidates(&self, targets: &[SitePath]) -> Vec<String> {
        let options = &self.root.options;
        if self.root.metadata_ttl < AHEAD_KEPT {
            return Vec::new();
        }
        let shown = targets.iter().filter(|target| !search::is_hidden(target, options));
        let paths = shown.flat_map(|target| match target.is_directory() {
            true => options
                .index
                .iter()
                .map(|name| index_path(target.relative(), name))
                .collect(),
            false => vec![target.relative().to_owned()],
        });
        paths.take(1 + AHEAD).collect()
    }

    /// Asks for the rest, some at a time, when the first is not there: whoever goes through them in order then finds the
    /// answers, or waits for them, and asks nothing twice.
    fn look_ahead(&self, first: String, rest: Vec<String>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let looked = self.object(&first).await;
            if !looked.is_ok_and(|entry| matches!(entry.what, What::NotThere)) {
                return;
            }
            for paths in rest.chunks(AHEAD_AT_ONCE) {
                // Whose turn it is hears of failures.
                join_all(paths.iter().map(|path| self.object(path))).await;
            }
        })
    }

    fn key(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// What the keys of a directory begin with.
    pub(crate) fn directory_key(&self, path: &str) -> String {
        match path {
            "" => self.prefix.clone(),
            path => format!("{}{path}/", self.prefix),
        }
    }

    async fn index(&self, path: &str) -> Result<Target, Trouble> {
        for name in &self.root.options.index {
            match &self.object(&index_path(path, name)).await?.what {
                What::File(variants) => return Ok(Target::File(Arc::clone(variants))),
                What::Directory | What::NotThere => {}
                What::Failed(trouble) => return Err(*trouble),
            }
        }
        match self.root.options.listing {
            Listings::On if self.is_directory(path).await? => Ok(Target::Listing),
            Listings::On | Listings::Off => Err(Trouble::NotThere),
        }
    }

    /// Whether a path is one: the root itself, or what any key has in front of a slash.
    async fn is_directory(&self, path: &str) -> Result<bool, Trouble> {
        let key = self.directory_key(path);
        if key == self.root.prefix {
            return Ok(true);
        }
        let asking = async {
            let page = self.root.store.list(&key, None, 1).await?;
            Ok(if page.exists { What::Directory } else { What::NotThere })
        };
        match &self.look(&key, asking).await?.what {
            What::Directory => Ok(true),
            What::NotThere | What::File(_) => Ok(false),
            What::Failed(trouble) => Err(*trouble),
        }
    }

    /// The object of a path with its siblings.
    async fn object(&self, path: &str) -> Result<Arc<Entry>, Trouble> {
        let key = self.key(path);
        let asking = async {
            match self.root.store.head(&key).await? {
                Some(version) => Ok(What::File(Arc::new(self.variants(path, version).await?))),
                None => Ok(What::NotThere),
            }
        };
        self.look(&key, asking).await
    }

    /// What is known of a key, or what the store says of it.
    async fn look(
        &self,
        key: &str,
        asking: impl Future<Output = Result<What, StoreError>> + Send,
    ) -> Result<Arc<Entry>, Trouble> {
        if key.len() > LONGEST_KEY {
            return Err(Trouble::NotThere);
        }
        let cache = &self.shared.pool.cache;
        let earlier = cache.get(self.root.key, key);
        if let Some(entry) = earlier
            .as_ref()
            .filter(|entry| entry.is_fresh(NOTHING_PROTECTED, Instant::now()))
        {
            cache.note_hits(1);
            return Ok(Arc::clone(entry));
        }
        cache.note_miss();
        let load = async {
            let begun = Instant::now();
            let entry = match asking.await {
                Ok(what) => Entry::of_store(what, begun, self.root.metadata_ttl),
                // The failure begins to stand when it is known: it may have taken longer than that.
                Err(error) => Entry::of_store(What::Failed(error.into()), Instant::now(), FAILURE_VALID),
            };
            Ok(Arc::new(entry))
        };
        cache.replace(self.root.key, key, earlier.as_ref(), load).await
    }

    async fn variants(&self, path: &str, version: ObjectVersion) -> Result<Variants, StoreError> {
        let observed = SystemTime::now();
        let options = &self.root.options;
        let name = path.rsplit('/').next().unwrap_or(path);
        let content_type = options.media_types.of(name);
        let has_siblings = version.coding.is_none() && !entry::is_coded(name);
        let codings = options
            .precompressed
            .iter()
            .copied()
            .filter(|coding| *coding != Coding::Identity);
        let siblings = codings.filter(|_| has_siblings).map(async |coding| {
            let sibling = self
                .root
                .store
                .head(&format!("{}{}", version.key, coding.suffix()))
                .await?;
            let sibling = sibling.filter(|sibling| sibling.coding.is_none_or(|stored| stored == coding.token()));
            Ok(sibling
                .filter(|sibling| seconds(sibling.modified) >= seconds(version.modified))
                .map(|sibling| (coding, sibling)))
        });
        let coded: Vec<(Coding, ObjectVersion)> = try_join_all(siblings).await?.into_iter().flatten().collect();
        let applies = compress::applies(self.shared.compression.as_ref(), version.length, &content_type);
        let negotiated = !coded.is_empty() || version.coding.is_none() && applies;
        let select = |version: ObjectVersion, coding| {
            let representation =
                Representation::of_object(&version, content_type.clone(), coding, negotiated, observed);
            let object = Object::new(Arc::clone(&self.root.store), version);
            Selected::new(Arc::new(object), representation)
        };
        let coded = coded
            .into_iter()
            .map(|(coding, sibling)| (coding, select(sibling, coding)))
            .collect();
        Ok(Variants::new(select(version, Coding::Identity), coded))
    }
}

impl Ground for Prefix {
    fn options(&self) -> &RootOptions {
        &self.root.options
    }

    async fn target(&self, target: &SitePath, slash: Slash) -> Result<Target, Trouble> {
        let path = target.relative();
        if target.is_directory() {
            return self.index(path).await;
        }
        match &self.object(path).await?.what {
            What::File(variants) => Ok(Target::File(Arc::clone(variants))),
            What::Failed(trouble) => Err(*trouble),
            What::NotThere | What::Directory => match slash {
                Slash::Redirects if self.is_directory(path).await? => Ok(Target::Directory),
                Slash::Redirects | Slash::Nothing => Err(Trouble::NotThere),
            },
        }
    }

    async fn listing(&self, target: &SitePath, lookup: &Lookup<'_>) -> Found {
        self.list(target, lookup).await
    }
}

/// Of an index file in a directory.
fn index_path(directory: &str, name: &str) -> String {
    match directory {
        "" => name.to_owned(),
        directory => format!("{directory}/{name}"),
    }
}

/// Since 1970; what a store says of the fraction differs from answer to answer.
fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
