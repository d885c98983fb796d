//! `[sites]`: a folder of tenants, each of whose folders is a host, and what a tenant may say in its own `site.toml`.
//!
//! The operator's part is read with the configuration. A tenant's part is read when its host is first asked for, from
//! text that was read beneath its folder: nothing here opens a file of a tenant. What is wrong with it is wrong for that
//! tenant alone.

use super::{
    ConfigErrors, Manifest, Remotes,
    asked::Asked,
    document::{Document, Section},
    grants,
    limits::GivenLimits,
    manifest::{MANIFEST_FILE, read_facts},
    plugins::Catalogue,
    remote,
    said::Said,
    site::GivenSite,
    tls,
    units::{positive, size},
};
use crate::{
    net::tls::{CertificateSource, TlsFiles},
    request::Host,
    site::{SiteHeaders, SiteSpec},
    sites::HostPattern,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use wasmserve_files::{FilesOptions, Location};
use wasmserve_policy::{Budget, ChainSpec, Grants, Limits, Pin, PolicySpec, Reuse};
use wasmserve_registry::{Prefix, Reference};

/// What a tenant says of its site: the name of the file in its folder.
pub const SITE_FILE: &str = "site.toml";

/// The name that the only root of a tenant has.
const ROOT: &str = "default";

/// Keys that an operator may allow tenants, in `allow`.
const KEYS: [&str; 16] = [
    "index",
    "listing",
    "error-pages",
    "fallback",
    "media-types",
    "default-media-type",
    "precompressed",
    "headers",
    "symlinks",
    "dotfiles",
    "machines",
    "growing",
    "compress",
    "compress-from",
    "compress-up-to",
    "policy",
];

/// Those that are allowed unless said otherwise: they concern nobody but the tenant, and cost nothing.
const USUAL: [&str; 8] = [
    "index",
    "listing",
    "error-pages",
    "fallback",
    "media-types",
    "default-media-type",
    "precompressed",
    "headers",
];

/// `[sites]`, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct TenantRules {
    /// `directory`: the folder whose folders are hosts, such as `"/srv/tenants"` with `/srv/tenants/alice.example.org`.
    /// Needed.
    pub directory: PathBuf,
    /// `root`: the folder within a tenant's that is served. Default: `"public"`.
    pub root: String,
    /// `forget-after`: how long a tenant that nobody asks for stays loaded. Default: `"10m"`.
    pub forget_after: Duration,
    /// `loaded`: most tenants that are loaded at once; beyond, the one that was asked for least recently is forgotten.
    /// Default: `10000`.
    pub loaded: usize,
    /// `allow`: keys that a tenant may use in its `site.toml`; any other one is an error of that tenant. `"policy"` allows
    /// `[[policy]]` with plugins of its own. Default: `["index", "listing", "error-pages", "fallback", "media-types",
    /// "default-media-type", "precompressed", "headers"]`.
    pub allow: BTreeSet<&'static str>,
    /// `acme`: whether each tenant has a certificate of its own, which is ordered with the first handshake for its host as
    /// `[acme]` says. Default: `false`: they have that of a site whose wildcard covers them, or the server's.
    pub tls: Option<Arc<TlsFiles>>,
    /// What tenants inherit, with the operator's ring.
    base: GivenSite,
    pub own: OwnPolicies,
}

/// `[sites.own-policies]`: what plugins that tenants bring may do. They are granted what is said here, and nothing else.
#[derive(Clone, Debug, PartialEq)]
pub struct OwnPolicies {
    /// `grants`: as in `[[policy]]`, with the same tables beside it. Default: `[]`.
    pub grants: Grants,
    /// `establishes`: facts that they may establish; more in a manifest is an error of that tenant. Default: `[]`.
    pub establishes: BTreeSet<String>,
    /// `reads`: facts that they may ask for, in the same way. Default: `[]`.
    pub reads: BTreeSet<String>,
    /// `limits`: the most that each of them may ask for, as in `[[policy]]`. Default: those of any plugin.
    pub ceiling: Limits,
    /// `most`: how many of them a tenant may have. Default: `4`.
    pub most: usize,
    /// `size`: most bytes of a plugin. Default: `"4MiB"`.
    pub size: u64,
    /// `registries`: beginnings of references that they may name, such as `["oci://registry.example.org/shared/"]`. Such
    /// plugins are fetched by `wasmserve fetch` alone. Default: `[]`: only files of their own.
    pub registries: Vec<Prefix>,
    pub(super) remotes: Remotes,
}

