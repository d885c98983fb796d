//! The options of serving, as they are typed. Their texts are the manual.

use super::observing::ObservingOptions;
use crate::{
    config::{
        CodeCacheOption, ConfigErrors, Configuration, OperatorSettings, RegistrySettings, Remotes, ServerSettings,
        plugins::PluginFolder,
        remote::Purpose,
        stores::GivenStore,
        units::{duration, positive},
        values::{chunk_size, error_status, log_filter, record_limit, site_path},
    },
    limits::SiteBudget,
    net::{
        ListenAddress,
        tls::{CertificateSource, TlsFiles},
    },
    observe::LogFormat,
    site::{Logged, SiteHeaders, SiteSpec},
    sites::{HostPattern, LoadErrors, Loader, Sites},
    watch::{RecordOptions, narrate::Narrator, record::rules::Rule},
};
use clap::{Args, ValueEnum};
use http::StatusCode;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use wasmserve_files::{Compression, Dotfiles, FilesOptions, Listings, Location, RootOptions, SitePath, Symlinks};
use wasmserve_transport::Sendfile;

/// The name of the one site that the command line describes.
const SITE: &str = "default";

/// The name of its one root.
const ROOT: &str = "default";

#[derive(Clone, Debug, Args)]
pub struct ServeOptions {
    /// File that describes sites, listeners and all else, instead of the options below
    ///
    /// Every key is in server/docs/sites.md. SIGHUP reads it again.
    #[arg(
        long,
        short,
        value_name = "FILE",
        conflicts_with_all = [
            "root", "listen", "plugins", "listing", "index", "error_pages", "fallback", "dotfiles", "symlinks",
            "no_precompressed", "compress", "chunk_size", "log_format", "log", "drain_timeout", "idle_timeout",
            "head_timeout", "stall_timeout", "max_connections", "sendfile", "admin", "debug_secret_file", "record",
            "record_limit", "record_one_in", "record_redact", "tls_cert", "tls_key", "code_cache", "access_log",
            "access_log_format", "admin_listen", "admin_token_file", "admin_host", "metrics_by_site",
        ]
    )]
    config: Option<PathBuf>,

    /// Set by `wasmserve dev` alone.
    #[arg(skip)]
    narrator: Option<Narrator>,

    /// Reload when the configuration or a plugin changes, as SIGHUP does
    ///
    /// What is wrong then is logged, and the server goes on as it was.
    #[arg(long)]
    watch: bool,

    /// Folder whose files are served, or s3://BUCKET/PREFIX
    ///
    /// Object storage by s3://, gs:// or az://, with the keys, AWS_ENDPOINT and AWS_REGION of the environment; more can be
    /// said in a file.
    #[arg(long, short, default_value = ".", value_name = "DIR", help_heading = "Files", value_parser = root)]
    root: Location,

    /// Address and port to listen on; may be given several times
    ///
    /// Such as 127.0.0.1:8080, 0.0.0.0:80 or [::]:80 (all addresses, IPv4 too). Port 0 lets the system choose. unix:PATH is
    /// a Unix socket, for the server's user and group; systemd:NAME a socket that systemd passes by that name. Each address
    /// is printed to standard output, one a line, once connections are accepted.
    #[arg(
        long,
        short,
        default_value = "127.0.0.1:8080",
        value_name = "ADDR",
        help_heading = "Connections"
    )]
    listen: Vec<ListenAddress>,

    /// Certificate of this server, and those that lead from it to one that clients trust, in PEM: speaks HTTPS
    ///
    /// With HTTP/2 where the client offers it. The file and its key are never served.
    #[arg(long, requires = "tls_key", value_name = "FILE", help_heading = "Connections")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)
    #[arg(long, requires = "tls_cert", value_name = "FILE", help_heading = "Connections")]
    tls_key: Option<PathBuf>,

    /// Folder with the plugins that decide every request
    ///
    /// With a plugins.toml in it, that file lists them in order; otherwise every *.wasm of the folder runs in the order of
    /// names, with NAME.toml as its configuration. If any cannot be run, nothing is served. Without this option no
    /// plugin is asked and every file beneath the root is served to everyone.
    #[arg(long, short, value_name = "DIR", help_heading = "Policy")]
    plugins: Option<PathBuf>,

    /// Folder in which the compiled code of plugins is kept, so that the next start is quick; off: none is
    ///
    /// Such a folder must not be changeable by other users, nor lie beneath a served folder; otherwise everything is
    /// compiled at each start, and the log says why. What is in it can be removed at any time
    /// [default: $CACHE_DIRECTORY of systemd, else wasmserve in $XDG_CACHE_HOME or ~/.cache].
    #[arg(long, value_name = "DIR|off", help_heading = "Policy")]
    code_cache: Option<CodeCacheOption>,

    /// List the entries of folders that have no index file
    #[arg(long, help_heading = "Files")]
    listing: bool,

    /// Name of the file that stands for its folder; may be given several times, most wanted first
    #[arg(long, default_value = "index.html", value_name = "NAME", help_heading = "Files")]
    index: Vec<String>,

    /// Page that is sent with an error status, such as 404=/404.html; may be given several times
    ///
    /// Looked up in the folder of the request, then in the root.
    #[arg(long = "error-page", value_name = "STATUS=PATH", value_parser = error_page, help_heading = "Files")]
    error_pages: Vec<(StatusCode, SitePath)>,

    /// Page that is sent with 200 when nothing is there: that of a single-page application, such as /index.html
    #[arg(long, value_name = "PATH", value_parser = site_path, help_heading = "Files")]
    fallback: Option<SitePath>,

    /// Whether names that begin with a dot are served; what is beneath /.well-known/ always is
    #[arg(long, default_value = "hide", value_name = "RULE", help_heading = "Files")]
    dotfiles: DotfilesRule,

    /// Whether symbolic links are followed; never to outside of the root
    #[arg(long, default_value = "beneath", value_name = "RULE", help_heading = "Files")]
    symlinks: SymlinksRule,

    /// Do not send the siblings page.html.br, .zst and .gz of page.html to clients that accept them
    #[arg(long, help_heading = "Files")]
    no_precompressed: bool,

    /// Compress texts while they are sent, where no such sibling is there
    ///
    /// Costs CPU for every response, and tells secrets by their length in pages that hold one beside something that a
    /// client chose (BREACH).
    #[arg(long, help_heading = "Files")]
    compress: bool,

    /// Most bytes of a file that a connection holds in memory: 4KiB to 16MiB
    #[arg(long, default_value = "64KiB", value_name = "SIZE", value_parser = chunk_size, help_heading = "Files")]
    chunk_size: usize,

    /// To which clients the kernel copies the content of files by itself (sendfile)
    ///
    /// A response is completed only after the client has acknowledged what was sent so and the file is still the same.
    #[arg(long, default_value = "remote", value_name = "RULE", help_heading = "Files")]
    sendfile: SendfileRule,

    /// Unix socket that answers operators: health, sites, and why a request is answered as it is
    ///
    /// Only its owner can connect (mode 0600). One that a dead server left behind is replaced. [default: admin.sock in the
    /// folder that RUNTIME_DIRECTORY names, as systemd sets it; otherwise none]
    #[arg(long, value_name = "SOCKET", help_heading = "Operators")]
    admin: Option<PathBuf>,

    #[command(flatten)]
    observing: ObservingOptions,

    /// File with a secret: a request whose header field Wasmserve-Debug has it explains itself
    ///
    /// At least 16 visible characters, such as `openssl rand -hex 16` prints. The answer then has the header fields
    /// Wasmserve-Explain and Server-Timing, and the log has the whole account under the id in Wasmserve-Trace. Without
    /// this option the header field means nothing; plugins never see it.
    #[arg(long, value_name = "FILE", help_heading = "Operators")]
    debug_secret_file: Option<PathBuf>,

    /// File that real requests and what is decided about them are recorded to, for `wasmserve replay`
    ///
    /// Lines of JSON, for its owner alone (mode 0600). Nobody waits for it: what cannot be written in time is dropped and
    /// counted.
    #[arg(long, value_name = "FILE", help_heading = "Operators")]
    record: Option<PathBuf>,

    /// Size at which the recording becomes FILE.1, in place of an older one, and another is begun
    #[arg(long, default_value = "64MiB", value_name = "SIZE", value_parser = record_limit, requires = "record", help_heading = "Operators")]
    record_limit: u64,

    /// Record one request of so many
    #[arg(
        long,
        default_value = "1",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u64).range(1..),
        requires = "record",
        help_heading = "Operators"
    )]
    record_one_in: u64,

    /// What is recorded as it is, as a digest, or not at all; may be given several times, the last for a name wins
    ///
    /// header:NAME, cookie:NAME, query:NAME (a parameter) or client, then =keep, =hash or =drop; the name * is every other
    /// one. Unless told otherwise, digests stand for the values of cookies and of queries, for Authorization, Referer and
    /// for header fields whose names speak of keys, tokens and the like. What is not kept cannot be replayed.
    #[arg(long, value_name = "RULE", requires = "record", help_heading = "Operators")]
    record_redact: Vec<Rule>,

    /// How log lines are written, to standard error
    #[arg(long, default_value = "text", value_name = "FORMAT", help_heading = "Log")]
    log_format: LogFormat,

    /// What is logged: a level, then exceptions by target
    ///
    /// Levels are error, warn, info, debug, trace and off. "info,access=off" leaves the access log out; its lines have the
    /// target "access". Queries are never logged: links carry secrets in them.
    #[arg(long, default_value = "info", value_name = "FILTER", value_parser = log_filter, help_heading = "Log")]
    log: String,

    /// How long responses may take to finish after SIGINT or SIGTERM; a second signal ends at once
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = duration, help_heading = "Connections")]
    drain_timeout: Duration,

    /// How long a connection may wait for its next request
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = positive, help_heading = "Connections")]
    idle_timeout: Duration,

    /// How long a request's head may take from its first byte to its last, and how long a TLS handshake
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = positive, help_heading = "Connections")]
    head_timeout: Duration,

    /// How long a client may take no byte of its response
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = positive, help_heading = "Connections")]
    stall_timeout: Duration,

    /// Connections open at once; more wait until one ends [default: what the limit of open files allows]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Connections")]
    max_connections: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DotfilesRule {
    /// They are not there
    Hide,
    /// They are served like any other
    Serve,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SymlinksRule {
    /// Followed while they are relative and stay beneath the root
    Beneath,
    /// What they name is not there
    Deny,
}

/// Why the options come to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    #[error("the plugins cannot be run")]
    Plugins(#[source] ConfigErrors),
    #[error("the configuration cannot be used")]
    File(#[source] ConfigErrors),
}
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SendfileRule {
    /// To those on other machines
    Remote,
    /// Also to those on this machine, who may then be given changes that are made to a file in place after it was sent
    /// to them and before they read it
    Always,
    /// To none: all files are read
    Off,
}

// === impl ConfigurationError ===

impl ConfigurationError {
    /// Each thing that is wrong.
    pub fn errors(&self) -> &ConfigErrors {
        match self {
            Self::Plugins(errors) | Self::File(errors) => errors,
        }
    }
}

// === impl ServeOptions ===

impl ServeOptions {
    /// What the options come to, with what they name read anew.
    ///
    /// # Errors
    /// Everything that is wrong with the files that they name.
    pub fn configuration(&self) -> Result<Configuration, ConfigurationError> {
        self.configuration_for(Purpose::Serving)
    }

    /// The same for some purpose.
    ///
    /// # Errors
    /// As [`ServeOptions::configuration`].
    pub fn configuration_for(&self, purpose: Purpose) -> Result<Configuration, ConfigurationError> {
        let configuration = match &self.config {
            Some(file) => Configuration::read_for(file, purpose).map_err(ConfigurationError::File),
            None => self.one_site(purpose).map_err(ConfigurationError::Plugins),
        }?;
        configuration.keep_store_apart().map_err(ConfigurationError::File)?;
        Ok(configuration)
    }

    /// Loads everything as serving would, but for what sites share with other servers.
    pub async fn load(&self) -> Result<(Configuration, Sites), anyhow::Error> {
        let configuration = self.configuration()?;
        let sites = Loader::new(&configuration.server.cache)
            .aside()
            .load(&configuration, None)
            .await;
        Ok((configuration, sites.map_err(|errors| self.cannot_load(errors))?))
    }

    /// Why nothing is served: about sites by name when there is a file that names them.
    pub fn cannot_load(&self, errors: LoadErrors) -> anyhow::Error {
        if self.config.is_some() {
            return anyhow::Error::new(errors).context("cannot serve");
        }
        match errors.into_only() {
            Some(error) => error.into(),
            None => anyhow::anyhow!("cannot serve"),
        }
    }

    /// The file that describes everything, if there is one.
    pub fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Every request explains itself.
    pub(super) fn narrate(&mut self, narrator: Narrator) {
        self.narrator = Some(narrator);
    }

    /// Who tells of every request; nobody, usually.
    pub(super) fn narrator(&self) -> Option<Narrator> {
        self.narrator
    }

    /// Whether changes are seen without a signal.
    pub fn watch(&self) -> bool {
        self.watch
    }

    /// The site that the flags describe, for every host.
    fn one_site(&self, purpose: Purpose) -> Result<Configuration, ConfigErrors> {
        let remotes = Remotes::new(RegistrySettings::default(), purpose);
        let folder = self.plugins.as_deref().map(|dir| PluginFolder::read_with(dir, remotes));
        let mut folder = folder.transpose()?.unwrap_or_default();
        let mut sources = std::mem::take(&mut folder.protected);
        let files = self.files();
        let roots = files.roots.iter().map(|(name, _)| name.clone()).collect();
        let site = SiteSpec {
            hosts: vec![HostPattern::Any],
            chain: folder.chain(SITE.into(), roots),
            files,
            budget: SiteBudget::default(),
            headers: SiteHeaders::default(),
            tls: None,
            logged: Logged::Yes,
        };
        let server = self.server();
        sources.extend(server.tls.iter().flat_map(TlsFiles::paths));
        Ok(Configuration {
            server,
            acme: None,
            sites: vec![site.into()],
            tenants: None,
            sources,
        })
    }

    fn server(&self) -> ServerSettings {
        ServerSettings {
            listen: self.listen.clone(),
            idle_timeout: self.idle_timeout,
            head_timeout: self.head_timeout,
            stall_timeout: self.stall_timeout,
            drain_timeout: self.drain_timeout,
            max_connections: self.max_connections.and_then(|count| usize::try_from(count).ok()),
            chunk_size: self.chunk_size,
            sendfile: match self.sendfile {
                SendfileRule::Remote => Sendfile::Remote,
                SendfileRule::Always => Sendfile::Always,
                SendfileRule::Off => Sendfile::Off,
            },
            tls: self.tls(),
            code_cache: self.code_cache.clone(),
            operators: self.operators(),
            log_format: self.log_format,
            log: self.log.clone(),
            ..ServerSettings::default()
        }
    }

    fn tls(&self) -> Option<TlsFiles> {
        Some(TlsFiles {
            certificate: CertificateSource::Files {
                certificate: self.tls_cert.clone()?,
                key: self.tls_key.clone()?,
            },
            clients: None,
        })
    }

    fn operators(&self) -> OperatorSettings {
        let record = self.record.clone().map(|file| RecordOptions {
            file,
            limit: self.record_limit,
            one_in: self.record_one_in,
            rules: self.record_redact.clone(),
        });
        OperatorSettings {
            admin: self.admin.clone(),
            debug_secret_file: self.debug_secret_file.clone(),
            record,
            traces: None,
            access: self.observing.access(),
            listener: self.observing.listener(),
            hosts: self.observing.hosts(),
            metrics_by_site: self.observing.metrics_by_site(),
        }
    }

    fn files(&self) -> FilesOptions {
        let mut files = FilesOptions::new("");
        files.compression = self.compress.then(Compression::default);
        let defaults = RootOptions::new("");
        let root = RootOptions {
            location: self.root.clone(),
            symlinks: match self.symlinks {
                SymlinksRule::Beneath => Symlinks::Beneath,
                SymlinksRule::Deny => Symlinks::Deny,
            },
            dotfiles: match self.dotfiles {
                DotfilesRule::Hide => Dotfiles::Hide,
                DotfilesRule::Serve => Dotfiles::Serve,
            },
            index: self.index.clone(),
            listing: if self.listing { Listings::On } else { Listings::Off },
            precompressed: if self.no_precompressed {
                Vec::new()
            } else {
                defaults.precompressed
            },
            error_pages: self.error_pages.clone(),
            fallback: self.fallback.clone(),
            ..defaults
        };
        files.roots = vec![(ROOT.to_owned(), root)];
        files
    }
}

fn root(text: &str) -> Result<Location, String> {
    GivenStore::default().locate(Path::new(""), text)
}

fn error_page(text: &str) -> Result<(StatusCode, SitePath), String> {
    let (status, path) = text
        .split_once('=')
        .ok_or("must be a status and a path, such as 404=/404.html")?;
    Ok((error_status(status)?, site_path(path)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        serve: ServeOptions,
    }

    #[test]
    fn the_flags_and_the_file_have_the_same_defaults() {
        let typed = Typed::parse_from(["wasmserve"]);
        let configuration = typed.serve.configuration().expect("nothing is read");
        assert_eq!(configuration.server, ServerSettings::default());
        let root = &configuration.sites[0].files.roots[0].1;
        assert_eq!(*root, RootOptions::new("."));
    }

    #[test]
    fn what_a_file_says_is_not_said_by_flags() {
        let command = Typed::command();
        let config = command.get_arguments().find(|argument| argument.get_id() == "config");
        let config = config.expect("the option is there");
        let conflicts: Vec<_> = command
            .get_arg_conflicts_with(config)
            .iter()
            .map(|argument| argument.get_id())
            .collect();
        for argument in command.get_arguments() {
            let beside = ["config", "watch", "help"].contains(&argument.get_id().as_str());
            assert_eq!(conflicts.contains(&argument.get_id()), !beside, "{}", argument.get_id());
        }
    }
}
