//! Plugins that are named by reference: `[server.registry]`, and how a chain's word becomes a file of the local store.
//!
//! In the order of events: the reference is read and has to be pinned; the store is asked; only where fetching is meant
//! (`wasmserve fetch`, or `fetch = "load"`) and the store has nothing, the network is; the signature is verified; the
//! manifest within the plugin is read. What that asks for is held against the operator's words elsewhere
//! ([`super::plugins`], [`super::tenants`]).

use super::{
    ConfigError, ConfigErrors, Manifest,
    document::{Document, Located, Section},
    units::{positive, size},
};
use std::{
    env, fmt,
    ops::ControlFlow,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};
use wasmserve_policy::Pin;
use wasmserve_registry::{
    Bounds, Client, Digest, Fetched, Keyring, Kind, Pinned, PlainHttp, PublicKey, Reference, Store, StoreError,
    embedded, oci, signature,
};

/// `[server.registry]`, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct RegistrySettings {
    /// `store`: the folder in which fetched plugins are kept; nobody else may be able to change what is in it. Default:
    /// systemd's `STATE_DIRECTORY`, else `wasmserve` in `XDG_DATA_HOME` or `~/.local/share`.
    pub store: Option<PathBuf>,
    /// `fetch`: what fetches plugins that the store lacks: `"command"` (`wasmserve fetch` alone) or `"load"` (starting and
    /// reloading too). Default: `"command"`.
    pub fetch: FetchRule,
    /// `public-keys`: keys of minisign, one of which has to have signed each plugin that is fetched. Default: `[]`: no
    /// signature is asked for.
    pub public_keys: Vec<PublicKey>,
    /// `credentials`: a file in the form of Docker's `config.json`. Default: what `DOCKER_AUTH_CONFIG`,
    /// `REGISTRY_AUTH_FILE` or `DOCKER_CONFIG` say, else `~/.docker/config.json`.
    pub credentials: Option<PathBuf>,
    /// `ca-file`: certificates (PEM) that are trusted beside the public authorities. Default: none.
    pub ca_file: Option<PathBuf>,
    /// `plain-http`: hosts that are spoken to without TLS, such as `["registry.lan:5000"]`. Default: those on this machine.
    pub plain_http: PlainHttp,
    /// `timeout`: how long fetching a plugin may take. Default: `"1m"`.
    pub timeout: Duration,
    /// `size`: most bytes of a plugin. Default: `"64MiB"`.
    pub size: u64,
}

/// What fetches plugins that are not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FetchRule {
    /// Only the command that is for it: a server never waits for a registry.
    #[default]
    Command,
    /// Starting and reloading too.
    Load,
}

/// What finds plugins by reference.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remotes {
    settings: RegistrySettings,
    purpose: Purpose,
}

/// What a configuration is read for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// To serve it, or to look at it.
    #[default]
    Serving,
    /// To fetch what it names and the store lacks.
    Fetching,
}

/// What is said of a plugin's identity beside its name.
#[derive(Clone, Debug, Default)]
pub struct GivenPin {
    /// `digest`: what the plugin has to be, `"sha256:..."`: of a file its own digest, of an artifact that of its manifest.
    /// Default: none; a reference that does not end with one needs it.
    digest: Option<Located<String>>,
    /// `public-key`: the key of minisign that has to have signed it. Default: any of `public-keys` in `[server.registry]`.
    public_key: Option<Located<String>>,
}

/// A plugin of the store.
pub struct RemotePlugin {
    /// What it calls itself, or the last name in the reference.
    pub name: String,
    pub wasm: PathBuf,
    pub bytes: Vec<u8>,
    pub pin: Pin,
    pub manifest: Option<Manifest>,
}

/// Why a plugin cannot be had.
#[derive(Debug)]
pub struct Unavailable {
    /// To follow the reference.
    pub problem: String,
    pub hint: Option<String>,
}

/// What the store has of a reference.
struct Held {
    store: Store,
    plugin: Digest,
    bytes: Vec<u8>,
    /// Of an artifact.
    signature: Option<String>,
}

