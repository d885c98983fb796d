//! The configuration, checked.
use crate::origin::Origins;
use serde::Deserialize;
use wasmserve_plugin::{Config, Mistakes};

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    origins: Vec<String>,
    #[serde(default = "whole_site")]
    prefixes: Vec<String>,
    #[serde(default = "reading")]
    methods: Vec<String>,
    #[serde(default)]
    headers: Vec<String>,
    #[serde(default)]
    expose: Vec<String>,
    #[serde(default)]
    credentials: bool,
    max_age: Option<u32>,
}

/// What that means.
pub struct Settings {
    pub origins: Origins,
    pub prefixes: Vec<String>,
    pub methods: Vec<String>,
    pub headers: Vec<String>,
    pub expose: Vec<String>,
    pub credentials: bool,
    /// Seconds.
    pub max_age: Option<u32>,
}

fn whole_site() -> Vec<String> {
    vec!["/".to_owned()]
}

fn reading() -> Vec<String> {
    ["GET", "HEAD"].map(str::to_owned).to_vec()
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it, each with its key.
pub fn read(config: &Config) -> Result<Settings, String> {
    let written: Written = config.read()?;
    let mut mistakes = Mistakes::default();
    mistakes.check_prefixes("prefixes", &written.prefixes);
    let origins = written.origins;
    if origins.is_empty() {
        mistakes.note(
            "origins",
            "is empty: no origin could read anything, as without this policy",
        );
    }
    let any = origins.iter().any(|origin| origin == "*");
    if any && origins.len() > 1 {
        mistakes.note("origins", "has \"*\" beside others: \"*\" is all of them");
    }
    if any && written.credentials {
        mistakes.note(
            "credentials",
            "cannot be true for every origin: name the origins in `origins`",
        );
    }
    if written.credentials && origins.iter().any(|origin| origin == "null") {
        mistakes.note(
            "credentials",
            "cannot be true for the origin \"null\", which every sandboxed page has",
        );
    }
    let origins = match any {
        true => Origins::Any,
        false => Origins::These(mistakes.parse_all("origins", &origins)),
    };
    for (key, names) in [
        ("methods", &written.methods),
        ("headers", &written.headers),
        ("expose", &written.expose),
    ] {
        for name in names {
            if name == "*" && written.credentials {
                mistakes.note(
                    key,
                    "cannot be \"*\" together with `credentials`: browsers take it for a name",
                );
            } else if !is_token(name) {
                mistakes.note_text(key, name, "is no name");
            }
        }
    }
    if written.methods.is_empty() {
        mistakes.note("methods", "is empty");
    }
    mistakes.check()?;
    Ok(Settings {
        origins,
        prefixes: written.prefixes,
        methods: written.methods,
        headers: written.headers,
        expose: written.expose,
        credentials: written.credentials,
        max_age: written.max_age,
    })
}

/// RFC 9110, section 5.6.2. `*` alone is one, too.
fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
