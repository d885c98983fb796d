//! `[site.redis]`, `[defaults.redis]` and `[sites.redis]`: a Redis in which services keep pairs and token buckets, so that
//! several servers share them.

use super::{
    ConfigErrors,
    document::{Located, Section},
    texts::read_text,
    units::positive,
};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::Arc,
};
use toml::{Table, Value};
use wasmserve_shared::{
    RedisOptions,
    redis::{Authorities, Endpoint, Password, PasswordFrom},
};

/// Where a site keeps what its services share, as far as it says so.
#[derive(Clone, Debug, PartialEq)]
pub enum GivenRedis {
    /// In this process's memory.
    Off,
    In(Arc<RedisOptions>),
}

/// The word for none.
const OFF: &str = "off";

/// More would only wait for each other at the same Redis.
const MOST_CONNECTIONS: usize = 64;

impl GivenRedis {
    /// `[site.redis]`. Files that are read are noted as never to be served.
    ///
    /// - `url`: `"redis://[USER@]HOST[:PORT][/DATABASE]"`, `"rediss://..."` with TLS, `"unix:PATH[?db=DATABASE]"`, or `"off"`
    ///   for this process's memory where `[defaults]` names a Redis. Needed.
    /// - `password-file`: a file with the password. Default: none is shown.
    /// - `password-env`: a variable of the environment with the password, in place of a file. Default: none is shown.
    /// - `ca`: a PEM file of authorities that sign the certificate of a `rediss://` server. Default: those that browsers know.
    /// - `timeout`: the longest that one operation may take, connecting included. Default: `"100ms"`.
    /// - `prefix`: what the names of all keys begin with: at most 64 letters, digits and `-_.:`. Default: `"wasmserve"`.
    /// - `connections`: connections that are kept open, at most 64. Default: `4`.
    pub fn read(
        folder: &Path,
        mut section: Section<'_>,
        protected: &mut BTreeSet<PathBuf>,
        errors: &mut ConfigErrors,
    ) -> Option<Self> {
        let url = section.required_string("url", errors);
        if url.as_ref().is_some_and(|url| url.value == OFF) {
            section.finish(errors);
            return Some(Self::Off);
        }
        let endpoint = url.and_then(|url| match url.value.parse::<Endpoint>() {
            Ok(endpoint) => Some(endpoint.beneath(folder)),
            Err(problem) => {
                let hint = "\"redis://HOST\", \"rediss://HOST\", \"unix:/run/redis.sock\" or \"off\"; the password in a \
                            `password-file`";
                errors.push(section.error_at(&url, format!("`url` {problem}")).hint(hint));
                None
            }
        });
        let password = password(folder, &mut section, protected, errors);
        let authorities = authorities(folder, &mut section, protected, errors);
        let timeout = section.parsed("timeout", positive, errors);
        let prefix = section.parsed("prefix", str::parse, errors);
        let connections = section.count_to("connections", MOST_CONNECTIONS, errors);
        section.finish(errors);
        let defaults = RedisOptions::new(endpoint?);
        Some(Self::In(Arc::new(RedisOptions {
            password,
            authorities,
            timeout: timeout.unwrap_or(defaults.timeout),
            prefix: prefix.unwrap_or(defaults.prefix),
            connections: connections.unwrap_or(defaults.connections).max(1),
            endpoint: defaults.endpoint,
        })))
    }

    pub fn options(&self) -> Option<&Arc<RedisOptions>> {
        match self {
            Self::Off => None,
            Self::In(options) => Some(options),
        }
    }
}

fn password(
    folder: &Path,
    section: &mut Section<'_>,
    protected: &mut BTreeSet<PathBuf>,
    errors: &mut ConfigErrors,
) -> Option<Password> {
    let file = section.string("password-file", errors);
    let variable = section.string("password-env", errors);
    let (typed, found) = match (file, variable) {
        (None, None) => return None,
        (Some(_), Some(variable)) => (
            variable,
            Err("`password-file` is given as well: one of the two is enough".to_owned()),
        ),
        (Some(typed), None) => {
            let file = folder.join(&typed.value);
            let found = text_of(&file, protected)
                .and_then(|text| Password::new(&text, PasswordFrom::File(file.clone())).map_err(str::to_owned));
            let found = found.map_err(|problem| format!("`password-file`: {} {problem}", file.display()));
            (typed, found)
        }
        (None, Some(typed)) => {
            let name = &typed.value;
            let found = std::env::var(name).map_err(|_| "is not set".to_owned());
            let found = found
                .and_then(|text| Password::new(&text, PasswordFrom::Environment(name.clone())).map_err(str::to_owned));
            let found = found.map_err(|problem| format!("`password-env`: the variable {name} {problem}"));
            (typed, found)
        }
    };
    noted(section, &typed, found, errors)
}

fn authorities(
    folder: &Path,
    section: &mut Section<'_>,
    protected: &mut BTreeSet<PathBuf>,
    errors: &mut ConfigErrors,
) -> Option<Authorities> {
    let typed = section.string("ca", errors)?;
    let file = folder.join(&typed.value);
    let found = text_of(&file, protected).and_then(|text| Authorities::new(file.clone(), text.as_bytes()));
    let found = found.map_err(|problem| format!("`ca`: {} {problem}", file.display()));
    noted(section, &typed, found, errors)
}

