//! What is for operators alone: where they ask, and what they have watched of real requests.

use super::{
    ConfigErrors,
    document::Section,
    traces::traces,
    values::{listen_address, record_limit},
};
use crate::{
    observe::{AccessOptions, Destination, access::Format, traces::TraceOptions},
    watch::{
        RecordOptions,
        record::{file, rules::Rule},
    },
};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// What an operator has for himself, resolved.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperatorSettings {
    /// `admin`: the Unix socket that answers operators. Default: `admin.sock` in the folder that `RUNTIME_DIRECTORY` names,
    /// as systemd sets it; otherwise none.
    pub admin: Option<PathBuf>,
    /// `debug-secret-file`: a file with the secret that a request needs to explain itself. Default: none can.
    pub debug_secret_file: Option<PathBuf>,
    /// `[server.record]`: where decisions are recorded for `wasmserve replay`. Default: nothing is.
    pub record: Option<RecordOptions>,
    /// `[server.traces]`: where traces for OpenTelemetry are sent. Default: there are none.
    pub traces: Option<TraceOptions>,
    /// `access-log`: where its lines go: `"log"` (the default: into the log, with the target `access`), `"stdout"`, `"off"`
    /// or a file; and `access-log-format`: `"json"` (the default) or `"combined"`, of the latter two.
    pub access: AccessOptions,
    /// `admin-listen` and `admin-token-file`: the address that answers operators over TCP, and a file with the token that
    /// they show. Default: none.
    pub listener: Option<AdminListener>,
    /// `admin-hosts`: names by which operators reach it, other than `localhost` and addresses. Default: none.
    pub hosts: Vec<String>,
    /// `metrics-by-site`: whether metrics count requests for each site by itself. Default: `false`.
    pub metrics_by_site: bool,
}

/// Where operators are answered over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminListener {
    pub address: SocketAddr,
    pub token_file: PathBuf,
}

pub(super) const ACCESS_FORMATS: [(&str, Format); 2] = [("json", Format::Json), ("combined", Format::Combined)];

/// The size at which a recording is begun anew.
pub const RECORD_LIMIT: u64 = 64 << 20;

/// The folder that systemd makes for a unit (`RuntimeDirectory=`).
const RUNTIME_DIRECTORY: &str = "RUNTIME_DIRECTORY";

// === impl OperatorSettings ===

impl OperatorSettings {
    /// Takes what it knows of `[server]`; paths are relative to `folder`.
    pub fn read(folder: &Path, section: &mut Section<'_>, errors: &mut ConfigErrors) -> Self {
        let mut path = |key, errors: &mut ConfigErrors| section.string(key, errors).map(|path| folder.join(path.value));
        Self {
            admin: path("admin", errors),
            debug_secret_file: path("debug-secret-file", errors),
            record: section
                .section("record", errors)
                .and_then(|section| record(folder, section, errors)),
            traces: section
                .section("traces", errors)
                .and_then(|section| traces(folder, section, errors)),
            access: access(folder, section, errors),
            listener: listener(folder, section, errors),
            hosts: section
                .strings("admin-hosts", errors)
                .unwrap_or_default()
                .into_iter()
                .map(|host| host.value)
                .collect(),
            metrics_by_site: section.flag("metrics-by-site", errors).unwrap_or_default(),
        }
    }

    /// Where operators ask.
    pub fn socket(&self) -> Option<PathBuf> {
        let runtime = || {
            let folders = std::env::var_os(RUNTIME_DIRECTORY)?;
            // systemd separates several with colons (systemd.exec(5)).
            let first = std::env::split_paths(&folders).next()?;
            (!first.as_os_str().is_empty()).then(|| first.join("admin.sock"))
        };
        self.admin.clone().or_else(runtime)
    }

    /// What must not be served, beside configuration and plugins.
    pub fn secrets(&self) -> impl Iterator<Item = PathBuf> {
        let recordings = self.record.iter().map(|record| &record.file);
        let recordings = recordings.flat_map(|file| [file.clone(), file::before(file)]);
        let token = self.listener.iter().map(|listener| listener.token_file.clone());
        let access = match &self.access.destination {
            Destination::File(file) => Some(file.clone()),
            Destination::Log | Destination::Stdout | Destination::Off => None,
        };
        let collector = self.traces.iter().filter_map(|traces| traces.headers_file.clone());
        let secrets = self.debug_secret_file.clone().into_iter().chain(recordings);
        secrets.chain(token).chain(access).chain(collector)
    }
}

fn access(folder: &Path, section: &mut Section<'_>, errors: &mut ConfigErrors) -> AccessOptions {
    let destination = section.string("access-log", errors);
    let format = section.choice("access-log-format", &ACCESS_FORMATS, errors);
    AccessOptions {
        destination: destination
            .map(|text| Destination::of(&text.value, |path| folder.join(path)))
            .unwrap_or_default(),
        format: format.unwrap_or_default(),
    }
}

fn listener(folder: &Path, section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<AdminListener> {
    let typed = section.string("admin-listen", errors);
    let token = section.string("admin-token-file", errors);
    match (typed, token) {
        (Some(typed), Some(token)) => match listen_address(&typed.value) {
            Ok(address) => Some(AdminListener {
                address,
                token_file: folder.join(token.value),
            }),
            Err(problem) => {
                errors.push(section.error_at(&typed, format!("`admin-listen`: {problem}")));
                None
            }
        },
        (None, None) => None,
        (Some(lonely), None) | (None, Some(lonely)) => {
            let problem = "`admin-listen` and `admin-token-file` go together: over TCP a token is needed";
            errors.push(section.error_at(&lonely, problem));
            None
        }
    }
}

/// `[server.record]`.
///
/// - `file`: where decisions are recorded for `wasmserve replay`. Needed.
/// - `limit`: the size at which the file is begun anew. Default: `"64MiB"`.
/// - `one-in`: one request of so many is recorded. Default: `1`.
/// - `redact`: rules for what is secret, such as `["header:x-team=keep", "client=hash"]`. Default: `[]`.
fn record(folder: &Path, mut section: Section<'_>, errors: &mut ConfigErrors) -> Option<RecordOptions> {
    let file = section.required_string("file", errors);
    let limit = section.parsed("limit", record_limit, errors).unwrap_or(RECORD_LIMIT);
    let one_in = section.count("one-in", errors).map_or(1, |count| count as u64);
    let mut rules = Vec::new();
    for rule in section.strings("redact", errors).unwrap_or_default() {
        match rule.value.parse::<Rule>() {
            Ok(rule) => rules.push(rule),
            Err(problem) => errors.push(section.error_at(&rule, format!("`redact`: {problem}"))),
        }
    }
    section.finish(errors);
    Some(RecordOptions {
        file: folder.join(file?.value),
        limit,
        one_in,
        rules,
    })
}
