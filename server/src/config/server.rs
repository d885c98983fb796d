//! `[server]`: what holds for the whole process, whichever site is asked for.

use super::{
    CodeCacheOption, ConfigErrors, OperatorSettings, RegistrySettings, budgets,
    disk_cache::DiskCacheSettings,
    document::Section,
    listeners::{Addresses, ListenerSettings},
    tls,
    units::{duration, positive, size},
    values::{chunk_size, head_size, log_filter, target_size},
};
use crate::{
    limits::{ClientBudget, HEADER_FIELDS, Limits, TARGET_SIZE},
    net::{ListenAddress, ListenerOptions, NetOptions, Tls, activity::Deadlines, listener::Security, tls::TlsFiles},
    observe::LogFormat,
    sites::UnknownHost,
};
use std::{
    net::SocketAddr,
    num::NonZeroU64,
    path::{Path, PathBuf},
    time::Duration,
};
use wasmserve_files::CacheOptions;
use wasmserve_transport::Sendfile;

/// What holds for the whole process, resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSettings {
    /// `listen`: addresses and ports, such as `["0.0.0.0:80", "[::1]:8080"]`; also `"unix:PATH"` and `"systemd:NAME"`.
    /// Default: `["127.0.0.1:8080"]`, or none where there are `[[listener]]` tables.
    pub listen: Vec<ListenAddress>,
    /// `[[listener]]` tables: addresses of which more is said.
    pub listeners: Vec<ListenerSettings>,
    /// `idle-timeout`: how long a connection may wait for its next request. Default: `"60s"`.
    pub idle_timeout: Duration,
    /// `head-timeout`: how long a request's head may take from its first byte to its last. Default: `"30s"`.
    pub head_timeout: Duration,
    /// `stall-timeout`: how long a client may take no byte of its response. Default: `"60s"`.
    pub stall_timeout: Duration,
    /// `total-timeout`: how long a request may take from its head to the last byte of its answer, whatever its client takes
    /// of it; over HTTP/2 the newest request of the connection. Default: `"24h"`.
    pub total_timeout: Option<Duration>,
    /// `head-size`: most bytes of a request line with its header fields, at least 8 KiB; beyond, 431. Default: `"32KiB"`.
    pub head_size: usize,
    /// `header-fields`: most header fields of a request, at most 10000; beyond, 431. Default: `100`.
    pub header_fields: usize,
    /// `target-size`: most bytes of a request's path and query; beyond, 414. Default: `"8KiB"`.
    pub target_size: usize,
    /// `drain-timeout`: how long responses may take to finish after SIGINT or SIGTERM. Default: `"30s"`.
    pub drain_timeout: Duration,
    /// `drain-delay`: how long connections are still accepted after SIGINT or SIGTERM, while `/readyz` says that the server
    /// is not ready: so that a load balancer sees it. Default: `"0s"`.
    pub drain_delay: Duration,
    /// `max-connections`: connections open at once. Default: what the limit of open files allows.
    pub max_connections: Option<usize>,
    /// `chunk-size`: most bytes of a file that a connection holds in memory. Default: `"64KiB"`.
    pub chunk_size: usize,
    /// `cached-files`: descriptors of files kept open for the next request, of all sites together; those in memory need
    /// none. Default: `1000`, and never more than a quarter of the limit of open files. `cache-memory`: bytes of small files kept in memory, of all
    /// sites together. Default: `"32MiB"`.
    pub cache: CacheOptions,
    /// `unknown-host`: the answer to requests for a host that is no site's: `421`, `404`, or `"close"`, which ends
    /// the connection without an answer. Default: `421`.
    pub unknown_host: UnknownHost,
    /// `sendfile`: to which clients the kernel copies the content of files by itself: `"remote"` (those on other
    /// machines), `"always"` or `"off"`. Default: `"remote"`.
    pub sendfile: Sendfile,
    /// `tls-cert` and `tls-key`: PEM files; with them HTTPS is spoken, to sites that have no certificate of their own too.
    /// Default: plain HTTP. `tls-client-ca` and `tls-client-certificates`: as `client-ca` and `client-certificates` of
    /// `[site.tls]`.
    pub tls: Option<TlsFiles>,
    /// `code-cache`: the folder in which the compiled code of plugins is kept, or `"off"`. Default: systemd's
    /// `CACHE_DIRECTORY`, else `wasmserve` in `XDG_CACHE_HOME` or `~/.cache`.
    pub code_cache: Option<CodeCacheOption>,
    /// `[server.disk-cache]`: what is kept on local disk of roots in object storage. Default: nothing.
    pub disk_cache: Option<DiskCacheSettings>,
    /// `bandwidth`: bytes of content a second of all sites together, such as `"100MiB/s"`; when it is used up, sites that
    /// are sending have it in proportion to their weights. Default: `"unlimited"`.
    pub bandwidth: Option<NonZeroU64>,
    /// `[server.client]`: what each client may do.
    pub client: ClientBudget,
    /// `[server.registry]`: plugins that are fetched.
    pub registry: RegistrySettings,
    pub operators: OperatorSettings,
    /// `log-format`: `"text"` or `"json"`. Default: `"text"`.
    pub log_format: LogFormat,
    /// `log`: what is logged, such as `"info,access=off"`. Default: `"info"`.
    pub log: String,
}

