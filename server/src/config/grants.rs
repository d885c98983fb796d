//! What an operator grants a policy or an observer, as it is typed in the chain: words in `grants`, and tables where
//! there is more to say. And `[services]`: what all of a site's plugins may use of them together.

use super::{
    ConfigErrors,
    document::{Located, Section, suggest},
    limits::memory_size,
    units::positive,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use wasmserve_policy::{Grants, HttpGrant, KeyValueGrant, ServiceBudget};

/// The words of `grants`.
const WORDS: [&str; 4] = ["logging", "sharing", "key-value", "counters"];

/// The bucket that every policy with the grant has for itself.
const OWN_BUCKET: &str = "default";

/// What is granted by a table rather than by a word, and what to write.
const TABLES: [(&str, &str); 3] = [
    (
        "http",
        "say what it may reach: http = { allow = [\"https://api.example.org\"] }",
    ),
    (
        "directories",
        "say which it may read: directories = { \"/data\" = \"DIRECTORY\" }",
    ),
    (
        "environment",
        "say what it finds there: environment = { NAME = \"value\" }",
    ),
];

/// Reads what a `[[policy]]` or `[[observer]]` table grants. Paths are relative to `dir`.
///
/// - `[policy.key-value]`: key-value pairs, with more to say than the word.
/// - `[policy.http]`: outbound requests.
pub fn read(section: &mut Section<'_>, dir: &Path, errors: &mut ConfigErrors) -> Grants {
    let mut grants = Grants::default();
    for word in section.strings("grants", errors).unwrap_or_default() {
        match word.value.as_str() {
            "logging" => grants.logging = true,
            "sharing" => grants.sharing = true,
            "counters" => grants.counters = true,
            "key-value" => grants.key_value = Some(KeyValueGrant::default()),
            _ => unknown(section, &word, errors),
        }
    }
    if let Some(table) = section.section("key-value", errors) {
        grants.key_value = Some(key_value(table, errors));
    }
    if let Some(table) = section.section("http", errors) {
        grants.http = Some(http(table, dir, errors));
    }
    grants.directories = directories(section, dir, errors);
    grants.environment = environment(section, errors);
    grants
}

fn unknown(section: &Section<'_>, word: &Located<String>, errors: &mut ConfigErrors) {
    let table = TABLES.iter().find(|(name, _)| *name == word.value);
    let error = match table {
        Some((name, how)) => section
            .error_at(word, format!("`grants`: `{name}` takes more than a word"))
            .hint(*how),
        None => section
            .error_at(word, format!("`grants`: there is no service `{}`", word.value))
            .hint(suggest(&word.value, &WORDS)),
    };
    errors.push(error);
}

/// `[policy.key-value]`.
///
/// - `buckets`: buckets that it may open beside its own, and share with others that name them. Default: `[]`.
/// - `time-to-live`: pairs that it makes are forgotten after so long. Default: when there is no more room.
fn key_value(mut table: Section<'_>, errors: &mut ConfigErrors) -> KeyValueGrant {
    let mut buckets = BTreeSet::new();
    for bucket in table.strings("buckets", errors).unwrap_or_default() {
        if bucket.value.is_empty() || bucket.value == OWN_BUCKET {
            let problem = format!("`buckets` cannot name {:?}", bucket.value);
            let hint =
                "`default` is the plugin's own bucket, which it has anyway: name those that it shares with others";
            errors.push(table.error_at(&bucket, problem).hint(hint));
        }
        buckets.insert(bucket.value);
    }
    let time_to_live = table.parsed("time-to-live", positive, errors);
    table.finish(errors);
    KeyValueGrant { buckets, time_to_live }
}

/// `[policy.http]`.
///
/// - `allow`: servers that may be reached, such as `["https://api.example.org"]`. Needed.
/// - `addresses`: blocks that may be reached although they are not public, such as `["10.0.0.0/8"]`. Default: `[]`.
/// - `certificates`: a file of certificates (PEM) that are trusted instead of the public authorities. Default: those.
/// - `connect-timeout`: for the connection, TLS included. Default: as `timeout`.
/// - `first-byte-timeout`: from the connection to the response's head. Default: as `timeout`.
/// - `timeout`: from the request to the response's end. Default: half the `wall` of the policy.
/// - `request-bytes`: most bytes of a request's body. Default: `"256KiB"`.
/// - `response-bytes`: most bytes of a response's body. Default: `"1MiB"`.
/// - `requests`: requests of one call. Default: `4`.
fn http(mut table: Section<'_>, dir: &Path, errors: &mut ConfigErrors) -> HttpGrant {
    let mut grant = HttpGrant::default();
    let allow = table.strings("allow", errors).unwrap_or_default();
    if allow.is_empty() {
        let hint = "name servers, such as allow = [\"https://api.example.org\"]";
        errors.push(
            table
                .error("`allow` names no server, so nothing could be reached")
                .hint(hint),
        );
    }
    grant.allow = parsed(&table, &allow, errors);
    let addresses = table.strings("addresses", errors).unwrap_or_default();
    grant.addresses = parsed(&table, &addresses, errors)
        .into_iter()
        .map(|Block(block)| block)
        .collect();
    grant.certificates = table.string("certificates", errors).map(|file| dir.join(file.value));
    grant.connect_timeout = table.parsed("connect-timeout", positive, errors);
    grant.first_byte_timeout = table.parsed("first-byte-timeout", positive, errors);
    grant.timeout = table.parsed("timeout", positive, errors);
    let bytes = |text: &str| memory_size(text).map(|bytes| bytes as u64);
    grant.request_bytes = table
        .parsed("request-bytes", bytes, errors)
        .unwrap_or(grant.request_bytes);
    grant.response_bytes = table
        .parsed("response-bytes", bytes, errors)
        .unwrap_or(grant.response_bytes);
    grant.requests = table.count("requests", errors).unwrap_or(grant.requests);
    table.finish(errors);
    grant
}

/// A CIDR block, or an address as the block of itself.
struct Block(ipnet::IpNet);

impl std::str::FromStr for Block {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let block = text.parse::<ipnet::IpNet>();
        block
            .or_else(|_| text.parse::<std::net::IpAddr>().map(ipnet::IpNet::from))
            .map(Self)
            .map_err(|_| format!("{text:?} is neither a CIDR block, such as \"10.0.0.0/8\", nor an address"))
    }
}