fn text_of(file: &Path, protected: &mut BTreeSet<PathBuf>) -> Result<String, String> {
    protected.insert(file.to_owned());
    read_text(file)
}

fn noted<T>(
    section: &Section<'_>,
    typed: &Located<String>,
    found: Result<T, String>,
    errors: &mut ConfigErrors,
) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(problem) => {
            errors.push(section.error_at(typed, problem));
            None
        }
    }
}

/// The table that would be read as this: where the password is, and never the password.
pub fn print(options: &RedisOptions) -> Table {
    let text = |text: String| Value::from(text);
    let path = |path: &Path| Value::from(path.display().to_string());
    let time = humantime::format_duration(options.timeout).to_string();
    let connections = i64::try_from(options.connections).unwrap_or(i64::MAX);
    let mut table = Table::from_iter([
        ("url".to_owned(), text(options.endpoint.to_string())),
        ("timeout".to_owned(), text(time)),
        ("prefix".to_owned(), text(options.prefix.to_string())),
        ("connections".to_owned(), connections.into()),
    ]);
    match options.password.as_ref().map(|password| &password.from) {
        Some(PasswordFrom::File(file)) => drop(table.insert("password-file".into(), path(file))),
        Some(PasswordFrom::Environment(name)) => drop(table.insert("password-env".into(), text(name.clone()))),
        None => {}
    }
    if let Some(authorities) = &options.authorities {
        table.insert("ca".into(), path(&authorities.file));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::super::{Configuration, print::print};
    use std::{fs, time::Duration};

    const SITES: &str = "[[site]]\nname = \"a\"\nhosts = [\"a\"]\nroot = \".\"\n\
                         [[site]]\nname = \"b\"\nhosts = [\"b\"]\nroot = \".\"\n[site.redis]\nurl = \"off\"\n";

    fn read(defaults: &str) -> (tempfile::TempDir, Result<Configuration, String>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
        write("password", "secret\n");
        write("empty", "");
        write("wasmserve.toml", &format!("[defaults.redis]\n{defaults}\n{SITES}"));
        let read = Configuration::read(&folder.path().join("wasmserve.toml")).map_err(|errors| errors.to_string());
        (folder, read)
    }

    #[test]
    fn sites_have_the_redis_of_the_defaults_or_none() {
        let (folder, read) = read(
            "url = \"unix:redis.sock?db=2\"\npassword-file = \"password\"\ntimeout = \"20ms\"\nprefix = \"p\"\nconnections = 2",
        );
        let read = read.expect("a configuration");
        let [a, b] = &read.sites[..] else { panic!("two sites") };
        assert_eq!(b.chain.budget.services.redis, None);
        let options = a.chain.budget.services.redis.as_ref().expect("a Redis");
        let socket = folder.path().join("redis.sock");
        assert_eq!(options.endpoint.to_string(), format!("unix:{}?db=2", socket.display()));
        assert_eq!((options.timeout, options.connections), (Duration::from_millis(20), 2));
        let password = folder.path().join("password");
        assert!(read.protected().contains(&password), "would be served");
        // What is printed is read as the same, and tells no password.
        let printed = print(&read);
        assert!(!printed.contains("secret"), "{printed}");
        fs::write(folder.path().join("printed.toml"), printed).expect("a file");
        let again = Configuration::read(&folder.path().join("printed.toml")).expect("a configuration");
        assert_eq!(again.sites, read.sites);
    }

    #[test]
    fn what_is_wrong_is_said_and_no_password_is() {
        for (lines, expected) in [
            ("", "has no key `url`"),
            ("url = \"redis://:secret@host\"", "`url` holds a password"),
            ("url = \"http://host\"", "`url` begins with none of redis://"),
            ("url = \"redis://h\"\ntimeout = \"0s\"", "`timeout`"),
            ("url = \"redis://h\"\nprefix = \"a b\"", "`prefix`"),
            ("url = \"redis://h\"\nconnections = 65", "`connections`"),
            ("url = \"redis://h\"\npassword = \"secret\"", "password"),
            (
                "url = \"redis://h\"\npassword-file = \"absent\"",
                "absent cannot be read",
            ),
            (
                "url = \"redis://h\"\npassword-file = \"empty\"",
                "empty holds no password",
            ),
            (
                "url = \"redis://h\"\npassword-env = \"WASMSERVE_ABSENT\"",
                "WASMSERVE_ABSENT is not set",
            ),
            (
                "url = \"rediss://h\"\nca = \"password\"",
                "password holds no certificate",
            ),
        ] {
            let (_folder, read) = read(lines);
            let problem = read.expect_err(lines);
            assert!(problem.contains(expected), "{lines}: {problem}");
            assert!(
                !problem.contains("secret@") && !problem.contains("\"secret\""),
                "{problem}"
            );
        }
    }
}