pub(super) const LOG_FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

pub(super) const UNKNOWN_HOSTS: [(&str, UnknownHost); 3] = [
    ("421", UnknownHost::Misdirected),
    ("404", UnknownHost::NotFound),
    ("close", UnknownHost::Close),
];

pub(super) const SENDFILE: [(&str, Sendfile); 3] = [
    ("remote", Sendfile::Remote),
    ("always", Sendfile::Always),
    ("off", Sendfile::Off),
];

/// A request line and header fields beyond this are refused with 431. As nginx: four buffers of 8 KiB.
const HEAD_SIZE: usize = 32 * 1024;

/// The most that `header-fields` may be: each takes room before it is read.
const MOST_HEADER_FIELDS: usize = 10_000;

/// A request that takes longer is not a download but an attack: 24 h are 1 GiB at 100 kbit/s.
const TOTAL: Duration = Duration::from_secs(24 * 3600);

/// How long a connection over HTTP/1.1 is idle before it gives back what requests are read with, some 13 KiB. A client that
/// loads a page has asked for what is in it by then; one that comes back later pays some 2 µs.
const REST: Duration = Duration::from_secs(1);

/// How long a client that is still sending is read from after its last response.
const LINGER: Duration = Duration::from_secs(5);

// === impl ServerSettings ===

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 8080)).into()],
            listeners: Vec::new(),
            idle_timeout: Duration::from_secs(60),
            head_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(60),
            total_timeout: Some(TOTAL),
            head_size: HEAD_SIZE,
            header_fields: HEADER_FIELDS,
            target_size: TARGET_SIZE,
            drain_timeout: Duration::from_secs(30),
            drain_delay: Duration::ZERO,
            max_connections: None,
            chunk_size: 64 << 10,
            cache: CacheOptions::default(),
            unknown_host: UnknownHost::default(),
            sendfile: Sendfile::default(),
            tls: None,
            code_cache: None,
            disk_cache: None,
            bandwidth: None,
            client: ClientBudget::default(),
            registry: RegistrySettings::default(),
            operators: OperatorSettings::default(),
            log_format: LogFormat::Text,
            log: "info".into(),
        }
    }
}

impl ServerSettings {
    /// Reads `[server]`; paths are relative to `folder`.
    pub fn read(folder: &Path, mut section: Section<'_>, errors: &mut ConfigErrors) -> Self {
        let defaults = Self::default();
        let settings = Self {
            listen: listen(folder, &mut section, errors).unwrap_or(defaults.listen),
            listeners: Vec::new(),
            idle_timeout: section
                .parsed("idle-timeout", positive, errors)
                .unwrap_or(defaults.idle_timeout),
            head_timeout: section
                .parsed("head-timeout", positive, errors)
                .unwrap_or(defaults.head_timeout),
            stall_timeout: section
                .parsed("stall-timeout", positive, errors)
                .unwrap_or(defaults.stall_timeout),
            total_timeout: budgets::limit(&mut section, "total-timeout", positive, errors)
                .unwrap_or(defaults.total_timeout),
            head_size: section
                .parsed("head-size", head_size, errors)
                .unwrap_or(defaults.head_size),
            header_fields: section
                .count_to("header-fields", MOST_HEADER_FIELDS, errors)
                .unwrap_or(defaults.header_fields),
            target_size: section
                .parsed("target-size", target_size, errors)
                .unwrap_or(defaults.target_size),
            drain_timeout: section
                .parsed("drain-timeout", duration, errors)
                .unwrap_or(defaults.drain_timeout),
            drain_delay: section
                .parsed("drain-delay", duration, errors)
                .unwrap_or(defaults.drain_delay),
            max_connections: section.count("max-connections", errors),
            chunk_size: section
                .parsed("chunk-size", chunk_size, errors)
                .unwrap_or(defaults.chunk_size),
            cache: CacheOptions {
                descriptors: section
                    .count("cached-files", errors)
                    .unwrap_or(defaults.cache.descriptors),
                bytes: section
                    .parsed("cache-memory", size, errors)
                    .unwrap_or(defaults.cache.bytes),
            },
            unknown_host: unknown_host(&mut section, errors).unwrap_or_default(),
            sendfile: section.choice("sendfile", &SENDFILE, errors).unwrap_or_default(),
            tls: tls::of_server(folder, &mut section, errors),
            code_cache: code_cache(folder, &mut section, errors),
            disk_cache: DiskCacheSettings::read(folder, &mut section, errors),
            bandwidth: budgets::limit(&mut section, "bandwidth", budgets::bandwidth, errors).flatten(),
            client: section
                .section("client", errors)
                .map(|client| budgets::client(client, errors))
                .unwrap_or_default(),
            registry: section
                .section("registry", errors)
                .map(|registry| RegistrySettings::read(folder, registry, errors))
                .unwrap_or_default(),
            operators: OperatorSettings::read(folder, &mut section, errors),
            log_format: section
                .choice("log-format", &LOG_FORMATS, errors)
                .unwrap_or(defaults.log_format),
            log: section.parsed("log", log_filter, errors).unwrap_or(defaults.log),
        };
        section.finish(errors);
        settings
    }