/// All of a list that mean something; what is wrong with the others is noted.
fn parsed<T: std::str::FromStr<Err = String>>(
    table: &Section<'_>,
    texts: &[Located<String>],
    errors: &mut ConfigErrors,
) -> Vec<T> {
    let parse = |text: &Located<String>| match text.value.parse() {
        Ok(value) => Some(value),
        Err(problem) => {
            errors.push(table.error_at(text, problem));
            None
        }
    };
    texts.iter().filter_map(parse).collect()
}

/// `[policy.directories]`: by the path that the plugin knows them by.
///
/// - `directories`: directories that it may read, such as `{ "/data" = "/srv/data" }`, by the path that it knows them by.
///   Default: `{}`.
fn directories(section: &mut Section<'_>, dir: &Path, errors: &mut ConfigErrors) -> BTreeMap<String, PathBuf> {
    let mut directories = BTreeMap::new();
    for (name, path) in section.texts("directories", errors).unwrap_or_default() {
        if !name.value.starts_with('/') {
            let problem = format!(
                "`directories`: {:?} is the path that the plugin sees: it begins with /",
                name.value
            );
            errors.push(section.error_at(&name, problem));
        }
        let directory = dir.join(&path.value);
        if !directory.is_dir() {
            let problem = format!("`directories`: {} is not a directory", directory.display());
            errors.push(section.error_at(&path, problem));
        }
        directories.insert(name.value, directory);
    }
    directories
}

