//! `[server.traces]`: where traces go. What it does not say, the environment does, as OpenTelemetry names it.

use super::{
    ConfigErrors,
    document::Section,
    print::{path, table, time, word},
    units::positive,
};
use crate::observe::traces::{Parents, TraceOptions};
use http::Uri;
use std::{env, num::NonZeroU32, path::Path, time::Duration};
use toml::Table;

pub(super) const PARENTS: [(&str, Parents); 3] = [
    ("proxies", Parents::Proxies),
    ("anyone", Parents::Anyone),
    ("nobody", Parents::Nobody),
];

/// Where a collector listens, unless it is told otherwise (OTLP over HTTP).
const COLLECTOR: &str = "http://localhost:4318";

/// The path for traces, beneath an endpoint that is for everything.
const PATH: &str = "/v1/traces";

const INTERVAL: Duration = Duration::from_secs(5);

/// Reads `[server.traces]`; paths are relative to `folder`.
///
/// - `url`: where spans are posted (OTLP over HTTP, JSON), with its path. Default: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else
///   `v1/traces` beneath `OTEL_EXPORTER_OTLP_ENDPOINT`, else beneath `http://localhost:4318`.
/// - `service-name`: what traces call this server. Default: `OTEL_SERVICE_NAME`, else `"wasmserve"`.
/// - `one-in`: one request of so many is traced. Default: `1`.
/// - `parents`: whose `traceparent` is believed, and decides in the place of `one-in`: `"proxies"` (those that the listener
///   trusts), `"anyone"` or `"nobody"`. Default: `"proxies"`.
/// - `headers-file`: a file with header fields for the collector, `NAME: VALUE` in each line. Default: none.
/// - `ca-file`: PEM file with the certificates that vouch for the collector. Default: the public authorities.
/// - `interval`: how long spans wait for others. Default: `"5s"`.
pub(super) fn traces(folder: &Path, mut section: Section<'_>, errors: &mut ConfigErrors) -> Option<TraceOptions> {
    let typed = section.string("url", errors);
    let url = match &typed {
        Some(typed) => url(&typed.value).map_err(|problem| section.error_at(typed, format!("`url`: {problem}"))),
        None => endpoint(|name| env::var(name).ok()).map_err(|problem| section.error(problem)),
    };
    let service_name = section.string("service-name", errors).map(|name| name.value);
    let service_name = service_name.or_else(|| env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty()));
    let one_in = section.count_to("one-in", u32::MAX as usize, errors);
    let parents = section.choice("parents", &PARENTS, errors);
    let headers_file = section.string("headers-file", errors);
    let ca_file = section.string("ca-file", errors);
    let interval = section.parsed("interval", positive, errors);
    section.finish(errors);
    let url = url.map_err(|error| errors.push(error)).ok()?;
    Some(TraceOptions {
        url,
        service_name: service_name.unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned()),
        one_in: one_in
            .and_then(|count| NonZeroU32::new(u32::try_from(count).ok()?))
            .unwrap_or(NonZeroU32::MIN),
        parents: parents.unwrap_or_default(),
        headers_file: headers_file.map(|file| folder.join(file.value)),
        ca_file: ca_file.map(|file| folder.join(file.value)),
        interval: interval.unwrap_or(INTERVAL),
    })
}

/// As [`traces`] reads it.
pub(super) fn print(options: &TraceOptions) -> Table {
    let mut table = table([
        ("url", options.url.to_string().into()),
        ("service-name", options.service_name.clone().into()),
        ("one-in", i64::from(options.one_in.get()).into()),
        ("parents", word(options.parents, &PARENTS)),
        ("interval", time(options.interval)),
    ]);
    for (key, file) in [("headers-file", &options.headers_file), ("ca-file", &options.ca_file)] {
        table.extend(file.iter().map(|file| (key.to_owned(), path(file))));
    }
    table
}

/// What the environment says.
fn endpoint(variable: impl Fn(&str) -> Option<String>) -> Result<Uri, String> {
    let given = |name: &'static str| Some((name, variable(name).filter(|value| !value.is_empty())?));
    let (name, text) = match given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        Some(given) => given,
        None => {
            let (name, base) = given("OTEL_EXPORTER_OTLP_ENDPOINT").unwrap_or(("`url`", COLLECTOR.to_owned()));
            (name, format!("{}{PATH}", base.trim_end_matches('/')))
        }
    };
    url(&text).map_err(|problem| format!("{name}: {problem}"))
}

fn url(text: &str) -> Result<Uri, String> {
    let url: Option<Uri> = text.parse().ok();
    let is_usable = |url: &Uri| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    url.filter(is_usable)
        .ok_or_else(|| format!("{text:?} is not a URL such as \"{COLLECTOR}{PATH}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_where_traces_go() {
        const OWN: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        const ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
        type Variables<'a> = &'a [(&'a str, &'a str)];
        let cases: &[(Variables<'_>, Option<&str>)] = &[
            (&[], Some("http://localhost:4318/v1/traces")),
            (
                &[(ALL, "https://c.example:1/x/")],
                Some("https://c.example:1/x/v1/traces"),
            ),
            (&[(ALL, "https://c.example")], Some("https://c.example/v1/traces")),
            (
                &[(OWN, "http://own.example/t"), (ALL, "http://all.example")],
                Some("http://own.example/t"),
            ),
            (&[(OWN, ""), (ALL, "")], Some("http://localhost:4318/v1/traces")),
            (&[(ALL, "grpc://c.example")], None),
            (&[(OWN, "nowhere")], None),
        ];
        for (variables, expected) in cases {
            let variable = |name: &str| {
                let found = variables.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let found = endpoint(variable).ok().map(|url| url.to_string());
            assert_eq!(found.as_deref(), *expected, "{variables:?}");
        }
    }
}