pub(super) const FETCH_RULES: [(&str, FetchRule); 2] = [("command", FetchRule::Command), ("load", FetchRule::Load)];

const TIMEOUT: Duration = Duration::from_secs(60);
const SIZE: u64 = 64 << 20;

/// The folder of this program within the one for everybody's data.
const FOLDER: &str = "wasmserve";

const RUN_FETCH: &str = "run: wasmserve fetch, with the options that you serve with";

// === impl RegistrySettings ===

impl Default for RegistrySettings {
    fn default() -> Self {
        Self {
            store: None,
            fetch: FetchRule::default(),
            public_keys: Vec::new(),
            credentials: None,
            ca_file: None,
            plain_http: PlainHttp::default(),
            timeout: TIMEOUT,
            size: SIZE,
        }
    }
}

impl RegistrySettings {
    /// Reads `[server.registry]`; paths are relative to `folder`.
    pub fn read(folder: &Path, mut section: Section<'_>, errors: &mut ConfigErrors) -> Self {
        let path = |key, section: &mut Section<'_>, errors: &mut ConfigErrors| {
            section.string(key, errors).map(|path| folder.join(path.value))
        };
        let settings = Self {
            store: path("store", &mut section, errors),
            fetch: section.choice("fetch", &FETCH_RULES, errors).unwrap_or_default(),
            public_keys: list(&mut section, "public-keys", str::parse, errors).unwrap_or_default(),
            credentials: path("credentials", &mut section, errors),
            ca_file: path("ca-file", &mut section, errors),
            plain_http: list(&mut section, "plain-http", host, errors)
                .map_or_else(PlainHttp::default, PlainHttp::Hosts),
            timeout: section.parsed("timeout", positive, errors).unwrap_or(TIMEOUT),
            size: section.parsed("size", size, errors).unwrap_or(SIZE),
        };
        section.finish(errors);
        settings
    }

    /// Those of a file, whatever else is wrong with it.
    ///
    /// # Errors
    /// When it cannot be read, or `[server.registry]` means nothing.
    pub fn of_file(file: &Path) -> Result<Self, ConfigErrors> {
        let document = Document::read(file)?;
        let folder = super::file::folder_of(file)?;
        let mut errors = ConfigErrors::default();
        let mut root = document.root(&mut errors);
        let server = root.section("server", &mut errors);
        let registry = server.and_then(|mut server| server.section("registry", &mut errors));
        let settings = registry.map(|section| Self::read(&folder, section, &mut errors));
        errors.check()?;
        Ok(settings.unwrap_or_default())
    }

    /// What must not be served.
    pub fn kept(&self) -> impl Iterator<Item = PathBuf> {
        [self.folder(), self.credentials.clone(), self.ca_file.clone()]
            .into_iter()
            .flatten()
    }

    /// Where the store is; `None`: the environment says nothing.
    pub fn folder(&self) -> Option<PathBuf> {
        if let Some(folder) = &self.store {
            return Some(folder.clone());
        }
        let absolute = |path: &PathBuf| path.is_absolute();
        let variable = |name: &str| env::var_os(name).map(PathBuf::from).filter(absolute);
        // systemd lists several in the order of the unit's setting.
        let of_service = env::var_os("STATE_DIRECTORY").and_then(|list| env::split_paths(&list).next());
        let of_user = || variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
        of_service.filter(absolute).or_else(|| Some(of_user()?.join(FOLDER)))
    }

    pub fn bounds(&self) -> Bounds {
        Bounds {
            time: self.timeout,
            size: self.size,
        }
    }

    /// What asks registries, and who we are to them.
    ///
    /// # Errors
    /// When the files of certificates or credentials cannot be used.
    pub fn client(&self) -> Result<(Client, Keyring), String> {
        let client =
            Client::new(self.ca_file.as_deref(), self.plain_http.clone()).map_err(|error| error.to_string())?;
        let keyring = Keyring::read(self.credentials.as_deref(), |name| env::var_os(name))?;
        Ok((client, keyring))
    }

    /// The store, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be trusted, or nothing says where it is.
    pub fn open_store(&self) -> Result<Store, String> {
        let folder = self.folder().ok_or(NOWHERE)?;
        Store::open(&folder, &[]).map_err(|error| error.to_string())
    }

    /// Gets what a reference means, wherever it is kept. Nothing is kept yet. Blocks for `timeout` at most.
    ///
    /// # Errors
    /// Why it cannot be had, to follow the reference; also when it is not signed by one of these keys, if there are any.
    pub fn fetch(&self, reference: &Reference, keys: &[PublicKey]) -> Result<Fetched, String> {
        let fetched = || {
            let (client, keyring) = self.client()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(|error| format!("no thread can ask for it: {error}"))?;
            let fetched = runtime.block_on(wasmserve_registry::fetch(&client, &keyring, reference, self.bounds()));
            // A name that is still being looked up is not waited for.
            runtime.shutdown_background();
            fetched.map_err(|error| error.to_string())
        };
        // A thread of its own: whoever reads a configuration may be within a runtime.
        let fetched = thread::scope(|scope| scope.spawn(fetched).join());
        let fetched = fetched.unwrap_or_else(|_| Err("fetching it failed".into()));
        let fetched = fetched.map_err(|problem| format!("cannot be fetched: {problem}"))?;
        if !keys.is_empty() {
            signature::verify_any(keys, &fetched.plugin, fetched.signature.as_slice())?;
        }
        Ok(fetched)
    }

    /// Keeps what was fetched, whole before it can be found.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub fn keep(&self, store: &Store, fetched: &Fetched, keys: &[PublicKey]) -> Result<(), StoreError> {
        let plugin = Digest::of(&fetched.plugin);
        for key in keys {
            if let Some(text) = &fetched.signature
                && key.verify(&fetched.plugin, text).is_ok()
            {
                store.keep_signature(&plugin, key.id(), text)?;
            }
        }
        store.keep(Kind::Plugin, &plugin, &fetched.plugin)?;
        match &fetched.manifest {
            Some(manifest) => store.keep(Kind::Manifest, &fetched.digest, manifest),
            None => Ok(()),
        }
    }
}

