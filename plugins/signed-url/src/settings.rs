//! The configuration, checked.
use crate::{link::Secrets, secure_link::SecureLink};
use serde::Deserialize;
use wasmserve_plugin::{Config, Mistakes};

/// What the operator configured.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    prefixes: Vec<String>,
    secret: Option<String>,
    secure_link: Option<WrittenSecureLink>,
    #[serde(default = "forbidden")]
    status: u16,
    #[serde(default = "gone")]
    expired: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSecureLink {
    expression: String,
    #[serde(default = "md5")]
    signature: String,
    #[serde(default = "expires")]
    expires: String,
}

/// What that means.
pub struct Settings {
    pub prefixes: Vec<String>,
    pub form: Form,
    pub status: u16,
    pub expired: u16,
}

/// How links are made.
pub enum Form {
    Link(Secrets),
    SecureLink(SecureLink),
}

/// The fewest bytes of a secret: 128 bits, when they are random.
const SHORTEST_SECRET: usize = 16;

fn forbidden() -> u16 {
    403
}

fn gone() -> u16 {
    410
}

fn md5() -> String {
    "md5".to_owned()
}

fn expires() -> String {
    "expires".to_owned()
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong with it, each with its key and without secrets.
pub fn read(config: &Config) -> Result<Settings, String> {
    let written: Written = config.read()?;
    let mut mistakes = Mistakes::default();
    mistakes.check_prefixes("prefixes", &written.prefixes);
    mistakes.check_refusal("status", written.status);
    mistakes.check_refusal("expired", written.expired);
    let form = match (written.secret, written.secure_link) {
        (Some(secret), None) => match secrets(&secret) {
            Ok(secrets) => Some(Form::Link(secrets)),
            Err(problem) => {
                mistakes.note("secret", problem);
                None
            }
        },
        (None, Some(secure_link)) => {
            match SecureLink::new(&secure_link.expression, secure_link.signature, secure_link.expires) {
                Ok(form) => Some(Form::SecureLink(form)),
                Err(problem) => {
                    mistakes.note("secure-link", format_args!("has an `expression` that {problem}"));
                    None
                }
            }
        }
        (None, None) => {
            mistakes.note("secret", "is missing: what links are signed with");
            None
        }
        (Some(_), Some(_)) => {
            mistakes.note(
                "secret",
                "and `secure-link` are both there: put the plugin into the chain twice, with different prefixes",
            );
            None
        }
    };
    mistakes.check()?;
    Ok(Settings {
        prefixes: written.prefixes,
        form: form.ok_or("there is no form of links")?,
        status: written.status,
        expired: written.expired,
    })
}

/// One a line.
fn secrets(text: &str) -> Result<Secrets, String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    if lines.is_empty() {
        return Err("is empty".to_owned());
    }
    if let Some(short) = lines.iter().position(|line| line.len() < SHORTEST_SECRET) {
        return Err(format!(
            "has fewer than {SHORTEST_SECRET} characters in line {}: it could be guessed",
            short + 1
        ));
    }
    Ok(Secrets::new(
        lines.into_iter().map(|line| line.as_bytes().to_vec()).collect(),
    ))
}
