//! `[acme]`: the authority that certificates are ordered from, and how.

use super::{ConfigError, ConfigErrors, Configuration, document::Section};
use crate::acme::{AcmeSettings, Binding, Method};
use http::Uri;
use std::{
    env,
    path::{Path, PathBuf},
};
use toml::{Table, Value};

/// `[acme]`, as it is typed.
struct GivenAcme {
    /// `directory`: the URL of the authority's directory. Default: that of Let's Encrypt,
    /// `"https://acme-v02.api.letsencrypt.org/directory"`.
    directory: Option<String>,
    /// `contact`: where the authority may write to, such as `["mailto:admin@example.org"]`. Default: `[]`.
    contact: Vec<String>,
    /// `agree-to-terms`: `true`: the operator agrees to the authority's terms of service. Needed.
    agreed: bool,
    /// `storage`: the folder in which the account, certificates and keys are kept, for its owner alone (mode 0700), and
    /// outside of what is served. Default: `acme` in systemd's `STATE_DIRECTORY`; elsewhere it is needed.
    storage: Option<PathBuf>,
    /// `eab-key-id` and `eab-key-file`: how an authority that makes accounts only for those whom it knows knows the operator
    /// (external account binding): what it calls the key, and a file with the key in base64url. Default: none.
    binding: Option<Binding>,
    /// `ca-file`: PEM file with the certificates that vouch for the authority itself, when it is a private one. Default:
    /// the public authorities.
    authorities: Option<PathBuf>,
    /// `challenges`: how the authority may look whether a name leads here, in the order in which they are tried:
    /// `"tls-alpn-01"` (port 443) and `"http-01"` (port 80). Default: `["tls-alpn-01", "http-01"]`.
    challenges: Vec<Method>,
    /// `on-demand`: how many certificates may be ordered for tenants that have none yet. Default: `"20/h"`.
    on_demand: Option<crate::limits::Rate>,
}

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

const METHODS: [(&str, Method); 2] = [("tls-alpn-01", Method::TlsAlpn01), ("http-01", Method::Http01)];

/// So that a flood of names of tenants orders no more than Let's Encrypt allows an account: 300 in three hours.
const ON_DEMAND: &str = "20/h";

/// The folder within systemd's.
const FOLDER: &str = "acme";

/// Reads `[acme]`; paths are relative to `folder`.
pub(super) fn read(folder: &Path, mut section: Section<'_>, errors: &mut ConfigErrors) -> Option<AcmeSettings> {
    let given = GivenAcme {
        directory: section.parsed("directory", directory, errors),
        contact: contact(&mut section, errors),
        agreed: section.flag("agree-to-terms", errors).unwrap_or(false),
        storage: section.string("storage", errors).map(|path| folder.join(path.value)),
        binding: binding(folder, &mut section, errors),
        authorities: section.string("ca-file", errors).map(|path| folder.join(path.value)),
        challenges: challenges(&mut section, errors),
        on_demand: section.parsed("on-demand", str::parse, errors),
    };
    if !given.agreed {
        let problem =
            "[acme] needs `agree-to-terms = true`: the authority gives certificates to those who agree to its terms";
        errors.push(section.error(problem));
    }
    let storage = given.storage.or_else(of_service);
    if storage.is_none() {
        let hint = "storage = \"/var/lib/wasmserve/acme\"";
        errors.push(
            section
                .error("[acme] has no key `storage`: where keys and certificates are kept")
                .hint(hint),
        );
    }
    section.finish(errors);
    Some(AcmeSettings {
        directory: given.directory.unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
        contact: given.contact,
        storage: storage?,
        binding: given.binding,
        authorities: given.authorities,
        challenges: given.challenges,
        on_demand: given.on_demand.or_else(|| ON_DEMAND.parse().ok())?,
    })
}

fn of_service() -> Option<PathBuf> {
    let list = env::var_os("STATE_DIRECTORY")?;
    let first = env::split_paths(&list).next().filter(|path| path.is_absolute())?;
    Some(first.join(FOLDER))
}