const NOWHERE: &str = "nothing says where fetched plugins are kept: give `store` in [server.registry]";

// === impl Remotes ===

impl Remotes {
    pub fn new(settings: RegistrySettings, purpose: Purpose) -> Self {
        Self { settings, purpose }
    }

    pub fn settings(&self) -> &RegistrySettings {
        &self.settings
    }

    /// The plugin that a reference means.
    ///
    /// # Errors
    /// When it is not in the store and cannot be fetched, or is not signed as it has to be.
    pub fn find(&self, pinned: &Pinned, key: Option<&PublicKey>) -> Result<RemotePlugin, Unavailable> {
        let rule = match self.purpose {
            Purpose::Serving => self.settings.fetch,
            Purpose::Fetching => FetchRule::Load,
        };
        self.find_within(pinned, key, self.settings.size, rule)
    }

    /// The same for a tenant: no request for its host makes a server ask a registry.
    ///
    /// # Errors
    /// As [`Remotes::find`].
    pub fn find_for_tenant(&self, pinned: &Pinned, most: u64) -> Result<RemotePlugin, Unavailable> {
        let rule = match self.purpose {
            Purpose::Serving => FetchRule::Command,
            Purpose::Fetching => FetchRule::Load,
        };
        self.find_within(pinned, None, most.min(self.settings.size), rule)
    }

