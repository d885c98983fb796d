//! `[[site]]` and `[defaults]`: whose hosts, which files, what is decided about them, and what that may cost.

use super::{
    ConfigErrors,
    budgets::GivenTraffic,
    document::{Located, Section},
    grants, headers,
    plugins::{Catalogue, GivenChain},
    roots::GivenRoot,
    tls,
    units::{positive, size},
};
use crate::{
    limits::SiteBudget,
    net::tls::TlsFiles,
    site::{Logged, SiteHeaders, SiteSpec},
    sites::{HostPattern, Hosts},
};
use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
    time::Duration,
};
use wasmserve_files::{Compression, FilesOptions, Location, Resolver, RootOptions};
use wasmserve_policy::{Budget, ChainSpec, HeaderRules, PolicySpec, ServiceBudget};

/// What may stand in `[[site]]` and in `[defaults]` alike; the keys that were given.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GivenSite {
    root: GivenRoot,
    /// `compress`: whether texts that have no coded sibling are compressed while they are sent. It costs CPU for every
    /// response, and tells secrets by their length in pages that hold one beside something that a client chose (BREACH).
    /// Default: `false`.
    compress: Option<bool>,
    /// `compress-from`: shorter ones are sent as they are. Default: `"1KiB"`.
    compress_from: Option<u64>,
    /// `compress-up-to`: longer ones too. Default: `"1MiB"`.
    compress_up_to: Option<u64>,
    /// `resolver`: how paths are opened beneath a root: `"automatic"` (by the kernel where it can) or `"steps"`.
    /// Default: `"automatic"`.
    resolver: Option<Resolver>,
    /// `plugins`: a folder, read as `--plugins` does; or `[[site.policy]]` tables in the form of `plugins.toml`, whose
    /// plugins are named relative to this file. `policy = []` asks no policy where `[defaults]` names some.
    /// Default: none: files are served to everyone.
    chain: Option<GivenChain>,
    budget: GivenBudget,
    /// `[site.services]`: what services may keep for the policies of a site together, as in `plugins.toml`. Default: what
    /// the `plugins.toml` of the site's folder says.
    services: Option<ServiceBudget>,
    /// `[site.headers]`: header fields of every answer, errors and redirects included, after those of policies.
    headers: Option<HeaderRules>,
    /// `access-log`: whether its exchanges leave a line in the access log. Default: `true`.
    access_log: Option<bool>,
}

/// `[site.budget]`: what the policies of a site may use together.
#[derive(Clone, Debug, Default, PartialEq)]
struct GivenBudget {
    /// `evidence`: bytes of decisions kept with what they went by. Default: `"16MiB"`.
    evidence: Option<usize>,
    /// `concurrent`: calls of policies under way at once, 1 or more; further ones wait for a quarter of a second and are
    /// then answered with 503. Default: `128`.
    concurrent: Option<usize>,
    /// `processor`: processor time that calls may use in each second, such as `"200ms"`; twice as much may be saved up.
    /// When it is used up, requests that need a run are answered with 503. Default: `"unlimited"`.
    processor: Option<Option<Duration>>,
    traffic: GivenTraffic,
}

/// The reading of all sites of a file.
pub struct SiteReader<'c> {
    /// What relative paths are relative to.
    pub folder: PathBuf,
    pub catalogue: &'c mut Catalogue,
    pub defaults: GivenSite,
    names: HashSet<String>,
    hosts: Hosts<String>,
    /// What `[site.tls]` leaves out.
    server: Option<TlsFiles>,
}

/// The root that `root = "DIR"` makes, and where paths are looked up if there are several.
const ROOT: &str = "default";

pub(super) const RESOLVERS: [(&str, Resolver); 2] = [("automatic", Resolver::Automatic), ("steps", Resolver::Steps)];

// === impl GivenSite ===