/// A tenant's plugin, read.
struct OwnPlugin {
    name: String,
    wasm: PathBuf,
    module: Vec<u8>,
    pin: Option<Pin>,
    /// What its manifest says.
    asked: Asked,
    /// What to name in errors about that.
    manifest: PathBuf,
}

/// A tenant's site as far as its `site.toml` says, before its plugins are read.
#[derive(Debug)]
pub struct GivenTenant {
    given: GivenSite,
    policies: Vec<GivenPolicy>,
}

/// A `[[policy]]` of a `site.toml`.
#[derive(Debug)]
struct GivenPolicy {
    /// `plugin`: a `.wasm` file, or a folder with a `plugin.toml` whose artefact is built, within the tenant's folder.
    /// Or a reference that the operator allows. Needed.
    plugin: String,
    /// `digest`: what a plugin that is named by reference has to be, `"sha256:..."`. Default: none; a reference that does
    /// not end with one needs it.
    digest: Option<String>,
    /// `name`: what logs and errors call it. Default: that of the manifest, or of the file.
    name: Option<String>,
    /// `limits`: as in any chain, within those of `[sites.own-policies]`.
    limits: GivenLimits,
    /// `[policy.config]`: the plugin's configuration.
    config: toml::Table,
}

/// How files of a tenant are read: beneath its folder, whatever links there are.
pub trait TenantFolder {
    /// What a file holds; `None` when nothing is there. Paths are relative to the folder.
    ///
    /// # Errors
    /// Why it cannot be read, to follow the name of the file.
    fn read(&mut self, path: &Path, most: u64) -> Result<Option<Vec<u8>>, String>;
}

/// A tenant, resolved.
pub struct Tenant {
    pub spec: SiteSpec,
    /// How many of the policies, from the first, are the operator's.
    pub ring: usize,
    /// What the tenant's own plugins hold.
    pub modules: Vec<(PathBuf, Vec<u8>)>,
    /// What its `site.toml` says; `None`: there is none.
    pub said: Option<Said>,
}

/// A `site.toml` or a manifest is not longer.
const LONGEST_TEXT: u64 = 64 << 10;

const OWN_MOST: usize = 4;
const OWN_SIZE: u64 = 4 << 20;
const FORGET_AFTER: Duration = Duration::from_secs(600);
const LOADED: usize = 10_000;

// === impl TenantRules ===

impl TenantRules {
    /// Reads `[sites]`; paths are relative to `folder`. What it does not say is inherited from `defaults`.
    pub fn read(
        folder: &Path,
        mut section: Section<'_>,
        defaults: &GivenSite,
        has_acme: bool,
        catalogue: &mut Catalogue,
        errors: &mut ConfigErrors,
    ) -> Option<Self> {
        let acme = section.flag("acme", errors).unwrap_or(false);
        if acme && !has_acme {
            errors.push(tls::no_acme(&section));
        }
        let directory = section.required_string("directory", errors);
        let root = section.string("root", errors);
        if let Some(root) = root.as_ref().filter(|root| !is_plain(&root.value)) {
            let problem = format!("`root`: {:?} is not the name of a folder within a tenant's", root.value);
            errors.push(section.error_at(root, problem));
        }
        let allow = allowed(&mut section, errors);
        let own = section.section("own-policies", errors);
        let own = own
            .map(|own| OwnPolicies::read(folder, own, errors))
            .unwrap_or_default();
        let own = OwnPolicies {
            remotes: catalogue.remotes().clone(),
            ..own
        };
        let (forget_after, loaded) = (
            section.parsed("forget-after", positive, errors),
            section.count("loaded", errors),
        );
        let base = GivenSite::read(folder, &mut section, catalogue, errors).over(defaults);
        let established = base.policies().flat_map(|policy| &policy.establishes);
        for fact in established.filter(|fact| own.establishes.contains(*fact)) {
            let problem =
                format!("`own-policies` may establish the fact `{fact}`, which a policy of the operator does");
            errors.push(
                section
                    .error(problem)
                    .hint("a tenant could overwrite it: take it off `establishes`"),
            );
        }
        section.finish(errors);
        Some(Self {
            directory: folder.join(directory?.value),
            root: root.map_or_else(|| "public".to_owned(), |root| root.value),
            forget_after: forget_after.unwrap_or(FORGET_AFTER),
            loaded: loaded.unwrap_or(LOADED),
            allow,
            tls: acme.then(|| {
                Arc::new(TlsFiles {
                    certificate: CertificateSource::Acme,
                    clients: None,
                })
            }),
            base,
            own,
        })
    }