    fn find_within(
        &self,
        pinned: &Pinned,
        key: Option<&PublicKey>,
        most: u64,
        rule: FetchRule,
    ) -> Result<RemotePlugin, Unavailable> {
        let keys = match key {
            Some(key) => std::slice::from_ref(key),
            None => &self.settings.public_keys,
        };
        let held = match self.held(pinned, keys, most) {
            ControlFlow::Break(held) => held?,
            ControlFlow::Continue(unavailable) if rule == FetchRule::Command => return Err(unavailable),
            ControlFlow::Continue(_) => self.fetch_and_keep(pinned, keys, most)?,
        };
        let store = &held.store;
        let text = embedded::manifest(&held.bytes).map_err(Unavailable::of)?;
        // Errors in it name the reference and no file.
        let manifest = text
            .map(|text| Manifest::parse(Path::new(&pinned.to_string()), text.to_owned()))
            .transpose()
            .map_err(|errors| Unavailable::of(format!("has a manifest that cannot be used: {errors}")))?;
        Ok(RemotePlugin {
            name: match &manifest {
                Some(manifest) => manifest.name.clone(),
                None => pinned.reference.name().to_owned(),
            },
            wasm: store.path(Kind::Plugin, &held.plugin),
            pin: Pin {
                sha256: held.plugin.hex(),
                reference: Some(pinned.to_string()),
                public_key: key.map(ToString::to_string),
            },
            manifest,
            bytes: held.bytes,
        })
    }

    fn fetch_and_keep(&self, pinned: &Pinned, keys: &[PublicKey], most: u64) -> Result<Held, Unavailable> {
        let wanted = pinned.to_string().parse::<Reference>().map_err(Unavailable::of)?;
        let store = self.settings.open_store().map_err(Unavailable::of)?;
        let fetched = self.settings.fetch(&wanted, keys).map_err(Unavailable::of)?;
        let kept = self.settings.keep(&store, &fetched, keys);
        kept.map_err(|error| Unavailable::of(error.to_string()))?;
        tracing::info!(reference = %pinned, bytes = fetched.plugin.len(), "a plugin was fetched");
        match self.held(pinned, keys, most) {
            ControlFlow::Break(held) => held,
            ControlFlow::Continue(unavailable) => Err(unavailable),
        }
    }

    /// What the store has. `Continue`: fetching it would mend that.
    fn held(
        &self,
        pinned: &Pinned,
        keys: &[PublicKey],
        most: u64,
    ) -> ControlFlow<Result<Held, Unavailable>, Unavailable> {
        match self.read_held(pinned, most) {
            Ok(Some(held)) => match held.verify(keys) {
                Ok(()) => ControlFlow::Break(Ok(held)),
                Err(problem) => ControlFlow::Continue(Unavailable {
                    problem,
                    hint: Some(format!("if it was signed since it was fetched, {RUN_FETCH}")),
                }),
            },
            Ok(None) => ControlFlow::Continue(Unavailable {
                problem: "is not in the local store".into(),
                hint: Some(RUN_FETCH.into()),
            }),
            Err(error @ StoreError::Changed { .. }) => ControlFlow::Continue(Unavailable::of(error.to_string())),
            Err(error) => ControlFlow::Break(Err(Unavailable::of(error.to_string()))),
        }
    }

    fn read_held(&self, pinned: &Pinned, most: u64) -> Result<Option<Held>, StoreError> {
        let Some(folder) = self.settings.folder() else {
            return Ok(None);
        };
        let Some(store) = Store::find(&folder, &[])? else {
            return Ok(None);
        };
        let (plugin, signature) = match pinned.reference.is_artifact() {
            false => (pinned.digest, None),
            true => {
                let Some(manifest) = store.read(Kind::Manifest, &pinned.digest, oci::LONGEST)? else {
                    return Ok(None);
                };
                // It was read before it was kept, and is the same.
                match oci::read(&manifest) {
                    Ok(content) => (content.plugin, content.signature),
                    Err(_) => return Ok(None),
                }
            }
        };
        let bytes = store.read(Kind::Plugin, &plugin, most)?;
        Ok(bytes.map(|bytes| Held {
            store,
            plugin,
            bytes,
            signature,
        }))
    }
}

// === impl Held ===

impl Held {
    /// Verifies that one of the keys signed it, if there are any.
    fn verify(&self, keys: &[PublicKey]) -> Result<(), String> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut signatures = self.signature.clone().into_iter().collect::<Vec<_>>();
        for key in keys {
            let kept = self.store.signature(&self.plugin, key.id());
            signatures.extend(kept.map_err(|error| error.to_string())?);
        }
        signature::verify_any(keys, &self.bytes, &signatures)
    }
}