fn directory(text: &str) -> Result<String, String> {
    match text.parse::<Uri>() {
        Ok(url) if url.scheme_str() == Some("https") && url.host().is_some() => Ok(text.to_owned()),
        _ => Err(format!(
            "{text:?} is not the URL of a directory, such as {LETS_ENCRYPT:?}"
        )),
    }
}

fn contact(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Vec<String> {
    let mut contact = Vec::new();
    for url in section.strings("contact", errors).unwrap_or_default() {
        match url.value.split_once(':') {
            Some(("mailto", address)) if address.contains('@') => contact.push(url.value),
            _ => {
                let problem = format!(
                    "`contact`: {:?} is not of the form \"mailto:admin@example.org\"",
                    url.value
                );
                errors.push(section.error_at(&url, problem));
            }
        }
    }
    contact
}

fn binding(folder: &Path, section: &mut Section<'_>, errors: &mut ConfigErrors) -> Option<Binding> {
    let id = section.string("eab-key-id", errors);
    let file = section.string("eab-key-file", errors);
    match (id, file) {
        (Some(id), Some(file)) => Some(Binding {
            key_id: id.value,
            key_file: folder.join(file.value),
        }),
        (None, None) => None,
        (Some(lonely), None) | (None, Some(lonely)) => {
            let problem = "`eab-key-id` and `eab-key-file` go together: the authority gives both";
            errors.push(section.error_at(&lonely, problem));
            None
        }
    }
}

fn challenges(section: &mut Section<'_>, errors: &mut ConfigErrors) -> Vec<Method> {
    let Some(typed) = section.strings("challenges", errors) else {
        return METHODS.map(|(_, method)| method).into();
    };
    let mut methods = Vec::new();
    for word in &typed {
        match METHODS.iter().find(|(known, _)| *known == word.value) {
            Some((_, method)) if !methods.contains(method) => methods.push(*method),
            Some(_) => {}
            None => {
                let problem = format!("`challenges`: {:?} is not spoken here", word.value);
                errors.push(section.error_at(word, problem).hint("\"tls-alpn-01\" or \"http-01\""));
            }
        }
    }
    if typed.is_empty() {
        errors.push(section.error("`challenges` is empty: no authority could see whose a name is"));
    }
    methods
}

/// Keys among what is served are one mistake away from being served.
pub(super) fn keep_apart(file: &Path, configuration: &Configuration, errors: &mut ConfigErrors) {
    let Some(settings) = &configuration.acme else { return };
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let storage = real(&settings.storage);
    for root in configuration.roots() {
        if storage.starts_with(real(&root)) {
            let (storage, root) = (settings.storage.display(), root.display());
            let problem = format!("[acme] keeps keys in {storage}, which lies in {root}, which is served");
            errors.push(ConfigError::new(file, problem).hint("give `storage` a folder outside of every root"));
        }
    }
}

/// As it would be typed.
pub(super) fn print(settings: &AcmeSettings) -> Table {
    let texts = |texts: &mut dyn Iterator<Item = String>| Value::Array(texts.map(Value::String).collect());
    let path = |path: &Path| Value::String(path.display().to_string());
    let mut table = Table::from_iter([
        ("directory".to_owned(), settings.directory.clone().into()),
        ("contact".to_owned(), texts(&mut settings.contact.iter().cloned())),
        ("agree-to-terms".to_owned(), true.into()),
        ("storage".to_owned(), path(&settings.storage)),
        (
            "challenges".to_owned(),
            texts(&mut settings.challenges.iter().map(ToString::to_string)),
        ),
        ("on-demand".to_owned(), settings.on_demand.to_string().into()),
    ]);
    if let Some(binding) = &settings.binding {
        table.insert("eab-key-id".into(), binding.key_id.clone().into());
        table.insert("eab-key-file".into(), path(&binding.key_file));
    }
    if let Some(file) = &settings.authorities {
        table.insert("ca-file".into(), path(file));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::print::print;
    use std::fs;

    const ACME: &str = "[acme]\nagree-to-terms = true\nstorage = \"keys\"\n";

    fn read(text: &str) -> Result<Configuration, String> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("wasmserve.toml");
        fs::write(&file, text).expect("a file");
        let read = Configuration::read(&file);
        if let Ok(read) = &read {
            fs::write(&file, print(read)).expect("a file");
            let again = Configuration::read(&file).unwrap_or_else(|errors| panic!("{errors}"));
            assert_eq!(
                (&read.acme, &read.sites),
                (&again.acme, &again.sites),
                "what is printed is the same"
            );
        }
        read.map_err(|errors| errors.to_string().replace(&format!("{}/", folder.path().display()), ""))
    }

    fn site(hosts: &str, tls: &str) -> String {
        format!("[[site]]\nname = \"a\"\nhosts = [{hosts}]\nroot = \"root\"\n[site.tls]\n{tls}\n")
    }

    #[test]
    fn the_names_of_sites_that_want_it_are_ordered_for() {
        let read = read(&format!(
            "{ACME}{}",
            site("\"a.example\", \"B.example.\"", "acme = true")
        ))
        .expect("it is whole");
        assert_eq!(read.acme_names().collect::<Vec<_>>(), ["a.example", "b.example"]);
        let settings = read.acme.as_ref().expect("it is given");
        assert_eq!(settings.binding, None);
        assert_eq!(settings.directory, LETS_ENCRYPT);
        assert_eq!(settings.challenges, [Method::TlsAlpn01, Method::Http01]);
        assert_eq!(settings.on_demand.to_string(), ON_DEMAND);
        assert!(
            read.listeners()
                .iter()
                .all(|listener| listener.security == crate::net::listener::Security::Tls)
        );
    }

    #[test]
    fn what_cannot_be_ordered_is_an_error() {
        let good = site("\"a.example\"", "acme = true");
        for (text, expected) in [
            (good.clone(), "needs an [acme] table"),
            (
                format!("{ACME}{}", site("\"*.a.example\"", "acme = true")),
                "*.a.example: authorities want dns-01",
            ),
            (
                format!("{ACME}{}", site("\"*\"", "acme = true")),
                "no certificate can be ordered for *",
            ),
            (
                format!("{ACME}{}", site("\"127.0.0.1\"", "acme = true")),
                "127.0.0.1: it is not a name",
            ),
            (
                format!(
                    "{ACME}{}",
                    site("\"a.example\"", "acme = true\ncert = \"c\"\nkey = \"k\"")
                ),
                "two ways to say the same",
            ),
            (
                format!("[acme]\nstorage = \"keys\"\n{good}"),
                "needs `agree-to-terms = true`",
            ),
            (format!("[acme]\nagree-to-terms = true\n{good}"), "has no key `storage`"),
            (
                format!("{ACME}directory = \"http://ca.example\"\n{good}"),
                "is not the URL of a directory",
            ),
            (format!("{ACME}contact = [\"admin\"]\n{good}"), "is not of the form"),
            (format!("{ACME}challenges = [\"dns-01\"]\n{good}"), "is not spoken here"),
            (format!("{ACME}challenges = []\n{good}"), "is empty"),
            (format!("{ACME}on-demand = \"often\"\n{good}"), "is not a rate"),
            (format!("{ACME}eab-key-id = \"a\"\n{good}"), "go together"),
            (format!("{ACME}eab-key-file = \"a\"\n{good}"), "go together"),
            (format!("{}{good}", ACME.replace("keys", "root/keys")), "which lies in"),
            (
                "[sites]\ndirectory = \"tenants\"\nacme = true\n".into(),
                "needs an [acme] table",
            ),
        ] {
            let told = read(&text).expect_err(&text);
            assert!(told.contains(expected), "{text}\n{told}");
        }
    }
}
