//! A configuration as the file that would describe it in full: what `wasmserve check --print-config` prints.
//!
//! What is printed can be read again and comes to the same, from whatever folder: paths are absolute and every default is
//! filled in. Plugins are named as they were found, with their limits; what their manifests say of facts stays there.

use super::{
    Configuration, ListenerSettings, OperatorSettings, RegistrySettings, ServerSettings, TenantRules, acme, budgets,
    disk_cache::DiskCacheSettings,
    headers,
    listeners::{FORWARDED, UNIX},
    manifest::MANIFEST_FILE,
    operators::ACCESS_FORMATS,
    plugins::{EVIDENCE, ISOLATION},
    redis,
    remote::FETCH_RULES,
    roots::{DOTFILES, GROWING, MACHINES, SYMLINKS},
    server::{LOG_FORMATS, SENDFILE, UNKNOWN_HOSTS},
    site::{RESOLVERS, UNLIMITED},
    stores,
    tenants::OwnPolicies,
    tls::DEMANDS,
    traces,
    units::exact_size,
};
use crate::{
    net::tls::{CertificateSource, TlsFiles},
    observe::Destination,
    site::{Logged, SiteSpec},
};
use humantime::format_duration;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};
use toml::{Table, Value};
use wasmserve_files::{Compression, Listings, Location, RootOptions};
use wasmserve_policy::{Grants, HttpGrant, KeyValueGrant, Limits, Pin, PolicySpec, ServiceBudget};
use wasmserve_registry::PlainHttp;

/// The text of a file.
pub fn print(configuration: &Configuration) -> String {
    let sites = configuration.sites.iter();
    let sites: Vec<Value> = sites.map(|spec| site(spec, &configuration.sources).into()).collect();
    let server = server(&configuration.server);
    let listeners = configuration.server.listeners.iter();
    let listeners: Vec<Value> = listeners.map(|settings| listener(settings).into()).collect();
    let mut whole = table([("server", server.into()), ("site", sites.into())]);
    if !listeners.is_empty() {
        whole.insert("listener".into(), listeners.into());
    }
    if let Some(settings) = &configuration.acme {
        whole.insert("acme".into(), acme::print(settings).into());
    }
    if let Some(rules) = &configuration.tenants {
        whole.insert("sites".into(), tenants(rules, &configuration.sources).into());
    }
    whole.to_string()
}

fn server(settings: &ServerSettings) -> Table {
    let mut table = table([
        ("idle-timeout", time(settings.idle_timeout)),
        ("head-timeout", time(settings.head_timeout)),
        ("stall-timeout", time(settings.stall_timeout)),
        ("total-timeout", settings.total_timeout.map_or(UNLIMITED.into(), time)),
        ("head-size", bytes(settings.head_size as u64)),
        ("header-fields", count(settings.header_fields)),
        ("target-size", bytes(settings.target_size as u64)),
        ("drain-timeout", time(settings.drain_timeout)),
        ("drain-delay", time(settings.drain_delay)),
        ("chunk-size", bytes(settings.chunk_size as u64)),
        ("cached-files", count(settings.cache.descriptors)),
        ("cache-memory", bytes(settings.cache.bytes)),
        ("unknown-host", word(settings.unknown_host, &UNKNOWN_HOSTS)),
        ("sendfile", word(settings.sendfile, &SENDFILE)),
        ("log-format", word(settings.log_format, &LOG_FORMATS)),
        ("log", settings.log.clone().into()),
    ]);
    table.insert("bandwidth".into(), budgets::print_bandwidth(settings.bandwidth));
    table.insert("client".into(), budgets::print_client(&settings.client).into());
    if !settings.listen.is_empty() {
        table.insert("listen".into(), strings(&settings.listen));
    }
    if let Some(connections) = settings.max_connections {
        table.insert("max-connections".into(), count(connections));
    }
    if let Some(files) = &settings.tls {
        let keys = tls(files).into_iter();
        table.extend(keys.map(|(key, value)| (format!("tls-{key}"), value)));
    }
    if let Some(option) = &settings.code_cache {
        table.insert("code-cache".into(), option.folder().map_or("off".into(), path));
    }
    if let Some(cache) = &settings.disk_cache {
        table.insert("disk-cache".into(), disk_cache(cache).into());
    }
    table.insert("registry".into(), registry(&settings.registry).into());
    table.extend(operators(&settings.operators));
    table
}