    /// Every plugin of the operator's ring.
    pub fn operators(&self) -> impl Iterator<Item = &PolicySpec> {
        self.base.plugins()
    }

    /// The operator's ring alone, for a host.
    pub fn ring(&self, host: &str) -> ChainSpec {
        self.base.chain_spec(host, [ROOT.to_owned()].into(), &tenant_budget())
    }

    /// What a tenant is, from what lies in its folder.
    ///
    /// # Errors
    /// Everything that is wrong with what the tenant wrote.
    pub fn tenant(&self, host: &str, files: &mut impl TenantFolder) -> Result<Tenant, ConfigErrors> {
        let folder = self.directory.join(host);
        let file = folder.join(SITE_FILE);
        let text = read_text(files, Path::new(SITE_FILE), &file)?;
        let said = text.as_deref().map(Said::of);
        let given = match text {
            Some(text) => self.read_site(&file, text)?,
            None => GivenTenant::none(),
        };
        let mut errors = ConfigErrors::default();
        let mut chain = self.ring(host);
        let ring = chain.policies.len();
        let mut modules = Vec::new();
        for policy in &given.policies {
            match self.own.policy(policy, &folder, files, &mut modules) {
                Ok(policy) => chain.policies.push(policy),
                Err(found) => errors.extend(found),
            }
        }
        errors.check()?;
        let spec = SiteSpec {
            hosts: host.parse::<HostPattern>().into_iter().collect(),
            files: given.files(self, &folder),
            chain,
            budget: self.base.traffic(),
            tls: None,
            logged: self.base.logged(),
            headers: SiteHeaders {
                first: given.given.headers().cloned().unwrap_or_default(),
                last: self.base.headers().cloned().unwrap_or_default(),
            },
        };
        Ok(Tenant {
            spec,
            ring,
            modules,
            said,
        })
    }

    fn read_site(&self, file: &Path, text: String) -> Result<GivenTenant, ConfigErrors> {
        let document = Document::of(file.to_owned(), text);
        let mut errors = ConfigErrors::default();
        let mut root = document.root(&mut errors);
        errors.check()?;
        let mut errors = ConfigErrors::default();
        let allowed: Vec<&str> = self.allow.iter().copied().collect();
        root.keep_only(&allowed, &mut errors);
        let policies = root.sections("policy", &mut errors).unwrap_or_default();
        if let Some(extra) = policies.get(self.own.most) {
            errors.push(extra.error(format!("is one policy too many: {} are allowed here", self.own.most)));
        }
        let policies = policies.into_iter().take(self.own.most);
        let policies = policies
            .filter_map(|section| GivenPolicy::read(section, &mut errors))
            .collect();
        // No chain is left in it: nothing is looked for.
        let given = GivenSite::read(Path::new(""), &mut root, &mut Catalogue::default(), &mut errors);
        root.finish(&mut errors);
        errors.check()?;
        Ok(GivenTenant { given, policies })
    }
}

/// Whether the name of a folder can be that of a tenant: a host in the one form that requests are found by.
pub fn is_host(name: &str) -> bool {
    Host::parse(name).is_some_and(|host| host.port.is_none() && *host.name == *name)
}