impl GivenSite {
    /// Takes what it knows of a section.
    pub fn read(
        folder: &Path,
        section: &mut Section<'_>,
        catalogue: &mut Catalogue,
        errors: &mut ConfigErrors,
    ) -> Self {
        Self {
            root: GivenRoot::read(section, errors),
            compress: section.flag("compress", errors),
            compress_from: section.parsed("compress-from", size, errors),
            compress_up_to: section.parsed("compress-up-to", size, errors),
            resolver: section.choice("resolver", &RESOLVERS, errors),
            chain: chain(folder, section, catalogue, errors),
            budget: section
                .section("budget", errors)
                .map(|budget| GivenBudget::read(budget, errors))
                .unwrap_or_default(),
            services: section
                .section("services", errors)
                .map(|services| grants::read_budget(services, errors)),
            headers: section
                .section("headers", errors)
                .map(|section| headers::read(section, errors)),
            access_log: section.flag("access-log", errors),
        }
    }

    /// These keys where they are given, the others from `base`.
    pub(super) fn over(self, base: &Self) -> Self {
        Self {
            root: self.root.over(&base.root),
            compress: self.compress.or(base.compress),
            compress_from: self.compress_from.or(base.compress_from),
            compress_up_to: self.compress_up_to.or(base.compress_up_to),
            resolver: self.resolver.or(base.resolver),
            chain: self.chain.or_else(|| base.chain.clone()),
            budget: self.budget.over(&base.budget),
            services: self.services.or_else(|| base.services.clone()),
            headers: self.headers.or_else(|| base.headers.clone()),
            access_log: self.access_log.or(base.access_log),
        }
    }

    pub(super) fn root(&self) -> &GivenRoot {
        &self.root
    }

    pub(super) fn headers(&self) -> Option<&HeaderRules> {
        self.headers.as_ref()
    }

    pub(super) fn policies(&self) -> impl Iterator<Item = &PolicySpec> {
        self.chain.iter().flat_map(|chain| &chain.policies)
    }

    /// Policies and observers.
    pub(super) fn plugins(&self) -> impl Iterator<Item = &PolicySpec> {
        let chains = self.chain.iter();
        chains.flat_map(|chain| chain.policies.iter().chain(&chain.observers))
    }

    /// Whether anything of it runs a plugin.
    pub(super) fn has_plugins(&self) -> bool {
        let chain = self.chain.as_ref();
        chain.is_some_and(|chain| !chain.policies.is_empty() || !chain.observers.is_empty())
    }

    /// The chain of a site, with what its budget does not say from `budget`.
    pub(super) fn chain_spec(&self, site: &str, roots: BTreeSet<String>, budget: &Budget) -> ChainSpec {
        let chain = self.chain.clone().unwrap_or_default();
        let services = self.services.clone().unwrap_or(chain.services);
        ChainSpec {
            site: site.into(),
            policies: chain.policies,
            observers: chain.observers,
            roots,
            budget: self.budget.resolve(services, budget),
        }
    }

    pub(super) fn logged(&self) -> Logged {
        match self.access_log {
            Some(false) => Logged::No,
            Some(true) | None => Logged::Yes,
        }
    }

    /// What a site may use of the server.
    pub(super) fn traffic(&self) -> SiteBudget {
        self.budget.traffic.resolve()
    }

    /// The files of a site.
    pub(super) fn files_options(&self, roots: Vec<(String, RootOptions)>) -> FilesOptions {
        FilesOptions {
            roots,
            compression: self.compression(),
            resolver: self.resolver.unwrap_or_default(),
            ..FilesOptions::new("")
        }
    }

    fn compression(&self) -> Option<Compression> {
        let defaults = Compression::default();
        self.compress.unwrap_or(false).then(|| Compression {
            shortest: self.compress_from.unwrap_or(defaults.shortest),
            longest: self.compress_up_to.unwrap_or(defaults.longest),
        })
    }
}