fn disk_cache(settings: &DiskCacheSettings) -> Table {
    table([
        ("directory", path(&settings.directory)),
        ("capacity", bytes(settings.options.capacity())),
        ("piece-size", bytes(settings.options.piece())),
    ])
}

fn registry(settings: &RegistrySettings) -> Table {
    let mut table = table([
        ("fetch", word(settings.fetch, &FETCH_RULES)),
        ("public-keys", strings(&settings.public_keys)),
        ("timeout", time(settings.timeout)),
        ("size", bytes(settings.size)),
    ]);
    // Where credentials are is said, never what they are.
    let paths = [
        ("store", &settings.store),
        ("credentials", &settings.credentials),
        ("ca-file", &settings.ca_file),
    ];
    let paths = paths
        .into_iter()
        .filter_map(|(key, file)| Some((key, file.as_deref()?)));
    table.extend(paths.map(|(key, file)| (key.to_owned(), path(file))));
    if let PlainHttp::Hosts(hosts) = &settings.plain_http {
        table.insert("plain-http".into(), strings(hosts));
    }
    table
}

fn tls(files: &TlsFiles) -> Table {
    let mut table = match &files.certificate {
        CertificateSource::Files { certificate, key } => table([("cert", path(certificate)), ("key", path(key))]),
        CertificateSource::Acme => table([("acme", true.into())]),
    };
    if let Some(clients) = &files.clients {
        table.insert("client-ca".into(), path(&clients.authorities));
        table.insert("client-certificates".into(), word(clients.demand, &DEMANDS));
    }
    table
}

fn listener(settings: &ListenerSettings) -> Table {
    let trusted = settings.trusted.networks.iter().map(ToString::to_string);
    let trusted = trusted.chain(settings.trusted.unix.then(|| UNIX.to_owned()));
    let mut table = table([
        ("address", settings.address.to_string().into()),
        ("mode", format!("{:o}", settings.mode).into()),
        ("trusted", strings(trusted)),
        ("proxy-protocol", settings.proxy_protocol.into()),
    ]);
    if let Some(tls) = settings.tls {
        table.insert("tls".into(), tls.into());
    }
    if let Some(port) = settings.redirect {
        table.insert("redirect".into(), "https".into());
        table.insert("redirect-port".into(), i64::from(port).into());
    }
    if let Some(field) = settings.forwarded {
        table.insert("forwarded".into(), word(field, &FORWARDED));
    }
    table
}

fn operators(settings: &OperatorSettings) -> Table {
    let paths = [
        ("admin", &settings.admin),
        ("debug-secret-file", &settings.debug_secret_file),
    ];
    let paths = paths
        .into_iter()
        .filter_map(|(key, named)| Some((key, path(named.as_deref()?))));
    let mut operators = table(paths);
    let access = match &settings.access.destination {
        Destination::File(file) => path(file),
        word => word.text().into(),
    };
    operators.insert("access-log".into(), access);
    operators.insert(
        "access-log-format".into(),
        word(settings.access.format, &ACCESS_FORMATS),
    );
    operators.insert("metrics-by-site".into(), settings.metrics_by_site.into());
    if let Some(listener) = &settings.listener {
        operators.insert("admin-listen".into(), listener.address.to_string().into());
        operators.insert("admin-token-file".into(), path(&listener.token_file));
    }
    if !settings.hosts.is_empty() {
        operators.insert("admin-hosts".into(), strings(&settings.hosts));
    }
    if let Some(options) = &settings.record {
        let record = table([
            ("file", path(&options.file)),
            ("limit", bytes(options.limit)),
            ("one-in", i64::try_from(options.one_in).unwrap_or(i64::MAX).into()),
            ("redact", strings(&options.rules)),
        ]);
        operators.insert("record".into(), record.into());
    }
    if let Some(options) = &settings.traces {
        operators.insert("traces".into(), traces::print(options).into());
    }
    operators
}