/// What tenants get where nothing else is said: they are strangers.
fn tenant_budget() -> Budget {
    Budget {
        evidence: 1 << 20,
        concurrent: 16,
        processor: Some(Duration::from_millis(200)),
        ..Budget::default()
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

fn allowed(section: &mut Section<'_>, errors: &mut ConfigErrors) -> BTreeSet<&'static str> {
    let Some(typed) = section.strings("allow", errors) else {
        return USUAL.into();
    };
    let mut allow = BTreeSet::new();
    for word in typed {
        match KEYS.iter().find(|key| **key == word.value) {
            Some(key) => drop(allow.insert(*key)),
            None => {
                let problem = format!("`allow`: {:?} is not a key that tenants can have", word.value);
                let hint = super::document::suggest(&word.value, &KEYS);
                errors.push(section.error_at(&word, problem).hint(hint));
            }
        }
    }
    allow
}

// === impl OwnPolicies ===

impl Default for OwnPolicies {
    fn default() -> Self {
        Self {
            grants: Grants::default(),
            establishes: BTreeSet::new(),
            reads: BTreeSet::new(),
            ceiling: Limits::default(),
            most: OWN_MOST,
            size: OWN_SIZE,
            registries: Vec::new(),
            remotes: Remotes::default(),
        }
    }
}

impl OwnPolicies {
    fn read(folder: &Path, mut section: Section<'_>, errors: &mut ConfigErrors) -> Self {
        let grants = grants::read(&mut section, folder, errors);
        let (establishes, reads) = read_facts(&mut section, errors);
        let limits = section.section("limits", errors);
        let limits = limits.map(|limits| GivenLimits::read(limits, errors));
        let (most, size) = (section.count("most", errors), section.parsed("size", size, errors));
        let registries = remote::list(&mut section, "registries", str::parse, errors).unwrap_or_default();
        section.finish(errors);
        Self {
            grants,
            establishes,
            reads,
            ceiling: limits.unwrap_or_default().over(&Limits::default()),
            most: most.unwrap_or(OWN_MOST),
            size: size.unwrap_or(OWN_SIZE),
            registries,
            remotes: Remotes::default(),
        }
    }

    /// A policy of a tenant, with its module.
    fn policy(
        &self,
        given: &GivenPolicy,
        folder: &Path,
        files: &mut impl TenantFolder,
        modules: &mut Vec<(PathBuf, Vec<u8>)>,
    ) -> Result<PolicySpec, ConfigErrors> {
        let plugin = match Reference::is_remote(&given.plugin) {
            true => self.fetched(given, folder)?,
            false => self.own_file(given, folder, files)?,
        };
        let asked = plugin.asked;
        for (verb, asked, allowed) in [
            ("establishes", &asked.establishes, &self.establishes),
            ("reads", &asked.reads, &self.reads),
        ] {
            if let Some(fact) = asked.difference(allowed).next() {
                let problem = format!("{verb} the fact `{fact}`, which tenants here may not");
                return Err(super::ConfigError::new(plugin.manifest, problem).into());
            }
        }
        modules.push((plugin.wasm.clone(), plugin.module));
        Ok(PolicySpec {
            name: given.name.clone().unwrap_or(plugin.name),
            wasm: plugin.wasm,
            config: given.config.clone(),
            limits: lower(&given.limits.over(&asked.limits), &self.ceiling),
            grants: self.grants.clone(),
            establishes: asked.establishes,
            reads: asked.reads,
            reuse: Reuse::default(),
            shadow: None,
            pin: plugin.pin,
        })
    }

    /// A plugin of elsewhere, as far as the operator allows it. Nothing is fetched for a tenant while a server serves.
    fn fetched(&self, given: &GivenPolicy, folder: &Path) -> Result<OwnPlugin, ConfigErrors> {
        let file = folder.join(SITE_FILE);
        let wrong = |problem: String| super::ConfigError::new(&file, problem);
        let pinned = remote::pinned(&given.plugin, given.digest.as_deref());
        let pinned = pinned.map_err(|(problem, hint)| match hint {
            // What the operator would run is nothing that a tenant can.
            Some(_) => wrong(problem).hint("add `digest = \"sha256:...\"`"),
            None => wrong(problem),
        })?;
        if !pinned.reference.is_beneath(&self.registries) {
            let problem = format!(
                "the plugin {} is not from where plugins may come here",
                pinned.reference
            );
            let from: Vec<String> = self.registries.iter().map(ToString::to_string).collect();
            let hint = match from.is_empty() {
                true => "plugins of tenants are files of their own here".to_owned(),
                false => format!("it has to begin with one of: {}", from.join(", ")),
            };
            return Err(wrong(problem).hint(hint).into());
        }
        let remote = self.remotes.find_for_tenant(&pinned, self.size);
        let remote = remote.map_err(|unavailable| unavailable.into_error(wrong, &pinned.to_string()))?;
        let asked = remote.manifest.map_or_else(Asked::default, |manifest| Asked {
            limits: manifest.limits,
            establishes: manifest.establishes,
            reads: manifest.reads,
        });
        Ok(OwnPlugin {
            name: remote.name,
            wasm: remote.wasm,
            module: remote.bytes,
            pin: Some(remote.pin),
            asked,
            manifest: PathBuf::from(pinned.to_string()),
        })
    }

    /// A plugin of the tenant's own folder.
    fn own_file(
        &self,
        given: &GivenPolicy,
        folder: &Path,
        files: &mut impl TenantFolder,
    ) -> Result<OwnPlugin, ConfigErrors> {
        let plugin = Path::new(&given.plugin);
        let wrong =
            |file: &Path, problem: String| ConfigErrors::from(super::ConfigError::new(folder.join(file), problem));
        if given.digest.is_some() {
            let problem = "`digest` is for plugins that are named by reference".to_owned();
            return Err(wrong(Path::new(SITE_FILE), problem));
        }
        let manifest_file = plugin.join(MANIFEST_FILE);
        let manifest = match plugin.extension().is_some_and(|extension| extension == "wasm") {
            true => None,
            false => match read_text(files, &manifest_file, &folder.join(&manifest_file))? {
                Some(text) => Some(Manifest::parse(&folder.join(plugin), text)?),
                None => return Err(wrong(&manifest_file, "is not there".into())),
            },
        };
        let artefact = match &manifest {
            Some(manifest) => within(&manifest.artefact, folder),
            None => plugin.to_owned(),
        };
        let module = files.read(&artefact, self.size);
        let module = module.map_err(|problem| wrong(&artefact, problem))?;
        let module = module.ok_or_else(|| {
            wrong(
                &artefact,
                "is not there: plugins of tenants are never built here".into(),
            )
        })?;
        let stem = || plugin.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let (name, asked) = match manifest {
            Some(manifest) => {
                let asked = Asked {
                    limits: manifest.limits,
                    establishes: manifest.establishes,
                    reads: manifest.reads,
                };
                (manifest.name, asked)
            }
            None => (stem(), Asked::default()),
        };
        Ok(OwnPlugin {
            name,
            wasm: folder.join(artefact),
            module,
            pin: None,
            asked,
            manifest: folder.join(manifest_file),
        })
    }
}

/// Neither beyond what was asked for nor beyond the ceiling.
fn lower(asked: &Limits, ceiling: &Limits) -> Limits {
    Limits {
        running: asked.running.min(ceiling.running),
        wall: asked.wall.min(ceiling.wall),
        configure: asked.configure.min(ceiling.configure),
        memory: asked.memory.min(ceiling.memory),
        answers: asked.answers.min(ceiling.answers),
        concurrent: asked.concurrent.min(ceiling.concurrent),
    }
}

fn within(path: &Path, folder: &Path) -> PathBuf {
    path.strip_prefix(folder).unwrap_or(path).to_owned()
}

fn read_text(files: &mut impl TenantFolder, path: &Path, named: &Path) -> Result<Option<String>, ConfigErrors> {
    let wrong = |problem: String| ConfigErrors::from(super::ConfigError::new(named, problem));
    match files.read(path, LONGEST_TEXT).map_err(wrong)? {
        None => Ok(None),
        Some(bytes) => match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(wrong("is not UTF-8".into())),
        },
    }
}

// === impl GivenPolicy ===

impl GivenPolicy {
    fn read(mut section: Section<'_>, errors: &mut ConfigErrors) -> Option<Self> {
        let plugin = section.required_string("plugin", errors);
        let digest = section.string("digest", errors);
        let name = section.string("name", errors);
        let limits = section.section("limits", errors);
        let limits = limits.map(|limits| GivenLimits::read(limits, errors));
        let config = section.table("config", errors).unwrap_or_default();
        section.report_unknown(errors);
        for empty in plugin.iter().chain(&name).filter(|located| located.value.is_empty()) {
            errors.push(section.error_at(empty, "must not be empty"));
        }
        Some(Self {
            plugin: plugin?.value,
            digest: digest.map(|digest| digest.value),
            name: name.map(|name| name.value),
            limits: limits.unwrap_or_default(),
            config,
        })
    }
}

// === impl GivenTenant ===

impl GivenTenant {
    /// Of a folder without a `site.toml`.
    fn none() -> Self {
        Self {
            given: GivenSite::default(),
            policies: Vec::new(),
        }
    }

    fn files(&self, rules: &TenantRules, folder: &Path) -> FilesOptions {
        let given = self.given.clone().over(&rules.base);
        let mut root = given.root().resolve(Location::Directory(folder.to_owned()));
        root.within = Some(rules.root.clone());
        given.files_options(vec![(ROOT.to_owned(), root)])
    }
}

impl TenantRules {
    /// What tenants inherit, as a site of nobody.
    pub fn inherited(&self) -> SiteSpec {
        SiteSpec {
            hosts: Vec::new(),
            files: GivenTenant::none().files(self, &self.directory),
            chain: self.ring(""),
            budget: self.base.traffic(),
            tls: None,
            logged: self.base.logged(),
            headers: SiteHeaders::of_operator(self.base.headers().cloned().unwrap_or_default()),
        }
    }

    /// Whether a policy may have to be run for a tenant.
    pub fn needs_engine(&self) -> bool {
        self.allow.contains("policy") || self.base.has_plugins()
    }
}