fn chain(
    folder: &Path,
    section: &mut Section<'_>,
    catalogue: &mut Catalogue,
    errors: &mut ConfigErrors,
) -> Option<GivenChain> {
    let plugins = section.string("plugins", errors);
    let policies = section.sections("policy", errors);
    let observers = section.sections("observer", errors);
    match (plugins, policies, observers) {
        (Some(plugins), None, None) => Some(catalogue.folder(&folder.join(plugins.value), errors)),
        (Some(plugins), _, _) => {
            let problem = "`plugins` and [[policy]] tables are two ways to say the same: give one of them";
            errors.push(section.error_at(&plugins, problem));
            None
        }
        (None, None, None) => None,
        (None, policies, observers) => {
            let (policies, observers) = (policies.unwrap_or_default(), observers.unwrap_or_default());
            Some(catalogue.entries(folder, policies, observers, errors))
        }
    }
}

// === impl GivenBudget ===

impl GivenBudget {
    fn read(mut section: Section<'_>, errors: &mut ConfigErrors) -> Self {
        let given = Self {
            evidence: section.parsed("evidence", memory, errors),
            concurrent: section.count("concurrent", errors),
            processor: section.parsed("processor", processor, errors),
            traffic: GivenTraffic::read(&mut section, errors),
        };
        section.finish(errors);
        given
    }

    fn over(self, base: &Self) -> Self {
        Self {
            evidence: self.evidence.or(base.evidence),
            concurrent: self.concurrent.or(base.concurrent),
            processor: self.processor.or(base.processor),
            traffic: self.traffic.over(&base.traffic),
        }
    }

    fn resolve(&self, services: ServiceBudget, defaults: &Budget) -> Budget {
        Budget {
            evidence: self.evidence.unwrap_or(defaults.evidence),
            concurrent: self.concurrent.unwrap_or(defaults.concurrent),
            processor: self.processor.unwrap_or(defaults.processor),
            services,
        }
    }
}

/// The word for a budget without a limit.
pub(super) const UNLIMITED: &str = "unlimited";

fn processor(text: &str) -> Result<Option<Duration>, String> {
    match text {
        UNLIMITED => Ok(None),
        time => positive(time).map(Some),
    }
}

fn memory(text: &str) -> Result<usize, String> {
    usize::try_from(size(text)?).map_err(|_| "is more than this machine can address".into())
}

// === impl SiteReader ===

impl<'c> SiteReader<'c> {
    pub fn new(folder: PathBuf, catalogue: &'c mut Catalogue, defaults: GivenSite, server: Option<TlsFiles>) -> Self {
        Self {
            folder,
            catalogue,
            defaults,
            names: HashSet::new(),
            hosts: Hosts::default(),
            server,
        }
    }

    /// Reads `[[site]]`. Meaningless when anything is noted in `errors`.
    pub fn read(&mut self, mut section: Section<'_>, errors: &mut ConfigErrors) -> SiteSpec {
        let name = self.name(&mut section, errors);
        let hosts = self.hosts(&name, &mut section, errors);
        let given = GivenSite::read(&self.folder, &mut section, self.catalogue, errors).over(&self.defaults);
        let roots = self.roots(&mut section, &given.root, errors);
        let tls = section.section("tls", errors);
        let tls = tls.and_then(|tls| tls::of_site(&self.folder, tls, self.server.as_ref(), errors));
        section.finish(errors);
        let names = roots.iter().map(|(name, _)| name.clone()).collect();
        SiteSpec {
            hosts,
            chain: given.chain_spec(&name, names, &Budget::default()),
            budget: given.traffic(),
            files: given.files_options(roots),
            logged: given.logged(),
            headers: SiteHeaders::of_operator(given.headers.unwrap_or_default()),
            tls,
        }
    }

    /// - `name`: what logs and errors call it; no two sites have the same. Needed.
    fn name(&mut self, section: &mut Section<'_>, errors: &mut ConfigErrors) -> String {
        let Some(name) = section.required_string("name", errors) else {
            return String::new();
        };
        if name.value.is_empty() || name.value.chars().any(char::is_control) {
            errors.push(section.error_at(&name, "`name` must not be empty or hold control characters"));
        } else if !self.names.insert(name.value.clone()) {
            errors.push(section.error_at(&name, format!("two sites are named {:?}", name.value)));
        }
        name.value
    }