fn site(spec: &SiteSpec, sources: &BTreeSet<PathBuf>) -> Table {
    let roots = spec.files.roots.iter();
    let roots = table(roots.map(|(name, options)| (name.as_str(), root(options).into())));
    let policies = spec.chain.policies.iter();
    let policies: Vec<Value> = policies.map(|spec| policy(spec, sources).into()).collect();
    let observers = spec.chain.observers.iter();
    let observers: Vec<Value> = observers.map(|spec| plugin(spec, sources).into()).collect();
    let mut table = table([
        ("name", spec.name().to_string().into()),
        ("hosts", strings(&spec.hosts)),
        ("access-log", (spec.logged == Logged::Yes).into()),
        ("compress", spec.files.compression.is_some().into()),
        ("resolver", word(spec.files.resolver, &RESOLVERS)),
        ("budget", budget(spec).into()),
        ("services", services(&spec.chain.budget.services).into()),
        ("roots", roots.into()),
        ("policy", policies.into()),
        ("observer", observers.into()),
        ("headers", headers::print(&spec.headers.last).into()),
    ]);
    if let Some(options) = &spec.chain.budget.services.redis {
        table.insert("redis".into(), redis::print(options).into());
    }
    if let Some(files) = &spec.tls {
        table.insert("tls".into(), tls(files).into());
    }
    if let Some(Compression { shortest, longest }) = spec.files.compression {
        table.insert("compress-from".into(), bytes(shortest));
        table.insert("compress-up-to".into(), bytes(longest));
    }
    table
}

/// `[sites]`: what all tenants inherit, as a site without hosts, and what only they have.
fn tenants(rules: &TenantRules, sources: &BTreeSet<PathBuf>) -> Table {
    let spec = rules.inherited();
    let mut sites = site(&spec, sources);
    sites.retain(|key, _| !matches!(key, "name" | "hosts" | "roots"));
    for (_, options) in &spec.files.roots {
        sites.extend(root(options).into_iter().filter(|(key, _)| key != "path"));
    }
    let OwnPolicies {
        grants: granted,
        establishes,
        reads,
        ceiling,
        most,
        size,
        registries,
        remotes: _,
    } = &rules.own;
    let mut own = table([
        ("establishes", strings(establishes)),
        ("reads", strings(reads)),
        ("limits", limits(ceiling).into()),
        ("most", count(*most)),
        ("size", bytes(*size)),
        ("registries", strings(registries)),
    ]);
    own.extend(grants(granted));
    sites.extend(table([
        ("directory", path(&rules.directory)),
        ("acme", rules.tls.is_some().into()),
        ("root", rules.root.clone().into()),
        ("forget-after", time(rules.forget_after)),
        ("loaded", count(rules.loaded)),
        ("allow", strings(&rules.allow)),
        ("own-policies", own.into()),
    ]));
    sites
}