// === impl Unavailable ===

impl Unavailable {
    fn of(problem: String) -> Self {
        Self { problem, hint: None }
    }

    /// As an error of a file.
    pub fn into_error(self, error: impl FnOnce(String) -> ConfigError, name: &str) -> ConfigError {
        let error = error(format!("the plugin {name} {}", self.problem));
        match self.hint {
            Some(hint) => error.hint(hint),
            None => error,
        }
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

// === impl GivenPin ===

impl GivenPin {
    /// Takes its keys of a section.
    pub fn take(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Self {
        Self {
            digest: section.string("digest", errors),
            public_key: section.string("public-key", errors),
        }
    }

    /// The reference that a name means, with its digest. What is wrong is noted.
    pub fn pinned(&self, plugin: &Located<String>, section: &Section<'_>, errors: &mut ConfigErrors) -> Option<Pinned> {
        match pinned(&plugin.value, self.digest.as_ref().map(|digest| &*digest.value)) {
            Ok(pinned) => Some(pinned),
            Err((problem, hint)) => {
                let error = section.error_at(plugin, format!("`plugin`: {problem}"));
                errors.push(match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                });
                None
            }
        }
    }

    /// The key that has to have signed it. What is wrong is noted.
    pub fn key(&self, section: &Section<'_>, errors: &mut ConfigErrors) -> Option<PublicKey> {
        let typed = self.public_key.as_ref()?;
        let key = typed.value.parse::<PublicKey>();
        key.map_err(|problem| errors.push(section.error_at(typed, format!("`public-key`: {problem}"))))
            .ok()
    }

    /// What the operator's own file has to be.
    pub fn of_file(&self, section: &Section<'_>, errors: &mut ConfigErrors) -> Option<Pin> {
        if let Some(key) = &self.public_key {
            let problem = "`public-key` is for plugins that are fetched: a file here is taken for the operator's own";
            errors.push(section.error_at(key, problem));
        }
        let typed = self.digest.as_ref()?;
        let digest = typed.value.parse::<Digest>();
        let digest = digest.map_err(|problem| errors.push(section.error_at(typed, format!("`digest`: {problem}"))));
        digest.ok().map(|digest| Pin {
            sha256: digest.hex(),
            reference: None,
            public_key: None,
        })
    }
}

/// A reference with the digest that it, or a key beside it, says. The error has what to do.
pub fn pinned(text: &str, digest: Option<&str>) -> Result<Pinned, (String, Option<String>)> {
    let plain = |problem| (problem, None);
    let reference = text.parse::<Reference>().map_err(plain)?;
    let beside = digest.map(str::parse::<Digest>).transpose().map_err(plain)?;
    match (reference.digest(), beside) {
        (Some(one), Some(other)) if one != other => Err(plain(format!(
            "{text:?} and `digest` ({other}) say two different things"
        ))),
        (Some(digest), _) | (None, Some(digest)) => Ok(Pinned {
            reference: reference.without_digest(),
            digest,
        }),
        (None, None) => Err((
            format!("{text:?} is not pinned: whoever answers there could change what decides here"),
            Some(format!(
                "run `wasmserve fetch {text}`, look at what it is, and write what that prints"
            )),
        )),
    }
}

fn host(text: &str) -> Result<String, String> {
    wasmserve_registry::check_host(text).map(|()| text.to_owned())
}

/// A list of texts that mean something. `None`: it is not given.
pub(super) fn list<T>(
    section: &mut Section<'_>,
    key: &'static str,
    parse: fn(&str) -> Result<T, String>,
    errors: &mut ConfigErrors,
) -> Option<Vec<T>> {
    let typed = section.strings(key, errors)?;
    let mut values = Vec::with_capacity(typed.len());
    for text in typed {
        match parse(&text.value) {
            Ok(value) => values.push(value),
            Err(problem) => errors.push(section.error_at(&text, format!("`{key}`: {problem}"))),
        }
    }
    Some(values)
}