    /// The settings that a running server keeps, and whether each of them differs from another's.
    pub fn fixed_at_start(&self, other: &Self) -> [(&'static str, bool); 5] {
        [
            ("code-cache", self.code_cache != other.code_cache),
            ("disk-cache", self.disk_cache != other.disk_cache),
            (
                "admin, debug-secret-file, record, traces, access-log, metrics",
                self.operators != other.operators,
            ),
            ("cached-files, cache-memory", self.cache != other.cache),
            ("log-format", self.log_format != other.log_format),
        ]
    }

    /// Everything that is listened on. `certificate`: whether the server or a site has one.
    pub fn listeners(&self, certificate: bool) -> Vec<ListenerOptions> {
        let short = self.listen.iter().map(|address| {
            let security = match (address, certificate) {
                // Whoever is on the same machine is a proxy, as a rule.
                (ListenAddress::Unix(_), _) | (_, false) => Security::Plain,
                _ => Security::Tls,
            };
            ListenerOptions::new(address.clone(), security)
        });
        let long = self.listeners.iter().map(|listener| listener.options(certificate));
        short.chain(long).collect()
    }

    /// How connections are served, with these certificates.
    pub fn net(&self, tls: Option<Tls>) -> NetOptions {
        NetOptions {
            tls,
            chunk_size: self.chunk_size,
            sendfile: self.sendfile,
            head_size: self.head_size,
            header_fields: self.header_fields,
            deadlines: Deadlines {
                idle: self.idle_timeout,
                rest: Some(REST),
                head: self.head_timeout,
                total: self.total_timeout,
                linger: LINGER,
            },
            stall: self.stall_timeout,
        }
    }

    /// What sites, clients and requests may use of the server from now on.
    pub fn limit(&self, limits: &Limits) {
        limits.set(self.bandwidth, self.client.clone());
        limits.set_head(self.target_size, self.header_fields);
    }

    /// Where compiled code is kept.
    pub fn code_cache(&self) -> CodeCacheOption {
        match &self.code_cache {
            Some(option) => option.clone(),
            None => CodeCacheOption::by_environment(|name| std::env::var_os(name)),
        }
    }

    /// What a running server keeps using from its start, and never serves.
    pub fn kept(&self) -> Vec<PathBuf> {
        let code = self.code_cache();
        let secrets = self.operators.secrets();
        let registry = self.registry.kept();
        let pieces = self.disk_cache.as_ref().map(|cache| cache.directory.clone());
        secrets
            .chain(code.folder().map(Path::to_owned))
            .chain(registry)
            .chain(pieces)
            .collect()
    }
}

fn code_cache(folder: &Path, section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<CodeCacheOption> {
    match section.string("code-cache", errors)?.value.as_str() {
        "off" => Some(CodeCacheOption::Off),
        path => Some(CodeCacheOption::Folder(folder.join(path))),
    }
}

fn listen(folder: &Path, section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Vec<ListenAddress>> {
    let typed = section.strings("listen", errors)?;
    if typed.is_empty() {
        errors.push(section.error("`listen` names no address: nobody could connect"));
    }
    let mut addresses = Vec::new();
    let mut seen = Addresses::default();
    for text in typed {
        let address = text.value.parse::<ListenAddress>();
        let address = address.map(|address| address.beneath(folder));
        match address.and_then(|address| seen.add(&address).map(|()| address)) {
            Ok(address) => addresses.push(address),
            Err(problem) => errors.push(section.error_at(&text, format!("`listen`: {problem}"))),
        }
    }
    Some(addresses)
}

fn unknown_host(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<UnknownHost> {
    let typed = section.word("unknown-host", errors)?;
    let known = UNKNOWN_HOSTS.iter().find(|(word, _)| *word == typed.value);
    if known.is_none() {
        let problem = format!("`unknown-host` cannot be {:?}", typed.value);
        errors.push(section.error_at(&typed, problem).hint("421, 404 or \"close\""));
    }
    known.map(|(_, answer)| *answer)
}