fn root(options: &RootOptions) -> Table {
    let fallback = options.fallback.as_ref().map(ToString::to_string);
    let codings = options.precompressed.iter().map(|coding| coding.token());
    let pages = options.error_pages.iter();
    let pages = pages.map(|(status, page)| (status.as_str(), page.to_string().into()));
    let types = options
        .media_types
        .overrides()
        .map(|(extension, media_type)| (extension, media_type.into()));
    let place = match &options.location {
        Location::Directory(directory) => path(directory),
        Location::Store(_) => options.location.to_string().into(),
    };
    let store = stores::print(&options.location).map(|store| ("store", store.into()));
    let keys = [
        ("path", place),
        ("symlinks", word(options.symlinks, &SYMLINKS)),
        ("dotfiles", word(options.dotfiles, &DOTFILES)),
        ("index", strings(&options.index)),
        ("listing", (options.listing == Listings::On).into()),
        ("precompressed", strings(codings)),
        ("fallback", fallback.unwrap_or_default().into()),
        ("default-media-type", options.media_types.default_type().into()),
        ("machines", word(options.machines, &MACHINES)),
        ("growing", word(options.growing, &GROWING)),
        ("error-pages", table(pages).into()),
        ("media-types", table(types).into()),
    ];
    table(keys.into_iter().chain(store))
}

/// What policies and observers have.
fn plugin(spec: &PolicySpec, sources: &BTreeSet<PathBuf>) -> Table {
    let mut plugin = named(&spec.wasm, spec.pin.as_ref(), sources);
    if spec.pin.as_ref().is_some_and(|pin| pin.reference.is_some()) {
        let facts = [("establishes", &spec.establishes), ("reads", &spec.reads)];
        plugin.extend(facts.map(|(key, facts)| (key.to_owned(), strings(facts))));
    }
    plugin.extend(table([
        ("name", spec.name.clone().into()),
        ("limits", limits(&spec.limits).into()),
        ("config", spec.config.clone().into()),
    ]));
    plugin.extend(grants(&spec.grants));
    plugin
}

/// Which plugin it is, by the reference that it was fetched by or by its file.
fn named(wasm: &Path, pin: Option<&Pin>, sources: &BTreeSet<PathBuf>) -> Table {
    let Some(pin) = pin else {
        return table([("plugin", path(folder(wasm, sources)))]);
    };
    let mut named = match &pin.reference {
        Some(reference) => table([("plugin", reference.clone().into())]),
        None => table([
            ("plugin", path(folder(wasm, sources))),
            ("digest", format!("sha256:{}", pin.sha256).into()),
        ]),
    };
    if let Some(key) = &pin.public_key {
        named.insert("public-key".into(), key.clone().into());
    }
    named
}

fn policy(spec: &PolicySpec, sources: &BTreeSet<PathBuf>) -> Table {
    let mut policy = plugin(spec, sources);
    policy.extend(table([
        ("isolation", word(spec.reuse.isolation, &ISOLATION)),
        ("evidence", word(spec.reuse.evidence, &EVIDENCE)),
    ]));
    if let Some(spec) = &spec.shadow {
        let mut shadow = named(&spec.wasm, spec.pin.as_ref(), sources);
        shadow.extend(table([
            ("one-in", Value::Integer(spec.one_in.into())),
            ("limits", limits(&spec.limits).into()),
            ("config", spec.config.clone().into()),
        ]));
        policy.insert("shadow".into(), shadow.into());
    }
    policy
}

fn grants(grants: &Grants) -> Table {
    let Grants {
        logging,
        sharing,
        counters,
        key_value,
        http,
        directories,
        environment,
    } = grants;
    let words = [("logging", *logging), ("sharing", *sharing), ("counters", *counters)];
    let words = words.into_iter().filter(|(_, granted)| *granted).map(|(word, _)| word);
    let mut granted = table([("grants", strings(words))]);
    if let Some(KeyValueGrant { buckets, time_to_live }) = key_value {
        let mut key_value = table([("buckets", strings(buckets))]);
        key_value.extend(time_to_live.map(|limit| ("time-to-live".to_owned(), time(limit))));
        granted.insert("key-value".into(), key_value.into());
    }
    if let Some(grant) = http {
        granted.insert("http".into(), outbound(grant).into());
    }
    if !directories.is_empty() {
        let directories = table(directories.iter().map(|(name, folder)| (name.as_str(), path(folder))));
        granted.insert("directories".into(), directories.into());
    }
    if !environment.is_empty() {
        let environment = table(
            environment
                .iter()
                .map(|(name, value)| (name.as_str(), value.clone().into())),
        );
        granted.insert("environment".into(), environment.into());
    }
    granted
}