/// `[policy.environment]`.
///
/// - `environment`: variables that it finds, such as `{ TZ = "UTC" }`. Default: `{}`.
fn environment(section: &mut Section<'_>, errors: &mut ConfigErrors) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    for (name, value) in section.texts("environment", errors).unwrap_or_default() {
        if name.value.is_empty() || name.value.contains(['=', '\0']) || value.value.contains('\0') {
            let problem = format!("`environment`: {:?} cannot be a variable", name.value);
            errors.push(section.error_at(&name, problem));
        }
        variables.insert(name.value, value.value);
    }
    variables
}

/// `[services]`.
///
/// - `bytes` (in `[services.key-value]`): bytes of pairs, with what it takes to keep them. Default: `"16MiB"`.
/// - `pairs` (in `[services.key-value]`): pairs. Expired ones and the least recently used ones go first. Default: `100000`.
/// - `buckets` (in `[services.counters]`): token buckets that are not full. Default: `100000`.
/// - `requests` (in `[services.http]`): outbound requests under way at once. Default: `32`.
pub fn read_budget(mut section: Section<'_>, errors: &mut ConfigErrors) -> ServiceBudget {
    let mut budget = ServiceBudget::default();
    if let Some(mut table) = section.section("key-value", errors) {
        budget.pair_bytes = table.parsed("bytes", memory_size, errors).unwrap_or(budget.pair_bytes);
        budget.pairs = table.count("pairs", errors).unwrap_or(budget.pairs);
        table.finish(errors);
    }
    if let Some(mut table) = section.section("counters", errors) {
        budget.token_buckets = table.count("buckets", errors).unwrap_or(budget.token_buckets);
        table.finish(errors);
    }
    if let Some(mut table) = section.section("http", errors) {
        budget.requests = table.count("requests", errors).unwrap_or(budget.requests);
        table.finish(errors);
    }
    section.finish(errors);
    budget
}

/// What is granted, a word or a few for each, for someone to read.
pub fn describe(grants: &Grants) -> Vec<String> {
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
    let mut described: Vec<String> = words
        .into_iter()
        .filter(|(_, granted)| *granted)
        .map(|(word, _)| word.to_owned())
        .collect();
    described.extend(key_value.as_ref().map(describe_key_value));
    described.extend(http.as_ref().map(|grant| {
        let servers: Vec<String> = grant.allow.iter().map(ToString::to_string).collect();
        format!("http to {}", servers.join(", "))
    }));
    described.extend(
        directories
            .iter()
            .map(|(name, path)| format!("{name} = {}", path.display())),
    );
    // Values may be secrets.
    described.extend(environment.keys().map(|name| format!("${name}")));
    described
}