    /// - `hosts`: names, `*.NAME`, addresses, or `*` for every host that is no other site's. Needed.
    fn hosts(&mut self, site: &str, section: &mut Section<'_>, errors: &mut ConfigErrors) -> Vec<HostPattern> {
        let typed = section.strings("hosts", errors);
        if typed.as_ref().is_none_or(Vec::is_empty) {
            let hint =
                "hosts = [\"example.org\", \"*.example.org\"], or [\"*\"] for every host that is no other site's";
            errors.push(
                section
                    .error("[[site]] has no `hosts`: nobody could reach it")
                    .hint(hint),
            );
        }
        let mut hosts = Vec::new();
        for text in typed.unwrap_or_default() {
            match text.value.parse::<HostPattern>() {
                Ok(pattern) => {
                    if let Some(other) = self.hosts.insert(pattern.clone(), site.to_owned()) {
                        let problem = match other == site {
                            true => format!("`hosts` names {pattern} twice"),
                            false => format!("the host {pattern} is the site {other:?}'s already"),
                        };
                        errors.push(section.error_at(&text, problem));
                    }
                    hosts.push(pattern);
                }
                Err(problem) => errors.push(section.error_at(&text, format!("`hosts`: {problem}"))),
            }
        }
        hosts
    }

    /// Where a root is. Meaningless when anything is noted in `errors`.
    fn location(
        &self,
        section: &Section<'_>,
        key: &str,
        typed: Located<String>,
        given: &GivenRoot,
        errors: &mut ConfigErrors,
    ) -> Location {
        given
            .store()
            .locate(&self.folder, &typed.value)
            .unwrap_or_else(|problem| {
                errors.push(section.error_at(&typed, format!("`{key}`: {problem}")));
                Location::Directory(PathBuf::new())
            })
    }

    /// - `root`: the folder that is served, or `"s3://BUCKET/PREFIX"`, `"gs://..."`, `"az://..."`: see `[site.store]`. Needed,
    ///   unless there are `roots`.
    /// - `[site.roots.NAME]`: several folders by name; paths are looked up in `default`, policies may place requests in the
    ///   others.
    /// - `path` (in `[site.roots.NAME]`): the folder, or a place in object storage as in `root`. Needed.
    ///
    /// `root`, or `[site.roots.NAME]` tables. The one that is named `default`, or the only one, comes first: there paths are
    /// looked up unless a policy places them elsewhere.
    fn roots(
        &self,
        section: &mut Section<'_>,
        given: &GivenRoot,
        errors: &mut ConfigErrors,
    ) -> Vec<(String, RootOptions)> {
        let root = section.string("root", errors);
        let named = section.named_sections("roots", errors);
        if root.is_some() == named.is_some() {
            let hint = "root = \"DIR\", or [site.roots.NAME] tables with a `path` each";
            errors.push(section.error("[[site]] needs either `root` or `roots`").hint(hint));
        }
        if let Some(root) = root {
            let location = self.location(section, "root", root, given, errors);
            return vec![(ROOT.to_owned(), given.resolve(location))];
        }
        let mut roots = Vec::new();
        for (name, mut section) in named.unwrap_or_default() {
            let directory = section.required_string("path", errors);
            let own = GivenRoot::read(&mut section, errors).over(given);
            let location = match directory {
                Some(directory) => self.location(&section, "path", directory, &own, errors),
                None => Location::Directory(PathBuf::new()),
            };
            section.finish(errors);
            roots.push((name.value, own.resolve(location)));
        }
        roots.sort_by(|(a, _), (b, _)| (a != ROOT, a).cmp(&(b != ROOT, b)));
        if roots.first().is_none_or(|(name, _)| roots.len() > 1 && name != ROOT) {
            let problem = "none of the `roots` is named `default`: that is where paths are looked up";
            errors.push(section.error(problem));
        }
        roots
    }
}