fn outbound(grant: &HttpGrant) -> Table {
    let HttpGrant {
        allow,
        addresses,
        certificates,
        connect_timeout,
        first_byte_timeout,
        timeout,
        request_bytes,
        response_bytes,
        requests,
    } = grant;
    let mut outbound = table([
        ("allow", strings(allow)),
        ("addresses", strings(addresses)),
        ("request-bytes", bytes(*request_bytes)),
        ("response-bytes", bytes(*response_bytes)),
        ("requests", count(*requests)),
    ]);
    outbound.extend(certificates.iter().map(|file| ("certificates".to_owned(), path(file))));
    let times = [
        ("connect-timeout", connect_timeout),
        ("first-byte-timeout", first_byte_timeout),
        ("timeout", timeout),
    ];
    outbound.extend(
        times
            .into_iter()
            .filter_map(|(key, limit)| Some((key.to_owned(), time((*limit)?)))),
    );
    outbound
}

/// The folder whose manifest a module belongs to, if one was read; else the module.
fn folder<'a>(wasm: &'a Path, sources: &BTreeSet<PathBuf>) -> &'a Path {
    let mut folders = wasm.ancestors().skip(1);
    folders
        .find(|folder| sources.contains(&folder.join(MANIFEST_FILE)))
        .unwrap_or(wasm)
}

fn limits(limits: &Limits) -> Table {
    table([
        ("running", time(limits.running)),
        ("wall", time(limits.wall)),
        ("configure", time(limits.configure)),
        ("memory", bytes(limits.memory as u64)),
        ("answers", bytes(limits.answers as u64)),
        ("concurrent", count(limits.concurrent)),
    ])
}

fn budget(spec: &SiteSpec) -> Table {
    let budget = &spec.chain.budget;
    let mut policies = table([
        ("evidence", bytes(budget.evidence as u64)),
        ("concurrent", count(budget.concurrent)),
        ("processor", budget.processor.map_or(UNLIMITED.into(), time)),
    ]);
    policies.extend(budgets::print_site(&spec.budget));
    policies
}

fn services(budget: &ServiceBudget) -> Table {
    let key_value = table([
        ("bytes", bytes(budget.pair_bytes as u64)),
        ("pairs", count(budget.pairs)),
    ]);
    let counters = table([("buckets", count(budget.token_buckets))]);
    let http = table([("requests", count(budget.requests))]);
    table([
        ("key-value", key_value.into()),
        ("counters", counters.into()),
        ("http", http.into()),
    ])
}

// === Values ===

pub(super) fn table<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Table {
    let entries = entries.into_iter();
    entries.map(|(key, value)| (key.to_owned(), value)).collect()
}

fn strings(words: impl IntoIterator<Item: ToString>) -> Value {
    let words = words.into_iter();
    words
        .map(|word| Value::from(word.to_string()))
        .collect::<Vec<_>>()
        .into()
}

pub(super) fn word<T: PartialEq + Copy>(value: T, words: &[(&'static str, T)]) -> Value {
    let known = words.iter().find(|(_, meaning)| *meaning == value);
    known.expect("every value has its word").0.into()
}

pub(super) fn time(duration: Duration) -> Value {
    format_duration(duration).to_string().into()
}

fn bytes(bytes: u64) -> Value {
    exact_size(bytes).into()
}

fn count(count: usize) -> Value {
    i64::try_from(count).unwrap_or(i64::MAX).into()
}

/// Absolute, so that it means the same in a file elsewhere.
pub(super) fn path(path: &Path) -> Value {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().into_owned().into()
}