fn describe_key_value(grant: &KeyValueGrant) -> String {
    let shared = grant.buckets.iter().map(|bucket| format!("bucket {bucket}"));
    let time = grant
        .time_to_live
        .map(|time| format!("for {}", humantime::format_duration(time)));
    let details: Vec<String> = shared.chain(time).collect();
    match details.is_empty() {
        true => "key-value".to_owned(),
        false => format!("key-value ({})", details.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::document::Document, *};
    use std::time::Duration;

    /// What is granted by the lines of a policy's table.
    fn granted(lines: &str) -> Result<Grants, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("chain");
        std::fs::write(&file, lines).expect("a file");
        let document = Document::read(&file).expect("a document");
        let mut errors = ConfigErrors::default();
        let mut root = document.root(&mut errors);
        let grants = read(&mut root, folder.path(), &mut errors);
        root.finish(&mut errors);
        let wrong = |errors: ConfigErrors| {
            let base = format!("{}", folder.path().display());
            errors
                .to_string()
                .replace(&format!("{base}/chain:"), "")
                .replace(&base, "DIR")
        };
        errors.check().map_err(wrong).map(|()| grants)
    }

    #[test]
    fn words_and_tables_grant() {
        assert_eq!(granted(""), Ok(Grants::default()));
        let grants = granted(
            r#"
            grants = ["logging", "counters"]
            directories = { "/data" = "." }
            environment = { TZ = "UTC" }
            [key-value]
            buckets = ["usage"]
            time-to-live = "1h"
            [http]
            allow = ["https://api.example.org", "http://127.0.0.1:8080"]
            addresses = ["10.0.0.0/8", "::1"]
            timeout = "2s"
            response-bytes = "64KiB"
            "#,
        );
        let grants = grants.expect("grants");
        let http = HttpGrant {
            allow: vec![
                "https://api.example.org".parse().expect("a server"),
                "http://127.0.0.1:8080".parse().expect("a server"),
            ],
            addresses: vec![
                "10.0.0.0/8".parse().expect("a block"),
                "::1/128".parse().expect("a block"),
            ],
            timeout: Some(Duration::from_secs(2)),
            response_bytes: 64 << 10,
            ..HttpGrant::default()
        };
        assert_eq!(grants.directories.keys().collect::<Vec<_>>(), ["/data"]);
        let expected = Grants {
            http: Some(http),
            directories: grants.directories.clone(),
            environment: BTreeMap::from([("TZ".to_owned(), "UTC".to_owned())]),
            logging: true,
            counters: true,
            key_value: Some(KeyValueGrant {
                buckets: BTreeSet::from(["usage".to_owned()]),
                time_to_live: Some(Duration::from_secs(3600)),
            }),
            ..Grants::default()
        };
        assert_eq!(grants, expected);
        let described = describe(&grants);
        assert_eq!(
            described[..4],
            [
                "logging",
                "counters",
                "key-value (bucket usage, for 1h)",
                "http to https://api.example.org, http://127.0.0.1:8080"
            ]
        );
        assert!(
            described[4].starts_with("/data = ") && described[5] == "$TZ",
            "{described:?}"
        );
        let grants = granted("grants = [\"key-value\"]").expect("grants");
        assert_eq!(describe(&grants), ["key-value"]);
    }

    #[test]
    fn what_is_mistyped_is_named_with_its_place() {
        for (lines, expected) in [
            (
                "grants = [\"counter\"]",
                "1:11: `grants`: there is no service `counter`\n    hint: did you mean `counters`?",
            ),
            (
                "grants = [\"http\"]",
                "1:11: `grants`: `http` takes more than a word\n    \
                 hint: say what it may reach: http = { allow = [\"https://api.example.org\"] }",
            ),
            (
                "[http]\nallow = [\"ftp://a\"]\naddresses = [\"10\"]",
                "2:10: \"ftp://a\" is not a server: it has a scheme, a host and perhaps a port, such as \
                 \"https://api.example.org\"\n\
                 3:14: \"10\" is neither a CIDR block, such as \"10.0.0.0/8\", nor an address",
            ),
            (
                "[http]\ntimeout = \"1s\"",
                "1:1: `allow` names no server, so nothing could be reached\n    \
                 hint: name servers, such as allow = [\"https://api.example.org\"]",
            ),
            (
                "directories = { data = \"missing\" }\nenvironment = { \"A=B\" = \"c\", D = 1 }",
                "1:17: `directories`: \"data\" is the path that the plugin sees: it begins with /\n\
                 1:24: `directories`: DIR/missing is not a directory\n\
                 2:17: `environment`: \"A=B\" cannot be a variable\n\
                 2:34: `D` must be a string, not integer",
            ),
            (
                "[key-value]\nbuckets = [\"default\"]\nttl = 1\n",
                "2:12: `buckets` cannot name \"default\"\n    hint: `default` is the plugin's own bucket, which it has \
                 anyway: name those that it shares with others\n\
                 3:1: unknown key `ttl` in [key-value]\n    hint: known here: buckets, time-to-live",
            ),
        ] {
            assert_eq!(granted(lines), Err(expected.to_owned()), "{lines}");
        }
    }
}
